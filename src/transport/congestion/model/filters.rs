//! What the path is: its rate, its length, whether it is full, and when a round trip ends.

use super::super::delivery_rate::RateSample;
use crate::time::Timestamp;

/// The most that was delivered, over this and the last probing cycle (draft §5.5.5: MaxBwFilterLen 2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MaxRate {
    current: u64,
    previous: u64,
}

impl MaxRate {
    pub(super) fn value(&self) -> u64 {
        self.current.max(self.previous)
    }

    pub(super) fn insert(&mut self, rate: u64) {
        self.current = self.current.max(rate);
    }

    /// A probing cycle ends. What it never sampled, it does not forget.
    pub(super) fn end_cycle(&mut self) {
        if self.current > 0 {
            self.previous = std::mem::take(&mut self.current);
        }
    }
}

/// The least round trip: of the last ten seconds, and of the last five for probe-rtt (draft §5.5.7).
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRtt {
    least_ns: u64,
    recent_ns: u64,
    recent_at: Timestamp,
    due: bool,
}

impl Default for MinRtt {
    fn default() -> Self {
        Self { least_ns: u64::MAX, recent_ns: u64::MAX, recent_at: Timestamp(0), due: false }
    }
}

impl MinRtt {
    /// The path's length, in nanoseconds; 0 before a sample.
    pub(super) fn value_ns(&self) -> u64 {
        if self.least_ns == u64::MAX { 0 } else { self.least_ns }
    }

    pub(super) fn insert(&mut self, now: Timestamp, sample_ns: u64) {
        let old = self.recent_ns != u64::MAX && now.since_ns(self.recent_at) > PROBE_RTT_INTERVAL_NS;
        self.due |= old;
        if sample_ns <= self.recent_ns || old {
            (self.recent_ns, self.recent_at) = (sample_ns, now);
        }
        // After probe-rtt the recent value is the path's, longer or not.
        self.least_ns = self.least_ns.min(self.recent_ns);
    }

    /// Whether five seconds passed without a round trip as short as the last.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// Probe-rtt is over: what it measured stands.
    pub(super) fn on_probed(&mut self, now: Timestamp) {
        self.due = false;
        self.recent_at = now;
        self.least_ns = self.recent_ns;
    }
}

/// Round trips, counted by what was delivered (draft §5.5.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    ends_at: u64,
    round: Round,
}

/// What one round trip came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) loss_events: u32,
    pub(super) marked: bool,
}

impl Rounds {
    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.round.lost += bytes;
        self.round.loss_events += 1;
    }

    pub(super) fn on_marked(&mut self) {
        self.round.marked = true;
    }

    /// The round that this ack ends, if it does.
    pub(super) fn on_ack(&mut self, sample: &RateSample, bytes_acked: u64) -> Option<Round> {
        self.round.delivered += bytes_acked;
        if sample.prior_delivered < self.ends_at {
            return None;
        }
        self.ends_at = sample.total_delivered;
        Some(std::mem::take(&mut self.round))
    }
}

/// Whether the rate still grows (draft §5.3.1.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FullPipe {
    rate: u64,
    rounds: u32,
    full: bool,
}

impl FullPipe {
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Looks anew, from `rate` on.
    pub(super) fn restart(&mut self, rate: u64) {
        *self = Self { rate, rounds: 0, full: false };
    }

    pub(super) fn fill(&mut self) {
        self.full = true;
    }

    /// Three rounds in a row that bring less than a quarter more fill the pipe.
    pub(super) fn on_round(&mut self, rate: u64, app_limited: bool) {
        if self.full || app_limited {
            return;
        }
        if rate >= self.rate + self.rate / 4 {
            (self.rate, self.rounds) = (rate, 0);
            return;
        }
        self.rounds += 1;
        self.full = self.rounds >= FULL_ROUNDS;
    }
}

/// Draft §2.6, L43: BBR.ProbeRTTInterval.
const PROBE_RTT_INTERVAL_NS: u64 = 5_000_000_000;
/// Draft §5.3.1.2.
const FULL_ROUNDS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn the_rate_is_forgotten_after_two_cycles() {
        let mut rate = MaxRate::default();
        rate.insert(100);
        rate.end_cycle();
        rate.insert(60);
        assert_eq!(rate.value(), 100);
        rate.end_cycle();
        assert_eq!(rate.value(), 60);
        rate.end_cycle();
        assert_eq!(rate.value(), 60, "a cycle without a sample forgets nothing");
    }

    #[test]
    fn a_longer_path_is_believed_after_a_probe_of_its_length() {
        // L43: every five seconds.
        let mut rtt = MinRtt::default();
        rtt.insert(Timestamp(0), 10);
        rtt.insert(Timestamp(4 * S), 30);
        assert!(!rtt.is_due());
        rtt.insert(Timestamp(5 * S + 1), 30);
        assert!(rtt.is_due());
        assert_eq!(rtt.value_ns(), 10);
        rtt.on_probed(Timestamp(6 * S));
        assert_eq!((rtt.is_due(), rtt.value_ns()), (false, 30));
    }

    #[test]
    fn a_round_ends_when_what_was_sent_in_it_is_acknowledged() {
        let mut rounds = Rounds::default();
        let sample = |prior_delivered, total_delivered| RateSample {
            prior_delivered,
            total_delivered,
            ..RateSample::default()
        };
        assert!(rounds.on_ack(&sample(0, 1_000), 1_000).is_some());
        rounds.on_lost(50);
        assert!(rounds.on_ack(&sample(0, 2_000), 1_000).is_none());
        let round = rounds.on_ack(&sample(1_000, 3_000), 1_000);
        assert_eq!(round, Some(Round { delivered: 2_000, lost: 50, loss_events: 1, marked: false }));
    }

    #[test]
    fn three_rounds_without_a_quarter_more_fill_the_pipe() {
        let mut pipe = FullPipe::default();
        for (rate, full) in [(100, false), (130, false), (140, false), (150, false), (160, true)] {
            pipe.on_round(rate, false);
            assert_eq!(pipe.is_full(), full, "{rate}");
        }
    }
}
