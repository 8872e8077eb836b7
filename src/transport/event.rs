//! The cold facts a session reports: opened, ended, calls and messages whose fate was decided.

use crate::crypto::PublicKey;
use crate::transport::SessionKey;
use crate::transport::quota::Quota;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    Local,
    /// The peer closed it, with its code.
    Peer(u16),
    /// Nothing was heard for the idle timeout.
    TimedOut,
    /// The peer is heard, yet acknowledged nothing for the idle timeout: what this side sends is lost.
    PathDead,
    /// The peer runs a new incarnation, whose boot id this is.
    PeerRestarted(u64),
    /// The peer's same incarnation no longer has the session: it ended it, and its CLOSE was lost.
    Forgotten,
    /// The peer proved that it no longer has the session: it restarted, or ended it unheard.
    Reset,
    /// The peer's key may no longer come in.
    Expelled,
    /// Its keys have sealed or refused as many packets as is safe.
    KeysUsedUp,
    /// The peer broke the protocol.
    Violation(&'static str),
    /// The handshake was refused, with the peer's code.
    Refused(u16),
    /// The handshake was not answered.
    Unreachable,
    /// The peer speaks no version that this build speaks.
    Version,
}

/// How a call or message ended that got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The deadline passed; whether the handler ran is not known.
    TimedOut,
    /// The session failed after it was sent; whether it arrived is not known.
    Unknown,
    /// The session failed before it was sent: it never arrives.
    NotSent,
}

/// One cold fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The session can be used. `accepted`: the peer asked for it.
    Opened {
        /// Which.
        session: SessionKey,
        /// True on the side that did not ask.
        accepted: bool,
        /// The peer's incarnation.
        peer_boot: u64,
    },
    /// The session ended. All its calls and messages were reported before.
    Closed {
        /// Which.
        session: SessionKey,
        /// Why.
        reason: CloseReason,
    },
    /// The session goes on at another address of its peer's (P-15.4).
    AddressChanged {
        /// Which.
        session: SessionKey,
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
    /// A call ended without a reply.
    CallEnded {
        /// Which session.
        session: SessionKey,
        /// The caller's token.
        token: u64,
        /// How.
        fate: Fate,
    },
    /// A one-way message was not acknowledged when its session failed.
    MessageEnded {
        /// Which session.
        session: SessionKey,
        /// Which message: what `send` returned.
        ordinal: u64,
        /// How: `Unknown` or `NotSent`.
        fate: Fate,
    },
}
