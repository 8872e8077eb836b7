//! What an application holds: a bound port with its worker threads, and handles that any thread or
//! async task may use.
//!
//! Not for applications that turn a worker themselves: those use [`crate::worker`]. No executor is
//! needed and any will do: every operation is a future, and has a `wait` for threads.
//!
//! ```text
//!  Peer::call --Command--> mailbox --> worker's thread: engine, backend, Handler
//!      ^                                   |
//!      +---- completion slot, waker <------+        Messages, Requests <-- inboxes
//! ```
//!
//! Invariant: a completion slot is freed exactly once, by whoever takes the outcome, or by the worker
//! when nobody waits any more; its generation keeps a late answer from the next holder.
#![forbid(unsafe_code)]

mod alarm;
mod allow;
mod app;
mod block;
mod builder;
mod call;
mod connect;
mod drive;
mod error;
mod handler;
mod inbox;
mod incoming;
mod intake;
mod lanes;
mod link;
mod outcome;
mod peer;
mod slots;
mod start;
mod stats;
mod trust;

use std::net::SocketAddr;
use std::sync::Arc;

pub use alarm::{Alarm, before, until};
pub use allow::{AllowError, AllowList, Allowed};
pub use block::{block_on, block_on_unless};
pub use builder::Builder;
pub use call::{Call, Sending};
pub use connect::Connect;
pub use error::{EndpointError, OpenError, PostError};
pub use handler::{Handler, Taken};
pub use incoming::{Events, IncomingCall, IncomingMessage, Messages, Next, PeerEvent, Requests};
pub use lanes::{ConnectLanes, Lanes, OpenLane};
pub use outcome::Outcome;
pub use peer::{Closed, Peer};
pub use stats::{Stats, WorkerStats};

use crate::crypto::PublicKey;
pub use crate::crypto::{Identity, KeyError, PresharedKey, Suite};
pub use crate::transport::quota::{Quota, Quotas};
pub use crate::transport::security::{Admission, Gate, OpenGate};
pub use crate::worker::mailbox::HandoverCounters;
use link::Hub;
use start::Threads;

/// A bound port and its workers. They end when it is dropped, after what was accepted has been sent.
#[derive(Debug)]
pub struct Endpoint {
    hub: Arc<Hub>,
    threads: Threads,
    public_key: Option<PublicKey>,
    boot_id: u64,
}

impl Endpoint {
    /// Settings for an endpoint; without any it binds a free port of every IPv4 address, with one
    /// worker that calls out and answers nothing.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.threads.local
    }

    /// What it is known by: what clients on other hosts must name. `None` without sealing.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.public_key
    }

    /// The incarnation that peers know it by: a random number drawn when it started.
    #[must_use]
    pub fn boot_id(&self) -> u64 {
        self.boot_id
    }

    /// The name of the backend that moves the packets, and why it was chosen.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.threads.backend_why
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.hub.links.len()
    }

    /// Opens a session with the endpoint at `remote`.
    pub fn connect(&self, remote: SocketAddr) -> Connect {
        Connect::new(self.hub.clone(), remote)
    }

    /// Opens one more session with the peer of one that is open, whoever opened that one: without a
    /// handshake, between a worker here and a worker there of its own. It lives and ends by itself.
    pub fn open_lane(&self, over: &Peer) -> OpenLane {
        OpenLane::new(self.hub.clone(), over)
    }

    /// Messages and datagrams that no handler took. Clones share one queue.
    #[must_use]
    pub fn messages(&self) -> Messages {
        Messages::new(self.hub.clone())
    }

    /// Calls that the handler left to be answered elsewhere. Clones share one queue.
    #[must_use]
    pub fn requests(&self) -> Requests {
        Requests::new(self.hub.clone())
    }

    /// What happened to sessions. Clones share one queue.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::new(self.hub.clone())
    }

    /// Packets that the kernel brought to the right worker, and those that had to be handed over.
    /// All zero with one worker.
    #[must_use]
    pub fn handover_counters(&self) -> HandoverCounters {
        self.hub.exchange.counters()
    }

    /// Operations of handles that are under way: started, and not yet taken by who waits for them or,
    /// given up, by their worker.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.hub.links.iter().map(|link| link.slots.taken()).sum()
    }

    /// How often a sleeping worker was woken by a handle, over all workers.
    #[must_use]
    pub fn doorbell_rings(&self) -> u64 {
        self.hub.links.iter().map(|link| link.sleep.rings()).sum()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.hub.links.iter().for_each(|link| link.mailbox.stop());
        self.threads.join();
        self.hub.close();
    }
}
