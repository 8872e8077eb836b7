//! A service at one address, whose session is opened again when it has ended.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::client::tells_more;
use super::{MethodId, Outcome, Repeat};
use crate::crypto::PublicKey;
use crate::endpoint::{Endpoint, OpenError, Peer};
use crate::transport::SendError;

/// A session that comes back: after the server restarted, or the session ended in any other way, the next
/// call opens another. What was in flight has ended by then, as `Unknown` or `NotSent`, and is issued again
/// only as far as its [`Repeat`] allows. Clones share the session.
#[derive(Clone, Debug)]
pub struct Service {
    endpoint: Arc<Endpoint>,
    remote: SocketAddr,
    server_key: Option<PublicKey>,
    session: Arc<Mutex<Option<Peer>>>,
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

impl Service {
    /// The service at `remote`, which must hold the private half of `server_key`. Without one only a
    /// server on this host is found. Nothing is opened yet.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, remote: SocketAddr, server_key: Option<PublicKey>) -> Self {
        Self { endpoint, remote, server_key, session: Arc::default() }
    }

    /// The session in use, opened if there is none.
    ///
    /// # Errors
    /// [`OpenError`]: the service is not there now, or does not let this endpoint in.
    pub async fn peer(&self) -> Result<Peer, OpenError> {
        if let Some(peer) = self.living() {
            return Ok(peer);
        }
        let connect = self.endpoint.connect(self.remote);
        let connect = match self.server_key {
            Some(key) => connect.server_key(key),
            None => connect,
        };
        let opened = connect.await?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        // Another task may have been quicker: then this session is dropped, and so closed.
        let peer = session.take().filter(|peer| peer.close_reason().is_none()).unwrap_or(opened);
        *session = Some(peer.clone());
        Ok(peer)
    }

    /// Gives up `peer`, if it is the session in use: the next call opens another. What is under way on it
    /// goes on.
    pub fn forget(&self, peer: &Peer) {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if session.as_ref() == Some(peer) {
            *session = None;
        }
    }

    fn living(&self) -> Option<Peer> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.clone().filter(|peer| peer.close_reason().is_none())
    }

    /// Calls `method`; on a new session where the one in use has ended, as far as `repeat` allows. `limit`
    /// is the deadline of each attempt; opening a session takes its own time before, at most five seconds.
    pub async fn call(
        &self,
        method: MethodId,
        payload: impl Into<Bytes>,
        limit: Duration,
        repeat: Repeat,
    ) -> Answer {
        let payload = payload.into();
        let mut answer = Answer { outcome: Outcome::NotSent(SendError::Closed), boot_id: None };
        for _ in 0..ATTEMPTS_MAX {
            let Ok(peer) = self.peer().await else { break };
            let again = peer.call(method, payload.clone()).deadline(limit).await;
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
