//! What losses allow: a flight the path was seen to refuse, and for a while a lower rate (draft §5.5.10).

use super::super::delivery_rate::RateSample;
use super::state::Phase;
use super::{BETA_PERCENT, scale};

/// The bounds of one path. `u64::MAX` means none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes in flight beyond which too many were lost (draft: inflight_longterm).
    flight_long: u64,
    /// Until the next probing (draft: bw_shortterm, inflight_shortterm).
    rate_short: u64,
    flight_short: u64,
    /// The most that was delivered in this round.
    rate_latest: u64,
    flight_latest: u64,
    /// Before losses lowered it.
    flight_long_before: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            flight_long: u64::MAX,
            rate_short: u64::MAX,
            flight_short: u64::MAX,
            rate_latest: 0,
            flight_latest: 0,
            flight_long_before: u64::MAX,
        }
    }
}

impl Bounds {
    pub(super) fn rate_short(&self) -> u64 {
        self.rate_short
    }

    pub(super) fn flight_long(&self) -> u64 {
        self.flight_long
    }

    pub(super) fn flight_latest(&self) -> u64 {
        self.flight_latest
    }

    pub(super) fn on_sample(&mut self, sample: &RateSample) {
        self.rate_latest = self.rate_latest.max(sample.rate);
        self.flight_latest = self.flight_latest.max(sample.delivered);
    }

    pub(super) fn end_round(&mut self) {
        (self.rate_latest, self.flight_latest) = (0, 0);
    }

    /// Draft §5.5.10.3: a lossy round takes the short-term bounds to what it delivered, by 30 % at most.
    pub(super) fn lower(&mut self, max_rate: u64, window: u64) {
        let (rate, flight) = (self.rate_short.min(max_rate), self.flight_short.min(window));
        self.rate_short = self.rate_latest.max(scale(rate, BETA_PERCENT));
        self.flight_short = self.flight_latest.max(scale(flight, BETA_PERCENT));
    }

    /// Probing begins: the short-term bounds are over.
    pub(super) fn forget_short(&mut self) {
        (self.rate_short, self.flight_short) = (u64::MAX, u64::MAX);
    }

    pub(super) fn set_flight_long(&mut self, flight: u64) {
        self.flight_long_before = self.flight_long;
        self.flight_long = flight;
    }

    /// `more` bytes in flight were tried and not refused.
    pub(super) fn raise_flight_long(&mut self, more: u64) {
        self.flight_long = self.flight_long.saturating_add(more);
    }

    pub(super) fn undo(&mut self) {
        self.forget_short();
        self.flight_long = self.flight_long.max(self.flight_long_before);
    }

    /// Draft §5.6.4.5: cruising leaves headroom below what was refused, so that others find room.
    pub(super) fn flight(&self, phase: Phase, least: u64) -> u64 {
        let long = match (self.flight_long, phase) {
            (u64::MAX, _) => u64::MAX,
            (long, Phase::Cruise | Phase::ProbeRtt { .. }) => self.with_headroom(long),
            (long, _) => long,
        };
        long.min(self.flight_short).max(least)
    }

    /// What may be in flight while cruising.
    pub(super) fn with_headroom(&self, flight: u64) -> u64 {
        scale(flight, 100 - HEADROOM_PERCENT)
    }
}

/// Draft §2.7: BBR.Headroom.
const HEADROOM_PERCENT: u64 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: u64, delivered: u64) -> RateSample {
        RateSample { rate, delivered, ..RateSample::default() }
    }

    #[test]
    fn a_lossy_round_lowers_to_what_it_delivered_and_by_thirty_percent_at_most() {
        // L43: beta is 0.7.
        let mut bounds = Bounds::default();
        bounds.on_sample(&sample(900, 5_000));
        bounds.lower(1_000, 10_000);
        assert_eq!((bounds.rate_short(), bounds.flight(Phase::Down, 0)), (900, 7_000));
        bounds.end_round();
        bounds.lower(1_000, 10_000);
        assert_eq!(bounds.rate_short(), 630);
        bounds.forget_short();
        assert_eq!(bounds.rate_short(), u64::MAX);
    }

    #[test]
    fn cruising_leaves_room_below_what_was_refused() {
        let mut bounds = Bounds::default();
        bounds.set_flight_long(10_000);
        assert_eq!(bounds.flight(Phase::Up, 0), 10_000);
        assert_eq!(bounds.flight(Phase::Cruise, 0), 8_500);
        assert_eq!(bounds.flight(Phase::Cruise, 9_000), 9_000, "never below the least window");
    }

    #[test]
    fn what_was_refused_for_a_loss_that_was_none_is_allowed_again() {
        let mut bounds = Bounds::default();
        bounds.set_flight_long(10_000);
        bounds.set_flight_long(7_000);
        bounds.undo();
        assert_eq!(bounds.flight_long(), 10_000);
    }
}
