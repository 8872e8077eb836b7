//! How much may be in flight: one trait, and a controller for each kind of path.
//!
//! `dc` is steered by delay and shrugs at a lost packet; `cubic` is RFC 9438, for paths that lose packets
//! only where queues are full; `model` measures the path's rate and length and shrugs at a loss rate
//! below 2 %. All sizes are bytes. The session calls a controller once per ACK frame, never per packet.

mod cubic;
mod dc;
pub mod delivery_rate;
mod hystart;
mod model;
#[cfg(test)]
mod testing;

pub use cubic::Cubic;
pub use dc::Dc;
pub use model::Model;

use super::pacer::Pace;
use super::rtt::Rtt;
use delivery_rate::{LostFlight, RateSample};

use crate::time::Timestamp;

/// What one ACK frame newly acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct AckInfo<'a> {
    /// When the frame arrived.
    pub now: Timestamp,
    /// Bytes newly acknowledged.
    pub bytes_acked: u64,
    /// When the largest newly acknowledged packet was sent.
    pub sent_at: Timestamp,
    /// The estimate, this frame's sample included.
    pub rtt: &'a Rtt,
    /// Bytes in flight after the acknowledged ones left.
    pub bytes_in_flight: u64,
    /// Whether anything but this window held the sender back: nothing to send, no credit, no buffer.
    /// A window that is not used must not grow (L39).
    pub app_limited: bool,
    /// Whether this frame acknowledges a packet sent after the last frame that said so: once a round
    /// trip.
    pub round_end: bool,
    /// What the ack says of the rate at which packets arrive; only for who [`CongestionKind::samples`].
    pub sample: Option<RateSample>,
}

/// What one look at the sent packets found lost.
#[derive(Clone, Copy, Debug)]
pub struct LossInfo {
    /// When it was found.
    pub now: Timestamp,
    /// Bytes lost.
    pub bytes_lost: u64,
    /// Packets lost.
    pub packets_lost: u64,
    /// When the newest of them was sent.
    pub largest_lost_sent_at: Timestamp,
    /// Bytes in flight before the lost ones left.
    pub flight_bytes: u64,
    /// The flight of the newest of them; only for who [`CongestionKind::samples`].
    pub lost_flight: Option<LostFlight>,
}

/// A congestion controller: facts in, a window out.
pub trait Controller {
    /// `bytes` leave; `bytes_in_flight` holds them already. Probes count too (L11).
    fn on_sent(&mut self, now: Timestamp, bytes: u64, bytes_in_flight: u64);
    /// Packets were acknowledged.
    fn on_ack(&mut self, info: &AckInfo<'_>);
    /// Packets were declared lost.
    fn on_loss(&mut self, info: &LossInfo);
    /// A packet declared lost was acknowledged after all (L20). Once for each.
    fn on_spurious_loss(&mut self);
    /// The network marked a packet that was sent at `sent_at` (ECN).
    fn on_congestion_experienced(&mut self, now: Timestamp, sent_at: Timestamp);
    /// Nothing sent for several probe timeouts was acknowledged (L22).
    fn on_persistent_congestion(&mut self);
    /// The peer's kernel dropped `count` packets for want of room since it last said so.
    fn on_peer_drops(&mut self, now: Timestamp, count: u64);
    /// The path's packet size, changed or not.
    fn set_packet_size(&mut self, bytes: u64);
    /// Bytes that may be in flight (L40).
    fn window(&self) -> u64;
    /// How fast packets may leave; `None` when bursts of a window are fine.
    fn pace(&self, rtt: &Rtt) -> Option<Pace>;
    /// Its name on the command line.
    fn name(&self) -> &'static str;
}

/// Which controller to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionKind {
    /// [`Dc`] or the wide area's, as the session's profile says (P-10.6).
    #[default]
    Auto,
    /// [`Dc`].
    Dc,
    /// [`Cubic`].
    Cubic,
    /// [`Model`].
    Model,
}

impl CongestionKind {
    /// Which one a session inside (`is_dc`) or outside a data centre uses.
    #[must_use]
    pub(crate) fn resolve(self, is_dc: bool) -> CongestionKind {
        match self {
            CongestionKind::Auto if is_dc => CongestionKind::Dc,
            CongestionKind::Auto => WAN_DEFAULT,
            chosen => chosen,
        }
    }

    /// Whether its controller wants the delivery rate sampled.
    #[must_use]
    pub fn samples(self) -> bool {
        self == CongestionKind::Model
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CongestionKind::Auto => "auto",
            CongestionKind::Dc => "dc",
            CongestionKind::Cubic => "cubic",
            CongestionKind::Model => "model",
        }
    }
}

/// The sizes a controller works within, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CongestionConfig {
    /// The path's packet size.
    pub packet_size: u64,
    /// The window to start with; `None` takes the controller's own.
    pub initial_window: Option<u64>,
    /// The window never exceeds this.
    pub window_max: u64,
}

