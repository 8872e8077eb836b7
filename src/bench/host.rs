//! One end's worker, made as the command line asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use thiserror::Error;

use crate::crypto::PublicKey;
use crate::endpoint::{Endpoint, EndpointError};
use crate::io::select::{self, SelectError, Selection};
use crate::io::{Backend, Config as SocketConfig};
use crate::sys::cores::pin_current;
use crate::sys::process::random_bytes;
use crate::time::Clock;
use crate::transport::security::Security;
use crate::transport::{Config as TransportConfig, CongestionKind};
use crate::worker::impair::ImpairSpec;
use crate::worker::mailbox::{Exchange, SteeredBackend};
use crate::worker::tap::{Tap, TapConfig};
use crate::worker::{App, IdlePolicy, Worker, WorkerConfig};

/// How one end is run.
#[derive(Clone, Debug)]
pub struct Host {
    /// What moves the packets.
    pub backend: Selection,
    /// How a worker waits.
    pub idle: IdlePolicy,
    /// Congestion control.
    pub congestion: CongestionKind,
    /// Socket buffer to ask for, in bytes.
    pub socket_buffer: Option<u64>,
    /// Harm done to packets, each direction separately.
    pub impair: Option<ImpairSpec>,
    /// What this end proves by, and whom it believes.
    pub security: Security,
    /// Who the server must be, where that was told.
    pub server_key: Option<PublicKey>,
}

/// Why an end could not be set up.
#[derive(Debug, Error)]
pub enum HostError {
    /// The kernel refused the core.
    #[error("core {core} cannot be used: name one that `taskset -p $$` allows")]
    Core {
        /// Which.
        core: usize,
    },
    /// No socket, or no such backend here.
    #[error(transparent)]
    Backend(#[from] SelectError),
    /// An endpoint that did not start.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The address cannot be had.
    #[error("cannot bind: {0}")]
    Bind(io::Error),
    /// The tap that impairs packets could not be set up.
    #[error("cannot impair packets: {0}")]
    Tap(io::Error),
    /// No thread for a worker.
    #[error("cannot start a worker's thread: {0}")]
    Thread(io::Error),
    /// A worker's thread ended before it was up; it said why on stderr.
    #[error("a worker ended before it was up: see the lines above")]
    Died,
    /// No randomness for the boot id.
    #[error("the kernel has no randomness to give: {0}")]
    Random(io::Error),
}

/// A worker, and why its backend was chosen.
pub struct Made<A: App> {
    /// Ready to turn, on this thread only.
    pub worker: Worker<A>,
    /// The backend's reason.
    pub backend_why: String,
}

/// Which worker of which process this is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its index among the process's workers.
    pub index: u8,
    /// The core it is pinned to; `None` leaves that to the kernel.
    pub core: Option<usize>,
    /// The process's incarnation.
    pub boot_id: u64,
}

impl Host {
    /// Makes a worker on the calling thread, which is pinned to its core. One of several on a port is given
    /// what they share.
    pub fn make<A: App>(
        &self,
        place: Place,
        socket: SocketConfig,
        exchange: Option<&Arc<Exchange>>,
        clock: Rc<dyn Clock>,
        app: A,
    ) -> Result<Made<A>, HostError> {
        if let Some(core) = place.core.filter(|core| !pin_current(*core)) {
            return Err(HostError::Core { core });
        }
        let socket = SocketConfig { socket_buffer: self.socket_buffer, ..socket };
        let (backend, backend_why) = select::open(&socket, &self.backend)?;
        let mut backend = self.tapped(backend, &clock).map_err(HostError::Tap)?;
        if let Some(exchange) = exchange {
            backend = Box::new(SteeredBackend::new(backend, exchange.clone(), place.index));
        }
        let transport = TransportConfig {
            congestion: self.congestion,
            boot_id: place.boot_id,
            worker_index: place.index,
            entropy: random_32()?,
            security: self.security.clone(),
            ..TransportConfig::default()
        };
        let config = WorkerConfig { transport, idle: self.idle };
        let mut worker = Worker::new(config, backend, clock, app);
        if let Some(exchange) = exchange {
            worker.join(exchange.clone());
        }
        Ok(Made { worker, backend_why })
    }

    /// An endpoint of one worker, pinned as [`Host::make`]'s, for calls through handles. Harm is not done here.
    pub fn endpoint(&self, place: Place, bind: SocketAddr) -> Result<Endpoint, HostError> {
        let transport = TransportConfig { congestion: self.congestion, ..TransportConfig::default() };
        let mut builder = Endpoint::builder()
            .bind(bind)
            .backend(self.backend.clone())
            .idle(self.idle)
            .transport(transport)
            .security(self.security.clone());
        if let Some(core) = place.core {
            builder = builder.cores([core]);
        }
        if let Some(size) = self.socket_buffer {
            builder = builder.socket_buffer(size);
        }
        Ok(builder.start()?)
    }

    fn tapped(&self, backend: Box<dyn Backend>, clock: &Rc<dyn Clock>) -> io::Result<Box<dyn Backend>> {
        if self.impair.is_none() {
            return Ok(backend);
        }
        let config = TapConfig { impair: self.impair.clone(), capture: None };
        Ok(Box::new(Tap::new(backend, clock.clone(), config)?))
    }
}

/// A number that nobody can guess.
pub fn random_u64() -> Result<u64, HostError> {
    let mut bytes = [0; 8];
    random_bytes(&mut bytes).map_err(HostError::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Bytes that nobody can guess.
pub fn random_32() -> Result<[u8; 32], HostError> {
    let mut bytes = [0; 32];
    random_bytes(&mut bytes).map_err(HostError::Random)?;
    Ok(bytes)
}

/// Where a client binds to reach `target`: any address of its family.
#[must_use]
pub fn any_address_for(target: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}
