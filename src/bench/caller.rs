//! The client's application: issues calls, follows each to its outcome, checks replies.

use std::rc::Rc;

use bytes::Bytes;

use super::echo::{METHOD_ECHO, METHOD_SINK};
use super::flight::{Call, Flight, Seat};
use super::payload::{CHECKED_EVERY, Contents};
use super::recorder::{Ending, Recorder};
use super::schedule::Schedule;
use crate::hint::rarely;
use crate::time::{Clock, Timestamp};
use crate::transport::SendError;
use crate::worker::{App, Cx, Outcome, SessionKey, Worker};

/// A call to be issued.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// On which session.
    pub session: SessionKey,
    /// What is called.
    pub method: u32,
    /// With what.
    pub payload: &'a Bytes,
    /// The time.
    pub sent: Timestamp,
    /// How long it has from then on, in nanoseconds.
    pub limit_ns: u64,
    /// Comes back with the outcome.
    pub token: u64,
}

/// What a caller issues calls through: the worker between turns, a handler's context within one, or handles.
pub trait Issue {
    /// Issues one call. A large payload is kept, not copied, where that is possible.
    fn issue(&mut self, order: Order<'_>) -> Result<(), SendError>;

    /// After [`SendError::WouldBlock`]: no session has room, not only the one that was asked.
    fn is_full(&self) -> bool {
        false
    }
}

impl<A: App> Issue for Worker<A> {
    #[inline]
    fn issue(&mut self, order: Order<'_>) -> Result<(), SendError> {
        let Order { session, method, payload, token, .. } = order;
        let deadline = order.sent.after_ns(order.limit_ns);
        if payload.len() <= COPIED_SIZE_MAX {
            self.call(session, method, payload, deadline, token)
        } else {
            self.call_owned(session, method, payload.clone(), deadline, token)
        }
    }

    fn is_full(&self) -> bool {
        self.engine().is_full()
    }
}

impl Issue for Cx<'_> {
    #[inline]
    fn issue(&mut self, order: Order<'_>) -> Result<(), SendError> {
        let Order { session, method, payload, token, .. } = order;
        let deadline = order.sent.after_ns(order.limit_ns);
        if payload.len() <= COPIED_SIZE_MAX {
            self.call(session, method, payload, deadline, token)
        } else {
            self.call_owned(session, method, payload.clone(), deadline, token)
        }
    }

    fn is_full(&self) -> bool {
        Cx::is_full(self)
    }
}

/// Larger payloads are handed over by reference: no packet holds them anyway.
const COPIED_SIZE_MAX: usize = 8 * 1024;

/// When calls are issued.
#[derive(Debug)]
pub enum Pace {
    /// As soon as the window allows.
    Closed,
    /// When the schedule says so.
    Open(Schedule),
}

/// What the echo service sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request's bytes.
    Echo,
    /// Nothing.
    Empty,
}

/// What a caller is told before it starts.
pub struct CallerConfig {
    /// Bytes of each request.
    pub size: usize,
    /// What comes back.
    pub answer: Answer,
    /// Compare every reply.
    pub verify: bool,
    /// Of the contents.
    pub seed: u64,
    /// Of each call, from its send, in nanoseconds.
    pub deadline_ns: u64,
    /// The host's clock.
    pub clock: Rc<dyn Clock>,
}

/// One thread's calls. Shared by the driver, between turns, and the worker, within them.
pub struct Caller {
    config: CallerConfig,
    sessions: Vec<SessionKey>,
    flight: Flight,
    recorder: Recorder,
    pace: Pace,
    stop_at: Timestamp,
    contents: Contents,
    plain: Bytes,
    reading: Timestamp,
    readings_left: u32,
    last_completed: Timestamp,
    refused: Option<SendError>,
}

