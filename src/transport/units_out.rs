//! Units on their way: numbered, sent at least once, not yet acknowledged.
//!
//! A unit is what is repeated, whole, under new packet numbers; its number is its stable name.
//! Never sent at or beyond `floor + W` (P-5.3); never abandoned while the session lives.

use std::collections::VecDeque;

use crate::rings::SlotId;

/// Records packed into one slab slot: the body of a MESSAGES unit.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// Where the records are.
    pub slot: SlotId,
    /// Bytes of records.
    pub size: u16,
    /// The ordinal of the first one-way message in it; the others follow without a gap.
    pub first_ordinal: u64,
}

/// What a unit carries.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// Small records, in a slab slot.
    Packed(Packed),
    /// A range of a large message, in the caller's buffer.
    Fragment {
        /// Index of the large message.
        large: u32,
        /// Where the range starts, in bytes.
        offset: u64,
        /// Its bytes.
        size: u16,
    },
}

impl Body {
    fn packed_size(&self) -> u64 {
        match self {
            Body::Packed(packed) => u64::from(packed.size),
            Body::Fragment { .. } => 0,
        }
    }
}

/// One numbered unit.
#[derive(Clone, Copy, Debug)]
pub struct UnitOut {
    /// What it carries.
    pub body: Body,
    /// The packet number of its last transmission.
    pub last_number: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outstanding,
    Lost,
    /// It no longer fits a packet: its parts are kept track of elsewhere.
    Cut,
    Acked,
}

/// All numbered units of a session, from the lowest unacknowledged on.
#[derive(Debug, Default)]
pub struct UnitsOut {
    units: VecDeque<UnitOut>,
    floor: u64,
    lost: VecDeque<u64>,
    packed_size: u64,
}

