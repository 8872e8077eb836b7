//! Packets that are damaged, repeated or spliced together by someone who sees all of a sealed session and
//! has none of its keys: none is taken, and the session goes on.
//!
//! `RINGWIRE_FORGERIES=100000000 cargo test --release --test forgeries -- --nocapture` runs more of them;
//! `RINGWIRE_SEED` chooses others.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use ringwire::crypto::{Csprng, Identity};
use ringwire::io::Ecn;
use ringwire::io::memory::{Hub, MemoryBackend};
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::security::Security;
use ringwire::transport::{Config, Counters};
use ringwire::worker::{App, Cx, Event, Outcome, ReplyWriter, Request, Target, Worker, WorkerConfig};

/// Delivers every packet at once, and remembers the newest of each direction for the forger.
struct Wire {
    queues: HashMap<SocketAddr, VecDeque<(SocketAddr, Vec<u8>)>>,
    seen: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
}

/// Packets that the forger works with.
const SEEN_MAX: usize = 512;

impl Hub for Wire {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], _ecn: Ecn) {
        self.queues.entry(to).or_default().push_back((from, packet.to_vec()));
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((from, to, packet.to_vec()));
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        let (from, packet) = self.queues.get_mut(&at)?.pop_front()?;
        *into = packet;
        Some((from, Ecn::NotEct))
    }
}

#[derive(Default)]
struct Echo {
    opened: usize,
    closed: usize,
    runs: u64,
    replies: u64,
}

impl App for Echo {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        self.runs += 1;
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        let Outcome::Replied(bytes) = outcome else { panic!("call {token}: {outcome:?}") };
        assert_eq!(bytes[..8], token.to_le_bytes(), "the reply is the request's");
        self.replies += 1;
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { .. } => self.opened += 1,
            Event::Closed { .. } => self.closed += 1,
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Forged {
    flipped: u64,
    cut: u64,
    extended: u64,
    spliced: u64,
    replayed: u64,
    reflected: u64,
    renumbered: u64,
}

/// Makes one forgery of what was seen, for the end it would be sent to.
fn forge(rng: &mut Rng, wire: &Wire, forged: &mut Forged) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let pick = |rng: &mut Rng| wire.seen[rng.below(wire.seen.len() as u64) as usize].clone();
    let (from, to, mut packet) = pick(rng);
    match rng.below(10) {
        0..=3 => {
            forged.flipped += 1;
            for _ in 0..1 + rng.below(4) {
                let bit = rng.below(packet.len() as u64 * 8) as usize;
                packet[bit / 8] ^= 1 << (bit % 8);
            }
        }
        4 => {
            forged.cut += 1;
            packet.truncate(rng.below(packet.len() as u64) as usize);
        }
        5 => {
            forged.extended += 1;
            packet.resize(packet.len() + 1 + rng.below(64) as usize, rng.u64() as u8);
        }
        6 => {
            forged.spliced += 1;
            let (_, _, other) = pick(rng);
            let at = 1 + rng.below(packet.len().min(other.len()) as u64 - 1) as usize;
            packet.truncate(at);
            packet.extend_from_slice(&other[at..]);
        }
        7 => forged.replayed += 1,
        8 => {
            forged.reflected += 1;
            return (to, from, packet);
        }
        _ => {
            // A number that was not used yet, or another epoch: what a replay window alone would let in.
            forged.renumbered += 1;
            let at = if rng.chance(0.5) { 12 } else { 1 };
            packet[at] = packet[at].wrapping_add(1 + rng.below(255) as u8);
        }
    }
    (from, to, packet)
}

fn worker(clock: &VirtualClock, wire: &Rc<RefCell<Wire>>, at: SocketAddr, seed: u64) -> Worker<Echo> {
    let identity = Identity::generate(&mut Csprng::new(Rng::entropy(!seed)));
    let security = Security::sealed(&identity, None, 0, Timestamp(0));
    let entropy = Rng::entropy(seed);
    let transport = Config { entropy, security, boot_id: seed, ..Config::default() };
    let config = WorkerConfig { transport, ..WorkerConfig::default() };
    let backend = MemoryBackend::new(at, wire.clone());
    Worker::new(config, Box::new(backend), Rc::new(clock.clone()), Echo::default())
}

#[test]
fn no_forgery_is_taken_and_no_session_lost() {
    let number = |name: &str, or| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (wanted, seed) = (number("RINGWIRE_FORGERIES", 200_000), number("RINGWIRE_SEED", 1));
    println!(
        "seed {seed}; replay: RINGWIRE_SEED={seed} RINGWIRE_FORGERIES={wanted} cargo test --test forgeries"
    );
    let mut rng = Rng::new(seed);
    let clock = VirtualClock::new(Timestamp(1_000_000_000));
    let wire = Rc::new(RefCell::new(Wire { queues: HashMap::new(), seen: VecDeque::new() }));
    let (here, there) = (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 2], 2)));
    let (mut client, mut server) = (worker(&clock, &wire, here, 1), worker(&clock, &wire, there, 2));
    let key = server.public_key().expect("a sealed end has a key");
    let session = client.connect(Target::with_key(there, key)).expect("room");
    let turn = |client: &mut Worker<Echo>, server: &mut Worker<Echo>| {
        clock.advance_to(Timestamp(clock.now().0 + 5_000));
        while !(client.turn().idle & server.turn().idle) {}
    };
    while client.app().opened == 0 {
        turn(&mut client, &mut server);
    }
    let (mut forged, mut count, mut calls) = (Forged::default(), 0u64, 0u64);
    while count < wanted {
        for _ in 0..2 {
            let mut payload = [0; 64];
            payload[..8].copy_from_slice(&calls.to_le_bytes());
            client.call(session, 1, &payload, Timestamp::NEVER, calls).expect("one call at a time has room");
            calls += 1;
            turn(&mut client, &mut server);
        }
        for _ in 0..256 {
            let forgery = forge(&mut rng, &wire.borrow(), &mut forged);
            let (from, to, packet) = forgery;
            // Straight into the queue: what is forged is not seen again.
            wire.borrow_mut().queues.entry(to).or_default().push_back((from, packet));
            count += 1;
        }
        turn(&mut client, &mut server);
    }
    while client.app().replies < calls {
        turn(&mut client, &mut server);
    }
    let total = client.counters().plus(&server.counters());
    println!("{count} forgeries, {calls} calls: {forged:?}\ndropped: {}", reasons(&total));
    assert_eq!((client.app().replies, server.app().runs), (calls, calls), "each call ran once");
    assert_eq!((client.app().closed, server.app().closed), (0, 0), "no session was lost");
    assert_eq!((client.app().opened, server.app().opened), (1, 1), "and none made");
    let dropped = total.corrupt + total.duplicate_packets + total.malformed + total.unknown_session;
    let handshakes = total.handshakes_received;
    assert!(
        dropped + handshakes >= count,
        "{dropped} dropped, {handshakes} handshake packets, {count} forged"
    );
    assert_eq!(total.violations, 0, "nothing forged was believed to be the peer's");
}

fn reasons(total: &Counters) -> String {
    let names = [
        "corrupt",
        "duplicate_packets",
        "malformed",
        "unknown_session",
        "resets_forged",
        "handshakes_received",
    ];
    let list = total.list().into_iter().filter(|(name, _)| names.contains(name));
    list.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
