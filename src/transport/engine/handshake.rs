//! Opening sessions: the server's half is stateless until a cookie has come back.

use crate::bounds::{HEADER_SIZE, PACKET_SIZE_MIN, TAG_SIZE, UNIT_WINDOW_MAX, UNIT_WINDOW_MIN};
use crate::crypto::{CookieHolder, Protector, Role};
use crate::time::Timestamp;
use crate::transport::connecting::PROLOGUE_SIZE;
use crate::transport::engine::{Engine, Meta, Slot};
use crate::transport::session::{Opening, Session};
use crate::transport::{CloseReason, Event, PacketSink};
use crate::wire::{
    ACCEPT_FIXED_SIZE, Accept, Bounds, CookieReply, Header, INIT_PACKET_SIZE, Init, PacketKind, Refuse,
    SessionId, VERSION, VersionHint,
};

/// REFUSE: this worker holds as many sessions as it may.
const REFUSE_FULL: u16 = 1;
/// REFUSE: the bounds offered leave nothing to talk with.
const REFUSE_BOUNDS: u16 = 2;

impl Engine {
    /// What this side tells a peer in the handshake.
    pub(super) fn bounds(&self) -> Bounds {
        let config = &self.config;
        Bounds {
            packet_size_max: config.packet_size_max as u32,
            unit_window: config.unit_window,
            call_slots: config.call_slots,
            message_size_max: config.message_size_max,
            credit: self.shared.initial_credit(),
            max_ack_delay_ns: config.max_ack_delay.as_nanos() as u32,
            idle_timeout_ms: config.idle_timeout.as_millis() as u32,
            lanes: 1,
        }
    }

