use super::super::testing::{Link, rtt_of, run};
use super::super::{Congestion, CongestionKind};
use super::*;

const US: u64 = 1_000;
const PACKET: u64 = 1_400;

fn dc() -> Dc {
    Dc::new(CongestionConfig::new(PACKET))
}

fn ack(dc: &mut Dc, now_us: u64, rtt_us: u64, bytes: u64) {
    let rtt = rtt_of(rtt_us * US);
    dc.on_ack(&AckInfo {
        now: Timestamp(now_us * US),
        bytes_acked: bytes,
        sent_at: Timestamp((now_us - rtt_us) * US),
        rtt: &rtt,
        bytes_in_flight: 0,
        app_limited: false,
        round_end: true,
        sample: None,
    });
}

/// What arrived waited 70 us in a queue.
fn dc_at_a_queue() -> Dc {
    let mut dc = dc();
    ack(&mut dc, 10, 10, 0);
    ack(&mut dc, 90, 80, 0);
    assert_eq!(dc.window(), INITIAL_WINDOW);
    dc
}

fn loss(now_us: u64, sent_us: u64, packets: u64, flight: u64) -> LossInfo {
    LossInfo {
        now: Timestamp(now_us * US),
        bytes_lost: packets * PACKET,
        packets_lost: packets,
        largest_lost_sent_at: Timestamp(sent_us * US),
        flight_bytes: flight,
        lost_flight: None,
    }
}

#[test]
fn the_window_doubles_each_round_while_no_queue_stands() {
    let mut dc = dc();
    ack(&mut dc, 100, 10, INITIAL_WINDOW);
    assert_eq!(dc.window(), 2 * INITIAL_WINDOW);
    (2..20).for_each(|n| ack(&mut dc, 100 * n, 10, 16 << 20));
    assert_eq!(dc.window(), super::super::WINDOW_MAX_DEFAULT);
}

#[test]
fn growth_turns_additive_once_a_queue_stands_and_speeds_up_after_five_rounds() {
    let mut dc = dc();
    ack(&mut dc, 100, 10, 0);
    ack(&mut dc, 1_000, 100, 0);
    let start = dc.window();
    let grown: Vec<u64> = (2..9)
        .map(|n| {
            ack(&mut dc, 1_000 * n, 50, 1 << 20);
            (dc.window() - start) / PACKET
        })
        .collect();
    assert_eq!(grown, [1, 2, 3, 4, 5, 10, 15]);
}

#[test]
fn between_the_thresholds_a_rising_queue_holds_the_window() {
    let mut dc = dc();
    ack(&mut dc, 100, 10, 0);
    ack(&mut dc, 1_000, 400, 0);
    let window = dc.window();
    ack(&mut dc, 2_000, 500, 1 << 20);
    assert_eq!(dc.window(), window);
    ack(&mut dc, 3_000, 450, 1 << 20);
    assert_eq!(dc.window(), window + PACKET);
}

#[test]
fn a_standing_queue_over_the_target_cuts_once_a_round_trip() {
    // L37, L44.
    let mut dc = dc();
    ack(&mut dc, 100, 10, 0);
    ack(&mut dc, 10_000, 2_010, 0);
    assert_eq!(dc.window(), percent(INITIAL_WINDOW, 76));
    // Sent before the cut: says nothing new.
    ack(&mut dc, 11_000, 2_010, 0);
    assert_eq!(dc.window(), percent(INITIAL_WINDOW, 76));
    ack(&mut dc, 13_000, 2_010, 0);
    assert!(dc.window() < percent(INITIAL_WINDOW, 76));
}

#[test]
fn one_slow_packet_in_a_round_cuts_nothing() {
    let mut dc = dc();
    ack(&mut dc, 100, 10, 0);
    let (fast, slow) = (rtt_of(20 * US), rtt_of(5_000 * US));
    for (rtt, round_end) in [(&slow, false), (&fast, false), (&slow, true)] {
        dc.on_ack(&AckInfo {
            now: Timestamp(9_000 * US),
            bytes_acked: 0,
            sent_at: Timestamp(5_000 * US),
            rtt,
            bytes_in_flight: 0,
            app_limited: true,
            round_end,
            sample: None,
        });
    }
    assert_eq!(dc.window(), INITIAL_WINDOW);
}

#[test]
fn an_isolated_loss_is_no_signal() {
    let mut dc = dc();
    dc.on_loss(&loss(100, 50, 1, 2 * PACKET));
    dc.on_loss(&loss(100, 50, 3, 100 * PACKET));
    assert_eq!(dc.window(), INITIAL_WINDOW);
}

