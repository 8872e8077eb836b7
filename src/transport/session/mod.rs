//! One session: it only routes. Arithmetic lives in the leaves beside it; each kind of frame has its
//! function in `receive`, each kind of packet in `transmit`.
//!
//! ```text
//!  call, send, reply --> queue, large --cut--> units --transmit--> sent --ack, loss--> units
//!  packet --> received (replay) --> frames --> window (duplicates) --> deliveries
//! ```
//!
//! Invariant ([`Session::check`]): a slab slot belongs to exactly one of the queue and the numbered
//! units; bytes in flight are those of packets in `sent` that are neither acknowledged nor lost.

mod acks;
mod closing;
mod control;
mod flown;
mod frames;
mod key_update;
mod lanes;
mod limits;
mod migration;
mod pair;
mod parts;
mod plain;
#[cfg(feature = "planted-faults")]
mod planted_calls;
mod probe;
mod quotas;
mod receive;
mod records_in;
mod submit;
mod timers;
mod transmit;
mod trust;
mod write_unit;

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::crypto::Protector;
use crate::time::Timestamp;
use crate::transport::ack_tracker::{AckPolicy, AckTracker};
use crate::transport::buffer::Buffer;
use crate::transport::calls::{CallTable, OpenCalls};
use crate::transport::channel::{ChannelsIn, ChannelsOut};
use crate::transport::config::{Config, Profile};
use crate::transport::congestion::delivery_rate::DeliveryRate;
use crate::transport::congestion::{Congestion, CongestionConfig, CongestionKind, Controller};
use crate::transport::connecting::Connecting;
use crate::transport::credit::{CreditIn, CreditOut};
use crate::transport::ecn::EcnPath;
use crate::transport::large_out::LargeQueue;
use crate::transport::pacer::Pacer;
use crate::transport::parts_in::PartsIn;
use crate::transport::parts_out::PartsOut;
use crate::transport::path_mtu::PathMtu;
use crate::transport::quota::Allowance;
use crate::transport::reassembly::Reassemblies;
use crate::transport::received::Received;
use crate::transport::reordering::Reordering;
use crate::transport::resume::Resume;
use crate::transport::rtt::Rtt;
use crate::transport::send_queue::SendQueue;
use crate::transport::sent::SentPackets;
use crate::transport::shared::Shared;
use crate::transport::sink::{PathIndex, Way};
use crate::transport::unit_window::UnitWindow;
use crate::transport::units_out::UnitsOut;
use crate::transport::{CloseReason, SessionKey};
use crate::wire::{Bounds, SessionId};

#[cfg(test)]
pub(crate) use plain::BY_STEPS;

pub(crate) use closing::{ClosePacket, Farewell, Phase};
use control::Control;
use flown::Flown;
use key_update::{KeyUse, Skips};
use lanes::Lanes;
pub(crate) use lanes::{LaneOf, LaneRoot};
use migration::Migration;
pub(crate) use migration::PATHS_HELD_MAX;
use quotas::Ledger;
pub(crate) use submit::Payload;
use timers::Timers;
pub(crate) use trust::Trust;

/// One session's state. Hot fields first.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) phase: Phase,
    pub(crate) path: PathIndex,
    remote: SessionId,
    protector: Protector,
    key_use: KeyUse,
    skips: Option<Skips>,
    control: Control,
    sent: SentPackets,
    units: UnitsOut,
    queue: SendQueue,
    calls: CallTable,
    open_calls: OpenCalls,
    received: Received,
    acks: AckTracker,
    marks: Marks,
    ecn: EcnPath,
    window: UnitWindow,
    rtt: Rtt,
    congestion: Congestion,
    resume: Resume,
    /// For a controller that wants samples.
    rate: Option<Box<DeliveryRate>>,
    loss: LossState,
    credit_out: CreditOut,
    credit_in: CreditIn,
    timers: Timers,
    mtu: PathMtu,
    pacer: Pacer,
    large: LargeQueue,
    datagrams: VecDeque<Vec<u8>>,
    channels_in: ChannelsIn<Buffer>,
    channels_out: ChannelsOut,
    reassemblies: Reassemblies,
    path_change: PathChange,
    next_ordinal: u64,
    turns: Turns,
    tuning: Tuning,
    pub(crate) key: SessionKey,
    pub(crate) local: SessionId,
    pub(crate) peer_boot: u64,
    peer: Bounds,
    trust: Trust,
    ledger: Ledger,
    lanes: Lanes,
    pub(crate) listed: Listed,
    /// True when the peer asked for the session.
    pub(crate) accepted: bool,
    /// The ACCEPT body, for a client that did not get it or asks again.
    pub(crate) accept: Box<[u8]>,
    /// The handshake this side opened the session by: it asks again when the peer may have restarted.
    pub(crate) origin: Option<Box<Connecting>>,
    packet_size_max: usize,
    farewell: Farewell,
}

