//! The checker: what applications sent and saw, held against the promises M, R1 and R2.
//!
//! It shares no code with the engine it judges: ids travel inside payloads, contents are functions of
//! their ids, and the rules are written out here a second time.
//!
//! ```text
//! application sends    -> record by id ----+
//! application receives -> id in payload ---+--> violation at once, or at the end: silence
//! ```
//!
//! - **M**: delivered exactly once, unchanged, in order on an ordered channel; if its session failed,
//!   delivered once or reported; reported `NotSent` means never delivered.
//! - **R1**: a call runs at most once and completes exactly once; `Replied` means that it ran, and
//!   carries its reply; `NotSent` means that it never runs.
//! - **R2**: no life runs a call that was made to another; a session that ends because its peer was
//!   restarted names a later life of that peer.
//! - **Progress**: when faults have stopped, nothing stays pending, and a session between two living
//!   incarnations does not fail.
//! - **Rest**: a worker that nobody asks and to which nothing comes has nothing to do before long.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::contents::{Purpose, id_of, is_contents};
pub use crate::sim::facts::{Answer, Ended, Ending, Life, Promise, Told, Totals, Violation};
use crate::time::Timestamp;

/// One ordering domain as its sender knows it: session and channel, both numbered by the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    /// The sender's life.
    sender: Life,
    /// The sender's number of the session.
    session: u64,
    /// The channel.
    channel: u32,
}

/// Everything sent and seen in one run.
#[derive(Debug, Default)]
pub struct Checker {
    messages: BTreeMap<u64, Message>,
    calls: BTreeMap<u64, Call>,
    /// Messages neither delivered nor reported, and calls not completed: what is pending is among these.
    open_messages: BTreeSet<u64>,
    open_calls: BTreeSet<u64>,
    datagrams: BTreeMap<u64, Datagram>,
    /// Per lane: ids in the order they were accepted, and how many were delivered.
    lanes: BTreeMap<Lane, Vec<u64>>,
    lane_next: BTreeMap<Lane, usize>,
    failed_sessions: BTreeSet<(Life, u64)>,
    /// Sessions whose end left something `Unknown` or `NotSent`.
    harmed_sessions: BTreeSet<(Life, u64)>,
    dead: BTreeSet<Life>,
    violations: Vec<Violation>,
    next_id: u64,
    totals: Totals,
}

/// Sessions, by whose life and number, whose peer never spoke on them: it may have given them up.
pub type HalfOpen = BTreeSet<(Life, u64)>;

#[derive(Debug)]
struct Message {
    sender: Life,
    receiver: Life,
    session: u64,
    lane: Option<Lane>,
    size: u32,
    delivered: bool,
    told: Option<Told>,
}

#[derive(Debug)]
struct Call {
    caller: Life,
    session: u64,
    callee: Life,
    size: u32,
    answer: Answer,
    deadline: Timestamp,
    runs: u32,
    completed: bool,
    not_sent: bool,
}

#[derive(Debug)]
struct Datagram {
    receiver: u32,
    size: u32,
    delivered: bool,
}

impl Checker {
    /// A fresh id, for the payload of what is sent next.
    pub fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// `id` was accepted as a message to `receiver` of `size` bytes, in order on `channel` if any.
    pub fn message_accepted(
        &mut self,
        id: u64,
        (sender, session): (Life, u64),
        receiver: Life,
        channel: Option<u32>,
        size: u32,
    ) {
        self.totals.messages += 1;
        let lane = channel.map(|channel| Lane { sender, session, channel });
        if let Some(lane) = lane {
            self.lanes.entry(lane).or_default().push(id);
        }
        let message = Message { sender, receiver, session, lane, size, delivered: false, told: None };
        let before = self.messages.insert(id, message);
        assert!(before.is_none(), "ids are fresh");
        self.open_messages.insert(id);
    }

    /// A message's bytes arrived at `receiver`.
    pub fn message_delivered(&mut self, at: Timestamp, receiver: Life, channel: Option<u32>, bytes: &[u8]) {
        self.totals.messages_delivered += 1;
        let found = id_of(bytes).and_then(|id| self.messages.get_mut(&id).map(|message| (id, message)));
        let Some((id, message)) = found else {
            return self.broken(at, Promise::M, format!("{receiver} got a message nobody sent"));
        };
        let mut wrong = Vec::new();
        if message.receiver != receiver {
            wrong.push("in another life than it was meant for");
        }
        if message.lane.map(|lane| lane.channel) != channel {
            wrong.push("on the wrong channel");
        }
        if message.delivered {
            wrong.push("a second time");
        }
        if message.told == Some(Told::NotSent) {
            wrong.push("although it was reported NotSent");
        }
        if !is_contents(id, Purpose::Message, message.size, bytes) {
            wrong.push("with changed contents");
        }
        message.delivered = true;
        self.open_messages.remove(&id);
        if let Some(lane) = message.lane {
            let next = self.lane_next.entry(lane).or_default();
            if self.lanes[&lane].get(*next) != Some(&id) {
                wrong.push("out of order");
            }
            *next += 1;
        }
        for what in wrong {
            self.broken(at, Promise::M, format!("message {id} was delivered {what}"));
        }
    }