#[test]
fn a_quarter_of_a_flight_lost_halves_the_window_once() {
    // L37: in two looks, and more of the same flight a moment later.
    let mut dc = dc();
    dc.on_loss(&loss(100, 50, 12, 100 * PACKET));
    assert_eq!(dc.window(), INITIAL_WINDOW);
    dc.on_loss(&loss(101, 60, 13, 88 * PACKET));
    assert_eq!(dc.window(), INITIAL_WINDOW / 2);
    dc.on_loss(&loss(102, 99, 20, 75 * PACKET));
    assert_eq!(dc.window(), INITIAL_WINDOW / 2);
    dc.on_loss(&loss(300, 200, 25, 50 * PACKET));
    assert_eq!(dc.window(), INITIAL_WINDOW / 4);
}

#[test]
fn a_flight_of_which_little_arrived_leaves_as_much() {
    // L44: a hundred such flights met in one port. Found in two looks, it is still one cut (L37).
    let mut dc = dc_at_a_queue();
    dc.on_loss(&loss(100, 50, 20, 40 * PACKET));
    assert_eq!(dc.window(), INITIAL_WINDOW / 2);
    dc.on_loss(&loss(101, 60, 18, 20 * PACKET));
    assert_eq!(dc.window(), 2 * PACKET);
}

#[test]
fn where_no_queue_stands_what_is_lost_is_lost_by_chance_and_two_packets_remain() {
    // A tenth of all packets lost on a path of 50 us: two of a flight of four tell of no queue.
    let mut dc = dc();
    ack(&mut dc, 10, 10, 0);
    for n in 0..20 {
        dc.on_loss(&loss(100 + 200 * n, 50 + 200 * n, 3, 4 * PACKET));
    }
    assert_eq!(dc.window(), 2 * PACKET);
    let before = dc.window();
    dc.on_loss(&loss(9_000, 8_950, 1, 2 * PACKET));
    assert_eq!(dc.window(), before, "one packet of a small flight is only one packet");
}

#[test]
fn a_window_of_a_packet_or_less_is_halved_by_any_loss_and_paced() {
    // L44: below one packet by pacing.
    let mut dc = dc_at_a_queue();
    dc.on_loss(&loss(100, 50, 40, 40 * PACKET));
    assert_eq!(dc.window(), percent(40 * PACKET, 3));
    let mut now_us = 1_000;
    while dc.window() > PACKET / 4 {
        let before = dc.window();
        dc.on_loss(&loss(now_us, now_us - 1, 1, PACKET));
        assert_eq!(dc.window(), before / 2);
        now_us += 1_000;
    }
    let window = dc.window();
    let pace = dc.pace(&rtt_of(50 * US)).expect("a window so small is a rate");
    assert_eq!((pace.rate, pace.burst), (window * 20_000, PACKET));
    ack(&mut dc, now_us + 100, 65, PACKET);
    assert_eq!(dc.window(), 2 * window);
    (0..100).for_each(|n| dc.on_loss(&loss(now_us + 1_000 * n + 1_000, now_us + 1_000 * n + 999, 1, PACKET)));
    assert_eq!(dc.window(), PACKET / 8, "the floor");
    ack(&mut dc, 1_000_000, 2_000, PACKET);
    (0..9).for_each(|n| dc.on_loss(&loss(1_100_000 + n, 1_099_999 + n, 1, PACKET)));
    assert_eq!(dc.window(), PACKET / 2, "a packet in 4 ms, whatever the path");
}

#[test]
fn losses_of_different_rounds_do_not_add_up() {
    let mut dc = dc();
    for n in 1..50 {
        dc.on_loss(&loss(1_000 * n, 1_000 * n - 50, 2, 10 * PACKET));
        ack(&mut dc, 1_000 * n + 500, 10, 0);
    }
    assert_eq!(dc.window(), INITIAL_WINDOW);
}

#[test]
fn a_cut_is_undone_when_every_lost_packet_arrived_after_all() {
    // L20.
    let mut dc = dc();
    dc.on_loss(&loss(100, 50, 3, 10 * PACKET));
    dc.on_loss(&loss(101, 60, 1, 7 * PACKET));
    (0..3).for_each(|_| dc.on_spurious_loss());
    assert_eq!(dc.window(), INITIAL_WINDOW / 2);
    dc.on_spurious_loss();
    assert_eq!(dc.window(), INITIAL_WINDOW);
}

