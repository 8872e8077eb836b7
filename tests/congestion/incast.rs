//! A hundred senders to one port with a shallow queue (T27).

use std::time::Duration;

use ringwire::sim::experiment::{Experiment, Flow, Measured, host};
use ringwire::sim::link::LinkSpec;
use ringwire::sim::topology::Topology;

use crate::scene::{PACKET, scale, show};

const SENDERS: usize = 100;
const SIZE: usize = 64 << 10;
const RATE: f64 = 1e9;

/// 64 KiB from each sender into 1 Gbit/s with a queue of 25 packets.
fn incast(flows: Vec<Flow>, seed: u64) -> Measured {
    let edge = LinkSpec::new(10_000_000_000, 5_000, 4 << 20);
    let narrow = LinkSpec::new(RATE as u64, 5_000, 4 << 20).with_queue_packets(25);
    let (topology, down) = Topology::incast(SENDERS, &edge, narrow);
    let experiment = Experiment {
        seed,
        topology,
        packet_size: PACKET,
        receive_buffer_size: 4 << 20,
        hosts: vec![host(); SENDERS + 1],
        flows,
        limit: Duration::from_secs(5),
        warm_up: Duration::ZERO,
    };
    experiment.run(down)
}

fn all() -> Vec<Flow> {
    (0..SENDERS).map(|sender| Flow::one(sender, SENDERS, SIZE)).collect()
}

#[test]
fn a_hundred_senders_to_one_port_fill_it_and_none_waits_long() {
    // L44
    let ideal_ns = (SENDERS * SIZE) as f64 * 8e9 / RATE;
    let seeds = 12 * scale();
    let mut goodput_sum = 0.0;
    for seed in 0..seeds {
        let measured = incast(all(), seed);
        show("incast", seed, &measured);
        let ms = |p| measured.completion_ns(p) as f64 / 1e6;
        println!(
            "incast: seed {seed}: {:.1} ms p50, {:.1} p90, {:.1} p99, {:.1} at most",
            ms(50.0),
            ms(90.0),
            ms(99.0),
            ms(100.0)
        );
        let p99 = measured.completion_ns(99.0) as f64 / ideal_ns;
        let goodput = measured.goodput_sum_bit_s() / RATE;
        println!("incast: seed {seed}: goodput {goodput:.3} of the link, p99 {p99:.2} of the ideal");
        // Bytes over the moment the very last of the hundred is done: one that is unlucky shows.
        assert!(goodput >= 0.85, "{goodput}");
        assert!(p99 <= 3.0, "{p99}");
        goodput_sum += goodput;
    }
    println!("incast: {seeds} seeds: goodput {:.3} of the link on average", goodput_sum / seeds as f64);
}

/// The 99th percentile of completion times of all flows but the first, in milliseconds.
fn others_p99_ms(measured: &Measured) -> f64 {
    let mut all: Vec<u64> = measured.flows[1..]
        .iter()
        .map(|flow| flow.completion_ns.expect("it is done within the limit"))
        .collect();
    all.sort_unstable();
    all[(all.len() * 99).div_ceil(100) - 1] as f64 / 1e6
}

// T27.
#[test]
fn a_reader_that_stops_costs_the_others_a_fifth_at_most() {
    let seeds = 3 * scale();
    let (mut reading, mut stopped) = (0.0, 0.0);
    for seed in 0..seeds {
        let mut flows = all();
        let before = others_p99_ms(&incast(flows.clone(), seed));
        flows[0] = Flow::endless(0, SENDERS).unread();
        let after = others_p99_ms(&incast(flows, seed));
        println!(
            "stopped reader: seed {seed}: p99 of the others {before:.1} ms while it read, {after:.1} ms when it did not"
        );
        reading += before;
        stopped += after;
    }
    println!("stopped reader: {seeds} seeds: {:.3} times p99 on average", stopped / reading);
    assert!(stopped <= 1.2 * reading, "{stopped} of {reading}");
}
