//! All sessions of one worker, and what belongs to none: handshakes, resets, timers.

mod accepting;
mod closing;
mod elsewhere;
mod handshake;
mod jobs;
mod lanes;
mod observed;
mod opening;
mod reset;
mod submit;
mod table;
mod timers;
mod transmit;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use crate::bounds::{HEADER_SIZE, PACKET_SIZE_MIN};
use crate::crypto::{CookieJar, Csprng, PublicKey};
use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::asking::Asking;
use crate::transport::path_size::PathSize;
use crate::transport::security::{Denied, Security};
use crate::transport::session::Session;
use crate::transport::shared::Shared;
use crate::transport::{Config, Deliveries, Event, Mark, PathIndex, SendError};
use crate::wire::{Header, PacketKind};

use accepting::{Asked, UnprovenBudget};
use handshake::allowance;
pub use jobs::{Job, JobDone};
use reset::Stateless;
pub use table::SessionKey;
use table::{Slot, Table};
use timers::Timers;

/// What is known of a received packet beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// The worker's index for where it came from.
    pub path: PathIndex,
    /// Its source address: cookies are bound to it.
    pub remote: SocketAddr,
    /// Its ECN mark.
    pub mark: Mark,
}

/// The sessions of one worker.
#[derive(Debug)]
pub struct Engine {
    shared: Shared,
    table: Table,
    /// Sessions that may have something to send, each once.
    ready: VecDeque<u32>,
    /// Slots that a packet came for since everything last left: what they have to say may wait for an answer.
    heard: Vec<u32>,
    /// Sessions that were let speak in this transmit.
    spoke: Vec<transmit::Spoke>,
    timers: Timers,
    expired: Vec<u32>,
    config: Config,
    asking: Asking,
    cookies: CookieJar,
    /// Steps of handshakes that wait to be run.
    jobs: VecDeque<Job>,
    /// Clients whose first message is being opened or answered.
    asked: FxHashMap<u64, Asked>,
    next_asked: u64,
    unproven: UnprovenBudget,
    /// Ends that are said until they are heard.
    closings: usize,
    /// The gate's answers that open sessions rest on.
    gate_generation: u64,
    stateless: VecDeque<Stateless>,
    last_reset: Timestamp,
    /// Sessions accepted from (path, the client's id, its boot id): a repeated INIT finds its session.
    accepted: FxHashMap<(PathIndex, u64, u64), u32>,
    /// The same by (the client's id, its boot id), for one that proved its key from another address.
    // A tree, not a hash table: the peer chooses the keys (S11).
    attempts: BTreeMap<(u64, u64), u32>,
    /// Paths of new sessions whose route size nobody has told yet.
    routes_wanted: Vec<PathIndex>,
    /// The endpoint's workers, of which this is one's engine; 0 for a worker on its own.
    workers: usize,
    /// Who grants the next lane.
    next_granter: usize,
    random: Csprng,
}

impl Engine {
    /// An engine without sessions.
    #[must_use]
    pub fn new(config: Config, now: Timestamp) -> Self {
        let mut random = Csprng::new(config.entropy);
        let secrets = [random.bytes(), random.bytes()];
        Self {
            shared: Shared::new(&config),
            table: Table::default(),
            ready: VecDeque::new(),
            heard: Vec::new(),
            spoke: Vec::new(),
            timers: Timers::new(),
            expired: Vec::new(),
            asking: Asking::default(),
            cookies: CookieJar::new(now, secrets),
            jobs: VecDeque::new(),
            asked: FxHashMap::default(),
            next_asked: 0,
            unproven: UnprovenBudget::new(now),
            closings: 0,
            gate_generation: config.security.gate.generation(),
            stateless: VecDeque::new(),
            last_reset: Timestamp(0),
            accepted: FxHashMap::default(),
            attempts: BTreeMap::new(),
            routes_wanted: Vec::new(),
            workers: 0,
            next_granter: 0,
            random,
            config,
        }
    }

