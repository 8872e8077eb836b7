//! A controller by measurement, for wide-area paths that lose packets without a queue (L43).
//!
//! After BBRv3 (draft-ietf-ccwg-bbr, 2026): the path's rate is the most that was delivered over two probing
//! cycles, its length the least round trip of ten seconds, and their product what should be in flight.
//!
//! ```text
//!   startup --rate stands still, or losses--> drain --queue gone--> down --> cruise --> refill --> up --+
//!      2.77                                    0.5                  0.9       1.0        1.0      1.25  |
//!                 every 5 s: probe-rtt, half a flight for 200 ms    ^----------------------------------+
//! ```
//!
//! What differs from the draft, and why it is not called BBR:
//!
//! - Outside probing, a round's losses lower the short-term bounds only from 2 % on (the draft: any loss).
//!   Below that a loss says nothing of a queue on the paths this is for.
//! - Those 2 % must be exceeded by a standard deviation, else of a hundred packets two are proof: on a link that
//!   loses one in a hundred by chance that took a quarter of the rate.
//! - There is no estimate of ack aggregation: this receiver says how long it held each ack back.
//! - A mark (ECN) counts as a round with too many losses; the draft leaves ECN open.
//!
//! It fills in what the session tells: the session never asks why.

mod bounds;
mod filters;
mod state;

use super::delivery_rate::RateSample;
use super::{AckInfo, CongestionConfig, Controller, LossInfo, initial_window};
use crate::time::Timestamp;
use crate::transport::pacer::Pace;
use crate::transport::rtt::Rtt;
use bounds::Bounds;
use filters::{FullPipe, MaxRate, MinRtt, Rounds};
use state::{Phase, Probing};

/// See the module.
#[derive(Clone, Debug)]
pub struct Model {
    config: CongestionConfig,
    phase: Phase,
    window: u64,
    /// Bytes a second; 0 before the first ack.
    pace_rate: u64,
    max_rate: MaxRate,
    min_rtt: MinRtt,
    rounds: Rounds,
    full_pipe: FullPipe,
    bounds: Bounds,
    probing: Probing,
    /// The window before probe-rtt.
    window_saved: u64,
    bytes_in_flight: u64,
}

impl Model {
    /// Starts with RFC 9002's initial window.
    #[must_use]
    pub fn new(config: CongestionConfig) -> Self {
        Self {
            config,
            phase: Phase::Startup,
            window: config.initial_window.unwrap_or_else(|| initial_window(&config)),
            pace_rate: 0,
            max_rate: MaxRate::default(),
            min_rtt: MinRtt::default(),
            rounds: Rounds::default(),
            full_pipe: FullPipe::default(),
            bounds: Bounds::default(),
            probing: Probing::default(),
            window_saved: 0,
            bytes_in_flight: 0,
        }
    }

    /// The rate to work with: the path's, within what losses allow just now.
    fn rate(&self) -> u64 {
        self.max_rate.value().min(self.bounds.rate_short())
    }

    /// Bytes that fill the path without a queue.
    fn flight_wanted(&self) -> u64 {
        flight(self.max_rate.value(), self.min_rtt.value_ns())
    }

    fn window_min(&self) -> u64 {
        WINDOW_MIN_PACKETS * self.config.packet_size
    }

    fn set_pace(&mut self, rtt: &Rtt) {
        let wanted = match self.rate() {
            // Before the first sample: the initial window in one round trip.
            0 => flight_rate(self.window, rtt.smoothed_ns()),
            rate => rate,
        };
        // Draft §5.6.2: 1 % below, so that a queue drains; in startup the pace only grows.
        let paced = scale(wanted, self.phase.pacing_gain()) / 100 * PACING_MARGIN_PERCENT;
        if self.full_pipe.is_full() || paced > self.pace_rate {
            self.pace_rate = paced.max(1);
        }
    }

    /// Draft §5.6.4: towards the flight wanted, by what was acknowledged.
    fn set_window(&mut self, bytes_acked: u64, total_delivered: u64) {
        let wanted = scale(flight(self.rate(), self.min_rtt.value_ns()), self.phase.window_gain());
        let burst = self.config.paced(self.pace_rate).burst;
        let target = wanted.saturating_add(3 * burst.min(BURST_ALLOWED_MAX)).max(self.window_min());
        let grown = self.window.saturating_add(bytes_acked);
        self.window = if self.full_pipe.is_full() {
            grown.min(target)
        } else if self.window < target || total_delivered < initial_window(&self.config) {
            grown
        } else {
            self.window
        };
        let bound = self.bounds.flight(self.phase, self.window_min());
        self.window = self.window.min(bound).min(self.config.window_max).max(self.window_min());
        if matches!(self.phase, Phase::ProbeRtt { .. }) {
            let half = (self.flight_wanted() / 2).max(self.window_min());
            self.window = self.window.min(half);
        }
    }

    /// Losses of a probing flight were too many: the flight it left in is what the path does not take.
    fn on_flight_too_large(&mut self, now: Timestamp, flight_at_send: u64, app_limited: bool) {
        self.probing.samples = false;
        if !app_limited {
            let wanted = self.flight_wanted().min(self.window);
            self.bounds.set_flight_long(flight_at_send.max(scale(wanted, BETA_PERCENT)));
        }
        if self.phase == Phase::Up {
            self.start_down(now);
        }
    }
}

impl Controller for Model {
    fn on_sent(&mut self, _now: Timestamp, _bytes: u64, bytes_in_flight: u64) {
        self.bytes_in_flight = bytes_in_flight;
    }

