//! Peers that were let in and lie about lanes: each gets its bound and no more, and others do not notice.

use std::collections::HashSet;

use ringwire::testing::bare::BareServer;
use ringwire::transport::Config;
use ringwire::transport::security::OpenGate;
use ringwire::wire::{
    AckHead, Frame, Frames, PacketNumber, SessionId, UnitNumber, Writer, encode_ack, encode_lane_grant,
    encode_lane_request, encode_ping,
};
use ringwire::worker::{App, Cx, Outcome, ReplyWriter, Request};

const SECOND_NS: u64 = 1_000_000_000;

struct Desk;

impl App for Desk {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        panic!("nobody called, and call {token} ended as {outcome:?}");
    }
}

fn grants(said: &[Vec<u8>]) -> Vec<(SessionId, u8, SessionId)> {
    let frames = said.iter().flat_map(|packet| Frames::new(packet).flatten());
    let grant = |frame| match frame {
        Frame::LaneGrant { status, session, granted, .. } => Some((session, status, granted)),
        _ => None,
    };
    frames.filter_map(grant).collect()
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

/// 400 requests, for lanes numbered from `first`.
fn requests(first: u64) -> impl FnOnce(&mut Writer<'_>) {
    move |writer| {
        (first..first + 400)
            .for_each(|lane| encode_lane_request(writer, 255, SessionId(lane << 8), &[7; 16]));
    }
}

/// L45: what N sessions over one handshake may take is bounded.
#[test]
fn a_flood_of_lane_requests_under_valid_keys_gets_its_bound_and_no_more() {
    let config = Config { lanes: 16, ..Config::default() };
    let mut server = BareServer::new(config, OpenGate, Desk);
    let mut honest = server.connect(2, 1).expect("everyone is let in");
    let mut liar = server.connect(1, 1).expect("everyone is let in");
    assert_eq!(liar.granted.lanes, 16);
    let mut answers = 0;
    for round in 0..250 {
        let packet = liar.say(requests(1 + round * 400));
        server.hear(&liar, packet);
        server.run(1_000);
        let said = grants(&server.said_to(&mut liar));
        answers += said.len();
        assert!(said.iter().all(|(_, status, _)| *status == 0 || *status == 8));
        server.worker().engine().check();
    }
    assert_eq!(server.worker().counters().lanes_granted, 15, "of 100,000 requests");
    assert_eq!(server.worker().engine().sessions(), 2 + 15);
    assert!(answers <= 250 * 64, "what is answered is bounded: {answers}");
    let packet = honest.say(encode_ping);
    server.hear(&honest, packet);
    server.run(1_000_000);
    assert!(!server.said_to(&mut honest).is_empty(), "another peer is served");
    // Lanes on which nobody speaks end by themselves, and make room.
    for _ in 0..11 {
        server.run(SECOND_NS);
        let packet = liar.say(encode_ping);
        server.hear(&liar, packet);
        let packet = honest.say(encode_ping);
        server.hear(&honest, packet);
    }
    // Nobody acknowledged anything: the sessions of the handshakes may be gone as well.
    assert!(server.worker().engine().sessions() <= 2);
}

#[test]
fn a_request_said_ten_thousand_times_is_one_lane() {
    let mut server = BareServer::new(Config::default(), OpenGate, Desk);
    let mut peer = server.connect(1, 1).expect("everyone is let in");
    let mut seen = HashSet::new();
    for _ in 0..25 {
        let packet = peer.say(|writer| {
            (0..400).for_each(|_| encode_lane_request(writer, 255, SessionId(0x0100), &[7; 16]));
        });
        server.hear(&peer, packet);
        server.run(100_000);
        let said = grants(&server.said_to(&mut peer));
        assert!(said.len() <= 2, "once for each packet: {}", said.len());
        seen.extend(said);
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(server.worker().counters().lanes_granted, 1);
}

#[test]
fn a_grant_that_nobody_asked_for_changes_nothing() {
    let mut server = BareServer::new(Config::default(), OpenGate, Desk);
    let mut liar = server.connect(1, 1).expect("everyone is let in");
    let packet = liar.say(|writer| {
        (0..100).for_each(|n| encode_lane_grant(writer, SessionId(n << 8), SessionId(n), &[7; 16]));
    });
    server.hear(&liar, packet);
    server.run(1_000_000);
    assert_eq!(server.worker().engine().sessions(), 1);
    assert_eq!(server.worker().counters().lanes_opened, 0);
}

#[test]
fn a_lane_named_as_another_session_takes_nothing_from_it() {
    let mut server = BareServer::new(Config::default(), OpenGate, Desk);
    let mut liar = server.connect(1, 1).expect("everyone is let in");
    // The client of port 1 called its session so in the handshake.
    let packet = liar.say(|writer| encode_lane_request(writer, 255, SessionId(1 << 16 | 1), &[0x5a; 16]));
    server.hear(&liar, packet);
    server.run(1_000);
    assert_eq!(server.worker().engine().sessions(), 2);
    for _ in 0..24 {
        // On the session of its handshake it speaks, and acknowledges what it hears.
        let heard = server.packets_to(&mut liar).last().map(|(number, _)| *number);
        let packet = liar.say(|writer| {
            encode_ping(writer);
            heard.into_iter().for_each(|number| acknowledge(writer, number));
        });
        server.hear(&liar, packet);
        server.run(SECOND_NS / 2);
    }
    assert_eq!(server.worker().engine().sessions(), 1, "the lane ended, the session goes on");
    let packet = liar.say(encode_ping);
    server.hear(&liar, packet);
    server.run(1_000_000);
    assert!(!server.said_to(&mut liar).is_empty());
}

#[test]
fn a_recorded_request_said_again_opens_no_second_lane() {
    let mut server = BareServer::new(Config::default(), OpenGate, Desk);
    let mut peer = server.connect(1, 1).expect("everyone is let in");
    let packet = peer.say(|writer| encode_lane_request(writer, 255, SessionId(0x0100), &[7; 16]));
    for _ in 0..100 {
        server.hear(&peer, packet.clone());
        server.run(100_000);
    }
    assert_eq!(server.worker().counters().lanes_granted, 1);
    assert_eq!(server.worker().counters().duplicate_packets, 99);
    assert_eq!(grants(&server.said_to(&mut peer)).len(), 1);
    // Beyond what is remembered of answers, too: the packet itself is known.
    let flood = peer.say(requests(2));
    server.hear(&peer, flood);
    server.run(100_000);
    let before = server.worker().counters().lanes_granted;
    server.hear(&peer, packet);
    server.run(100_000);
    assert_eq!(server.worker().counters().lanes_granted, before);
}
