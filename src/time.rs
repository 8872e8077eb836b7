//! Time as a value: the engine is told what time it is and never asks.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds on a monotonic clock whose origin means nothing. Only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The latest moment there is: a timer set to it never fires.
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// Nanoseconds from `earlier` to here; 0 when `earlier` is later.
    #[must_use]
    pub fn since_ns(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment `ns` nanoseconds later, at most [`Timestamp::NEVER`].
    #[must_use]
    pub fn after_ns(self, ns: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ns))
    }

    /// This moment `duration` later, at most [`Timestamp::NEVER`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Timestamp {
        self.after_ns(saturating_ns(duration))
    }

    /// The time from here to `later`; zero when it has passed.
    #[must_use]
    pub fn until(self, later: Timestamp) -> Duration {
        Duration::from_nanos(later.since_ns(self))
    }
}

/// A duration in nanoseconds, at most `u64::MAX` (584 years).
#[must_use]
pub fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where a worker's time comes from: the host's monotonic clock, or the simulator's virtual one.
pub trait Clock {
    /// The time now. Never decreases.
    fn now(&self) -> Timestamp;
}

/// `CLOCK_MONOTONIC`, read without a system call where the vDSO allows. Its readings compare between
/// the processes of one host.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    #[inline]
    fn now(&self) -> Timestamp {
        // Not `Instant`: what its arithmetic adds is a tenth of a poll that finds nothing.
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has CLOCK_MONOTONIC");
        // L06, RFC 8985 §4: "a timestamp whose granularity is finer than 1/4 of the minimum RTT of the connection".
        let (seconds, nanoseconds) = (time.tv_sec() as u64, time.tv_nsec() as u64);
        Timestamp(seconds * 1_000_000_000 + nanoseconds)
    }
}

/// The wall clock's reading, in nanoseconds since 1970, where [`MonotonicClock`] reads zero: what makes
/// readings of different hosts comparable, roughly.
#[must_use]
pub fn wall_at_zero_ns() -> u64 {
    let wall = clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux always has CLOCK_REALTIME");
    let wall_ns = (wall.tv_sec() as u64).wrapping_mul(1_000_000_000).wrapping_add(wall.tv_nsec() as u64);
    wall_ns.wrapping_sub(MonotonicClock.now().0)
}

/// A clock that moves only when told to: the simulator's, and the unit tests'.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    now: Rc<Cell<u64>>,
}

impl VirtualClock {
    /// A clock that stands at `start`; its clones share the hand.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { now: Rc::new(Cell::new(start.0)) }
    }

    /// Moves the hand to `to`. Time never runs back.
    pub fn advance_to(&self, to: Timestamp) {
        assert!(to.0 >= self.now.get(), "a virtual clock never runs back");
        self.now.set(to.0);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_clock_tells_moments_apart_that_lie_within_a_quarter_of_the_shortest_round_trip() {
        // L06: 5 us is the shortest path there is.
        let readings: Vec<u64> = (0..10_000).map(|_| MonotonicClock.now().0).collect();
        let steps = readings.windows(2).map(|pair| pair[1] - pair[0]);
        let finest_ns = steps.filter(|step| *step > 0).min().expect("time passed");
        assert!(finest_ns < 5_000 / 4, "the clock moves by {finest_ns} ns at least");
    }
}