impl CongestionConfig {
    /// The defaults for a path of `packet_size`.
    #[must_use]
    pub fn new(packet_size: u64) -> Self {
        Self { packet_size, initial_window: None, window_max: WINDOW_MAX_DEFAULT }
    }

    /// RFC 9002 §7.2: two packets.
    fn window_min(&self) -> u64 {
        2 * self.packet_size
    }

    /// `rate` in bursts of no more than the first window.
    fn paced(&self, rate: u64) -> Pace {
        Pace::of(rate, self.packet_size, initial_window(self))
    }

    fn clamp(&self, window: u64) -> u64 {
        window.min(self.window_max).max(self.window_min())
    }
}

/// The controller of one path: dispatched by a branch, held without a box.
#[derive(Clone, Debug)]
pub enum Congestion {
    /// Inside a data centre.
    Dc(Dc),
    /// Elsewhere.
    Cubic(Cubic),
    /// Where packets are lost without a queue.
    Model(Box<Model>),
}

impl Congestion {
    /// A fresh controller. `Auto` is the wide area's: a session resolves it first.
    #[must_use]
    pub fn new(kind: CongestionKind, config: CongestionConfig) -> Self {
        match kind.resolve(false) {
            CongestionKind::Dc => Self::Dc(Dc::new(config)),
            CongestionKind::Model => Self::Model(Box::new(Model::new(config))),
            CongestionKind::Auto | CongestionKind::Cubic => Self::Cubic(Cubic::new(config)),
        }
    }

    /// The path is another: nothing that was learnt of the last one holds (RFC 9000 §9.4).
    pub fn restart(&mut self, config: CongestionConfig) {
        *self = match self {
            Self::Dc(_) => Self::Dc(Dc::new(config)),
            Self::Cubic(_) => Self::Cubic(Cubic::new(config)),
            Self::Model(_) => Self::Model(Box::new(Model::new(config))),
        };
    }
}

macro_rules! each {
    ($self:ident, $controller:ident => $call:expr) => {
        match $self {
            Congestion::Dc($controller) => $call,
            Congestion::Cubic($controller) => $call,
            Congestion::Model($controller) => $call,
        }
    };
}

impl Controller for Congestion {
    #[inline(always)]
    fn on_sent(&mut self, now: Timestamp, bytes: u64, bytes_in_flight: u64) {
        each!(self, c => c.on_sent(now, bytes, bytes_in_flight));
    }

    fn on_ack(&mut self, info: &AckInfo<'_>) {
        each!(self, c => c.on_ack(info));
    }

    fn on_loss(&mut self, info: &LossInfo) {
        each!(self, c => c.on_loss(info));
    }

    fn on_spurious_loss(&mut self) {
        each!(self, c => c.on_spurious_loss());
    }

    fn on_congestion_experienced(&mut self, now: Timestamp, sent_at: Timestamp) {
        each!(self, c => c.on_congestion_experienced(now, sent_at));
    }

    fn on_persistent_congestion(&mut self) {
        each!(self, c => c.on_persistent_congestion());
    }

    fn on_peer_drops(&mut self, now: Timestamp, count: u64) {
        each!(self, c => c.on_peer_drops(now, count));
    }

    fn set_packet_size(&mut self, bytes: u64) {
        each!(self, c => c.set_packet_size(bytes));
    }

    #[inline(always)]
    fn window(&self) -> u64 {
        each!(self, c => c.window())
    }

    #[inline(always)]
    fn pace(&self, rtt: &Rtt) -> Option<Pace> {
        each!(self, c => c.pace(rtt))
    }

    fn name(&self) -> &'static str {
        each!(self, c => c.name())
    }
}

/// `window` bytes per smoothed round trip, times `gain_percent` / 100.
fn rate(window: u64, rtt: &Rtt, gain_percent: u64) -> u64 {
    let per_second = u128::from(window) * 1_000_000_000 * u128::from(gain_percent)
        / (100 * u128::from(rtt.smoothed_ns().max(1)));
    u64::try_from(per_second).unwrap_or(u64::MAX).max(1)
}

/// `value` times `percent` / 100.
fn percent(value: u64, percent: u64) -> u64 {
    (u128::from(value) * u128::from(percent) / 100) as u64
}

/// L35, RFC 9002 §7.2: "Endpoints SHOULD use an initial congestion window of ten times the maximum datagram size
/// (max_datagram_size)", at most the larger of 14,720 bytes and two packets.
fn initial_window(config: &CongestionConfig) -> u64 {
    (10 * config.packet_size).min(14_720.max(2 * config.packet_size))
}

/// What [`CongestionKind::Auto`] takes outside a data centre.
const WAN_DEFAULT: CongestionKind = CongestionKind::Cubic;
/// The ceiling unless configured: five times a 100 Gbit/s × 250 µs path.
pub const WINDOW_MAX_DEFAULT: u64 = 16 << 20;
