//! A call that outlives a session: issued again on another one, when that is right.

use std::time::Duration;

use bytes::Bytes;

use super::{MethodId, Outcome};
use crate::endpoint::Peer;
use crate::transport::SendError;

/// Whether a call may run more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Never: it is issued again only if it certainly was not sent.
    Never,
    /// Running it twice does no harm: it is issued again also when its session failed and nobody knows
    /// whether it ran.
    Idempotent,
}

impl Repeat {
    /// Whether a call that ended so may be issued again on another session (R1).
    #[must_use]
    pub fn allows(self, outcome: &Outcome) -> bool {
        match outcome {
            // What is too large here is too large on every session of the peer.
            Outcome::NotSent(SendError::MessageTooLarge { .. }) => false,
            Outcome::NotSent(_) => true,
            Outcome::Unknown => self == Repeat::Idempotent,
            // The time is over: whoever waits would wait twice as long as they said.
            Outcome::TimedOut => false,
            Outcome::Replied(_) | Outcome::Failed { .. } => false,
        }
    }
}

/// Whether a later attempt's outcome takes the place of an earlier one's: that a call may have run is not
/// forgotten because another attempt of it was not sent.
pub(super) fn tells_more(earlier: &Outcome, later: &Outcome) -> bool {
    !matches!((earlier, later), (Outcome::Unknown, Outcome::NotSent(_)))
}

/// Sessions that lead to one service, in order of preference.
#[derive(Clone, Debug)]
pub struct Client {
    peers: Vec<Peer>,
}

impl Client {
    /// A client over `peers`.
    #[must_use]
    pub fn new(peers: impl IntoIterator<Item = Peer>) -> Self {
        Self { peers: peers.into_iter().collect() }
    }

    /// Calls `method` on the first session; on the next ones as far as `repeat` allows. `limit` is the
    /// deadline of each attempt. What the last attempt came to; `NotSent` when there is no session.
    pub async fn call(
        &self,
        method: MethodId,
        payload: impl Into<Bytes>,
        limit: Duration,
        repeat: Repeat,
    ) -> Outcome {
        let payload = payload.into();
        let mut outcome = Outcome::NotSent(SendError::Closed);
        for peer in &self.peers {
            let again = peer.call(method, payload.clone()).deadline(limit).await;
            if tells_more(&outcome, &again) {
                outcome = again;
            }
            if !repeat.allows(&outcome) {
                break;
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_may_have_run_is_not_reported_as_never_sent() {
        let closed = Outcome::NotSent(SendError::Closed);
        assert!(!tells_more(&Outcome::Unknown, &closed));
        assert!(tells_more(&closed, &Outcome::Unknown));
        assert!(tells_more(&Outcome::Unknown, &Outcome::Replied(Bytes::new())));
    }

    #[test]
    fn only_a_call_that_cannot_have_run_or_may_run_twice_is_issued_again() {
        let closed = Outcome::NotSent(SendError::Closed);
        let too_large = Outcome::NotSent(SendError::MessageTooLarge { size: 2, size_max: 1 });
        let failed = Outcome::Failed { status: 16, message: Bytes::new() };
        for repeat in [Repeat::Never, Repeat::Idempotent] {
            assert!(repeat.allows(&closed));
            assert_eq!(repeat.allows(&Outcome::Unknown), repeat == Repeat::Idempotent);
            for over in [&too_large, &failed, &Outcome::TimedOut, &Outcome::Replied(Bytes::new())] {
                assert!(!repeat.allows(over), "{over:?}");
            }
        }
    }
}
