//! A session whose peer's address changes goes on at the new one, once the peer has proven that it
//! receives there (P-15; RFC 9000 §8.2, §9).
//!
//! ```text
//!  opener                          network                        acceptor
//!    |  DATA n from B                 | (was A)                      |
//!    |------------------------------------------------------------->| B is nobody yet: at most as many bytes
//!    |                PATH_CHALLENGE x to B                          | as came from there
//!    |<-------------------------------------------------------------|
//!    |                PATH_CHALLENGE y to A                 (lost)   | answered from A: B is a forwarder
//!    |  PATH_RESPONSE x from B                                       |
//!    |------------------------------------------------------------->| the session lives at B
//! ```
//!
//! Only the end that accepted the handshake follows, in the session it led to and its lanes, and only where
//! they are sealed: keys, not addresses, are identity. Until the proof has come everything goes on being sent to the old address.

use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::bounds::{HEADER_SIZE, PACKET_SIZE_MIN, TAG_SIZE};
use crate::time::Timestamp;
use crate::transport::Event;
use crate::transport::congestion::delivery_rate::DeliveryRate;
use crate::transport::congestion::{CongestionConfig, Controller};
use crate::transport::delivery::Deliveries;
use crate::transport::ecn::EcnPath;
use crate::transport::engine::Meta;
use crate::transport::pacer::Pacer;
use crate::transport::path_validation::{CHALLENGES_MAX, Candidate};
use crate::transport::resume::Resume;
use crate::transport::rtt::Rtt;
use crate::transport::sent::carried;
use crate::transport::session::Session;
use crate::transport::session::transmit::encode_header;
use crate::transport::shared::Shared;
use crate::transport::sink::{PacketSink, PathIndex, Way};
use crate::wire::{self, Header, Writer};

/// What is known of addresses beside the session's own.
#[derive(Debug, Default)]
pub(super) struct Migration {
    /// At most one is asked at a time (S12).
    candidate: Option<Candidate>,
    /// What the session's own address was asked meanwhile.
    asked_home: Vec<u64>,
    /// Where the session was before, until when it may return there without proof, and whose host it is.
    previous: Option<(PathIndex, Option<IpAddr>)>,
    previous_until: Timestamp,
    /// No other address is asked before then.
    quiet_until: Timestamp,
    /// Challenges made: no two are alike.
    made: u64,
    /// The peer's challenges to answer: one to this address and one that was meant to find it gone.
    answers: [Option<u64>; 2],
}

/// Paths that one session may hold at once: its own, the one before and one that is asked.
pub(crate) const PATHS_HELD_MAX: usize = 3;
/// Another address is considered this long after the last at the earliest.
const QUIET_NS: u64 = 100_000_000;
/// After an address has turned out to be a forwarder's, this long.
const QUIET_AFTER_REFUSAL_NS: u64 = 1_000_000_000;
/// The address before stays proven for so long: whoever moved the session by forwarding packets faster
/// than the peer's own arrive has it only until one of those comes first (RFC 9000 §9.3.3).
const PREVIOUS_KEPT_NS: u64 = 10_000_000_000;
/// The round trip that is assumed of a path returned to (RFC 9002 §6.2.2 has 333 ms for one never seen).
const RTT_UNKNOWN_NS: u64 = 10_000_000;
/// Packets that only ask the present address are as small as any packet that is answered.
const ASK_SIZE: usize = 64;

impl Session {
    /// The peer proved in the handshake that it receives at `host`.
    pub(crate) fn lives_at(&mut self, host: IpAddr) {
        self.path_change.peer_host = Some(host);
    }

    /// The paths that must not be given to other addresses.
    pub(crate) fn held_paths(&self) -> [Option<PathIndex>; PATHS_HELD_MAX] {
        let migration = self.path_change.migration.as_ref();
        let candidate = migration.and_then(|m| m.candidate.as_ref()).map(|candidate| candidate.path);
        let previous = migration.and_then(|m| m.previous).map(|(path, _)| path);
        [Some(self.path), candidate, previous]
    }

    fn follows(&self) -> bool {
        self.trust.gated && self.protector.is_secure() && !self.is_closed()
    }

    /// Handles a packet that came by another path than the session's.
    #[cold]
    pub(crate) fn handle_packet_elsewhere(
        &mut self,
        now: Timestamp,
        meta: &Meta,
        header: &Header,
        packet: &mut [u8],
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) {
        // RFC 9000 §9.3: only the newest packet tells where the peer is; an older one was overtaken.
        let is_newest = self
            .received
            .largest()
            .is_none_or(|largest| header.number.near(self.received.expected()) > largest);
        self.path_change.elsewhere = Some(meta.path);
        let authentic = self.handle_packet(now, meta.mark, header, packet, shared, deliveries);
        self.path_change.elsewhere = None;
        if !authentic || self.path == meta.path || !self.follows() {
            return;
        }
        self.hear_elsewhere(now, meta, u64::from(header.length), is_newest, shared);
    }

