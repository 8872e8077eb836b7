//! CUBIC (RFC 9438) over RFC 9002's frame, with HyStart++ (RFC 9406): for paths that are shared with
//! the rest of the world.

use super::hystart::{HyStart, SlowStart};
use super::{AckInfo, CongestionConfig, Controller, LossInfo, initial_window, percent, rate};
use crate::time::Timestamp;
use crate::transport::pacer::Pace;
use crate::transport::rtt::Rtt;

/// See the module.
#[derive(Clone, Debug)]
pub struct Cubic {
    config: CongestionConfig,
    state: State,
    hystart: HyStart,
    /// The moment the current recovery began: what was sent before it is the same congestion (L37).
    recovery_start: Option<Timestamp>,
    undo: Option<Undo>,
}

/// All that a congestion event changes, so that it can be undone.
#[derive(Clone, Copy, Debug)]
struct State {
    window: u64,
    slow_start_threshold: u64,
    /// Bytes; the window before the last reduction, less what fast convergence gave up.
    window_max: f64,
    /// The window before the last reduction, to the byte (RFC 9438's cwnd_prior).
    window_prior: f64,
    epoch: Option<Epoch>,
}

/// One stretch of congestion avoidance.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Timestamp,
    /// Seconds from `start` to where the cubic reaches `window_max`.
    k: f64,
    /// Where the cubic's plateau lies, in bytes.
    origin: f64,
    /// The window as Reno would have it (RFC 9438 §4.3).
    reno: f64,
    /// Fractions of a byte that the window has yet to grow.
    carry: f64,
    /// Since when the sender has not used the window: t stands still (L38).
    unused_since: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Undo {
    state: State,
    packets_missing: u64,
}

impl Cubic {
    /// Starts in slow start with RFC 9002's initial window.
    #[must_use]
    pub fn new(config: CongestionConfig) -> Self {
        let state = State {
            window: config.clamp(config.initial_window.unwrap_or_else(|| initial_window(&config))),
            slow_start_threshold: u64::MAX,
            window_max: 0.0,
            window_prior: 0.0,
            epoch: None,
        };
        Self { config, state, hystart: HyStart::new(), recovery_start: None, undo: None }
    }

    /// L37, RFC 9002 §7.3.2: "A sender that is already in a recovery period stays in it and does not reenter it."
    fn in_recovery(&self, sent_at: Timestamp) -> bool {
        self.recovery_start.is_some_and(|start| sent_at <= start)
    }

    /// L36, RFC 9002 §7.3.1: "The sender MUST exit slow start and enter a recovery period when a packet is lost"; and,
    /// by RFC 9406, when the delay rises.
    fn slow_start(&mut self, info: &AckInfo<'_>) {
        // RFC 9406 §4.3: "An implementation SHOULD use HyStart++ only for the initial slow start (when the
        // ssthresh is at its initial value)".
        if self.state.slow_start_threshold != u64::MAX {
            self.state.window = self.config.clamp(self.state.window + info.bytes_acked);
            return;
        }
        let (growth, leave) =
            match self.hystart.on_ack(info.rtt.latest_ns(), info.bytes_acked, info.round_end) {
                SlowStart::Grow(bytes) => (bytes, false),
                SlowStart::Leave(bytes) => (bytes, true),
            };
        self.state.window = self.config.clamp(self.state.window + growth);
        if leave {
            self.state.slow_start_threshold = self.state.window;
        }
    }

    fn avoid_congestion(&mut self, info: &AckInfo<'_>) {
        let packet = self.config.packet_size as f64;
        let State { window, window_max, window_prior, .. } = self.state;
        let epoch =
            self.state.epoch.get_or_insert_with(|| Epoch::new(info.now, window as f64, window_max, packet));
        epoch.resume(info.now);
        let window = window as f64 + epoch.carry;
        let t = info.now.since_ns(epoch.start) as f64 / 1e9;
        let share = info.bytes_acked as f64 / window;
        // RFC 9438 §4.3: as fast as Reno with β 0.7 until the old window is regained, then as Reno.
        let alpha = if epoch.reno < window_prior { 3.0 * (1.0 - BETA) / (1.0 + BETA) } else { 1.0 };
        epoch.reno += alpha * packet * share;
        let grown = if epoch.at(t, packet) < epoch.reno {
            epoch.reno.max(window)
        } else {
            // RFC 9438 §4.4, §4.5: towards where the cubic will be a round trip from now.
            let ahead = info.rtt.smoothed_ns() as f64 / 1e9;
            let target = epoch.at(t + ahead, packet).clamp(window, 1.5 * window);
            window + (target - window) * share
        };
        epoch.carry = grown.fract();
        self.state.window = self.config.clamp(grown as u64);
    }

