//! When a session wants to be woken, and what it does then.

use std::collections::VecDeque;

use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::due::{Due, ProbeDue};
use crate::transport::path_rtt::wait_ns;
use crate::transport::planted::{self, Fault};
use crate::transport::session::{GRANULARITY_DC_NS, Phase, Session, Tuning};
use crate::transport::shared::Shared;
use crate::transport::{CloseReason, Event, Fate};

/// Moments and facts about time.
#[derive(Debug)]
pub(crate) struct Timers {
    pub(super) last_heard: Timestamp,
    pub(super) last_sent: Timestamp,
    /// When something was last acknowledged, or, later, first sent with nothing in flight.
    pub(super) answered_at: Timestamp,
    pub(super) pacing: Option<Timestamp>,
    pub(super) blocked_probe: Option<Timestamp>,
    pub(super) blocked_probe_count: u32,
    pub(super) peer_socket_drops: Option<u64>,
    pub(super) peer_corrupt: u64,
    pub(super) dormant: bool,
    /// Since when the peer may be a new incarnation.
    pub(super) suspected: Option<Timestamp>,
    /// When the ACCEPT left whose answer tells the round trip.
    pub(super) measured_from: Option<Timestamp>,
    /// Nothing was heard yet from an address that has not shown that it receives.
    pub(super) unproven: bool,
    stats_drops: u64,
}

impl Timers {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            last_heard: now,
            last_sent: now,
            answered_at: now,
            pacing: None,
            blocked_probe: None,
            blocked_probe_count: 0,
            peer_socket_drops: None,
            peer_corrupt: 0,
            dormant: false,
            suspected: None,
            measured_from: None,
            unproven: false,
            stats_drops: 0,
        }
    }
}

/// Of a round trip, what the grain is at most, above a data centre's.
const GRANULARITY_PARTS: u64 = 4;
/// Probe timeouts double at most this often: 75 µs becomes 77 ms.
const PTO_BACKOFF_MAX: u32 = 10;
/// A data centre's outages are milliseconds long, a queue that many filled at once among them: doubled to nearly
/// this…
const PTO_HELD_NS: u64 = 4_500_000;
/// …the timeout stays so for as many expiries, and doubles on after them (P-13.23).
const PTO_HELD_COUNT: u32 = 12;
/// Backed off as far as may be, a probe still leaves this often within the idle timeout.
const PROBES_BEFORE_IDLE: u64 = 32;
/// A session quiet this long, and three probe timeouts, gives its active block back.
const DORMANT_AFTER_NS: u64 = 100_000_000;
/// How long a peer whose incarnation is in doubt has to prove it is there.
const SUSPECT_WAIT_NS: u64 = 500_000_000;
/// Probe timeouts in a row after which this side asks which incarnation is there.
const SUSPECT_AFTER_PROBES: u32 = 6;
/// How often a blocked sender with nothing in flight asks again, doubling.
const BLOCKED_PROBE_NS: u64 = 1_000_000;

/// STATS that tell of damage are this far apart at least.
const TELL_INTERVAL_NS: u64 = 10_000_000;

/// Up to half of `wait_ns`, by chances that a session's name and next packet number are: a hundred senders
/// whose flights met in one queue have the same timers, and their probes would meet in it again and again
/// (Floyd and Jacobson 1994).
fn spread(session: u64, number: u64, wait_ns: u64) -> u64 {
    let mixed = (session ^ number.wrapping_mul(MIX)).wrapping_mul(MIX) >> 48;
    ((u128::from(wait_ns) * u128::from(mixed)) >> 17) as u64
}