impl Caller {
    /// A caller that issues over `sessions` what `flight` has room for, until the recorder's window
    /// ends.
    #[must_use]
    pub fn new(
        config: CallerConfig,
        sessions: Vec<SessionKey>,
        flight: Flight,
        pace: Pace,
        recorder: Recorder,
    ) -> Self {
        let contents = Contents::new(config.seed);
        let mut plain = vec![0; config.size];
        contents.fill(PLAIN_TOKEN, &mut plain);
        let now = config.clock.now();
        Self {
            stop_at: recorder.window().end,
            config,
            sessions,
            flight,
            recorder,
            pace,
            contents,
            plain: plain.into(),
            reading: now,
            readings_left: 0,
            last_completed: now,
            refused: None,
        }
    }

    /// Issues every call that is due and has room.
    pub fn issue_due(&mut self, via: &mut impl Issue) {
        self.flight.recall();
        // Nothing could be issued: the time would be read for nothing, and reading it makes the poll for
        // replies slower.
        if self.flight.next_seat().is_some() {
            self.reading = self.config.clock.now();
            self.issue_at(via, self.reading);
        }
    }

    /// The driver is about to turn the worker: the next outcome reads the clock.
    pub fn begin_turn(&mut self) {
        self.readings_left = 0;
    }

    /// Issues, within a turn, what the outcome just taken made room for.
    #[inline]
    pub fn issue_next(&mut self, via: &mut impl Issue) {
        // A call's time begins where it is issued: what the outcome that was just taken cost to check and to record is
        // no call's. Those that share its reading are issued by the new one, too.
        if self.readings_left == OUTCOMES_PER_READING - 1 {
            self.reading = self.config.clock.now();
        }
        self.issue_at(via, self.reading);
    }

    #[inline]
    fn issue_at(&mut self, via: &mut impl Issue, now: Timestamp) {
        if now >= self.stop_at {
            return;
        }
        while let Some(seat) = self.flight.next_seat() {
            let intended = match &self.pace {
                Pace::Closed => now,
                Pace::Open(schedule) if schedule.next() <= now => schedule.next(),
                Pace::Open(_) => return,
            };
            match self.issue_one(via, seat, intended, now) {
                Ok(()) => {
                    if let Pace::Open(schedule) = &mut self.pace {
                        schedule.advance();
                    }
                }
                Err(SendError::WouldBlock) if via.is_full() => return,
                Err(SendError::WouldBlock) => self.flight.set_aside(),
                Err(error) => return self.on_refused(error),
            }
        }
    }

    #[inline]
    fn issue_one(
        &mut self,
        via: &mut impl Issue,
        seat: Seat,
        intended: Timestamp,
        sent: Timestamp,
    ) -> Result<(), SendError> {
        let checked = self.config.verify || self.flight.issued().is_multiple_of(CHECKED_EVERY);
        let method = if self.config.answer == Answer::Echo { METHOD_ECHO } else { METHOD_SINK };
        let own;
        let payload = if rarely(checked) {
            own = self.own_contents(seat.token);
            &own
        } else {
            &self.plain
        };
        via.issue(Order {
            session: self.sessions[seat.session],
            method,
            payload,
            sent,
            limit_ns: self.config.deadline_ns,
            token: seat.token,
        })?;
        let call = Call { token: seat.token, intended, sent, checked };
        self.flight.take_off(call);
        self.recorder.on_issued(&call);
        Ok(())
    }

    fn own_contents(&self, token: u64) -> Bytes {
        let mut bytes = vec![0; self.config.size];
        self.contents.fill(token, &mut bytes);
        bytes.into()
    }

    #[cold]
    fn on_refused(&mut self, error: SendError) {
        self.refused = Some(error);
        self.stop_at = Timestamp(0);
    }

