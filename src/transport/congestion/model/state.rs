//! The phases and what moves on to the next (draft §5.3).

use super::super::AckInfo;
use super::super::delivery_rate::RateSample;
use super::filters::FullPipe;
use super::{Model, STARTUP_GAIN_PERCENT};
use crate::time::Timestamp;

/// What the controller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Doubling until the path is full.
    Startup,
    /// The queue that startup built goes.
    Drain,
    /// A little below the rate, until what probing queued has gone.
    Down,
    /// At the rate.
    Cruise,
    /// One round at the rate without short-term bounds: the path is full before it is probed.
    Refill,
    /// A quarter above the rate.
    Up,
    /// Half a flight, until the path showed its length.
    ProbeRtt {
        /// When it ends; unknown until the flight has shrunk.
        done_at: Option<Timestamp>,
    },
}

impl Phase {
    /// Percent of the rate (draft §5.1: table of gains).
    pub(super) fn pacing_gain(self) -> u64 {
        match self {
            Phase::Startup => STARTUP_GAIN_PERCENT,
            Phase::Drain => 50,
            Phase::Down => 90,
            Phase::Cruise | Phase::Refill | Phase::ProbeRtt { .. } => 100,
            Phase::Up => 125,
        }
    }

    /// Percent of the flight wanted.
    pub(super) fn window_gain(self) -> u64 {
        match self {
            Phase::Up => 225,
            Phase::ProbeRtt { .. } => 50,
            _ => 200,
        }
    }

    /// Whether losses of this phase say what the path takes, and not what it takes just now.
    pub(super) fn is_probing_rate(self) -> bool {
        matches!(self, Phase::Startup | Phase::Refill | Phase::Up)
    }
}

/// Where a probing cycle stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probing {
    /// When the phase began.
    since: Timestamp,
    /// When the last cycle began to cruise or go down, and how long until the next probing.
    waits_from: Timestamp,
    wait_ns: u64,
    /// Rounds since then.
    pub(super) rounds: u64,
    /// Losses are weighed against the flight they left in.
    pub(super) samples: bool,
    /// Rounds of going up, and bytes acknowledged since the bound was last raised.
    up_rounds: u32,
    up_acked: u64,
    /// Whether going up still brings more.
    pub(super) pipe: FullPipe,
    /// Delivered in all when the phase began: a round later it has reached what was sent in it.
    phase_delivered: u64,
}

impl Model {
    /// Moves on when what a phase waits for has come.
    pub(super) fn advance(&mut self, info: &AckInfo<'_>, sample: &RateSample) {
        let now = info.now;
        match self.phase {
            Phase::Startup if self.full_pipe.is_full() => self.enter(Phase::Drain, now, sample),
            Phase::Drain if info.bytes_in_flight <= self.flight_wanted() => self.start_down(now),
            Phase::Down => {
                if self.is_time_to_probe(now) {
                    self.start_refill(now, sample);
                } else if info.bytes_in_flight <= self.flight_to_cruise() {
                    self.enter(Phase::Cruise, now, sample);
                }
            }
            Phase::Cruise if self.is_time_to_probe(now) => self.start_refill(now, sample),
            Phase::Refill if sample.prior_delivered >= self.probing.phase_delivered => {
                self.probing.samples = true;
                self.probing.pipe.restart(self.max_rate.value());
                (self.probing.up_rounds, self.probing.up_acked) = (0, 0);
                self.enter(Phase::Up, now, sample);
            }
            Phase::Up => self.go_up(info, sample),
            Phase::ProbeRtt { done_at } => self.probe_rtt(now, done_at, sample),
            _ => {}
        }
        if self.min_rtt.is_due() && !matches!(self.phase, Phase::ProbeRtt { .. } | Phase::Startup) {
            self.window_saved = self.window;
            self.probing.samples = false;
            self.enter(Phase::ProbeRtt { done_at: None }, now, sample);
        }
    }

    fn enter(&mut self, phase: Phase, now: Timestamp, sample: &RateSample) {
        self.phase = phase;
        self.probing.since = now;
        self.probing.phase_delivered = sample.total_delivered;
    }

