//! Opening a session.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::call::Ticket;
use super::link::{Hub, Link};
use super::slots::Completion;
use super::{ConnectLanes, OpenError, Peer, block_on};
use crate::crypto::PublicKey;
use crate::worker::Target;
use crate::worker::mailbox::Command;

/// A session being opened. It resolves to the peer; dropped before, the attempt is given up.
#[derive(Debug)]
#[must_use = "nothing is opened unless this is awaited or waited for"]
pub struct Connect {
    hub: Arc<Hub>,
    target: Target,
    local_worker: Option<usize>,
    ticket: Option<Ticket<Arc<Link>>>,
}

impl Connect {
    pub(super) fn new(hub: Arc<Hub>, remote: SocketAddr) -> Self {
        Self { hub, target: remote.into(), local_worker: None, ticket: None }
    }

    /// From worker `index` of this endpoint. Otherwise each worker has its turn.
    pub fn from_worker(mut self, index: usize) -> Self {
        self.local_worker = Some(index);
        self
    }

    /// To worker `index` of the peer, for a service whose workers each own a part. Otherwise the peer
    /// spreads sessions over its workers.
    pub fn to_worker(mut self, index: u8) -> Self {
        self.target.worker = Some(index);
        self
    }

    /// Who must answer. A server on another host must be named so; one on this host is asked for its key
    /// where none is given.
    pub fn server_key(mut self, key: PublicKey) -> Self {
        self.target.server_key = Some(key);
        self
    }

    /// Gives the handshake up after `limit`; five seconds unless set, which is the most.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.target.within = Some(limit);
        self
    }

    /// And `lanes - 1` more sessions without a handshake, from the other workers of this endpoint to the
    /// other workers of the peer, each in turn: a core at either end for each, as far as there are cores.
    pub fn lanes(self, lanes: usize) -> ConnectLanes {
        let (hub, to) = (self.hub.clone(), self.target.worker);
        ConnectLanes::new(hub, self, lanes, to)
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn wait(self) -> Result<Peer, OpenError> {
        block_on(self)
    }

    fn ticket(&mut self) -> Result<&mut Ticket<Arc<Link>>, OpenError> {
        let workers = self.hub.links.len();
        let local = self.local_worker.unwrap_or_else(|| self.hub.next_link());
        let link = self.hub.links.get(local);
        let link = link.ok_or(OpenError::NoSuchWorker { wanted: local, workers })?.clone();
        let command = Command::Connect { token: 0, target: self.target };
        Ok(self.ticket.insert(Ticket::new(link, command)))
    }
}

impl Future for Connect {
    type Output = Result<Peer, OpenError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = match &mut this.ticket {
            Some(ticket) => ticket.poll(context),
            None => match this.ticket() {
                Ok(ticket) => ticket.poll(context),
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        polled.map(|completion| match completion {
            Completion::Opened(opened) => opened,
            Completion::Ended => Err(OpenError::Stopped),
            other => unreachable!("opening ends in a peer or a reason, not in {other:?}"),
        })
    }
}
