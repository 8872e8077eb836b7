//! Packets sent: when, how large, with what. One entry a packet number, from the oldest that matters.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// No unit in this packet.
pub const NO_UNIT: u64 = u64::MAX;

/// Which control frames a packet carried: what must be made anew if it is lost.
pub mod carried {
    /// A CREDIT frame.
    pub const CREDIT: u8 = 1;
    /// GRANT frames.
    pub const GRANT: u8 = 2;
    /// A BLOCKED frame.
    pub const BLOCKED: u8 = 4;
    /// It was padded to probe the packet size.
    pub const SIZE_PROBE: u8 = 8;
    /// It was sent because the probe timer fired.
    pub const PROBE: u8 = 16;
    /// A lane request or grant.
    pub const LANE: u8 = 32;
    /// Datagrams.
    pub const DATAGRAM: u8 = 64;
    /// It repeats a unit.
    pub const REPEAT: u8 = 128;
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
    pub carried: u8,
    state: State,
}

impl SentPacket {
    /// Bytes that count against the congestion window: a size probe must not keep data waiting for an
    /// answer that may never come (RFC 8899 §3).
    fn counted(&self) -> u64 {
        if self.carried & carried::SIZE_PROBE != 0 { 0 } else { u64::from(self.size) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    /// Acknowledged, or not ack-eliciting: nothing more is expected.
    Done,
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
    pub fn push(&mut self, sent_at: Timestamp, unit: u64, ack_largest: u64, size: u16, carried: u8) -> u64 {
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
        let state = State::Done;
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
                State::Done => {}
            }
        }
    }

    /// RFC 9002 §6.1: declares lost what was sent before an acknowledged packet and is either
    /// `packet_threshold` behind `largest_acked` or older than `time_threshold_ns`. Returns when the
    /// next one will be.
    pub fn detect_lost(
        &mut self,
        now: Timestamp,
        largest_acked: u64,
        packet_threshold: u64,
        time_threshold_ns: u64,
        lost: &mut Vec<(u64, SentPacket)>,
    ) -> Option<Timestamp> {
        let end = largest_acked.min(self.next());
        let mut next = None;
        for number in self.base..end {
            let packet = &mut self.packets[(number - self.base) as usize];
            if packet.state != State::InFlight {
                continue;
            }
            let expires = packet.sent_at.after_ns(time_threshold_ns);
            if number + packet_threshold <= largest_acked || expires <= now {
                packet.state = State::Lost;
                self.in_flight -= packet.counted();
                self.eliciting -= 1;
                lost.push((number, *packet));
            } else {
                next = Some(next.map_or(expires, |at: Timestamp| at.min(expires)));
            }
        }
        next
    }

    /// Forgets lost packets sent before `before`: an ack for them is too late to teach anything.
    pub fn forget_lost_before(&mut self, before: Timestamp) {
        while self.packets.front().is_some_and(|p| match p.state {
            State::InFlight => false,
            State::Done => true,
            State::Lost | State::Skipped => p.sent_at < before,
        }) {
            self.packets.pop_front();
            self.base += 1;
        }
    }

    /// Nothing is in flight: the memory goes back, the numbering stays.
    pub fn release(&mut self) {
        debug_assert_eq!(self.eliciting, 0);
        self.base = self.next();
        self.packets = VecDeque::new();
    }

    fn trim(&mut self) {
        while self.packets.front().is_some_and(|p| p.state == State::Done) {
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

    #[test]
    fn three_packets_behind_the_largest_acked_is_lost_and_two_is_not() {
        // RFC 9002 §6.1.1, L13
        let mut packets = sent(5);
        packets.on_ack_range(3, 3, |_, _| {});
        let mut lost = vec![];
        let next = packets.detect_lost(Timestamp(50), 3, 3, 1_000, &mut lost);
        assert_eq!(lost.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0]);
        assert_eq!(next, Some(Timestamp(1_010)));
        assert_eq!(packets.bytes_in_flight(), 300);
    }

    #[test]
    fn nothing_sent_after_the_largest_acked_is_ever_declared_lost() {
        // RFC 9002 §6.1, L15
        let mut packets = sent(5);
        packets.on_ack_range(0, 0, |_, _| {});
        let mut lost = vec![];
        assert_eq!(packets.detect_lost(Timestamp(1_000_000), 0, 3, 1, &mut lost), None);
        assert!(lost.is_empty());
    }

    #[test]
    fn a_late_ack_shows_that_a_loss_was_spurious() {
        let mut packets = sent(5);
        packets.on_ack_range(4, 4, |_, _| {});
        let mut lost = vec![];
        packets.detect_lost(Timestamp(41), 4, 3, 1_000_000, &mut lost);
        assert_eq!(lost.len(), 2);
        let mut spurious = 0;
        packets.on_ack_range(0, 1, |_, acked| spurious += u32::from(matches!(acked, Acked::Spurious(_))));
        assert_eq!(spurious, 2);
    }
}
