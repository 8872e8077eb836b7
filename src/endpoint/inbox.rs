//! A bounded queue from the workers to the application.
//!
//! Bounded in entries and in bytes. Full, a worker keeps what it could not put in, in order, and the
//! session's credit with it, until a reader made room and woke it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crossbeam_queue::ArrayQueue;

use crate::worker::mailbox::Waiters;

#[derive(Debug)]
pub(super) struct Inbox<T> {
    entries: ArrayQueue<(usize, T)>,
    bytes: AtomicUsize,
    bytes_max: usize,
    readers: Waiters,
    writers: Waiters,
    closed: AtomicBool,
    pushed_out: AtomicUsize,
}

impl<T> Inbox<T> {
    pub(super) fn new(capacity: usize, bytes_max: usize) -> Self {
        Self {
            entries: ArrayQueue::new(capacity),
            bytes: AtomicUsize::new(0),
            bytes_max,
            readers: Waiters::default(),
            writers: Waiters::default(),
            closed: AtomicBool::new(false),
            pushed_out: AtomicUsize::new(0),
        }
    }

    /// Puts an entry of `size` bytes in; it comes back when there is no room. Readers are woken by
    /// [`Inbox::wake_readers`], once for many.
    pub(super) fn push(&self, size: usize, entry: T) -> Result<(), T> {
        // One entry may pass the limit, so that any entry fits an empty queue.
        if self.bytes.load(Ordering::Relaxed) >= self.bytes_max {
            return Err(entry);
        }
        self.bytes.fetch_add(size, Ordering::Relaxed);
        self.entries.push((size, entry)).map_err(|(size, entry)| {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            entry
        })
    }

    /// Puts an entry in, if need be in place of the oldest, which is counted.
    pub(super) fn push_newest(&self, entry: T) {
        if self.entries.force_push((0, entry)).is_some() {
            self.pushed_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn pushed_out(&self) -> usize {
        self.pushed_out.load(Ordering::Relaxed)
    }

    pub(super) fn wake_readers(&self) {
        self.readers.wake_all();
    }

    /// A worker waits for room. Try again after this.
    pub(super) fn wait_for_room(&self, waker: &Waker) {
        self.writers.register(waker);
    }

    /// The oldest entry, if there is one.
    pub(super) fn pop(&self) -> Option<T> {
        let (size, entry) = self.entries.pop()?;
        self.bytes.fetch_sub(size, Ordering::Relaxed);
        self.writers.wake_all();
        Some(entry)
    }

    /// The oldest entry, when there is one; `None` once the endpoint has ended and all is read.
    pub(super) fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(entry) = self.pop() {
            return Poll::Ready(Some(entry));
        }
        self.readers.register(context.waker());
        // Acquire: pairs with the Release in `close`; what was pushed before it is seen by `pop`.
        let closed = self.closed.load(Ordering::Acquire);
        match self.pop() {
            Some(entry) => Poll::Ready(Some(entry)),
            None if closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.readers.wake_all();
    }
}
