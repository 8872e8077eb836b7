//! The words of the checker: lives, endings, promises and what breaks them.

use std::fmt;

use crate::time::Timestamp;

/// One life of one process: the n-th endpoint's k-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Life {
    /// Which endpoint.
    pub node: u32,
    /// Which of its lives, from 0.
    pub incarnation: u32,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.incarnation)
    }
}

/// How a call was told to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// With these bytes.
    Replied(&'a [u8]),
    /// The handler failed with this code.
    Failed(u8),
    /// Its deadline passed.
    TimedOut,
    /// Its session failed after it was sent.
    Unknown,
    /// Its session failed before it was sent.
    NotSent,
}

/// How a message was told to have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It may have arrived.
    Unknown,
    /// It never arrives.
    NotSent,
}

/// Why a session may have ended, as far as can be told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody closed it, a process at one end died, or its other end never knew it.
    Explained,
    /// Nobody did anything to it. Fine for a session nobody used; anything lost with it is not.
    Unexplained,
    /// One end accused the other of breaking the protocol: neither does, so never fine.
    Accused,
}

/// What a handler is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many bytes of the reply's contents.
    Reply(u32),
    /// This failure code.
    Fail(u8),
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was seen.
    pub at: Timestamp,
    /// Which promise.
    pub promise: Promise,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} broken at {} us: {}", self.promise, self.at.0 / 1_000, self.what)
    }
}

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Messages: exactly once, unchanged, in order, never silence.
    M,
    /// Calls: at most one run, exactly one completion, and a true one.
    R1,
    /// A server that dies: no later life runs a call of an earlier one, and the end names who is there now.
    R2,
    /// What is pending completes once faults have stopped.
    Progress,
    /// Datagrams: at most once, unchanged.
    Datagram,
    /// One seed is one run: a second leaves the same trace.
    Replay,
    /// A worker to which nothing comes, and that has nothing to send, rests.
    Rest,
}

/// What a run did, counted from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages accepted.
    pub messages: u64,
    /// Messages delivered.
    pub messages_delivered: u64,
    /// Messages reported `Unknown` or `NotSent`.
    pub messages_reported: u64,
    /// Calls accepted.
    pub calls: u64,
    /// Calls that ran.
    pub calls_run: u64,
    /// Calls that replied.
    pub calls_replied: u64,
    /// Calls that timed out.
    pub calls_timed_out: u64,
    /// Calls that ended otherwise.
    pub calls_ended: u64,
    /// Datagrams delivered.
    pub datagrams: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.messages_delivered += other.messages_delivered;
        self.messages_reported += other.messages_reported;
        self.calls += other.calls;
        self.calls_run += other.calls_run;
        self.calls_replied += other.calls_replied;
        self.calls_timed_out += other.calls_timed_out;
        self.calls_ended += other.calls_ended;
        self.datagrams += other.datagrams;
    }
}
