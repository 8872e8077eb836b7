//! First messages from strangers, by the thousand: what they cost, and what they get.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use ringwire::bounds::{HEADER_SIZE, TAG_SIZE};
use ringwire::crypto::{Csprng, Identity, Protector};
use ringwire::io::Ecn;
use ringwire::io::memory::{Hub, MemoryBackend};
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::security::Security;
use ringwire::transport::{Config, Deliveries, Engine, Meta, PathIndex};
use ringwire::wire::{Bounds, Header, INIT_PACKET_SIZE, Init, PacketKind, PacketNumber, SessionId, VERSION};
use ringwire::worker::{App, Cx, Outcome, ReplyWriter, Request, Target, Worker, WorkerConfig};

/// Delivers every packet at once, and counts bytes to and from each address that is not an end's own.
#[derive(Default)]
struct Wire {
    queues: HashMap<SocketAddr, VecDeque<(SocketAddr, Vec<u8>)>>,
    ends: Vec<SocketAddr>,
    sent_to: HashMap<SocketAddr, (u64, u64)>,
    /// What the server said to strangers, newest last.
    said: VecDeque<Vec<u8>>,
}

impl Hub for Wire {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], _ecn: Ecn) {
        if self.ends.contains(&to) {
            self.queues.entry(to).or_default().push_back((from, packet.to_vec()));
            return;
        }
        self.sent_to.entry(to).or_default().1 += packet.len() as u64;
        self.said.push_back(packet.to_vec());
        if self.said.len() > 10_000 {
            self.said.pop_front();
        }
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        let (from, packet) = self.queues.get_mut(&at)?.pop_front()?;
        *into = packet;
        Some((from, Ecn::NotEct))
    }
}

impl Wire {
    fn inject(&mut self, from: SocketAddr, to: SocketAddr, packet: Vec<u8>) {
        self.sent_to.entry(from).or_default().0 += packet.len() as u64;
        self.queues.entry(to).or_default().push_back((from, packet));
    }
}

#[derive(Default)]
struct Echo {
    replies: u64,
}

impl App for Echo {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        assert!(matches!(outcome, Outcome::Replied(_)), "call {token}: {outcome:?}");
        self.replies += 1;
    }
}

struct Scene {
    clock: VirtualClock,
    wire: Rc<RefCell<Wire>>,
    server: Worker<Echo>,
}

const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 2);

impl Scene {
    fn new() -> Self {
        let clock = VirtualClock::new(Timestamp(1_000_000_000));
        let wire = Rc::new(RefCell::new(Wire::default()));
        let server = worker(&clock, &wire, SERVER.into(), 2);
        Self { clock, wire, server }
    }

    fn turn(&mut self, mut client: Option<&mut Worker<Echo>>) {
        self.clock.advance_to(Timestamp(self.clock.now().0 + 2_000));
        loop {
            let idle = client.as_mut().is_none_or(|client| client.turn().idle);
            if idle & self.server.turn().idle {
                return;
            }
        }
    }
}

fn worker(clock: &VirtualClock, wire: &Rc<RefCell<Wire>>, at: SocketAddr, seed: u64) -> Worker<Echo> {
    wire.borrow_mut().ends.push(at);
    let identity = Identity::generate(&mut Csprng::new(Rng::entropy(!seed)));
    let security = Security::sealed(&identity, None, 0, Timestamp(0));
    let transport = Config { entropy: Rng::entropy(seed), security, boot_id: seed, ..Config::default() };
    let config = WorkerConfig { transport, ..WorkerConfig::default() };
    Worker::new(
        config,
        Box::new(MemoryBackend::new(at, wire.clone())),
        Rc::new(clock.clone()),
        Echo::default(),
    )
}

/// A first message that proves nothing, of the right shape.
fn init(rng: &mut Rng) -> Vec<u8> {
    let mut blob = [0; 136];
    rng.fill(&mut blob);
    let bounds = Bounds {
        packet_size_max: 16_368,
        unit_window: 4_096,
        call_slots: 1_024,
        message_size_max: 1 << 20,
        credit: 17_152,
        max_ack_delay_ns: 25_000,
        idle_timeout_ms: 10_000,
        lanes: 1,
    };
    let (session, boot) = (SessionId(rng.u64()), rng.u64());
    let init = Init { version: VERSION, session, boot, bounds, suite: 1, cookie: &[], blob: &blob };
    let mut packet = vec![0; INIT_PACKET_SIZE];
    let (kind, length) = (PacketKind::Init, INIT_PACKET_SIZE as u16);
    Header { kind, epoch: 0, length, session: SessionId(0), number: PacketNumber(0) }.encode(&mut packet);
    init.encode(&mut packet[HEADER_SIZE..INIT_PACKET_SIZE - TAG_SIZE]);
    Protector::handshake().seal(&mut packet);
    packet
}

