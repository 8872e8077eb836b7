//! A session, held by the application.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::call::{Call, Sending, command};
use super::link::Link;
use super::{PostError, Stats, block_on};
use crate::crypto::PublicKey;
use crate::transport::{CloseReason, LaneParent, SessionKey};
use crate::wire::ChannelId;
use crate::worker::mailbox::{Op, Refused, Urgent, Waiters};

/// A session with another endpoint. Clones are the same session. Of a session that this side opened,
/// the last clone's drop closes it, once what it accepted has arrived.
#[derive(Clone)]
pub struct Peer {
    handle: Arc<Handle>,
}

struct Handle {
    state: Arc<PeerState>,
    link: Arc<Link>,
    closes: bool,
}

/// What is known of a session on both sides of the mailbox.
#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) session: SessionKey,
    pub(super) remote: Option<SocketAddr>,
    key: OnceLock<Option<PublicKey>>,
    opened: OnceLock<Opened>,
    closed: OnceLock<CloseReason>,
    waiters: Waiters,
}

#[derive(Debug)]
struct Opened {
    boot: u64,
    remote_worker: u8,
    lane_of: Option<LaneParent>,
}

impl PeerState {
    pub(super) fn new(session: SessionKey, remote: Option<SocketAddr>) -> Self {
        let (key, opened, closed) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { session, remote, key, opened, closed, waiters: Waiters::default() }
    }

    pub(super) fn on_opened(&self, boot: u64, remote_worker: u8, lane_of: Option<LaneParent>) {
        let first = self.opened.set(Opened { boot, remote_worker, lane_of });
        debug_assert!(first.is_ok(), "a session opens once");
    }

    /// Learns who the peer is: before its first call is handed out, and at the latest when it opened.
    pub(super) fn learn_key(&self, key: impl FnOnce() -> Option<PublicKey>) {
        self.key.get_or_init(key);
    }

    pub(super) fn on_closed(&self, reason: CloseReason) {
        // The first reason stands.
        let _ = self.closed.set(reason);
        self.waiters.wake_all();
    }
}

impl Peer {
    pub(super) fn new(state: Arc<PeerState>, link: Arc<Link>, closes: bool) -> Self {
        Self { handle: Arc::new(Handle { state, link, closes }) }
    }

    /// The same session; its drop closes it.
    pub(super) fn closing(&self) -> Self {
        Self::new(self.handle.state.clone(), self.handle.link.clone(), true)
    }

    pub(super) fn state(&self) -> &PeerState {
        &self.handle.state
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.handle.link
    }

    /// Calls `method`. The call starts when it is first polled, waited for, or started.
    pub fn call(&self, method: u32, payload: impl Into<Bytes>) -> Call {
        Call::new(self.clone(), command(Op::Call, method, self.session(), payload.into()))
    }

    /// Sends a one-way message: in order on `channel`, or in no order. It resolves to the message's
    /// ordinal when the session has accepted it; should the session then fail before it was
    /// acknowledged, [`PeerEvent::MessageEnded`](super::PeerEvent::MessageEnded) names the ordinal.
    pub fn send(&self, channel: Option<ChannelId>, payload: impl Into<Bytes>) -> Sending {
        let (op, number) = match channel {
            None => (Op::Send, 0),
            Some(channel) => (Op::SendOrdered, channel.0),
        };
        Sending::new(self.clone(), command(op, number, self.session(), payload.into()))
    }

    /// Sends a datagram: it may arrive.
    ///
    /// # Errors
    /// [`PostError`]; it will not arrive.
    pub fn datagram(&self, payload: impl Into<Bytes>) -> Result<(), PostError> {
        if self.close_reason().is_some() {
            return Err(PostError::Closed);
        }
        let command = command(Op::Datagram, 0, self.session(), payload.into());
        self.link().mailbox.push(command).map_err(|refused| match refused {
            Refused::Full(_) => PostError::Full,
            Refused::Stopped(_) => PostError::Closed,
        })
    }

    /// Closes the session once what it accepted has arrived; `code` is told to the peer.
    pub fn close(&self, code: u16) {
        self.link().mailbox.push_urgent(Urgent::Close { session: self.session(), code });
    }

    /// Asks the session's worker what it has counted so far.
    pub fn stats(&self) -> Stats {
        Stats::new(self)
    }

    /// Resolves when the session has ended.
    pub fn closed(&self) -> Closed {
        Closed { peer: self.clone() }
    }

    /// Why the session ended; `None` while it lives.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.state().closed.get().copied()
    }

    /// Where it was opened to; `None` for a session that the peer opened.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.state().remote
    }

    /// The key that the peer proved to hold; `None` without sealing, and before the session's opening was
    /// told.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.state().key.get().copied().flatten()
    }

    /// The peer's incarnation; 0 before the session's opening was told.
    #[must_use]
    pub fn boot_id(&self) -> u64 {
        self.state().opened.get().map_or(0, |opened| opened.boot)
    }

    /// The peer's worker that has the session's other end.
    #[must_use]
    pub fn remote_worker(&self) -> u8 {
        self.state().opened.get().map_or(0, |opened| opened.remote_worker)
    }

    /// The session that it was opened over, by its worker and its key there; `None` for one that a handshake
    /// opened.
    #[must_use]
    pub fn lane_of(&self) -> Option<LaneParent> {
        self.state().opened.get().and_then(|opened| opened.lane_of)
    }

    /// The worker of this endpoint that has the session.
    #[must_use]
    pub fn local_worker(&self) -> u8 {
        self.link().index
    }

    /// The session's key on its worker: what handlers see.
    #[must_use]
    pub fn session(&self) -> SessionKey {
        self.state().session
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.closes && self.state.closed.get().is_none() {
            let session = self.state.session;
            self.link.mailbox.push_urgent(Urgent::Close { session, code: 0 });
        }
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle.state, &other.handle.state)
    }
}

impl Eq for Peer {}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("session", &self.session().number())
            .field("remote", &self.remote())
            .field("local_worker", &self.local_worker())
            .field("remote_worker", &self.remote_worker())
            .field("closed", &self.close_reason())
            .finish()
    }
}

/// The end of a session.
#[derive(Clone, Debug)]
#[must_use = "a future does nothing unless it is awaited or waited for"]
pub struct Closed {
    peer: Peer,
}

impl Closed {
    /// Waits on this thread.
    pub fn wait(self) -> CloseReason {
        block_on(self)
    }
}

impl Future for Closed {
    type Output = CloseReason;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CloseReason> {
        if let Some(reason) = self.peer.close_reason() {
            return Poll::Ready(reason);
        }
        self.peer.state().waiters.register(context.waker());
        self.peer.close_reason().map_or(Poll::Pending, Poll::Ready)
    }
}