    /// Takes the outcome of the call that `token` names.
    // A call of its own would cost each outcome as much as what it does.
    #[inline(always)]
    pub fn on_outcome(&mut self, token: u64, outcome: Outcome<'_>) {
        let now = self.read_clock();
        let Some(call) = self.flight.land(token) else { return self.recorder.on_stray() };
        match outcome {
            Outcome::Replied(reply) if !call.checked && reply.len() == self.reply_size() => {
                self.last_completed = now;
                self.recorder.on_completed(now, &call);
            }
            outcome => self.on_other_outcome(now, call, outcome),
        }
    }

    /// A reply that is to be compared or has the wrong length, and every ending but a reply.
    // By value: a reference would have every call put together in memory.
    #[cold]
    #[inline(never)]
    fn on_other_outcome(&mut self, now: Timestamp, call: Call, outcome: Outcome<'_>) {
        let ending = match outcome {
            Outcome::Replied(reply) => {
                self.last_completed = now;
                if self.is_right(&call, reply) { Ending::Completed } else { Ending::Mismatched }
            }
            Outcome::Failed { .. } => Ending::Refused,
            Outcome::TimedOut => Ending::TimedOut,
            Outcome::Unknown => Ending::Unknown,
            Outcome::NotSent => Ending::NotSent,
        };
        self.recorder.on_ended(now, &call, ending);
    }

    fn reply_size(&self) -> usize {
        if self.config.answer == Answer::Echo { self.config.size } else { 0 }
    }

    fn is_right(&self, call: &Call, reply: &[u8]) -> bool {
        let compared = call.checked && self.config.answer == Answer::Echo;
        reply.len() == self.reply_size()
            && (!compared || self.contents.matches(call.token, self.config.size, reply))
    }

    /// The time, read anew at a turn's first outcome and at every 32nd: the clock would cost more
    /// than the call, and the error stays near a microsecond.
    #[inline]
    fn read_clock(&mut self) -> Timestamp {
        if self.readings_left == 0 {
            self.reading = self.config.clock.now();
            self.readings_left = OUTCOMES_PER_READING;
        }
        self.readings_left -= 1;
        self.reading
    }

    /// Nothing more is issued; what is in flight is still followed.
    pub fn stop(&mut self) {
        self.stop_at = Timestamp(0);
    }

    /// True when every call has its outcome.
    #[must_use]
    pub fn has_landed(&self) -> bool {
        self.flight.is_empty()
    }

    /// Why the worker took no more calls, if it said so.
    #[must_use]
    pub fn refused(&self) -> Option<SendError> {
        self.refused
    }

    /// The clock as it was last read: when something was last issued or ended.
    #[must_use]
    pub fn reading(&self) -> Timestamp {
        self.reading
    }

    /// When the last reply came.
    #[must_use]
    pub fn last_completed(&self) -> Timestamp {
        self.last_completed
    }

    /// What was counted so far.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Ends the caller: the sends an open loop meant before `end` and never made are counted, and
    /// calls that still have no outcome, which a worker never leaves behind, count as unknown.
    #[must_use]
    pub fn finish(mut self, end: Timestamp) -> Finished {
        let now = self.config.clock.now();
        let skipped = match &mut self.pace {
            Pace::Closed => None,
            Pace::Open(schedule) => Some(schedule.skip_until(end)),
        };
        let left = self.flight.abandon();
        left.iter().for_each(|call| self.recorder.on_ended(now, call, Ending::Unknown));
        self.recorder.cut_short(end);
        Finished { recorder: self.recorder, skipped, without_outcome: left.len() as u64 }
    }
}

/// Outcomes that share one reading of the clock.
const OUTCOMES_PER_READING: u32 = 32;
/// Names the contents of calls that are not compared.
const PLAIN_TOKEN: u64 = u64::MAX;

/// What a caller leaves behind.
#[derive(Debug)]
pub struct Finished {
    /// Counts and times.
    pub recorder: Recorder,
    /// Sends that an open loop meant and never made.
    pub skipped: Option<u64>,
    /// Calls whose outcome the worker never told.
    pub without_outcome: u64,
}

#[cfg(test)]
#[path = "caller_tests.rs"]
mod tests;
