//! One run, decided: what the command line asked for, with every default filled in.

use std::net::SocketAddr;
use std::time::Duration;

use super::schedule::Arrivals;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One call in flight.
    Ping,
    /// A closed loop: `window` calls in flight per session.
    Rate,
    /// An open loop: calls at fixed intended times.
    Load,
    /// One way, as much as goes.
    Bulk,
}

impl Scenario {
    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Ping => "ping",
            Scenario::Rate => "rate",
            Scenario::Load => "load",
            Scenario::Bulk => "bulk",
        }
    }
}

/// What carries the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Calls: each is answered.
    Call,
    /// One-way messages: each is delivered exactly once.
    Message,
}

impl Over {
    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Over::Call => "call",
            Over::Message => "message",
        }
    }
}

/// The load of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is measured.
    pub scenario: Scenario,
    /// What carries it.
    pub over: Over,
    /// Bytes of each request, or of each message.
    pub size: usize,
    /// Length of the measured window.
    pub duration: Duration,
    /// Load before the window.
    pub warmup: Duration,
    /// Calls in flight per session.
    pub window: usize,
    /// Sends a second over all sessions; `None` in an open loop means half of a saturation.
    pub rate: Option<f64>,
    /// Gaps of an open loop.
    pub arrivals: Arrivals,
    /// Sessions, shared out among the client's workers.
    pub sessions: usize,
    /// Lanes of each, its own included: each carries load of its own.
    pub lanes: usize,
    /// Of each call, from its send.
    pub deadline: Duration,
    /// Of contents and of random gaps.
    pub seed: u64,
    /// Compare every byte of every reply.
    pub verify: bool,
    /// Who is called.
    pub target: SocketAddr,
}

impl Plan {
    /// Sessions of the worker with the given index, of `workers`.
    #[must_use]
    pub fn sessions_of(&self, worker: usize, workers: usize) -> usize {
        self.sessions / workers + usize::from(worker < self.sessions % workers)
    }
}
