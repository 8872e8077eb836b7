//! Spreads a window over the round trip: a token bucket kept as one moment in time (the virtual
//! scheduling of ITU-T I.371, "GCRA"), so that no fraction of a token is ever lost to rounding.
//!
//! L41, RFC 9002 §7.7: "Senders MUST either use pacing or limit such bursts." Bursts up to one bucket leave at once, and a train counts as one burst. Packets
//! that hold only acks are not paced: do not ask for them.

use crate::time::Timestamp;

/// The pacer of one path.
#[derive(Clone, Debug)]
pub struct Pacer {
    burst: u64,
    /// When all that was sent would have drained at `rate`; the bucket is full from then on.
    drained: Timestamp,
    rate: u64,
}

impl Pacer {
    /// A full bucket of `burst` bytes: one train, or less where the path's first hop has small buffers.
    #[must_use]
    pub fn new(burst: u64) -> Self {
        Self { burst: burst.max(1), drained: Timestamp(0), rate: 1 }
    }

    /// Nanoseconds from `now` until `bytes` may leave at `rate` bytes a second; 0 means at once. A
    /// train larger than the bucket waits for a full one.
    #[must_use]
    pub fn delay_ns(&mut self, now: Timestamp, bytes: u64, rate: Option<u64>) -> u64 {
        let Some(rate) = rate else { return 0 };
        let spare_ns = time_ns(self.burst - bytes.min(self.burst), rate);
        // L41, RFC 9002 §7.7: "Senders MUST either use pacing or limit such bursts."
        self.keep_pace(now, rate);
        self.drained.since_ns(now).saturating_sub(spare_ns)
    }

    /// `bytes` left. Probes are never held back, but they count: the bucket goes into debt.
    pub fn on_sent(&mut self, now: Timestamp, bytes: u64, rate: Option<u64>) {
        let Some(rate) = rate else { return };
        self.keep_pace(now, rate);
        let drains_in_ns = self.drained.since_ns(now).saturating_add(time_ns(bytes, rate));
        (self.drained, self.rate) = (now.after_ns(drains_in_ns), rate.max(1));
    }

    /// From now on the bytes that are still owed drain at `rate` where that is faster: packets that left while a
    /// round trip seemed to last a second are not waited for by the second once it is known to last a
    /// millisecond. Nor are they waited for longer than was right when they left: at a window that fell to a
    /// tenth of a packet, a train would be waited for by the second.
    fn keep_pace(&mut self, now: Timestamp, rate: u64) {
        let left_ns = self.drained.since_ns(now);
        if left_ns == 0 {
            self.rate = rate.max(1);
        } else if rate > self.rate {
            let ns = u128::from(left_ns) * u128::from(self.rate) / u128::from(rate);
            self.drained = now.after_ns(u64::try_from(ns).unwrap_or(u64::MAX));
            self.rate = rate;
        }
    }
}

fn time_ns(bytes: u64, rate: u64) -> u64 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Option<u64> = Some(1_000_000);
    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_of_one_bucket_leaves_at_once_and_the_next_waits() {
        // L41.
        let mut pacer = Pacer::new(10_000);
        for _ in 0..10 {
            assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, RATE), 0);
            pacer.on_sent(Timestamp(0), 1_000, RATE);
        }
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, RATE), MS);
        assert_eq!(pacer.delay_ns(Timestamp(MS), 1_000, RATE), 0);
    }

    #[test]
    fn over_time_it_lets_through_exactly_the_rate() {
        // 1 MB/s for 10 s, in packets of 1,237 bytes.
        let mut pacer = Pacer::new(10_000);
        let (mut now, mut sent) = (Timestamp(0), 0);
        while now.0 < 10_000 * MS {
            pacer.on_sent(now, 1_237, RATE);
            sent += 1_237;
            now = now.after_ns(pacer.delay_ns(now, 1_237, RATE));
        }
        assert!((10_000_000..=10_011_237).contains(&sent), "{sent}");
    }

    #[test]
    fn idle_time_fills_the_bucket_and_no_more() {
        let mut pacer = Pacer::new(2_000);
        let later = Timestamp(3_600_000 * MS);
        pacer.on_sent(later, 2_000, RATE);
        assert_eq!(pacer.delay_ns(later, 1, RATE), 1_000);
    }

    #[test]
    fn a_train_larger_than_the_bucket_waits_for_a_full_one() {
        let mut pacer = Pacer::new(1_000);
        assert_eq!(pacer.delay_ns(Timestamp(0), 64_000, RATE), 0);
        pacer.on_sent(Timestamp(0), 64_000, RATE);
        assert_eq!(pacer.delay_ns(Timestamp(0), 64_000, RATE), 64 * MS);
    }

    #[test]
    fn what_was_sent_at_a_slow_rate_is_not_waited_for_at_that_rate_once_it_is_fast() {
        // Seed 536 of the simulator: sent while the round trip seemed to last a second, waited for two seconds
        // when it had long been known to last 15 ms.
        let slow = Some(10_000);
        let mut pacer = Pacer::new(1_000);
        pacer.on_sent(Timestamp(0), 11_000, slow);
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, slow), 1_100 * MS);
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, RATE), 11 * MS, "11,000 bytes at 1 MB/s");
        // Seed 583: and it drains at the new rate, packets or no packets.
        assert_eq!(pacer.delay_ns(Timestamp(2 * MS), 1_000, RATE), 9 * MS);
    }

    #[test]
    fn what_was_sent_at_a_fast_rate_is_not_waited_for_at_a_slow_one() {
        let slow = Some(10_000);
        let mut pacer = Pacer::new(1_000);
        pacer.on_sent(Timestamp(0), 3_000, RATE);
        assert_eq!(pacer.delay_ns(Timestamp(0), 1_000, slow), 3 * MS);
        pacer.on_sent(Timestamp(MS), 1_000, slow);
        assert_eq!(pacer.delay_ns(Timestamp(MS), 1_000, slow), 102 * MS, "2 ms of old, 100 of new");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pacer = Pacer::new(1);
        pacer.on_sent(Timestamp(0), u64::MAX, None);
        assert_eq!(pacer.delay_ns(Timestamp(0), u64::MAX, None), 0);
    }

    #[test]
    fn absurd_rates_do_not_overflow() {
        let mut pacer = Pacer::new(u64::MAX);
        pacer.on_sent(Timestamp(5), u64::MAX, Some(0));
        pacer.on_sent(Timestamp(5), u64::MAX, Some(u64::MAX));
        assert_eq!(pacer.delay_ns(Timestamp::NEVER, 1, Some(1)), 0);
    }
}
