//! What an application is to a worker: handlers that run in place, on bytes in the receive buffer.

use bytes::Bytes;

use crate::crypto::PublicKey;
use crate::rings::copy;
use crate::time::Timestamp;
use crate::transport::buffer::SharedBuffer;
use crate::transport::quota::Quota;
use crate::transport::{CallToken, CloseReason, Engine, Fate, SendError, SessionKey};
use crate::wire::{CallId, ChannelId};
use crate::worker::payload::shared;

/// Why a call failed at the server: the status byte of its reply. Codes from 16 on are the
/// application's own.
pub mod status {
    /// The handler replied.
    pub const OK: u8 = 0;
    /// The handler panicked.
    pub const PANICKED: u8 = 1;
    /// The handler neither replied nor deferred.
    pub const NO_REPLY: u8 = 2;
    /// The server has no such method.
    pub const NO_SUCH_METHOD: u8 = 3;
    /// The reply was larger than the caller takes.
    pub const REPLY_TOO_LARGE: u8 = 4;
    /// The caller's key may not call this method.
    pub const FORBIDDEN: u8 = 5;
    /// The caller's key has as many calls open, or bytes unacknowledged, as it may: try again later.
    pub const OVER_QUOTA: u8 = 6;
    /// A durable call's lease is over, or the call was completed before: it was not run now, and whether it
    /// ever was is forgotten.
    pub const STALE: u8 = 7;
    /// The server keeps as much for durable calls as it may: it was not run, try again later.
    pub const NO_ROOM: u8 = 8;
    /// The store of durable calls failed: whether the call had its effect shows when it is repeated.
    pub const STORE_FAILED: u8 = 9;
    /// The payload is not what the method takes: a durable method takes durable calls.
    pub const MALFORMED: u8 = 10;
    /// A durable method's reply is larger than the server records: the call had no effect.
    pub const UNRECORDED: u8 = 11;
    /// The first of the application's own codes.
    pub const APPLICATION: u8 = 16;
}

/// A call to answer.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The session it came on.
    pub session: SessionKey,
    /// The method asked for.
    pub method: u32,
    /// Its bytes, valid until the handler returns.
    pub payload: &'a [u8],
    pub(super) owned: Option<&'a SharedBuffer>,
}

impl Request<'_> {
    /// The payload, to be kept beyond the handler without a copy, where it came in memory of its own: messages larger
    /// than a packet do. That memory is not used for the next message until what is returned is dropped. A session's
    /// peer is slowed down by what is kept only as far as [`Cx::hold`] is told.
    #[must_use]
    pub fn shared(&self) -> Option<Bytes> {
        shared(self.owned)
    }

    /// The payload, to be kept beyond the handler: [shared](Self::shared) where it can be, copied where not.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.shared().unwrap_or_else(|| Bytes::copy_from_slice(self.payload))
    }
}

/// A one-way message or datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The session it came on.
    pub session: SessionKey,
    /// Its channel, when it is ordered.
    pub channel: Option<ChannelId>,
    /// Its bytes, valid until the handler returns.
    pub payload: &'a [u8],
    pub(super) owned: Option<&'a SharedBuffer>,
}

impl Message<'_> {
    /// The payload, to be kept beyond the handler without a copy, where it came in memory of its own: messages larger
    /// than a packet do. That memory is not used for the next message until what is returned is dropped. A session's
    /// peer is slowed down by what is kept only as far as [`Cx::hold`] is told.
    #[must_use]
    pub fn shared(&self) -> Option<Bytes> {
        shared(self.owned)
    }

    /// The payload, to be kept beyond the handler: [shared](Self::shared) where it can be, copied where not.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.shared().unwrap_or_else(|| Bytes::copy_from_slice(self.payload))
    }
}

