//! A peer whose address changes keeps its session; whoever only replays, forwards or guesses does not get
//! it (P-15, RFC 9000 §9). Under a virtual clock; `tests/rebinding.rs` does it over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use ringwire::bounds::PACKET_SIZE_MIN;
use ringwire::endpoint::AllowList;
use ringwire::sim::world::World;
use ringwire::testing::bare::{BarePeer, BareServer, identity};
use ringwire::testing::{Pair, pair};
use ringwire::time::Timestamp;
use ringwire::transport::security::Security;
use ringwire::transport::{Config, Counters};
use ringwire::wire::{
    AckHead, CallId, Frame, Frames, Header, MESSAGES_HEAD_SIZE, RecordHeader, UnitNumber, encode_ack,
    encode_messages_head, encode_path_response, encode_ping,
};
use ringwire::worker::{
    App, CloseReason, Cx, Event, Outcome, ReplyWriter, Request, SessionKey, WorkerConfig,
};

/// Echoes, and keeps what it is told.
#[derive(Default)]
struct Echo {
    opened: Vec<SessionKey>,
    replied: Vec<u64>,
    other_ends: Vec<u64>,
    closed: Vec<CloseReason>,
}

impl App for Echo {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Replied(_) => self.replied.push(token),
            _ => self.other_ends.push(token),
        }
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, .. } => self.opened.push(session),
            Event::Closed { reason, .. } => self.closed.push(reason),
            _ => {}
        }
    }
}

// --- An honest client behind a NAT.

