//! A service at one address, whose session is opened again when it has ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::client::tells_more;
use super::door::Door;
use super::{MethodId, Outcome, Repeat};
use crate::crypto::PublicKey;
use crate::endpoint::{Endpoint, OpenError, Peer};
use crate::time::{Clock, MonotonicClock};
use crate::transport::SendError;

/// A session that comes back: after the server restarted, or the session ended in any other way, the next
/// call opens another. What was in flight has ended by then, as `Unknown` or `NotSent`, and is issued again
/// only as far as its [`Repeat`] allows. Clones share the session.
///
/// However many callers wait, one handshake is made for all of them. After one that failed the server is left
/// alone, for 25 to 50 ms at first and up to five seconds in the end, by chance, so that a server that comes back is not
/// met by everyone at once; calls in between end at once as `NotSent`.
#[derive(Clone, Debug)]
pub struct Service {
    endpoint: Arc<Endpoint>,
    remote: SocketAddr,
    server_key: Option<PublicKey>,
    door: Arc<Door>,
}

/// How a call to a [`Service`] ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// The incarnation of the server whose attempt ended so: who may have run it, if it ended `Unknown`.
    /// `None` when no session could be opened.
    pub boot_id: Option<u64>,
}

/// A call is issued on at most so many sessions: who restarts faster than that is not up.
const ATTEMPTS_MAX: usize = 3;
/// A handshake never takes longer.
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);

impl Service {
    /// The service at `remote`, which must hold the private half of `server_key`. Without one only a
    /// server on this host is found. Nothing is opened yet.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, remote: SocketAddr, server_key: Option<PublicKey>) -> Self {
        let door = Arc::new(Door::new(endpoint.boot_id() ^ u64::from(remote.port())));
        Self { endpoint, remote, server_key, door }
    }

    /// The session in use, opened if there is none.
    ///
    /// # Errors
    /// [`OpenError`]: the service is not there now, does not let this endpoint in, or failed to a moment ago.
    pub async fn peer(&self) -> Result<Peer, OpenError> {
        self.peer_within(OPEN_TIME_MAX).await
    }

    /// Gives up `peer`, if it is the session in use: the next call opens another. What is under way on it
    /// goes on.
    pub fn forget(&self, peer: &Peer) {
        self.door.forget(peer);
    }

    async fn peer_within(&self, limit: Duration) -> Result<Peer, OpenError> {
        let end = MonotonicClock.now().after(limit);
        self.door.enter(end, || self.open(limit)).await
    }

    async fn open(&self, limit: Duration) -> Result<Peer, OpenError> {
        let connect = self.endpoint.connect(self.remote).deadline(limit);
        match self.server_key {
            Some(key) => connect.server_key(key).await,
            None => connect.await,
        }
    }

    /// Calls `method`; on a new session where the one in use has ended, as far as `repeat` allows. `limit`
    /// is the deadline of it all, attempts and the opening of sessions.
    pub async fn call(
        &self,
        method: MethodId,
        payload: impl Into<Bytes>,
        limit: Duration,
        repeat: Repeat,
    ) -> Answer {
        let payload = payload.into();
        let mut answer = Answer { outcome: Outcome::NotSent(SendError::Closed), boot_id: None };
        let end = MonotonicClock.now().after(limit);
        for _ in 0..ATTEMPTS_MAX {
            let left = MonotonicClock.now().until(end);
            if left.is_zero() {
                break;
            }
            let Ok(peer) = self.peer_within(left).await else { break };
            let left = MonotonicClock.now().until(end);
            let again = peer.call(method, payload.clone()).deadline(left).await;
            if tells_more(&answer.outcome, &again) {
                answer = Answer { outcome: again, boot_id: Some(peer.boot_id()) };
            }
            if !repeat.allows(&answer.outcome) {
                break;
            }
        }
        answer
    }
}
