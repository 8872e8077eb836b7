//! What the compiler cannot know of the datapath: which way a branch goes, nearly always.
//!
//! Between two packets of a round trip the kernel fills the first-level instruction cache, so what a packet runs
//! through is fetched anew, line by line. What nearly never happens should not lie between: a block that is marked so is
//! moved behind its function.
#![forbid(unsafe_code)]

/// `condition`, which nearly never holds.
#[inline(always)]
pub(crate) fn rarely(condition: bool) -> bool {
    if condition {
        rare();
    }
    condition
}

/// Marks the block that calls it as one that nearly never runs.
#[cold]
#[inline(always)]
fn rare() {}
