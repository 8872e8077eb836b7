//! Delivery-rate samples (draft-ietf-ccwg-bbr §4.1): how fast packets arrived while one was under way.
//!
//! ```text
//!   sent      P ....................... now          delivered since P was sent
//!   acked     P.delivered_at .......... now   rate = ---------------------------------------
//!                                                    max(time to send them, time to ack them)
//! ```
//!
//! One stamp a packet in flight, kept beside [`SentPackets`](crate::transport::sent::SentPackets) and only for a controller that
//! asks: no other session pays for it.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// What one ACK frame says of the path's rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// Bytes a second; 0 when the interval was too short to tell.
    pub rate: u64,
    /// Bytes delivered over the sample's interval.
    pub delivered: u64,
    /// What had been delivered in all when its packet was sent: a round trip ends when this reaches what had
    /// been delivered when the round began.
    pub prior_delivered: u64,
    /// Delivered in all by now.
    pub total_delivered: u64,
    /// The sender had less to send than the path took: the rate is a lower bound (L43).
    pub app_limited: bool,
    /// Bytes in flight when its packet was sent, itself included.
    pub flight_at_send: u64,
    /// Bytes lost between its sending and now.
    pub lost: u64,
}

/// Of a lost packet: the flight it left in, and what was lost since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostFlight {
    /// Bytes in flight when it was sent, itself included.
    pub flight_at_send: u64,
    /// Bytes lost since then, itself included.
    pub lost: u64,
    /// The sender had little to send then.
    pub app_limited: bool,
}

/// The sampler of one session.
#[derive(Debug, Default)]
pub struct DeliveryRate {
    stamps: VecDeque<Stamp>,
    delivered: u64,
    delivered_at: Timestamp,
    first_sent_at: Timestamp,
    lost: u64,
    /// Samples of packets sent before so much was delivered are limited by the application.
    app_limited_until: u64,
    newest: Option<Stamp>,
}

/// What is noted of a packet when it is sent.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    number: u64,
    sent_at: Timestamp,
    delivered: u64,
    delivered_at: Timestamp,
    first_sent_at: Timestamp,
    lost: u64,
    flight: u64,
    /// Its bytes; 0 once its fate is known.
    size: u32,
    app_limited: bool,
}

