//! Spreads a window over the round trip: a token bucket kept as one moment in time (the virtual
//! scheduling of ITU-T I.371, "GCRA"), so that no fraction of a token is ever lost to rounding.
//!
//! L41, RFC 9002 §7.7: "Senders MUST either use pacing or limit such bursts." Bursts up to one bucket leave at once, and a train counts as one burst. Packets
//! that hold only acks are not paced: do not ask for them.

use crate::bounds::TRAIN_SIZE_MAX;
use crate::time::Timestamp;

/// How fast packets leave, and how many bytes may leave at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that may leave back to back.
    pub burst: u64,
    /// Bytes that may once all that was sent has arrived.
    pub first_burst: u64,
}

impl Pace {
    /// `rate` with bursts of a millisecond of it: what Linux takes for a burst, and BBR calls its send quantum
    /// (draft-ietf-ccwg-bbr §5.6.3). Two packets at least; at most one train, and the window a path begins
    /// with. RFC 9002 §7.7: "Senders SHOULD limit bursts to the initial congestion window". A request that meets
    /// nothing else of its session under way leaves in one such: to spread it would only make it later.
    #[must_use]
    pub fn of(rate: u64, packet_size: u64, first_window: u64) -> Self {
        let least = 2 * packet_size;
        let most = first_window.min(TRAIN_SIZE_MAX as u64).max(least);
        Self { rate, burst: (rate / 1_000).clamp(least, most), first_burst: most }
    }
}

/// The pacer of one path.
#[derive(Clone, Debug, Default)]
pub struct Pacer {
    /// When all that was sent would have drained at `rate`; the bucket is full from then on.
    drained: Timestamp,
    rate: u64,
    /// Bytes that may leave before the bucket is asked. They empty it, and no more than that.
    first: u64,
}

impl Pacer {
    /// A full bucket.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All that was sent has arrived: what leaves next is a burst of its own.
    #[inline]
    pub fn on_idle(&mut self, pace: Option<Pace>) {
        self.first = pace.map_or(0, |pace| pace.first_burst);
    }

    /// Nanoseconds from `now` until `bytes` may leave at `pace`; 0 means at once. A train larger than the
    /// bucket waits for a full one.
    #[must_use]
    pub fn delay_ns(&mut self, now: Timestamp, bytes: u64, pace: Option<Pace>) -> u64 {
        let Some(Pace { rate, burst, .. }) = pace else { return 0 };
        if bytes <= self.first {
            return 0;
        }
        let spare_ns = time_ns(burst - bytes.min(burst), rate);
        // L41, RFC 9002 §7.7: "Senders MUST either use pacing or limit such bursts."
        self.keep_pace(now, rate);
        self.drained.since_ns(now).saturating_sub(spare_ns)
    }

    /// `bytes` left. Probes are never held back, but they count: the bucket goes into debt, by
    /// `DEBT_BURSTS` bursts at most.
    #[inline]
    pub fn on_sent(&mut self, now: Timestamp, bytes: u64, pace: Option<Pace>) {
        if let Some(pace) = pace {
            self.on_paced(now, bytes, pace);
        }
    }

    #[inline(never)]
    fn on_paced(&mut self, now: Timestamp, bytes: u64, pace: Pace) {
        let Pace { rate, burst, .. } = pace;
        self.keep_pace(now, rate);
        let sent_ns = time_ns(bytes, rate);
        let is_first = bytes <= self.first;
        self.first = self.first.saturating_sub(bytes);
        let most_ns = if is_first {
            time_ns(burst, rate).max(self.drained.since_ns(now))
        } else {
            time_ns(burst.saturating_mul(DEBT_BURSTS), rate).max(sent_ns)
        };
        let left_ns = self.drained.since_ns(now);
        (self.drained, self.rate) = (now.after_ns(left_ns.saturating_add(sent_ns).min(most_ns)), rate);
    }

    /// From now on the bytes that are still owed drain at `rate` where that is faster: packets that left while a
    /// round trip seemed to last a second are not waited for by the second once it is known to last a
    /// millisecond. Nor are they waited for longer than was right when they left: at a window that fell to a
    /// tenth of a packet, a train would be waited for by the second.
    fn keep_pace(&mut self, now: Timestamp, rate: u64) {
        let left_ns = self.drained.since_ns(now);
        if left_ns == 0 {
            self.rate = rate;
        } else if rate > self.rate {
            let ns = u128::from(left_ns) * u128::from(self.rate) / u128::from(rate);
            self.drained = now.after_ns(u64::try_from(ns).unwrap_or(u64::MAX));
            self.rate = rate;
        }
    }
}

/// What was sent in a burst must not be waited for at another window's pace: one that fell from a train to a
/// tenth of a packet would wait for the train.
const DEBT_BURSTS: u64 = 4;

