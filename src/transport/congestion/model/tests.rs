use super::super::super::rtt::Rtt;
use super::super::testing::rtt_of;
use super::*;

const MS: u64 = 1_000_000;
const PACKET: u64 = 1_200;
/// 100 packets in 10 ms: 12 MB/s.
const FLIGHT: u64 = 100 * PACKET;
const RATE: u64 = FLIGHT * 100;

/// A path of 10 ms and 12 MB/s that delivers whatever is sent, a round trip at a time.
struct Path {
    model: Model,
    rtt: Rtt,
    now: Timestamp,
    delivered: u64,
}

impl Path {
    fn new() -> Self {
        let model = Model::new(CongestionConfig::new(PACKET));
        Self { model, rtt: rtt_of(10 * MS), now: Timestamp(1_000_000 * MS), delivered: 0 }
    }

    /// One round trip of `rate` bytes a second, of which `lost` bytes were lost.
    fn round(&mut self, rate: u64, lost: u64, app_limited: bool) {
        let flight = flight(rate, 10 * MS);
        self.now = self.now.after_ns(10 * MS);
        let prior_delivered = self.delivered;
        self.delivered += flight - lost;
        if lost > 0 {
            self.model.on_loss(&LossInfo {
                now: self.now,
                bytes_lost: lost,
                packets_lost: lost / PACKET,
                largest_lost_sent_at: self.now,
                flight_bytes: flight,
                lost_flight: Some(super::super::delivery_rate::LostFlight {
                    flight_at_send: flight,
                    lost,
                    app_limited,
                }),
            });
        }
        self.model.on_ack(&AckInfo {
            now: self.now,
            bytes_acked: flight - lost,
            sent_at: self.now,
            rtt: &self.rtt,
            bytes_in_flight: flight,
            app_limited,
            round_end: true,
            sample: Some(RateSample {
                rate,
                delivered: flight - lost,
                prior_delivered,
                total_delivered: self.delivered,
                app_limited,
                flight_at_send: flight,
                lost,
            }),
        });
    }

    /// Past startup and its queue, cruising.
    fn settled() -> Self {
        let mut path = Self::new();
        (0..8).for_each(|_| path.round(RATE, 0, false));
        path.round(RATE / 2, 0, false);
        path.round(RATE / 2, 0, false);
        assert_eq!(path.model.phase, Phase::Cruise);
        path
    }
}

#[test]
fn startup_paces_at_277_percent_until_three_rounds_bring_no_more() {
    // L43
    let mut path = Path::new();
    for rate in [RATE / 8, RATE / 4, RATE / 2, RATE] {
        path.round(rate, 0, false);
        assert_eq!(path.model.phase, Phase::Startup);
        let pace = path.model.pace(&path.rtt).expect("always paced").rate;
        assert_eq!(pace, scale(rate, 277) / 100 * 99);
    }
    path.round(RATE, 0, false);
    path.round(RATE, 0, false);
    assert_eq!(path.model.phase, Phase::Startup);
    path.round(RATE, 0, false);
    assert_ne!(path.model.phase, Phase::Startup);
}

#[test]
fn a_rate_the_application_set_ends_no_startup_and_lowers_no_estimate() {
    // L43: app-limited samples are marked.
    let mut path = Path::new();
    path.round(RATE, 0, false);
    (0..10).for_each(|_| path.round(RATE / 10, 0, true));
    assert_eq!((path.model.phase, path.model.rate()), (Phase::Startup, RATE));
}

#[test]
fn one_percent_lost_lowers_nothing_and_five_percent_lowers_the_rate_until_the_next_probing() {
    // L43: loss threshold 2 %, beta 0.7.
    let mut path = Path::settled();
    (0..5).for_each(|_| path.round(RATE, FLIGHT / 100, false));
    assert_eq!((path.model.rate(), path.model.bounds.rate_short()), (RATE, u64::MAX));
    path.round(RATE, FLIGHT / 20, false);
    path.round(RATE / 2, FLIGHT / 20, false);
    assert!(path.model.rate() < RATE, "{}", path.model.rate());
    assert!(path.model.rate() >= scale(RATE, 49), "{}", path.model.rate());
    path.model.start_down(path.now);
    path.model.bounds.forget_short();
    assert_eq!(path.model.rate(), RATE);
}

#[test]
fn a_flight_refused_while_going_up_bounds_the_next() {
    // L43: loss threshold 2 %.
    let mut path = Path::settled();
    (path.model.phase, path.model.probing.samples) = (Phase::Up, true);
    path.round(RATE + RATE / 4, 5 * PACKET, false);
    assert!(matches!(path.model.phase, Phase::Down | Phase::Cruise));
    assert_eq!(path.model.bounds.flight_long(), FLIGHT + FLIGHT / 4);
}

#[test]
fn every_five_seconds_half_a_flight_shows_the_paths_length() {
    // L43: for 200 ms.
    let mut path = Path::settled();
    path.rtt = rtt_of(15 * MS);
    let mut rounds = 0;
    while !matches!(path.model.phase, Phase::ProbeRtt { .. }) {
        path.round(RATE, 0, false);
        rounds += 1;
        assert!(rounds < 520, "no probe of the round trip in 5.2 s");
    }
    assert!(rounds > 400, "{rounds}");
    path.round(RATE / 3, 0, false);
    assert!(path.model.window() <= FLIGHT / 2, "{}", path.model.window());
    let began = path.now;
    path.rtt = rtt_of(12 * MS);
    while matches!(path.model.phase, Phase::ProbeRtt { .. }) {
        path.round(RATE / 3, 0, false);
    }
    let lasted_ms = path.now.since_ns(began) / MS;
    assert!((200..=230).contains(&lasted_ms), "{lasted_ms}");
    assert_eq!(path.model.min_rtt.value_ns(), 12 * MS);
}
