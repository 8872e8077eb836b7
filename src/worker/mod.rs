//! One pinned core: receive, think, run handlers, send, in turns that never block.
//!
//! Not for policy about retransmission (transport) or system calls (io): they meet here and nowhere
//! else.
//!
//! ```text
//!  turn():  backend.receive --> engine.handle_datagram --> deliveries --> handlers in place
//!                                engine.handle_timeout                        |
//!           backend.flush  <-- trains <-- engine.poll_transmit <--------------+
//! ```
//!
//! Invariant: a received buffer goes back at the end of the turn, whatever the handlers did.
#![forbid(unsafe_code)]

mod app;
mod balance;
pub mod front_door;
mod handling;
mod idle;
pub mod impair;
mod jobs;
mod lanes;
mod ledger;
mod log;
pub mod mailbox;
mod paths;
mod payload;
pub mod pcap;
mod shedding;
pub mod tap;
mod target;
mod trains;
mod turn;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::PublicKey;
use crate::io::{Backend, Event as IoEvent, IoCounters, Received};
use crate::time::{Clock, Timestamp};
use crate::transport::security::is_this_host;
use crate::transport::{
    Config, ConnectError, Counters, Deliveries, Engine, Event as EngineEvent, LaneNote, PathIndex, SendError,
};
use crate::wire::ChannelId;

pub use crate::transport::{CallToken, CloseReason, LaneParent, SessionKey};
pub use app::{App, Cx, Event, Message, Outcome, ReplyWriter, Request, status};
use balance::Balance;
use idle::Idle;
pub use idle::IdlePolicy;
use jobs::JobBudget;
pub use lanes::Lane;
pub use ledger::{Ledger, LossCounters};
use mailbox::Exchange;
use paths::PathTable;
use shedding::Shedding;
pub use target::Target;
use trains::Trains;

/// A worker's settings.
#[derive(Clone, Debug, Default)]
pub struct WorkerConfig {
    /// The engine's.
    pub transport: Config,
    /// What the worker does when a turn found nothing.
    pub idle: IdlePolicy,
}

/// What a worker counted beside its engine and backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounters {
    /// Turns taken.
    pub turns: u64,
    /// Turns that found nothing to do.
    pub idle_turns: u64,
    /// Handlers that panicked.
    pub handler_panics: u64,
    /// Stretches of handlers that ran far beyond their budget.
    pub slow_handlers: u64,
    /// Trains that left before the end of their turn.
    pub early_trains: u64,
    /// Longest turn, in nanoseconds.
    pub turn_ns_max: u64,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// Nothing was received, nothing was sent, no timer fired.
    pub idle: bool,
}

/// One worker: an engine, a backend and an application, turned by one thread.
pub struct Worker<A: App> {
    engine: Engine,
    backend: Box<dyn Backend>,
    clock: Rc<dyn Clock>,
    app: A,
    trains: Trains,
    paths: PathTable,
    deliveries: Deliveries,
    balance: Balance,
    batch: Vec<Received>,
    io_events: Vec<IoEvent>,
    engine_events: Vec<EngineEvent>,
    routes: Vec<PathIndex>,
    idle: Idle,
    jobs: JobBudget,
    /// The endpoint's other workers.
    exchange: Option<Arc<Exchange>>,
    lane_notes: Vec<LaneNote>,
    shedding: Shedding,
    counters: WorkerCounters,
    now: Timestamp,
    looked_at: Timestamp,
    receive_error: Option<std::io::Error>,
}

impl<A: App> Worker<A> {
    /// A worker on the thread that will turn it.
    #[must_use]
    pub fn new(config: WorkerConfig, backend: Box<dyn Backend>, clock: Rc<dyn Clock>, app: A) -> Self {
        let now = clock.now();
        let mut transport = config.transport;
        transport.receive_buffer_size = backend.receive_buffer_size();
        Self {
            engine: Engine::new(transport, now),
            backend,
            clock,
            app,
            trains: Trains::default(),
            paths: PathTable::default(),
            deliveries: Deliveries::default(),
            balance: Balance::default(),
            batch: Vec::new(),
            io_events: Vec::new(),
            engine_events: Vec::new(),
            routes: Vec::new(),
            idle: Idle::new(config.idle, now),
            jobs: JobBudget::default(),
            exchange: None,
            lane_notes: Vec::new(),
            shedding: Shedding::new(now),
            counters: WorkerCounters::default(),
            now,
            looked_at: now,
            receive_error: None,
        }
    }

    /// Asks for a session with `target`. It can be used after [`Event::Opened`]; where a worker was asked
    /// for, [`Worker::remote_worker`] tells which one answered.
    ///
    /// # Errors
    /// [`ConnectError`]: among them that a server on another host was not named.
    pub fn connect(&mut self, target: impl Into<Target>) -> Result<SessionKey, ConnectError> {
        let target = target.into();
        let security = self.engine.security();
        if !is_this_host(target.remote) && !security.anywhere {
            if !security.provider.is_secure() {
                return Err(ConnectError::InsecureElsewhere);
            }
            if target.server_key.is_none() {
                return Err(ConnectError::NoServerKey);
            }
        }
        self.now = self.clock.now();
        let path = self.path_to(target.remote);
        let size = self.backend.route_size(target.remote);
        self.engine.set_route_size(path, size);
        let session = self.engine.connect(self.now, path, target.server_key)?;
        if let Some(worker) = target.worker {
            self.engine.prefer_worker(session, worker);
        }
        if let Some(within) = target.within {
            self.engine.give_up_at(session, self.now.after(within));
        }
        Ok(session)
    }

