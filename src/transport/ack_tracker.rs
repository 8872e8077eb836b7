//! When to acknowledge. Whether an ack may leave is one question (anything new to say), whether it
//! must is another (asked, out of order, marked, many, or late).
//!
//! RFC 9000 §13.2.1 acks every second packet; inside a rack that doubles the packet count, so the
//! `dc` policy lets [`AckPolicy::packets_max`] go by, and bounds the wait by a quarter of a round trip
//! instead. The sender, who knows when its burst ends, asks (L33).

use crate::time::Timestamp;

/// How long acks may be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPolicy {
    /// The most an ack is held back, as told to the peer in the handshake.
    pub max_ack_delay_ns: u64,
    /// Ack-eliciting packets after which one is due at once.
    pub packets_max: u32,
}

impl AckPolicy {
    /// Inside a data centre: 25 µs, 64 packets.
    pub const DC: AckPolicy = AckPolicy { max_ack_delay_ns: 25_000, packets_max: 64 };
    /// Elsewhere: RFC 9000 §18.2's 25 ms, and its "at least every second packet" (L26).
    pub const WAN: AckPolicy = AckPolicy { max_ack_delay_ns: 25_000_000, packets_max: 2 };
}

/// What the tracker needs to know of a packet that was opened, was new, and is queued for delivery
/// (L28).
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When it arrived: the receive stamp where the kernel gives one (L31).
    pub at: Timestamp,
    /// Its number.
    pub number: u64,
    /// Whether it holds anything that wants an ack.
    pub eliciting: bool,
    /// Whether it asks for an ack at once.
    pub asked: bool,
    /// Whether it did not directly follow the largest before it.
    pub out_of_order: bool,
    /// Whether the network marked it (ECN congestion experienced).
    pub marked: bool,
}

/// Decides when one session acknowledges.
#[derive(Clone, Debug)]
pub struct AckTracker {
    policy: AckPolicy,
    /// The wait in force: a quarter of a round trip within the policy.
    delay_ns: u64,
    /// Ack-eliciting packets since the last ack.
    eliciting: u32,
    due_at: Timestamp,
    at_once: bool,
    /// Anything, eliciting or not, since the last ack.
    news: bool,
    largest: u64,
    largest_at: Timestamp,
}

impl AckTracker {
    /// Nothing to acknowledge yet.
    #[must_use]
    pub fn new(policy: AckPolicy) -> Self {
        Self {
            policy,
            delay_ns: policy.max_ack_delay_ns,
            eliciting: 0,
            due_at: Timestamp::NEVER,
            at_once: false,
            news: false,
            largest: 0,
            largest_at: Timestamp(0),
        }
    }

    /// Another kind of path turned out to lie between the ends.
    pub fn set_policy(&mut self, policy: AckPolicy) {
        self.policy = policy;
        self.delay_ns = policy.max_ack_delay_ns;
    }

    /// Sets the wait to a quarter of the smoothed round trip, at most what the peer was told. The
    /// deadline of an ack already waiting stands.
    pub fn on_rtt(&mut self, smoothed_ns: u64) {
        self.delay_ns = (smoothed_ns / 4).min(self.policy.max_ack_delay_ns);
    }

    /// Enters one packet.
    #[inline(always)]
    pub fn on_packet(&mut self, arrival: &Arrival) {
        if arrival.number >= self.largest {
            self.largest = arrival.number;
            self.largest_at = arrival.at;
        }
        self.news = true;
        // L29, RFC 9000 §13.2.1: "An endpoint MUST NOT send a non-ack-eliciting packet in response to a
        // non-ack-eliciting packet", or two silent ends would ack each other's acks for ever.
        if !arrival.eliciting {
            return;
        }
        // L26, RFC 9000 §13.2.1: acknowledged "within its advertised max_ack_delay".
        if self.eliciting == 0 {
            self.due_at = arrival.at.after_ns(self.delay_ns);
        }
        self.eliciting += 1;
        // L27, RFC 9000 §13.2.1: "an endpoint SHOULD generate and send an ACK frame without delay" out of order and
        // on a gap: the peer's loss detection waits for exactly these.
        self.at_once |= arrival.asked
            || arrival.out_of_order
            || arrival.marked
            || self.eliciting >= self.policy.packets_max;
    }

    /// Makes an ack due at once, whatever the policy: something about the last packet (a duplicate
    /// unit, say) has to be told. Ask it only for ack-eliciting packets (L29).
    pub fn request_at_once(&mut self) {
        self.news = true;
        self.at_once = true;
    }