/// How a call ended. Every call ends in exactly one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The handler's reply.
    Replied(&'a [u8]),
    /// The handler ran and failed, or there was none: see [`status`].
    Failed {
        /// Why.
        status: u8,
        /// What the handler had to say.
        message: &'a [u8],
    },
    /// The deadline passed. Whether the handler ran is not known.
    TimedOut,
    /// The session failed after the call was sent. Whether the handler ran is not known.
    Unknown,
    /// The session failed before the call was sent. The handler never runs.
    NotSent,
}

impl From<Fate> for Outcome<'_> {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::TimedOut => Outcome::TimedOut,
            Fate::Unknown => Outcome::Unknown,
            Fate::NotSent => Outcome::NotSent,
        }
    }
}

/// The cold facts an application hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A session can be used.
    Opened {
        /// Which.
        session: SessionKey,
        /// True when the peer asked for it.
        accepted: bool,
        /// The peer's incarnation.
        peer_boot: u64,
    },
    /// A session ended. The outcomes of its calls and messages were told before.
    Closed {
        /// Which.
        session: SessionKey,
        /// Why.
        reason: CloseReason,
    },
    /// A peer ran into one of its quotas: told at most once a second for each.
    OverQuota {
        /// By which session; `None` when it asked for one more.
        session: Option<SessionKey>,
        /// Its key; `None` without sealing.
        peer: Option<PublicKey>,
        /// Which bound.
        quota: Quota,
    },
    /// A one-way message was not acknowledged when its session ended.
    MessageEnded {
        /// Which session.
        session: SessionKey,
        /// Which message: what `send` returned.
        ordinal: u64,
        /// `Unknown` or `NotSent`.
        fate: Fate,
    },
}

/// What a handler may do beside answering.
pub struct Cx<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) now: Timestamp,
}

impl Cx<'_> {
    /// The time of this turn.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// After [`SendError::WouldBlock`]: no session takes anything now, not only the one that was asked.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.engine.is_full()
    }

    /// Issues a call: either side may.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn call(
        &mut self,
        session: SessionKey,
        method: u32,
        payload: &[u8],
        deadline: Timestamp,
        token: u64,
    ) -> Result<(), SendError> {
        self.engine.call(session, method, payload, deadline, token)
    }

    /// [`Cx::call`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn call_owned(
        &mut self,
        session: SessionKey,
        method: u32,
        payload: Bytes,
        deadline: Timestamp,
        token: u64,
    ) -> Result<(), SendError> {
        self.engine.call_owned(session, method, payload, deadline, token)
    }

    /// Sends a one-way message.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(
        &mut self,
        session: SessionKey,
        channel: Option<ChannelId>,
        payload: &[u8],
    ) -> Result<u64, SendError> {
        self.engine.message(session, channel, payload)
    }

    /// [`Cx::send`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send_owned(
        &mut self,
        session: SessionKey,
        channel: Option<ChannelId>,
        payload: Bytes,
    ) -> Result<u64, SendError> {
        self.engine.message_owned(session, channel, payload)
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn datagram(&mut self, session: SessionKey, payload: &[u8]) -> Result<(), SendError> {
        self.engine.datagram(session, payload)
    }

    /// Answers a deferred call.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn reply(&mut self, token: CallToken, status: u8, payload: &[u8]) -> Result<(), SendError> {
        self.engine.reply(token.session, token.call, status, payload)
    }

    /// [`Cx::reply`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn reply_owned(&mut self, token: CallToken, status: u8, payload: Bytes) -> Result<(), SendError> {
        self.engine.reply_owned(token.session, token.call, status, payload)
    }

    /// The application keeps `size` delivered bytes past this turn: the peer may send so much less
    /// until they are released by [`Worker::release`](crate::worker::Worker::release).
    pub fn hold(&mut self, session: SessionKey, size: u64) {
        self.engine.hold(session, size);
    }

    /// Which of the peer's workers a session ends at.
    #[must_use]
    pub fn remote_worker(&self, session: SessionKey) -> Option<u8> {
        self.engine.remote_worker(session)
    }

    /// The key that a session's peer proved to hold; `None` without sealing.
    #[must_use]
    pub fn peer_key(&self, session: SessionKey) -> Option<PublicKey> {
        self.engine.peer_key(session)
    }

    /// Closes a session once what it accepted has arrived.
    pub fn close(&mut self, session: SessionKey, code: u16) {
        self.engine.close(self.now, session, code);
    }
}

