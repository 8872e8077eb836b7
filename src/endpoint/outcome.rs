//! How a call ended, to keep.

use bytes::Bytes;

use crate::transport::{Fate, SendError};
use crate::worker;

/// How a call ended. Every call ends in exactly one way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The handler's reply.
    Replied(Bytes),
    /// The handler ran and failed, or there was none: see [`worker::status`].
    Failed {
        /// Why.
        status: u8,
        /// What the handler had to say.
        message: Bytes,
    },
    /// The deadline passed. Whether the handler ran is not known.
    TimedOut,
    /// The session failed after the call was sent. Whether the handler ran is not known.
    Unknown,
    /// It was never sent, for this reason: the handler never runs.
    NotSent(SendError),
}

impl Outcome {
    /// The reply, if there is one.
    #[must_use]
    pub fn replied(self) -> Option<Bytes> {
        match self {
            Outcome::Replied(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The reply.
    ///
    /// # Panics
    /// When the call ended in any other way, with `what` and that way.
    #[must_use]
    pub fn expect(self, what: &str) -> Bytes {
        match self {
            Outcome::Replied(bytes) => bytes,
            other => panic!("{what}: {other:?}"),
        }
    }

    /// True when the handler certainly did not run: the call may be issued again.
    #[must_use]
    pub fn certainly_did_not_run(&self) -> bool {
        matches!(self, Outcome::NotSent(_))
            || matches!(self, Outcome::Failed { status: worker::status::NO_SUCH_METHOD, .. })
    }

    pub(super) fn of(outcome: worker::Outcome<'_>, keep: impl FnOnce(&[u8]) -> Bytes) -> Self {
        match outcome {
            worker::Outcome::Replied(bytes) => Outcome::Replied(keep(bytes)),
            worker::Outcome::Failed { status, message } => Outcome::Failed { status, message: keep(message) },
            worker::Outcome::TimedOut => Outcome::TimedOut,
            worker::Outcome::Unknown => Outcome::Unknown,
            worker::Outcome::NotSent => Outcome::NotSent(SendError::Closed),
        }
    }
}

impl From<Fate> for Outcome {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::TimedOut => Outcome::TimedOut,
            Fate::Unknown => Outcome::Unknown,
            Fate::NotSent => Outcome::NotSent(SendError::Closed),
        }
    }
}