    /// An authentic packet of `size` bytes came from where the session is not.
    fn hear_elsewhere(
        &mut self,
        now: Timestamp,
        meta: &Meta,
        size: u64,
        is_newest: bool,
        shared: &mut Shared,
    ) {
        let pto_ns = self.pto_ns();
        let migration = self.path_change.migration.get_or_insert_default();
        if let Some(candidate) = migration.candidate.as_mut()
            && candidate.path == meta.path
            && candidate.is_asking()
        {
            return candidate.on_received(size);
        }
        if !is_newest {
            return;
        }
        let host = meta.remote.ip();
        if migration.previous.is_some_and(|(path, _)| path == meta.path) && now < migration.previous_until {
            // RFC 9000 §9.3.3: it is proven, and whoever is at the present one was faster, not the peer.
            self.move_to(now, meta.path, host, RTT_UNKNOWN_NS, shared);
            if let Some(migration) = &mut self.path_change.migration {
                // Whoever was there has to prove it anew, or two could play the session between them.
                migration.previous = None;
                migration.quiet_until = now.after_ns(QUIET_NS);
            }
            return;
        }
        if now < migration.quiet_until {
            return;
        }
        let mut candidate = Candidate::new(now, meta.path, host, pto_ns);
        candidate.on_received(size);
        migration.candidate = Some(candidate);
        migration.asked_home.clear();
        migration.quiet_until = now.after_ns(QUIET_NS);
        shared.counters.paths_challenged += 1;
    }

    /// The peer asks whether this end receives where it was sent to. A challenge that somebody passed on
    /// proves nothing, and is not answered (RFC 9000 §9.3.3).
    #[cold]
    pub(super) fn on_path_challenge(&mut self, data: u64) {
        if self.path_change.elsewhere.is_none() {
            let answers = &mut self.path_change.migration.get_or_insert_default().answers;
            // The newest two: a queue of bounded length (S12).
            *answers = [Some(data), answers[0].filter(|other| *other != data)];
        }
    }

    /// The peer received a challenge: at the new address, which is its own then; or at the old one, which
    /// it has not left, whoever sends from elsewhere.
    #[cold]
    pub(super) fn on_path_response(&mut self, now: Timestamp, data: u64, shared: &mut Shared) {
        let elsewhere = self.path_change.elsewhere;
        let Some(migration) = &mut self.path_change.migration else { return };
        let Some(candidate) = &mut migration.candidate else { return };
        match elsewhere {
            None if candidate.is_asking() && migration.asked_home.contains(&data) => {
                candidate.end();
                migration.quiet_until = now.after_ns(QUIET_AFTER_REFUSAL_NS);
                shared.counters.paths_refused += 1;
            }
            Some(path) if path == candidate.path => {
                let Some(asked_at) = candidate.answers(data) else { return };
                let host = candidate.host;
                self.move_to(now, path, host, now.since_ns(asked_at).max(1), shared);
            }
            _ => {}
        }
    }

    /// The session goes on at `path`, whose round trip took `rtt_ns`.
    fn move_to(&mut self, now: Timestamp, path: PathIndex, host: IpAddr, rtt_ns: u64, shared: &mut Shared) {
        shared.counters.paths_changed += 1;
        shared.events.push(Event::AddressChanged { session: self.key });
        let migration = self.path_change.migration.get_or_insert_default();
        migration.previous = Some((self.path, self.path_change.peer_host));
        migration.previous_until = now.after_ns(PREVIOUS_KEPT_NS);
        migration.candidate = None;
        migration.asked_home.clear();
        self.path = path;
        self.timers.unproven = false;
        // RFC 9000 §9.4: another port alone is a NAT that forgot; the way there is the same.
        let same_host = self.path_change.peer_host.replace(host) == Some(host);
        self.abandon_flight(now, shared);
        if !same_host {
            self.forget_path(now, rtt_ns);
        }
        // Whatever there is to say, the peer's answer is the first news of the new path.
        self.control.ping = true;
        self.control.ask = true;
    }

    /// What is in flight went to where the peer no longer is: it is sent again, and no sign of congestion.
    fn abandon_flight(&mut self, now: Timestamp, shared: &mut Shared) {
        let mut lost = std::mem::take(&mut shared.lost);
        lost.clear();
        self.sent.abandon(&mut lost);
        for (number, packet) in &lost {
            shared.counters.lost += 1;
            self.on_control_lost(packet);
            if packet.carried & carried::SIZE_PROBE != 0 {
                self.mtu.on_probe_lost(now, usize::from(packet.size), false);
            } else {
                self.on_unit_lost(*number, packet);
            }
        }
        lost.clear();
        shared.lost = lost;
        self.loss.path_began = self.sent.next();
        self.loss.round_end = self.sent.next();
        (self.loss.time, self.loss.pto_count, self.loss.probes_due) = (None, 0, 0);
        self.timers.pacing = None;
    }

