//! 100 Mbit/s over 10 ms, with and without loss (T05, T06).

use std::time::Duration;

use ringwire::sim::experiment::{Experiment, Flow, Measured, host};
use ringwire::sim::link::LinkSpec;
use ringwire::sim::topology::Topology;
use ringwire::transport::{Config, CongestionKind};

use crate::scene::{PACKET, PAYLOAD, WIDE_QUEUE, over, scale, show, wide_area};

fn alone(kind: CongestionKind, loss: &str, seed: u64) -> Measured {
    let measured = over(&wide_area(loss, seed), &[kind], 5 * scale(), seed);
    show(&format!("{} alone, {loss} lost", kind.name()), seed, &measured);
    measured
}

/// Of what the link carries when full packets leave back to back.
fn share_of_link(measured: &Measured) -> f64 {
    measured.goodput_sum_bit_s() / (100e6 * PAYLOAD)
}

#[test]
fn a_clean_link_is_filled_and_its_queue_kept_under_half_by_the_model() {
    for seed in 0..scale() {
        let measured = alone(CongestionKind::Model, "0%", seed);
        assert!(share_of_link(&measured) >= 0.95, "{}", share_of_link(&measured));
        assert!(measured.queue_mean() <= WIDE_QUEUE as f64 / 2.0);
        // A full fragment leaves no room for an ack: that is no reason to cut it in two.
        assert_eq!(measured.engine.parts_sent, 0);
    }
}

#[test]
fn a_clean_link_is_filled_by_cubic() {
    let measured = alone(CongestionKind::Cubic, "0%", 1);
    assert!(share_of_link(&measured) >= 0.95, "{}", share_of_link(&measured));
}

#[test]
fn one_packet_in_a_thousand_lost_leaves_the_model_nine_tenths_of_the_link() {
    for seed in 0..scale() {
        let share = share_of_link(&alone(CongestionKind::Model, "0.1%", seed));
        assert!(share >= 0.9, "{share}");
    }
}

#[test]
fn one_packet_in_a_hundred_lost_leaves_the_model_seven_tenths_of_the_link() {
    for seed in 0..scale() {
        let measured = alone(CongestionKind::Model, "1%", seed);
        assert!(share_of_link(&measured) >= 0.7, "{}", share_of_link(&measured));
        // T06: nothing is sent again that was not lost, but for a probe now and then.
        assert!(measured.retransmitted_per_lost() <= 1.05, "{}", measured.retransmitted_per_lost());
    }
}

/// RFC 9438 §5.1, the larger of its two regions, in packets: Reno's window √(3/2p) and CUBIC's
/// (C·(3 + β) / (4·(1 − β)))^¼ · (RTT / p)^¾.
fn response(loss: f64, rtt_s: f64) -> f64 {
    let (c, beta): (f64, f64) = (0.4, 0.7);
    let cubic = (c * (3.0 + beta) / (4.0 * (1.0 - beta))).powf(0.25) * (rtt_s / loss).powf(0.75);
    cubic.max((1.5 / loss).sqrt())
}

#[test]
fn cubic_keeps_to_its_response_function() {
    // RFC 9438 §5.1, T05: within 15 %, "a deterministic loss model, where the number of packets between two
    // successive packet losses is always 1/p". The link is far wider than the window: only losses hold it.
    let mut paths = vec![(100, 10, 20), (1_000, 10, 20), (1_000, 100, 60)];
    if scale() > 1 {
        paths.push((10_000, 100, 200));
    }
    for (every, rtt_ms, seconds) in paths {
        let seed = 3;
        let link = LinkSpec::new(2_000_000_000, rtt_ms * 500_000, 64 << 20).losing_every(every);
        let measured = over(&link, &[CongestionKind::Cubic], seconds, seed);
        let packets_s = measured.goodput_bit_s(0) / 8.0 / (PACKET as f64 * PAYLOAD);
        let window = packets_s * rtt_ms as f64 / 1e3;
        let expected = response(1.0 / every as f64, rtt_ms as f64 / 1e3);
        println!(
            "cubic, 1 in {every} lost, {rtt_ms} ms: seed {seed}: {window:.1} packets, RFC 9438 says {expected:.1}"
        );
        assert!((window / expected - 1.0).abs() <= 0.15, "{window} of {expected}");
    }
}

#[test]
fn every_controller_completes_when_half_of_all_packets_are_lost() {
    // T05
    for kind in [CongestionKind::Dc, CongestionKind::Cubic, CongestionKind::Model] {
        for seed in 0..6 * scale() {
            let measured = one(kind, &wide_area("50%", seed), 256 << 10, seed);
            show(&format!("{}, 50 % lost", kind.name()), seed, &measured);
            let counters = &measured.engine;
            assert!(measured.flows[0].completion_ns.is_some(), "{}: seed {seed}: {counters:?}", kind.name());
        }
    }
}

#[test]
fn a_session_opens_over_an_ocean_though_each_first_message_is_answered_by_a_cookie() {
    // INITs leave every 20 ms: over 200 ms ten are answered before the first cookie has brought an ACCEPT.
    let measured = one(CongestionKind::Auto, &LinkSpec::new(100_000_000, 100_000_000, 1 << 20), 100, 1);
    show("an ocean", 1, &measured);
    assert!(measured.flows[0].completion_ns.is_some_and(|ns| ns < 1_000_000_000), "{:?}", measured.flows[0]);
}

/// One message of `size` bytes over `link`.
fn one(kind: CongestionKind, link: &LinkSpec, size: usize, seed: u64) -> Measured {
    let edge = LinkSpec::new(1_000_000_000, 10_000, 1 << 20);
    let (topology, middle) = Topology::dumbbell(1, &edge, link);
    let experiment = Experiment {
        seed,
        topology,
        packet_size: PACKET,
        receive_buffer_size: 208 << 10,
        hosts: vec![Config { congestion: kind, ..host() }; 2],
        flows: vec![Flow::one(0, 1, size)],
        limit: Duration::from_secs(600),
        warm_up: Duration::ZERO,
    };
    experiment.run(middle)
}
