//! The worker's side of handles: completes slots, fills inboxes, and asks the handler first.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;

use super::inbox::Inbox;
use super::incoming::{IncomingCall, IncomingMessage, PeerEvent};
use super::link::{Hub, Link};
use super::peer::PeerState;
use super::slots::{Completion, Wakers};
use super::{Handler, OpenError, Outcome, Peer, Taken};
use crate::rings::copied;
use crate::transport::{CloseReason, SessionKey};
use crate::worker::{self, App, Cx, Event, Message, ReplyWriter, Request};

/// Small replies are copied into shared blocks of this size: one allocation for many.
const BLOCK_SIZE: usize = 16 * 1024;
/// A larger one gets memory of its own.
const SHARED_SIZE_MAX: usize = 1_024;
/// What a kept message costs its session's credit beside its bytes.
const KEPT_OVERHEAD: u64 = 64;

/// The application that an endpoint's worker runs.
pub(super) struct HandleApp<H> {
    handler: H,
    link: Arc<Link>,
    hub: Arc<Hub>,
    peers: FxHashMap<SessionKey, Peer>,
    connecting: FxHashMap<SessionKey, Opening>,
    wakers: Wakers,
    block: BytesMut,
    messages: Outbox<IncomingMessage>,
    requests: Outbox<IncomingCall>,
    events_told: bool,
}

/// A session being opened for a handle.
struct Opening {
    token: u64,
    remote: Option<SocketAddr>,
    wanted: Option<u8>,
}

impl<H: Handler> HandleApp<H> {
    pub(super) fn new(handler: H, link: Arc<Link>, hub: Arc<Hub>) -> Self {
        let rouse = Waker::from(link.sleep.clone());
        Self {
            handler,
            link,
            hub,
            peers: FxHashMap::default(),
            connecting: FxHashMap::default(),
            wakers: Wakers::default(),
            block: BytesMut::new(),
            messages: Outbox::new(rouse.clone()),
            requests: Outbox::new(rouse),
            events_told: false,
        }
    }

    /// A handle's session is being opened.
    pub(super) fn on_connecting(
        &mut self,
        session: SessionKey,
        token: u64,
        remote: Option<SocketAddr>,
        wanted: Option<u8>,
    ) {
        self.connecting.insert(session, Opening { token, remote, wanted });
    }

    /// The session that is being opened for `token`.
    pub(super) fn opening(&self, token: u64) -> Option<SessionKey> {
        self.connecting.iter().find(|(_, opening)| opening.token == token).map(|(session, _)| *session)
    }

    /// Every session, open or being opened.
    pub(super) fn sessions(&self) -> Vec<SessionKey> {
        self.peers.keys().chain(self.connecting.keys()).copied().collect()
    }

    /// Completes a slot; its task is woken at the end of the turn.
    pub(super) fn complete(&mut self, token: u64, completion: Completion) {
        self.wakers.push(self.link.slots.complete(token, completion));
    }

    /// After a turn: moves what waited for room, wakes each reader and each task once. What it
    /// returns is released to its sessions.
    pub(super) fn after_turn(&mut self) -> Vec<(SessionKey, u64)> {
        let mut released = Vec::new();
        self.messages.drain(&self.hub.messages, &mut released);
        self.requests.drain(&self.hub.requests, &mut released);
        if std::mem::take(&mut self.events_told) {
            self.hub.events.wake_readers();
        }
        self.wakers.wake_all();
        released
    }

    /// The worker ends: what is still open is told its end.
    pub(super) fn end(&mut self) {
        self.peers.drain().for_each(|(_, peer)| peer.state().on_closed(CloseReason::Local));
        self.wakers.wake_all();
    }

    /// The session's handle. What a session brought is delivered before its opening is told.
    fn peer(&mut self, session: SessionKey) -> &Peer {
        let Self { peers, connecting, link, .. } = self;
        peers.entry(session).or_insert_with(|| {
            let remote = connecting.get(&session).and_then(|opening| opening.remote);
            Peer::new(Arc::new(PeerState::new(session, remote)), link.clone(), false)
        })
    }

    fn keep(&mut self, payload: &[u8]) -> Bytes {
        keep(&mut self.block, payload)
    }

    fn on_opened(&mut self, cx: &mut Cx<'_>, session: SessionKey, accepted: bool, boot: u64) {
        let peer = self.peer(session).clone();
        let remote_worker = cx.remote_worker(session).unwrap_or(0);
        peer.state().learn_key(|| cx.peer_key(session));
        peer.state().on_opened(boot, remote_worker, cx.lane_of(session));
        if let Some(opening) = self.connecting.remove(&session) {
            let opened = match opening.wanted {
                Some(wanted) if wanted != remote_worker => {
                    cx.close(session, 0);
                    Err(OpenError::WrongWorker { wanted, got: remote_worker })
                }
                _ => Ok(peer.closing()),
            };
            self.complete(opening.token, Completion::Opened(opened));
        }
        self.tell(PeerEvent::Opened { peer, accepted });
    }

    fn on_closed(&mut self, session: SessionKey, reason: CloseReason) {
        if let Some(opening) = self.connecting.remove(&session) {
            self.complete(opening.token, Completion::Opened(Err(OpenError::Ended(reason))));
        }
        if let Some(peer) = self.peers.remove(&session) {
            peer.state().on_closed(reason);
            self.tell(PeerEvent::Closed { peer, reason });
        }
    }