    fn body<'a>(&mut self, header: &Header, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        self.shared.counters.handshakes_received += 1;
        let packet = &mut packet[..usize::from(header.length)];
        if Protector::handshake().open(packet).is_err() {
            self.shared.counters.corrupt += 1;
            return None;
        }
        let end = packet.len() - TAG_SIZE;
        Some(&packet[HEADER_SIZE..end])
    }

    /// INIT at the server: a cookie for who has none, a session for who brings one back.
    pub(super) fn on_init(&mut self, now: Timestamp, meta: &Meta, header: &Header, packet: &mut [u8]) {
        let received = packet.len();
        let Some(body) = self.body(header, packet) else { return };
        if body.len() >= 4 && body[..4] != VERSION.to_le_bytes() {
            self.shared.counters.handshakes_refused += 1;
            let hint = VersionHint::new(&[VERSION]);
            debug_assert!(hint.packet_size() < received);
            self.answer(meta.path, PacketKind::VersionHint, SessionId(0), |out| hint.encode(out));
            return;
        }
        let Ok(init) = Init::decode(body) else {
            self.shared.counters.malformed += 1;
            return;
        };
        let known = self.accepted.get(&(meta.path, init.session.0, init.boot)).copied();
        if let Some(Slot::Open(session)) = known.map(|index| self.table.slot_mut(index)) {
            // A repeated INIT: its ACCEPT was lost, or the client asks whether we are still the same.
            let accept = session.accept.clone();
            self.shared.counters.handshakes_sent += 1;
            self.answer(meta.path, PacketKind::Accept, init.session, |out| copy(&accept, out));
            return;
        }
        let holder = CookieHolder { remote: meta.remote, session: init.session.0, boot: init.boot };
        if self.cookies.verify(now, &holder, init.cookie).is_err() {
            let cookie = self.cookies.issue(now, &holder);
            let reply = CookieReply { version: VERSION, session: init.session, cookie: &cookie };
            self.shared.counters.handshakes_sent += 1;
            self.answer(meta.path, PacketKind::Cookie, init.session, |out| reply.encode(out));
            return;
        }
        let issued = init.cookie.first_chunk::<8>().map_or(now, |at| Timestamp(u64::from_le_bytes(*at)));
        self.accept(now, meta, &init, &body[..PROLOGUE_SIZE], now.since_ns(issued));
    }

    fn accept(&mut self, now: Timestamp, meta: &Meta, init: &Init<'_>, prologue: &[u8], rtt_ns: u64) {
        if !is_workable(&init.bounds) {
            return self.refuse(
                meta,
                init.session,
                REFUSE_BOUNDS,
                "the bounds offered are below the protocol's minimum",
            );
        }
        let Ok(key) = self.table.reserve(self.config.worker_index, &mut self.rng) else {
            return self.refuse(
                meta,
                init.session,
                REFUSE_FULL,
                "the server holds as many sessions as it may",
            );
        };
        let local = key.id(self.config.worker_index);
        let mut body = vec![0; ACCEPT_FIXED_SIZE];
        let accept = Accept {
            version: VERSION,
            session: local,
            boot: self.config.boot_id,
            bounds: self.bounds(),
            blob: &[],
        };
        accept.encode(&mut body);
        let Ok(response) = self.provider.respond(prologue, init.blob, &body[..PROLOGUE_SIZE], &[]) else {
            // Strangers get silence (S01).
            self.table.give_back(key.index);
            self.shared.counters.handshakes_refused += 1;
            return;
        };
        body.resize(ACCEPT_FIXED_SIZE + response.blob.len(), 0);
        Accept { blob: &response.blob, ..accept }.encode(&mut body);
        let route_size_max = self.route_size(meta);
        let opening = Opening {
            config: &self.config,
            key,
            local,
            remote: init.session,
            path: meta.path,
            route_size_max,
            peer: init.bounds,
            peer_boot: init.boot,
            handshake_rtt_ns: rtt_ns,
            now,
            accepted: true,
        };
        let protector = Protector::new(&response.keys, Role::Server);
        let mut session = Session::open(&opening, protector, &mut self.shared);
        session.accept = body.into_boxed_slice();
        session.announce(&mut self.shared);
        self.shared.counters.handshakes_sent += 1;
        let accept = session.accept.clone();
        self.answer(meta.path, PacketKind::Accept, init.session, |out| copy(&accept, out));
        self.accepted.insert((meta.path, init.session.0, init.boot), key.index);
        self.table.fill(key.index, Slot::Open(Box::new(session)));
        self.touch(key.index);
    }

    fn refuse(&mut self, meta: &Meta, session: SessionId, code: u16, reason: &str) {
        self.shared.counters.handshakes_refused += 1;
        let refuse = Refuse { version: VERSION, code, reason: reason.as_bytes() };
        self.answer(meta.path, PacketKind::Refuse, session, |out| refuse.encode(out));
    }

    fn route_size(&mut self, meta: &Meta) -> usize {
        match self.route_sizes.get(&meta.path) {
            Some(size) => *size,
            None => {
                self.routes_wanted.push(meta.path);
                PACKET_SIZE_MIN
            }
        }
    }

    /// COOKIE at the client: the INIT leaves again with it.
    pub(super) fn on_cookie(&mut self, now: Timestamp, header: &Header, packet: &mut [u8]) {
        let Some(body) = self.body(header, packet) else { return };
        let Ok(reply) = CookieReply::decode(body) else {
            self.shared.counters.malformed += 1;
            return;
        };
        let Some(index) = self.table.index_of(header.session) else { return };
        let fresh = match self.table.slot_mut(index) {
            Slot::Connecting(connecting) => connecting.on_cookie(now, reply.cookie),
            Slot::Open(session) => {
                session.origin.as_mut().is_some_and(|origin| origin.on_cookie(now, reply.cookie))
            }
            Slot::Free => false,
        };
        if fresh {
            self.touch(index);
        }
    }

    /// ACCEPT at the client: the session opens; or, for one that is open, tells which incarnation is
    /// there now.
    pub(super) fn on_accept(&mut self, now: Timestamp, meta: &Meta, header: &Header, packet: &mut [u8]) {
        let Some(body) = self.body(header, packet) else { return };
        let Ok(accept) = Accept::decode(body) else {
            self.shared.counters.malformed += 1;
            return;
        };
        let Some(index) = self.table.index_of(header.session) else { return };
        match self.table.slot_mut(index) {
            Slot::Open(session) => {
                if session.on_accept_again(now, &accept, &mut self.shared) {
                    self.touch(index);
                }
            }
            Slot::Connecting(connecting) => {
                let prologue = &body[..PROLOGUE_SIZE];
                let Ok(finished) = connecting.initiator.finish(prologue, accept.blob) else {
                    self.shared.counters.handshakes_refused += 1;
                    return;
                };
                if !is_workable(&accept.bounds) {
                    return self
                        .end_connecting(index, CloseReason::Violation("an ACCEPT with unworkable bounds"));
                }
                connecting.sample(now);
                let protector = Protector::new(&finished.keys, Role::Client);
                self.open_connected(now, meta, index, &accept, protector);
            }
            Slot::Free => {}
        }
    }

    fn open_connected(
        &mut self,
        now: Timestamp,
        meta: &Meta,
        index: u32,
        accept: &Accept<'_>,
        protector: Protector,
    ) {
        let route_size_max = self.route_size(meta);
        let Slot::Connecting(connecting) = std::mem::replace(self.table.slot_mut(index), Slot::Free) else {
            return;
        };
        let opening = Opening {
            config: &self.config,
            key: connecting.key,
            local: connecting.local,
            remote: accept.session,
            path: connecting.path(),
            route_size_max,
            peer: accept.bounds,
            peer_boot: accept.boot,
            handshake_rtt_ns: connecting.rtt_ns(),
            now,
            accepted: false,
        };
        let mut session = Session::open(&opening, protector, &mut self.shared);
        session.origin = Some(connecting);
        session.announce(&mut self.shared);
        self.table.fill(index, Slot::Open(Box::new(session)));
        self.touch(index);
    }

    pub(super) fn on_refuse(&mut self, _now: Timestamp, header: &Header, packet: &mut [u8]) {
        let Some(body) = self.body(header, packet) else { return };
        let Ok(refuse) = Refuse::decode(body) else {
            self.shared.counters.malformed += 1;
            return;
        };
        if let Some(index) = self.table.index_of(header.session)
            && let Slot::Connecting(_) = self.table.slot_mut(index)
        {
            self.end_connecting(index, CloseReason::Refused(refuse.code));
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
            let refused = connecting.version_refused;
            let reason = if refused { CloseReason::Version } else { CloseReason::Unreachable };
            return self.end_connecting(index, reason);
        }
        self.touch(index);
    }

    pub(super) fn transmit_connecting(&mut self, now: Timestamp, index: u32, sink: &mut impl PacketSink) {
        let Slot::Connecting(connecting) = self.table.slot_mut(index) else { return };
        connecting.listed = false;
        if connecting.is_due(now)
            && let Some(packet) = sink.packet(connecting.path(), INIT_PACKET_SIZE)
        {
            connecting.write(now, packet);
            self.shared.counters.handshakes_sent += 1;
            self.shared.counters.packets_sent += 1;
            self.shared.counters.bytes_sent += INIT_PACKET_SIZE as u64;
        }
        let at = connecting.next_timeout();
        self.wheel.arm(index, at);
    }

    /// The session that is being opened should end at the peer's worker `worker`.
    pub fn prefer_worker(&mut self, key: crate::transport::SessionKey, worker: u8) {
        if let Some(Slot::Connecting(connecting)) = self.table.by_key(key) {
            connecting.prefer_worker(worker);
        }
    }

    /// The application gives up before the session opened.
    pub(super) fn abandon_connecting(&mut self, key: crate::transport::SessionKey) {
        if let Some(Slot::Connecting(_)) = self.table.by_key(key) {
            self.end_connecting(key.index, CloseReason::Local);
        }
    }

    fn end_connecting(&mut self, index: u32, reason: CloseReason) {
        self.wheel.cancel(index);
        if let Some(session) = self.table.remove(index) {
            self.shared.events.push(Event::Closed { session, reason });
        }
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    to[..from.len()].copy_from_slice(from);
    from.len()
}

fn is_workable(bounds: &Bounds) -> bool {
    bounds.packet_size_max as usize >= PACKET_SIZE_MIN
        && (UNIT_WINDOW_MIN..=UNIT_WINDOW_MAX).contains(&bounds.unit_window)
        && bounds.unit_window.is_power_of_two()
}