    /// RFC 9000 §9.4: round trip, window and packet size are the path's, and this is another.
    fn forget_path(&mut self, now: Timestamp, rtt_ns: u64) {
        self.mtu = Self::unproven_path(&self.protector, PACKET_SIZE_MIN.min(self.packet_size_max));
        self.congestion.restart(CongestionConfig::new(self.mtu.size() as u64));
        self.resume = Resume::new(self.congestion.window(), now);
        self.pacer = Pacer::new();
        self.ecn = EcnPath::new();
        self.rate.iter_mut().for_each(|rate| **rate = DeliveryRate::default());
        self.rtt = Rtt::new(rtt_ns);
        self.loss.recovery_start = now;
        self.follow_rtt();
        self.acks.on_rtt(rtt_ns);
    }

    /// Sends what asks, and answers what was asked: in packets of their own, which wait for no window and
    /// which nobody acknowledges.
    #[cold]
    pub(super) fn transmit_path_frames(
        &mut self,
        now: Timestamp,
        shared: &mut Shared,
        sink: &mut impl PacketSink,
    ) {
        while let Some(data) = self.path_change.migration.as_ref().and_then(|m| m.answers[0]) {
            // RFC 9000 §8.2.2: of full size, so that the path is known to carry it.
            let size = PACKET_SIZE_MIN;
            let answer = |writer: &mut Writer<'_>| wire::encode_path_response(writer, data);
            if !self.send_path_frame(now, self.path, size, shared, sink, answer) {
                return;
            }
            if let Some(migration) = &mut self.path_change.migration {
                migration.answers = [migration.answers[1], None];
            }
        }
        let candidate = self.path_change.migration.as_ref().and_then(|m| m.candidate.as_ref());
        let Some((path, size)) = candidate.and_then(|c| Some((c.path, c.due(now)?))) else { return };
        let (data, home) = (self.challenge(now), self.challenge(now));
        let ask = |writer: &mut Writer<'_>| wire::encode_path_challenge(writer, data);
        if !self.send_path_frame(now, path, size, shared, sink, ask) {
            return;
        }
        let ask = |writer: &mut Writer<'_>| wire::encode_path_challenge(writer, home);
        // An address that was never proven is sent nothing.
        let asked_home =
            !self.timers.unproven && self.send_path_frame(now, self.path, ASK_SIZE, shared, sink, ask);
        let Some(migration) = &mut self.path_change.migration else { return };
        if let Some(candidate) = &mut migration.candidate {
            candidate.on_sent(now, data, size);
        }
        if asked_home {
            debug_assert!(migration.asked_home.len() < CHALLENGES_MAX);
            migration.asked_home.push(home);
        }
    }

    /// One packet of `size` bytes to `path` with one frame. False when there is no memory now.
    fn send_path_frame(
        &mut self,
        now: Timestamp,
        path: PathIndex,
        size: usize,
        shared: &mut Shared,
        sink: &mut impl PacketSink,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> bool {
        let Some(packet) = sink.packet(Way { path, ..self.way() }, size) else { return false };
        let number = self.next_number(now);
        encode_header(packet, (self.remote, self.protector.epoch()), number, size);
        packet[HEADER_SIZE..size - TAG_SIZE].fill(0);
        write(&mut Writer::new(&mut packet[HEADER_SIZE..size - TAG_SIZE]));
        self.protector.seal(packet);
        self.sent.push_ack_only(now, size as u16);
        shared.counters.packets_sent += 1;
        shared.counters.bytes_sent += size as u64;
        true
    }

    /// Nobody can guess it who did not receive it: a keyed hash of what never comes twice.
    fn challenge(&mut self, now: Timestamp) -> u64 {
        let migration = self.path_change.migration.get_or_insert_default();
        migration.made += 1;
        let mut said = [0; 24];
        said[..8].copy_from_slice(b"path ask");
        said[8..16].copy_from_slice(&migration.made.to_le_bytes());
        said[16..].copy_from_slice(&now.0.to_le_bytes());
        SipHasher24::new_with_key(&self.trust.skip_secret).hash(&said)
    }

    /// When an address that is asked has to be asked again, or given up.
    pub(super) fn migration_at(&self) -> Option<Timestamp> {
        self.path_change.migration.as_ref()?.candidate.as_ref()?.next_timeout()
    }

    pub(super) fn on_migration_timer(&mut self, now: Timestamp, shared: &mut Shared) {
        let candidate = self.path_change.migration.as_mut().and_then(|m| m.candidate.as_mut());
        if candidate.is_some_and(|candidate| candidate.gives_up(now)) {
            shared.counters.paths_refused += 1;
        }
    }
}
