//! What the application hands to the engine, by session key: each goes to its session, and the session
//! onto the list of those with something to send.

use bytes::Bytes;

use crate::time::Timestamp;
use crate::transport::SendError;
use crate::transport::engine::table::Slot;
use crate::transport::engine::{Engine, SessionKey};
use crate::transport::session::{Payload, Session};
use crate::transport::shared::Shared;
use crate::wire::{CallId, ChannelId};

impl Engine {
    /// The open session of `key`, on the list of those that may have something to send.
    #[inline]
    fn active(&mut self, key: SessionKey) -> Result<(&mut Session, &mut Shared), SendError> {
        match self.table.by_key(key) {
            Some(Slot::Open(session)) => {
                if !std::mem::replace(&mut session.listed.ready, true) {
                    self.ready.push_back(key.index);
                }
                Ok((session, &mut self.shared))
            }
            Some(Slot::Connecting(_) | Slot::Joining(_)) => Err(SendError::NotOpen),
            _ => Err(SendError::Closed),
        }
    }

    /// Issues a call: see [`SendError`] for why it may be refused. `token` comes back with its
    /// outcome, exactly once.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent and no outcome follows.
    #[inline]
    pub fn call(
        &mut self,
        key: SessionKey,
        method: u32,
        payload: &[u8],
        deadline: Timestamp,
        token: u64,
    ) -> Result<(), SendError> {
        let (session, shared) = self.parts(key)?;
        session.call(method, Payload::Copied(payload), deadline, token, shared)?;
        // Not before: thousands of sessions that are refused for want of memory have nothing to say.
        if !std::mem::replace(&mut session.listed.ready, true) {
            self.ready.push_back(key.index);
        }
        Ok(())
    }

    /// [`Engine::call`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn call_owned(
        &mut self,
        key: SessionKey,
        method: u32,
        payload: Bytes,
        deadline: Timestamp,
        token: u64,
    ) -> Result<(), SendError> {
        let (session, shared) = self.parts(key)?;
        session.call(method, Payload::Owned(payload), deadline, token, shared)?;
        self.touch(key.index);
        Ok(())
    }

    /// After [`SendError::WouldBlock`]: no session takes anything now, not only the one that was asked. The worker's memory
    /// for what is queued or unacknowledged is used up.
    #[inline]
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.shared.slab.has_one()
    }

    /// Sends a one-way message, in order on `channel` or in none. Returns its ordinal, by which an
    /// event names it if the session fails first.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn message(
        &mut self,
        key: SessionKey,
        channel: Option<ChannelId>,
        payload: &[u8],
    ) -> Result<u64, SendError> {
        let (session, shared) = self.parts(key)?;
        let ordinal = session.message(channel, Payload::Copied(payload), shared)?;
        self.touch(key.index);
        Ok(ordinal)
    }

    /// [`Engine::message`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn message_owned(
        &mut self,
        key: SessionKey,
        channel: Option<ChannelId>,
        payload: Bytes,
    ) -> Result<u64, SendError> {
        let (session, shared) = self.parts(key)?;
        let ordinal = session.message(channel, Payload::Owned(payload), shared)?;
        self.touch(key.index);
        Ok(ordinal)
    }

    /// The application keeps `size` delivered bytes for now: until [`Engine::release`] the peer is
    /// allowed so much less.
    pub fn hold(&mut self, key: SessionKey, size: u64) {
        if let Ok((session, _)) = self.parts(key) {
            session.hold(size);
        }
    }

    /// The application is done with `size` bytes it held.
    pub fn release(&mut self, key: SessionKey, size: u64) {
        if let Ok((session, _)) = self.parts(key) {
            session.release(size);
            self.touch(key.index);
        }
    }

    /// Sends an unreliable datagram.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn datagram(&mut self, key: SessionKey, payload: &[u8]) -> Result<(), SendError> {
        let (session, shared) = self.parts(key)?;
        session.datagram(payload, shared)?;
        self.touch(key.index);
        Ok(())
    }

    /// Replies to a call of the peer. `status` 0 is success.
    ///
    /// # Errors
    /// [`SendError::NoSuchCall`] when it was answered before, [`SendError::Closed`] when its session is gone.
    #[inline]
    pub fn reply(
        &mut self,
        key: SessionKey,
        call: CallId,
        status: u8,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let (session, shared) = self.active(key)?;
        session.reply(call, status, Payload::Copied(payload), shared)
    }

    /// [`Engine::reply`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// As [`Engine::reply`].
    pub fn reply_owned(
        &mut self,
        key: SessionKey,
        call: CallId,
        status: u8,
        payload: Bytes,
    ) -> Result<(), SendError> {
        let (session, shared) = self.active(key)?;
        session.reply(call, status, Payload::Owned(payload), shared)
    }

    /// Room for a small reply, written in place: `None` when it must go through [`Engine::reply`].
    #[inline]
    pub fn reserve_reply(
        &mut self,
        key: SessionKey,
        call: CallId,
        status: u8,
        size: usize,
    ) -> Option<&mut [u8]> {
        let (session, shared) = self.active(key).ok()?;
        session.reserve_reply(call, status, size, shared)
    }

    /// Closes a session once what it accepted is delivered. `code` is told to the peer.
    pub fn close(&mut self, now: Timestamp, key: SessionKey, code: u16) {
        if let Ok((session, _)) = self.parts(key) {
            session.close(now, code);
            self.touch(key.index);
        } else {
            self.abandon_connecting(now, key);
        }
    }
}
