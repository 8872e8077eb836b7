//! The client's half of the handshake, between its table of sessions and the steps that are run as jobs.

use crate::crypto::{Finished, HandshakeError, Initiator, Protector, PublicKey, Role, Suite};
use crate::time::Timestamp;
use crate::transport::connecting::{Connecting, Stage};
use crate::transport::engine::handshake::{allowance, is_workable};
use crate::transport::engine::jobs::Work;
use crate::transport::engine::{Engine, Meta, SessionKey, Slot};
use crate::transport::security::Admission;
use crate::transport::session::{LaneRoot, Opening, Session, Trust};
use crate::transport::{CloseReason, ConnectError, PacketSink, PathIndex, Way};
use crate::wire::{Accept, CookieReply, Header, INIT_PACKET_SIZE, Refuse, ServerKey, VERSION, VersionHint};

impl Engine {
    /// Asks for a session with whoever answers on `path`, who must hold `server`'s private key. Without
    /// one, who answers is asked for its key first: only for a path that stays on this host. It can be
    /// used after its `Opened` event.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Timestamp,
        path: PathIndex,
        server: Option<PublicKey>,
    ) -> Result<SessionKey, ConnectError> {
        let key = self.table.reserve(&mut self.random)?;
        let allowance = allowance(&self.config, &Admission::default());
        let connecting = Connecting::new(now, key, path, &self.config, self.bounds(&allowance), server);
        self.table.fill(key.index, Slot::Connecting(Box::new(connecting)));
        if self.asking.enter(path, key) {
            self.begin_asking(now, key);
        }
        Ok(key)
    }

    /// `key` has a place to ask from: false when it no longer wants one.
    pub(super) fn begin_asking(&mut self, now: Timestamp, key: SessionKey) -> bool {
        let secure = self.config.security.provider.is_secure();
        let Some(Slot::Connecting(connecting)) = self.table.by_key(key) else { return false };
        let asks = secure && connecting.server.is_none();
        connecting.begin(now, if asks { Stage::Asking } else { Stage::Preparing });
        if !asks {
            self.push_initiate(now, key);
        }
        self.touch(key.index);
        true
    }

    fn push_initiate(&mut self, now: Timestamp, key: SessionKey) {
        let security = &self.config.security;
        let payload = if security.provider.is_secure() {
            let token = security.reset_key.token(key.id(self.config.worker_index).0);
            [security.wall_ns(now).to_le_bytes().as_slice(), &token].concat()
        } else {
            Vec::new()
        };
        let Some(Slot::Connecting(connecting)) = self.table.by_key(key) else { return };
        let (server, prologue) = (connecting.server, connecting.prologue());
        let entropy = self.random.bytes();
        self.push_job(Work::Initiate { key, server, prologue, payload, entropy });
    }

    pub(super) fn on_initiated(
        &mut self,
        now: Timestamp,
        key: SessionKey,
        made: Result<(Box<dyn Initiator>, Vec<u8>), HandshakeError>,
    ) {
        let Some(Slot::Connecting(connecting)) = self.table.by_key(key) else { return };
        match made {
            Ok((initiator, blob)) => connecting.ready(now, initiator, blob),
            Err(_) => return self.end_connecting(now, key.index, CloseReason::Unreachable),
        }
        self.touch(key.index);
    }

    /// SERVER_KEY at the client: the INIT proper can be made.
    pub(super) fn on_server_key(&mut self, now: Timestamp, meta: &Meta, header: &Header, packet: &mut [u8]) {
        let Some(body) = self.body(header, packet) else { return };
        let told = ServerKey::decode(body).ok().and_then(|told| PublicKey::new(told.key).ok());
        let Some(told) = told else {
            self.shared.counters.malformed += 1;
            return;
        };
        let Some(index) = self.table.index_of(header.session) else { return };
        let Slot::Connecting(connecting) = self.table.slot_mut(index) else { return };
        if connecting.stage != Stage::Asking || connecting.path() != meta.path {
            return;
        }
        self.asking.on_answer(now, meta.path);
        connecting.server = Some(told);
        connecting.stage = Stage::Preparing;
        let key = connecting.key;
        self.push_initiate(now, key);
    }

    /// COOKIE at the client: the INIT is made again, bound to it.
    pub(super) fn on_cookie(&mut self, now: Timestamp, header: &Header, packet: &mut [u8]) {
        let Some(body) = self.body(header, packet) else { return };
        let Ok(reply) = CookieReply::decode(body) else {
            self.shared.counters.malformed += 1;
            return;
        };
        let Some(index) = self.table.index_of(header.session) else { return };
        let slot = self.table.slot_mut(index);
        if let Slot::Connecting(connecting) = slot
            && connecting.stage == Stage::Waiting
            && connecting.on_cookie(now, reply.cookie)
        {
            connecting.stage = Stage::Preparing;
            let (key, path) = (connecting.key, connecting.path());
            self.asking.on_answer(now, path);
            self.push_initiate(now, key);
        } else if let Slot::Open(session) = slot
            && let Some(origin) = &mut session.origin
            && origin.on_cookie(now, reply.cookie)
        {
            self.touch(index);
        }
    }

    /// ACCEPT at the client: the answer is checked, and the session opens; or, for one that is open,
    /// it tells which incarnation is there now.
    pub(super) fn on_accept(&mut self, now: Timestamp, header: &Header, packet: &mut [u8]) {
        let Some(body) = self.body(header, packet) else { return };
        let Ok(accept) = Accept::decode(body) else {
            self.shared.counters.malformed += 1;
            return;
        };
        let Some(index) = self.table.index_of(header.session) else { return };
        match self.table.slot_mut(index) {
            Slot::Open(session) => {
                let (path, boot) = (session.path, session.peer_boot);
                if session.on_accept_again(now, &accept, &mut self.shared) {
                    self.touch(index);
                    if accept.boot != boot {
                        self.on_peer_restarted(now, path, boot, accept.boot);
                    }
                }
            }
            Slot::Connecting(connecting) => {
                let Some(initiators) = connecting.finishing(now) else { return };
                let (key, path) = (connecting.key, connecting.path());
                self.asking.on_answer(now, path);
                connecting.answer = Some(accept.without_blob());
                let (accept, blob) = (accept.prologue().to_vec(), accept.blob.to_vec());
                self.push_job(Work::Finish { key, initiators, accept, blob });
            }
            Slot::Joining(_) | Slot::Closing(_) | Slot::Free => {}
        }
    }

    pub(super) fn on_finished(
        &mut self,
        now: Timestamp,
        key: SessionKey,
        initiators: Vec<Box<dyn Initiator>>,
        finished: Result<Finished, HandshakeError>,
    ) {
        let Some(Slot::Connecting(connecting)) = self.table.by_key(key) else { return };
        let (Ok(finished), Some(accept)) = (finished, connecting.answer.take()) else {
            // Forged, or damaged: the true answer may still come.
            connecting.unfinished(initiators);
            self.shared.counters.handshakes_refused += 1;
            return self.touch(key.index);
        };
        let suite = Suite::from_byte(accept.suite);
        let secure = self.config.security.provider.is_secure();
        let Some(suite) = suite.filter(|suite| suite.is_secure() == secure) else {
            return self.end_connecting(
                now,
                key.index,
                CloseReason::Violation("an ACCEPT with another suite"),
            );
        };
        if !is_workable(&accept.bounds) {
            return self.end_connecting(
                now,
                key.index,
                CloseReason::Violation("an ACCEPT with unworkable bounds"),
            );
        }
        let peer_token = finished.payload.as_slice().try_into().ok();
        let protector = Protector::new(suite, &finished.keys, Role::Client);
        let trust = Trust {
            peer: connecting.server,
            peer_token,
            skip_secret: self.random.bytes(),
            root: Some(LaneRoot::new(&finished.keys, suite)),
            ..Trust::default()
        };
        self.open_connected(now, key.index, &accept, protector, trust);
    }

    fn open_connected(
        &mut self,
        now: Timestamp,
        index: u32,
        accept: &Accept<'_>,
        protector: Protector,
        trust: Trust,
    ) {
        let Slot::Connecting(mut connecting) = self.table.fill(index, Slot::Free) else {
            return;
        };
        let (path, had_place) = (connecting.path(), std::mem::take(&mut connecting.has_place));
        let route_size_max = self.route_size(connecting.path());
        let allowance = allowance(&self.config, &Admission::default());
        let opening = Opening {
            config: &self.config,
            key: connecting.key,
            local: connecting.local,
            remote: accept.session,
            path: connecting.path(),
            route_size_max,
            peer: accept.bounds,
            own: self.bounds(&allowance),
            allowance,
            peer_boot: accept.boot,
            handshake_rtt_ns: connecting.rtt_ns(),
            now,
            accepted: false,
        };
        let secure = protector.is_secure();
        let mut session = Session::open(&opening, protector, trust, &mut self.shared);
        if secure {
            // The server learns the round trip by it (P-6.13); that it restarted, by its resets.
            session.say_hello();
        } else {
            session.origin = Some(connecting);
        }
        session.announce(&mut self.shared);
        #[cfg(feature = "planted-faults")]
        session.plant_calls_again(&mut self.shared);
        self.table.fill(index, Slot::Open(Box::new(session)));
        self.touch(index);
        if had_place {
            self.give_place(now, path);
        }
    }

    /// Nobody signed it: where sessions are sealed it only hints why no ACCEPT comes.
    pub(super) fn on_refuse(&mut self, now: Timestamp, header: &Header, packet: &mut [u8]) {
        let Some(body) = self.body(header, packet) else { return };
        let Ok(refuse) = Refuse::decode(body) else {
            self.shared.counters.malformed += 1;
            return;
        };
        let secure = self.config.security.provider.is_secure();
        let Some(index) = self.table.index_of(header.session) else { return };
        if let Slot::Connecting(connecting) = self.table.slot_mut(index) {
            if secure {
                connecting.on_refused(now, refuse.code);
                let at = connecting.next_timeout();
                self.timers.arm(index, at);
            } else {
                self.end_connecting(now, index, CloseReason::Refused(refuse.code));
            }
        }
    }

    /// A hint that nobody signed: it never ends a handshake before its time, but tells why it failed.
    pub(super) fn on_version_hint(&mut self, meta: &Meta, header: &Header, packet: &mut [u8]) {
        let Some(body) = self.body(header, packet) else { return };
        let Ok(hint) = VersionHint::decode(body) else {
            self.shared.counters.malformed += 1;
            return;
        };
        if hint.versions().contains(&VERSION) {
            return;
        }
        for index in 0..self.table.len() {
            if let Slot::Connecting(connecting) = self.table.slot_mut(index)
                && connecting.path() == meta.path
            {
                connecting.version_refused = true;
            }
        }
    }

    pub(super) fn on_connect_timer(&mut self, now: Timestamp, index: u32) {
        let Slot::Connecting(connecting) = self.table.slot_mut(index) else { return };
        if connecting.has_failed(now) {
            let reason = match (connecting.refused(), connecting.version_refused) {
                (Some(code), _) => CloseReason::Refused(code),
                (None, true) => CloseReason::Version,
                (None, false) => CloseReason::Unreachable,
            };
            return self.end_connecting(now, index, reason);
        }
        self.touch(index);
    }

    pub(super) fn transmit_connecting(&mut self, now: Timestamp, index: u32, sink: &mut impl PacketSink) {
        let Slot::Connecting(connecting) = self.table.slot_mut(index) else { return };
        connecting.listed = false;
        if connecting.is_due(now)
            && let Some(packet) = sink.packet(Way::to_door(connecting.path()), INIT_PACKET_SIZE)
        {
            connecting.write(now, packet);
            self.shared.counters.handshakes_sent += 1;
            self.shared.counters.packets_sent += 1;
            self.shared.counters.bytes_sent += INIT_PACKET_SIZE as u64;
        }
        let (at, path) = (connecting.next_timeout(), connecting.path());
        let gives_place = connecting.gives_place(self.asking.answers(now, path));
        self.timers.arm(index, at);
        if gives_place {
            self.give_place(now, path);
        }
    }

    /// The session that is being opened is given up at `at`, if not before.
    pub fn give_up_at(&mut self, key: SessionKey, at: Timestamp) {
        if let Some(Slot::Connecting(connecting)) = self.table.by_key(key) {
            connecting.limit(at);
            self.touch(key.index);
        }
    }

    /// The session that is being opened should end at the peer's worker `worker`.
    pub fn prefer_worker(&mut self, key: SessionKey, worker: u8) {
        if let Some(Slot::Connecting(connecting)) = self.table.by_key(key) {
            connecting.prefer_worker(worker);
        }
    }

    /// The application gives up before the session opened.
    pub(super) fn abandon_connecting(&mut self, now: Timestamp, key: SessionKey) {
        match self.table.by_key(key) {
            Some(Slot::Connecting(_)) => self.end_connecting(now, key.index, CloseReason::Local),
            Some(Slot::Joining(_)) => self.abandon_joining(key.index, CloseReason::Local),
            _ => {}
        }
    }
}