    /// RFC 9438 §4.6, §4.7: one reduction, `beta_percent` of the window left.
    fn reduce(&mut self, now: Timestamp, beta_percent: u64) {
        let state = &mut self.state;
        let window = state.window as f64;
        // Fast convergence: a flow that did not regain its old window leaves room for a newcomer.
        let converging = window < state.window_max;
        state.window_max = if converging { window * (1.0 + BETA) / 2.0 } else { window };
        state.window_prior = window;
        state.window = self.config.clamp(percent(state.window, beta_percent));
        state.slow_start_threshold = state.window;
        state.epoch = None;
        self.recovery_start = Some(now);
    }
}

impl Epoch {
    fn new(now: Timestamp, window: f64, window_max: f64, packet: f64) -> Self {
        // RFC 9438 §4.2: after slow start without a loss, or with the old maximum regained, K is 0.
        let origin = window_max.max(window);
        let k = ((origin - window) / packet / C).cbrt();
        Self { start: now, k, origin, reno: window, carry: 0.0, unused_since: None }
    }

    /// L38, RFC 9438 §4.2: W_cubic(t) = C·(t − K)³ + W_max, in bytes.
    fn at(&self, t: f64, packet: f64) -> f64 {
        C * (t - self.k).powi(3) * packet + self.origin
    }

    fn resume(&mut self, now: Timestamp) {
        if let Some(since) = self.unused_since.take() {
            self.start = self.start.after_ns(now.since_ns(since));
        }
    }
}

impl Controller for Cubic {
    fn on_sent(&mut self, _now: Timestamp, _bytes: u64, _bytes_in_flight: u64) {
        // L39: after a silence the window is paced out, not reset (RFC 9002 §7.8 allows either).
    }

    fn on_ack(&mut self, info: &AckInfo<'_>) {
        if self.in_recovery(info.sent_at) {
            return;
        }
        // L39, RFC 9002 §7.8: "the congestion window SHOULD NOT be increased in either slow start or congestion
        // avoidance" while it is not used (RFC 9438 §5.8).
        if info.app_limited {
            if let Some(epoch) = &mut self.state.epoch {
                epoch.unused_since.get_or_insert(info.now);
            }
        } else if self.state.window < self.state.slow_start_threshold {
            self.slow_start(info);
        } else {
            self.avoid_congestion(info);
        }
    }

    fn on_loss(&mut self, info: &LossInfo) {
        if self.in_recovery(info.largest_lost_sent_at) {
            if let Some(undo) = &mut self.undo {
                undo.packets_missing += info.packets_lost;
            }
            return;
        }
        self.undo = Some(Undo { state: self.state, packets_missing: info.packets_lost });
        self.reduce(info.now, BETA_PERCENT);
    }

    fn on_spurious_loss(&mut self) {
        // L20, RFC 9438 §4.9: a sender "SHOULD restore the original values of above-mentioned variables", here only
        // when nothing of the event was a loss.
        let Some(undo) = &mut self.undo else { return };
        undo.packets_missing = undo.packets_missing.saturating_sub(1);
        if undo.packets_missing == 0 {
            if undo.state.window > self.state.window {
                self.state = undo.state;
            }
            self.recovery_start = None;
            self.undo = None;
        }
    }

    fn on_congestion_experienced(&mut self, now: Timestamp, sent_at: Timestamp) {
        if !self.in_recovery(sent_at) {
            self.undo = None;
            self.reduce(now, MARK_KEEP_PERCENT);
        }
    }

    fn on_persistent_congestion(&mut self) {
        // RFC 9002 §7.6.2.
        self.state.window = self.config.window_min();
        self.state.epoch = None;
        self.hystart = HyStart::new();
        self.recovery_start = None;
        self.undo = None;
    }

    fn on_peer_drops(&mut self, _now: Timestamp, _count: u64) {
        // The drops are losses too, and each of those is a signal here already.
    }

    fn set_packet_size(&mut self, bytes: u64) {
        // A new curve begins with a new size (RFC 9438 §4.2), not with the answer that it is still the same.
        if bytes != self.config.packet_size {
            self.config.packet_size = bytes;
            self.state.window = self.config.clamp(self.state.window);
            self.state.epoch = None;
        }
    }

    fn window(&self) -> u64 {
        self.state.window
    }

    #[inline(never)]
    fn pace(&self, rtt: &Rtt) -> Option<Pace> {
        // L41, RFC 9002 §7.7: a little faster than the window, and twice while it doubles.
        let slow_start = self.state.window < self.state.slow_start_threshold;
        let rate = rate(self.state.window, rtt, if slow_start { 200 } else { 125 });
        Some(self.config.paced(rate))
    }

    fn name(&self) -> &'static str {
        "cubic"
    }
}

/// RFC 9438 §4.6.
const BETA: f64 = 0.7;
const BETA_PERCENT: u64 = 70;
/// RFC 9438 §5.1, in packets per second³.
const C: f64 = 0.4;
/// RFC 8511 §3: a mark weighs less than a loss; 0.85 for CUBIC.
const MARK_KEEP_PERCENT: u64 = 85;

#[cfg(test)]
#[path = "cubic_tests.rs"]
mod tests;
