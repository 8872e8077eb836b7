//! One worker's mailbox: a bounded ring of commands, and the few things that may not be refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::task::Waker;

use crossbeam_queue::{ArrayQueue, SegQueue};

use super::{Command, Sleep, Urgent, Waiters};

/// A command that was not taken, given back.
#[derive(Debug)]
pub enum Refused {
    /// The ring is full: wait for room.
    Full(Command),
    /// The worker has ended.
    Stopped(Command),
}

/// Where other threads put what a worker should do.
#[derive(Debug)]
pub struct Mailbox {
    commands: ArrayQueue<Command>,
    urgent: SegQueue<Urgent>,
    room: Waiters,
    stopping: AtomicBool,
    stopped: AtomicBool,
    sleep: Arc<Sleep>,
}

impl Mailbox {
    /// A mailbox for `capacity` commands, of the worker that sleeps by `sleep`.
    #[must_use]
    pub fn new(capacity: usize, sleep: Arc<Sleep>) -> Self {
        Self {
            commands: ArrayQueue::new(capacity),
            urgent: SegQueue::new(),
            room: Waiters::default(),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            sleep,
        }
    }

    /// Puts a command in and rouses the worker.
    ///
    /// # Errors
    /// [`Refused`], with the command.
    #[expect(clippy::result_large_err, reason = "the command comes back to be tried again, unboxed")]
    pub fn push(&self, command: Command) -> Result<(), Refused> {
        // Acquire: pairs with the Release in `end`; the worker drains once more after setting it.
        if self.stopped.load(Ordering::Acquire) {
            return Err(Refused::Stopped(command));
        }
        self.commands.push(command).map_err(Refused::Full)?;
        self.sleep.rouse();
        Ok(())
    }

    /// Puts in what may not be refused. After the worker's end it has no effect.
    pub fn push_urgent(&self, urgent: Urgent) {
        self.urgent.push(urgent);
        self.sleep.rouse();
    }

    /// Registers a task to be woken when there is room. Try again after this, before waiting.
    pub fn wait_for_room(&self, waker: &Waker) {
        self.room.register(waker);
    }

    /// The oldest command.
    #[must_use]
    pub fn pop(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// The oldest urgent thing.
    #[must_use]
    pub fn pop_urgent(&self) -> Option<Urgent> {
        self.urgent.pop()
    }

    /// Commands were taken: wakes those who wait for room.
    pub fn made_room(&self) {
        self.room.wake_all();
    }

    /// True when the worker has nothing to do here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.urgent.is_empty()
    }

    /// Asks the worker to end.
    pub fn stop(&self) {
        // Relaxed: `rouse` fences; pairs with the look for work in `Sleep::fall_asleep`.
        self.stopping.store(true, Ordering::Relaxed);
        self.sleep.rouse();
    }

    /// True once [`Mailbox::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The worker ends: no command is taken from here on. The caller drains what is left.
    pub fn end(&self) {
        // Release: pairs with the Acquire in `push`.
        self.stopped.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.room.wake_all();
    }

    /// Asked after a push. True once the worker has ended: the command may be left, to be taken by whoever pushed
    /// it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // No fence of its own, for its price: `rouse` fenced between the push and this look.
        // That fence and the one in `end` are in an order: either the flag is seen here, or the drain after `end`
        // sees the command.
        self.stopped.load(Ordering::Acquire)
    }
}
