use super::super::testing::{Link, rtt_of, run};
use super::super::{Congestion, CongestionKind};
use super::*;

const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;
const PACKET: u64 = 1_200;

fn cubic() -> Cubic {
    Cubic::new(CongestionConfig::new(PACKET))
}

fn at_window(packets: u64) -> Cubic {
    Cubic::new(CongestionConfig { initial_window: Some(packets * PACKET), ..CongestionConfig::new(PACKET) })
}

fn ack<'a>(now_ms: u64, rtt: &'a Rtt, bytes: u64) -> AckInfo<'a> {
    AckInfo {
        now: Timestamp(now_ms * MS),
        bytes_acked: bytes,
        sent_at: Timestamp(now_ms * MS - rtt.latest_ns()),
        rtt,
        bytes_in_flight: 0,
        app_limited: false,
        round_end: true,
        sample: None,
    }
}

fn loss(now_ms: u64, sent_ms: u64, packets: u64) -> LossInfo {
    LossInfo {
        now: Timestamp(now_ms * MS),
        bytes_lost: packets * PACKET,
        packets_lost: packets,
        largest_lost_sent_at: Timestamp(sent_ms * MS),
        flight_bytes: 100 * PACKET,
        lost_flight: None,
    }
}

/// Rounds of 40 ms from `from_ms` on, each acking a whole window; the windows in packets.
fn rounds(cubic: &mut Cubic, from_ms: u64, count: u64) -> Vec<u64> {
    let rtt = rtt_of(40 * MS);
    (0..count)
        .map(|n| {
            let acked = cubic.window();
            // Ten acks a round, as an ack-clocked flow would see them.
            for tenth in 0..10 {
                cubic.on_ack(&ack(from_ms + 40 * n + 4 * tenth, &rtt, acked / 10));
            }
            cubic.window() / PACKET
        })
        .collect()
}

#[test]
fn the_initial_window_is_ten_packets_within_its_limits() {
    // L35, RFC 9002 §7.2.
    assert_eq!(cubic().window(), 12_000);
    assert_eq!(Cubic::new(CongestionConfig::new(1_472)).window(), 14_720);
    assert_eq!(Cubic::new(CongestionConfig::new(9_000)).window(), 18_000);
}

#[test]
fn slow_start_doubles_the_window_each_round() {
    let mut cubic = cubic();
    assert_eq!(rounds(&mut cubic, 1_000, 3), [20, 40, 80]);
}

#[test]
fn a_loss_keeps_seven_tenths_once_a_round_trip() {
    // L37, L38.
    let mut cubic = at_window(100);
    cubic.on_loss(&loss(1_000, 960, 1));
    cubic.on_loss(&loss(1_010, 999, 5));
    assert_eq!(cubic.window(), 70 * PACKET);
    cubic.on_loss(&loss(1_050, 1_001, 1));
    assert_eq!(cubic.window(), 49 * PACKET);
}

#[test]
fn acks_of_what_was_sent_before_the_loss_do_not_grow_the_window() {
    let mut cubic = at_window(100);
    cubic.on_loss(&loss(1_000, 960, 1));
    cubic.on_ack(&ack(1_030, &rtt_of(40 * MS), 30 * PACKET));
    assert_eq!(cubic.window(), 70 * PACKET);
}

#[test]
fn growth_is_concave_to_the_old_maximum_then_convex() {
    // L38, RFC 9438 §4.2: K = cbrt(1,000 · 0.3 / 0.4) = 9.09 s after a loss at 1,000 packets.
    let mut cubic = at_window(1_000);
    cubic.on_loss(&loss(1_000, 960, 1));
    let windows = rounds(&mut cubic, 1_041, 400);
    let at = |seconds: f64| windows[(seconds / 0.04) as usize - 1] as f64;
    for (seconds, expected) in [(2.0, 1_000.0 - 0.4 * 7.09f64.powi(3)), (9.09, 1_000.0), (12.0, 1_009.9)] {
        assert!((at(seconds) - expected).abs() < 12.0, "{seconds} s: {} packets", at(seconds));
    }
    assert!(at(3.0) - at(2.0) > at(8.0) - at(7.0));
    assert!(at(16.0) - at(15.0) > at(12.0) - at(11.0));
}

#[test]
fn a_packet_size_that_is_told_again_and_is_the_same_begins_no_new_curve() {
    // A path is asked for its size anew every ten minutes; curve and Reno's estimate (RFC 9438 §4.3) once began anew
    // with each answer.
    let windows = |told: &[u64]| {
        let mut cubic = at_window(1_000);
        cubic.on_loss(&loss(1_000, 960, 1));
        rounds(&mut cubic, 1_041, 100);
        told.iter().for_each(|&bytes| cubic.set_packet_size(bytes));
        rounds(&mut cubic, 5_041, 200)
    };
    assert_eq!(windows(&[PACKET, PACKET]), windows(&[]));
    assert_ne!(windows(&[PACKET + 16]), windows(&[]));
}

#[test]
fn a_small_window_grows_no_slower_than_reno() {
    // L38, RFC 9438 §4.3: at 10 packets and 40 ms the cubic alone would add next to nothing.
    let mut cubic = at_window(10);
    cubic.on_loss(&loss(1_000, 960, 1));
    let windows = rounds(&mut cubic, 1_041, 40);
    // 0.53 packets a round to the old window, then one a round.
    assert!(windows[5] >= 9, "{windows:?}");
    assert!(windows[39] >= 38, "{windows:?}");
}

