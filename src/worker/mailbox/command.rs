//! What another thread asks a worker to do: 128 bytes, so that a ring of them is an array.

use std::net::SocketAddr;

use crate::worker::{Lane, Target};

use bytes::Bytes;

use crate::transport::{CallToken, SessionKey};

/// Payload bytes that travel inside a command; a longer payload is a reference to its buffer.
pub const INLINE_SIZE_MAX: usize = 96;

/// What to do with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Call the method `number`.
    Call,
    /// Send a message in no order.
    Send,
    /// Send a message in order on the channel `number`.
    SendOrdered,
    /// Send a datagram.
    Datagram,
}

/// A command. Its executor answers by `token`, once, for every kind but a datagram.
#[derive(Debug)]
pub enum Command {
    /// A small payload, carried inline.
    Small {
        /// What to do.
        op: Op,
        /// Bytes used of `bytes`.
        len: u8,
        /// The method or channel.
        number: u32,
        /// On which session.
        session: SessionKey,
        /// The sender's completion slot.
        token: u64,
        /// A call's time limit in nanoseconds.
        timeout_ns: u64,
        /// The payload.
        bytes: [u8; INLINE_SIZE_MAX],
    },
    /// A payload in a buffer of its own.
    Large {
        /// What to do.
        op: Op,
        /// The method or channel.
        number: u32,
        /// On which session.
        session: SessionKey,
        /// The sender's completion slot.
        token: u64,
        /// A call's time limit in nanoseconds.
        timeout_ns: u64,
        /// The payload.
        bytes: Bytes,
    },
    /// Open a session.
    Connect {
        /// The caller's.
        token: u64,
        /// With whom.
        target: Target,
    },
    /// Open a lane.
    OpenLane {
        /// The caller's.
        token: u64,
        /// Which.
        lane: Lane,
        /// Where the session that it is opened over was opened to.
        remote: Option<SocketAddr>,
    },
    /// Tell what the worker has counted.
    Stats {
        /// The caller's.
        token: u64,
        /// Whose packet size is told beside.
        session: SessionKey,
    },
}

const _: () = assert!(size_of::<Command>() == 128, "a ring's entry is two cache lines");

impl Command {
    /// The session a command is for; `None` for one that opens one.
    #[must_use]
    pub fn session(&self) -> Option<SessionKey> {
        match self {
            Command::Small { session, .. }
            | Command::Large { session, .. }
            | Command::Stats { session, .. } => Some(*session),
            Command::Connect { .. } | Command::OpenLane { .. } => None,
        }
    }

    /// Names the slot that is to be answered to.
    pub fn answer_to(&mut self, slot: u64) {
        match self {
            Command::Small { token, .. }
            | Command::Large { token, .. }
            | Command::Connect { token, .. }
            | Command::OpenLane { token, .. }
            | Command::Stats { token, .. } => *token = slot,
        }
    }

    /// The sender's completion slot.
    #[must_use]
    pub fn token(&self) -> u64 {
        match self {
            Command::Small { token, .. }
            | Command::Large { token, .. }
            | Command::Connect { token, .. }
            | Command::OpenLane { token, .. }
            | Command::Stats { token, .. } => *token,
        }
    }
}

/// What may not be refused: every one answers something that was admitted before, which bounds them.
#[derive(Debug)]
pub enum Urgent {
    /// Answer a deferred call. One for each call that was handed out.
    Reply {
        /// Which call.
        call: CallToken,
        /// 0, or why it failed.
        status: u8,
        /// The reply.
        payload: Bytes,
    },
    /// The caller no longer waits. At most one for each completion slot.
    Cancel {
        /// On which session; `None` when it is being opened.
        session: Option<SessionKey>,
        /// The completion slot.
        token: u64,
    },
    /// Close a session. At most one for each session.
    Close {
        /// Which.
        session: SessionKey,
        /// Told to the peer.
        code: u16,
    },
}
