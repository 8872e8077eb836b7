//! The last ack of a batch waits until the turn's packets have left.
//!
//! What an ack teaches (round trip, window, losses, memory that is free again) is seldom needed by the
//! packets that answer the one it came in, and reading it takes a quarter of the time from a packet to
//! its answer. So it is read while the answer is on its way:
//!
//! ```text
//!  packet: [ACK][unit] --> unit --> handler --> packets leave --> ack is read --> what it set free leaves
//! ```
//!
//! Invariant: at most one waits, and nothing that depends on it comes first: not another packet, a timer
//! or the end of its session.

use crate::time::Timestamp;
use crate::wire::{Ack, AckCopy};

/// An ack as it arrived, and the state that it speaks of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// The session's index.
    pub(crate) session: u32,
    /// When it arrived.
    pub(crate) at: Timestamp,
    /// The packet number that came next then.
    pub(crate) next: u64,
    /// Bytes in flight then.
    pub(crate) in_flight: u64,
    copy: AckCopy,
}

impl Waiting {
    /// What it said.
    #[inline]
    pub(crate) fn ack(&self) -> Ack<'_> {
        self.copy.ack()
    }
}

/// The ack that waits, if any.
#[derive(Debug, Default)]
pub(crate) struct LateAck {
    is_waiting: bool,
    /// Its memory, which is never allocated but once. None before the first, and while one is read.
    memory: Option<Box<Waiting>>,
}

impl LateAck {
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// The session whose ack waits.
    #[inline]
    pub(crate) fn session(&self) -> Option<u32> {
        self.waiting().map(|waiting| waiting.session)
    }

    /// True when the newest packet that `session` had sent was acknowledged by the ack that waits.
    #[inline]
    pub(crate) fn covers_newest_of(&self, session: u32) -> bool {
        let Some(waiting) = self.waiting() else { return false };
        waiting.session == session && waiting.copy.largest().0 + 1 == waiting.next
    }

    #[inline]
    fn waiting(&self) -> Option<&Waiting> {
        if self.is_waiting { self.memory.as_deref() } else { None }
    }

    /// Lets `ack` wait.
    #[inline(always)]
    pub(crate) fn put(&mut self, session: u32, at: Timestamp, (next, in_flight): (u64, u64), ack: &Ack<'_>) {
        debug_assert!(!self.is_waiting, "the one that waited was read first");
        let waiting = self.memory.get_or_insert_with(fresh);
        (waiting.session, waiting.at, waiting.next, waiting.in_flight) = (session, at, next, in_flight);
        waiting.copy.set(ack);
        self.is_waiting = true;
    }

    /// Takes out what waits, to be given back by [`LateAck::give_back`].
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Box<Waiting>> {
        if std::mem::take(&mut self.is_waiting) { self.memory.take() } else { None }
    }

    /// The memory of one that was read.
    #[inline]
    pub(crate) fn give_back(&mut self, waiting: Box<Waiting>) {
        self.memory = Some(waiting);
    }
}

/// The first ack's memory.
#[cold]
fn fresh() -> Box<Waiting> {
    Box::default()
}
