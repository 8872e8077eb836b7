//! What the client's worker runs: a caller, status calls, and what is told about sessions.

use rustc_hash::FxHashMap;

use super::caller::Caller;
use super::echo::Status;
use crate::transport::Fate;
use crate::worker::{App, CloseReason, Cx, Event, Outcome, ReplyWriter, Request, SessionKey, status};

/// The client's application.
#[derive(Default)]
pub struct ClientApp {
    // Boxed: the driver takes it out and puts it back at every turn.
    caller: Option<Box<Caller>>,
    opened: Vec<SessionKey>,
    closed: Vec<(SessionKey, CloseReason)>,
    answers: FxHashMap<u64, Option<Status>>,
    messages_not_sent: u64,
}

impl ClientApp {
    /// Puts a caller to work: the room that an outcome makes is used at once.
    pub fn employ(&mut self, caller: Caller) {
        self.caller = Some(Box::new(caller));
    }

    /// Takes the caller out, to use it between turns.
    pub fn take_caller(&mut self) -> Option<Box<Caller>> {
        self.caller.take()
    }

    /// Puts it back.
    pub fn put_caller(&mut self, caller: Box<Caller>) {
        self.caller = Some(caller);
    }

    /// The caller at work.
    pub fn caller_mut(&mut self) -> Option<&mut Caller> {
        self.caller.as_deref_mut()
    }

    /// Sessions opened so far.
    #[must_use]
    pub fn opened(&self) -> &[SessionKey] {
        &self.opened
    }

    /// Sessions that ended so far, with the reason.
    #[must_use]
    pub fn closed(&self) -> &[(SessionKey, CloseReason)] {
        &self.closed
    }

    /// One-way messages whose session failed before they were sent.
    #[must_use]
    pub fn messages_not_sent(&self) -> u64 {
        self.messages_not_sent
    }

    /// Takes the answer to the status call `token`: `None` while there is none, `Some(None)` when the
    /// call failed or the answer was no status.
    pub fn take_answer(&mut self, token: u64) -> Option<Option<Status>> {
        self.answers.remove(&token)
    }
}

/// Set in the token of a status call, and in no call of the load.
pub const STATUS_TOKEN: u64 = 1 << 63;

impl App for ClientApp {
    /// The bench client answers nobody.
    fn on_request(&mut self, _: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.fail(status::NO_SUCH_METHOD, b"a bench client answers no calls");
    }

    #[inline]
    fn on_outcome(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        if token & STATUS_TOKEN != 0 {
            let answer = if let Outcome::Replied(bytes) = outcome { Status::parse(bytes) } else { None };
            self.answers.insert(token, answer);
            return;
        }
        let Some(caller) = &mut self.caller else { return };
        caller.on_outcome(token, outcome);
        caller.issue_next(cx);
    }

    fn on_event(&mut self, _: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, .. } => self.opened.push(session),
            Event::Closed { session, reason } => self.closed.push((session, reason)),
            Event::MessageEnded { fate, .. } => self.messages_not_sent += u64::from(fate == Fate::NotSent),
            Event::OverQuota { .. } => {}
        }
    }
}
