//! Packets sent: when, how large, with what. One entry a packet number, from the oldest that matters.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// No unit in this packet.
pub const NO_UNIT: u64 = u64::MAX;

/// Which control frames a packet carried: what must be made anew if it is lost.
pub mod carried {
    /// A CREDIT frame.
    pub const CREDIT: u16 = 1;
    /// GRANT frames.
    pub const GRANT: u16 = 2;
    /// A BLOCKED frame.
    pub const BLOCKED: u16 = 4;
    /// It was padded to probe the packet size.
    pub const SIZE_PROBE: u16 = 8;
    /// It was sent because the probe timer fired.
    pub const PROBE: u16 = 16;
    /// A lane request or grant.
    pub const LANE: u16 = 32;
    /// Datagrams.
    pub const DATAGRAM: u16 = 64;
    /// It repeats a unit.
    pub const REPEAT: u16 = 128;
    /// Its unit left again in a later packet.
    pub const REPEATED: u16 = 256;
    /// It carries a part of its unit.
    pub const PART: u16 = 512;
    /// It carries two units: the one before its unit, too.
    pub const PAIR: u16 = 1_024;
}

/// One packet sent.
#[derive(Clone, Copy, Debug)]
pub struct SentPacket {
    /// When it was built.
    pub sent_at: Timestamp,
    /// The unit it carried, or [`NO_UNIT`].
    pub unit: u64,
    /// `largest` of the ack it carried, or 0 without one (packet 0 is never worth pruning).
    pub ack_largest: u64,
    /// Its bytes.
    pub size: u16,
    /// See [`carried`].
    pub carried: u16,
    state: State,
}

impl SentPacket {
    /// The units it carried, where it carried any.
    #[inline]
    pub fn units(&self) -> impl Iterator<Item = u64> + use<> {
        let beside = u64::from(self.carried & carried::PAIR != 0);
        self.unit - beside..=self.unit
    }

    /// Bytes that count against the congestion window: a size probe must not keep data waiting for an
    /// answer that may never come (RFC 8899 §3).
    fn counted(&self) -> u64 {
        if self.carried & carried::SIZE_PROBE != 0 { 0 } else { u64::from(self.size) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    /// Acknowledged.
    Done,
    /// Not ack-eliciting: nothing is expected.
    Quiet,
    Lost,
    /// A number that no packet was given: an ack of it is a lie.
    Skipped,
}

/// What an acknowledged packet number turned out to be.
#[derive(Clone, Copy, Debug)]
pub enum Acked {
    /// In flight until now.
    Newly(SentPacket),
    /// Declared lost too early.
    Spurious(SentPacket),
    /// Never sent.
    NeverSent,
}

/// When a packet sent before an acknowledged one is lost.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// So many numbers behind the largest acknowledged…
    pub packets: u64,
    /// …or sent so long ago.
    pub time_ns: u64,
    /// When the path's round trip was first measured: what was sent before tells nothing of congestion
    /// that persists.
    pub measured_at: Option<Timestamp>,
}

impl Thresholds {
    /// L23, RFC 9002 §7.6.2: "a prior RTT sample existed when these two packets were sent". A probe for the
    /// packet size is lost because of its size.
    fn counts(&self, packet: &SentPacket) -> bool {
        let measured = self.measured_at.is_some_and(|at| packet.sent_at > at);
        measured && packet.carried & carried::SIZE_PROBE == 0
    }
}

/// What a look for losses found beside the losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// When the next packet will be lost by time, unless it is acknowledged.
    pub next: Option<Timestamp>,
    /// Between the sending of two packets that are lost, with nothing acknowledged of what was sent
    /// between them: the longest such stretch that ends with a loss found now, in nanoseconds.
    pub stretch_ns: u64,
}

/// All packets whose fate matters, by packet number.
#[derive(Debug, Default)]
pub struct SentPackets {
    packets: VecDeque<SentPacket>,
    base: u64,
    in_flight: u64,
    eliciting: u64,
    last_eliciting_at: Timestamp,
}

