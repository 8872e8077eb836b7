//! Round-trip time as RFC 9002 §5 estimates it, in nanoseconds, with the clock's grain as a
//! parameter: what is negligible over a continent is the whole round trip inside a rack.

use crate::hint::rarely;
use crate::time::Timestamp;

/// The round-trip estimate of one path.
#[derive(Clone, Debug)]
pub struct Rtt {
    latest_ns: u64,
    smoothed_ns: u64,
    var_ns: u64,
    first_sample_at: Option<Timestamp>,
    min: WindowedMin,
}

impl Rtt {
    /// An estimate without a sample: `initial_ns` stands in for the smoothed value, half of it for the
    /// variation (RFC 9002 §5.3). L07: a short initial value is the caller's explicit choice.
    #[must_use]
    pub fn new(initial_ns: u64) -> Self {
        let initial_ns = initial_ns.min(SAMPLE_NS_MAX);
        Self {
            latest_ns: initial_ns,
            smoothed_ns: initial_ns,
            var_ns: initial_ns / 2,
            first_sample_at: None,
            min: WindowedMin::new(),
        }
    }

    /// Takes one sample: `latest_ns` from the send of the newly acknowledged largest packet to `now`
    /// (L01; the caller checks that it is newly acked), of which the peer says it held the ack back
    /// for `ack_delay_ns`. L04: at most `ack_delay_ns_max` of that is believed.
    pub fn on_sample(&mut self, now: Timestamp, latest_ns: u64, ack_delay_ns: u64, ack_delay_ns_max: u64) {
        let latest_ns = latest_ns.clamp(1, SAMPLE_NS_MAX);
        self.latest_ns = latest_ns;
        // L03, RFC 9002 §5.2: min_rtt "does not adjust for acknowledgment delays reported by the peer".
        self.min.insert(now, latest_ns);
        if rarely(self.first_sample_at.is_none()) {
            self.first_sample_at = Some(now);
            self.smoothed_ns = latest_ns;
            self.var_ns = latest_ns / 2;
            return;
        }
        // L04, RFC 9002 §5.3: an endpoint "MUST use the lesser of the acknowledgment delay and the peer's
        // max_ack_delay".
        let adjusted_ns = self.without_ack_delay(latest_ns, ack_delay_ns.min(ack_delay_ns_max));
        // L05, RFC 9002 §5.3: "smoothed_rtt = 7/8 * smoothed_rtt + 1/8 * adjusted_rtt"; the variation is taken
        // before the mean moves.
        self.var_ns = (3 * self.var_ns + self.smoothed_ns.abs_diff(adjusted_ns)) / 4;
        self.smoothed_ns = (7 * self.smoothed_ns + adjusted_ns) / 8;
    }

    /// Forgets the minimum, so that the next sample sets it (RFC 9002 §5.2: after persistent
    /// congestion the path may be a different one).
    pub fn on_persistent_congestion(&mut self) {
        self.min = WindowedMin::new();
    }

    /// The smoothed round trip; the initial value before the first sample.
    #[must_use]
    pub fn smoothed_ns(&self) -> u64 {
        self.smoothed_ns
    }

    /// The mean deviation from the smoothed value.
    #[must_use]
    pub fn var_ns(&self) -> u64 {
        self.var_ns
    }

    /// The least sample of the last [`MIN_WINDOW_NS`] to twice that; the smoothed value before the
    /// first sample.
    #[must_use]
    pub fn min_ns(&self) -> u64 {
        self.min.value().unwrap_or(self.smoothed_ns)
    }

    /// The newest sample; the initial value before the first.
    #[must_use]
    pub fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    /// Whether any sample was taken.
    #[must_use]
    pub fn has_sample(&self) -> bool {
        self.first_sample_at.is_some()
    }

    /// When the first sample was taken (L23: no persistent congestion before).
    #[must_use]
    pub fn first_sample_at(&self) -> Option<Timestamp> {
        self.first_sample_at
    }

