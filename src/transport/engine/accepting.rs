//! The server's half of the handshake. Nothing is kept of a client before it proved a key that may come
//! in, or, where nobody has keys, that it receives at its address.
//!
//! ```text
//!  INIT --> known? repeat the ACCEPT
//!       --> under load, or nothing proven: COOKIE, forget        (one hash, no memory)
//!       --> job: open the message --> fresh? --> let in? --> job: answer --> session, ACCEPT
//! ```

use crate::bounds::HEADER_SIZE;
use crate::crypto::{Answered, CookieHolder, HandshakeError, Opened, Protector, PublicKey, Role, Suite};
use crate::time::Timestamp;
use crate::transport::PathIndex;
use crate::transport::engine::handshake::{allowance, copy, is_workable};
use crate::transport::engine::jobs::Work;
use crate::transport::engine::{Engine, Meta, SessionKey, Slot};
use crate::transport::quota::Quota;
use crate::transport::security::{Admission, is_this_host};
use crate::transport::session::{LaneRoot, Opening, Session, Trust};
use crate::wire::{
    ACCEPT_FIXED_SIZE, Accept, Bounds, CookieReply, Header, Init, PROLOGUE_SIZE, PacketKind, Refuse,
    ServerKey, SessionId, VERSION, VersionHint,
};

/// Why a client was declined (P-6.7).
pub(super) mod refusal {
    /// This worker holds as many sessions as it may.
    pub(crate) const FULL: (u16, &str) = (1, "the server holds as many sessions as it may");
    /// The bounds offered leave nothing to talk with.
    pub(crate) const BOUNDS: (u16, &str) = (2, "the bounds offered are below the protocol's minimum");
    /// One end seals and the other does not.
    pub(crate) const SUITE: (u16, &str) =
        (3, "one end is --insecure and the other is not: give both the flag, or neither");
    /// Without sealing, and not from this host.
    pub(crate) const ELSEWHERE: (u16, &str) =
        (4, "an insecure server takes other hosts only with --insecure=anywhere");
    /// The key is not allowed in.
    pub(crate) const KEY: (u16, &str) = (5, "the server does not allow this key");
    /// The key holds as many sessions as it may.
    pub(crate) const QUOTA: (u16, &str) = (6, "this key holds as many sessions as it may");
}

/// A client whose message is being opened or answered.
#[derive(Debug)]
pub(super) struct Asked {
    meta: Meta,
    remote: SessionId,
    boot: u64,
    bounds: Bounds,
    suite: u8,
    /// When the cookie it brought was issued.
    cookie: Option<Timestamp>,
    /// Set once it was let in.
    admitted: Option<Admitted>,
}

impl Asked {
    pub(super) fn path(&self) -> PathIndex {
        self.meta.path
    }
}

#[derive(Debug)]
struct Admitted {
    key: SessionKey,
    accept: Accept<'static>,
    suite: Suite,
    peer: Option<PublicKey>,
    peer_token: Option<[u8; 16]>,
}

/// How many first messages are opened for clients that have not shown that they receive at their address:
/// a flood of them may not have the worker agree on keys all day.
#[derive(Debug)]
pub(super) struct UnprovenBudget {
    left: u64,
    filled_at: Timestamp,
}

impl UnprovenBudget {
    const MAX: u64 = 16;
    const INTERVAL_NS: u64 = 2_000_000;

    pub(super) fn new(now: Timestamp) -> Self {
        Self { left: Self::MAX, filled_at: now }
    }

    fn take(&mut self, now: Timestamp) -> bool {
        let more = now.since_ns(self.filled_at) / Self::INTERVAL_NS;
        self.filled_at = self.filled_at.after_ns(more * Self::INTERVAL_NS);
        self.left = (self.left + more).min(Self::MAX);
        let some = self.left > 0;
        self.left -= u64::from(some);
        some
    }
}

/// From so many handshakes under way, a cookie is asked for before anything costly is done.
const ASKED_UNTIL_COOKIES: usize = 4;
/// Handshakes under way at once; more wait for their next INIT.
const ASKED_MAX: usize = 64;

