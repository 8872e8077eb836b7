//! How a durable call ended, and what one attempt of it says about that.

use bytes::Bytes;

use crate::endpoint::{self, OpenError};
use crate::rpc::status;
use crate::transport::SendError;

/// How a durable call ended. Every call ends in exactly one way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It ran once; this is its reply, from the run itself or from the log.
    Replied(Bytes),
    /// It failed for good and had no effect. The same for every retry, unless no handler was asked: see
    /// [`status`]. One status tells otherwise: with [`status::REPLY_TOO_LARGE`] it took effect, and its
    /// reply is larger than this endpoint's sessions take.
    Failed {
        /// Why.
        status: u8,
        /// What the handler had to say.
        message: Bytes,
    },
    /// An earlier attempt may have run, and the lease ended before its reply could be had. It is not run
    /// again.
    Stale,
    /// The deadline passed. It may have run, or may still run, once: until a later call of the client's
    /// tells the server that this one and all before it are complete.
    TimedOut,
    /// It did not run and never will.
    NotRun(NotRun),
}

/// Why a durable call did not run within its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotRun {
    /// No session could be opened.
    NoSession(OpenError),
    /// It was not sent.
    NotSent(SendError),
    /// The server would not take it then.
    Refused {
        /// Why.
        status: u8,
        /// What the server had to say.
        message: Bytes,
    },
    /// The deadline passed before it was its turn: the session was still being opened, or the lease's
    /// window was full.
    NoTime,
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
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The call's end.
    Ended(Outcome),
    /// The server does not know the lease, or that the call is open: not run by this attempt.
    Stale,
    /// Not run by this attempt.
    NotRun(NotRun),
    /// It may have run.
    Doubtful,
}

impl From<endpoint::Outcome> for Attempt {
    fn from(outcome: endpoint::Outcome) -> Self {
        match outcome {
            endpoint::Outcome::Replied(reply) => Attempt::Ended(Outcome::Replied(reply)),
            endpoint::Outcome::Failed { status, message } => match status {
                status::STALE => Attempt::Stale,
                status::NO_ROOM | status::OVER_QUOTA => Attempt::NotRun(NotRun::Refused { status, message }),
                // The commit may have reached the disk; a dropped call may have been run before.
                status::STORE_FAILED | status::NO_REPLY => Attempt::Doubtful,
                _ => Attempt::Ended(Outcome::Failed { status, message }),
            },
            endpoint::Outcome::TimedOut | endpoint::Outcome::Unknown => Attempt::Doubtful,
            endpoint::Outcome::NotSent(error @ SendError::MessageTooLarge { .. }) => {
                // What is too large now will be later.
                Attempt::Ended(Outcome::NotRun(NotRun::NotSent(error)))
            }
            endpoint::Outcome::NotSent(error) => Attempt::NotRun(NotRun::NotSent(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_did_not_run_counts_as_not_run() {
        let failed = |status| Attempt::from(endpoint::Outcome::Failed { status, message: Bytes::new() });
        assert_eq!(failed(status::STALE), Attempt::Stale);
        for status in [status::STORE_FAILED, status::NO_REPLY] {
            assert_eq!(failed(status), Attempt::Doubtful);
        }
        for status in [status::NO_ROOM, status::OVER_QUOTA] {
            assert!(matches!(failed(status), Attempt::NotRun(_)));
        }
        for status in [status::PANICKED, status::FORBIDDEN, status::MALFORMED, status::APPLICATION] {
            assert!(matches!(failed(status), Attempt::Ended(Outcome::Failed { .. })));
        }
        for doubtful in [endpoint::Outcome::TimedOut, endpoint::Outcome::Unknown] {
            assert_eq!(Attempt::from(doubtful), Attempt::Doubtful);
        }
        let closed = endpoint::Outcome::NotSent(SendError::Closed);
        assert!(matches!(Attempt::from(closed), Attempt::NotRun(_)));
    }
}
