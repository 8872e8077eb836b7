//! Completion slots: where an outcome waits for whoever asked.
//!
//! ```text
//!  Free --take--> Waiting --complete--> Done --poll--> Free (next generation)
//!                    +--abandon--> Abandoned --complete--> Free (next generation)
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crossbeam_queue::ArrayQueue;

use super::{OpenError, Outcome, Peer, WorkerStats};
use crate::transport::SendError;

/// What a command came to.
#[derive(Debug)]
pub(super) enum Completion {
    /// A call ended.
    Outcome(Outcome),
    /// A message was accepted under this ordinal, or refused.
    Accepted(Result<u64, SendError>),
    /// A session was opened, or not.
    Opened(Result<Peer, OpenError>),
    /// A worker's counts. Boxed: they are asked for seldom, and every slot has room for the largest.
    Counted(Box<WorkerStats>),
    /// The worker ended first.
    Ended,
}

/// The slots of one worker. A token is (generation, index).
#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Mutex<Slot>]>,
    free: ArrayQueue<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    Waiting(Option<Waker>),
    Done(Completion),
    Abandoned,
}

impl Slots {
    pub(super) fn new(capacity: usize) -> Self {
        let free = ArrayQueue::new(capacity);
        for index in 0..capacity as u32 {
            free.push(index).expect("the list holds every slot");
        }
        Self { slots: (0..capacity).map(|_| Mutex::default()).collect(), free }
    }

    fn slot(&self, index: u32) -> MutexGuard<'_, Slot> {
        self.slots[index as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of a token that is still its holder's.
    fn held(&self, token: u64) -> Option<MutexGuard<'_, Slot>> {
        let slot = self.slot(token as u32);
        (slot.generation == (token >> 32) as u32).then_some(slot)
    }

    /// A slot for a command; `None` while all are taken.
    pub(super) fn take(&self) -> Option<u64> {
        let index = self.free.pop()?;
        let mut slot = self.slot(index);
        debug_assert!(matches!(slot.state, State::Free));
        slot.state = State::Waiting(None);
        Some(u64::from(slot.generation) << 32 | u64::from(index))
    }

    fn free(&self, mut slot: MutexGuard<'_, Slot>, token: u64) {
        slot.state = State::Free;
        slot.generation = slot.generation.wrapping_add(1);
        drop(slot);
        let pushed = self.free.push(token as u32);
        debug_assert!(pushed.is_ok(), "a slot is freed once");
    }

    /// The command was not taken after all: no completion follows.
    pub(super) fn give_back(&self, token: u64) {
        if let Some(slot) = self.held(token) {
            self.free(slot, token);
        }
    }

    /// The worker's answer. Who waits is returned, to be woken.
    pub(super) fn complete(&self, token: u64, completion: Completion) -> Option<Waker> {
        let mut slot = self.held(token)?;
        match &mut slot.state {
            State::Waiting(waker) => {
                let waker = waker.take();
                slot.state = State::Done(completion);
                waker
            }
            State::Abandoned => {
                self.free(slot, token);
                // Outside the lock: what nobody took may be a peer, whose drop closes its session.
                drop(completion);
                None
            }
            State::Free | State::Done(_) => None,
        }
    }

    /// The answer, once; until then the task is woken when it comes.
    pub(super) fn poll(&self, token: u64, context: &mut Context<'_>) -> Poll<Completion> {
        let mut slot = self.held(token).expect("a slot is its holder's until it is polled to its end");
        match std::mem::take(&mut slot.state) {
            State::Done(completion) => {
                self.free(slot, token);
                Poll::Ready(completion)
            }
            State::Waiting(known) => {
                let waker = known.filter(|known| known.will_wake(context.waker()));
                slot.state = State::Waiting(Some(waker.unwrap_or_else(|| context.waker().clone())));
                Poll::Pending
            }
            State::Free | State::Abandoned => {
                unreachable!("only a holder polls, and it holds one or the other")
            }
        }
    }

    /// The holder no longer waits. True when the worker should hear of it.
    pub(super) fn abandon(&self, token: u64) -> bool {
        let Some(mut slot) = self.held(token) else { return false };
        match std::mem::take(&mut slot.state) {
            State::Done(completion) => {
                self.free(slot, token);
                drop(completion);
                false
            }
            State::Waiting(_) => {
                slot.state = State::Abandoned;
                true
            }
            other => {
                slot.state = other;
                false
            }
        }
    }

    /// The worker has ended: nobody is left waiting.
    pub(super) fn end(&self) {
        for index in 0..self.slots.len() as u32 {
            let generation = self.slot(index).generation;
            let token = u64::from(generation) << 32 | u64::from(index);
            if let Some(waker) = self.complete(token, Completion::Ended) {
                waker.wake();
            }
        }
    }

    /// Slots taken now.
    pub(super) fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// Wakers gathered in one turn: each task is woken once, however many of its operations ended.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    list: Vec<Waker>,
}

/// How far back a task is looked for among those to wake: tasks come in runs.
const LOOK_BACK: usize = 8;

impl Wakers {
    pub(super) fn push(&mut self, waker: Option<Waker>) {
        let Some(waker) = waker else { return };
        if !self.list.iter().rev().take(LOOK_BACK).any(|known| known.will_wake(&waker)) {
            self.list.push(waker);
        }
    }

    pub(super) fn wake_all(&mut self) {
        self.list.drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted() -> Completion {
        Completion::Accepted(Ok(1))
    }

    #[test]
    fn a_slot_that_was_given_up_is_freed_by_its_answer_and_no_other() {
        let slots = Slots::new(1);
        let first = slots.take().expect("free");
        assert!(slots.take().is_none());
        assert!(slots.abandon(first));
        assert!(slots.take().is_none(), "the worker still owes an answer");
        assert!(slots.complete(first, accepted()).is_none());
        let second = slots.take().expect("free again");
        assert!(slots.complete(first, accepted()).is_none(), "an old generation");
        let mut context = Context::from_waker(Waker::noop());
        assert!(slots.poll(second, &mut context).is_pending());
        assert!(slots.complete(second, accepted()).is_some());
        assert!(slots.poll(second, &mut context).is_ready());
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn an_answer_that_nobody_fetched_is_dropped_with_its_slot() {
        let slots = Slots::new(1);
        let token = slots.take().expect("free");
        slots.complete(token, accepted());
        assert!(!slots.abandon(token), "nothing left to cancel");
        assert_eq!(slots.taken(), 0);
    }
}