fn time_ns(bytes: u64, rate: u64) -> u64 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// 1 MB/s.
    fn pace(burst: u64) -> Option<Pace> {
        Some(Pace { rate: 1_000_000, burst, first_burst: 0 })
    }

    #[test]
    fn a_burst_of_one_bucket_leaves_at_once_and_the_next_waits() {
        // L41.
        let mut pacer = Pacer::new();
        let pace = pace(10_000);
        for _ in 0..10 {
            assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, pace), 0);
            pacer.on_sent(Timestamp(0), 1_000, pace);
        }
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, pace), MS);
        assert_eq!(pacer.delay_ns(Timestamp(MS), 1_000, pace), 0);
    }

    #[test]
    fn after_silence_a_first_burst_leaves_at_once_and_leaves_the_bucket_empty() {
        let pace = Some(Pace { rate: 1_000_000, burst: 2_000, first_burst: 10_000 });
        let mut pacer = Pacer::new();
        pacer.on_idle(pace);
        for _ in 0..10 {
            assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, pace), 0);
            pacer.on_sent(Timestamp(0), 1_000, pace);
        }
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, pace), MS, "the bucket is empty, and not in debt");
        pacer.on_idle(None);
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, pace), MS);
    }

    #[test]
    fn over_time_it_lets_through_exactly_the_rate() {
        // 1 MB/s for 10 s, in packets of 1,237 bytes.
        let mut pacer = Pacer::new();
        let (mut now, mut sent) = (Timestamp(0), 0);
        while now.0 < 10_000 * MS {
            pacer.on_sent(now, 1_237, pace(10_000));
            sent += 1_237;
            now = now.after_ns(pacer.delay_ns(now, 1_237, pace(10_000)));
        }
        assert!((10_000_000..=10_011_237).contains(&sent), "{sent}");
    }

    #[test]
    fn idle_time_fills_the_bucket_and_no_more() {
        let mut pacer = Pacer::new();
        let later = Timestamp(3_600_000 * MS);
        pacer.on_sent(later, 2_000, pace(2_000));
        assert_eq!(pacer.delay_ns(later, 1, pace(2_000)), 1_000);
    }

    #[test]
    fn a_train_larger_than_the_bucket_waits_for_a_full_one() {
        let mut pacer = Pacer::new();
        assert_eq!(pacer.delay_ns(Timestamp(0), 64_000, pace(1_000)), 0);
        pacer.on_sent(Timestamp(0), 64_000, pace(1_000));
        assert_eq!(pacer.delay_ns(Timestamp(0), 64_000, pace(1_000)), 64 * MS);
    }

    #[test]
    fn probes_put_it_into_debt_and_the_debt_is_bounded() {
        let mut pacer = Pacer::new();
        (0..100).for_each(|_| pacer.on_sent(Timestamp(0), 1_000, pace(1_000)));
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, pace(1_000)), DEBT_BURSTS * MS);
    }

    #[test]
    fn a_burst_is_a_millisecond_within_two_packets_and_the_first_window_or_a_train() {
        // L41, RFC 9002 §7.7.
        assert_eq!(Pace::of(11_000_000, 1_200, 12_000).burst, 11_000, "88 Mbit/s");
        assert_eq!(Pace::of(1_000, 1_200, 12_000).burst, 2_400);
        assert_eq!(Pace::of(u64::MAX, 1_200, 12_000).burst, 12_000);
        assert_eq!(Pace::of(u64::MAX, 1_200, 1 << 20).burst, TRAIN_SIZE_MAX as u64);
        assert_eq!(Pace::of(u64::MAX, 60_000, 1).burst, 120_000, "two packets, whatever else");
    }

    #[test]
    fn what_was_sent_at_a_slow_rate_is_not_waited_for_at_that_rate_once_it_is_fast() {
        // Seed 536 of the simulator: sent while the round trip seemed to last a second, waited for two seconds
        // when it had long been known to last 15 ms.
        let slow = Some(Pace { rate: 10_000, burst: 1_000, first_burst: 0 });
        let mut pacer = Pacer::new();
        pacer.on_sent(Timestamp(0), 3_000, slow);
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, slow), 300 * MS);
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, pace(1_000)), 3 * MS, "3,000 bytes at 1 MB/s");
        // Seed 583: and it drains at the new pace, packets or no packets.
        assert_eq!(pacer.delay_ns(Timestamp(2 * MS), 1_000, pace(1_000)), MS);
    }

    #[test]
    fn what_was_sent_at_a_fast_rate_is_not_waited_for_at_a_slow_one() {
        let slow = Some(Pace { rate: 10_000, burst: 1_000, first_burst: 0 });
        let mut pacer = Pacer::new();
        pacer.on_sent(Timestamp(0), 3_000, pace(1_000));
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, slow), 3 * MS);
        pacer.on_sent(Timestamp(MS), 1_000, slow);
        assert_eq!(pacer.delay_ns(Timestamp(MS), 1_000, slow), 102 * MS, "2 ms of old, 100 of new");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pacer = Pacer::new();
        pacer.on_sent(Timestamp(0), u64::MAX, None);
        assert_eq!(pacer.delay_ns(Timestamp(0), u64::MAX, None), 0);
    }

    #[test]
    fn absurd_rates_do_not_overflow() {
        let mut pacer = Pacer::new();
        let pace = |rate| Some(Pace { rate, burst: u64::MAX, first_burst: 0 });
        pacer.on_sent(Timestamp(5), u64::MAX, pace(0));
        pacer.on_sent(Timestamp(5), u64::MAX, pace(u64::MAX));
        assert_eq!(pacer.delay_ns(Timestamp::NEVER, 1, pace(1)), 0);
    }
}
