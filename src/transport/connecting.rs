//! The client's half of the handshake: INIT, again with the server's cookie if it wants one, until ACCEPT.
//!
//! ```text
//!  client                       server
//!    INIT ----------------------> session, or nothing kept and
//!    <---------------------- COOKIE
//!    INIT + cookie -------------> session
//!    <---------------------- ACCEPT
//! ```

use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::crypto::{Initiator, Protector, PublicKey};
use crate::time::Timestamp;
use crate::transport::config::{Config, Profile};
use crate::transport::{PathIndex, SessionKey};
use crate::wire::{
    Accept, Bounds, COOKIE_SIZE_MAX, Header, INIT_BODY_SIZE, INIT_PACKET_SIZE, Init, PacketKind,
    PacketNumber, SessionId, VERSION,
};

/// How far a handshake has come at the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits until fewer others ask.
    InLine,
    /// The server's key is not known: INITs without a blob ask for it.
    Asking,
    /// The first message is being made.
    Preparing,
    /// INITs leave until an answer comes.
    Waiting,
    /// An answer is being checked.
    Finishing,
}

/// A handshake under way.
#[derive(Debug)]
pub(crate) struct Connecting {
    pub(crate) key: SessionKey,
    pub(crate) local: SessionId,
    /// Whom the session is with, once that is known.
    pub(crate) server: Option<PublicKey>,
    pub(crate) stage: Stage,
    /// It has one of the path's places to ask from: see [`crate::transport::asking`].
    pub(crate) has_place: bool,
    /// The ACCEPT that is being checked.
    pub(crate) answer: Option<Accept<'static>>,
    /// The handshakes begun, newest first: each cookie begins another, and the answer to an earlier one
    /// may still come.
    initiators: Vec<Box<dyn Initiator>>,
    /// The code of a REFUSE that nobody signed.
    refused: Option<u16>,
    /// Set while the engine's list of sessions to look at holds this one.
    pub(crate) listed: bool,
    /// Somebody at the other end said that it speaks other versions only.
    pub(crate) version_refused: bool,
    path: PathIndex,
    /// What the INIT's header names: 0, or the worker of the peer that is wanted.
    wanted: SessionId,
    boot: u64,
    bounds: Bounds,
    suite: u8,
    blob: Vec<u8>,
    cookie: [u8; COOKIE_SIZE_MAX],
    cookie_size: usize,
    cookie_at: Timestamp,
    interval_ns: u64,
    attempts: u32,
    next_at: Timestamp,
    give_up_at: Timestamp,
    sent_at: Timestamp,
    /// INITs since the last answer: an RTT sample is taken only from the first (Karn, L02).
    sent: u32,
    rtt_ns: u64,
}

/// The first INIT is repeated after this long, evenly for [`ATTEMPTS_STEADY`], then twice as long each time
/// (P-13.8 argues it: one padded packet, bounded in number, and nobody waits a second for a lost one).
const INTERVAL_DC_NS: u64 = 20_000_000;
/// A server under a flood answers some of them only: each has its chance.
const ATTEMPTS_STEADY: u32 = 10;
/// INITs that a session sends from its place without any answer, where others on its path are answered; with one more the
/// place goes to the next (P-13.25).
const PLACE_INITS: u32 = 5;
/// RFC 9002 §6.2.2: kInitialRtt, three of which are the first timeout.
const INTERVAL_WAN_NS: u64 = 999_000_000;
const INTERVAL_MAX_NS: u64 = 2_000_000_000;
/// A handshake that nobody answered for this long has failed.
const GIVE_UP_NS: u64 = 5_000_000_000;
/// Handshakes of one client that may still be answered.
const INITIATORS_MAX: usize = 4;
/// How long a cookie is kept to, though the server sends others.
const COOKIE_AGAIN_NS: u64 = 1_000_000_000;
/// How long a refusal waits to be contradicted.
const REFUSED_WAIT_NS: u64 = 250_000_000;
/// L07, RFC 9002 §6.2.2: "the initial RTT SHOULD be set to 333 milliseconds".
const INITIAL_RTT_NS: u64 = 333_000_000;

