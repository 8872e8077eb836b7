//! Whom to open a session with.

use std::net::SocketAddr;
use std::time::Duration;

use crate::crypto::PublicKey;

/// An address, and who must answer there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub remote: SocketAddr,
    /// Who. On another host it must be named; a server on this one is asked, since whoever can bind a
    /// port of this host is the one it is.
    pub server_key: Option<PublicKey>,
    /// Which of its workers; `None`: any.
    pub worker: Option<u8>,
    /// The handshake has so long; `None`: five seconds, which is the most.
    pub within: Option<Duration>,
}

impl Target {
    /// Who answers at `remote` must hold the private half of `key`.
    #[must_use]
    pub fn with_key(remote: SocketAddr, key: PublicKey) -> Self {
        Self { server_key: Some(key), ..Self::from(remote) }
    }

    /// At the endpoint's worker `worker`, if it has so many.
    #[must_use]
    pub fn at_worker(self, worker: u8) -> Self {
        Self { worker: Some(worker), ..self }
    }
}

impl From<SocketAddr> for Target {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, server_key: None, worker: None, within: None }
    }
}
