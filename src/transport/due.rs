//! When a session has something to do, and what of it may wait for longer.

use crate::time::Timestamp;
use crate::transport::sink::PathIndex;

/// When a session has something to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// Whatever it is, its probe timer aside.
    pub(crate) at: Timestamp,
    pub(crate) probe: Option<ProbeDue>,
}

/// A probe timer that is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeDue {
    pub(crate) at: Timestamp,
    pub(crate) path: PathIndex,
    /// When that was sent whose answer it waits for.
    pub(crate) since: Timestamp,
    /// The longest that others can hold it back.
    pub(crate) most_ns: u64,
}