impl SentPackets {
    /// The number the next packet gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.base + self.packets.len() as u64
    }

    /// Bytes in flight: of ack-eliciting packets neither acknowledged nor lost (RFC 9002 §2).
    #[must_use]
    pub fn bytes_in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Ack-eliciting packets in flight.
    #[must_use]
    pub fn packets_in_flight(&self) -> u64 {
        self.eliciting
    }

    /// When the newest ack-eliciting packet left.
    #[must_use]
    pub fn last_eliciting_at(&self) -> Timestamp {
        self.last_eliciting_at
    }

    /// Remembers an ack-eliciting packet.
    pub fn push(&mut self, sent_at: Timestamp, unit: u64, ack_largest: u64, size: u16, carried: u16) -> u64 {
        let number = self.next();
        self.packets.push_back(SentPacket {
            sent_at,
            unit,
            ack_largest,
            size,
            carried,
            state: State::InFlight,
        });
        self.in_flight += self.packets.back().map_or(0, SentPacket::counted);
        self.eliciting += 1;
        self.last_eliciting_at = sent_at;
        number
    }

    /// Counts a packet that nobody acknowledges: an ack alone.
    pub fn push_ack_only(&mut self, sent_at: Timestamp, size: u16) -> u64 {
        let number = self.next();
        let state = State::Quiet;
        self.packets.push_back(SentPacket {
            sent_at,
            unit: NO_UNIT,
            ack_largest: 0,
            size,
            carried: 0,
            state,
        });
        self.trim();
        number
    }

    /// Leaves the next number out.
    pub fn push_skipped(&mut self, now: Timestamp) {
        self.packets.push_back(SentPacket {
            sent_at: now,
            unit: NO_UNIT,
            ack_largest: 0,
            size: 0,
            carried: 0,
            state: State::Skipped,
        });
    }

    /// Packets from `smallest` to `largest` arrived: hands each whose fate was open to `each`.
    #[inline(always)]
    pub fn on_ack_range(&mut self, smallest: u64, largest: u64, mut each: impl FnMut(u64, Acked)) {
        let first = smallest.max(self.base);
        let end = (largest + 1).min(self.next());
        for number in first..end {
            let packet = &mut self.packets[(number - self.base) as usize];
            let was = std::mem::replace(&mut packet.state, State::Done);
            match was {
                State::InFlight => {
                    self.in_flight -= packet.counted();
                    self.eliciting -= 1;
                    each(number, Acked::Newly(*packet));
                }
                State::Lost => each(number, Acked::Spurious(*packet)),
                State::Skipped => {
                    packet.state = State::Skipped;
                    each(number, Acked::NeverSent);
                }
                State::Done | State::Quiet => {}
            }
        }
    }

    /// The unit of packet `number` has left again.
    pub fn on_repeated(&mut self, number: u64) {
        let index = number.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        if let Some(packet) = index.and_then(|index| self.packets.get_mut(index)) {
            packet.carried |= carried::REPEATED;
        }
    }

    /// Declares lost what is [`Thresholds`] behind `largest_acked`, the largest acknowledged number.
    #[inline(always)]
    pub fn detect_lost(
        &mut self,
        now: Timestamp,
        largest_acked: u64,
        thresholds: &Thresholds,
        lost: &mut Vec<(u64, SentPacket)>,
    ) -> Found {
        // L15, RFC 9002 §6.1: "The packet is unacknowledged, in flight, and was sent prior to an
        // acknowledged packet."
        let end = largest_acked.min(self.next());
        let mut found = Found::default();
        let mut stretch_from = None;
        for number in self.base..end {
            let packet = &mut self.packets[(number - self.base) as usize];
            let is_new = packet.state == State::InFlight;
            if is_new {
                let expires = packet.sent_at.after_ns(thresholds.time_ns);
                if number.saturating_add(thresholds.packets) > largest_acked && expires > now {
                    found.next = Some(found.next.map_or(expires, |at: Timestamp| at.min(expires)));
                    continue;
                }
                packet.state = State::Lost;
                self.in_flight -= packet.counted();
                self.eliciting -= 1;
                lost.push((number, *packet));
            }
            match packet.state {
                // L22, RFC 9002 §7.6.2: "none of the packets sent between the send times of these two
                // packets are acknowledged".
                State::Done => stretch_from = None,
                State::Lost if thresholds.counts(packet) => {
                    let from: Timestamp = *stretch_from.get_or_insert(packet.sent_at);
                    if is_new {
                        found.stretch_ns = found.stretch_ns.max(packet.sent_at.since_ns(from));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Forgets lost packets sent before `before`: an ack for them is too late to teach anything.
    pub fn forget_lost_before(&mut self, before: Timestamp) {
        while self.packets.front().is_some_and(|p| match p.state {
            State::InFlight => false,
            State::Done | State::Quiet => true,
            State::Lost | State::Skipped => p.sent_at < before,
        }) {
            self.packets.pop_front();
            self.base += 1;
        }
    }

    /// The path they left on is gone: what is in flight counts as lost from now on, and is appended to
    /// `lost`. Nothing of that is news of another path (RFC 9000 §9.4).
    pub fn abandon(&mut self, lost: &mut Vec<(u64, SentPacket)>) {
        for (number, packet) in (self.base..).zip(self.packets.iter_mut()) {
            if packet.state == State::InFlight {
                packet.state = State::Lost;
                lost.push((number, *packet));
            }
        }
        self.in_flight = 0;
        self.eliciting = 0;
    }

    /// Nothing is in flight: the memory goes back, the numbering stays.
    pub fn release(&mut self) {
        debug_assert_eq!(self.eliciting, 0);
        self.base = self.next();
        self.packets = VecDeque::new();
    }

    fn trim(&mut self) {
        while self.packets.front().is_some_and(|p| matches!(p.state, State::Done | State::Quiet)) {
            self.packets.pop_front();
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64) -> SentPackets {
        let mut packets = SentPackets::default();
        (0..count).for_each(|n| {
            packets.push(Timestamp(n * 10), n, 0, 100, 0);
        });
        packets
    }

    fn thresholds(packets: u64, time_ns: u64) -> Thresholds {
        Thresholds { packets, time_ns, measured_at: Some(Timestamp(5)) }
    }

    #[test]
    fn three_packets_behind_the_largest_acked_is_lost_and_two_is_not() {
        // RFC 9002 §6.1.1, L13
        let mut packets = sent(5);
        packets.on_ack_range(3, 3, |_, _| {});
        let mut lost = vec![];
        let found = packets.detect_lost(Timestamp(50), 3, &thresholds(3, 1_000), &mut lost);
        assert_eq!(lost.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0]);
        assert_eq!(found.next, Some(Timestamp(1_010)));
        assert_eq!(packets.bytes_in_flight(), 300);
    }

    #[test]
    fn nothing_sent_after_the_largest_acked_is_ever_declared_lost() {
        // RFC 9002 §6.1, L15
        let mut packets = sent(5);
        packets.on_ack_range(0, 0, |_, _| {});
        let mut lost = vec![];
        let found = packets.detect_lost(Timestamp(1_000_000), 0, &thresholds(3, 1), &mut lost);
        assert_eq!(found, Found::default());
        assert!(lost.is_empty());
    }

    #[test]
    fn what_is_abandoned_with_its_path_is_in_flight_no_more_and_told_once() {
        let mut packets = sent(5);
        packets.on_ack_range(1, 1, |_, _| {});
        let mut lost = vec![];
        packets.abandon(&mut lost);
        assert_eq!(lost.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 2, 3, 4]);
        assert_eq!((packets.bytes_in_flight(), packets.packets_in_flight()), (0, 0));
        packets.abandon(&mut lost);
        assert_eq!(lost.len(), 4);
    }

    #[test]
    fn a_late_ack_shows_that_a_loss_was_spurious() {
        let mut packets = sent(5);
        packets.on_ack_range(4, 4, |_, _| {});
        let mut lost = vec![];
        packets.detect_lost(Timestamp(41), 4, &thresholds(3, 1_000_000), &mut lost);
        assert_eq!(lost.len(), 2);
        let mut spurious = 0;
        packets.on_ack_range(0, 1, |_, acked| spurious += u32::from(matches!(acked, Acked::Spurious(_))));
        assert_eq!(spurious, 2);
    }

    /// How long the stretch of losses is when all but `acked` of seven packets, 10 ns apart, are lost.
    fn stretch(acked: &[u64], measured_at: Option<Timestamp>) -> u64 {
        let mut packets = sent(8);
        for &number in acked.iter().chain(&[7]) {
            packets.on_ack_range(number, number, |_, _| {});
        }
        packets
            .detect_lost(Timestamp(200), 7, &Thresholds { measured_at, ..thresholds(1, 1) }, &mut vec![])
            .stretch_ns
    }

    #[test]
    fn the_stretch_of_losses_ends_where_something_was_acknowledged() {
        // L22.
        let measured = Some(Timestamp(0));
        assert_eq!(stretch(&[], measured), 50, "packets 1 to 6: number 0 left before the sample");
        assert_eq!(stretch(&[4], measured), 20);
        assert_eq!(stretch(&[2, 4, 6], measured), 0);
    }

    #[test]
    fn losses_before_the_first_round_trip_was_measured_make_no_stretch() {
        // L23.
        assert_eq!(stretch(&[], None), 0);
        assert_eq!(stretch(&[], Some(Timestamp(45))), 10, "packets 5 and 6");
    }

    #[test]
    fn a_stretch_of_losses_found_in_two_looks_is_one() {
        // L22.
        let mut packets = sent(8);
        packets.on_ack_range(4, 4, |_, _| {});
        let mut lost = vec![];
        assert_eq!(packets.detect_lost(Timestamp(45), 4, &thresholds(3, 1_000), &mut lost).stretch_ns, 0);
        assert_eq!(packets.detect_lost(Timestamp(45), 4, &thresholds(1, 1_000), &mut lost).stretch_ns, 20);
        assert_eq!(
            packets.detect_lost(Timestamp(45), 4, &thresholds(1, 1_000), &mut lost).stretch_ns,
            0,
            "old news"
        );
    }

    #[test]
    fn a_packet_whose_unit_left_again_says_so_when_it_is_acknowledged() {
        // L18.
        let mut packets = sent(3);
        packets.on_repeated(1);
        let mut repeated = vec![];
        packets.on_ack_range(0, 2, |number, acked| {
            if let Acked::Newly(packet) = acked {
                repeated.extend((packet.carried & carried::REPEATED != 0).then_some(number));
            }
        });
        assert_eq!(repeated, [1]);
    }
}
