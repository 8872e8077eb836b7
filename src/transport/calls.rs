//! Call slots: what the caller waits for, and what the server still owes.
//!
//! A call id is (slot, generation) within its session. A slot is a credit: it is taken when the call is
//! issued and comes back only when the peer has replied, even if the caller gave up before, so that a
//! late reply can never be taken for another call's.
//!
//! ```text
//!  Free --open--> Waiting --reply--> Free
//!                    +--deadline, cancel--> Abandoned --reply--> Free
//! ```

use crate::time::Timestamp;
use crate::transport::planted::{self, Fault};
use crate::wire::CallId;

/// The caller's side of one session's call slots.
#[derive(Debug)]
pub struct CallTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    slots_max: usize,
    /// The generation of slots to come: beyond those of the slots that were given back.
    generation: u32,
    /// No waiting call's deadline is earlier.
    earliest: Timestamp,
    waiting: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    token: u64,
    deadline: Timestamp,
    // Both four bytes wide, as they are read: a load that is wider than the store before it, or spans two of
    // them, waits for the cache. Of the generation a call id has the low half.
    generation: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum State {
    Free,
    Waiting,
    Abandoned,
}

impl Slot {
    fn call(&self, index: u32) -> CallId {
        CallId::new(index as u16, self.generation as u16)
    }
}

/// What a reply's call id turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyTo {
    /// A call that waits, with the caller's token.
    Waiting(u64),
    /// A call whose caller gave up; the slot is free again.
    Abandoned,
    /// No such call: the peer broke the protocol.
    Nobody,
}

impl CallTable {
    /// A table of at most `slots_max` calls in flight; nothing is allocated yet.
    #[must_use]
    pub fn new(slots_max: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            slots_max: slots_max as usize,
            generation: 0,
            earliest: Timestamp::NEVER,
            waiting: 0,
        }
    }

    /// Takes a slot for a call; `None` while all are taken.
    // A call of its own would save and restore as many registers as it uses.
    #[inline(always)]
    pub fn open(&mut self, token: u64, deadline: Timestamp) -> Option<CallId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.grow()?,
        };
        let slot = &mut self.slots[index as usize];
        debug_assert_eq!(slot.state, State::Free);
        slot.token = token;
        slot.deadline = deadline;
        slot.state = State::Waiting;
        self.earliest = self.earliest.min(deadline);
        self.waiting += 1;
        Some(slot.call(index))
    }

    #[cold]
    fn grow(&mut self) -> Option<u32> {
        if self.slots.len() >= self.slots_max {
            return None;
        }
        let index = self.slots.len() as u32;
        let generation = self.generation;
        self.slots.push(Slot { token: 0, deadline: Timestamp::NEVER, generation, state: State::Free });
        Some(index)
    }

    /// True when a call could be opened now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.slots_max
    }

    /// Takes back a call that was never queued.
    pub fn withdraw(&mut self, call: CallId) {
        let taken = self.take(call);
        debug_assert!(matches!(taken, ReplyTo::Waiting(_)));
    }

    /// A reply came for `call`: its slot is free again.
    #[inline]
    pub fn take(&mut self, call: CallId) -> ReplyTo {
        let index = u32::from(call.slot());
        let Some(slot) = self.slots.get_mut(index as usize) else { return ReplyTo::Nobody };
        if slot.generation as u16 != call.generation() || slot.state == State::Free {
            return ReplyTo::Nobody;
        }
        let answer = match slot.state {
            State::Waiting => {
                self.waiting -= 1;
                ReplyTo::Waiting(slot.token)
            }
            _ => ReplyTo::Abandoned,
        };
        slot.state = State::Free;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        answer
    }

    /// The caller gives up waiting for `call`; false when it no longer waits. The slot stays taken
    /// until the reply comes.
    pub fn abandon(&mut self, token: u64) -> bool {
        let found = self.slots.iter_mut().find(|s| s.state == State::Waiting && s.token == token);
        let Some(slot) = found else { return false };
        slot.state = State::Abandoned;
        self.waiting -= 1;
        true
    }

    /// Gives up every call whose deadline has passed and hands its token to `each`.
    pub fn expire(&mut self, now: Timestamp, mut each: impl FnMut(u64)) {
        if now < self.earliest {
            return;
        }
        self.earliest = Timestamp::NEVER;
        for slot in self.slots.iter_mut().filter(|s| s.state == State::Waiting) {
            if slot.deadline <= now {
                slot.state = State::Abandoned;
                self.waiting -= 1;
                each(slot.token);
            } else {
                self.earliest = self.earliest.min(slot.deadline);
            }
        }
        if planted::is(Fault::SlotFreedAtTimeout) {
            self.plant_freed_slots();
        }
    }

    /// Planted: a slot whose caller gave up is used again while its reply may still come.
    #[cold]
    fn plant_freed_slots(&mut self) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.state == State::Abandoned {
                slot.state = State::Free;
                self.free.push(index as u32);
            }
        }
    }

    /// No call expires before this moment.
    #[must_use]
    pub fn earliest_deadline(&self) -> Timestamp {
        if self.waiting == 0 { Timestamp::NEVER } else { self.earliest }
    }

    /// Calls that wait for their reply.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Gives the memory back, for a session that goes idle, unless the peer owes a reply.
    pub fn release(&mut self) {
        if self.free.len() < self.slots.len() {
            return;
        }
        // Such that no call is called as an earlier one was before the numbers come round.
        let newest = self.slots.iter().map(|slot| slot.generation).max();
        self.generation = newest.unwrap_or(self.generation);
        (self.slots, self.free) = (Vec::new(), Vec::new());
    }

    /// The session failed: hands every waiting call to `each`, with its id, and forgets all.
    pub fn fail(&mut self, mut each: impl FnMut(CallId, u64)) {
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.state == State::Waiting {
                each(slot.call(index as u32), slot.token);
            }
        }
        *self = Self::new(self.slots_max as u32);
    }
}

