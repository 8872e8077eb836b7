//! How much reordering a path may show before it counts as loss: so many packets, so much time.
//!
//! Both start at RFC 9002's constants, and grow when a packet that had been declared lost arrives after
//! all: then it was only late. What was learnt is forgotten after enough recoveries without such a
//! mistake, since patience costs time wherever a loss is real.

use crate::transport::rtt::Rtt;

/// What the path has shown of reordering.
#[derive(Clone, Debug, Default)]
pub struct Reordering {
    /// How much later than a round trip a packet was acknowledged that had been declared lost, at most.
    late_ns: u64,
    /// Recoveries since the last mistake.
    clean: u8,
}

impl Reordering {
    /// How many packets behind the largest acknowledged one a packet is lost.
    ///
    /// L13, RFC 9002 §6.1.1: "The RECOMMENDED initial value for the packet reordering threshold
    /// (kPacketThreshold) is 3". On a path that reorders, time alone decides (RFC 8985 §6.2): how many packets
    /// overtake another depends on how many are sent.
    #[must_use]
    pub fn packets(&self) -> u64 {
        if self.late_ns == 0 { PACKET_THRESHOLD } else { u64::MAX }
    }

    /// How long after its sending a packet is lost, once a later one was acknowledged, in nanoseconds.
    ///
    /// L14, RFC 9002 §6.1.2: "max(kTimeThreshold * max(smoothed_rtt, latest_rtt), kGranularity)", the
    /// threshold being 9/8. L17: what the path proved to need is granted beyond that, to one round trip more:
    /// RFC 8985 §6.2 bounds its window by SRTT, too.
    #[must_use]
    pub fn time_ns(&self, rtt: &Rtt, granularity_ns: u64) -> u64 {
        let rtt_ns = rtt.smoothed_ns().max(rtt.latest_ns());
        let proven_ns = (self.late_ns + self.late_ns / 8).min(rtt.smoothed_ns());
        (rtt_ns + (rtt_ns / 8).max(proven_ns)).max(granularity_ns)
    }

    /// A packet declared lost was acknowledged, `late_ns` later than a smoothed round trip after its sending.
    ///
    /// L17, RFC 8985 §6.2: "Grow the reordering window per round that sees DSACK." A DSACK does not tell how late the
    /// packet was; our acks do, so the window grows to that at once (P-13.15).
    pub fn on_spurious(&mut self, late_ns: u64) {
        self.clean = 0;
        self.late_ns = self.late_ns.max(late_ns).clamp(1, LATE_NS_MAX);
    }

    /// A recovery began.
    pub fn on_recovery(&mut self) {
        self.clean = self.clean.saturating_add(1);
        // L17, RFC 8985 §6.2: "Reset the window after 16 DSACK-free recoveries".
        if self.clean >= CLEAN_RECOVERIES {
            *self = Self::default();
        }
    }
}

/// RFC 9002 §6.1.1: kPacketThreshold.
const PACKET_THRESHOLD: u64 = 3;
/// Longer than any round trip that bounds it: keeps sums from overflowing.
const LATE_NS_MAX: u64 = 600_000_000_000;
/// RFC 8985 §6.2.
const CLEAN_RECOVERIES: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn rtt_of(ns: u64) -> Rtt {
        let mut rtt = Rtt::new(ns);
        rtt.on_sample(Timestamp(1), ns, 0, 0);
        rtt
    }

    #[test]
    fn the_time_threshold_is_nine_eighths_of_the_round_trip_and_no_less_than_the_grain() {
        // L14.
        let reordering = Reordering::default();
        assert_eq!(reordering.time_ns(&rtt_of(80_000), 16_000), 90_000);
        assert_eq!(reordering.time_ns(&rtt_of(8_000), 16_000), 16_000);
    }

    #[test]
    fn the_packet_threshold_is_three_at_first_and_never_less() {
        // L13.
        let mut reordering = Reordering::default();
        assert_eq!(reordering.packets(), 3);
        reordering.on_spurious(0);
        assert_eq!(reordering.packets(), u64::MAX);
        (0..100).for_each(|_| reordering.on_recovery());
        assert_eq!(reordering.packets(), 3);
    }

    #[test]
    fn a_packet_proven_late_widens_the_window_to_that_and_an_eighth_and_one_round_trip_at_most() {
        // L17.
        let (mut reordering, rtt) = (Reordering::default(), rtt_of(80_000));
        reordering.on_spurious(16_000);
        assert_eq!(reordering.time_ns(&rtt, 0), 98_000);
        reordering.on_spurious(8_000);
        assert_eq!(reordering.time_ns(&rtt, 0), 98_000, "less late: nothing new");
        reordering.on_spurious(32_000);
        assert_eq!(reordering.time_ns(&rtt, 0), 116_000);
        reordering.on_spurious(u64::MAX);
        assert_eq!(reordering.time_ns(&rtt, 0), 160_000, "the bound");
    }

    #[test]
    fn sixteen_recoveries_without_a_mistake_make_it_strict_again() {
        // L17.
        let (mut reordering, rtt) = (Reordering::default(), rtt_of(80_000));
        reordering.on_spurious(16_000);
        (0..15).for_each(|_| reordering.on_recovery());
        assert_eq!(reordering.time_ns(&rtt, 0), 98_000);
        reordering.on_spurious(16_000);
        (0..15).for_each(|_| reordering.on_recovery());
        assert_eq!(reordering.time_ns(&rtt, 0), 98_000, "a mistake starts the count anew");
        reordering.on_recovery();
        assert_eq!((reordering.packets(), reordering.time_ns(&rtt, 0)), (3, 90_000));
    }
}