    /// Handles one received packet (one UDP payload, or one segment of a GRO buffer). What it held
    /// for the application is appended to `deliveries`.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        meta: &Meta,
        packet: &mut [u8],
        deliveries: &mut Deliveries,
    ) {
        self.shared.counters.packets_received += 1;
        self.shared.counters.bytes_received += packet.len() as u64;
        let Ok(header) = Header::decode(packet) else {
            self.shared.counters.malformed += 1;
            return;
        };
        match header.kind {
            PacketKind::Data => self.on_data(now, meta, &header, packet, deliveries),
            PacketKind::Init => self.on_init(now, meta, &header, packet),
            PacketKind::Cookie => self.on_cookie(now, &header, packet),
            PacketKind::Accept => self.on_accept(now, &header, packet),
            PacketKind::ServerKey => self.on_server_key(now, meta, &header, packet),
            PacketKind::Refuse => self.on_refuse(now, &header, packet),
            PacketKind::VersionHint => self.on_version_hint(meta, &header, packet),
            PacketKind::Reset => self.on_reset(now, meta, &header, packet),
        }
    }

    #[inline(always)]
    fn on_data(
        &mut self,
        now: Timestamp,
        meta: &Meta,
        header: &Header,
        packet: &mut [u8],
        deliveries: &mut Deliveries,
    ) {
        if rarely(self.shared.late_ack.is_waiting()) {
            self.settle_ack(now);
        }
        let Some((index, session)) = self.table.by_id(header.session) else {
            return self.on_data_unknown(now, meta, header, packet.len());
        };
        if rarely(session.path != meta.path) {
            return self.on_data_elsewhere(now, meta, header, packet, deliveries);
        }
        session.handle_packet(now, meta.mark, header, packet, &mut self.shared, deliveries);
        let ended = session.is_closed();
        if !session.listed.ready && !session.listed.heard {
            session.listed.heard = true;
            self.heard.push(index);
        }
        if rarely(ended) {
            self.acknowledge_close(now, meta, header, packet.len());
        }
    }

    /// A packet of a session that is not open.
    #[cold]
    fn on_data_unknown(&mut self, now: Timestamp, meta: &Meta, header: &Header, size: usize) {
        if let Some(index) = self.table.index_of(header.session) {
            if let Slot::Closing(_) = self.table.slot(index) {
                return self.on_data_late(now, meta, header, index, size);
            }
            // It overtook the ACCEPT, or that is still being checked: its sender will repeat it.
            self.shared.counters.early_packets += 1;
            return;
        }
        self.shared.counters.unknown_session += 1;
        self.answer_unknown(now, meta, header, size);
    }

    /// Fires every timer that is due. `receive_full`: the last receive batch came back full, so acks
    /// may still be waiting in the socket, and no loss or probe timer fires.
    pub fn handle_timeout(&mut self, now: Timestamp, receive_full: bool) {
        self.shared.receive_full = receive_full;
        self.settle_ack(now);
        let mut expired = std::mem::take(&mut self.expired);
        self.timers.expired(now, receive_full, &self.shared.paths, &mut expired);
        for index in expired.drain(..) {
            match self.table.slot_mut(index) {
                Slot::Open(session) => {
                    session.on_timeout(now, &mut self.shared);
                    self.touch(index);
                }
                Slot::Connecting(_) => self.on_connect_timer(now, index),
                Slot::Joining(_) => self.on_joining_timer(now, index),
                Slot::Closing(_) => self.on_closing_timer(now, index),
                Slot::Free => {}
            }
        }
        self.expired = expired;
        if self.cookies.rotation_due(now) {
            let secret = self.random.bytes();
            self.cookies.rotate(now, secret);
        }
    }

    /// The next moment at which [`Engine::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    fn touch(&mut self, index: u32) {
        let listed = match self.table.slot_mut(index) {
            Slot::Open(session) => std::mem::replace(&mut session.listed.ready, true),
            Slot::Connecting(connecting) => std::mem::replace(&mut connecting.listed, true),
            Slot::Closing(closing) => std::mem::replace(&mut closing.listed, true),
            Slot::Joining(_) | Slot::Free => true,
        };
        if !listed {
            self.ready.push_back(index);
        }
    }

    /// The oldest event not taken yet. Taken in batches: see [`Engine::drain_events`].
    pub fn drain_events(&mut self, into: &mut Vec<Event>) {
        into.append(&mut self.shared.events);
    }

    /// True when something happened that nobody was told yet.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.shared.events.is_empty() || !self.shared.lane_notes.is_empty()
    }

    /// Paths of new sessions whose route size the worker should look up and tell by
    /// [`Engine::set_route_size`].
    pub fn drain_routes_wanted(&mut self, into: &mut Vec<PathIndex>) {
        into.append(&mut self.routes_wanted);
    }

    /// `path`'s route carries packets of at most `size_max` bytes of UDP payload.
    pub fn set_route_size(&mut self, path: PathIndex, size_max: usize) {
        let size_max = size_max.max(PACKET_SIZE_MIN);
        let facts = self.shared.paths.of(path);
        if facts.route_size.replace(size_max) == Some(size_max) {
            return;
        }
        // What did not pass may do so by another route.
        facts.size = PathSize::default();
        let packet_size_max = self.config.packet_size_max;
        for index in 0..self.table.len() {
            if let Slot::Open(session) = self.table.slot_mut(index)
                && session.path == path
            {
                session.set_route_size(size_max.min(packet_size_max));
                self.touch(index);
            }
        }
    }

    /// `path` is another address from now on, which nothing is known of.
    pub fn forget_path(&mut self, path: PathIndex) {
        self.shared.paths.forget(path);
    }

    /// The kernel refused a packet of `size` on `path`.
    pub fn on_packet_refused(&mut self, now: Timestamp, path: PathIndex, size: usize) {
        for index in 0..self.table.len() {
            if let Slot::Open(session) = self.table.slot_mut(index)
                && session.path == path
            {
                session.on_packet_refused(now, size, &mut self.shared);
                self.touch(index);
            }
        }
    }

    /// The kernel dropped packets at our socket: as last read, since it was opened.
    pub fn on_socket_drops(&mut self, drops: u64) {
        if drops == self.shared.socket_drops {
            return;
        }
        self.shared.socket_drops = drops;
        for index in 0..self.table.len() {
            if let Slot::Open(session) = self.table.slot_mut(index) {
                // One of those with a remote says it at once, the others with whatever they say next: a packet for each
                // of ten thousand every ten milliseconds fills what was full.
                let told = std::mem::replace(&mut self.shared.paths.of(session.path).drops_told, drops);
                session.note_socket_drops(drops, told != drops);
                if told != drops {
                    self.touch(index);
                }
            }
        }
    }

    /// True while a session lives on `path`, or a handshake that came by it waits for its turn.
    #[must_use]
    pub fn is_path_used(&self, path: PathIndex) -> bool {
        self.table.uses_path(path) || self.asked.values().any(|asked| asked.path() == path)
    }

    /// True when the session has full units waiting for a train of `size` bytes, which should leave now.
    #[inline]
    #[must_use]
    pub fn is_train_ready(&self, key: SessionKey, size: usize) -> bool {
        match self.table.slot(key.index) {
            Slot::Open(session) => session.is_train_ready(size),
            _ => false,
        }
    }

    /// Gives a call up before its deadline: its outcome is told as timed out. False when it no longer
    /// waits.
    pub fn cancel(&mut self, key: SessionKey, token: u64) -> bool {
        self.parts(key).is_ok_and(|(session, shared)| session.cancel(token, shared))
    }

    /// A buffer that carried a large message is no longer needed: the next one may use it.
    pub fn recycle(&mut self, buffer: super::buffer::Buffer) {
        self.shared.reserve.recycle(buffer);
    }

    /// The session's key by its index, as deliveries name it.
    #[must_use]
    pub fn key_at(&self, index: u32) -> Option<SessionKey> {
        self.table.key_at(index)
    }

    /// Which of the peer's workers an open session ends at: the low byte of the peer's session id.
    #[must_use]
    pub fn remote_worker(&self, key: SessionKey) -> Option<u8> {
        self.table.open(key).map(Session::remote_worker)
    }

    /// What this end proves by, and whom it believes.
    #[must_use]
    pub fn security(&self) -> &Security {
        &self.config.security
    }

    /// Whether a call of `method` that arrived may run. To be asked once, right before it would.
    ///
    /// # Errors
    /// [`Denied`]; it should be answered so.
    #[inline]
    pub fn admit_call(&mut self, now: Timestamp, key: SessionKey, method: u32) -> Result<(), Denied> {
        let (session, shared) = self.parts(key).map_err(|_| Denied::Forbidden)?;
        session.admit_call(now, method, shared)
    }

    /// The key that the session's peer proved to hold; `None` without sealing.
    #[must_use]
    pub fn peer_key(&self, key: SessionKey) -> Option<PublicKey> {
        self.table.open(key).and_then(|session| session.peer_key().copied())
    }

    /// Asks the gate again about every session it let in, if its answers may have changed, and ends those
    /// whose key may no longer come in. To be called every few milliseconds.
    pub fn review_admissions(&mut self, now: Timestamp) {
        let gate = self.config.security.gate.clone();
        let generation = gate.generation();
        if std::mem::replace(&mut self.gate_generation, generation) == generation {
            return;
        }
        for index in 0..self.table.len() {
            if let Slot::Open(session) = self.table.slot_mut(index)
                && session.review(now, &*gate, |own| allowance(&self.config, own), &mut self.shared)
            {
                self.touch(index);
            }
        }
    }

    #[inline]
    fn parts(&mut self, key: SessionKey) -> Result<(&mut Session, &mut Shared), SendError> {
        match self.table.by_key(key) {
            Some(Slot::Open(session)) => Ok((session, &mut self.shared)),
            Some(Slot::Connecting(_) | Slot::Joining(_)) => Err(SendError::NotOpen),
            _ => Err(SendError::Closed),
        }
    }
}

const _: () = assert!(PACKET_SIZE_MIN > HEADER_SIZE);
