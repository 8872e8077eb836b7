//! A path that carries less than it did: nothing is told, large packets vanish, small ones pass (RFC 8899
//! §4.3, L53). No message is lost, and none waits long; and whoever lies about parts of units is found out.

use std::time::Duration;

use ringwire::endpoint::AllowList;
use ringwire::rng::Rng;
use ringwire::testing::bare::{BarePeer, BareServer, identity};
use ringwire::testing::{Pair, pair};
use ringwire::time::Timestamp;
use ringwire::transport::congestion::CongestionKind;
use ringwire::transport::{Config, Counters, SendError};
use ringwire::wire::{
    AckHead, ChannelId, Header, MESSAGES_HEAD_SIZE, PacketNumber, RecordHeader, UNIT_PART_HEAD_SIZE,
    UnitNumber, Writer, encode_ack, encode_messages_head, encode_ping, encode_unit_part_head,
};
use ringwire::worker::{App, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey};

/// Echoes, and keeps what it is told.
#[derive(Default)]
struct Peer {
    replied: Vec<u64>,
    messages: Vec<(Option<u32>, Vec<u8>)>,
    opened: Vec<SessionKey>,
    troubles: Vec<String>,
}

impl App for Peer {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Replied(bytes) if bytes.iter().all(|&byte| byte == token as u8) => {
                self.replied.push(token);
            }
            other => self.troubles.push(format!("call {token}: {other:?}")),
        }
    }

    fn on_message(&mut self, _cx: &mut Cx<'_>, message: Message<'_>) {
        self.messages.push((message.channel.map(|channel| channel.0), message.payload.to_vec()));
    }

    fn on_datagram(&mut self, _cx: &mut Cx<'_>, message: Message<'_>) {
        self.messages.push((None, message.payload.to_vec()));
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, .. } => self.opened.push(session),
            other => self.troubles.push(format!("{other:?}")),
        }
    }
}

fn call(pair: &mut Pair<Peer, Peer>, token: u64, size: usize) {
    let (session, payload) = (pair.session(), vec![token as u8; size]);
    pair.client().call(session, 1, &payload, Timestamp::NEVER, token).expect("a session that is open");
}

fn counters(pair: &mut Pair<Peer, Peer>) -> Counters {
    pair.client().counters().plus(&pair.server().counters())
}

/// Message `n` of a stream: its number, and as many bytes as that number says.
fn message(n: u64) -> Vec<u8> {
    let mut bytes = n.to_le_bytes().to_vec();
    let size = Rng::new(n).below(if n.is_multiple_of(10) { 90_000 } else { 9_000 });
    bytes.resize(8 + size as usize, n as u8);
    bytes
}

#[test]
fn a_transfer_goes_on_whole_and_in_order_while_its_path_shrinks_from_jumbo_to_1400_to_1200() {
    for seed in 1..6 {
        let mut pair = pair(seed, Peer::default(), Peer::default());
        pair.carry_at_most(8_972);
        if seed > 2 {
            pair.impair(&format!("loss=2%,reorder=2%,delay=30us,seed={seed}").parse().expect("a good spec"));
        }
        let session = pair.session();
        let (mut sent, total) = (0, 3_000);
        while sent < total {
            match sent {
                1_000 => pair.carry_at_most(1_372),
                2_000 => pair.carry_at_most(1_200),
                _ => {}
            }
            match pair.client().send(session, Some(ChannelId(1)), &message(sent)) {
                Ok(_) => sent += 1,
                Err(SendError::WouldBlock) => pair.run_for(Duration::from_micros(100)),
                Err(error) => panic!("seed {seed}, message {sent}: {error}"),
            }
        }
        let all = |pair: &mut Pair<Peer, Peer>| pair.server_app().messages.len() as u64 == total;
        assert!(pair.run_until(Duration::from_secs(20), all), "seed {seed}");
        for (n, (channel, bytes)) in (0..).zip(&pair.server_app().messages) {
            assert_eq!((*channel, bytes == &message(n)), (Some(1), true), "seed {seed}, message {n}");
        }
        let counted = counters(&mut pair);
        assert!(counted.black_holes >= 2, "seed {seed}: {counted:?}");
        assert!(counted.parts_sent > 10, "seed {seed}: {counted:?}");
        assert_eq!(pair.packet_sizes()[0], 1_200, "seed {seed}");
        assert_eq!(pair.client_app().troubles, [""; 0], "seed {seed}");
        assert_eq!(pair.server_app().troubles, [""; 0], "seed {seed}");
        pair.client().engine().check();
        pair.server().engine().check();
    }
}

