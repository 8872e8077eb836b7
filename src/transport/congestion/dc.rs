//! The data-centre controller: a delay target, and loss only when it is heavy.
//!
//! After Timely (Mittal 2015) with eRPC's thresholds (Kalia 2019), L44, with a window in the place of
//! the rate. What is ours, and why:
//!
//! - The signal is *queueing* delay (sample less the least ever seen), so that one pair of thresholds
//!   serves a 10 µs and a 900 µs path.
//! - It is the *standing* delay: the least sample of a round trip. On a host, the same packet takes
//!   10 µs or 400 µs according to when the other end's core came round to its batch; what even the
//!   luckiest packet of a round waited for is a queue.
//! - Below [`DELAY_HIGH_NS`] nothing cuts. Timely's gradient only decides between growing and holding:
//!   measured against a 10 µs path, scheduling noise alone would be a gradient of 10.
//! - A lost packet is repaired, no more: in a rack it is a full socket buffer or a bad cable far more
//!   often than a full switch, and the delay shows the switch earlier. A quarter of a flight lost, a
//!   CE mark, or drops that the peer counted are signals.
//! - A hundred senders share a port whose path and queue hold thirty packets. Then a fair window is a third
//!   of a packet, so it may fall below one (Swift, Kumar 2020 §3.5: "cwnd below one by pacing"): one packet
//!   at a time leaves, at the pace of the window. At windows so small any loss is a quarter of the flight: but
//!   only where what arrives has waited in a queue. On an idle path nothing falls below two packets.
//!
//! A standing queue of 1 ms is 3 MB at 25 Gbit/s: about what the window needs to keep two hosts busy
//! that take turns in batches, and far below the time anything here waits before it probes.

use super::{AckInfo, CongestionConfig, Controller, LossInfo, percent, rate};
use crate::time::Timestamp;
use crate::transport::pacer::Pace;
use crate::transport::rtt::Rtt;

/// See the module.
#[derive(Clone, Debug)]
pub struct Dc {
    config: CongestionConfig,
    window: u64,
    slow_start_threshold: u64,
    /// The least round trip ever seen: the path without a queue. See [`Dc::learn_base`].
    base_ns: u64,
    smoothed_ns: u64,
    round: Round,
    /// Standing delay of the round before.
    standing_before_ns: u64,
    /// Rounds in a row that grew the window.
    rising: u32,
    /// The moment of the last cut: what was sent before it tells nothing new (L37).
    cut_at: Option<Timestamp>,
    /// The last loss of any kind.
    lost_at: Option<Timestamp>,
    /// The heavy loss behind the last cut, of which more may yet be found.
    episode: Option<Episode>,
    undo: Option<Undo>,
    last_sent: Timestamp,
}

/// What a round trip showed so far.
#[derive(Clone, Copy, Debug)]
struct Round {
    least_ns: u64,
    window_limited: bool,
    bytes_lost: u64,
    packets_lost: u64,
    flight_max: u64,
}

/// One flight's heavy loss.
#[derive(Clone, Copy, Debug)]
struct Episode {
    /// What was in flight, or allowed to be, when it was found.
    window: u64,
    flight: u64,
    lost: u64,
}

impl Episode {
    /// What it leaves: half a window, but of a flight more than half lost no more than arrived. The first
    /// flight of a hundred into one port learns in one round trip what halving would take nine for.
    fn kept(&self) -> u64 {
        let arrived = 100 - 100 * self.lost.min(self.flight) / self.flight.max(1);
        if arrived >= LOSS_KEEP_PERCENT {
            return percent(self.window, LOSS_KEEP_PERCENT);
        }
        percent(self.window.min(self.flight), arrived.max(LOSS_KEEP_PERCENT_MIN))
    }
}

/// What to return to if the losses behind the last cut turn out to be none (L20).
#[derive(Clone, Copy, Debug)]
struct Undo {
    window: u64,
    slow_start_threshold: u64,
    packets_missing: u64,
}