    /// The probe timeout before back-off: smoothed + max(4·variation, granularity) + the peer's
    /// `max_ack_delay_ns` (L05, RFC 9002 §6.2.1), never below `floor_ns`.
    ///
    /// L12, RFC 6298 §2.4: "Whenever RTO is computed, if it is less than 1 second, then the RTO SHOULD be rounded
    /// up to 1 second." `floor_ns` departs from that (P-13.2); it keeps a path of 5 µs from probing at each
    /// scheduling hiccup.
    #[must_use]
    pub fn pto_ns(&self, max_ack_delay_ns: u64, floor_ns: u64, granularity_ns: u64) -> u64 {
        let deviation_ns = (4 * self.var_ns).max(granularity_ns);
        self.smoothed_ns.saturating_add(deviation_ns).saturating_add(max_ack_delay_ns).max(floor_ns)
    }

    fn without_ack_delay(&self, latest_ns: u64, ack_delay_ns: u64) -> u64 {
        // RFC 9002 §5.3: never below min_rtt, else the delay was not only the peer's waiting.
        if latest_ns >= self.min_ns().saturating_add(ack_delay_ns) {
            latest_ns - ack_delay_ns
        } else {
            latest_ns
        }
    }
}

/// The least of the current and the previous window: a longer path is believed after two windows at
/// the latest, and a single slow window is not (L03).
#[derive(Clone, Copy, Debug)]
struct WindowedMin {
    opened: Timestamp,
    current_ns: u64,
    previous_ns: u64,
}

impl WindowedMin {
    fn new() -> Self {
        Self { opened: Timestamp(0), current_ns: u64::MAX, previous_ns: u64::MAX }
    }

    fn insert(&mut self, now: Timestamp, sample_ns: u64) {
        let age_ns = now.since_ns(self.opened);
        if rarely(self.current_ns == u64::MAX || age_ns >= 2 * MIN_WINDOW_NS) {
            *self = Self { opened: now, current_ns: sample_ns, previous_ns: u64::MAX };
        } else if rarely(age_ns >= MIN_WINDOW_NS) {
            *self = Self { opened: now, current_ns: sample_ns, previous_ns: self.current_ns };
        } else {
            self.current_ns = self.current_ns.min(sample_ns);
        }
    }

    fn value(&self) -> Option<u64> {
        let least_ns = self.current_ns.min(self.previous_ns);
        (least_ns != u64::MAX).then_some(least_ns)
    }
}