// RFC 8899 §4.3, L53.
#[test]
fn calls_of_one_large_packet_each_wait_three_probe_timeouts_at_most_when_their_path_shrinks() {
    for seed in 1..20 {
        let mut pair = pair(seed, Peer::default(), Peer::default());
        let mut slowest_us = [0, 0];
        for token in 0..200 {
            if token == 100 {
                pair.carry_at_most(1_372);
            }
            let asked = pair.now();
            call(&mut pair, token, 8_000);
            let replied = |pair: &mut Pair<Peer, Peer>| pair.client_app().replied.len() as u64 == token + 1;
            assert!(pair.run_until(Duration::from_secs(1), replied), "seed {seed}, call {token}");
            let slowest = &mut slowest_us[usize::from(token >= 100)];
            *slowest = (*slowest).max(pair.now().since_ns(asked) / 1_000);
        }
        // A round trip takes 40 us and a probe timeout, variation and ack delay included, about 150: the
        // request meets the black hole, and then the reply does. Three timeouts and a round trip each.
        assert!(slowest_us[1] < 1_000, "seed {seed}: {slowest_us:?} us");
        assert!(counters(&mut pair).black_holes >= 2, "seed {seed}");
        assert_eq!(pair.client_app().troubles, [""; 0], "seed {seed}");
    }
}

#[test]
fn a_path_that_grew_back_is_used_again_after_the_raise_timer() {
    // RFC 8899 §5.1.1: PMTU_RAISE_TIMER, 600 s. The session is kept busy meanwhile.
    let mut pair = pair(3, Peer::default(), Peer::default());
    (0..5).for_each(|token| call(&mut pair, token, 8_000));
    pair.run_for(Duration::from_millis(10));
    pair.carry_at_most(1_372);
    (5..30).for_each(|token| call(&mut pair, token, 8_000));
    pair.run_for(Duration::from_secs(1));
    assert!((1_300..=1_372).contains(&pair.packet_sizes()[0]), "{:?}", pair.packet_sizes());
    pair.carry_at_most(65_000);
    for token in 30..160 {
        call(&mut pair, token, 100);
        pair.run_for(Duration::from_secs(5));
    }
    assert!(pair.packet_sizes()[0] > 16_000, "{:?}", pair.packet_sizes());
    assert_eq!(pair.client_app().replied.len(), 160);
}

#[test]
fn loss_alone_leaves_the_packet_size_as_it_is_most_of_the_time() {
    let mut pair = pair(4, Peer::default(), Peer::default());
    (0..5).for_each(|token| call(&mut pair, token, 8_000));
    pair.run_for(Duration::from_millis(10));
    pair.impair(&"loss=5%,delay=20us,seed=4".parse().expect("a good spec"));
    let (mut large, mut looks) = (0, 0);
    for token in 5..2_000 {
        call(&mut pair, token, 8_000);
        pair.run_for(Duration::from_micros(100));
        looks += 1;
        large += u32::from(pair.packet_sizes()[0] > 16_000);
    }
    pair.run_for(Duration::from_secs(1));
    assert!(large * 100 >= looks * 95, "{large} of {looks}");
    assert_eq!(pair.client_app().replied.len(), 2_000);
}

#[test]
fn a_datagram_too_large_for_the_path_of_today_does_not_hold_up_those_behind_it() {
    let mut pair = pair(5, Peer::default(), Peer::default());
    (0..5).for_each(|token| call(&mut pair, token, 8_000));
    pair.run_for(Duration::from_millis(10));
    pair.carry_at_most(1_200);
    let session = pair.session();
    for token in 5..200 {
        call(&mut pair, token, 8_000);
        // Refused once the size is known to have fallen: then nothing larger is queued any more.
        let _ = pair.client().datagram(session, &[7; 8_000]);
        pair.run_for(Duration::from_micros(50));
    }
    pair.client().datagram(session, b"small").expect("it fits");
    let arrived =
        |pair: &mut Pair<Peer, Peer>| pair.server_app().messages.iter().any(|(_, bytes)| bytes == b"small");
    assert!(pair.run_until(Duration::from_secs(2), arrived));
    assert!(pair.run_until(Duration::from_secs(5), |pair| pair.client_app().replied.len() == 200));
}

// --- Parts, as a peer that was let in may say them.

struct Scene {
    server: BareServer<Peer>,
    liar: BarePeer,
    honest: BarePeer,
    honest_units: u64,
}