    fn on_ack(&mut self, info: &AckInfo<'_>) {
        let Some(sample) = info.sample else { return };
        self.bytes_in_flight = info.bytes_in_flight;
        self.learn(info, &sample);
        self.advance(info, &sample);
        self.set_pace(info.rtt);
        self.set_window(info.bytes_acked, sample.total_delivered);
    }

    fn on_loss(&mut self, info: &LossInfo) {
        self.rounds.on_lost(info.bytes_lost);
        let Some(lost) = info.lost_flight else { return };
        if self.probing.samples && self.too_many(lost.lost, lost.flight_at_send) {
            self.on_flight_too_large(info.now, lost.flight_at_send, lost.app_limited);
        }
    }

    fn on_spurious_loss(&mut self) {
        // Draft §5.5.10.4: what the losses lowered comes back.
        self.bounds.undo();
    }

    fn on_congestion_experienced(&mut self, now: Timestamp, _sent_at: Timestamp) {
        self.rounds.on_marked();
        if self.probing.samples && self.phase == Phase::Up {
            self.on_flight_too_large(now, self.flight_wanted(), false);
        }
    }

    fn on_persistent_congestion(&mut self) {
        // Draft §5.6.4.4: after a timeout one packet beside what is in flight; the model stands.
        self.window = self.window_min();
    }

    fn on_peer_drops(&mut self, _now: Timestamp, _count: u64) {
        // The drops are losses too, and are weighed as such.
    }

    fn set_packet_size(&mut self, bytes: u64) {
        self.config.packet_size = bytes;
        self.window = self.window.max(self.window_min());
    }

    fn window(&self) -> u64 {
        self.window
    }

    #[inline(never)]
    fn pace(&self, rtt: &Rtt) -> Option<Pace> {
        let startup = || scale(flight_rate(self.window, rtt.smoothed_ns()), STARTUP_GAIN_PERCENT);
        let rate = if self.pace_rate == 0 { startup() } else { self.pace_rate };
        Some(self.config.paced(rate))
    }

    fn name(&self) -> &'static str {
        "model"
    }
}

impl Model {
    /// Draft §2.7: above 2 % of a flight lost, the flight was too large. What else may lose packets beside us backs off
    /// at each loss: without this bound a CUBIC flow keeps a fifteenth of a shared link. L46, RFC 8085 (abstract): what
    /// uses UDP must have means "to establish some degree of fairness with concurrent traffic".
    ///
    /// And by a standard deviation more than chance makes of 2 %: the draft takes two packets of 90 for proof, and a
    /// path that loses one in a hundred shows them in every fourth flight.
    fn too_many(&self, lost: u64, flight: u64) -> bool {
        let packet_size = u128::from(self.config.packet_size);
        let expected = u128::from(flight) * LOSS_THRESHOLD_PERCENT / 100;
        // Of a count by chance the deviation is its root: √(expected / packet) packets.
        u128::from(lost) > expected + (expected * packet_size).isqrt()
    }

    /// Enters one ack into the filters (draft §5.5).
    fn learn(&mut self, info: &AckInfo<'_>, sample: &RateSample) {
        let ended = self.rounds.on_ack(sample, info.bytes_acked);
        self.bounds.on_sample(sample);
        if sample.rate > 0 && (!sample.app_limited || sample.rate >= self.max_rate.value()) {
            self.max_rate.insert(sample.rate);
        }
        self.min_rtt.insert(info.now, info.rtt.latest_ns());
        let Some(round) = ended else { return };
        self.full_pipe.on_round(self.max_rate.value(), sample.app_limited);
        self.probing.pipe.on_round(self.max_rate.value(), sample.app_limited);
        let lossy = round.marked || self.too_many(round.lost, round.delivered + round.lost);
        if lossy && !self.phase.is_probing_rate() {
            self.bounds.lower(self.max_rate.value(), self.window);
        }
        // Draft §5.3.1.3: losses end startup, too.
        if self.phase == Phase::Startup && lossy && round.loss_events >= STARTUP_LOSS_EVENTS {
            self.full_pipe.fill();
            self.bounds.set_flight_long(self.flight_wanted().max(self.bounds.flight_latest()));
        }
        self.bounds.end_round();
        self.probing.rounds += 1;
    }
}

fn scale(value: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// Bytes that `rate` bytes a second put into `ns`.
fn flight(rate: u64, ns: u64) -> u64 {
    u64::try_from(u128::from(rate) * u128::from(ns) / 1_000_000_000).unwrap_or(u64::MAX)
}

fn flight_rate(flight: u64, ns: u64) -> u64 {
    u64::try_from(u128::from(flight) * 1_000_000_000 / u128::from(ns.max(1))).unwrap_or(u64::MAX)
}

/// Draft §2.7, L43: BBR.LossThresh.
const LOSS_THRESHOLD_PERCENT: u128 = 2;
/// Draft §2.7, L43: BBR.Beta.
const BETA_PERCENT: u64 = 70;
/// Draft §2.4, L43: BBR.StartupPacingGain, 4·ln 2.
const STARTUP_GAIN_PERCENT: u64 = 277;
/// Draft §5.3.1.3: BBR.StartupFullLossCnt.
const STARTUP_LOSS_EVENTS: u32 = 6;
/// Draft §2.4: BBR.PacingMarginPercent is 1.
const PACING_MARGIN_PERCENT: u64 = 99;
/// Draft §2.5: BBR.MinPipeCwnd.
const WINDOW_MIN_PACKETS: u64 = 4;
/// Draft §5.6.4.2: what trains in the making may add to the flight.
const BURST_ALLOWED_MAX: u64 = 64 << 10;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