#[test]
fn a_flow_that_did_not_regain_its_window_gives_way() {
    // L38, RFC 9438 §4.7: fast convergence.
    let mut cubic = at_window(1_000);
    cubic.on_loss(&loss(1_000, 960, 1));
    cubic.on_loss(&loss(1_100, 1_050, 1));
    assert_eq!(cubic.state.window_max, 700.0 * PACKET as f64 * 0.85);
}

#[test]
fn a_reduction_is_undone_when_its_losses_were_none() {
    // L20, RFC 9438 §4.9.
    let mut cubic = at_window(100);
    cubic.on_loss(&loss(1_000, 960, 2));
    cubic.on_spurious_loss();
    assert_eq!(cubic.window(), 70 * PACKET);
    cubic.on_spurious_loss();
    assert_eq!(cubic.window(), 100 * PACKET);
    assert!(cubic.window() < cubic.state.slow_start_threshold);
}

#[test]
fn a_reduction_for_a_mark_is_never_undone() {
    let mut cubic = at_window(100);
    cubic.on_congestion_experienced(Timestamp(1_000 * MS), Timestamp(960 * MS));
    cubic.on_loss(&loss(1_001, 990, 1));
    cubic.on_spurious_loss();
    assert_eq!(cubic.window(), 85 * PACKET);
}

#[test]
fn an_unused_window_does_not_grow_and_the_cubic_waits() {
    // L38, L39, RFC 9438 §5.8.
    let rtt = rtt_of(40 * MS);
    let (mut busy, mut idle) = (at_window(1_000), at_window(1_000));
    for cubic in [&mut busy, &mut idle] {
        cubic.on_loss(&loss(1_000, 960, 1));
        rounds(cubic, 1_041, 10);
    }
    idle.on_ack(&AckInfo { app_limited: true, ..ack(1_441, &rtt, 1_000 * PACKET) });
    assert_eq!(idle.window(), busy.window());
    // Ten minutes of silence later it goes on where it was.
    let idle_after = rounds(&mut idle, 601_441, 10);
    assert_eq!(idle_after, rounds(&mut busy, 1_441, 10));
}

#[test]
fn persistent_congestion_leaves_two_packets_and_slow_starts() {
    // L22, RFC 9002 §7.6.2.
    let mut cubic = at_window(100);
    cubic.on_loss(&loss(1_000, 960, 1));
    cubic.on_persistent_congestion();
    assert_eq!(cubic.window(), 2 * PACKET);
    assert_eq!(rounds(&mut cubic, 2_000, 2), [4, 8]);
}

#[test]
fn the_window_stays_between_two_packets_and_its_ceiling() {
    let mut cubic = cubic();
    rounds(&mut cubic, 1_000, 60);
    assert_eq!(cubic.window(), super::super::WINDOW_MAX_DEFAULT);
    (0..60).for_each(|n| cubic.on_loss(&loss(10_000 + n, 9_999 + n + 1, 1)));
    assert_eq!(cubic.window(), 2 * PACKET);
}

#[test]
fn it_paces_at_a_quarter_over_the_window_and_at_twice_in_slow_start() {
    // L41, RFC 9002 §7.7.
    let mut cubic = at_window(100);
    let rtt = rtt_of(100 * MS);
    assert_eq!(cubic.pace(&rtt), Some(Pace::of(2 * 100 * PACKET * 10, PACKET, 10 * PACKET)));
    cubic.on_loss(&loss(1_000, 960, 1));
    assert_eq!(cubic.pace(&rtt), Some(Pace::of(70 * PACKET * 10 * 125 / 100, PACKET, 10 * PACKET)));
}

#[test]
fn a_rising_delay_ends_slow_start_before_the_buffer_overflows() {
    // L36, RFC 9406: 100 Mbit/s, 40 ms, a buffer of 400 ms: doubling alone overflows any buffer.
    let link = Link { rate: 12_500_000, delay_ns: 40 * MS, buffer: 5_000_000 };
    let flow = Congestion::new(CongestionKind::Cubic, CongestionConfig::new(PACKET));
    let outcome = run(link, vec![flow], PACKET, 2 * S);
    assert_eq!(outcome.dropped, 0, "{outcome:?}");
    assert!(outcome.utilisation > 0.95, "{outcome:?}");
}

#[test]
fn a_bottleneck_is_kept_full_in_a_saw_tooth() {
    // 100 Mbit/s, 20 ms, a buffer of one bandwidth-delay product.
    let link = Link { rate: 12_500_000, delay_ns: 20 * MS, buffer: 250_000 };
    let flow = Congestion::new(CongestionKind::Cubic, CongestionConfig::new(PACKET));
    let outcome = run(link, vec![flow], PACKET, 60 * S);
    assert!(outcome.utilisation > 0.95, "{}", outcome.utilisation);
    assert!(outcome.dropped > 0);
    assert!(outcome.dropped_late * 1_000 < outcome.delivered_late);
    assert!(outcome.cuts >= 3, "{outcome:?}");
}

#[test]
fn two_flows_come_to_share_a_bottleneck() {
    // L46's kin: a late starter is not starved.
    let link = Link { rate: 12_500_000, delay_ns: 20 * MS, buffer: 250_000 };
    let large = CongestionConfig { initial_window: Some(300_000), ..CongestionConfig::new(PACKET) };
    let flows = vec![
        Congestion::new(CongestionKind::Cubic, large),
        Congestion::new(CongestionKind::Cubic, CongestionConfig::new(PACKET)),
    ];
    let outcome = run(link, flows, PACKET, 120 * S);
    assert!(outcome.fairness > 0.9, "{}", outcome.fairness);
    assert!(outcome.utilisation > 0.95, "{}", outcome.utilisation);
}