fn stranger(rng: &mut Rng) -> SocketAddr {
    let [a, b, c, d, ..] = rng.u64().to_le_bytes();
    SocketAddr::from(([11, a, b, c], 1_024 + u16::from(d)))
}

#[test]
fn a_flood_of_first_messages_gets_no_session_no_more_bytes_than_it_sent_and_stops_nobody() {
    let seed = 7;
    println!("seed {seed}; replay: cargo test --test strangers -- --nocapture");
    let mut rng = Rng::new(seed);
    let mut scene = Scene::new();
    let mut client = worker(&scene.clock, &scene.wire, ([10, 0, 0, 1], 1).into(), 1);
    let key = scene.server.public_key().expect("a sealed end has a key");
    let mut sessions = Vec::new();
    for round in 0..400u64 {
        for _ in 0..50 {
            let (from, packet) = (stranger(&mut rng), init(&mut rng));
            scene.wire.borrow_mut().inject(from, SERVER.into(), packet);
        }
        // In the midst of it a client opens a session, and calls.
        if round == 200 {
            sessions.push(client.connect(Target::with_key(SERVER.into(), key)).expect("room"));
        }
        if round >= 250 {
            let sent = client.call(sessions[0], 1, b"still there?", Timestamp::NEVER, round);
            sent.expect("the session opened in the flood");
        }
        scene.turn(Some(&mut client));
    }
    for _ in 0..100 {
        scene.turn(Some(&mut client));
    }
    assert_eq!(client.app().replies, 150, "every call was answered");
    assert_eq!(scene.server.engine().sessions(), 1, "the client's, and no stranger's");
    for (address, (received, sent)) in &scene.wire.borrow().sent_to {
        assert!(sent <= received, "{address} sent {received} bytes and got {sent}");
    }
    let counters = scene.server.counters();
    assert!(counters.handshakes_refused > 0, "what was opened proved nothing");
    assert!(counters.handshakes_sent > 1_000, "under load cookies are asked for: {counters:?}");
}

/// A worker gives a path's index to the next stranger once nobody needs it: a handshake that waits for its
/// turn does, or its ACCEPT would go to whoever came 256 addresses later.
#[test]
fn a_path_is_not_given_to_a_stranger_while_a_handshake_on_it_waits() {
    let identity = Identity::generate(&mut Csprng::new([1; 32]));
    let now = Timestamp(1_000_000_000);
    let security = Security::sealed(&identity, None, 0, now);
    let mut engine = Engine::new(Config { security, ..Config::default() }, now);
    let mut rng = Rng::new(9);
    let meta =
        Meta { path: PathIndex(7), remote: stranger(&mut rng), mark: ringwire::transport::ecn::Mark::None };
    engine.handle_datagram(now, &meta, &mut init(&mut rng), &mut Deliveries::default());
    assert!(engine.is_path_used(PathIndex(7)), "its first message waits to be opened");
    let job = engine.poll_job().expect("that step");
    engine.finish_job(now, job.run());
    assert!(!engine.is_path_used(PathIndex(7)), "it proved nothing, and is forgotten");
}

#[test]
fn answers_fed_back_to_who_gave_them_fall_silent() {
    let mut rng = Rng::new(8);
    let mut scene = Scene::new();
    for _ in 0..200 {
        let (from, packet) = (stranger(&mut rng), init(&mut rng));
        scene.wire.borrow_mut().inject(from, SERVER.into(), packet);
    }
    let mut lost = vec![0x01, 0, 200, 0];
    lost.resize(200, 9);
    scene.wire.borrow_mut().inject(stranger(&mut rng), SERVER.into(), lost);
    scene.turn(None);
    let answers: Vec<Vec<u8>> = scene.wire.borrow_mut().said.drain(..).collect();
    assert!(!answers.is_empty(), "cookies and a reset were said");
    for answer in answers {
        scene.wire.borrow_mut().inject(stranger(&mut rng), SERVER.into(), answer);
    }
    for _ in 0..100 {
        scene.turn(None);
    }
    assert_eq!(scene.wire.borrow().said.len(), 0, "an answer is never answered");
}
