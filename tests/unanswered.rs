//! What an end does that gets no answer, or was not yet shown who asks: little, and not for long.

use ringwire::bounds::{HEADER_SIZE, TAG_SIZE};
use ringwire::testing::bare::{BarePeer, BareServer};
use ringwire::time::Timestamp;
use ringwire::transport::Config;
use ringwire::transport::security::OpenGate;
use ringwire::wire::encode_ping;
use ringwire::worker::{App, CloseReason, Cx, Event, Outcome, ReplyWriter, Request, SessionKey};

/// Sends `greetings` messages of 1,000 bytes to whoever opens a session, or asks it something.
#[derive(Default)]
struct Desk {
    greetings: usize,
    asks: bool,
    session: Option<SessionKey>,
    closed: Vec<CloseReason>,
}

impl App for Desk {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        panic!("nobody called, and call {token} ended as {outcome:?}");
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, .. } => {
                self.session = Some(session);
                for _ in 0..self.greetings {
                    cx.send(session, None, &[7; 1_000]).expect("a new session has room");
                }
                if self.asks {
                    cx.call(session, 1, b"who is there?", Timestamp::NEVER, 0)
                        .expect("a new session has room");
                }
            }
            Event::Closed { reason, .. } => self.closed.push(reason),
            _ => {}
        }
    }
}

const MS: u64 = 1_000_000;

fn serve(greetings: usize, config: Config) -> BareServer<Desk> {
    BareServer::new(config, OpenGate, Desk { greetings, ..Desk::default() })
}

fn ping(server: &mut BareServer<Desk>, peer: &mut BarePeer) {
    let packet = peer.say(encode_ping);
    server.hear(peer, packet);
}

/// Lets `ns` pass, each timer at its own time. Packets said meanwhile.
fn pass(server: &mut BareServer<Desk>, peer: &mut BarePeer, ns: u64) -> usize {
    let end = server.now().after_ns(ns);
    let mut said = 0;
    while server.now() < end {
        server.step(end);
        said += server.said_to(peer).len();
    }
    said
}

/// L48, RFC 8085 §3.1.10: pings of the peer arrive all the time, and nothing that leaves is ever acknowledged.
#[test]
fn a_path_that_is_dead_one_way_is_given_up_though_the_peer_is_heard() {
    let idle_timeout = std::time::Duration::from_secs(3);
    let mut server = serve(0, Config { idle_timeout, ..Config::default() });
    let mut peer = server.connect(1, 1).expect("everyone is let in");
    ping(&mut server, &mut peer);
    pass(&mut server, &mut peer, MS);
    let session = server.worker().app().session.expect("it opened");
    server.worker().send(session, None, b"is anybody there?").expect("room");
    let start = server.now();
    while server.worker().app().closed.is_empty() {
        ping(&mut server, &mut peer);
        pass(&mut server, &mut peer, 100 * MS);
        assert!(server.now().since_ns(start) < 4_000 * MS, "it goes on for ever");
    }
    assert_eq!(server.worker().app().closed, [CloseReason::PathDead]);
    let took_ms = server.now().since_ns(start) / MS;
    assert!((3_000..=3_200).contains(&took_ms), "after {took_ms} ms");
    assert_eq!(server.worker().counters().paths_dead, 1);
    assert_eq!(pass(&mut server, &mut peer, 1_000 * MS), 0, "all sending has stopped");
}

/// L55, RFC 9000 §8.1, P-13.6: the first message may come from a forged address. Its answer is smaller; what the
/// application has to say waits until something comes from there.
#[test]
fn nothing_follows_the_accept_to_an_address_that_has_not_shown_that_it_receives() {
    // Fewer than a first window: 300 ms look like a wide-area path.
    let mut server = serve(8, Config::default());
    let mut peer = server.connect(1, 1).expect("everyone is let in");
    assert_eq!(pass(&mut server, &mut peer, 300 * MS), 0);
    let counters = server.worker().counters();
    assert!(counters.bytes_sent <= counters.bytes_received, "{counters:?}");
    ping(&mut server, &mut peer);
    assert!(pass(&mut server, &mut peer, MS) >= 8, "it is there: the messages leave");
}

/// Seed 83 of the simulator. The call waits, so a keep-alive was due; it could not leave, so it stayed due: the
/// worker turned without end, for as long as the session lived, at the price of one forged message.
#[test]
fn a_call_to_an_address_that_has_not_shown_that_it_receives_keeps_no_worker_awake() {
    let config = Config { keep_alive: std::time::Duration::from_millis(200), ..Config::default() };
    let mut server = BareServer::new(config, OpenGate, Desk { asks: true, ..Desk::default() });
    let mut peer = server.connect(1, 1).expect("everyone is let in");
    let end = server.now().after_ns(1_000 * MS);
    for turn in 0.. {
        if server.now() >= end {
            break;
        }
        assert!(turn < 100, "a hundred turns in {} ns", 1_000 * MS - end.since_ns(server.now()));
        server.step(end);
    }
    assert_eq!(server.said_to(&mut peer).len(), 0);
    ping(&mut server, &mut peer);
    assert!(pass(&mut server, &mut peer, MS) >= 1, "it is there: the call leaves");
}

/// L58, RFC 9000 §10.3.
#[test]
fn a_reset_is_smaller_than_its_trigger_and_rare() {
    let mut server = serve(0, Config::default());
    let mut peer = server.connect(1, 1).expect("everyone is let in");
    let mut trigger = |server: &mut BareServer<Desk>, size: usize| {
        let mut packet = peer.say_bytes(&vec![0; size - HEADER_SIZE - TAG_SIZE]);
        packet[8] ^= 0x55;
        let before = server.worker().counters();
        server.hear(&peer, packet);
        server.step(server.now());
        let after = server.worker().counters().since(&before);
        assert_eq!(after.unknown_session, 1);
        (after.resets_sent, after.bytes_sent)
    };
    server.run(MS);
    let (resets, bytes) = trigger(&mut server, 100);
    assert_eq!(resets, 1);
    assert!(bytes < 100);
    assert_eq!(trigger(&mut server, 100), (0, 0), "a second one at once");
    server.run(MS);
    assert_eq!(trigger(&mut server, bytes as usize), (0, 0), "the answer would not be smaller");
    assert_eq!(trigger(&mut server, bytes as usize + 1), (1, bytes));
    assert!(server.now() < Timestamp(2_000 * MS));
}