impl Dc {
    /// Starts in slow start, with 256 KiB unless configured otherwise.
    #[must_use]
    pub fn new(config: CongestionConfig) -> Self {
        Self {
            config,
            window: config.clamp(config.initial_window.unwrap_or(INITIAL_WINDOW)),
            slow_start_threshold: u64::MAX,
            lost_at: None,
            episode: None,
            base_ns: u64::MAX,
            smoothed_ns: 0,
            round: Round::NEW,
            standing_before_ns: 0,
            rising: 0,
            cut_at: None,
            undo: None,
            last_sent: Timestamp(0),
        }
    }

    /// L37, RFC 9002 §7.3.2: a recovery that began goes on.
    fn before_cut(&self, sent_at: Timestamp) -> bool {
        self.cut_at.is_some_and(|cut_at| sent_at <= cut_at)
    }

    fn end_round(&mut self, now: Timestamp) {
        let round = std::mem::replace(&mut self.round, Round::NEW);
        if round.least_ns == u64::MAX {
            return;
        }
        let standing_ns = round.least_ns.saturating_sub(self.base_ns);
        let target_ns = self.target_ns();
        if standing_ns > target_ns {
            // L44, Timely: the further over the target, the deeper; half at most.
            let keep = percent(self.window, 100 - (100 - 100 * target_ns / standing_ns) / 2);
            self.cut(now, keep.max(self.config.packet_size));
            self.undo = None;
            self.learn_base(now, round.least_ns);
        } else {
            self.end_slow_start(standing_ns);
            let draining = standing_ns <= self.standing_before_ns;
            self.grow(round.window_limited && (standing_ns <= DELAY_LOW_NS || draining));
        }
        self.standing_before_ns = standing_ns;
    }

    fn end_slow_start(&mut self, standing_ns: u64) {
        if standing_ns > DELAY_LOW_NS && self.window < self.slow_start_threshold {
            self.slow_start_threshold = self.window;
        }
    }

    /// Timely's additive increase, five times as fast after five rounds of it. Below a packet a round is
    /// one packet's: twice as much for each that arrives, half for each that does not. Gentler growth loses
    /// less and leaves the port idle whenever others are done.
    fn grow(&mut self, grows: bool) {
        if !grows {
            self.rising = 0;
            return;
        }
        let packet = self.config.packet_size;
        if self.window < packet {
            self.window = (2 * self.window).min(packet);
            return;
        }
        self.rising += 1;
        if self.window >= self.slow_start_threshold {
            let packets = if self.rising > RISING_ROUNDS { FAST_INCREASE } else { 1 };
            self.window = self.bound(self.window + packets * packet);
        }
    }

    /// Within the ceiling, and the floor that only losses and marks lead to.
    fn bound(&self, window: u64) -> u64 {
        window.min(self.config.window_max).max(self.floor())
    }

    /// A packet in eight round trips, or in [`PACKET_INTERVAL_NS_MAX`] on a path so long.
    fn floor(&self) -> u64 {
        let packet = self.config.packet_size;
        let by_time = u128::from(packet) * u128::from(self.smoothed_ns) / u128::from(PACKET_INTERVAL_NS_MAX);
        (packet / PACKET_PARTS_MAX).max(by_time as u64).clamp(1, packet)
    }

    /// At a window so small any loss is a quarter of the flight. It is a port's queue that overflows only if what
    /// arrives has waited in one: on an idle path packets are lost by chance.
    fn is_small(&self) -> bool {
        self.window <= SMALL_PACKETS * self.config.packet_size && self.is_queued()
    }

    /// Whether even the luckiest packet of late waited.
    fn is_queued(&self) -> bool {
        let standing_ns = match self.round.least_ns {
            u64::MAX => self.standing_before_ns,
            least_ns => least_ns.saturating_sub(self.base_ns),
        };
        standing_ns > DELAY_LOW_NS
    }

    /// Swift (Kumar 2020 §3.5): a small window tolerates more, so that flows come to equal shares.
    /// Without it the larger flow wins: it has more samples a round, and so a lower least.
    fn target_ns(&self) -> u64 {
        let packets = (self.window / self.config.packet_size.max(1)).max(1);
        DELAY_HIGH_NS + DELAY_SPREAD_NS / packets.isqrt()
    }

    /// With one packet in flight and nothing lost the delay is no queue: the path itself has grown longer.
    fn learn_base(&mut self, now: Timestamp, least_ns: u64) {
        let quiet = self.lost_at.is_none_or(|at| now.since_ns(at) > LOSS_MEMORY_NS);
        if quiet && self.window <= self.config.packet_size {
            self.base_ns = least_ns;
        }
    }