/// Takes one reply, straight into the packet memory it leaves from.
pub struct ReplyWriter<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) session: SessionKey,
    pub(super) call: CallId,
    pub(super) done: bool,
}

impl ReplyWriter<'_> {
    /// Replies with a copy of `payload`.
    #[inline]
    pub fn send(&mut self, payload: &[u8]) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        if let Some(place) = self.engine.reserve_reply(self.session, self.call, status::OK, payload.len()) {
            copy(place, payload);
            return;
        }
        self.finish_copied(payload);
    }

    /// Replies with `size` bytes that `write` puts in place. It must write all of them.
    #[inline]
    pub fn send_with(&mut self, size: usize, write: impl FnOnce(&mut [u8])) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        if let Some(place) = self.engine.reserve_reply(self.session, self.call, status::OK, size) {
            write(place);
            return;
        }
        let mut owned = vec![0; size];
        write(&mut owned);
        self.finish_owned(owned.into());
    }

    /// Replies with a buffer that is kept, not copied, when it is large.
    pub fn send_owned(&mut self, payload: Bytes) {
        if !std::mem::replace(&mut self.done, true) {
            self.finish_owned(payload);
        }
    }

    #[cold]
    fn finish_owned(&mut self, payload: Bytes) {
        let sent = self.engine.reply_owned(self.session, self.call, status::OK, payload);
        self.finish(sent);
    }

    #[cold]
    fn finish_copied(&mut self, payload: &[u8]) {
        let sent = self.engine.reply(self.session, self.call, status::OK, payload);
        self.finish(sent);
    }

    fn finish(&mut self, sent: Result<(), SendError>) {
        if let Err(SendError::MessageTooLarge { .. }) = sent {
            let told = self.engine.reply(self.session, self.call, status::REPLY_TOO_LARGE, &[]);
            debug_assert!(told.is_ok());
        }
        // Any other error means that the session is gone, and with it the caller.
    }

    /// Fails the call: its caller sees `status` and `message`.
    #[cold]
    pub fn fail(&mut self, status: u8, message: &[u8]) {
        if !std::mem::replace(&mut self.done, true) {
            // An error means that the session is gone, and with it the caller.
            let _ = self.engine.reply(self.session, self.call, status, message);
        }
    }

    /// The key that the caller proved to hold; `None` without sealing.
    #[must_use]
    pub fn peer_key(&self) -> Option<PublicKey> {
        self.engine.peer_key(self.session)
    }

    /// As [`Cx::hold`], of the call's session.
    pub fn hold(&mut self, size: u64) {
        self.engine.hold(self.session, size);
    }

    /// Answers later, from anywhere, by the token.
    #[must_use = "without its token a deferred call is never answered"]
    pub fn defer(&mut self) -> CallToken {
        self.done = true;
        CallToken { session: self.session, call: self.call }
    }
}

/// An application on a worker. Handlers run to completion on the worker's thread: short ones.
pub trait App {
    /// A call came. Answer through `reply`, now or later; a panic becomes an error reply.
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>);

    /// A call issued here ended: exactly once for each.
    fn on_outcome(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>);

    /// A one-way message came.
    fn on_message(&mut self, cx: &mut Cx<'_>, message: Message<'_>) {
        let _ = (cx, message);
    }

    /// A datagram came.
    fn on_datagram(&mut self, cx: &mut Cx<'_>, message: Message<'_>) {
        let _ = (cx, message);
    }

    /// Something happened to a session.
    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        let _ = (cx, event);
    }
}