impl Engine {
    /// INIT at the server.
    pub(super) fn on_init(&mut self, now: Timestamp, meta: &Meta, header: &Header, packet: &mut [u8]) {
        let received = packet.len();
        match packet.get(COOKIE_SIZE_AT) {
            None | Some(0) => self.shared.counters.inits_bare += 1,
            Some(_) => self.shared.counters.inits_with_cookie += 1,
        }
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
        if self.declines(meta, &init) || self.tells_key(meta, &init) || self.repeats(meta, &init) {
            return;
        }
        let holder = CookieHolder { remote: meta.remote, session: init.session.0, boot: init.boot };
        let cookie = self.cookies.verify(now, &holder, init.cookie).ok();
        let secure = self.config.security.provider.is_secure();
        let mut trusting = || self.asked.len() < ASKED_UNTIL_COOKIES && self.unproven.take(now);
        if cookie.is_none() && !(secure && trusting()) {
            return self.demand_cookie(now, meta.path, &holder);
        }
        if self.asked.len() >= ASKED_MAX {
            self.shared.counters.handshakes_refused += 1;
            return;
        }
        let asked = self.next_asked;
        self.next_asked += 1;
        self.asked.insert(
            asked,
            Asked {
                meta: *meta,
                remote: init.session,
                boot: init.boot,
                bounds: init.bounds,
                suite: init.suite,
                cookie,
                admitted: None,
            },
        );
        let prologue = body[..init.prologue_size()].to_vec();
        let (blob, entropy) = (init.blob.to_vec(), self.random.bytes());
        self.push_job(Work::Open { asked, prologue, blob, entropy });
    }

    /// One end seals and the other does not, or an insecure one is asked from elsewhere.
    fn declines(&mut self, meta: &Meta, init: &Init<'_>) -> bool {
        let security = &self.config.security;
        let secure = security.provider.is_secure();
        let wanted = Suite::from_byte(init.suite).is_some_and(Suite::is_secure);
        let why = if wanted != secure {
            refusal::SUITE
        } else if !secure && !security.anywhere && !is_this_host(meta.remote) {
            refusal::ELSEWHERE
        } else {
            return false;
        };
        self.refuse(meta, init.session, why);
        true
    }

    /// A client on this host that does not know our key asks for it by an INIT without a blob: whoever
    /// can answer on this port of this host is who it wants (P-6.11).
    fn tells_key(&mut self, meta: &Meta, init: &Init<'_>) -> bool {
        let key = self.config.security.provider.public_key();
        let Some(key) = key.filter(|_| init.blob.is_empty()) else { return false };
        if is_this_host(meta.remote) {
            let told = ServerKey { version: VERSION, key: *key.as_bytes() };
            self.shared.counters.handshakes_sent += 1;
            self.answer(meta.path, PacketKind::ServerKey, init.session, |out| told.encode(out));
        } else {
            self.shared.counters.handshakes_refused += 1;
        }
        true
    }

    /// A repeated INIT: its ACCEPT was lost, is being made, or the client asks whether we are still the
    /// same.
    fn repeats(&mut self, meta: &Meta, init: &Init<'_>) -> bool {
        let known = self.accepted.get(&(meta.path, init.session.0, init.boot)).copied();
        if let Some(Slot::Open(session)) = known.map(|index| self.table.slot_mut(index)) {
            let accept = session.accept.clone();
            self.shared.counters.handshakes_sent += 1;
            self.answer(meta.path, PacketKind::Accept, init.session, |out| copy(&accept, out));
            return true;
        }
        self.asked.values().any(|asked| {
            asked.meta.path == meta.path && asked.remote == init.session && asked.boot == init.boot
        })
    }

    fn demand_cookie(&mut self, now: Timestamp, path: PathIndex, holder: &CookieHolder) {
        let cookie = self.cookies.issue(now, holder);
        let session = SessionId(holder.session);
        let reply = CookieReply { version: VERSION, session, cookie: &cookie };
        self.shared.counters.handshakes_sent += 1;
        self.answer(path, PacketKind::Cookie, session, |out| reply.encode(out));
    }