/// Which of the engine's lists hold a session.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Those that may have something to send.
    pub(crate) ready: bool,
    /// Those that a packet came for.
    pub(crate) heard: bool,
}

/// Loss detection's memory (RFC 9002 §6).
#[derive(Debug, Default)]
pub(crate) struct LossState {
    /// A packet that left last, until it is noted.
    flown: Option<Flown>,
    largest_acked: Option<u64>,
    time: Option<Timestamp>,
    pto_count: u32,
    probes_due: u8,
    /// What others' round trips say of how long to wait; 0 once this session has measured one.
    others_pto_ns: u64,
    reordering: Reordering,
    /// Packets below this number left on an earlier path: what becomes of them is no news of this one.
    path_began: u64,
    /// A round ends when this packet number is acknowledged.
    round_end: u64,
    /// Sent before this moment means: belongs to a loss episode that was already answered.
    recovery_start: Timestamp,
}

/// What is there only because the path is no longer what it was: nothing, as a rule.
#[derive(Debug, Default)]
struct PathChange {
    /// Units that it no longer carries whole, and the peer's.
    parts_out: Option<Box<PartsOut>>,
    parts_in: Option<Box<PartsIn>>,
    /// The peer was heard from elsewhere, or asks whether this end receives.
    migration: Option<Box<Migration>>,
    /// While a packet is handled that came by another path than the session's: that path.
    elsewhere: Option<PathIndex>,
    /// The peer's host, as far as it was proven: for the end that follows it.
    peer_host: Option<IpAddr>,
}

/// What the next ack says of the marks that packets came with (P-3.9).
#[derive(Debug, Default)]
struct Marks {
    /// Packets that came with CE, modulo 256.
    ce: u8,
    /// One came without a mark since the last ack.
    bleached: bool,
}

/// Bytes of small and large units sent in this busy period: whoever sent less goes next.
#[derive(Debug, Default)]
struct Turns {
    small: u64,
    large: u64,
}

/// The constants of the session's profile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    is_dc: bool,
    /// The profile follows the round trip.
    follows_rtt: bool,
    congestion: CongestionKind,
    pto_floor_ns: u64,
    granularity_ns: u64,
    peer_ack_delay_ns: u64,
    own_ack_delay_ns: u64,
    idle_timeout_ns: u64,
    keep_alive_ns: u64,
    drain_timeout_ns: u64,
}

/// P-13.2: the data-centre probe floor.
const PTO_FLOOR_DC_NS: u64 = 75_000;
/// The timer wheel's grain in data centres.
const GRANULARITY_DC_NS: u64 = 16_000;
/// RFC 9002 §6.1.2: kGranularity.
const GRANULARITY_WAN_NS: u64 = 1_000_000;
/// Below this smallest RTT a session is in a data centre.
const DC_RTT_NS_MAX: u64 = 1_000_000;

/// What opening a session takes.
pub(crate) struct Opening<'a> {
    pub(crate) config: &'a Config,
    pub(crate) key: SessionKey,
    pub(crate) local: SessionId,
    pub(crate) remote: SessionId,
    pub(crate) path: PathIndex,
    /// The largest packet the route carries.
    pub(crate) route_size_max: usize,
    pub(crate) peer: Bounds,
    /// What this end told the peer.
    pub(crate) own: Bounds,
    pub(crate) allowance: Allowance,
    pub(crate) peer_boot: u64,
    pub(crate) handshake_rtt_ns: u64,
    pub(crate) now: Timestamp,
    pub(crate) accepted: bool,
}