impl DeliveryRate {
    /// Packet `number` of `size` bytes leaves; `flight` holds it already.
    pub fn on_sent(&mut self, number: u64, now: Timestamp, size: u64, flight: u64) {
        // §4.1.2.2: "If there are no packets in flight yet … start the delivery-rate sampling interval".
        if flight <= size {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        self.stamps.push_back(Stamp {
            number,
            sent_at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            lost: self.lost,
            flight,
            size: size as u32,
            app_limited: self.app_limited_until > self.delivered,
        });
    }

    /// Packet `number` was acknowledged.
    pub fn on_acked(&mut self, number: u64, now: Timestamp) {
        let Some(stamp) = self.take(number) else { return };
        self.delivered += u64::from(stamp.size);
        self.delivered_at = now;
        // §4.1.2.3: "update the sample using the most recently sent packet".
        if self.newest.is_none_or(|newest| newest.number < number) {
            self.newest = Some(stamp);
            self.first_sent_at = stamp.sent_at;
        }
    }

    /// A packet of `size` bytes that was declared lost arrived after all.
    pub fn on_spurious(&mut self, size: u64, now: Timestamp) {
        self.delivered += size;
        self.delivered_at = now;
        self.lost = self.lost.saturating_sub(size);
    }

    /// Packet `number` was declared lost.
    pub fn on_lost(&mut self, number: u64) -> Option<LostFlight> {
        let stamp = self.take(number)?;
        self.lost += u64::from(stamp.size);
        Some(LostFlight {
            flight_at_send: stamp.flight,
            lost: self.lost - stamp.lost.min(self.lost),
            app_limited: stamp.app_limited,
        })
    }

    /// The sample of the ACK frame whose packets were entered; `min_rtt_ns` is the path's length.
    pub fn sample(&mut self, min_rtt_ns: u64) -> Option<RateSample> {
        let stamp = self.newest.take()?;
        let send_ns = stamp.sent_at.since_ns(stamp.first_sent_at);
        let ack_ns = self.delivered_at.since_ns(stamp.delivered_at);
        let interval_ns = send_ns.max(ack_ns);
        let delivered = self.delivered - stamp.delivered;
        // §4.1.2.3: an interval below the least round trip comes from reordering or a stalled clock.
        let rate = if interval_ns < min_rtt_ns.max(1) { 0 } else { per_second(delivered, interval_ns) };
        Some(RateSample {
            rate,
            delivered,
            prior_delivered: stamp.delivered,
            total_delivered: self.delivered,
            app_limited: stamp.app_limited,
            flight_at_send: stamp.flight,
            lost: self.lost.saturating_sub(stamp.lost),
        })
    }

    /// The application has nothing more to send, and `flight` bytes are under way (§4.1.2.4).
    pub fn on_app_limited(&mut self, flight: u64) {
        self.app_limited_until = self.delivered + flight.max(1);
    }

    /// Nothing is in flight: the memory goes back.
    pub fn release(&mut self) {
        self.stamps = VecDeque::new();
    }

    fn take(&mut self, number: u64) -> Option<Stamp> {
        let place = self.stamps.partition_point(|stamp| stamp.number < number);
        let found = self.stamps.get_mut(place).filter(|stamp| stamp.number == number && stamp.size > 0)?;
        let stamp = *found;
        found.size = 0;
        while self.stamps.front().is_some_and(|stamp| stamp.size == 0) {
            self.stamps.pop_front();
        }
        Some(stamp)
    }
}

/// `bytes` over `ns`, in bytes a second.
fn per_second(bytes: u64, ns: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(ns.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Timestamp {
        Timestamp(1_000 * MS + ms * MS)
    }

    #[test]
    fn a_steady_flow_is_sampled_at_its_rate() {
        // L43: one packet of 1,000 bytes a millisecond over a round trip of 10 ms is 1 MB/s.
        let mut rate = DeliveryRate::default();
        let mut last = RateSample::default();
        for n in 0..100 {
            if n >= 10 {
                rate.on_acked(n - 10, at(n));
                last = rate.sample(10 * MS).expect("a packet was acknowledged");
            }
            rate.on_sent(n, at(n), 1_000, 1_000 * (n + 1).min(10));
        }
        assert_eq!(last.rate, 1_000_000);
        assert_eq!((last.flight_at_send, last.lost, last.app_limited), (10_000, 0, false));
    }

    #[test]
    fn acks_squeezed_together_do_not_raise_the_rate() {
        // Ten packets sent over 10 ms, acknowledged in one go: the time to send them counts.
        let mut rate = DeliveryRate::default();
        (0..=10).for_each(|n| rate.on_sent(n, at(n), 1_000, 1_000 * (n + 1)));
        (0..=10).for_each(|n| rate.on_acked(n, at(20)));
        assert_eq!(rate.sample(MS).map(|sample| sample.rate), Some(11_000 * 50));
    }

    #[test]
    fn a_pause_of_the_application_marks_what_is_sent_until_it_is_over() {
        // L43: app-limited samples are marked.
        let mut rate = DeliveryRate::default();
        rate.on_sent(0, at(0), 1_000, 1_000);
        rate.on_app_limited(1_000);
        rate.on_sent(1, at(1), 1_000, 2_000);
        rate.on_acked(0, at(10));
        assert_eq!(rate.sample(MS).map(|sample| sample.app_limited), Some(false));
        rate.on_acked(1, at(11));
        assert_eq!(rate.sample(MS).map(|sample| sample.app_limited), Some(true));
        rate.on_sent(2, at(11), 1_000, 1_000);
        rate.on_acked(2, at(21));
        assert_eq!(rate.sample(MS).map(|sample| sample.app_limited), Some(false), "all of it has arrived");
    }

    #[test]
    fn losses_are_weighed_against_the_flight_they_left_in() {
        let mut rate = DeliveryRate::default();
        (0..10).for_each(|n| rate.on_sent(n, at(n), 1_000, 1_000 * (n + 1)));
        assert_eq!(rate.on_lost(3).map(|lost| (lost.flight_at_send, lost.lost)), Some((4_000, 1_000)));
        assert_eq!(rate.on_lost(4).map(|lost| (lost.flight_at_send, lost.lost)), Some((5_000, 2_000)));
        assert_eq!(rate.on_lost(4), None, "its fate is known");
        rate.on_acked(9, at(19));
        assert_eq!(rate.sample(MS).map(|sample| sample.lost), Some(2_000));
    }
}