    /// Whether an ack must leave now, on its own if need be.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> bool {
        self.at_once || self.due_at <= now
    }

    /// Whether an ack must leave at once, without the deadline.
    #[must_use]
    pub fn immediate(&self) -> bool {
        self.at_once
    }

    /// When an ack must leave though nothing else does. [`Timestamp`] 0 means at once; `None`, that
    /// nothing wants one.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.at_once { Some(Timestamp(0)) } else { (self.eliciting > 0).then_some(self.due_at) }
    }

    /// Whether an ack would tell the peer anything it wants to know: worth a place in a packet that
    /// leaves anyway.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.at_once || self.eliciting > 0
    }

    /// Whether anything arrived since the last ack, eliciting or not. An ack in a packet that is
    /// itself ack-eliciting may report it: that is how ack-only packets are pruned at all (RFC 9000
    /// §13.2.4).
    #[must_use]
    pub fn news(&self) -> bool {
        self.news
    }

    /// How long the ack of the largest packet was held back, for the ack's delay field.
    ///
    /// L31, RFC 9000 §13.2.5: "An endpoint measures the delays intentionally introduced". Time in the kernel's
    /// queue is not among them (P-13.9).
    #[must_use]
    pub fn delay_ns(&self, now: Timestamp) -> u64 {
        now.since_ns(self.largest_at)
    }

    /// An ack of everything so far has left.
    pub fn on_ack_sent(&mut self) {
        self.eliciting = 0;
        self.at_once = false;
        self.news = false;
        self.due_at = Timestamp::NEVER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    fn arrival(at_us: u64, number: u64) -> Arrival {
        Arrival {
            at: Timestamp(at_us * US),
            number,
            eliciting: true,
            asked: false,
            out_of_order: false,
            marked: false,
        }
    }

    fn dc() -> AckTracker {
        AckTracker::new(AckPolicy::DC)
    }

    #[test]
    fn a_lone_packet_is_acked_within_the_maximum_delay() {
        // L26.
        let mut tracker = dc();
        tracker.on_packet(&arrival(100, 0));
        assert!(!tracker.due(Timestamp(124 * US)));
        assert!(tracker.wanted());
        assert_eq!(tracker.deadline(), Some(Timestamp(125 * US)));
        assert!(tracker.due(Timestamp(125 * US)));
    }

    #[test]
    fn later_packets_do_not_push_the_deadline_back() {
        let mut tracker = dc();
        (0..10).for_each(|n| tracker.on_packet(&arrival(100 + n, n)));
        assert_eq!(tracker.deadline(), Some(Timestamp(125 * US)));
    }

    #[test]
    fn the_wait_is_a_quarter_of_a_round_trip() {
        let mut tracker = dc();
        tracker.on_rtt(40 * US);
        tracker.on_packet(&arrival(100, 0));
        assert_eq!(tracker.deadline(), Some(Timestamp(110 * US)));
        tracker.on_ack_sent();
        tracker.on_rtt(4_000 * US);
        tracker.on_packet(&arrival(200, 1));
        assert_eq!(tracker.deadline(), Some(Timestamp(225 * US)));
    }

    #[test]
    fn the_sixty_fourth_packet_is_acked_at_once() {
        let mut tracker = dc();
        (0..63).for_each(|n| tracker.on_packet(&arrival(0, n)));
        assert!(!tracker.immediate());
        tracker.on_packet(&arrival(0, 63));
        assert!(tracker.immediate());
        assert_eq!(tracker.deadline(), Some(Timestamp(0)));
    }

    #[test]
    fn in_the_wan_every_second_packet_is_acked() {
        // L26, RFC 9000 §13.2.2.
        let mut tracker = AckTracker::new(AckPolicy::WAN);
        tracker.on_packet(&arrival(0, 0));
        assert!(!tracker.due(Timestamp(0)));
        tracker.on_packet(&arrival(0, 1));
        assert!(tracker.due(Timestamp(0)));
    }

    #[test]
    fn a_gap_a_mark_and_a_request_are_acked_at_once() {
        // L27, L33.
        type Change = fn(&mut Arrival);
        let changes: [Change; 3] = [|a| a.out_of_order = true, |a| a.marked = true, |a| a.asked = true];
        for change in changes {
            let mut tracker = dc();
            let mut packet = arrival(0, 0);
            change(&mut packet);
            tracker.on_packet(&packet);
            assert!(tracker.due(Timestamp(0)));
        }
    }

    #[test]
    fn an_ack_only_packet_is_never_answered() {
        // L29: not even when it comes out of order or marked.
        let mut tracker = dc();
        let quiet =
            Arrival { eliciting: false, out_of_order: true, marked: true, asked: true, ..arrival(0, 9) };
        tracker.on_packet(&quiet);
        assert!(!tracker.wanted());
        assert_eq!(tracker.deadline(), None);
        assert!(!tracker.due(Timestamp(u64::MAX - 1)));
        assert!(tracker.news());
    }

    #[test]
    fn a_sent_ack_settles_everything() {
        let mut tracker = dc();
        tracker.on_packet(&Arrival { asked: true, ..arrival(0, 0) });
        tracker.on_ack_sent();
        assert!(!tracker.wanted());
        assert!(!tracker.news());
        assert_eq!(tracker.deadline(), None);
    }

    #[test]
    fn the_delay_counts_from_the_largest_packet() {
        // L31, RFC 9000 §13.2.5; a late packet does not shorten it.
        let mut tracker = dc();
        tracker.on_packet(&arrival(100, 5));
        tracker.on_packet(&arrival(110, 4));
        assert_eq!(tracker.delay_ns(Timestamp(120 * US)), 20 * US);
        tracker.on_packet(&arrival(115, 6));
        assert_eq!(tracker.delay_ns(Timestamp(120 * US)), 5 * US);
    }
}