    pub(super) fn on_opened(
        &mut self,
        now: Timestamp,
        asked_id: u64,
        opened: Result<Opened, HandshakeError>,
    ) {
        let Some(mut asked) = self.asked.remove(&asked_id) else { return };
        let Ok(Opened { responder, payload, peer }) = opened else {
            // Strangers get silence (S01).
            self.shared.counters.handshakes_refused += 1;
            return;
        };
        let meta = asked.meta;
        if self.accepts_again(&asked, peer.as_ref()) {
            return;
        }
        // Before its message is remembered as seen: keys cost nothing to make.
        let admission = match self.let_in(now, &asked, peer.as_ref()) {
            Ok(admission) => admission,
            Err(why) => return self.refuse(&meta, asked.remote, why),
        };
        let peer_token = match self.believe(now, &asked, peer.as_ref(), &payload) {
            Ok(token) => token,
            Err(Doubt::Malformed) => {
                self.shared.counters.malformed += 1;
                return;
            }
            Err(Doubt::Replayed) => {
                self.shared.counters.handshakes_unproven += 1;
                let holder = CookieHolder { remote: meta.remote, session: asked.remote.0, boot: asked.boot };
                return self.demand_cookie(now, meta.path, &holder);
            }
        };
        let Ok(key) = self.table.reserve(&mut self.random) else {
            return self.refuse(&meta, asked.remote, refusal::FULL);
        };
        let suite = self.suite_for(asked.suite);
        let accept = self.accept(key, suite, &admission);
        let payload = if suite.is_secure() {
            self.config.security.reset_key.token(accept.session.0).to_vec()
        } else {
            Vec::new()
        };
        asked.admitted = Some(Admitted { key, accept, suite, peer, peer_token });
        self.asked.insert(asked_id, asked);
        self.push_job(Work::Answer {
            asked: asked_id,
            responder,
            accept: accept.prologue().to_vec(),
            payload,
        });
    }

    /// A client that proved its key asks from another address for the session it was given already, its
    /// ACCEPT having been lost with the old one: it gets the same again, and the session follows (P-15.2).
    fn accepts_again(&mut self, asked: &Asked, peer: Option<&PublicKey>) -> bool {
        let Some(&index) = self.attempts.get(&(asked.remote.0, asked.boot)) else { return false };
        let Slot::Open(session) = self.table.slot(index) else { return false };
        if peer.is_none() || session.peer_key() != peer {
            return false;
        }
        let accept = session.accept.clone();
        self.shared.counters.handshakes_sent += 1;
        self.answer(asked.meta.path, PacketKind::Accept, asked.remote, |out| copy(&accept, out));
        true
    }

    /// What a client sealed into its first message: its clock's reading and its reset token.
    fn believe(
        &self,
        now: Timestamp,
        asked: &Asked,
        peer: Option<&PublicKey>,
        payload: &[u8],
    ) -> Result<Option<[u8; 16]>, Doubt> {
        let Some(peer) = peer else { return Ok(None) };
        let (stamp, token) = payload.split_first_chunk::<8>().ok_or(Doubt::Malformed)?;
        let token: [u8; 16] = token.try_into().map_err(|_| Doubt::Malformed)?;
        let security = &self.config.security;
        let stamp_ns = u64::from_le_bytes(*stamp);
        let cookie = asked.cookie.map(|issued| (issued, asked.remote.0));
        let fresh = security.freshness.admit(peer, stamp_ns, security.wall_ns(now), cookie);
        if fresh { Ok(Some(token)) } else { Err(Doubt::Replayed) }
    }

    fn let_in(
        &mut self,
        now: Timestamp,
        asked: &Asked,
        peer: Option<&PublicKey>,
    ) -> Result<Admission, (u16, &'static str)> {
        if !is_workable(&asked.bounds) {
            return Err(refusal::BOUNDS);
        }
        let Some(peer) = peer else { return Ok(Admission::default()) };
        let admission = self.config.security.gate.admit(peer).ok_or(refusal::KEY)?;
        let theirs = |admitted: &&Admitted| admitted.peer.as_ref() == Some(peer);
        let opening = self.asked.values().filter_map(|asked| asked.admitted.as_ref()).filter(theirs).count();
        let held = self.shared.accounts.accepted_from(peer) as usize + opening;
        if held >= allowance(&self.config, &admission).sessions as usize {
            self.shared.counters.over_sessions += 1;
            self.shared.tell_over_sessions(now, peer, Quota::Sessions);
            return Err(refusal::QUOTA);
        }
        Ok(admission)
    }

    /// The client's wish, if this end knows it.
    fn suite_for(&self, wanted: u8) -> Suite {
        match Suite::from_byte(wanted) {
            Some(suite) if suite.is_secure() == self.config.security.suite.is_secure() => suite,
            _ => self.config.security.suite,
        }
    }

