//! Losses on a line under a virtual clock: what is repaired, and how soon.
//!
//! Two workers are joined by a line with a delay and a script of which packets to drop. Nothing here
//! depends on the host's speed.

mod recovery_support;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use recovery_support::{CLIENT, Echo, Line, SERVER, Scene, insecure, server_target, worker};
use ringwire::bounds::{HEADER_SIZE, TAG_SIZE};
use ringwire::crypto::{Csprng, Identity};
use ringwire::io::memory::MemoryBackend;
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::security::Security;
use ringwire::transport::{Config, Profile};
use ringwire::wire::PacketKind;
use ringwire::worker::{CloseReason, Worker, WorkerConfig};

fn repair_bound(rtt: Duration) -> Duration {
    // The aim: a lone lost last packet is repaired within max(2.5 RTT + 41 µs, 120 µs).
    (rtt * 5 / 2 + Duration::from_micros(41)).max(Duration::from_micros(120))
}

fn lone_loss(from: ([u8; 4], u16)) {
    for rtt_us in [10, 30, 100, 300, 900] {
        let rtt = Duration::from_micros(rtt_us);
        let mut scene = Scene::new(rtt / 2, Config::default());
        let took = scene.lose_one_of(from);
        let bound = repair_bound(rtt);
        assert!(took <= bound, "RTT {rtt:?}: repaired after {took:?}, more than {bound:?}");
        assert!(took > rtt, "the loss was real");
    }
}

#[test]
fn a_lone_lost_request_is_repaired_within_two_and_a_half_round_trips() {
    lone_loss(CLIENT);
}

#[test]
fn a_lone_lost_reply_is_repaired_within_two_and_a_half_round_trips() {
    lone_loss(SERVER);
}

#[test]
fn a_lost_packet_in_the_middle_of_a_burst_is_repaired_without_a_probe() {
    let mut scene = Scene::new(Duration::from_micros(50), Config::default());
    scene.drop_nth(CLIENT, 3);
    let payload = vec![7; 15_000];
    let deadline = scene.clock.now().after(Duration::from_secs(5));
    for token in 0..12 {
        scene.client.call(scene.session, 0, &payload, deadline, token).expect("room");
    }
    scene.until(Duration::from_secs(5), |s| s.client.app().outcomes.len() == 12);
    let counters = scene.client.counters();
    assert_eq!(scene.line.borrow().dropped, 1);
    assert_eq!((counters.lost, counters.probes_repairing), (1, 0));
}

#[test]
fn every_call_ends_once_whatever_share_of_packets_is_lost() {
    for seed in 0..20u64 {
        let mut rng = Rng::new(seed);
        let loss = rng.unit() * 0.3;
        println!("seed {seed}: loss {loss:.3}; replay: cargo test --test recovery every_call -- --nocapture");
        let mut scene = Scene::new(Duration::from_micros(rng.between(5, 400)), Config::default());
        let runs = scene.server.as_ref().map_or(0, |s| s.app().runs);
        scene.line.borrow_mut().drop = Box::new(move |_, _| rng.chance(loss));
        for token in 0..500 {
            scene.call(token, Duration::from_secs(60));
            if token % 7 == 0 {
                scene.run(Duration::from_micros(100));
            }
        }
        scene.until(Duration::from_secs(60), |s| s.client.app().outcomes.len() == 500);
        assert!(scene.client.app().outcomes.iter().all(|(_, name, _)| *name == "replied"));
        assert_eq!(scene.server.as_ref().map_or(0, |s| s.app().runs) - runs, 500, "each ran once");
    }
}

#[test]
fn a_server_that_vanishes_ends_calls_by_their_deadline_and_the_session_by_its_idle_timeout() {
    let config = Config { idle_timeout: Duration::from_secs(3), ..Config::default() };
    let mut scene = Scene::new(Duration::from_micros(50), config);
    scene.server = None;
    let start = scene.clock.now();
    scene.call(1, Duration::from_millis(500));
    scene.call(2, Duration::from_secs(60));
    scene.until(Duration::from_secs(20), |s| !s.client.app().closed.is_empty());
    let outcomes = &scene.client.app().outcomes;
    assert_eq!((outcomes[0].0, outcomes[0].1), (1, "timed out"));
    let late = outcomes[0].2.since_ns(start) - 500_000_000;
    assert!(late < 1_000_000, "{late} ns after the deadline");
    assert_eq!((outcomes[1].0, outcomes[1].1), (2, "unknown"));
    assert_eq!(scene.client.app().closed, [CloseReason::TimedOut]);
}