/// The span after which an old minimum starts to be forgotten (RFC 8985 §6.2 leaves it open; Linux
/// takes 10 s for TCP).
pub const MIN_WINDOW_NS: u64 = 10_000_000_000;
/// Longer than any path: keeps the sums below far from overflow.
const SAMPLE_NS_MAX: u64 = 600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;
    const S: u64 = 1_000_000_000;

    #[test]
    fn before_a_sample_the_initial_value_gives_the_probe_timeout() {
        // L07, RFC 9002 §6.2.2: 333 ms and half of it as variation make 999 ms.
        let rtt = Rtt::new(333 * MS);
        assert!(!rtt.has_sample());
        assert_eq!(rtt.min_ns(), 333 * MS);
        assert_eq!(rtt.pto_ns(0, 0, MS), 999 * MS);
    }

    #[test]
    fn the_first_sample_replaces_the_initial_value() {
        let mut rtt = Rtt::new(333 * MS);
        rtt.on_sample(Timestamp(S), 10 * US, 5 * US, 25 * US);
        assert!(rtt.has_sample());
        assert_eq!((rtt.smoothed_ns(), rtt.var_ns(), rtt.min_ns()), (10 * US, 5 * US, 10 * US));
    }

    #[test]
    fn later_samples_move_the_mean_by_an_eighth_and_the_variation_by_a_quarter() {
        // L05, RFC 9002 §5.3.
        let mut rtt = Rtt::new(MS);
        rtt.on_sample(Timestamp(0), 800 * US, 0, 0);
        rtt.on_sample(Timestamp(1), 1_600 * US, 0, 0);
        assert_eq!(rtt.smoothed_ns(), 900 * US);
        assert_eq!(rtt.var_ns(), (3 * 400 * US + 800 * US) / 4);
        assert_eq!(rtt.latest_ns(), 1_600 * US);
    }

    #[test]
    fn ack_delay_is_subtracted_only_up_to_the_declared_maximum() {
        // L04: the peer claims 700 µs, may hold back 100 µs.
        let mut rtt = Rtt::new(MS);
        rtt.on_sample(Timestamp(0), 800 * US, 0, 100 * US);
        rtt.on_sample(Timestamp(1), 1_700 * US, 700 * US, 100 * US);
        assert_eq!(rtt.smoothed_ns(), (7 * 800 * US + 1_600 * US) / 8);
    }

    #[test]
    fn ack_delay_never_takes_a_sample_below_the_minimum() {
        // L04; and L03: the minimum is of samples as they are.
        let mut rtt = Rtt::new(MS);
        rtt.on_sample(Timestamp(0), 800 * US, 0, MS);
        rtt.on_sample(Timestamp(1), 850 * US, 100 * US, MS);
        assert_eq!(rtt.smoothed_ns(), (7 * 800 * US + 850 * US) / 8);
        assert_eq!(rtt.min_ns(), 800 * US);
    }

    #[test]
    fn a_longer_path_is_believed_after_two_windows() {
        // L03.
        let mut rtt = Rtt::new(MS);
        rtt.on_sample(Timestamp(0), 10 * US, 0, 0);
        for second in 1..=30 {
            rtt.on_sample(Timestamp(second * S), 40 * US, 0, 0);
            let expected = if second < 20 { 10 * US } else { 40 * US };
            assert_eq!(rtt.min_ns(), expected, "at {second} s");
        }
    }

    #[test]
    fn the_minimum_of_the_window_before_still_counts() {
        // L03.
        let mut rtt = Rtt::new(MS);
        for (second, sample_us, minimum_us) in [(0, 10, 10), (11, 40, 10), (22, 50, 40), (33, 60, 50)] {
            rtt.on_sample(Timestamp(second * S), sample_us * US, 0, 0);
            assert_eq!(rtt.min_ns(), minimum_us * US, "at {second} s");
        }
    }

    #[test]
    fn a_minimum_from_before_a_long_silence_is_forgotten() {
        // L03.
        let mut rtt = Rtt::new(MS);
        rtt.on_sample(Timestamp(0), 10 * US, 0, 0);
        rtt.on_sample(Timestamp(60 * S), 90 * US, 0, 0);
        assert_eq!(rtt.min_ns(), 90 * US);
    }

    #[test]
    fn persistent_congestion_refreshes_the_minimum() {
        // L03, RFC 9002 §5.2.
        let mut rtt = Rtt::new(MS);
        rtt.on_sample(Timestamp(0), 10 * US, 0, 0);
        rtt.on_persistent_congestion();
        rtt.on_sample(Timestamp(1), 70 * US, 0, 0);
        assert_eq!(rtt.min_ns(), 70 * US);
    }

    #[test]
    fn the_probe_timeout_keeps_its_floor_and_its_grain() {
        // L05, P-13.2.
        let mut rtt = Rtt::new(MS);
        (0..100).for_each(|n| rtt.on_sample(Timestamp(n), 8 * US, 0, 0));
        // The variation has died out: the grain stands in for it, then the dc floor of 75 µs.
        assert_eq!(rtt.pto_ns(25 * US, 0, 16 * US), 8 * US + 16 * US + 25 * US);
        assert_eq!(rtt.pto_ns(25 * US, 75 * US, 16 * US), 75 * US);
    }

    #[test]
    fn absurd_samples_do_not_overflow() {
        let mut rtt = Rtt::new(u64::MAX);
        (0..10).for_each(|_| rtt.on_sample(Timestamp::NEVER, u64::MAX, u64::MAX, u64::MAX));
        assert!(rtt.pto_ns(u64::MAX, 0, 0) == u64::MAX);
        rtt.on_sample(Timestamp::NEVER, 0, 0, 0);
        assert!(rtt.min_ns() >= 1);
    }

    #[test]
    fn a_millisecond_of_scheduling_noise_makes_one_probe_in_a_thousand_needless_at_most() {
        // L12: a path of 50 us between hosts that answer up to a millisecond late.
        let mut rng = crate::rng::Rng::new(12);
        let mut rtt = Rtt::new(MS);
        let mut needless = 0;
        for n in 0..100_000 {
            let sample_ns = 50 * US + rng.below(MS);
            needless += u64::from(n > 100 && sample_ns > rtt.pto_ns(25 * US, 75 * US, 16 * US));
            rtt.on_sample(Timestamp(n * MS), sample_ns, 0, 0);
        }
        assert!(needless <= 100, "{needless} of 100,000 probes were needless");
    }
}
