//! Calls and messages under way: futures that start when first polled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::error::ENDED;
use super::intake::refuse_rest;
use super::link::Link;
use super::slots::Completion;
use super::{Outcome, Peer, block_on};
use crate::time::saturating_ns;
use crate::transport::{SendError, SessionKey};
use crate::worker::mailbox::{Command, INLINE_SIZE_MAX, Op, Refused, Urgent};

/// A call's time limit unless it is given one.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// A command for `session`: a small payload travels inside it.
pub(super) fn command(op: Op, number: u32, session: SessionKey, payload: Bytes) -> Command {
    let (token, timeout_ns) = (0, saturating_ns(DEADLINE_DEFAULT));
    if payload.len() > INLINE_SIZE_MAX {
        return Command::Large { op, number, session, token, timeout_ns, bytes: payload };
    }
    let mut bytes = [0; INLINE_SIZE_MAX];
    bytes[..payload.len()].copy_from_slice(&payload);
    Command::Small { op, len: payload.len() as u8, number, session, token, timeout_ns, bytes }
}

/// What keeps a worker's link for as long as a command is on its way.
pub(super) trait Linked {
    fn link(&self) -> &Link;
}

impl Linked for Arc<Link> {
    fn link(&self) -> &Link {
        self
    }
}

/// Keeps the session open meanwhile.
impl Linked for Peer {
    fn link(&self) -> &Link {
        self.link()
    }
}

/// A command on its way, and its completion slot. Its holder is dropped after it: a cancellation goes before a
/// close.
#[derive(Debug)]
pub(super) struct Ticket<H: Linked> {
    session: Option<SessionKey>,
    state: State,
    holder: H,
}

#[derive(Debug)]
// A command is carried inline, large as it is, so that a call allocates nothing.
enum State {
    New(Command),
    Waiting(u64),
    Over,
}

enum Submitted {
    Yes,
    NoRoom,
    Ended,
}

impl<H: Linked> Ticket<H> {
    pub(super) fn new(holder: H, command: Command) -> Self {
        Self { session: command.session(), state: State::New(command), holder }
    }

    /// Hands the command to the worker, if it was not yet.
    fn submit(&mut self) -> Submitted {
        let State::New(command) = &mut self.state else { return Submitted::Yes };
        let link = self.holder.link();
        let Some(token) = link.slots.take() else { return Submitted::NoRoom };
        // Before it is moved: a command is two cache lines, and is moved once.
        command.answer_to(token);
        let State::New(command) = std::mem::replace(&mut self.state, State::Waiting(token)) else {
            unreachable!("it was new three lines above")
        };
        match link.mailbox.push(command) {
            Ok(()) => {
                if link.mailbox.has_ended() {
                    refuse_rest(link);
                }
                Submitted::Yes
            }
            Err(Refused::Full(command)) => {
                link.slots.give_back(token);
                self.state = State::New(command);
                Submitted::NoRoom
            }
            Err(Refused::Stopped(_)) => {
                link.slots.give_back(token);
                self.state = State::Over;
                Submitted::Ended
            }
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Completion> {
        let mut submitted = self.submit();
        if matches!(submitted, Submitted::NoRoom) {
            self.holder.link().mailbox.wait_for_room(context.waker());
            submitted = self.submit();
        }
        match submitted {
            Submitted::NoRoom => return Poll::Pending,
            Submitted::Ended => return Poll::Ready(Completion::Ended),
            Submitted::Yes => {}
        }
        let State::Waiting(token) = self.state else { panic!("a future was polled after its end") };
        let link = self.holder.link();
        let polled = link.slots.poll(token, context);
        if polled.is_ready() {
            self.state = State::Over;
            // The slot is free: someone may wait for one.
            link.mailbox.made_room();
        }
        polled
    }
}

impl<H: Linked> Drop for Ticket<H> {
    fn drop(&mut self) {
        if let State::Waiting(token) = self.state {
            let link = self.holder.link();
            if link.slots.abandon(token) {
                link.mailbox.push_urgent(Urgent::Cancel { session: self.session, token });
            } else {
                link.mailbox.made_room();
            }
        }
    }
}

/// A call. It resolves to its [`Outcome`]; dropped before, it is cancelled.
#[derive(Debug)]
#[must_use = "a call does nothing unless it is started, awaited or waited for"]
pub struct Call {
    ticket: Ticket<Peer>,
}

impl Call {
    pub(super) fn new(peer: Peer, command: Command) -> Self {
        Self { ticket: Ticket::new(peer, command) }
    }

    /// Ends as [`Outcome::TimedOut`] when no reply came within `limit` of its start (5 s unless set).
    /// Of no effect once started.
    pub fn deadline(mut self, limit: Duration) -> Self {
        if let State::New(Command::Small { timeout_ns, .. } | Command::Large { timeout_ns, .. }) =
            &mut self.ticket.state
        {
            *timeout_ns = saturating_ns(limit);
        }
        self
    }

    /// Starts now, so that several are under way at once. With the mailbox full it starts when it is
    /// next polled or waited for.
    pub fn start(mut self) -> Self {
        let _ = self.ticket.submit();
        self
    }

    /// Starts now, or comes back when the mailbox is full.
    ///
    /// # Errors
    /// The call itself.
    #[expect(clippy::result_large_err, reason = "the call comes back to be tried again, unboxed")]
    pub fn try_start(mut self) -> Result<Self, Self> {
        match self.ticket.submit() {
            Submitted::NoRoom => Err(self),
            _ => Ok(self),
        }
    }

    /// Waits for the outcome on this thread.
    pub fn wait(self) -> Outcome {
        block_on(self)
    }
}

impl Future for Call {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        self.ticket.poll(context).map(|completion| match completion {
            Completion::Outcome(outcome) => outcome,
            Completion::Ended => Outcome::Unknown,
            other => unreachable!("a call ends in an outcome, not in {other:?}"),
        })
    }
}

/// A message on its way into the session.
#[derive(Debug)]
#[must_use = "a message is not sent unless this is awaited or waited for"]
pub struct Sending {
    ticket: Ticket<Peer>,
}

impl Sending {
    pub(super) fn new(peer: Peer, command: Command) -> Self {
        Self { ticket: Ticket::new(peer, command) }
    }

    /// Waits on this thread until the session has accepted it.
    ///
    /// # Errors
    /// [`SendError`]; it will not be delivered.
    pub fn wait(self) -> Result<u64, SendError> {
        block_on(self)
    }
}

impl Future for Sending {
    type Output = Result<u64, SendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.ticket.poll(context).map(|completion| match completion {
            Completion::Accepted(accepted) => accepted,
            Completion::Ended => Err(ENDED),
            other => unreachable!("a message is accepted or refused, not {other:?}"),
        })
    }
}