/// The server's side: which of the peer's slots it has not replied to yet.
#[derive(Debug)]
pub struct OpenCalls {
    slots_max: u32,
    words: Vec<u64>,
    open: usize,
}

impl OpenCalls {
    /// The slots of a peer that was granted `slots_max` of them.
    #[must_use]
    pub fn new(slots_max: u32) -> Self {
        Self { slots_max, words: Vec::new(), open: 0 }
    }

    /// Marks the call's slot; false when it is marked already, or was never granted: the peer broke the
    /// protocol.
    #[inline]
    pub fn begin(&mut self, call: CallId) -> bool {
        if u32::from(call.slot()) >= self.slots_max {
            return false;
        }
        let (word, bit) = (usize::from(call.slot()) / 64, 1u64 << (call.slot() % 64));
        if word >= self.words.len() {
            self.grow(word);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.open += usize::from(fresh);
        fresh
    }

    #[cold]
    fn grow(&mut self, word: usize) {
        self.words.resize(word + 1, 0);
    }

    /// The reply is queued; false when none was owed.
    #[inline]
    pub fn end(&mut self, call: CallId) -> bool {
        let (word, bit) = (usize::from(call.slot()) / 64, 1u64 << (call.slot() % 64));
        let Some(word) = self.words.get_mut(word) else { return false };
        let owed = *word & bit != 0;
        *word &= !bit;
        self.open -= usize::from(owed);
        owed
    }

    /// Replies owed.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// Gives the memory back, for a session that goes idle, unless replies are owed.
    pub fn release(&mut self) {
        if self.open == 0 {
            self.words = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_reply_frees_the_slot_and_reaches_nobody() {
        let mut calls = CallTable::new(1);
        let first = calls.open(7, Timestamp(100)).expect("a free slot");
        assert!(calls.open(8, Timestamp(100)).is_none(), "the only slot is taken");
        let mut expired = vec![];
        calls.expire(Timestamp(100), |token| expired.push(token));
        assert_eq!(expired, [7]);
        assert!(calls.open(8, Timestamp(200)).is_none(), "the peer still owes a reply");
        assert_eq!(calls.take(first), ReplyTo::Abandoned);
        let second = calls.open(9, Timestamp(200)).expect("free again");
        assert_eq!(calls.take(first), ReplyTo::Nobody, "an old generation is nobody's");
        assert_eq!(calls.take(second), ReplyTo::Waiting(9));
    }

    #[test]
    fn only_calls_past_their_deadline_expire_and_each_once() {
        let mut calls = CallTable::new(10);
        for token in 0..10 {
            calls.open(token, Timestamp(token * 10)).expect("room");
        }
        let mut expired = vec![];
        calls.expire(Timestamp(45), |token| expired.push(token));
        calls.expire(Timestamp(49), |token| expired.push(token));
        assert_eq!(expired, [0, 1, 2, 3, 4]);
        assert_eq!(calls.earliest_deadline(), Timestamp(50));
        assert_eq!(calls.waiting(), 5);
    }

    #[test]
    fn a_table_that_gave_its_memory_back_names_no_call_as_before() {
        let mut calls = CallTable::new(4);
        let first = calls.open(1, Timestamp(100)).expect("room");
        calls.release();
        assert_eq!(calls.take(first), ReplyTo::Waiting(1), "a call that waits keeps its slot");
        calls.release();
        assert_eq!(calls.slots.capacity(), 0);
        let second = calls.open(2, Timestamp(100)).expect("room");
        assert_ne!(second, first);
        assert_eq!(calls.take(first), ReplyTo::Nobody);
        calls.release();
        assert_eq!(calls.take(second), ReplyTo::Waiting(2));
    }

    #[test]
    fn replies_owed_are_remembered_when_memory_is_given_back() {
        let mut open = OpenCalls::new(100);
        let call = CallId::new(70, 1);
        assert!(open.begin(call));
        open.release();
        assert!(open.end(call));
        open.release();
        assert_eq!(open.words.capacity(), 0);
        assert!(!open.end(call));
    }

    #[test]
    fn a_slot_the_server_has_not_answered_cannot_be_opened_again() {
        let mut open = OpenCalls::new(301);
        assert!(!open.begin(CallId::new(301, 1)), "a slot that was not granted");
        let call = CallId::new(300, 1);
        assert!(open.begin(call));
        assert!(!open.begin(call));
        assert!(open.end(call));
        assert!(!open.end(call));
    }
}