impl UnitsOut {
    /// The number the next new unit gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.floor + self.units.len() as u64
    }

    /// The lowest unacknowledged unit.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// True when nothing is unacknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Bytes of records that are kept for another transmission.
    #[must_use]
    pub fn packed_size(&self) -> u64 {
        self.packed_size
    }

    /// Numbers a new unit, first sent in packet `number`.
    #[inline(always)]
    pub fn push(&mut self, body: Body, number: u64) -> u64 {
        let unit = self.next();
        self.packed_size += body.packed_size();
        self.units.push_back(UnitOut { body, last_number: number, state: State::Outstanding });
        unit
    }

    /// The unit, unless it is acknowledged or was never sent.
    #[must_use]
    pub fn get(&self, unit: u64) -> Option<&UnitOut> {
        let index = usize::try_from(unit.checked_sub(self.floor)?).ok()?;
        self.units.get(index).filter(|u| u.state != State::Acked)
    }

    fn index(&self, unit: u64) -> Option<usize> {
        let index = usize::try_from(unit.checked_sub(self.floor)?).ok()?;
        (index < self.units.len()).then_some(index)
    }

    /// The peer has `unit`: its body, the first time.
    pub fn on_acked(&mut self, unit: u64) -> Option<Body> {
        let index = self.index(unit)?;
        let entry = &mut self.units[index];
        if entry.state == State::Acked {
            return None;
        }
        entry.state = State::Acked;
        let body = entry.body;
        self.packed_size -= body.packed_size();
        while self.units.front().is_some_and(|u| u.state == State::Acked) {
            self.units.pop_front();
            self.floor += 1;
        }
        Some(body)
    }

    /// A packet that carried `unit` was declared lost. True when that was its last transmission, so
    /// that it must be sent again.
    pub fn on_lost(&mut self, unit: u64, number: u64) -> bool {
        let Some(index) = self.index(unit) else { return false };
        let entry = &mut self.units[index];
        let last = entry.state == State::Outstanding && entry.last_number == number;
        if last {
            entry.state = State::Lost;
            self.lost.push_back(unit);
        }
        last
    }

    /// `unit` goes on in parts: packets that carried it whole matter no more.
    pub fn on_cut(&mut self, unit: u64) {
        if self.lost.front() == Some(&unit) {
            self.lost.pop_front();
        }
        if let Some(index) = self.index(unit)
            && self.units[index].state != State::Acked
        {
            self.units[index].state = State::Cut;
        }
    }

    /// True when a lost unit waits to be sent again.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// The next unit to send again. What was acknowledged meanwhile is passed over.
    ///
    /// L24, RFC 9000 §13.3: "QUIC packets that are determined to be lost are not retransmitted whole."
    pub fn peek_lost(&mut self) -> Option<(u64, Body)> {
        while let Some(&unit) = self.lost.front() {
            match self.index(unit) {
                Some(index) if self.units[index].state == State::Lost => {
                    return Some((unit, self.units[index].body));
                }
                _ => self.lost.pop_front(),
            };
        }
        None
    }

    /// `unit` leaves again in packet `number`. The number of its transmission before.
    pub fn on_resent(&mut self, unit: u64, number: u64) -> Option<u64> {
        if self.lost.front() == Some(&unit) {
            self.lost.pop_front();
        }
        let index = self.index(unit)?;
        let entry = &mut self.units[index];
        // L16, RFC 8985 §6.1: "record the time in Segment.xmit_ts and set Segment.lost to FALSE": here the
        // number of the new packet, which has its own time, so that a repeat is found lost like any other.
        let before = std::mem::replace(&mut entry.last_number, number);
        if entry.state == State::Lost {
            entry.state = State::Outstanding;
        }
        Some(before)
    }

    /// The `skip`-th oldest unacknowledged unit: what a probe carries.
    #[must_use]
    pub fn oldest(&self, skip: usize) -> Option<(u64, Body)> {
        let waiting = self.units.iter().enumerate().filter(|(_, u)| u.state != State::Acked);
        waiting.map(|(i, u)| (self.floor + i as u64, u.body)).nth(skip)
    }

    /// Nothing is outstanding: the memory goes back, the numbering stays.
    pub fn release(&mut self) {
        debug_assert!(self.units.is_empty());
        self.units = VecDeque::new();
        self.lost = VecDeque::new();
    }

    /// The session failed: every unacknowledged body, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Body> + '_ {
        self.lost.clear();
        self.packed_size = 0;
        self.floor += self.units.len() as u64;
        self.units.drain(..).filter(|u| u.state != State::Acked).map(|u| u.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        Body::Fragment { large: 0, offset: 0, size: 1 }
    }

    #[test]
    fn the_floor_moves_only_past_acknowledged_units() {
        let mut units = UnitsOut::default();
        (0..4).for_each(|n| assert_eq!(units.push(body(), n), n));
        assert!(units.on_acked(1).is_some());
        assert_eq!(units.floor(), 0);
        assert!(units.on_acked(0).is_some());
        assert_eq!(units.floor(), 2);
        assert!(units.on_acked(1).is_none(), "a second ack releases nothing");
    }

    #[test]
    fn a_lost_packet_repeats_its_unit_only_if_that_was_the_last_transmission() {
        // L16.
        let mut units = UnitsOut::default();
        units.push(body(), 10);
        units.on_resent(0, 11);
        assert!(!units.on_lost(0, 10), "packet 11 still carries it");
        assert!(units.on_lost(0, 11));
        assert_eq!(units.peek_lost().map(|(unit, _)| unit), Some(0));
    }

    #[test]
    fn a_unit_that_goes_on_in_parts_is_not_repeated_whole_but_still_oldest_until_acknowledged() {
        let mut units = UnitsOut::default();
        units.push(body(), 1);
        units.push(body(), 2);
        assert!(units.on_lost(0, 1));
        units.on_cut(0);
        assert!(units.peek_lost().is_none());
        assert!(!units.on_lost(0, 1));
        assert_eq!(units.oldest(0).map(|(unit, _)| unit), Some(0));
        assert!(units.on_acked(0).is_some());
        units.on_cut(0);
        assert_eq!(units.oldest(0).map(|(unit, _)| unit), Some(1));
    }

    #[test]
    fn what_was_acknowledged_after_its_loss_is_not_sent_again() {
        let mut units = UnitsOut::default();
        units.push(body(), 1);
        units.push(body(), 2);
        assert!(units.on_lost(0, 1));
        units.on_acked(0);
        assert!(units.peek_lost().is_none());
    }

    #[test]
    fn a_lost_unit_that_arrived_behind_an_older_one_is_not_sent_again() {
        // L24: the floor stays at unit 0.
        let mut units = UnitsOut::default();
        units.push(body(), 1);
        units.push(body(), 2);
        assert!(units.on_lost(1, 2));
        units.on_acked(1);
        assert!(units.peek_lost().is_none());
    }
}
