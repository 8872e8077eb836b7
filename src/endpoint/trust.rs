//! What an endpoint proves by and whom it lets in, from what its builder was told.

use std::net::SocketAddr;
use std::sync::Arc;

use super::EndpointError;
use crate::crypto::{Csprng, Identity, PresharedKey, PublicKey, Suite};
use crate::time::{Clock, MonotonicClock, wall_at_zero_ns};
use crate::transport::security::{Admission, Gate, OpenGate, Security, is_this_host};

/// The builder's answers so far.
#[derive(Clone, Default)]
pub(super) struct Trust {
    /// All of it, decided elsewhere.
    pub(super) whole: Option<Security>,
    pub(super) identity: Option<Identity>,
    pub(super) preshared: Option<PresharedKey>,
    pub(super) suite: Option<Suite>,
    pub(super) gate: Option<Arc<dyn Gate>>,
    /// `Some(anywhere)` without sealing.
    pub(super) insecure: Option<bool>,
    /// Calls of others are answered.
    pub(super) serves: bool,
}

/// Lets nobody in: for an endpoint that only calls out.
#[derive(Debug)]
struct ClosedGate;

impl Gate for ClosedGate {
    fn admit(&self, _key: &PublicKey) -> Option<Admission> {
        None
    }
}

impl Trust {
    /// The security of an endpoint bound to `bind`.
    pub(super) fn security(self, bind: SocketAddr) -> Result<Security, EndpointError> {
        if let Some(security) = self.whole {
            return Ok(security);
        }
        match self.insecure {
            Some(true) => return Ok(Security::insecure_anywhere()),
            Some(false) => return Ok(Security::insecure()),
            None => {}
        }
        let gate: Arc<dyn Gate> = match self.gate {
            Some(gate) => gate,
            None if is_this_host(bind) => Arc::new(OpenGate),
            None if self.serves => return Err(EndpointError::NoGate { bind }),
            None => Arc::new(ClosedGate),
        };
        let identity = match self.identity {
            Some(identity) => identity,
            None => Identity::generate(&mut Csprng::new(entropy()?)),
        };
        let security = Security::sealed(&identity, self.preshared, wall_at_zero_ns(), MonotonicClock.now());
        Ok(Security { gate, suite: self.suite.unwrap_or(security.suite), ..security })
    }
}

/// 32 bytes from the kernel.
pub(super) fn entropy() -> Result<[u8; 32], EndpointError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(EndpointError::Randomness)?;
    Ok(bytes)
}