/// Probes that find a queue full this often in a row do so because others come at the same moment.
const SPREAD_FROM: u32 = 4;
/// An odd number without a pattern in its bits: 2^64 over the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Session {
    pub(super) fn pto_ns(&self) -> u64 {
        let Tuning { peer_ack_delay_ns, pto_floor_ns, .. } = self.tuning;
        self.rtt.pto_ns(peer_ack_delay_ns, pto_floor_ns, self.granularity_ns())
    }

    /// The profile's grain; a quarter of the round trip where that is less, since our timers are finer than the
    /// millisecond that RFC 9002 allows a system for (P-13.14).
    pub(super) fn granularity_ns(&self) -> u64 {
        let quarter_ns = self.rtt.smoothed_ns() / GRANULARITY_PARTS;
        quarter_ns.max(GRANULARITY_DC_NS).min(self.tuning.granularity_ns)
    }

    /// L09, RFC 9002 §6.2.1: "A sender SHOULD restart its PTO timer every time an ack-eliciting packet is sent or
    /// acknowledged": it runs from the newest such packet, and not while the time-threshold loss timer does.
    /// L08, RFC 9002 §6.2.1: "When a PTO timer expires, the PTO backoff MUST be increased".
    fn probe_at(&self) -> Option<Timestamp> {
        if self.sent.packets_in_flight() == 0 || self.loss.time.is_some() {
            return None;
        }
        if planted::is(Fault::ProbeTimerNeverArmed) {
            return None;
        }
        Some(self.sent.last_eliciting_at().after_ns(self.backed_off_ns()))
    }

    /// The probe timeout, doubled for each expiry in a row. Not beyond a part of the idle timeout, unless it
    /// is longer to begin with (P-13.20): after an outage that the session outlives, it must be asked before it
    /// dies of what is left of its time.
    fn backed_off_ns(&self) -> u64 {
        let pto_ns = self.pto_ns().max(self.loss.others_pto_ns);
        let most_ns = pto_ns.max(self.tuning.idle_timeout_ns / PROBES_BEFORE_IDLE);
        let doublings = self.doublings(pto_ns).min(PTO_BACKOFF_MAX);
        let wait_ns = (pto_ns << doublings).min(most_ns);
        let spreads = self.loss.pto_count >= SPREAD_FROM && self.tuning.is_dc;
        wait_ns + if spreads { spread(self.local.0, self.sent.next(), wait_ns) } else { 0 }
    }

    /// One for each expiry in a row, less those at which the timeout is held (P-13.23).
    fn doublings(&self, pto_ns: u64) -> u32 {
        let count = self.loss.pto_count;
        let held = (PTO_HELD_NS / pto_ns.max(1)).max(1).ilog2();
        if !self.tuning.is_dc || count <= held {
            return count;
        }
        held + (count - held).saturating_sub(PTO_HELD_COUNT)
    }

    /// How long this session may wait before it probes, silence having doubled it so often.
    pub(crate) fn probe_timeout_ns(&self) -> u64 {
        let probe_ns = self.backed_off_ns();
        let asks_again = self.timers.blocked_probe.is_some();
        let blocked_ns = BLOCKED_PROBE_NS << self.timers.blocked_probe_count.min(PTO_BACKOFF_MAX);
        if asks_again { probe_ns.max(blocked_ns) } else { probe_ns }
    }

    /// The peer has never been heard from on this session, and its address is its word alone. It may have given
    /// the session up before it came about. Nothing is sent there, and no probe finds that out (RFC 9000 §8.1).
    pub(crate) fn is_half_open(&self) -> bool {
        self.timers.unproven
    }

    #[inline]
    fn idle_at(&self) -> Timestamp {
        let idle = self.timers.last_heard.after_ns(self.tuning.idle_timeout_ns);
        match self.timers.suspected {
            // Nobody to ask: only something heard since clears the suspicion.
            Some(since) if self.origin.is_none() && self.timers.last_heard <= since => {
                idle.min(since.after_ns(SUSPECT_WAIT_NS))
            }
            _ => idle,
        }
    }

    /// Something ack-eliciting leaves: with nothing in flight the wait for an ack begins.
    pub(super) fn note_flight(&mut self, now: Timestamp) {
        if self.sent.packets_in_flight() == 0 {
            self.timers.answered_at = now;
        }
    }

    /// When a path that carries nothing any more is given up, whatever is still heard from the other end.
    ///
    /// L48, RFC 8085 §3.1.10: "a circuit breaker terminates (or significantly reduces the rate of) the flow(s)": all
    /// sending stops, and the application hears of it.
    #[inline]
    fn path_dead_at(&self) -> Option<Timestamp> {
        let waits = self.sent.packets_in_flight() > 0;
        // RFC 9000 §10.1: "at least three times the current Probe Timeout (PTO)".
        let patience_ns = self.tuning.idle_timeout_ns.max(3 * self.pto_ns());
        waits.then(|| self.timers.answered_at.after_ns(patience_ns))
    }

    fn origin_at(&self) -> Option<Timestamp> {
        self.timers.suspected?;
        self.origin.as_ref().map(|origin| origin.next_timeout())
    }

    #[inline]
    fn keep_alive_at(&self) -> Option<Timestamp> {
        // To an address that is its owner's word alone nothing leaves, and what cannot leave is not due.
        let may_leave = !self.timers.unproven || planted::is(Fault::KeepAliveDueUnproven);
        let waits = (self.calls.waiting() > 0 || self.open_calls.open() > 0) && may_leave;
        let wanted = waits && self.tuning.keep_alive_ns > 0 && self.sent.packets_in_flight() == 0;
        wanted.then(|| self.timers.last_sent.max(self.timers.last_heard).after_ns(self.tuning.keep_alive_ns))
    }

    #[inline]
    fn dormant_at(&self) -> Option<Timestamp> {
        let quiet = !self.timers.dormant && self.is_quiet();
        // What is under way for longer than three probe timeouts was said again.
        let after_ns = DORMANT_AFTER_NS.max(3 * self.pto_ns());
        quiet.then(|| self.timers.last_heard.max(self.timers.last_sent).after_ns(after_ns))
    }

    /// Something is under way again.
    pub(super) fn wake(&mut self, shared: &mut Shared) {
        if rarely(std::mem::take(&mut self.timers.dormant)) {
            shared.active_sessions += 1;
        }
    }

    #[inline]
    fn is_quiet(&self) -> bool {
        self.units.is_empty()
            && self.queue.is_empty()
            && self.large.is_all_cut()
            && self.sent.packets_in_flight() == 0
            && self.reassemblies.is_empty()
            && !self.has_parts()
            && !self.acks.wanted()
    }

    /// When [`Session::on_timeout`] has something to do next.
    #[inline(never)]
    pub(crate) fn due(&self) -> Option<Due> {
        let phase = match self.phase {
            Phase::Closed => return None,
            Phase::Flushing { until, .. } => Some(until),
            Phase::Open => None,
        };
        // A chain of minima, not a collection: asked for after every turn that did something.
        let earliest = |a: Timestamp, b: Option<Timestamp>| b.map_or(a, |b| a.min(b));
        let mut at = self.calls.earliest_deadline().min(self.idle_at());
        at = earliest(at, phase);
        at = earliest(at, self.path_dead_at());
        at = earliest(at, self.loss.time);
        at = earliest(at, self.acks.deadline());
        at = earliest(at, self.timers.pacing);
        at = earliest(at, self.timers.blocked_probe);
        at = earliest(at, self.keep_alive_at());
        at = earliest(at, self.dormant_at());
        at = earliest(at, self.watch_at());
        at = earliest(at, self.lanes.repeat_at());
        at = earliest(at, self.migration_at());
        at = earliest(at, self.origin_at());
        let probe = self.probe_at().map(|at| ProbeDue {
            at,
            path: self.path,
            since: self.sent.last_eliciting_at(),
            most_ns: self.others_wait_max_ns(),
        });
        Some(Due { at, probe })
    }

    /// Does what is due at `now`. Idempotent: nothing is due twice.
    pub(crate) fn on_timeout(&mut self, now: Timestamp, shared: &mut Shared) {
        if self.is_closed() {
            return;
        }
        if self.idle_at() <= now {
            shared.counters.peer_timeouts += 1;
            self.fail(now, CloseReason::TimedOut, shared);
            return;
        }
        if self.path_dead_at().is_some_and(|at| at <= now) && !shared.receive_full {
            shared.counters.paths_dead += 1;
            self.fail(now, CloseReason::PathDead, shared);
            return;
        }
        self.expire_calls(now, shared);
        if !shared.receive_full {
            self.on_recovery_timers(now, shared);
        }
        if self.timers.pacing.is_some_and(|at| at <= now) {
            self.timers.pacing = None;
        }
        if self.keep_alive_at().is_some_and(|at| at <= now) {
            self.control.ping = true;
        }
        self.on_blocked_probe(now);
        if self.dormant_at().is_some_and(|at| at <= now) {
            self.go_dormant(shared);
        }
        self.on_watch_timer(now, shared);
        self.on_lane_timer(now);
        self.on_migration_timer(now, shared);
        self.on_flush_timer(now, shared);
    }

    fn on_recovery_timers(&mut self, now: Timestamp, shared: &mut Shared) {
        if self.loss.time.is_some_and(|at| at <= now) {
            self.detect_losses(now, shared);
        } else if self.probe_at().is_some_and(|at| at <= now) && !self.waits_as_others_do(now, shared) {
            // L10, RFC 9002 §6.2: "A PTO timer expiration event does not indicate packet loss": one probe, then two.
            shared.counters.probes += 1;
            self.loss.pto_count += 1;
            self.ecn.on_probe_timeout(self.loss.pto_count);
            let is_large = self.probes_large();
            if is_large {
                self.mtu.on_probe_timer();
            }
            self.loss.probes_due = if self.probes_twice() || is_large { 2 } else { 1 };
            self.control.ask = true;
            if self.loss.pto_count >= SUSPECT_AFTER_PROBES && self.origin.is_some() {
                self.suspect(now);
            }
        }
    }

    /// The probe timer fired. True when it was too early, since others that were answered in the meantime waited for
    /// longer than this session expects: it is set anew (P-13.26).
    fn waits_as_others_do(&mut self, now: Timestamp, shared: &Shared) -> bool {
        let since = self.sent.last_eliciting_at();
        let facts = shared.paths.get(self.path);
        let Some(rtt_ns) = facts.and_then(|facts| facts.rtt.of_others(self.key.index, since)) else {
            return false;
        };
        self.loss.others_pto_ns = self.loss.others_pto_ns.max(wait_ns(rtt_ns, self.others_wait_max_ns()));
        self.probe_at().is_some_and(|at| at > now)
    }

    /// No further than the doubling goes (P-13.20): whoever is asked too late dies of its idle timeout.
    fn others_wait_max_ns(&self) -> u64 {
        self.tuning.idle_timeout_ns / PROBES_BEFORE_IDLE
    }

    /// Two packets rather than one from the second expiry on, until they come at moments of chance: by then it is
    /// likelier that a queue is full than that both were unlucky.
    pub(super) fn probes_twice(&self) -> bool {
        let crowds = self.tuning.is_dc && self.loss.pto_count > SPREAD_FROM;
        self.loss.pto_count > 1 && !crowds
    }

    fn expire_calls(&mut self, now: Timestamp, shared: &mut Shared) {
        let session = self.key;
        let Shared { events, counters, .. } = shared;
        self.calls.expire(now, |token| {
            counters.calls_timed_out += 1;
            events.push(Event::CallEnded { session, token, fate: Fate::TimedOut });
        });
    }

    /// A blocked sender with nothing in flight has no probe timer to repair a lost CREDIT.
    fn on_blocked_probe(&mut self, now: Timestamp) {
        if planted::is(Fault::LostCreditNeverProbed) {
            return;
        }
        let blocked = self.credit_out.is_blocked();
        let waits_for_grant = self.large.blocked().is_some() && self.large.peek().is_none();
        if !(blocked || waits_for_grant) || self.sent.packets_in_flight() > 0 {
            self.timers.blocked_probe = None;
            return;
        }
        match self.timers.blocked_probe {
            Some(at) if at <= now => {
                self.control.blocked = true;
                self.timers.blocked_probe_count += 1;
                self.timers.blocked_probe = None;
            }
            Some(_) => return,
            None => {}
        }
        let backoff = self.timers.blocked_probe_count.min(PTO_BACKOFF_MAX);
        self.timers.blocked_probe = Some(now.after_ns(BLOCKED_PROBE_NS << backoff));
    }

    /// After transmit: a sender that blocked without anything in flight arms its probe.
    #[inline]
    pub(crate) fn arm_blocked_probe(&mut self, now: Timestamp) {
        let blocked = self.credit_out.is_blocked() || self.large.blocked().is_some();
        if rarely(blocked && self.timers.blocked_probe.is_none()) {
            self.on_blocked_probe(now);
        }
    }

    /// A packet of this session came damaged, or was forged. The peer is told along with what is said anyway:
    /// nothing that fails its tag is answered (P-11.3).
    #[cold]
    pub(super) fn note_corrupt(&mut self, shared: &mut Shared) {
        shared.counters.corrupt += 1;
        self.control.arrivals.corrupt += 1;
        self.control.arrivals.untold = true;
    }

    /// True when a packet that leaves at `now` should tell of damage: once in ten milliseconds.
    #[inline]
    pub(super) fn tells_damage(&self, now: Timestamp) -> bool {
        self.control.arrivals.untold && now.since_ns(self.control.arrivals.told_at) >= TELL_INTERVAL_NS
    }

    /// Tells the peer when our socket dropped packets, so that it slows down: with the next packet, or `alone`.
    pub(crate) fn note_socket_drops(&mut self, drops: u64, alone: bool) {
        if drops != self.timers.stats_drops {
            self.timers.stats_drops = drops;
            self.control.stats = true;
            self.control.stats_alone |= alone;
        }
    }

    /// Nothing is under way in either direction: memory goes back, counters and numbers stay.
    fn go_dormant(&mut self, shared: &mut Shared) {
        shared.counters.idle_returns += 1;
        self.timers.dormant = true;
        shared.active_sessions -= 1;
        self.protector.rest();
        self.sent.release();
        self.rate.iter_mut().for_each(|rate| rate.release());
        self.units.release();
        self.window.release();
        self.received.release();
        self.queue.release();
        self.calls.release();
        self.open_calls.release();
        self.large.release();
        self.reassemblies.release();
        self.control.release();
        if self.datagrams.is_empty() {
            self.datagrams = VecDeque::new();
        }
        self.release_parts();
    }
}
