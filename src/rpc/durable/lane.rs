//! A client's side of a lease: which calls are incomplete, and who waits for room in its window.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::wire::{LeaseGrant, LeaseId};
use crate::worker::mailbox::Waiters;

/// One lease, shared by the calls made under it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) lease: LeaseId,
    window: u64,
    calls: Mutex<Calls>,
    room: Waiters,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    incomplete: BTreeSet<u64>,
}

impl Calls {
    fn first_incomplete(&self) -> u64 {
        self.incomplete.first().copied().unwrap_or(self.next)
    }
}

/// A call's place in its lane. Dropped, the call is complete: nobody will ask for its reply any more.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) lane: Arc<Lane>,
    pub(super) sequence: u64,
}

impl Lane {
    pub(super) fn new(grant: &LeaseGrant) -> Self {
        let window = u64::from(grant.window);
        Self { lease: grant.lease, window, calls: Mutex::default(), room: Waiters::default() }
    }

    /// The next place, if the window has room.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut calls = self.calls();
        let sequence = calls.next;
        if sequence - calls.first_incomplete() >= self.window {
            return None;
        }
        calls.next += 1;
        calls.incomplete.insert(sequence);
        Some(Place { lane: self.clone(), sequence })
    }

    /// Wakes `waker` when there may be room. Look once more after this.
    pub(super) fn wait_for_room(&self, waker: &Waker) {
        self.room.register(waker);
    }

    /// Below this every call is complete.
    pub(super) fn first_incomplete(&self) -> u64 {
        self.calls().first_incomplete()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lane.calls().incomplete.remove(&self.sequence);
        self.lane.room.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_counts_from_the_oldest_incomplete_call() {
        let lease = LeaseId { number: 1, check: 2 };
        let lane = Arc::new(Lane::new(&LeaseGrant { lease, window: 3, term_ms: 1 }));
        let mut places: Vec<_> = std::iter::from_fn(|| lane.take()).collect();
        assert_eq!(places.iter().map(|place| place.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        drop(places.remove(1));
        assert_eq!(lane.first_incomplete(), 0);
        assert!(lane.take().is_none(), "the oldest holds the window");
        drop(places.remove(0));
        assert_eq!(lane.first_incomplete(), 2);
        assert_eq!(lane.take().map(|place| place.sequence), Some(3));
        drop(places);
        assert_eq!(lane.first_incomplete(), 4);
    }
}
