//! The calls in flight: one small slot each, so that every outcome is matched to exactly one call.

use crate::time::Timestamp;

/// What is known of a call while it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The name the worker gives back with the outcome; it also names the contents.
    pub token: u64,
    /// When it was meant to be sent: latency counts from here.
    pub intended: Timestamp,
    /// When it was sent: service time counts from here.
    pub sent: Timestamp,
    /// Its reply is compared byte for byte.
    pub checked: bool,
}

/// A fixed number of slots. A token is a slot's index and a number that no other call of the run
/// has: an outcome reported twice, or for a call never made, finds no call.
#[derive(Debug)]
pub struct Flight {
    slots: Vec<Call>,
    free: Vec<u32>,
    issued: u64,
}

impl Flight {
    /// Room for `capacity` calls, at most [`FLIGHT_MAX`].
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity <= FLIGHT_MAX, "a token has 20 bits for the slot");
        let empty = Call { token: NONE, intended: Timestamp(0), sent: Timestamp(0), checked: false };
        Self { slots: vec![empty; capacity], free: (0..capacity as u32).rev().collect(), issued: 0 }
    }

    /// The token the next call will have; `None` while every slot is taken.
    #[must_use]
    pub fn next_token(&self) -> Option<u64> {
        self.free.last().map(|slot| self.issued << SLOT_BITS | u64::from(*slot))
    }

    /// Takes note of the call that [`Self::next_token`] named.
    pub fn take_off(&mut self, call: Call) {
        let slot = self.free.pop().expect("next_token named a free slot");
        debug_assert_eq!(call.token & SLOT_MASK, u64::from(slot));
        self.slots[slot as usize] = call;
        self.issued += 1;
    }

    /// The call that `token` names, whose outcome is now known; `None` when there is no such call
    /// in flight.
    pub fn land(&mut self, token: u64) -> Option<Call> {
        let index = (token & SLOT_MASK) as usize;
        let slot = self.slots.get_mut(index)?;
        if slot.token != token {
            return None;
        }
        let call = *slot;
        slot.token = NONE;
        self.free.push(index as u32);
        Some(call)
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when every call has its outcome.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many calls have taken off so far.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued
    }
}

/// Calls one thread may have in flight.
pub const FLIGHT_MAX: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 20;
const SLOT_MASK: u64 = FLIGHT_MAX as u64 - 1;
/// A token no call has: 2^44 calls would have to come first.
const NONE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn take_off(flight: &mut Flight) -> u64 {
        let token = flight.next_token().expect("a slot is free");
        flight.take_off(Call { token, intended: Timestamp(1), sent: Timestamp(2), checked: false });
        token
    }

    #[test]
    fn an_outcome_finds_its_call_once() {
        let mut flight = Flight::new(2);
        let (first, second) = (take_off(&mut flight), take_off(&mut flight));
        assert_eq!(flight.next_token(), None);
        assert_eq!(flight.land(first).map(|call| call.token), Some(first));
        assert_eq!(flight.land(first), None, "reported twice");
        let third = take_off(&mut flight);
        assert_ne!(third, first, "a slot used again has a new name");
        assert_eq!(flight.land(first), None);
        assert_eq!(flight.len(), 2);
        assert!(flight.land(second).is_some());
        assert!(flight.land(third).is_some());
        assert!(flight.is_empty());
        assert_eq!(flight.issued(), 3);
    }

    #[test]
    fn a_token_from_nowhere_finds_nothing() {
        let mut flight = Flight::new(2);
        take_off(&mut flight);
        for token in [5, u64::MAX, 1 << 20] {
            assert_eq!(flight.land(token), None, "{token}");
        }
    }
}