    fn accept(&self, key: SessionKey, suite: Suite, admission: &Admission) -> Accept<'static> {
        Accept {
            version: VERSION,
            session: key.id(self.config.worker_index),
            boot: self.config.boot_id,
            bounds: self.bounds(&allowance(&self.config, admission)),
            suite: suite as u8,
            blob: &[],
        }
    }

    pub(super) fn on_answered(
        &mut self,
        now: Timestamp,
        asked: u64,
        answered: Result<Answered, HandshakeError>,
    ) {
        let Some(mut asked) = self.asked.remove(&asked) else { return };
        let Some(Admitted { key, accept, suite, peer, peer_token }) = asked.admitted.take() else { return };
        let Ok(Answered { blob, keys }) = answered else {
            self.table.give_back(key.index);
            self.shared.counters.handshakes_refused += 1;
            return;
        };
        if self.accepts_again(&asked, peer.as_ref()) {
            self.table.give_back(key.index);
            return;
        }
        // The gate may have changed since: a session that opens now would not be looked at again.
        let admission = match self.let_in(now, &asked, peer.as_ref()) {
            Ok(admission) => admission,
            Err(why) => {
                self.table.give_back(key.index);
                return self.refuse(&asked.meta, asked.remote, why);
            }
        };
        let Asked { meta, remote, boot, bounds, cookie, .. } = asked;
        let mut body = vec![0; ACCEPT_FIXED_SIZE + blob.len()];
        Accept { blob: &blob, ..accept }.encode(&mut body);
        let route_size_max = self.route_size(meta.path);
        let secure = suite.is_secure();
        let opening = Opening {
            config: &self.config,
            key,
            local: accept.session,
            remote,
            path: meta.path,
            route_size_max,
            peer: bounds,
            own: accept.bounds,
            allowance: allowance(&self.config, &admission),
            peer_boot: boot,
            handshake_rtt_ns: cookie
                .filter(|_| !secure)
                .map_or(RTT_UNKNOWN_NS, |issued| now.since_ns(issued)),
            now,
            accepted: true,
        };
        let protector = Protector::new(suite, &keys, Role::Server);
        let root = LaneRoot::new(&keys, suite);
        let trust = trust_of((peer, admission, peer_token), self.random.bytes(), root);
        let mut session = Session::open(&opening, protector, trust, &mut self.shared);
        session.accept = body.into_boxed_slice();
        session.lives_at(meta.remote.ip());
        if secure {
            session.await_client(now, cookie);
        }
        self.enter(&meta, remote, session);
    }

    /// `session`, which `remote` asked for from where `meta` says, is open, and its ACCEPT leaves.
    fn enter(&mut self, meta: &Meta, remote: SessionId, session: Session) {
        session.announce(&mut self.shared);
        self.shared.counters.handshakes_sent += 1;
        let (accept, index) = (session.accept.clone(), session.key.index);
        self.answer(meta.path, PacketKind::Accept, remote, |out| copy(&accept, out));
        self.accepted.insert(session.origin_key(), index);
        self.attempts.insert((remote.0, session.peer_boot), index);
        self.table.fill(index, Slot::Open(Box::new(session)));
        self.touch(index);
    }

    pub(super) fn refuse(&mut self, meta: &Meta, session: SessionId, (code, reason): (u16, &str)) {
        self.shared.counters.handshakes_refused += 1;
        let refuse = Refuse { version: VERSION, code, reason: reason.as_bytes() };
        self.answer(meta.path, PacketKind::Refuse, session, |out| refuse.encode(out));
    }
}

/// Where an INIT says how long its cookie is. Looked at before its checksum: a flood need not be well-formed.
const COOKIE_SIZE_AT: usize = HEADER_SIZE + PROLOGUE_SIZE;

fn trust_of(
    (peer, admission, peer_token): (Option<PublicKey>, Admission, Option<[u8; 16]>),
    skip_secret: [u8; 16],
    root: LaneRoot,
) -> Trust {
    Trust { peer, admission, peer_token, skip_secret, gated: true, root: Some(root), lane_of: None }
}

enum Doubt {
    Malformed,
    Replayed,
}

/// RFC 9002 §6.2.2's guess would make a slow start of every session; the client's first packet, which
/// follows at once, tells the truth (P-6.13).
const RTT_UNKNOWN_NS: u64 = 500_000;

const _: () = assert!(HEADER_SIZE + ACCEPT_FIXED_SIZE < crate::wire::INIT_PACKET_SIZE);
