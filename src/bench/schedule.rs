//! When an open loop means to send: times fixed in advance, whatever the replies do.

use crate::rng::Rng;
use crate::time::Timestamp;

/// How the gaps between two sends are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Equal gaps.
    #[default]
    Paced,
    /// Exponential gaps: independent users (a Poisson process).
    Poisson,
}

/// The endless list of intended send times of one open loop. Nothing is stored: a backlog is only
/// the distance between the list and the clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Timestamp,
    gap_ns: f64,
    arrivals: Arrivals,
    rng: Rng,
    /// Of the next send, in nanoseconds after `start`; a double holds each nanosecond for 104 days.
    offset_ns: f64,
}

impl Schedule {
    /// Sends at `per_s` from `start` on; the same seed is the same list. `per_s` is above zero.
    #[must_use]
    pub fn new(start: Timestamp, per_s: f64, arrivals: Arrivals, seed: u64) -> Self {
        assert!(per_s > 0.0, "an open loop has a rate");
        let mut schedule = Self { start, gap_ns: 1e9 / per_s, arrivals, rng: Rng::new(seed), offset_ns: 0.0 };
        if arrivals == Arrivals::Poisson {
            schedule.advance();
        }
        schedule
    }

    /// When the next send is meant to be.
    #[must_use]
    pub fn next(&self) -> Timestamp {
        self.start.after_ns(self.offset_ns as u64)
    }

    /// Goes on to the send after it.
    pub fn advance(&mut self) {
        self.offset_ns += match self.arrivals {
            Arrivals::Paced => self.gap_ns,
            // Inversion: 1 - u is in (0, 1], so the logarithm is finite.
            Arrivals::Poisson => -(1.0 - self.rng.unit()).ln() * self.gap_ns,
        };
    }

    /// Counts the sends meant before `end` that are still to come, and passes them.
    pub fn skip_until(&mut self, end: Timestamp) -> u64 {
        let mut skipped = 0;
        while self.next() < end {
            self.advance();
            skipped += 1;
        }
        skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000);

    fn times(arrivals: Arrivals, per_s: f64, seed: u64, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(START, per_s, arrivals, seed);
        std::iter::repeat_with(|| {
            let next = schedule.next();
            schedule.advance();
            next.since_ns(START)
        })
        .take(count)
        .collect()
    }

    #[test]
    fn paced_times_have_equal_gaps_and_do_not_drift() {
        let times = times(Arrivals::Paced, 3_000_000.0, 1, 3_000_001);
        assert_eq!(times[..4], [0, 333, 666, 1_000]);
        assert!(times[3_000_000].abs_diff(1_000_000_000) <= 1, "{}", times[3_000_000]);
    }

    #[test]
    fn poisson_times_keep_the_rate_and_spread_as_an_exponential() {
        let times = times(Arrivals::Poisson, 1e6, 7, 200_001);
        let mean = times[200_000] as f64 / 200_000.0;
        assert!((mean - 1_000.0).abs() < 15.0, "mean gap {mean} ns of seed 7");
        let beyond_mean = times.windows(2).filter(|pair| pair[1] - pair[0] > 1_000).count();
        let share = beyond_mean as f64 / 200_000.0;
        assert!((share - (-1f64).exp()).abs() < 0.01, "share {share} of seed 7");
    }

    #[test]
    fn one_seed_is_one_schedule() {
        assert_eq!(times(Arrivals::Poisson, 1e6, 7, 100), times(Arrivals::Poisson, 1e6, 7, 100));
        assert_ne!(times(Arrivals::Poisson, 1e6, 7, 100), times(Arrivals::Poisson, 1e6, 8, 100));
    }

    #[test]
    fn what_was_meant_before_the_end_and_not_sent_is_counted_once() {
        let mut schedule = Schedule::new(START, 1e6, Arrivals::Paced, 1);
        assert_eq!(schedule.skip_until(START.after_ns(10_000)), 10);
        assert_eq!(schedule.skip_until(START.after_ns(10_000)), 0);
    }
}
