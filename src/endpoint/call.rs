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

/// A command on its way, and its completion slot.
#[derive(Debug)]
pub(super) struct Ticket {
    link: Arc<Link>,
    session: Option<SessionKey>,
    state: State,
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

impl Ticket {
    pub(super) fn new(link: Arc<Link>, command: Command) -> Self {
        Self { link, session: command.session(), state: State::New(command) }
    }

    /// Hands the command to the worker, if it was not yet.
    fn submit(&mut self) -> Submitted {
        let command = match std::mem::replace(&mut self.state, State::Over) {
            State::New(command) => command,
            other => {
                self.state = other;
                return Submitted::Yes;
            }
        };
        let Some(token) = self.link.slots.take() else {
            self.state = State::New(command);
            return Submitted::NoRoom;
        };
        match self.link.mailbox.push(command.with_token(token)) {
            Ok(()) => {
                self.state = State::Waiting(token);
                if self.link.mailbox.has_ended() {
                    refuse_rest(&self.link);
                }
                Submitted::Yes
            }
            Err(Refused::Full(command)) => {
                self.link.slots.give_back(token);
                self.state = State::New(command);
                Submitted::NoRoom
            }
            Err(Refused::Stopped(_)) => {
                self.link.slots.give_back(token);
                Submitted::Ended
            }
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Completion> {
        let mut submitted = self.submit();
        if matches!(submitted, Submitted::NoRoom) {
            self.link.mailbox.wait_for_room(context.waker());
            submitted = self.submit();
        }
        match submitted {
            Submitted::NoRoom => return Poll::Pending,
            Submitted::Ended => return Poll::Ready(Completion::Ended),
            Submitted::Yes => {}
        }
        let State::Waiting(token) = self.state else { panic!("a future was polled after its end") };
        let polled = self.link.slots.poll(token, context);
        if polled.is_ready() {
            self.state = State::Over;
            // The slot is free: someone may wait for one.
            self.link.mailbox.made_room();
        }
        polled
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let State::Waiting(token) = self.state {
            if self.link.slots.abandon(token) {
                self.link.mailbox.push_urgent(Urgent::Cancel { session: self.session, token });
            } else {
                self.link.mailbox.made_room();
            }
        }
    }
}

/// A call. It resolves to its [`Outcome`]; dropped before, it is cancelled.
#[derive(Debug)]
#[must_use = "a call does nothing unless it is started, awaited or waited for"]
pub struct Call {
    ticket: Ticket,
    /// Keeps the session open meanwhile. After the ticket: a cancellation goes before a close.
    _peer: Peer,
}

impl Call {
    pub(super) fn new(peer: Peer, command: Command) -> Self {
        Self { ticket: Ticket::new(peer.link().clone(), command), _peer: peer }
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
    ticket: Ticket,
    /// Keeps the session open meanwhile. After the ticket: a cancellation goes before a close.
    _peer: Peer,
}

impl Sending {
    pub(super) fn new(peer: Peer, command: Command) -> Self {
        Self { ticket: Ticket::new(peer.link().clone(), command), _peer: peer }
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
