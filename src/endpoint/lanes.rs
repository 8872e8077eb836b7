//! Several sessions with one endpoint over one handshake: lanes, each between a worker here and a worker
//! there. One lane is one core on each side; more are more.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::call::{Call, Ticket};
use super::link::{Hub, Link};
use super::slots::Completion;
use super::{Connect, OpenError, Peer, block_on};
use crate::worker::Lane;
use crate::worker::mailbox::Command;

/// A lane being opened. It resolves to a session of its own; dropped before, the attempt is given up.
#[derive(Debug)]
#[must_use = "nothing is opened unless this is awaited or waited for"]
pub struct OpenLane {
    hub: Arc<Hub>,
    over: Peer,
    local_worker: Option<usize>,
    remote_worker: Option<u8>,
    ticket: Option<Ticket<Arc<Link>>>,
}

impl OpenLane {
    pub(super) fn new(hub: Arc<Hub>, over: &Peer) -> Self {
        Self { hub, over: over.clone(), local_worker: None, remote_worker: None, ticket: None }
    }

    /// From worker `index` of this endpoint. Otherwise each worker has its turn.
    pub fn from_worker(mut self, index: usize) -> Self {
        self.local_worker = Some(index);
        self
    }

    /// To worker `index` of the peer. Otherwise the peer spreads lanes over its workers.
    pub fn to_worker(mut self, index: u8) -> Self {
        self.remote_worker = Some(index);
        self
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// [`OpenError`]: one the peer refused ends with
    /// [`CloseReason::Refused`](crate::worker::CloseReason::Refused).
    pub fn wait(self) -> Result<Peer, OpenError> {
        block_on(self)
    }

    fn ticket(&mut self) -> Result<&mut Ticket<Arc<Link>>, OpenError> {
        let workers = self.hub.links.len();
        let local = self.local_worker.unwrap_or_else(|| self.hub.next_link());
        let link = self.hub.links.get(local);
        let link = link.ok_or(OpenError::NoSuchWorker { wanted: local, workers })?.clone();
        let lane = Lane::over(self.over.session()).of_worker(self.over.local_worker());
        let lane = Lane { to: self.remote_worker, ..lane };
        let command = Command::OpenLane { token: 0, lane, remote: self.over.remote() };
        Ok(self.ticket.insert(Ticket::new(link, command)))
    }
}

impl Future for OpenLane {
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
            other => unreachable!("opening ends in a session or a reason, not in {other:?}"),
        })
    }
}

/// All sessions of one handshake. Clones share them. Each lives and ends by itself: when the last clone is
/// dropped, all are closed.
#[derive(Clone, Debug)]
pub struct Lanes {
    sessions: Arc<[Peer]>,
    next: Arc<AtomicUsize>,
    refused: Option<OpenError>,
}

impl Lanes {
    /// Calls `method` on the lane whose turn it is, of those that live: successive calls run on different
    /// cores, and nothing orders them.
    pub fn call(&self, method: u32, payload: impl Into<Bytes>) -> Call {
        self.next().call(method, payload)
    }

    /// The lane whose turn it is, of those that live; the first where none does.
    #[must_use]
    pub fn next(&self) -> &Peer {
        // Relaxed: the counter spreads calls and publishes nothing.
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turns = (0..self.sessions.len()).map(|step| first.wrapping_add(step) % self.sessions.len());
        let living = turns.map(|at| &self.sessions[at]).find(|session| session.close_reason().is_none());
        living.unwrap_or(&self.sessions[0])
    }

    /// Always the same lane for the same `key`: what is pinned to one runs on one core at each end, and may
    /// rely on the order of its channels.
    #[must_use]
    pub fn pinned(&self, key: u64) -> &Peer {
        &self.sessions[(key % self.sessions.len() as u64) as usize]
    }

    /// The sessions, that of the handshake first.
    #[must_use]
    pub fn sessions(&self) -> &[Peer] {
        &self.sessions
    }

    /// How many there are: as many as were asked for, unless the peer refused some.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always the session of the handshake")]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Why there are fewer than were asked for; `None` when there are not.
    #[must_use]
    pub fn refused(&self) -> Option<OpenError> {
        self.refused
    }
}

/// A handshake and its lanes being opened. It resolves once all of them were opened or refused; dropped
/// before, the attempt is given up.
#[must_use = "nothing is opened unless this is awaited or waited for"]
pub struct ConnectLanes {
    opening: Pin<Box<dyn Future<Output = Result<Lanes, OpenError>> + Send>>,
}

impl ConnectLanes {
    pub(super) fn new(hub: Arc<Hub>, connect: Connect, lanes: usize, to: Option<u8>) -> Self {
        Self { opening: Box::pin(open(hub, connect, lanes, to)) }
    }

    /// Waits on this thread.
    ///
    /// # Errors
    /// [`OpenError`]: there is no session at all.
    pub fn wait(self) -> Result<Lanes, OpenError> {
        block_on(self)
    }
}

impl Future for ConnectLanes {
    type Output = Result<Lanes, OpenError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.opening.as_mut().poll(context)
    }
}

impl fmt::Debug for ConnectLanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectLanes(..)")
    }
}

async fn open(hub: Arc<Hub>, connect: Connect, lanes: usize, to: Option<u8>) -> Result<Lanes, OpenError> {
    let first = connect.await?;
    let workers = hub.links.len();
    let lane = |step| {
        let from = (usize::from(first.local_worker()) + step) % workers;
        OpenLane { remote_worker: to, ..OpenLane::new(hub.clone(), &first).from_worker(from) }
    };
    let mut opening: Vec<OpenLane> = (1..lanes).map(lane).collect();
    let (mut sessions, mut refused) = (vec![first.clone()], None);
    // All at once: one round trip for however many.
    poll_fn(|context| {
        opening.retain_mut(|lane| match Pin::new(lane).poll(context) {
            Poll::Pending => true,
            Poll::Ready(opened) => {
                match opened {
                    Ok(session) => sessions.push(session),
                    Err(error) => refused = Some(error),
                }
                false
            }
        });
        if opening.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Ok(Lanes { sessions: sessions.into(), next: Arc::default(), refused })
}