impl Session {
    pub(crate) fn open(
        opening: &Opening<'_>,
        protector: Protector,
        mut trust: Trust,
        shared: &mut Shared,
    ) -> Self {
        let Opening { config, now, peer, .. } = *opening;
        let Start { tuning, mtu, congestion, rate } = Start::of(opening, &protector);
        Self {
            phase: Phase::Open,
            path: opening.path,
            remote: opening.remote,
            key_use: KeyUse::new(config, now),
            skips: protector.is_secure().then(|| Skips::new(&trust.skip_secret)),
            protector,
            control: Control::default(),
            sent: SentPackets::default(),
            units: UnitsOut::default(),
            queue: SendQueue::default(),
            calls: CallTable::new(peer.call_slots),
            open_calls: OpenCalls::new(opening.own.call_slots),
            received: Received::new(),
            acks: tuning.acks(opening.handshake_rtt_ns),
            marks: Marks::default(),
            ecn: EcnPath::new(),
            window: UnitWindow::new(config.unit_window),
            rtt: Rtt::new(opening.handshake_rtt_ns),
            resume: Resume::new(congestion.window(), now),
            pacer: Pacer::new(),
            congestion,
            rate,
            loss: LossState::default(),
            credit_out: CreditOut::new(peer.credit),
            credit_in: CreditIn::new(shared.initial_credit()),
            timers: Timers::new(now),
            mtu,
            large: LargeQueue::default(),
            datagrams: VecDeque::new(),
            channels_in: ChannelsIn::new(),
            channels_out: ChannelsOut::new(),
            reassemblies: Reassemblies::new(opening.own.message_size_max),
            path_change: PathChange::default(),
            next_ordinal: 0,
            turns: Turns::default(),
            tuning,
            key: opening.key,
            local: opening.local,
            peer_boot: opening.peer_boot,
            peer,
            ledger: Ledger::open(opening, &trust, shared),
            lanes: Lanes::new(trust.root.take(), opening.own),
            trust,
            listed: Listed::default(),
            accepted: opening.accepted,
            accept: Box::default(),
            origin: None,
            packet_size_max: opening.packet_size_max(),
            farewell: Farewell::default(),
        }
    }

    /// The route turned out to carry `size` bytes: worth a probe.
    pub(crate) fn set_route_size(&mut self, size: usize) {
        self.mtu.raise(size.min(self.packet_size_max));
    }

    /// What the engine finds an accepted session by when its INIT is repeated.
    pub(crate) fn origin_key(&self) -> (PathIndex, u64, u64) {
        (self.path, self.remote.0, self.peer_boot)
    }

    /// True when `id` is what this session's peer calls it.
    pub(crate) fn is_remote(&self, id: SessionId) -> bool {
        self.remote == id
    }

    /// The peer's worker that owns the session's other end.
    pub(crate) fn remote_worker(&self) -> u8 {
        self.remote.0 as u8
    }

    /// Where its packets go.
    #[inline]
    fn way(&self) -> Way {
        Way { path: self.path, worker: self.remote_worker() }
    }

    /// The application keeps `size` delivered bytes.
    pub(crate) fn hold(&mut self, size: u64) {
        self.credit_in.hold(size);
    }

    /// The application is done with `size` bytes it kept.
    pub(crate) fn release(&mut self, size: u64) {
        self.credit_in.release(size);
        self.control.credit |= self.credit_in.update_due().is_some();
    }

    /// Bytes and units accepted and not acknowledged.
    pub(crate) fn unacknowledged(&self) -> u64 {
        let units = self.units.next() - self.units.floor();
        units + self.queue.queued_size() as u64 + self.large.uncut_size()
    }

    /// The largest message the peer takes.
    pub(crate) fn message_size_max(&self) -> u64 {
        self.peer.message_size_max
    }

    /// The packet size in use now, in bytes.
    pub(crate) fn packet_size(&self) -> usize {
        self.mtu.size()
    }

    /// The profile follows the smallest round trip, unless it was set: the first may be of an ACCEPT said twice.
    #[inline]
    fn follow_rtt(&mut self) {
        let is_dc = self.rtt.min_ns() < DC_RTT_NS_MAX;
        if self.tuning.follows_rtt && is_dc != self.tuning.is_dc {
            self.tuning.set_dc(is_dc);
            self.acks.set_policy(self.tuning.ack_policy());
            self.follow_profile();
        }
    }

    /// P-10.6: with `auto` the controller follows the profile. What the other one learned is of no use.
    #[cold]
    fn follow_profile(&mut self) {
        if self.tuning.congestion == CongestionKind::Auto {
            let kind = self.tuning.congestion.resolve(self.tuning.is_dc);
            self.congestion = Congestion::new(kind, CongestionConfig::new(self.mtu.size() as u64));
            self.rate = sampler(kind);
        }
    }

