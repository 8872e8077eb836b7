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

/// A call about to be made: a free slot, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The call's token.
    pub token: u64,
    /// Index of the session that the slot belongs to.
    pub session: usize,
}

/// A fixed number of slots per session. A token is a slot's index and a number that no other call of
/// the run has: an outcome reported twice, or for a call never made, finds no call.
#[derive(Debug)]
pub struct Flight {
    slots: Vec<Call>,
    free: Vec<u32>,
    aside: Vec<u32>,
    sessions: u32,
    issued: u64,
}

impl Flight {
    /// Room for `window` calls in each of `sessions`; at most [`FLIGHT_MAX`] together.
    #[must_use]
    pub fn new(sessions: usize, window: usize) -> Self {
        let capacity = sessions * window;
        assert!(capacity <= FLIGHT_MAX, "a token has {SLOT_BITS} bits for the slot");
        let empty = Call { token: NONE, intended: Timestamp(0), sent: Timestamp(0), checked: false };
        Self {
            slots: vec![empty; capacity],
            // Neighbouring slots belong to different sessions: the first calls go round them.
            free: (0..capacity as u32).rev().collect(),
            aside: Vec::new(),
            sessions: sessions as u32,
            issued: 0,
        }
    }

    /// The call that may be made next; `None` while every slot is taken or set aside.
    #[inline]
    #[must_use]
    pub fn next_seat(&self) -> Option<Seat> {
        let slot = *self.free.last()?;
        let token = (self.issued << SLOT_BITS) | u64::from(slot);
        // A division takes as long as the rest of a call's bookkeeping.
        let session = if self.sessions == 1 { 0 } else { slot % self.sessions };
        Some(Seat { token, session: session as usize })
    }

    /// Takes note of the call that [`Self::next_seat`] offered.
    #[inline]
    pub fn take_off(&mut self, call: Call) {
        let slot = self.free.pop();
        debug_assert_eq!(slot.map(u64::from), Some(call.token & SLOT_MASK));
        self.slots[(call.token & SLOT_MASK) as usize] = call;
        self.issued += 1;
    }

    /// The seat offered last cannot be used now: its session takes no more. Another is offered until
    /// [`Self::recall`].
    pub fn set_aside(&mut self) {
        let slot = self.free.pop().expect("next_seat offered a free slot");
        self.aside.push(slot);
    }

    /// Offers again what was set aside.
    #[inline]
    pub fn recall(&mut self) {
        self.free.append(&mut self.aside);
    }

    /// The call that `token` names, whose outcome is now known; `None` when there is no such call
    /// in flight.
    #[inline]
    pub fn land(&mut self, token: u64) -> Option<Call> {
        let index = (token & SLOT_MASK) as usize;
        let slot = self.slots.get_mut(index)?;
        if slot.token != token {
            return None;
        }
        // Field by field: a copy of the whole would be put together in memory, padding and all.
        let Call { intended, sent, checked, .. } = *slot;
        slot.token = NONE;
        self.free.push(index as u32);
        Some(Call { token, intended, sent, checked })
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.aside.len()
    }

    /// True when every call has its outcome.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes every call off the table that is still in flight.
    pub fn abandon(&mut self) -> Vec<Call> {
        let left: Vec<Call> = self.slots.iter().filter(|call| call.token != NONE).copied().collect();
        for call in &left {
            self.land(call.token);
        }
        left
    }

    /// How many calls have taken off so far.
    #[must_use]
    pub fn issued(&self) -> u64 {
        self.issued
    }
}

/// Calls one thread may have in flight.
pub const FLIGHT_MAX: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = FLIGHT_MAX as u64 - 1;
/// A token no call has: 2^40 calls would have to come first.
const NONE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn take_off(flight: &mut Flight) -> Seat {
        let seat = flight.next_seat().expect("a slot is free");
        flight.take_off(Call {
            token: seat.token,
            intended: Timestamp(1),
            sent: Timestamp(2),
            checked: false,
        });
        seat
    }

    #[test]
    fn an_outcome_finds_its_call_once() {
        let mut flight = Flight::new(1, 2);
        let (first, second) = (take_off(&mut flight).token, take_off(&mut flight).token);
        assert_eq!(flight.next_seat(), None);
        assert_eq!(flight.land(first).map(|call| call.token), Some(first));
        assert_eq!(flight.land(first), None, "reported twice");
        let third = take_off(&mut flight).token;
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
        let mut flight = Flight::new(1, 2);
        take_off(&mut flight);
        for token in [5, u64::MAX, 1 << 20] {
            assert_eq!(flight.land(token), None, "{token}");
        }
    }

    #[test]
    fn each_session_has_its_own_window() {
        let mut flight = Flight::new(3, 2);
        let mut calls = [0; 3];
        (0..6).for_each(|_| calls[take_off(&mut flight).session] += 1);
        assert_eq!(calls, [2, 2, 2]);
        assert_eq!(flight.next_seat(), None);
    }

    #[test]
    fn a_session_that_takes_no_more_does_not_hold_up_the_others() {
        let mut flight = Flight::new(2, 2);
        let full = flight.next_seat().expect("free").session;
        flight.set_aside();
        assert_ne!(flight.next_seat().expect("the other session's").session, full);
        assert!(flight.is_empty(), "a call that was not made is not in flight");
        flight.recall();
        for _ in 0..4 {
            take_off(&mut flight);
        }
        assert_eq!(flight.len(), 4);
    }

    #[test]
    fn what_is_abandoned_is_named_once() {
        let mut flight = Flight::new(1, 4);
        let (first, second) = (take_off(&mut flight), take_off(&mut flight));
        flight.land(first.token);
        assert_eq!(flight.abandon().iter().map(|call| call.token).collect::<Vec<_>>(), [second.token]);
        assert!(flight.is_empty());
        assert!(flight.abandon().is_empty());
    }
}