/// Set in the session id of an INIT's header that names a worker: 0 alone means any.
pub(crate) const WANTED_MARK: u64 = 0x100;

impl Connecting {
    pub(crate) fn new(
        now: Timestamp,
        key: SessionKey,
        path: PathIndex,
        config: &Config,
        bounds: Bounds,
        server: Option<PublicKey>,
    ) -> Self {
        Self {
            key,
            local: key.id(config.worker_index),
            server,
            stage: Stage::InLine,
            has_place: false,
            answer: None,
            initiators: Vec::new(),
            refused: None,
            listed: false,
            version_refused: false,
            path,
            wanted: SessionId(0),
            boot: config.boot_id,
            bounds,
            suite: config.security.suite as u8,
            blob: Vec::new(),
            cookie: [0; COOKIE_SIZE_MAX],
            cookie_size: 0,
            cookie_at: now,
            interval_ns: if config.profile == Profile::Wan { INTERVAL_WAN_NS } else { INTERVAL_DC_NS },
            attempts: 0,
            next_at: now,
            give_up_at: Timestamp::NEVER,
            sent_at: now,
            sent: 0,
            // L07, RFC 9002 §6.2.2: "the initial RTT SHOULD be set to 333 milliseconds".
            rtt_ns: INITIAL_RTT_NS,
        }
    }

    /// Its turn to ask has come.
    pub(crate) fn begin(&mut self, now: Timestamp, stage: Stage) {
        debug_assert_eq!(self.stage, Stage::InLine);
        self.stage = stage;
        self.has_place = true;
        self.next_at = now;
        self.limit(now.after_ns(GIVE_UP_NS));
    }

    /// It asked in vain for so long that its place is another's; true when it had one. `answers`: the server was heard of late.
    pub(crate) fn gives_place(&mut self, answers: bool) -> bool {
        let inits_max = if answers { PLACE_INITS } else { 1 };
        self.sent > inits_max && std::mem::take(&mut self.has_place)
    }

    /// What the first message binds: the INIT body without its blob.
    pub(crate) fn prologue(&self) -> Vec<u8> {
        let mut body = [0; INIT_BODY_SIZE];
        let init = self.init();
        init.encode(&mut body);
        body[..init.prologue_size()].to_vec()
    }

    /// The first message is made: it leaves at once.
    pub(crate) fn ready(&mut self, now: Timestamp, initiator: Box<dyn Initiator>, blob: Vec<u8>) {
        self.initiators.insert(0, initiator);
        self.initiators.truncate(INITIATORS_MAX);
        self.blob = blob;
        self.stage = Stage::Waiting;
        self.next_at = now;
    }

    /// An answer came: the handshakes are handed out to be finished, unless they already are.
    pub(crate) fn finishing(&mut self, now: Timestamp) -> Option<Vec<Box<dyn Initiator>>> {
        if self.initiators.is_empty() {
            return None;
        }
        self.sample(now);
        if self.stage == Stage::Waiting {
            self.stage = Stage::Finishing;
        }
        Some(std::mem::take(&mut self.initiators))
    }

    /// The answer was not the server's.
    pub(crate) fn unfinished(&mut self, initiators: Vec<Box<dyn Initiator>>) {
        self.initiators.extend(initiators);
        self.initiators.truncate(INITIATORS_MAX);
        if self.stage == Stage::Finishing {
            self.stage = Stage::Waiting;
        }
    }

    /// A REFUSE that anybody may have written: it gives the true answer a moment, and then ends the wait.
    pub(crate) fn on_refused(&mut self, now: Timestamp, code: u16) {
        if self.refused.is_none() {
            self.refused = Some(code);
            self.give_up_at = self.give_up_at.min(now.after_ns(REFUSED_WAIT_NS));
        }
    }

