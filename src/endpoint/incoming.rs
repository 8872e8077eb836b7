//! What comes in for the application's own threads and tasks: messages, calls, events.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::inbox::Inbox;
use super::link::Hub;
use super::{Peer, block_on};
use crate::crypto::PublicKey;
use crate::transport::quota::Quota;
use crate::transport::{CallToken, CloseReason, Fate};
use crate::wire::ChannelId;
use crate::worker::mailbox::Urgent;
use crate::worker::status;

/// A one-way message or a datagram.
#[derive(Clone, Debug)]
pub struct IncomingMessage {
    /// Who sent it.
    pub peer: Peer,
    /// Its channel, when it is ordered.
    pub channel: Option<ChannelId>,
    /// Its bytes.
    pub payload: Bytes,
    /// True for an unreliable datagram.
    pub is_datagram: bool,
}

/// A call to answer. Dropped without an answer, it fails at its caller.
#[derive(Debug)]
pub struct IncomingCall {
    /// The method asked for.
    pub method: u32,
    /// Its bytes.
    pub payload: Bytes,
    peer: Peer,
    token: Option<CallToken>,
}

impl IncomingCall {
    pub(super) fn new(peer: Peer, method: u32, payload: Bytes, token: CallToken) -> Self {
        Self { method, payload, peer, token: Some(token) }
    }

    /// Who calls.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Replies. Never waits.
    pub fn reply(mut self, payload: impl Into<Bytes>) {
        self.answer(status::OK, payload.into());
    }

    /// Fails the call: its caller sees `status` and `message`.
    pub fn fail(mut self, status: u8, message: impl Into<Bytes>) {
        self.answer(status, message.into());
    }

    fn answer(&mut self, status: u8, payload: Bytes) {
        if let Some(call) = self.token.take() {
            self.peer.link().mailbox.push_urgent(Urgent::Reply { call, status, payload });
        }
    }
}

impl Drop for IncomingCall {
    fn drop(&mut self) {
        self.answer(status::NO_REPLY, Bytes::from_static(b"the call was dropped unanswered"));
    }
}

/// What happened to a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PeerEvent {
    /// It can be used.
    Opened {
        /// Which.
        peer: Peer,
        /// True when the peer asked for it.
        accepted: bool,
    },
    /// It ended. What became of its messages was told before.
    Closed {
        /// Which.
        peer: Peer,
        /// Why.
        reason: CloseReason,
    },
    /// A peer ran into one of its quotas: told at most once a second for each.
    OverQuota {
        /// By which session; `None` when it asked for one more.
        peer: Option<Peer>,
        /// Its key; `None` without sealing.
        key: Option<PublicKey>,
        /// Which bound.
        quota: Quota,
    },
    /// A message was not acknowledged when its session ended.
    MessageEnded {
        /// Which session.
        peer: Peer,
        /// Which message: what `send` resolved to.
        ordinal: u64,
        /// `Unknown` or `NotSent`.
        fate: Fate,
    },
}

/// Reads messages and datagrams that no handler took. A message is never lost here: while this is not
/// read and the queue is full, the peers' credit is held back. A datagram then is dropped.
#[derive(Clone, Debug)]
pub struct Messages {
    hub: Arc<Hub>,
}

impl Messages {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// The next one; `None` once the endpoint has ended.
    pub fn next(&self) -> Next<'_, IncomingMessage> {
        Next { inbox: &self.hub.messages }
    }

    /// The next one, if it is here.
    #[must_use]
    pub fn try_next(&self) -> Option<IncomingMessage> {
        self.hub.messages.pop()
    }
}

/// Reads calls that the handler left to be answered elsewhere.
#[derive(Clone, Debug)]
pub struct Requests {
    hub: Arc<Hub>,
}

impl Requests {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// The next one; `None` once the endpoint has ended.
    pub fn next(&self) -> Next<'_, IncomingCall> {
        Next { inbox: &self.hub.requests }
    }

    /// The next one, if it is here.
    #[must_use]
    pub fn try_next(&self) -> Option<IncomingCall> {
        self.hub.requests.pop()
    }
}

/// Reads events. The queue keeps the newest: [`Events::missed`] counts those that were not read in
/// time.
#[derive(Clone, Debug)]
pub struct Events {
    hub: Arc<Hub>,
}

impl Events {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// The next one; `None` once the endpoint has ended.
    pub fn next(&self) -> Next<'_, PeerEvent> {
        Next { inbox: &self.hub.events }
    }

    /// The next one, if it is here.
    #[must_use]
    pub fn try_next(&self) -> Option<PeerEvent> {
        self.hub.events.pop()
    }

    /// Events that newer ones pushed out.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.hub.events.pushed_out()
    }
}

/// The next entry of a queue.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited or waited for"]
pub struct Next<'a, T> {
    inbox: &'a Inbox<T>,
}

impl<T> Next<'_, T> {
    /// Waits on this thread.
    pub fn wait(self) -> Option<T> {
        block_on(self)
    }
}

impl<T> Future for Next<'_, T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.inbox.poll_pop(context)
    }
}
