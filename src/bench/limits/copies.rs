//! Copying from cache to cache, by how the two ends lie to each other within a page.
//!
//! The C library's memcpy, and not the strides of `rings::copy`: what is asked is what an application's own copies
//! get. `rings/memory.rs` has why the place in the page matters.

use std::hint::black_box;

use super::Options;
use super::duel::Watch;
use crate::rings::{Direction, PacketMemory};
use crate::time::{Clock, MonotonicClock};

/// Where the destination of a copy begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// At a page's start, as the source does.
    Aligned,
    /// A few bytes further into its page than the source.
    Near,
}

/// 64 KiB at a time, in bytes a second.
pub(super) fn memcpy_byte_s(options: &Options, destination: Destination) -> f64 {
    let mut pair = Pair::new(destination);
    let mut watch = Watch::new(options.duration_each);
    loop {
        pair.copy(BATCH);
        if !watch.done((BATCH * COPY_SIZE) as u64) {
            return watch.per_s().unwrap_or(0.0);
        }
    }
}

/// Both, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Copies {
    /// Between memory that begins with a page.
    pub aligned_byte_s: f64,
    /// With the destination 16 bytes further into its page.
    pub near_byte_s: f64,
}

/// Measures both in a few milliseconds. The fastest of several batches counts: whatever else runs on this core
/// only makes one slower.
#[must_use]
pub fn copies() -> Copies {
    Copies {
        aligned_byte_s: fastest_byte_s(Destination::Aligned),
        near_byte_s: fastest_byte_s(Destination::Near),
    }
}

fn fastest_byte_s(destination: Destination) -> f64 {
    let mut pair = Pair::new(destination);
    let fastest_ns = (0..LOOKS)
        .map(|_| {
            let start = MonotonicClock.now();
            pair.copy(LOOK);
            MonotonicClock.now().since_ns(start).max(1)
        })
        .min();
    (LOOK * COPY_SIZE) as f64 * 1e9 / fastest_ns.expect("there is more than one look") as f64
}

struct Pair {
    from: PacketMemory,
    to: PacketMemory,
    start: usize,
}

impl Pair {
    fn new(destination: Destination) -> Pair {
        let start = match destination {
            Destination::Aligned => 0,
            Destination::Near => NEAR,
        };
        let mut from = PacketMemory::new(COPY_SIZE, Direction::Out);
        from.fill(7);
        Pair { from, to: PacketMemory::new(COPY_SIZE + start, Direction::Out), start }
    }

    fn copy(&mut self, times: usize) {
        for _ in 0..times {
            black_box(&mut self.to[self.start..]).copy_from_slice(black_box(&self.from));
        }
    }
}

const COPY_SIZE: usize = 64 * 1024;
/// Within the 1 to 31 bytes that are slow on some processors, and where an allocator's large memory begins.
const NEAR: usize = 16;
/// Copies between two readings of the clock: a quarter of a millisecond where each is slow.
const BATCH: usize = 8;
/// Copies of one look, and how many looks: 2 ms where each is slow.
const LOOK: usize = 2;
const LOOKS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_lie_as_their_names_say_and_every_byte_is_copied() {
        for (destination, wanted) in [(Destination::Aligned, 0), (Destination::Near, NEAR)] {
            let mut pair = Pair::new(destination);
            let to = &pair.to[pair.start..];
            assert_eq!(
                to.as_ptr().addr().wrapping_sub(pair.from.as_ptr().addr()) % 4096,
                wanted,
                "{destination:?}"
            );
            pair.copy(1);
            assert_eq!(pair.to[pair.start..], pair.from[..], "{destination:?}");
        }
    }
}