    /// The sender was told that message `id` was not acknowledged when its session failed.
    pub fn message_told(&mut self, at: Timestamp, id: u64, told: Told) {
        self.totals.messages_reported += 1;
        let Some(message) = self.messages.get_mut(&id) else {
            return self.broken(at, Promise::M, format!("message {id} was reported and never sent"));
        };
        let twice = message.told.replace(told).is_some();
        let delivered = message.delivered;
        self.open_messages.remove(&id);
        self.harmed_sessions.insert((message.sender, message.session));
        if twice {
            self.broken(at, Promise::M, format!("message {id} was reported twice"));
        }
        if delivered && told == Told::NotSent {
            self.broken(at, Promise::M, format!("message {id} was reported NotSent and had been delivered"));
        }
    }

    /// `id` was accepted as a call to `callee` with a request of `size` bytes.
    pub fn call_accepted(
        &mut self,
        id: u64,
        (caller, session): (Life, u64),
        callee: Life,
        (size, answer): (u32, Answer),
        deadline: Timestamp,
    ) {
        self.totals.calls += 1;
        let call = Call {
            caller,
            session,
            callee,
            size,
            answer,
            deadline,
            runs: 0,
            completed: false,
            not_sent: false,
        };
        let before = self.calls.insert(id, call);
        assert!(before.is_none(), "ids are fresh");
        self.open_calls.insert(id);
    }

    /// A handler runs for a request with these bytes. What it is to answer, if the call is known.
    pub fn call_runs(&mut self, at: Timestamp, callee: Life, bytes: &[u8]) -> Option<(u64, Answer)> {
        self.totals.calls_run += 1;
        let found = id_of(bytes).and_then(|id| self.calls.get_mut(&id).map(|call| (id, call)));
        let Some((id, call)) = found else {
            self.broken(at, Promise::R1, format!("{callee} runs a call nobody made"));
            return None;
        };
        call.runs += 1;
        let answer = call.answer;
        let mut wrong = Vec::new();
        if call.runs > 1 {
            wrong.push("a second time");
        }
        let astray = call.callee != callee;
        if call.not_sent {
            wrong.push("although it was reported NotSent");
        }
        if !is_contents(id, Purpose::Request, call.size, bytes) {
            wrong.push("with changed contents");
        }
        let meant_for = call.callee;
        if astray {
            self.broken(at, Promise::R2, format!("call {id}, made to {meant_for}, ran in {callee}"));
        }
        for what in wrong {
            self.broken(at, Promise::R1, format!("call {id} ran {what}"));
        }
        Some((id, answer))
    }

    /// The caller was told how call `id` ended.
    pub fn call_ended(&mut self, at: Timestamp, caller: Life, id: u64, ended: Ended<'_>) {
        match ended {
            Ended::Replied(_) => self.totals.calls_replied += 1,
            Ended::TimedOut => self.totals.calls_timed_out += 1,
            Ended::Failed(_) | Ended::Unknown | Ended::NotSent => self.totals.calls_ended += 1,
        }
        let Some(call) = self.calls.get_mut(&id) else {
            return self.broken(at, Promise::R1, format!("call {id} ended and was never made"));
        };
        let mut wrong = Vec::new();
        if std::mem::replace(&mut call.completed, true) {
            wrong.push("a second time");
        }
        self.open_calls.remove(&id);
        if call.caller != caller {
            wrong.push("at the wrong caller");
        }
        call.not_sent |= ended == Ended::NotSent;
        if matches!(ended, Ended::Unknown | Ended::NotSent) {
            self.harmed_sessions.insert((call.caller, call.session));
        }
        wrong.extend(untrue(id, call, at, ended));
        for what in wrong {
            self.broken(at, Promise::R1, format!("call {id} ended {what} ({})", name(ended)));
        }
    }

    /// `id` was handed to the network as a datagram to `receiver`.
    pub fn datagram_sent(&mut self, id: u64, receiver: u32, size: u32) {
        self.datagrams.insert(id, Datagram { receiver, size, delivered: false });
    }