    fn tell(&mut self, event: PeerEvent) {
        self.hub.events.push_newest(event);
        self.events_told = true;
    }

    fn queue_message(&mut self, cx: &mut Cx<'_>, message: Message<'_>, is_datagram: bool) {
        let payload = message.shared().unwrap_or_else(|| self.keep(message.payload));
        let peer = self.peer(message.session).clone();
        let size = payload.len();
        let message = IncomingMessage { peer, channel: message.channel, payload, is_datagram };
        let session = message.peer.session();
        let kept = self.messages.push(&self.hub.messages, session, size, message, is_datagram);
        if let Some(kept) = kept {
            cx.hold(session, kept);
        }
    }
}

fn keep(block: &mut BytesMut, payload: &[u8]) -> Bytes {
    if payload.len() > SHARED_SIZE_MAX {
        return Bytes::from(copied(payload));
    }
    if block.capacity() < payload.len() {
        // Reclaims the block when nobody holds a part of it any more.
        block.reserve(BLOCK_SIZE);
    }
    block.extend_from_slice(payload);
    block.split().freeze()
}

impl<H: Handler> App for HandleApp<H> {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        if !self.handler.queues(request.method) {
            return self.handler.on_request(request, reply);
        }
        let token = reply.defer();
        let payload = request.shared().unwrap_or_else(|| self.keep(request.payload));
        let peer = self.peer(request.session).clone();
        // A call may come before its session's opening is told.
        peer.state().learn_key(|| reply.peer_key());
        let size = payload.len();
        let call = IncomingCall::new(peer, request.method, payload, token);
        let kept = self.requests.push(&self.hub.requests, request.session, size, call, false);
        if let Some(kept) = kept {
            reply.hold(kept);
        }
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: worker::Outcome<'_>) {
        let outcome = Outcome::of(outcome, |bytes| keep(&mut self.block, bytes));
        self.complete(token, Completion::Outcome(outcome));
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: Message<'_>) {
        let taken = catch_unwind(AssertUnwindSafe(|| self.handler.on_message(cx, message)));
        if let Ok(Taken::No) = taken {
            self.queue_message(cx, message, false);
        }
    }

    fn on_datagram(&mut self, cx: &mut Cx<'_>, message: Message<'_>) {
        let taken = catch_unwind(AssertUnwindSafe(|| self.handler.on_datagram(cx, message)));
        if let Ok(Taken::No) = taken {
            self.queue_message(cx, message, true);
        }
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        // The handler's panic was printed by its hook; handles hear of the event all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| self.handler.on_event(cx, event)));
        match event {
            Event::Opened { session, accepted, peer_boot } => {
                self.on_opened(cx, session, accepted, peer_boot);
            }
            Event::Closed { session, reason } => self.on_closed(session, reason),
            Event::MessageEnded { session, ordinal, fate } => {
                let peer = self.peer(session).clone();
                self.tell(PeerEvent::MessageEnded { peer, ordinal, fate });
            }
            Event::OverQuota { session, peer: key, quota } => {
                let peer = session.map(|session| self.peer(session).clone());
                self.tell(PeerEvent::OverQuota { peer, key, quota });
            }
        }
    }
}

/// What goes to an inbox, in order; what does not fit waits here and holds its session's credit.
struct Outbox<T> {
    waiting: VecDeque<Waiting<T>>,
    pushed: bool,
    rouse: Waker,
}

struct Waiting<T> {
    session: SessionKey,
    size: usize,
    kept: u64,
    entry: T,
}

impl<T> Outbox<T> {
    fn new(rouse: Waker) -> Self {
        Self { waiting: VecDeque::new(), pushed: false, rouse }
    }

    /// Puts an entry into the inbox, or keeps it: then what to hold of the session's credit. What may
    /// be dropped is dropped instead.
    fn push(
        &mut self,
        inbox: &Inbox<T>,
        session: SessionKey,
        size: usize,
        entry: T,
        may_drop: bool,
    ) -> Option<u64> {
        let refused = if self.waiting.is_empty() { inbox.push(size, entry) } else { Err(entry) };
        let Err(entry) = refused else {
            self.pushed = true;
            return None;
        };
        if may_drop {
            return None;
        }
        let kept = size as u64 + KEPT_OVERHEAD;
        self.waiting.push_back(Waiting { session, size, kept, entry });
        Some(kept)
    }

    fn drain(&mut self, inbox: &Inbox<T>, released: &mut Vec<(SessionKey, u64)>) {
        self.move_waiting(inbox, released);
        if !self.waiting.is_empty() {
            inbox.wait_for_room(&self.rouse);
            // Once more: room may have come before the registration.
            self.move_waiting(inbox, released);
        }
        if std::mem::take(&mut self.pushed) {
            inbox.wake_readers();
        }
    }

    fn move_waiting(&mut self, inbox: &Inbox<T>, released: &mut Vec<(SessionKey, u64)>) {
        while let Some(Waiting { session, size, kept, entry }) = self.waiting.pop_front() {
            match inbox.push(size, entry) {
                Ok(()) => {
                    self.pushed = true;
                    released.push((session, kept));
                }
                Err(entry) => {
                    self.waiting.push_front(Waiting { session, size, kept, entry });
                    return;
                }
            }
        }
    }
}