    /// Draft §5.3.3.5: what going up learned is a cycle's worth.
    pub(super) fn start_down(&mut self, now: Timestamp) {
        if self.phase != Phase::Drain {
            self.max_rate.end_cycle();
        }
        self.phase = Phase::Down;
        self.probing.samples = false;
        self.probing.since = now;
        self.probing.waits_from = now;
        self.probing.rounds = 0;
        // Draft §5.3.3.5.1: two to three seconds, by chance: the time itself is chance enough, and flows
        // that began together drift apart.
        self.probing.wait_ns = WAIT_NS_MIN + now.0.wrapping_mul(MIX) % WAIT_NS_SPREAD;
    }

    /// Draft §5.3.3.5.1: after seconds, or as many rounds as Reno would take to win back a loss, so that
    /// flows that are governed by losses keep their share.
    fn is_time_to_probe(&self, now: Timestamp) -> bool {
        let waited = now.since_ns(self.probing.waits_from) > self.probing.wait_ns;
        let reno =
            (self.flight_wanted().min(self.window) / self.config.packet_size.max(1)).min(RENO_ROUNDS_MAX);
        waited || self.probing.rounds >= reno.max(1)
    }

    fn flight_to_cruise(&self) -> u64 {
        let long = self.bounds.flight_long();
        let bound = if long == u64::MAX { u64::MAX } else { self.bounds.with_headroom(long) };
        self.flight_wanted().min(bound).max(self.window_min())
    }

    fn start_refill(&mut self, now: Timestamp, sample: &RateSample) {
        self.bounds.forget_short();
        self.enter(Phase::Refill, now, sample);
    }

    fn go_up(&mut self, info: &AckInfo<'_>, sample: &RateSample) {
        if self.probing.samples && self.too_many(sample.lost, sample.flight_at_send) {
            self.on_flight_too_large(info.now, sample.flight_at_send, sample.app_limited);
            return;
        }
        self.raise_bound(info);
        // Draft §5.3.3.4: until the rate no longer grows, unless the bound is what holds it.
        if !info.app_limited && self.window >= self.bounds.flight_long() {
            self.probing.pipe.restart(sample.rate);
        } else if self.probing.pipe.is_full() {
            self.start_down(info.now);
        }
    }

    /// Draft §5.3.3.4: while the bound is what holds the flight, it grows, each round twice as fast.
    fn raise_bound(&mut self, info: &AckInfo<'_>) {
        let long = self.bounds.flight_long();
        if info.round_end {
            self.probing.up_rounds = (self.probing.up_rounds + 1).min(UP_ROUNDS_MAX);
        }
        if long == u64::MAX || info.app_limited || self.window < long {
            return;
        }
        self.probing.up_acked += info.bytes_acked;
        let packet = self.config.packet_size.max(1);
        let every = (self.window >> self.probing.up_rounds).max(packet);
        let more = self.probing.up_acked / every;
        self.probing.up_acked -= more * every;
        self.bounds.raise_flight_long(more * packet);
    }

    /// Draft §5.3.4.3.
    fn probe_rtt(&mut self, now: Timestamp, done_at: Option<Timestamp>, sample: &RateSample) {
        let half = (self.flight_wanted() / 2).max(self.window_min());
        match done_at {
            None if self.bytes_in_flight <= half => {
                self.phase = Phase::ProbeRtt { done_at: Some(now.after_ns(PROBE_RTT_NS)) };
                self.probing.phase_delivered = sample.total_delivered;
            }
            Some(done) if now >= done && sample.prior_delivered >= self.probing.phase_delivered => {
                self.min_rtt.on_probed(now);
                self.window = self.window.max(self.window_saved);
                self.bounds.forget_short();
                if self.full_pipe.is_full() {
                    self.start_down(now);
                    self.enter(Phase::Cruise, now, sample);
                } else {
                    self.phase = Phase::Startup;
                }
            }
            _ => {}
        }
    }
}

/// Draft §5.3.4.2, L43: BBR.ProbeRTTDuration.
const PROBE_RTT_NS: u64 = 200_000_000;
const WAIT_NS_MIN: u64 = 2_000_000_000;
const WAIT_NS_SPREAD: u64 = 1_000_000_000;
/// An odd number whose product with a time has well-mixed remainders.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
/// Draft §5.3.3.5.1: beyond 62 rounds Reno could not hold the path anyway.
const RENO_ROUNDS_MAX: u64 = 62;
const UP_ROUNDS_MAX: u32 = 30;
