//! An endpoint's settings.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::Handler;
use super::handler::{Nothing, Queued, Serve};
use super::start::{Setup, run};
use super::trust::Trust;
use crate::crypto::{Identity, PresharedKey, Suite};
use crate::io::select::Selection;
use crate::transport::Config;
use crate::transport::quota::Quotas;
use crate::transport::security::{Gate, OpenGate, Security};
use crate::worker::{IdlePolicy, ReplyWriter, Request};

/// Settings for an [`Endpoint`](super::Endpoint); every one has a working default.
#[derive(Clone)]
#[must_use = "an endpoint runs once it is started"]
pub struct Builder {
    pub(super) bind: SocketAddr,
    pub(super) workers: usize,
    pub(super) cores: Vec<usize>,
    pub(super) backend: Selection,
    pub(super) socket_buffer: Option<u64>,
    pub(super) idle: IdlePolicy,
    pub(super) transport: Config,
    pub(super) trust: Trust,
    pub(super) run: Arc<dyn Fn(Setup) + Send + Sync>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            workers: 1,
            cores: Vec::new(),
            backend: Selection::default(),
            socket_buffer: None,
            idle: IdlePolicy::Adaptive,
            transport: Config::default(),
            trust: Trust::default(),
            run: Arc::new(|setup| run(setup, |_| Nothing)),
        }
    }
}

impl Builder {
    /// Where to bind; port 0 lets the kernel choose.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// How many workers share the port (1 to 255), each a thread.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The core each worker is pinned to, and so how many workers there are.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = cores.into_iter().collect();
        self.workers = self.cores.len();
        self
    }

    /// Which backends to try.
    pub fn backend(mut self, selection: Selection) -> Self {
        self.backend = selection;
        self
    }

    /// Bytes to ask for each socket's buffers.
    pub fn socket_buffer(mut self, size: u64) -> Self {
        self.socket_buffer = Some(size);
        self
    }

    /// How a worker waits: [`IdlePolicy::Adaptive`] unless set.
    pub fn idle(mut self, policy: IdlePolicy) -> Self {
        self.idle = policy;
        self
    }

    /// Who this endpoint is. Without one it makes an identity that lasts as long as it does, which is fine
    /// for a client that nobody has to recognize.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.trust.identity = Some(identity);
        self
    }

    /// A secret that every peer holds, too: sessions open only with those who do.
    pub fn preshared_key(mut self, key: PresharedKey) -> Self {
        self.trust.preshared = Some(key);
        self
    }

    /// What this end's sessions are sealed with where it opens them; a server takes its client's choice.
    /// Unless it is set, what this CPU is quick at. [`Suite::Insecure`] is not for here: see
    /// [`Builder::insecure`].
    ///
    /// # Panics
    /// With [`Suite::Insecure`].
    pub fn suite(mut self, suite: Suite) -> Self {
        assert!(suite.is_secure(), "plaintext is asked for by `insecure`");
        self.trust.suite = Some(suite);
        self
    }

    /// Who may open sessions. Unless it is set, an endpoint bound to loopback lets everyone in, one that
    /// serves others does not start, and one that only calls out lets nobody in.
    pub fn gate(mut self, gate: impl Gate + 'static) -> Self {
        self.trust.gate = Some(Arc::new(gate));
        self
    }

    /// What each peer may take of a worker, unless the gate gives it other quotas.
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.transport.quotas = quotas;
        self
    }

    /// Lets every key in: sessions are sealed, and anybody may open one.
    pub fn allow_any_client(self) -> Self {
        self.gate(OpenGate)
    }

    /// Nothing is hidden or proven, between processes of this host: for measuring.
    pub fn insecure(mut self) -> Self {
        self.trust.insecure = Some(false);
        self
    }

    /// Nothing is hidden or proven, over any network: whoever is on the way reads and writes along.
    pub fn insecure_anywhere(mut self) -> Self {
        self.trust.insecure = Some(true);
        self
    }

    /// What it proves by and whom it believes, as one value: for programs that share it with workers of their
    /// own. What was said by identity, preshared key, suite, gate and insecure has then no effect.
    pub fn security(mut self, security: Security) -> Self {
        self.trust.whole = Some(security);
        self
    }

    /// The engine's settings. Ids, entropy, security and the buffer's size are filled in by the endpoint.
    pub fn transport(mut self, config: Config) -> Self {
        self.transport = config;
        self
    }

    /// Runs on every worker the handler that `factory` makes there, given the worker's index.
    pub fn handler<H: Handler>(mut self, factory: impl Fn(usize) -> H + Send + Sync + 'static) -> Self {
        self.run = Arc::new(move |setup| run(setup, &factory));
        self.trust.serves = true;
        self
    }

    /// Answers every call by a function that runs in place on the workers, each with its own clone.
    pub fn serve<F>(self, function: F) -> Self
    where
        F: FnMut(Request<'_>, &mut ReplyWriter<'_>) + Clone + Send + Sync + 'static,
    {
        self.handler(move |_| Serve(function.clone()))
    }

    /// Leaves every call to [`Endpoint::requests`](super::Endpoint::requests): threads or tasks of
    /// the application answer.
    pub fn queue_requests(self) -> Self {
        self.handler(|_| Queued)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("bind", &self.bind)
            .field("workers", &self.workers)
            .field("cores", &self.cores)
            .field("backend", &self.backend)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}
