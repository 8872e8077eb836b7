//! What repair costs: how soon a lost tail is back, what is sent again for nothing, how many bytes a lost one takes.
//!
//! Under a virtual clock, so that the figures are the engine's alone. Each test prints its seeds.

mod recovery_support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use recovery_support::{CLIENT, SERVER, Scene};
use ringwire::rng::Rng;
use ringwire::time::Clock;
use ringwire::transport::{Config, CongestionKind, Profile, SendError};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// What the peer may hold an ack back for, in either profile as configured here.
const ACK_DELAY_NS: u64 = 25 * US;
/// Calls of which one packet is lost, at each round trip.
const TRIALS: usize = 200;

/// How long calls take of which the request or the reply is lost, sorted.
fn repairs(rtt_ns: u64, seed: u64) -> Vec<u64> {
    println!("seed {seed}, {rtt_ns} ns; replay: cargo test --test repair_figures tail -- --nocapture");
    let mut rng = Rng::new(seed);
    let mut scene = Scene::new(Duration::from_nanos(rtt_ns / 2), Config::default());
    // A path is never quite steady.
    let mut noise = Rng::new(!seed);
    scene.line.borrow_mut().hold = Box::new(move || noise.below(rtt_ns / 100 + 1));
    scene.run(Duration::from_nanos(20 * rtt_ns));
    let mut took: Vec<u64> = (0..TRIALS)
        .map(|_| {
            let from = if rng.chance(0.5) { CLIENT } else { SERVER };
            scene.line.borrow_mut().dropped = 0;
            scene.client.app_mut().outcomes.clear();
            let took = scene.lose_one_of(from).as_nanos() as u64;
            // What the repair left behind is acknowledged, and the round trip measured again.
            for token in 0..3 {
                scene.run(Duration::from_nanos(rng.between(2 * rtt_ns, 4 * rtt_ns)));
                scene.call(10 + token, Duration::from_secs(10));
            }
            scene.run(Duration::from_nanos(6 * rtt_ns + 2 * MS));
            took
        })
        .collect();
    took.sort_unstable();
    took
}

fn p99(sorted: &[u64]) -> u64 {
    sorted[sorted.len() * 99 / 100 - 1]
}

#[test]
fn a_lost_tail_is_repaired_within_two_and_a_half_round_trips_in_a_data_centre() {
    for (seed, rtt_us) in (1..).zip([10, 30, 100, 300, 900]) {
        let rtt_ns = rtt_us * US;
        // Two and a half round trips, the ack delay of 25 us and the timer's grain of 16; the probe floor below.
        let bound_ns = (rtt_ns * 5 / 2 + 41 * US).max(120 * US);
        let took = repairs(rtt_ns, seed);
        let (p99, p50) = (p99(&took), took[took.len() / 2]);
        println!("RTT {rtt_us} us: repaired within {p50} ns p50, {p99} ns p99; bound {bound_ns} ns");
        assert!(p99 <= bound_ns, "RTT {rtt_us} us: {p99} ns is more than {bound_ns}");
        assert!(took[0] > rtt_ns, "the losses were real");
    }
}

#[test]
fn a_lost_tail_is_repaired_within_two_and_a_half_round_trips_and_the_ack_delay_over_long_paths() {
    for (seed, rtt_ms) in (11..).zip([1, 2, 3, 10, 30, 100]) {
        let rtt_ns = rtt_ms * MS;
        let bound_ns = rtt_ns * 5 / 2 + ACK_DELAY_NS;
        let took = repairs(rtt_ns, seed);
        let (p99, p50) = (p99(&took), took[took.len() / 2]);
        println!("RTT {rtt_ms} ms: repaired within {p50} ns p50, {p99} ns p99; bound {bound_ns} ns");
        assert!(p99 <= bound_ns, "RTT {rtt_ms} ms: {p99} ns is more than {bound_ns}");
        assert!(took[0] > rtt_ns, "the losses were real");
    }
}

/// Sends `count` messages of 1,000 bytes, a packet each, as fast as the engine takes them, and waits until all
/// are acknowledged.
fn stream(scene: &mut Scene, count: usize) {
    let payload = [7; 1_000];
    let mut left = count;
    while left > 0 || scene.client.engine().unacknowledged(scene.session) > 0 {
        while left > 0 {
            match scene.client.send(scene.session, None, &payload) {
                Ok(_) => left -= 1,
                Err(SendError::WouldBlock) => break,
                Err(error) => panic!("{error}"),
            }
        }
        scene.step();
    }
}

fn config(profile: Profile) -> Config {
    let congestion = if profile == Profile::Dc { CongestionKind::Dc } else { CongestionKind::Cubic };
    Config { packet_size_max: 1_200, profile, congestion, ..Config::default() }
}

/// The paths on which waste is measured.
const PATHS: [(Profile, u64); 3] = [(Profile::Dc, 50 * US), (Profile::Dc, 500 * US), (Profile::Wan, 10 * MS)];
const MESSAGES: usize = 20_000;

/// One packet in ten is late by up to a round trip, so that what was sent after it overtakes it.
#[test]
fn reordering_of_a_tenth_of_all_packets_makes_one_in_two_hundred_be_sent_again_at_most() {
    for (seed, (profile, rtt_ns)) in (21..).zip(PATHS) {
        println!("seed {seed}; replay: cargo test --test repair_figures reordering -- --nocapture");
        let mut scene = Scene::new(Duration::from_nanos(rtt_ns / 2), config(profile));
        let mut rng = Rng::new(seed);
        scene.line.borrow_mut().hold = Box::new(move || if rng.chance(0.1) { rng.below(rtt_ns) } else { 0 });
        let before = scene.client.counters();
        stream(&mut scene, MESSAGES);
        let counters = scene.client.counters().since(&before);
        println!(
            "{profile:?} {rtt_ns} ns: {} sent again of {MESSAGES}, {} for nothing; {} taken for lost",
            counters.retransmitted, counters.spurious, counters.lost
        );
        assert!(counters.spurious * 200 <= MESSAGES as u64, "{} spurious", counters.spurious);
        assert!(counters.retransmitted * 200 <= MESSAGES as u64, "{} sent again", counters.retransmitted);
    }
}

#[test]
fn a_lost_byte_is_sent_again_once() {
    for (seed, loss) in (31..).zip([0.01, 0.05, 0.1]) {
        for (profile, rtt_ns) in PATHS {
            println!("seed {seed}; replay: cargo test --test repair_figures lost_byte -- --nocapture");
            let mut scene = Scene::new(Duration::from_nanos(rtt_ns / 2), config(profile));
            let mut rng = Rng::new(seed);
            let lost = Rc::new(Cell::new(0));
            let count = lost.clone();
            scene.line.borrow_mut().drop = Box::new(move |from, packet| {
                let dropped = rng.chance(loss);
                if dropped && from == CLIENT.into() && packet.len() > 1_000 {
                    count.set(count.get() + packet.len() as u64);
                }
                dropped
            });
            let (before, start) = (scene.client.counters(), scene.clock.now());
            stream(&mut scene, MESSAGES / 2);
            let counters = scene.client.counters().since(&before);
            let ratio = counters.bytes_retransmitted as f64 / lost.get() as f64;
            let took_ms = scene.clock.now().since_ns(start) / MS;
            println!(
                "{profile:?} {rtt_ns} ns, loss {loss}: {ratio:.4} bytes sent again for each lost, {} for nothing, {took_ms} ms",
                counters.spurious
            );
            assert!(ratio <= 1.05, "{ratio} bytes sent again for each byte lost");
            assert!(ratio > 0.95, "{ratio}: what was lost was sent again");
        }
    }
}