    /// The round-trip estimate.
    pub(crate) fn rtt(&self) -> &Rtt {
        &self.rtt
    }

    /// Bytes that may be in flight.
    pub(crate) fn congestion_window(&self) -> u64 {
        self.congestion.window()
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// The peer broke the protocol: tell it, and end.
    #[cold]
    fn violation(&mut self, now: Timestamp, what: &'static str, shared: &mut Shared) {
        shared.counters.violations += 1;
        self.fail(now, CloseReason::Violation(what), shared);
    }

    /// Bytes that the worker set aside for this session's large messages.
    pub(crate) fn reserved(&self) -> u64 {
        self.reassemblies.reserved_size() + self.parts_kept()
    }

    /// Walks the invariants: for tests and the simulator.
    pub(crate) fn check(&self) {
        assert!(self.units.next() - self.units.floor() <= u64::from(self.peer.unit_window));
        assert!(self.sent.packets_in_flight() > 0 || self.sent.bytes_in_flight() == 0);
        assert!(self.window.floor() <= self.window.floor() + self.window.held());
    }
}

/// What a session begins with on its path.
struct Start {
    tuning: Tuning,
    mtu: PathMtu,
    congestion: Congestion,
    rate: Option<Box<DeliveryRate>>,
}

impl Start {
    fn of(opening: &Opening<'_>, protector: &Protector) -> Self {
        let tuning = Tuning::new(opening.config, &opening.peer, opening.handshake_rtt_ns);
        let mtu = Session::unproven_path(protector, opening.route_size_max.min(opening.packet_size_max()));
        let kind = tuning.congestion.resolve(tuning.is_dc);
        // What the path carries now, not what it may turn out to: windows are counted in packets.
        let congestion = Congestion::new(kind, CongestionConfig::new(mtu.size() as u64));
        Self { tuning, mtu, congestion, rate: sampler(kind) }
    }
}

impl Opening<'_> {
    /// The largest packet that both ends take.
    fn packet_size_max(&self) -> usize {
        self.config.packet_size_max.min(self.peer.packet_size_max as usize)
    }
}

fn sampler(kind: CongestionKind) -> Option<Box<DeliveryRate>> {
    kind.samples().then(Box::default)
}

impl Tuning {
    fn new(config: &Config, peer: &Bounds, handshake_rtt_ns: u64) -> Self {
        let is_dc = match config.profile {
            Profile::Dc => true,
            Profile::Wan => false,
            Profile::Auto => handshake_rtt_ns < DC_RTT_NS_MAX,
        };
        let own_idle_ms = config.idle_timeout.as_millis() as u64;
        let idle_ms = match u64::from(peer.idle_timeout_ms) {
            0 => own_idle_ms,
            peer_ms => own_idle_ms.min(peer_ms),
        };
        let mut tuning = Self {
            is_dc,
            follows_rtt: config.profile == Profile::Auto,
            congestion: config.congestion,
            pto_floor_ns: 0,
            granularity_ns: 0,
            // L32, RFC 9000 §18.2: "the maximum amount of time in milliseconds by which the endpoint will delay
            // sending acknowledgments"; told once, never asked to change (P-13.10).
            peer_ack_delay_ns: u64::from(peer.max_ack_delay_ns),
            own_ack_delay_ns: config.max_ack_delay.as_nanos() as u64,
            idle_timeout_ns: idle_ms * 1_000_000,
            keep_alive_ns: config.keep_alive.as_nanos() as u64,
            drain_timeout_ns: config.drain_timeout.as_nanos() as u64,
        };
        tuning.set_dc(is_dc);
        tuning
    }

    fn set_dc(&mut self, is_dc: bool) {
        self.is_dc = is_dc;
        self.pto_floor_ns = if is_dc { PTO_FLOOR_DC_NS } else { 0 };
        self.granularity_ns = if is_dc { GRANULARITY_DC_NS } else { GRANULARITY_WAN_NS };
    }

    fn acks(&self, rtt_ns: u64) -> AckTracker {
        let mut acks = AckTracker::new(self.ack_policy());
        acks.on_rtt(rtt_ns);
        acks
    }

    fn ack_policy(&self) -> AckPolicy {
        let base = if self.is_dc { AckPolicy::DC } else { AckPolicy::WAN };
        AckPolicy { max_ack_delay_ns: self.own_ack_delay_ns, ..base }
    }
}