    /// More of the flight behind the last cut turns out lost: the same cut, deeper (L37).
    fn deepen(&mut self, bytes_lost: u64) {
        let Some(episode) = &mut self.episode else { return };
        episode.lost += bytes_lost;
        let window = episode.kept().max(self.config.packet_size);
        if window < self.window {
            (self.window, self.slow_start_threshold) = (window, window);
        }
    }

    fn cut(&mut self, now: Timestamp, window: u64) {
        self.episode = None;
        self.undo = Some(Undo {
            window: self.window,
            slow_start_threshold: self.slow_start_threshold,
            packets_missing: 0,
        });
        self.window = self.bound(window);
        self.slow_start_threshold = self.window;
        self.cut_at = Some(now);
        self.rising = 0;
        self.round = Round::NEW;
    }
}

impl Round {
    const NEW: Round =
        Round { least_ns: u64::MAX, window_limited: false, bytes_lost: 0, packets_lost: 0, flight_max: 0 };
}

impl Dc {
    #[inline(never)]
    fn paced(&self, rtt: &Rtt) -> Pace {
        let packet = self.config.packet_size;
        if self.window < 2 * packet {
            // No more than a packet at once: the window is a rate now.
            return Pace { rate: rate(self.window, rtt, 100), burst: packet, first_burst: 0 };
        }
        let gain_percent = if self.window < self.slow_start_threshold { 200 } else { 125 };
        Pace::of(rate(self.window, rtt, gain_percent), packet, INITIAL_WINDOW)
    }
}

impl Controller for Dc {
    fn on_sent(&mut self, now: Timestamp, bytes: u64, bytes_in_flight: u64) {
        // L39: what the path held before a silence says little of now; start again from a window that
        // was safe to start with, and double back.
        let idle_ns = now.since_ns(self.last_sent);
        if bytes_in_flight <= bytes && idle_ns > IDLE_NS.max(IDLE_ROUNDS * self.smoothed_ns) {
            let initial = self.config.clamp(self.config.initial_window.unwrap_or(INITIAL_WINDOW));
            if self.window > initial {
                self.slow_start_threshold = percent(self.window, 75);
                self.window = initial;
            }
            self.round = Round::NEW;
        }
        self.last_sent = now;
    }

    fn on_ack(&mut self, info: &AckInfo<'_>) {
        self.smoothed_ns = info.rtt.smoothed_ns();
        self.base_ns = self.base_ns.min(info.rtt.latest_ns());
        if self.before_cut(info.sent_at) {
            return;
        }
        self.round.least_ns = self.round.least_ns.min(info.rtt.latest_ns());
        self.round.window_limited |= !info.app_limited;
        if !info.app_limited && self.window < self.slow_start_threshold {
            self.window = self.bound(self.window + info.bytes_acked);
        }
        if info.round_end {
            self.end_round(info.now);
        }
    }

    fn on_loss(&mut self, info: &LossInfo) {
        self.lost_at = Some(info.now);
        if self.before_cut(info.largest_lost_sent_at) {
            if let Some(undo) = &mut self.undo {
                undo.packets_missing += info.packets_lost;
            }
            self.deepen(info.bytes_lost);
            return;
        }
        let (small, queued) = (self.is_small(), self.is_queued());
        let round = &mut self.round;
        round.bytes_lost += info.bytes_lost;
        round.packets_lost += info.packets_lost;
        round.flight_max = round.flight_max.max(info.flight_bytes);
        // One packet of a small flight is more than a quarter of it, and still only one packet: unless
        // the window is as small, and more than one never was in flight.
        if (small || round.packets_lost > 1) && round.bytes_lost * 4 >= round.flight_max {
            let packets_missing = round.packets_lost;
            let half = percent(self.window, LOSS_KEEP_PERCENT);
            // On an idle path packets are lost by chance, and their number says nothing.
            let episode = (queued && !small).then_some(Episode {
                window: self.window,
                flight: round.flight_max,
                lost: round.bytes_lost,
            });
            let kept = match &episode {
                Some(episode) => episode.kept().max(self.config.packet_size),
                None if small => half,
                None => half.max(self.config.window_min()),
            };
            self.cut(info.now, kept);
            self.episode = episode;
            self.undo = self.undo.map(|undo| Undo { packets_missing, ..undo });
        }
    }