    /// What this worker's endpoint is known by; `None` without sealing.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.engine.security().provider.public_key()
    }

    /// Who is at the other end of an open session; `None` without sealing.
    #[must_use]
    pub fn peer_key(&self, session: SessionKey) -> Option<PublicKey> {
        self.engine.peer_key(session)
    }

    /// Which of the peer's workers a session ends at.
    #[must_use]
    pub fn remote_worker(&self, session: SessionKey) -> Option<u8> {
        self.engine.remote_worker(session)
    }

    /// The application keeps `size` delivered bytes for now: the session's credit shrinks by them
    /// until [`Worker::release`].
    pub fn hold(&mut self, session: SessionKey, size: u64) {
        self.engine.hold(session, size);
    }

    /// The application is done with `size` bytes it held.
    pub fn release(&mut self, session: SessionKey, size: u64) {
        self.engine.release(session, size);
    }

    fn path_to(&mut self, remote: SocketAddr) -> PathIndex {
        self.paths.path_to(&remote, &mut *self.backend, &mut self.engine)
    }

    /// Issues a call; its outcome comes to [`App::on_outcome`] with `token`, exactly once.
    ///
    /// # Errors
    /// [`SendError`]; no outcome follows.
    #[inline]
    pub fn call(
        &mut self,
        session: SessionKey,
        method: u32,
        payload: &[u8],
        deadline: Timestamp,
        token: u64,
    ) -> Result<(), SendError> {
        self.engine.call(session, method, payload, deadline, token)?;
        self.transmit_early(session);
        Ok(())
    }

    /// [`Worker::call`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn call_owned(
        &mut self,
        session: SessionKey,
        method: u32,
        payload: Bytes,
        deadline: Timestamp,
        token: u64,
    ) -> Result<(), SendError> {
        self.engine.call_owned(session, method, payload, deadline, token)
    }

    /// Sends a one-way message, in order on `channel` or in none, and returns its ordinal: the name
    /// by which [`Event::MessageEnded`] tells of it if the session fails first.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send(
        &mut self,
        session: SessionKey,
        channel: Option<ChannelId>,
        payload: &[u8],
    ) -> Result<u64, SendError> {
        let ordinal = self.engine.message(session, channel, payload)?;
        self.transmit_early(session);
        Ok(ordinal)
    }

    /// [`Worker::send`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn send_owned(
        &mut self,
        session: SessionKey,
        channel: Option<ChannelId>,
        payload: Bytes,
    ) -> Result<u64, SendError> {
        self.engine.message_owned(session, channel, payload)
    }

    /// Sends an unreliable datagram.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn datagram(&mut self, session: SessionKey, payload: &[u8]) -> Result<(), SendError> {
        self.engine.datagram(session, payload)
    }

    /// Answers a call whose handler deferred it.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn reply(&mut self, token: CallToken, status: u8, payload: &[u8]) -> Result<(), SendError> {
        self.engine.reply(token.session, token.call, status, payload)
    }

    /// [`Worker::reply`] with a buffer that is kept, not copied, when it is large.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn reply_owned(&mut self, token: CallToken, status: u8, payload: Bytes) -> Result<(), SendError> {
        self.engine.reply_owned(token.session, token.call, status, payload)
    }

    /// Gives a call up: its outcome is reported as timed out at the next turn. False when it no
    /// longer waits.
    pub fn cancel(&mut self, session: SessionKey, token: u64) -> bool {
        self.engine.cancel(session, token)
    }

    /// Closes a session once what it accepted has arrived. `code` is told to the peer.
    pub fn close(&mut self, session: SessionKey, code: u16) {
        self.engine.close(self.now, session, code);
    }

    /// The application.
    pub fn app(&self) -> &A {
        &self.app
    }

    /// The application, to change.
    pub fn app_mut(&mut self) -> &mut A {
        &mut self.app
    }

    /// The time as of the last turn.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The clock's time.
    #[must_use]
    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The address the worker's socket is bound to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.backend.local_addr()
    }

    /// When the next timer fires.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.engine.poll_timeout()
    }

    /// True when packets, steps of handshakes or news wait for the next turn.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        self.engine.wants_transmit() || self.engine.wants_job() || self.engine.has_events()
    }

    /// What the engine counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.engine.counters()
    }

    /// What the worker counted.
    #[must_use]
    pub fn worker_counters(&self) -> WorkerCounters {
        self.counters
    }

    /// What the backend counted. Asks the kernel for its drops.
    pub fn io_counters(&mut self) -> IoCounters {
        self.backend.counters(true)
    }

    /// What was lost on this end's part of the way, place by place. Asks the kernel for its drops.
    pub fn loss_counters(&mut self) -> LossCounters {
        LossCounters::of(&self.engine.counters(), &self.backend.counters(true))
    }

    /// [`Worker::loss_counters`] without a system call: the kernel's drops are up to ten milliseconds old.
    pub fn loss_counters_as_seen(&mut self) -> LossCounters {
        LossCounters::of(&self.engine.counters(), &self.backend.counters(false))
    }

    /// The engine: round-trip times, packet sizes, invariants.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The name of the backend that moves the packets.
    #[must_use]
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// Rings this worker out of a parked wait, from any thread.
    #[must_use]
    pub fn doorbell(&self) -> crate::io::Doorbell {
        self.backend.doorbell()
    }

    /// The last error the backend reported on receive, once.
    pub fn take_error(&mut self) -> Option<std::io::Error> {
        self.receive_error.take()
    }
}
