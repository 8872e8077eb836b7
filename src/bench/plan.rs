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

/// How calls are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// By the thread that turns the worker.
    #[default]
    Owned,
    /// By another thread, through an endpoint's handles.
    Handles,
}

impl Entry {
    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Entry::Owned => "owned",
            Entry::Handles => "handles",
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
    /// How it is handed to the worker.
    pub entry: Entry,
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

/// Bytes of a call unless told.
const CALL_SIZE_DEFAULT: usize = 64;
/// Bytes of a bulk message unless told.
const BULK_SIZE_DEFAULT: usize = 64 * 1024;

impl Plan {
    /// `scenario` on one session, with what is usual for it; `target` is who is called.
    #[must_use]
    pub fn of(scenario: Scenario, target: SocketAddr) -> Self {
        let bulk = scenario == Scenario::Bulk;
        Self {
            scenario,
            over: if bulk { Over::Message } else { Over::Call },
            entry: Entry::Owned,
            size: if bulk { BULK_SIZE_DEFAULT } else { CALL_SIZE_DEFAULT },
            duration: Duration::from_secs(4),
            warmup: Duration::from_secs(1),
            window: if scenario == Scenario::Ping { 1 } else { 256 },
            rate: None,
            arrivals: Arrivals::Paced,
            sessions: 1,
            lanes: 1,
            deadline: Duration::from_secs(1),
            seed: 1,
            verify: false,
            target,
        }
    }

    /// Sessions of the worker with the given index, of `workers`.
    #[must_use]
    pub fn sessions_of(&self, worker: usize, workers: usize) -> usize {
        self.sessions / workers + usize::from(worker < self.sessions % workers)
    }
}
