//! What a session's worker has counted, asked for when somebody wants to know: nothing is kept up to date
//! for those who never ask.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::call::Ticket;
use super::slots::Completion;
use super::{Peer, block_on};
use crate::sys::process::thread_cpu_seconds;
use crate::transport::{Counters, SessionKey};
use crate::worker::mailbox::Command;
use crate::worker::{App, LossCounters, Worker, WorkerCounters};

/// A worker's counts since it started, with its session's packet size, at one moment.
#[derive(Clone, Debug)]
pub struct WorkerStats {
    /// What its engine counted, over all sessions.
    pub counters: Counters,
    /// What was lost on this end's part of the way.
    pub losses: LossCounters,
    /// What its loop counted.
    pub turns: WorkerCounters,
    /// Processor seconds of its thread.
    pub cpu_s: f64,
    /// What moves its packets.
    pub backend: &'static str,
    /// Bytes of a full packet of the session asked about; `None` when it has ended.
    pub packet_size: Option<usize>,
}

/// Reads the counts, on the worker's thread.
pub(super) fn read<A: App>(worker: &mut Worker<A>, session: SessionKey) -> WorkerStats {
    WorkerStats {
        counters: worker.counters(),
        losses: worker.loss_counters(),
        turns: worker.worker_counters(),
        cpu_s: thread_cpu_seconds(),
        backend: worker.backend_name(),
        packet_size: worker.engine().packet_size(session),
    }
}

/// Counts being asked for. It resolves to `None` when the endpoint has ended.
#[derive(Debug)]
#[must_use = "nothing is asked unless this is awaited or waited for"]
pub struct Stats {
    ticket: Ticket<Peer>,
}

impl Stats {
    pub(super) fn new(peer: &Peer) -> Self {
        let command = Command::Stats { token: 0, session: peer.session() };
        Self { ticket: Ticket::new(peer.clone(), command) }
    }

    /// Waits on this thread.
    #[must_use]
    pub fn wait(self) -> Option<WorkerStats> {
        block_on(self)
    }
}

impl Future for Stats {
    type Output = Option<WorkerStats>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.ticket.poll(context).map(|completion| match completion {
            Completion::Counted(stats) => Some(*stats),
            Completion::Ended => None,
            other => unreachable!("a question is answered by counts, not by {other:?}"),
        })
    }
}