    pub(crate) fn refused(&self) -> Option<u16> {
        self.refused
    }

    /// Asks for one of the peer's workers: the INIT's header, which else is 0, carries `worker` in its
    /// low byte and a mark above it. A peer that does not steer by it is none the worse.
    pub(crate) fn prefer_worker(&mut self, worker: u8) {
        self.wanted = SessionId(WANTED_MARK | u64::from(worker));
    }

    fn init(&self) -> Init<'_> {
        Init {
            version: VERSION,
            session: self.local,
            boot: self.boot,
            bounds: self.bounds,
            suite: self.suite,
            cookie: &self.cookie[..self.cookie_size],
            blob: &self.blob,
        }
    }

    pub(crate) fn path(&self) -> PathIndex {
        self.path
    }

    /// True when an INIT should leave now.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.next_at <= now && matches!(self.stage, Stage::Asking | Stage::Waiting)
    }

    /// When the next INIT leaves, or the handshake is given up.
    pub(crate) fn next_timeout(&self) -> Timestamp {
        match self.stage {
            Stage::Asking | Stage::Waiting => self.next_at.min(self.give_up_at),
            Stage::InLine | Stage::Preparing | Stage::Finishing => self.give_up_at,
        }
    }

    /// The longest until its INIT is repeated.
    pub(crate) fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    pub(crate) fn has_failed(&self, now: Timestamp) -> bool {
        self.give_up_at <= now
    }

    /// The handshake is given up at `at`, if not before.
    pub(crate) fn limit(&mut self, at: Timestamp) {
        self.give_up_at = self.give_up_at.min(at);
    }

    /// Writes the INIT packet and schedules its repetition.
    pub(crate) fn write(&mut self, now: Timestamp, packet: &mut [u8]) {
        debug_assert_eq!(packet.len(), INIT_PACKET_SIZE);
        let header = Header {
            kind: PacketKind::Init,
            epoch: 0,
            length: INIT_PACKET_SIZE as u16,
            session: self.wanted,
            number: PacketNumber(0),
        };
        packet.fill(0);
        header.encode(packet);
        self.init().encode(&mut packet[HEADER_SIZE..INIT_PACKET_SIZE - TAG_SIZE]);
        Protector::handshake().seal(packet);
        self.sent += 1;
        self.sent_at = now;
        self.next_at = now.after_ns(self.interval_ns);
        self.attempts += 1;
        // L47, RFC 8085 §3.1.3: "not sending on average more than one UDP datagram per RTT to a destination"; P-13.8
        // argues the pace while the round trip is not known.
        if self.interval_ns > INTERVAL_DC_NS || self.attempts >= ATTEMPTS_STEADY {
            self.interval_ns = (self.interval_ns * 2).min(INTERVAL_MAX_NS);
        }
    }

    /// Something came back: a sample, unless it may answer an earlier INIT.
    ///
    /// L02, RFC 6298 §3 (Karn): "RTT samples MUST NOT be made using segments that were retransmitted". Packets of
    /// a session have a number each, so that no answer to one is in doubt.
    pub(crate) fn sample(&mut self, now: Timestamp) {
        if self.sent == 1 {
            self.rtt_ns = self.rtt_ns.min(now.since_ns(self.sent_at));
        }
        self.sent = 0;
    }

    /// The round trip as the handshake showed it, or RFC 9002's guess.
    pub(crate) fn rtt_ns(&self) -> u64 {
        self.rtt_ns
    }

    /// Takes the server's cookie: the next INIT carries it, at once. False when it is the one already
    /// held: its INIT is under way.
    pub(crate) fn on_cookie(&mut self, now: Timestamp, cookie: &[u8]) -> bool {
        let Some(place) = self.cookie.get_mut(..cookie.len()) else { return false };
        if self.cookie_size == cookie.len() && place == cookie {
            return false;
        }
        // Each INIT before this was answered by a cookie of its own. The first serves: a handshake begun for each
        // would have forgotten the one that the server accepts, where the round trip is longer than the interval.
        if self.cookie_size > 0 && now.since_ns(self.cookie_at) < COOKIE_AGAIN_NS {
            return false;
        }
        self.cookie_at = now;
        place.copy_from_slice(cookie);
        self.cookie_size = cookie.len();
        self.sample(now);
        self.next_at = now;
        true
    }

    /// Starts over, to learn which incarnation is at the other end now. Without sealing any first message
    /// serves.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.cookie_size = 0;
        self.stage = Stage::Waiting;
        self.interval_ns = INTERVAL_DC_NS;
        self.next_at = now;
        self.give_up_at = Timestamp::NEVER;
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn connecting(profile: Profile) -> Connecting {
        let config = Config { profile, ..Config::default() };
        let bounds = Bounds {
            packet_size_max: 1_200,
            unit_window: 64,
            call_slots: 1,
            message_size_max: 1,
            credit: 1,
            max_ack_delay_ns: 0,
            idle_timeout_ms: 0,
            lanes: 1,
        };
        let key = SessionKey { index: 0, tag: 0 };
        let mut connecting = Connecting::new(Timestamp(0), key, PathIndex(0), &config, bounds, None);
        connecting.begin(Timestamp(0), Stage::Asking);
        connecting.give_up_at = Timestamp(5_000 * MS);
        connecting
    }

    fn say(connecting: &mut Connecting, at: u64) {
        connecting.write(Timestamp(at), &mut vec![0; INIT_PACKET_SIZE]);
    }

    #[test]
    fn an_answer_that_may_be_to_an_earlier_init_gives_no_round_trip() {
        // L02: the answer to the first takes 30 ms, and comes 10 ms after the second.
        let mut connecting = connecting(Profile::Auto);
        say(&mut connecting, 0);
        say(&mut connecting, 20 * MS);
        connecting.sample(Timestamp(30 * MS));
        assert_eq!(connecting.rtt_ns(), INITIAL_RTT_NS);
        say(&mut connecting, 40 * MS);
        connecting.sample(Timestamp(70 * MS));
        assert_eq!(connecting.rtt_ns(), 30 * MS);
    }

    #[test]
    fn before_anything_was_measured_the_round_trip_is_a_third_of_a_second() {
        // L07.
        assert_eq!(connecting(Profile::Wan).rtt_ns(), 333 * MS);
    }

    /// When INITs leave that nobody answers, in milliseconds.
    fn inits(profile: Profile) -> Vec<u64> {
        let mut connecting = connecting(profile);
        let mut times = Vec::new();
        while connecting.next_timeout() < connecting.give_up_at {
            let at = connecting.next_timeout();
            assert!(connecting.is_due(at));
            say(&mut connecting, at.0);
            times.push(at.0 / MS);
        }
        times
    }

    #[test]
    fn without_an_answer_first_messages_become_rare() {
        // L47, P-13.8: the constants are argued there.
        assert_eq!(inits(Profile::Wan), [0, 999, 2_997, 4_997]);
        let steady = (0..10).map(|n| 20 * n);
        let doubling = [200, 240, 320, 480, 800, 1_440, 2_720, 4_720];
        assert_eq!(inits(Profile::Dc), steady.chain(doubling).collect::<Vec<u64>>());
    }

    #[test]
    fn a_cookie_is_kept_to_while_those_of_earlier_inits_still_arrive() {
        let mut connecting = connecting(Profile::Auto);
        assert!(connecting.on_cookie(Timestamp(100 * MS), &[1; 16]));
        assert!(!connecting.on_cookie(Timestamp(120 * MS), &[2; 16]));
        assert!(connecting.on_cookie(Timestamp(1_100 * MS), &[3; 16]), "the server has forgotten its secret");
    }
}