/// The server is started anew under a call: why the client's session ended, and after how many ns.
fn restarted(config: Config) -> (CloseReason, u64) {
    let mut scene = Scene::new(Duration::from_micros(50), config);
    let (clock, line) = (scene.clock.clone(), scene.line.clone());
    scene.server = Some(worker(&clock, &line, SERVER.into(), &scene.config, 77));
    let start = scene.clock.now();
    scene.call(1, Duration::from_secs(60));
    scene.until(Duration::from_secs(20), |s| !s.client.app().closed.is_empty());
    assert_eq!(scene.client.app().outcomes[0].1, "unknown");
    assert_eq!(scene.server.as_ref().map_or(1, |s| s.app().runs), 0, "a new incarnation never runs the call");
    (scene.client.app().closed[0], scene.clock.now().since_ns(start))
}

#[test]
fn a_restarted_insecure_server_is_noticed_by_its_boot_id_and_calls_end_unknown() {
    let (why, took) = restarted(insecure());
    assert_eq!(why, CloseReason::PeerRestarted(77));
    assert!(took < 100_000_000, "noticed after {took} ns");
}

#[test]
fn a_restarted_server_proves_it_within_two_round_trips_and_calls_end_unknown() {
    let (why, took) = restarted(Config::default());
    assert_eq!(why, CloseReason::Reset);
    assert!(took < 2 * 100_000, "noticed after {took} ns, two round trips of 100 us");
}

#[test]
fn an_accept_that_had_to_be_said_twice_does_not_make_a_near_server_slow_for_ever() {
    let mut accepts = 0;
    let lose_first_accept = move |from: SocketAddr, packet: &[u8]| {
        let accept = from == SERVER.into() && packet[0] == PacketKind::Accept as u8;
        accepts += u32::from(accept);
        accept && accepts == 1
    };
    let rtt = Duration::from_micros(100);
    let mut scene = Scene::over(rtt / 2, Config::default(), Box::new(lose_first_accept));
    assert_eq!(std::mem::take(&mut scene.line.borrow_mut().dropped), 1);
    let (took, bound) = (scene.lose_one_of(SERVER), repair_bound(rtt));
    assert!(took <= bound, "a lost reply was repaired after {took:?}, more than {bound:?}");
}

#[test]
fn a_key_is_changed_after_its_time_however_little_it_sealed() {
    let config = Config { key_update_interval: Duration::from_millis(10), ..Config::default() };
    let mut scene = Scene::new(Duration::from_micros(50), config);
    let before = scene.client.counters().key_updates;
    for token in 0..5 {
        scene.call(token, Duration::from_secs(5));
        scene.run(Duration::from_millis(20));
    }
    let updates = scene.client.counters().key_updates - before;
    assert!((4..=6).contains(&updates), "{updates} updates in 100 ms");
    assert_eq!(scene.client.app().outcomes.len(), 5);
}

#[test]
fn a_reset_that_proves_nothing_ends_nothing() {
    let mut scene = Scene::new(Duration::from_micros(50), Config::default());
    let (clock, line) = (scene.clock.clone(), scene.line.clone());
    // Another key at the server's address: it does not know the session, and cannot prove that it did.
    let at: SocketAddr = SERVER.into();
    let impostor = Identity::generate(&mut Csprng::new([99; 32]));
    let security = Security::sealed(&impostor, None, 0, clock.now());
    let transport = Config { entropy: [9; 32], boot_id: 9, security, ..Config::default() };
    let config = WorkerConfig { transport, ..WorkerConfig::default() };
    let backend = MemoryBackend::new(at, line);
    let kept = scene.server.replace(Worker::new(config, Box::new(backend), Rc::new(clock), Echo::default()));
    scene.call(1, Duration::from_secs(5));
    scene.run(Duration::from_millis(20));
    assert!(scene.client.counters().resets_forged > 0);
    assert!(scene.client.app().closed.is_empty());
    scene.server = kept;
    scene.until(Duration::from_secs(5), |s| s.client.app().outcomes.len() == 1);
    assert_eq!(scene.client.app().outcomes[0].1, "replied");
}

