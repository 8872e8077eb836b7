//! A host's own clock: it starts at a reading of its own and runs a little fast or slow, as crystals do.
//!
//! ```text
//! host reading = first reading + elapsed x (1 + drift)        world's time <-- when() -- host reading
//! ```
//!
//! Nothing in the protocol may rest on two hosts' readings being comparable: an ack carries a delay,
//! a handshake carries a wall clock that is only believed within half a minute.

use crate::time::{Clock, Timestamp, VirtualClock};

/// One host's clock over the world's.
#[derive(Clone, Debug)]
pub struct HostClock {
    world: VirtualClock,
    /// The world's time when the host read `first`.
    began: Timestamp,
    first: Timestamp,
    drift_ppm: i64,
}

impl HostClock {
    /// A clock that reads `first` now and gains `drift_ppm` millionths (at most [`DRIFT_PPM_MAX`] either way).
    #[must_use]
    pub fn new(world: VirtualClock, first: Timestamp, drift_ppm: i64) -> Self {
        assert!(drift_ppm.abs() <= DRIFT_PPM_MAX, "a clock that far off is a broken one");
        Self { began: world.now(), world, first, drift_ppm }
    }

    /// A clock that reads the world's time.
    #[must_use]
    pub fn true_to(world: VirtualClock) -> Self {
        let now = world.now();
        Self::new(world, now, 0)
    }

    /// The reading at the world's time `at`.
    #[must_use]
    pub fn reading_at(&self, at: Timestamp) -> Timestamp {
        let elapsed = u128::from(at.since_ns(self.began));
        let rate = (MILLION + self.drift_ppm) as u128;
        Timestamp(self.first.0.saturating_add((elapsed * rate / MILLION as u128) as u64))
    }

    /// The first moment of the world at which this clock reads `reading` or more.
    #[must_use]
    pub fn when(&self, reading: Timestamp) -> Timestamp {
        if reading == Timestamp::NEVER {
            return Timestamp::NEVER;
        }
        let passed = u128::from(reading.since_ns(self.first));
        let rate = (MILLION + self.drift_ppm) as u128;
        let elapsed = (passed * MILLION as u128).div_ceil(rate);
        self.began.after_ns(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// The world's time.
    #[must_use]
    pub fn world_now(&self) -> Timestamp {
        self.world.now()
    }
}

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        self.reading_at(self.world.now())
    }
}

/// The most a simulated clock gains or loses, in millionths: a hundred times a bad crystal.
pub const DRIFT_PPM_MAX: i64 = 10_000;
const MILLION: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_gains_and_a_slow_one_loses() {
        for (drift, reads) in [(0, 1_500), (10_000, 1_510), (-10_000, 1_490)] {
            let world = VirtualClock::new(Timestamp(5_000_000));
            let clock = HostClock::new(world.clone(), Timestamp(500_000), drift);
            world.advance_to(Timestamp(6_000_000));
            assert_eq!(clock.now(), Timestamp(reads * 1_000), "{drift}");
        }
    }

    #[test]
    fn a_timer_is_never_woken_before_its_clock_reads_its_time() {
        for drift in [-10_000, -37, 0, 1, 9_999] {
            let world = VirtualClock::new(Timestamp(77));
            let clock = HostClock::new(world, Timestamp(1_000_000_007), drift);
            for reading in (1_000_000_007..1_000_002_007).map(Timestamp) {
                let at = clock.when(reading);
                assert!(clock.reading_at(at) >= reading, "drift {drift}, {reading:?}");
                assert!(
                    at.0 == 77 || clock.reading_at(Timestamp(at.0 - 1)) < reading,
                    "no later than need be"
                );
            }
        }
    }

    #[test]
    fn never_stays_never() {
        let clock = HostClock::true_to(VirtualClock::new(Timestamp(9)));
        assert_eq!(clock.when(Timestamp::NEVER), Timestamp::NEVER);
    }
}