#[test]
fn a_mark_and_the_peers_drops_cut_once_a_round_trip() {
    let mut dc = dc();
    ack(&mut dc, 100, 50, 0);
    dc.on_congestion_experienced(Timestamp(200 * US), Timestamp(150 * US));
    dc.on_congestion_experienced(Timestamp(201 * US), Timestamp(151 * US));
    dc.on_peer_drops(Timestamp(220 * US), 9);
    assert_eq!(dc.window(), percent(INITIAL_WINDOW, 80));
    dc.on_peer_drops(Timestamp(400 * US), 0);
    assert_eq!(dc.window(), percent(INITIAL_WINDOW, 80));
    dc.on_peer_drops(Timestamp(400 * US), 9);
    assert_eq!(dc.window(), percent(percent(INITIAL_WINDOW, 80), 50));
}

#[test]
fn persistent_congestion_leaves_two_packets() {
    // L22.
    let mut dc = dc();
    dc.on_persistent_congestion();
    assert_eq!(dc.window(), 2 * PACKET);
}

#[test]
fn an_unused_window_does_not_grow_and_starts_anew_after_silence() {
    // L39.
    let mut dc = dc();
    dc.on_sent(Timestamp(0), PACKET, PACKET);
    ack(&mut dc, 100, 10, 1 << 20);
    let rtt = rtt_of(10 * US);
    let grown = dc.window();
    dc.on_ack(&AckInfo {
        now: Timestamp(200 * US),
        bytes_acked: 1 << 20,
        sent_at: Timestamp(190 * US),
        rtt: &rtt,
        bytes_in_flight: 0,
        app_limited: true,
        round_end: true,
        sample: None,
    });
    assert_eq!(dc.window(), grown);
    dc.on_sent(Timestamp(1_000_000 * US), PACKET, PACKET);
    assert_eq!(dc.window(), INITIAL_WINDOW);
}

#[test]
fn a_path_that_grew_longer_is_learnt_at_the_floor() {
    let mut dc = dc();
    ack(&mut dc, 100, 10, 0);
    let mut now_us = 10_000;
    while dc.window() > PACKET {
        ack(&mut dc, now_us, 3_000, 0);
        now_us += 10_000;
    }
    for _ in 0..20 {
        ack(&mut dc, now_us, 3_000, 1 << 20);
        now_us += 10_000;
    }
    assert!(dc.window() > 10 * PACKET, "stuck at {}", dc.window());
}

#[test]
fn short_paths_are_not_paced() {
    let dc = dc();
    assert_eq!(dc.pace(&rtt_of(99 * US)), None);
    let pace = dc.pace(&rtt_of(200 * US));
    assert_eq!(pace, Some(Pace::of(2 * INITIAL_WINDOW * 5_000, PACKET, INITIAL_WINDOW)));
}

#[test]
fn a_bottleneck_is_filled_and_its_queue_kept_near_the_target() {
    // 10 Gbit/s, 20 µs, a buffer of 10 ms: the queue must stay far below the buffer.
    let link = Link { rate: 1_250_000_000, delay_ns: 20 * US, buffer: 12_500_000 };
    let flows = vec![Congestion::new(CongestionKind::Dc, CongestionConfig::new(PACKET))];
    let outcome = run(link, flows, PACKET, 200_000 * US);
    assert!(outcome.utilisation > 0.95, "{outcome:?}");
    assert!(outcome.queue_ns_late < 1_300 * US, "{outcome:?}");
    assert_eq!(outcome.dropped, 0, "{outcome:?}");
}

#[test]
fn thirty_two_flows_into_one_port_do_not_collapse() {
    // L44: 8 MiB of initial windows meet a 2 MB buffer at 10 Gbit/s.
    let link = Link { rate: 1_250_000_000, delay_ns: 20 * US, buffer: 2_000_000 };
    let flows = (0..32).map(|_| Congestion::new(CongestionKind::Dc, CongestionConfig::new(PACKET)));
    let outcome = run(link, flows.collect(), PACKET, 200_000 * US);
    assert!(outcome.utilisation > 0.9, "{outcome:?}");
    assert!(outcome.queue_ns_late < 1_500 * US, "{outcome:?}");
    assert!(outcome.dropped_late * 100 < outcome.delivered_late, "{outcome:?}");
    assert!(outcome.fairness > 0.7, "{outcome:?}");
}
