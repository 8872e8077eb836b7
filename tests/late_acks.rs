//! The last ack of a turn is read after the turn's packets have left. Nobody may notice by anything but
//! the time it takes.

use ringwire::endpoint::AllowList;
use ringwire::testing::bare::{BareServer, identity};
use ringwire::transport::{Config, Extent, PacketSink, PathIndex, Way};
use ringwire::wire::{AckHead, PacketNumber, UnitNumber, Writer, encode_ack, encode_close, encode_ping};
use ringwire::worker::{App, CloseReason, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey};

/// Answers by nothing, and keeps what it is told.
#[derive(Default)]
struct Desk {
    session: Option<SessionKey>,
    told: Vec<Event>,
}

impl App for Desk {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        panic!("nobody called, and call {token} ended as {outcome:?}");
    }

    fn on_message(&mut self, _cx: &mut Cx<'_>, _message: Message<'_>) {}

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        if let Event::Opened { session, .. } = event {
            self.session = Some(session);
        } else {
            self.told.push(event);
        }
    }
}

const PEER: u64 = 1;

fn server() -> BareServer<Desk> {
    let list = format!("{} peer\n", identity(PEER).public_key());
    let list = std::sync::Arc::new(AllowList::parse(&list).expect("a good list"));
    BareServer::new(Config::default(), list, Desk::default())
}

/// An ack of packet 0 and of every unit below `unit_floor`.
fn ack(writer: &mut Writer<'_>, unit_floor: u64) {
    let head = AckHead {
        unit_floor: UnitNumber(unit_floor),
        ack_delay_ns: 0,
        duplicate_seen: false,
        ecn_ce: 0,
        ecn_intact: false,
    };
    encode_ack(writer, &head, std::iter::once((PacketNumber(0), PacketNumber(0)))).expect("there is room");
}

/// Sends two messages, lets the peer say `unit_floor` and CLOSE in one packet, and tells which messages
/// were reported as unknown.
fn unknown_after_close(unit_floor: u64) -> Vec<u64> {
    let mut server = server();
    let mut peer = server.connect(PEER, 1).expect("it is on the list");
    let session = server.worker().app().session.expect("it opened");
    // Nothing leaves before the client has shown that it is there.
    let hello = peer.say(encode_ping);
    server.hear(&peer, hello);
    server.run(1_000);
    let mut ordinals = Vec::new();
    for payload in [b"first", b"other"] {
        ordinals.push(server.worker().send(session, None, payload).expect("there is room"));
        // Each in a unit of its own.
        server.run(1_000);
    }
    let packet = peer.say(|writer| {
        ack(writer, unit_floor);
        encode_close(writer, 7, "done");
    });
    server.hear(&peer, packet);
    server.run(1_000);
    let told = &server.worker().app().told;
    assert!(
        told.iter().any(|event| matches!(event, Event::Closed { reason: CloseReason::Peer(7), .. })),
        "{told:?}"
    );
    let ended = told.iter().filter_map(|event| match event {
        Event::MessageEnded { ordinal, .. } => Some(*ordinal - ordinals[0]),
        _ => None,
    });
    ended.collect()
}

#[test]
fn a_message_acknowledged_beside_a_close_is_not_reported_as_unknown() {
    assert_eq!(unknown_after_close(0), [0, 1]);
    assert_eq!(unknown_after_close(1), [1]);
    assert!(unknown_after_close(2).is_empty());
}

/// What became of a worker's packets, in order.
#[derive(Default)]
struct Log {
    memory: Vec<u8>,
    said: Vec<&'static str>,
}

impl PacketSink for Log {
    fn has_room(&mut self, _path: Way, _size: usize) -> bool {
        true
    }

    fn packet(&mut self, _path: Way, size: usize) -> Option<&mut [u8]> {
        self.said.push("packet");
        self.memory.resize(size, 0);
        Some(&mut self.memory)
    }

    fn gather(&mut self, at: usize, bytes: bytes::Bytes) {
        self.memory[at..at + bytes.len()].copy_from_slice(&bytes);
    }

    fn part(&mut self, _way: Way) {
        self.said.push("part");
    }

    fn depart(&mut self) {
        self.said.push("depart");
    }
}

#[test]
fn what_is_built_departs_before_the_rest_is_settled() {
    use ringwire::rng::Rng;
    use ringwire::time::Timestamp;
    use ringwire::transport::Engine;
    use ringwire::transport::security::Security;

    let config = Config {
        entropy: Rng::entropy(1),
        boot_id: 1,
        security: Security::insecure_anywhere(),
        ..Config::default()
    };
    let now = Timestamp(1_000_000_000);
    let mut engine = Engine::new(config, now);
    engine.connect(now, PathIndex(0), None).expect("room for the first session");
    while let Some(job) = engine.poll_job() {
        engine.finish_job(now, job.run());
    }
    let mut log = Log::default();
    engine.poll_transmit(now, Extent::All, &mut log);
    assert_eq!(log.said[..2], ["packet", "depart"], "the INIT leaves");
    assert!(log.said[2..].iter().all(|said| *said == "depart"), "{:?}", log.said);
}