    /// A datagram's bytes arrived.
    pub fn datagram_delivered(&mut self, at: Timestamp, receiver: Life, bytes: &[u8]) {
        self.totals.datagrams += 1;
        let found = id_of(bytes).and_then(|id| self.datagrams.get_mut(&id).map(|datagram| (id, datagram)));
        let Some((id, datagram)) = found else {
            return self.broken(at, Promise::Datagram, format!("{receiver} got one nobody sent"));
        };
        let again = std::mem::replace(&mut datagram.delivered, true);
        let good =
            datagram.receiver == receiver.node && is_contents(id, Purpose::Datagram, datagram.size, bytes);
        if again {
            self.broken(at, Promise::Datagram, format!("datagram {id} arrived a second time"));
        }
        if !good {
            self.broken(at, Promise::Datagram, format!("datagram {id} arrived changed or astray"));
        }
    }

    /// `life` was told that its session ended, after the fate of what it had sent was told.
    pub fn session_ended(&mut self, at: Timestamp, life: Life, session: u64, ending: Ending, why: &str) {
        self.failed_sessions.insert((life, session));
        let harmed = self.harmed_sessions.contains(&(life, session));
        let excused = match ending {
            Ending::Explained => true,
            Ending::Unexplained => !harmed,
            Ending::Accused => false,
        };
        if !excused {
            let what = format!("{life}'s session {session} failed between two living ends: {why}");
            self.broken(at, Promise::Progress, what);
        }
    }

    /// `life` was told that its peer is no more and that `now_there` is in its place.
    pub fn restart_named(&mut self, at: Timestamp, life: Life, peer: Life, now_there: Life) {
        if now_there.node != peer.node || now_there.incarnation <= peer.incarnation {
            let what = format!("{life} was told that {now_there} took the place of {peer}");
            self.broken(at, Promise::R2, what);
        } else if !self.dead.contains(&peer) {
            self.broken(at, Promise::R2, format!("{life} was told that {peer} is no more, and it lives"));
        }
    }

    /// A process died: nobody is left to be told anything.
    pub fn died(&mut self, life: Life) {
        self.dead.insert(life);
        let Self { messages, calls, open_messages, open_calls, .. } = self;
        open_messages.retain(|id| messages[id].sender != life);
        open_calls.retain(|id| calls[id].caller != life);
    }