/// 32 calls at a time, on a line where one packet in five comes 30 us late. How often each end changed
/// its keys, and the longest that 32 calls took.
fn reordered_calls(key_update_packets: u64) -> (u64, u64) {
    let config = Config { key_update_packets, ..Config::default() };
    let mut scene = Scene::new(Duration::from_micros(50), config);
    let mut rng = Rng::new(5);
    scene.line.borrow_mut().hold = Box::new(move || if rng.chance(0.2) { 30_000 } else { 0 });
    let mut longest = 0;
    for round in 0..400u64 {
        let asked = scene.clock.now();
        for token in 32 * round..32 * (round + 1) {
            scene.call(token, Duration::from_secs(5));
            scene.run(Duration::from_micros(2));
        }
        let wanted = 32 * (round as usize + 1);
        scene.until(Duration::from_secs(5), |s| s.client.app().outcomes.len() == wanted);
        longest = longest.max(scene.clock.now().since_ns(asked));
    }
    assert!(scene.client.app().outcomes.iter().all(|(_, name, _)| *name == "replied"));
    let (client, server) = (scene.client.counters(), scene.server.as_ref().expect("alive").counters());
    assert_eq!((client.corrupt, server.corrupt), (0, 0), "every packet found its key");
    (client.key_updates.min(server.key_updates), longest)
}

#[test]
fn keys_updated_every_thousand_packets_under_reordering_stall_nobody_for_a_round_trip() {
    let (none, without) = reordered_calls(1 << 22);
    let (updates, with) = reordered_calls(1_000);
    assert_eq!(none, 0);
    assert!(updates >= 8, "each direction has keys of its own: {updates}");
    assert!(with < without + 100_000, "{with} ns with updates, {without} ns without");
}

#[test]
fn a_target_that_never_answers_is_reported_unreachable() {
    let clock = VirtualClock::new(Timestamp(1));
    let line = Rc::new(RefCell::new(Line {
        clock: clock.clone(),
        one_way_ns: 1,
        queues: HashMap::new(),
        drop: Box::new(|_, _| true),
        hold: Box::new(|| 0),
        dropped: 0,
    }));
    let mut client = worker(&clock, &line, CLIENT.into(), &Config::default(), 1);
    client.connect(server_target()).expect("room");
    while client.app().closed.is_empty() {
        client.turn();
        clock.advance_to(
            client.due_at().max(clock.now().after_ns(1)).min(clock.now().after_ns(1_000_000_000)),
        );
        assert!(clock.now() < Timestamp(20_000_000_000));
    }
    assert_eq!(client.app().closed, [CloseReason::Unreachable]);
}

#[test]
fn an_idle_session_goes_silent_and_gives_its_memory_back() {
    let config = Config { idle_timeout: Duration::from_secs(100), profile: Profile::Dc, ..Config::default() };
    let mut scene = Scene::new(Duration::from_micros(50), config);
    let before = scene.client.counters();
    scene.run(Duration::from_secs(20));
    let after = scene.client.counters();
    assert_eq!(after.packets_sent, before.packets_sent, "an idle session is silent");
    assert!(after.idle_returns >= 1);
    scene.call(1, Duration::from_secs(1));
    scene.until(Duration::from_secs(1), |s| s.client.app().outcomes.len() == 1);
}

#[test]
fn what_is_sealed_is_padded_to_whole_blocks_of_the_cipher_and_what_is_not_is_not() {
    for (config, is_padded) in [(Config::default(), true), (insecure(), false)] {
        let mut scene = Scene::new(Duration::from_micros(5), config);
        let odd = Rc::new(Cell::new(0));
        let counted = odd.clone();
        scene.line.borrow_mut().drop = Box::new(move |_, packet| {
            // What is small holds an ack alone.
            let odd = packet.len() > 64 && !(packet.len() - HEADER_SIZE - TAG_SIZE).is_multiple_of(16);
            counted.set(counted.get() + u32::from(odd));
            false
        });
        let deadline = scene.clock.now().after(Duration::from_secs(5));
        for size in [1, 60, 64, 1_000, 20_000] {
            scene.client.call(scene.session, 0, &vec![7; size], deadline, size as u64).expect("room");
            scene.until(Duration::from_secs(1), |s| s.client.app().outcomes.len() == 1);
            assert_eq!(scene.client.app().outcomes[0].1, "replied");
            scene.client.app_mut().outcomes.clear();
        }
        assert_eq!(odd.get() == 0, is_padded, "{} packets end in a part of a block", odd.get());
    }
}