fn nat(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

fn call(pair: &mut Pair<Echo, Echo>, token: u64, size: usize) {
    let (session, payload) = (pair.session(), vec![token as u8; size]);
    pair.client().call(session, 1, &payload, Timestamp::NEVER, token).expect("a session that is open");
}

fn server_counters(pair: &mut Pair<Echo, Echo>) -> Counters {
    pair.server().counters()
}

#[test]
fn calls_go_on_while_a_nat_forgets_every_second_and_each_waits_a_few_round_trips_at_most() {
    let mut pair = pair(11, Echo::default(), Echo::default());
    let mut token = 0;
    for second in 0..20_u16 {
        // Sometimes the whole address changes, as by another uplink.
        pair.rebind(nat((second / 5) as u8, 1_000 + second));
        for _ in 0..50 {
            call(&mut pair, token, 100 + token as usize % 9_000);
            token += 1;
            let asked = pair.now();
            let done = pair
                .run_until(Duration::from_secs(1), |pair| pair.client_app().replied.len() as u64 == token);
            assert!(done, "call {token} in second {second}");
            let took_us = pair.now().since_ns(asked) / 1_000;
            assert!(took_us < 5_000, "call {token} in second {second} took {took_us} us");
        }
        pair.run_for(Duration::from_millis(900));
    }
    assert_eq!(server_counters(&mut pair).paths_changed, 20);
    assert_eq!(server_counters(&mut pair).paths_refused, 0);
    assert_eq!(pair.client_app().closed, []);
    assert_eq!(pair.server_app().closed, []);
    pair.server().engine().check();
}

#[test]
fn a_transfer_under_way_goes_on_at_the_new_address_though_much_is_lost() {
    for seed in 1..9 {
        let mut pair = pair(seed, Echo::default(), Echo::default());
        pair.impair(&format!("loss=10%,delay=200us,seed={seed}").parse().expect("a good spec"));
        for step in 0..40_u64 {
            if step % 8 == 0 {
                pair.rebind(nat(step as u8, 5_000 + step as u16));
            }
            (0..5).for_each(|n| call(&mut pair, 5 * step + n, 20_000));
            pair.run_for(Duration::from_millis(150));
        }
        let done = pair.run_until(Duration::from_secs(5), |pair| pair.client_app().replied.len() == 200);
        assert!(done, "seed {seed}: {} replies", pair.client_app().replied.len());
        assert_eq!(pair.client_app().other_ends, [0_u64; 0], "seed {seed}");
        assert!(server_counters(&mut pair).paths_changed >= 5, "seed {seed}");
    }
}

#[test]
fn on_another_host_round_trip_window_and_packet_size_are_learnt_anew_and_on_another_port_kept() {
    // RFC 9000 §9.4
    let mut pair = pair(12, Echo::default(), Echo::default());
    (0..30).for_each(|token| call(&mut pair, token, 3_000));
    pair.run_for(Duration::from_millis(5));
    let large = pair.packet_sizes()[1];
    assert!(large > 16_000, "{large}");
    // Nothing larger passes, so that what the server relies on after a move shows.
    pair.carry_at_most(1_200);
    pair.rebind(nat(1, 1));
    call(&mut pair, 30, 100);
    pair.run_for(Duration::from_millis(2));
    assert_eq!(pair.packet_sizes()[1], 1_200, "another host: from the base size on");
    pair.carry_at_most(65_000);
    pair.rebind(nat(2, 1));
    pair.run_for(Duration::from_millis(200));
    call(&mut pair, 31, 100);
    pair.run_for(Duration::from_millis(20));
    assert_eq!(pair.packet_sizes()[1], large);
    pair.run_for(Duration::from_millis(200));
    pair.rebind(nat(2, 2));
    call(&mut pair, 32, 100);
    pair.run_for(Duration::from_millis(20));
    assert_eq!(pair.packet_sizes()[1], large, "another port of the same host");
    assert_eq!(server_counters(&mut pair).paths_changed, 3);
    assert_eq!(pair.client_app().replied.len(), 33);
}

#[test]
fn without_sealing_nobody_is_followed() {
    let mut world: World<Echo> = World::new(3, "delay=20us".parse().expect("a good spec"));
    let config = |boot_id: u64| {
        let mut config = WorkerConfig::default();
        config.transport.boot_id = boot_id;
        config.transport.security = Security::insecure_anywhere();
        config.transport.idle_timeout = Duration::from_millis(500);
        config
    };
    let server = world.add(config(1), Echo::default());
    let client = world.add(config(2), Echo::default());
    let target = world.target(server);
    let key = world.worker(client).expect("alive").connect(target).expect("room");
    let run = |world: &mut World<Echo>, ms| {
        let end = world.now().after(Duration::from_millis(ms));
        while world.step(end) {}
    };
    run(&mut world, 10);
    world.rebind(client, nat(1, 1));
    world.worker(client).expect("alive").call(key, 1, b"where am I", Timestamp::NEVER, 1).expect("open");
    run(&mut world, 100);
    let counters = world.peek(server).expect("alive").counters();
    assert_eq!((counters.paths_challenged, counters.paths_changed), (0, 0));
    assert_eq!(world.peek(client).expect("alive").app().replied, [0_u64; 0]);
    run(&mut world, 2_000);
    assert_eq!(world.peek(client).expect("alive").app().other_ends, [1], "it is told, not left waiting");
}

// --- Attackers between and beside a peer and its server.

struct Scene {
    server: BareServer<Echo>,
    peer: BarePeer,
    calls: u16,
}

impl Scene {
    fn new() -> Self {
        let list = format!("{} peer\n", identity(1).public_key());
        let list = std::sync::Arc::new(AllowList::parse(&list).expect("a good list"));
        let mut server = BareServer::new(Config::default(), list, Echo::default());
        let mut peer = server.connect(1, 1).expect("it is on the list");
        // As any client does: until then the server says nothing to the address it came from.
        let packet = peer.say(encode_ping);
        server.hear(&peer, packet);
        server.run(1_000);
        Self { server, peer, calls: 0 }
    }

    /// The peer's next call, as a packet.
    fn call(&mut self) -> Vec<u8> {
        let call = CallId::new(self.calls, 0);
        let header = RecordHeader::Request { call, method: 1 };
        let mut frames = vec![0; MESSAGES_HEAD_SIZE + header.size()];
        header.encode(4, &mut frames[MESSAGES_HEAD_SIZE..]);
        frames.extend_from_slice(b"work");
        let size = frames.len() - MESSAGES_HEAD_SIZE;
        encode_messages_head(&mut frames, UnitNumber(u64::from(self.calls)), size as u16);
        self.calls += 1;
        self.peer.say_bytes(&frames)
    }

    /// The server hears `packet` from `from`, and has a moment.
    fn hears(&mut self, from: SocketAddr, packet: Vec<u8>) {
        self.server.hear_from(from, packet);
        self.server.run(10_000);
    }

    /// What the server sent to `at`, of the frames that matter here.
    fn said(&mut self, at: SocketAddr) -> Said {
        let mut said = Said::default();
        for packet in self.server.sent_to(at) {
            said.bytes += packet.len();
            let Some(frames) = self.peer.open(packet) else { continue };
            for frame in Frames::new(&frames) {
                match frame.expect("the server speaks well") {
                    Frame::PathChallenge { data } => said.challenges.push(data),
                    Frame::Messages(_) => said.replies += 1,
                    _ => {}
                }
            }
        }
        said
    }

    fn answer(&mut self, data: u64) -> Vec<u8> {
        self.peer.say(|writer| encode_path_response(writer, data))
    }

    fn counters(&mut self) -> Counters {
        self.server.worker().counters()
    }

    /// A call from `from` is answered there.
    #[track_caller]
    fn is_at(&mut self, from: SocketAddr) {
        self.said(from);
        let packet = self.call();
        self.hears(from, packet);
        assert_eq!(self.said(from).replies, 1);
        assert_eq!(self.server.worker().app().closed, []);
        self.server.worker().engine().check();
    }

    fn home(&self) -> SocketAddr {
        self.peer.address()
    }
}

#[derive(Debug, Default)]
struct Said {
    bytes: usize,
    challenges: Vec<u64>,
    replies: usize,
}

fn elsewhere() -> SocketAddr {
    "203.0.113.9:99".parse().expect("an address")
}

#[test]
fn who_answers_from_a_new_address_is_followed_there_and_is_sent_nothing_but_challenges_before() {
    let mut scene = Scene::new();
    let (home, away) = (scene.home(), elsewhere());
    let packet = scene.call();
    let came = packet.len();
    scene.hears(away, packet);
    let (at_home, said) = (scene.said(home), scene.said(away));
    assert_eq!((at_home.replies, said.replies), (1, 0), "answered where the session is");
    assert_eq!(said.challenges.len(), 1);
    assert!(said.bytes <= came, "{} bytes for {came}", said.bytes);
    let packet = scene.answer(said.challenges[0]);
    scene.hears(away, packet);
    assert_eq!(scene.counters().paths_changed, 1);
    scene.is_at(away);
    assert_eq!(scene.said(home).bytes, 0, "nothing goes to the old address any more");
}

#[test]
fn an_ack_of_the_old_paths_size_probe_that_comes_late_says_nothing_of_the_new_path() {
    let mut scene = Scene::new();
    let (home, away) = (scene.home(), elsewhere());
    let packet = scene.call();
    scene.hears(home, packet);
    let sent = scene.server.sent_to(home);
    let probe =
        sent.iter().find(|packet| packet.len() > PACKET_SIZE_MIN).expect("it asks for the size at once");
    let probe = Header::decode(probe).expect("it is one of ours").number;
    let packet = scene.call();
    scene.hears(away, packet);
    let challenge = scene.said(away).challenges[0];
    let packet = scene.answer(challenge);
    scene.hears(away, packet);
    assert_eq!(scene.counters().paths_changed, 1);
    let head = AckHead {
        unit_floor: UnitNumber(0),
        ack_delay_ns: 0,
        duplicate_seen: false,
        ecn_ce: 0,
        ecn_intact: true,
    };
    let packet = scene.peer.say(|writer| {
        encode_ack(writer, &head, std::iter::once((probe, probe)));
    });
    scene.hears(away, packet);
    assert_eq!(scene.server.worker().engine().packet_size_max(), Some(PACKET_SIZE_MIN));
}

#[test]
fn whoever_replays_packets_from_elsewhere_hears_nothing() {
    // RFC 9000 §9.3.1; the replay window comes first.
    let mut scene = Scene::new();
    let (home, away) = (scene.home(), elsewhere());
    let packets: Vec<Vec<u8>> = (0..20).map(|_| scene.call()).collect();
    packets.iter().for_each(|packet| scene.hears(home, packet.clone()));
    for _ in 0..50 {
        packets.iter().for_each(|packet| scene.hears(away, packet.clone()));
    }
    assert_eq!(scene.said(away).bytes, 0);
    assert_eq!(scene.counters().paths_challenged, 0);
    scene.is_at(home);
}

#[test]
fn an_old_packet_that_was_held_back_and_comes_from_elsewhere_moves_nothing() {
    // RFC 9000 §9.3: only the packet with the highest number so far tells where the peer is.
    let mut scene = Scene::new();
    let (home, away) = (scene.home(), elsewhere());
    let held = scene.call();
    scene.is_at(home);
    scene.hears(away, held);
    assert_eq!(scene.said(away).bytes, 0);
    assert_eq!(scene.counters().paths_challenged, 0);
    scene.is_at(home);
}

#[test]
fn a_forwarder_that_is_faster_than_the_peer_does_not_take_the_session_over() {
    // RFC 9000 §9.3.3: copies of the peer's packets come first, from elsewhere.
    let mut scene = Scene::new();
    let (home, away) = (scene.home(), elsewhere());
    for _ in 0..30 {
        let packet = scene.call();
        scene.hears(away, packet.clone());
        scene.hears(home, packet);
        // The peer answers what it is asked at home, from home.
        for data in scene.said(home).challenges {
            let packet = scene.answer(data);
            scene.hears(home, packet);
        }
    }
    let counters = scene.counters();
    assert_eq!(
        (counters.paths_changed, counters.paths_refused),
        (0, 1),
        "found out once, and left alone then"
    );
    assert_eq!(scene.said(away).replies, 0);
    scene.is_at(home);
}

#[test]
fn an_answer_that_does_not_come_from_the_address_asked_proves_nothing() {
    // The forwarder passes the challenge on to the peer, whose answer goes its own way.
    let mut scene = Scene::new();
    let (home, away) = (scene.home(), elsewhere());
    let packet = scene.call();
    scene.hears(away, packet);
    let said = scene.said(away);
    let packet = scene.answer(said.challenges[0]);
    scene.hears(home, packet);
    let third = "203.0.113.10:5".parse().expect("an address");
    let packet = scene.answer(said.challenges[0]);
    scene.hears(third, packet);
    assert_eq!(scene.counters().paths_changed, 0);
    scene.is_at(home);
}

#[test]
fn a_guessed_answer_proves_nothing_and_no_two_challenges_are_alike() {
    // RFC 9000 §8.2.1
    let mut scene = Scene::new();
    let (home, away) = (scene.home(), elsewhere());
    let mut seen = Vec::new();
    for guess in 0..2_000_u64 {
        let packet = scene.answer(guess.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        scene.hears(away, packet);
        seen.extend(scene.said(away).challenges);
        scene.server.run(1_000_000);
    }
    assert_eq!(scene.counters().paths_changed, 0);
    assert!(seen.len() >= 5, "{}", seen.len());
    let asked = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), asked);
    scene.is_at(home);
}