    /// How many messages and calls still owe their delivery, report or completion.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.owed().count() + self.pending_calls().count()
    }

    /// Whether any does. Asked thousands of times in a run.
    #[must_use]
    pub fn is_anything_pending(&self) -> bool {
        self.pending_calls().next().is_some() || self.owed().next().is_some()
    }

    /// Whether any does between two lives that both go on, on a session that both know: not of `half_open`.
    #[must_use]
    pub fn is_anything_pending_between_the_living(&self, half_open: &HalfOpen) -> bool {
        let counts = |receiver: &Life, on| !self.dead.contains(receiver) && !half_open.contains(&on);
        self.pending_calls().any(|(_, call)| counts(&call.callee, (call.caller, call.session)))
            || self.owed().any(|(_, message)| counts(&message.receiver, (message.sender, message.session)))
    }

    fn owed(&self) -> impl Iterator<Item = (u64, &Message)> {
        let open = self.open_messages.iter().map(|id| (*id, &self.messages[id]));
        open.filter(|(_, message)| self.is_owed(message))
    }

    fn pending_calls(&self) -> impl Iterator<Item = (u64, &Call)> {
        let open = self.open_calls.iter().map(|id| (*id, &self.calls[id]));
        open.filter(|(_, call)| self.is_call_pending(call))
    }

    /// Bytes that are still to travel: of messages owed, of calls and of their replies.
    #[must_use]
    pub fn pending_size(&self) -> u64 {
        let message_size: u64 = self.owed().map(|(_, message)| u64::from(message.size)).sum();
        let call_size = |call: &Call| match call.answer {
            Answer::Reply(size) => u64::from(call.size) + u64::from(size),
            Answer::Fail(_) => u64::from(call.size),
        };
        message_size + self.pending_calls().map(|(_, call)| call_size(call)).sum::<u64>()
    }

    /// What is pending between two lives that both go on has waited long enough, but for what is on sessions of
    /// `half_open`: that is due when the books are closed. `allowed` says how long that was.
    pub fn expect_nothing_pending_between_the_living(
        &mut self,
        at: Timestamp,
        half_open: &HalfOpen,
        allowed: &str,
    ) {
        let before = self.violations.len();
        let dead = self.dead.clone();
        self.accuse_pending(at, |receiver, on| !dead.contains(receiver) && !half_open.contains(&on));
        if self.violations.len() > before {
            self.broken(at, Promise::Progress, format!("faults had stopped for {allowed}"));
        }
    }

    /// The worker of `node` turns without end.
    pub fn is_restless(&mut self, at: Timestamp, node: usize) {
        self.broken(at, Promise::Rest, format!("the worker of {node} turns without end, and nothing comes"));
    }

    /// Closes the books: whatever is pending now stays silent for ever.
    pub fn finish(&mut self, at: Timestamp) {
        self.accuse_pending(at, |_, _| true);
    }

    /// `counts` is asked with whom something is for, and on whose session it was sent.
    fn accuse_pending(&mut self, at: Timestamp, counts: impl Fn(&Life, (Life, u64)) -> bool) {
        let mut silent: Vec<String> = Vec::new();
        silent.extend(self.owed().filter(|(_, message)| counts(&message.receiver, (message.sender, message.session))).map(|(id, message)| {
            let Message { sender, receiver, session, size, .. } = message;
            format!("message {id} of {size} bytes from {sender} to {receiver} in session {session} was neither delivered nor reported")
        }));
        silent.extend(self.pending_calls().filter(|(_, call)| counts(&call.callee, (call.caller, call.session))).map(|(id, call)| {
            let Call { caller, callee, session, size, runs, .. } = call;
            format!("call {id} of {size} bytes from {caller} to {callee} in session {session} never completed (it ran {runs} times)")
        }));
        let count = silent.len();
        for what in silent.into_iter().take(SILENT_SHOWN_MAX) {
            self.broken(at, Promise::Progress, what);
        }
        if count > SILENT_SHOWN_MAX {
            let rest = count - SILENT_SHOWN_MAX;
            self.broken(at, Promise::Progress, format!("{rest} more messages and calls are silent"));
        }
    }

    /// The promises broken so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// What was counted so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn is_owed(&self, message: &Message) -> bool {
        let settled = message.delivered || message.told.is_some() || self.dead.contains(&message.sender);
        !settled && !self.is_behind_a_report(message) && !self.died_with_its_receiver(message)
    }

    /// Acknowledged means in the receiving session's hands, not seen by its application (P-12.4): what was
    /// acknowledged within a turn that its receiver did not live to end is nobody's to report.
    fn died_with_its_receiver(&self, message: &Message) -> bool {
        let ended = self.failed_sessions.contains(&(message.sender, message.session));
        ended && self.dead.contains(&message.receiver)
    }

    /// An ordered message that arrived behind a gap is acknowledged and held; when the session fails
    /// before the gap is filled, the report of the gap speaks for what stood behind it.
    fn is_behind_a_report(&self, message: &Message) -> bool {
        let Some(lane) = message.lane else { return false };
        if !self.failed_sessions.contains(&(message.sender, message.session)) {
            return false;
        }
        let next = self.lane_next.get(&lane).copied().unwrap_or(0);
        let gap = self.lanes[&lane].get(next).and_then(|id| self.messages.get(id));
        gap.is_some_and(|gap| gap.told.is_some())
    }

    fn is_call_pending(&self, call: &Call) -> bool {
        !call.completed && !self.dead.contains(&call.caller)
    }

    fn broken(&mut self, at: Timestamp, promise: Promise, what: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { at, promise, what });
        }
    }
}

/// What is untrue about how a call was told to have ended.
fn untrue(id: u64, call: &Call, at: Timestamp, ended: Ended<'_>) -> Option<&'static str> {
    match ended {
        Ended::Replied(_) | Ended::Failed(_) if call.runs == 0 => Some("as if it had run"),
        Ended::Replied(bytes) => match call.answer {
            Answer::Reply(size) if is_contents(id, Purpose::Reply, size, bytes) => None,
            Answer::Reply(_) => Some("with another reply than the handler gave"),
            Answer::Fail(_) => Some("well although the handler failed"),
        },
        Ended::Failed(code) if call.answer == Answer::Fail(code) => None,
        Ended::Failed(_) => Some("with a failure the handler did not report"),
        Ended::TimedOut if at < call.deadline => Some("before its deadline"),
        Ended::TimedOut if at.since_ns(call.deadline) > LATE_NS_MAX => Some("long after its deadline"),
        Ended::NotSent if call.runs > 0 => Some("as never sent, and it had run"),
        Ended::TimedOut | Ended::Unknown | Ended::NotSent => None,
    }
}

fn name(ended: Ended<'_>) -> String {
    match ended {
        Ended::Replied(bytes) => format!("Replied, {} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}

/// A timed-out call is told within this long after its deadline.
const LATE_NS_MAX: u64 = 60_000_000;
const VIOLATIONS_MAX: usize = 64;
const SILENT_SHOWN_MAX: usize = 4;

#[cfg(test)]
mod tests;