impl Scene {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let [liar, honest] = [1, 2].map(|seed| identity(seed).public_key());
        let list = format!("{liar} liar\n{honest} honest\n");
        let list = std::sync::Arc::new(AllowList::parse(&list).expect("a good list"));
        let mut server = BareServer::new(config, list, Peer::default());
        let honest = server.connect(2, 1).expect("it is on the list");
        let liar = server.connect(1, 1).expect("it is on the list, too");
        Self { server, liar, honest, honest_units: 0 }
    }

    fn say(&mut self, frames: &[u8]) {
        let packet = self.liar.say_bytes(frames);
        self.server.hear(&self.liar, packet);
        self.server.run(1_000);
    }

    /// Bytes `from..to` of a unit of `whole`, as a part of unit `number`.
    fn part(&mut self, number: u64, whole: &[u8], from: usize, to: usize) {
        let mut frames = vec![0; UNIT_PART_HEAD_SIZE];
        let (offset, total, length) = (from as u16, whole.len() as u16, (to - from) as u16);
        encode_unit_part_head(&mut frames, UnitNumber(number), offset, total, length);
        frames.extend_from_slice(&whole[from..to]);
        self.say(&frames);
    }

    /// Both peers are there and acknowledge what they hear: a path that acknowledges nothing is given up
    /// (L48), and the liar is to be found out, not lost.
    fn keep_up(&mut self) {
        for peer in [&mut self.liar, &mut self.honest] {
            for (number, _) in self.server.packets_to(peer) {
                let packet = peer.say(|writer| acknowledge(writer, number));
                self.server.hear(peer, packet);
            }
            let packet = peer.say(encode_ping);
            self.server.hear(peer, packet);
        }
        self.server.run(1_000);
    }

    fn delivered(&mut self) -> Vec<Vec<u8>> {
        let messages = &self.server.worker().app().messages;
        messages.iter().map(|(_, bytes)| bytes.clone()).filter(|bytes| bytes != b"honest").collect()
    }

    fn counters(&mut self) -> Counters {
        self.server.worker().counters()
    }

    #[track_caller]
    fn others_do_not_notice(&mut self) {
        let before = self.server.worker().app().messages.len();
        let packet = self.honest.say_bytes(&unit(self.honest_units, &[b"honest"]));
        self.honest_units += 1;
        self.server.hear(&self.honest, packet);
        self.server.run(1_000);
        assert_eq!(self.server.worker().app().messages.len(), before + 1);
    }

    #[track_caller]
    fn is_out(&mut self, why: &str) {
        let troubles = self.server.worker().app().troubles.clone();
        assert!(troubles.iter().any(|told| told.contains("Violation") && told.contains(why)), "{troubles:?}");
        assert_eq!(self.counters().violations, 1);
        assert_eq!(self.server.worker().engine().reserved(), 0);
        self.others_do_not_notice();
    }
}

fn acknowledge(writer: &mut Writer<'_>, number: PacketNumber) {
    let head = AckHead {
        duplicate_seen: false,
        ecn_ce: 0,
        ecn_intact: false,
        ack_delay_ns: 0,
        unit_floor: UnitNumber(0),
    };
    encode_ack(writer, &head, std::iter::once((number, number)));
}

/// A unit of messages, as it lies in a packet.
fn unit(number: u64, messages: &[&[u8]]) -> Vec<u8> {
    let mut frames = vec![0; MESSAGES_HEAD_SIZE];
    for message in messages {
        let start = frames.len();
        frames.resize(start + RecordHeader::Message.size(), 0);
        RecordHeader::Message.encode(message.len() as u16, &mut frames[start..]);
        frames.extend_from_slice(message);
    }
    let size = frames.len() - MESSAGES_HEAD_SIZE;
    encode_messages_head(&mut frames, UnitNumber(number), size as u16);
    frames
}

#[test]
fn packets_lost_in_search_of_a_size_are_no_sign_of_congestion() {
    // RFC 8899 §3, L52. All that this path loses are such packets, and this controller takes any loss for a sign.
    let mut scene = Scene::with(Config { congestion: CongestionKind::Cubic, ..Config::default() });
    let session = *scene.server.worker().app().opened.last().expect("the liar's was the second");
    let window = |scene: &mut Scene| scene.server.worker().engine().congestion_window(session);
    let (before, mut sizes) = (window(&mut scene), Vec::new());
    for _ in 0..200 {
        scene.server.run(1_000_000);
        for packet in scene.server.sent_to(scene.liar.address()) {
            let number = Header::decode(&packet).expect("an honest packet").number;
            if packet.len() > 1_372 {
                sizes.push(packet.len());
                continue;
            }
            let packet = scene.liar.say(|writer| acknowledge(writer, number));
            scene.server.hear(&scene.liar, packet);
        }
        let packet = scene.liar.say(encode_ping);
        scene.server.hear(&scene.liar, packet);
    }
    assert!(sizes.len() > 9, "{sizes:?}");
    assert!(scene.counters().lost >= sizes.len() as u64, "{:?}", scene.counters());
    assert_eq!(window(&mut scene), before);
    let size = scene.server.worker().engine().packet_size(session).expect("it is open");
    assert!((1_340..=1_372).contains(&size), "{size}");
}