#[test]
fn an_address_that_is_not_proven_is_sent_no_more_than_came_from_it_whatever_the_timers_do() {
    // S01, L55, RFC 9000 §8.1, §9.3.2: a victim's address in the source field.
    let mut scene = Scene::new();
    let victim = elsewhere();
    let (mut came, mut went) = (0, 0);
    for round in 0..60 {
        let packet = if round % 3 == 0 { scene.peer.say(encode_ping) } else { scene.call() };
        came += packet.len();
        scene.hears(victim, packet);
        scene.server.run(100_000_000);
        let said = scene.said(victim);
        assert_eq!(said.replies, 0);
        went += said.bytes;
        assert!(went <= came, "{went} bytes for {came} in round {round}");
    }
    assert!(went > 0, "it was asked");
}

#[test]
fn a_session_that_was_taken_along_by_a_forwarder_returns_as_soon_as_the_peer_is_first_again() {
    // RFC 9000 §9.3.3: the worst case, somebody on the path who forwards everything both ways.
    let mut scene = Scene::new();
    let (home, away) = (scene.home(), elsewhere());
    let packet = scene.call();
    scene.hears(away, packet);
    let said = scene.said(away);
    let packet = scene.answer(said.challenges[0]);
    scene.hears(away, packet);
    assert_eq!(scene.counters().paths_changed, 1);
    let packet = scene.call();
    scene.hears(home, packet);
    assert_eq!(scene.counters().paths_changed, 2, "the old address is proven already");
    scene.is_at(home);
}

#[test]
fn addresses_that_change_faster_than_ten_times_a_second_are_not_all_asked() {
    let mut scene = Scene::new();
    for port in 0..1_000 {
        let from = SocketAddr::from(([203, 0, 113, 9], 1_000 + port));
        let packet = scene.call();
        scene.hears(from, packet);
    }
    // 1,000 packets in 20 ms.
    assert!(scene.counters().paths_challenged <= 2, "{}", scene.counters().paths_challenged);
    let home = scene.home();
    scene.is_at(home);
}