    fn on_spurious_loss(&mut self) {
        let Some(undo) = &mut self.undo else { return };
        undo.packets_missing = undo.packets_missing.saturating_sub(1);
        if undo.packets_missing == 0 {
            self.window = self.window.max(undo.window);
            self.slow_start_threshold = undo.slow_start_threshold;
            self.undo = None;
        }
    }

    fn on_congestion_experienced(&mut self, now: Timestamp, sent_at: Timestamp) {
        if !self.before_cut(sent_at) {
            self.cut(now, percent(self.window, MARK_KEEP_PERCENT));
            self.undo = None;
        }
    }

    fn on_persistent_congestion(&mut self) {
        self.window = self.config.window_min();
        self.slow_start_threshold = u64::MAX;
        self.base_ns = u64::MAX;
        self.undo = None;
        self.cut_at = None;
        self.rising = 0;
        self.round = Round::NEW;
    }

    fn on_peer_drops(&mut self, now: Timestamp, count: u64) {
        // The report has no send time: what is reported within a round trip of a cut came before it.
        let recent = self.cut_at.is_some_and(|cut_at| now.since_ns(cut_at) < self.smoothed_ns);
        if count > 0 && !recent {
            self.cut(now, percent(self.window, LOSS_KEEP_PERCENT));
            self.undo = None;
        }
    }

    fn set_packet_size(&mut self, bytes: u64) {
        self.config.packet_size = bytes;
        self.window = self.bound(self.window);
    }

    fn window(&self) -> u64 {
        self.window
    }

    // The path's own length decides, not the queue on it: a timer per train costs more than a train of burst does on a
    // path this short.
    #[inline]
    fn pace(&self, rtt: &Rtt) -> Option<Pace> {
        let is_short = self.window >= 2 * self.config.packet_size && rtt.min_ns() < PACED_FROM_NS;
        if is_short { None } else { Some(self.paced(rtt)) }
    }

    fn name(&self) -> &'static str {
        "dc"
    }
}

/// Fills a 25 Gbit/s path of 80 µs at once; a full socket buffer is the credit's business.
const INITIAL_WINDOW: u64 = 256 << 10;
/// Timely's T_low as eRPC sets it: below, the window grows whatever the trend.
const DELAY_LOW_NS: u64 = 50_000;
/// Timely's T_high as eRPC sets it: above, the window is cut.
const DELAY_HIGH_NS: u64 = 1_000_000;
/// What the target of a window of one packet lies above [`DELAY_HIGH_NS`].
const DELAY_SPREAD_NS: u64 = 500_000;
/// Rounds of growth after which it grows [`FAST_INCREASE`] packets a round (Timely's N).
const RISING_ROUNDS: u32 = 5;
const FAST_INCREASE: u64 = 5;
const LOSS_KEEP_PERCENT: u64 = 50;
/// Of a flight of which next to nothing arrived.
const LOSS_KEEP_PERCENT_MIN: u64 = 3;
/// At a window of so many packets each of them is a quarter of a flight.
const SMALL_PACKETS: u64 = 4;
/// The least window is this part of a packet: 200 senders on a path that holds thirty packets still fit it.
const PACKET_PARTS_MAX: u64 = 8;
/// No path is so bad that a packet in four milliseconds is too many.
const PACKET_INTERVAL_NS_MAX: u64 = 4_000_000;
/// How long after a loss delay is taken for a queue.
const LOSS_MEMORY_NS: u64 = 100_000_000;
/// RFC 8511: a mark comes earlier than a loss and weighs less.
const MARK_KEEP_PERCENT: u64 = 80;
/// Silence after which the window starts anew: this long, and this many round trips.
const IDLE_NS: u64 = 10_000_000;
const IDLE_ROUNDS: u64 = 16;
/// A shorter path is not paced: a train is over before its pace would matter.
const PACED_FROM_NS: u64 = 100_000;

#[cfg(test)]
#[path = "dc_tests.rs"]
mod tests;