#[test]
fn a_unit_in_parts_is_delivered_once_whatever_comes_twice_overlaps_or_comes_whole_as_well() {
    let mut scene = Scene::new();
    let long = vec![5; 3_000];
    let whole = unit(0, &[b"one", &long, b"three"]);
    let size = whole.len();
    scene.part(0, &whole, 1_000, size);
    scene.part(0, &whole, 1_000, size);
    scene.part(0, &whole, 500, 1_500);
    assert!(scene.delivered().is_empty(), "all or none");
    scene.part(0, &whole, 0, 700);
    assert_eq!(scene.delivered(), [b"one".to_vec(), long.clone(), b"three".to_vec()]);
    scene.part(0, &whole, 0, 700);
    scene.say(&whole);
    assert_eq!(scene.delivered().len(), 3);
    // And the other way round: what is kept of a unit that came whole is given back.
    let second = unit(1, &[&long]);
    scene.part(1, &second, 0, 100);
    scene.say(&second);
    scene.part(1, &second, 100, second.len());
    assert_eq!(scene.delivered().len(), 4);
    assert_eq!(scene.server.worker().engine().reserved(), 0);
    assert_eq!(scene.counters().violations, 0);
    scene.others_do_not_notice();
}

#[test]
fn parts_that_do_not_agree_on_the_size_of_their_unit_end_the_session() {
    let mut scene = Scene::new();
    let whole = unit(0, &[&[5; 3_000]]);
    scene.part(0, &whole, 0, 100);
    scene.part(0, &whole[..2_000], 100, 200);
    scene.is_out("parts");
}

#[test]
fn bytes_of_a_unit_that_change_between_its_parts_end_the_session() {
    let mut scene = Scene::new();
    let (whole, other) = (unit(0, &[&[5; 3_000]]), unit(0, &[&[6; 3_000]]));
    scene.part(0, &whole, 0, 1_000);
    scene.part(0, &other, 900, 2_000);
    scene.is_out("parts");
}

#[test]
fn parts_that_come_to_no_unit_end_the_session() {
    // Another unit's number inside, bytes that are no frame, a frame that is no unit, and bytes behind one.
    let inner = unit(7, &[b"named otherwise"]);
    let mut longer = unit(0, &[b"short"]);
    longer.extend_from_slice(&[0; 40]);
    for whole in [inner, vec![0xee; 100], vec![1; 100], longer] {
        let mut scene = Scene::new();
        scene.part(0, &whole, 0, 10);
        scene.part(0, &whole, 10, whole.len());
        assert!(scene.delivered().is_empty());
        scene.is_out("parts");
    }
}

#[test]
fn a_part_of_a_record_that_cannot_be_read_delivers_nothing_of_its_unit() {
    let mut scene = Scene::new();
    let mut whole = unit(0, &[b"good", b"bad"]);
    let size = whole.len();
    whole[size - 7] = 9;
    scene.part(0, &whole, 0, 14);
    scene.part(0, &whole, 14, size);
    assert!(scene.delivered().is_empty());
    scene.is_out("record");
}

#[test]
fn units_begun_in_parts_and_never_ended_take_a_bounded_part_of_memory_and_do_not_keep_it_for_ever() {
    let mut scene = Scene::new();
    let whole = vec![0x20; 16_000];
    for number in 0..2_000 {
        scene.part(number, &whole, 0, 1_000);
    }
    let reserved = scene.server.worker().engine().reserved();
    assert!((1 << 19..=1 << 20).contains(&reserved), "{reserved}");
    assert!(scene.counters().parts_refused > 1_900, "{}", scene.counters().parts_refused);
    scene.others_do_not_notice();
    // It lives on, acknowledges what it hears, and adds nothing: P-7.7.
    for _ in 0..32 {
        scene.server.run(1_000_000_000);
        scene.keep_up();
    }
    scene.is_out("begun");
}

#[test]
fn a_unit_in_more_pieces_than_an_honest_cut_leaves_ends_the_session() {
    let mut scene = Scene::new();
    let whole = unit(0, &[&[5; 3_000]]);
    (0..200).for_each(|n| scene.part(0, &whole, 3 * n, 3 * n + 1));
    scene.is_out("parts");
}
