//! What one session finds out about a path, the others on it need not ask for (P-13.27).

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

use ringwire::bounds::{HEADER_SIZE, PACKET_SIZE_MIN, TAG_SIZE};
use ringwire::io::Ecn;
use ringwire::io::memory::{Hub, Switch};
use ringwire::time::Clock;
use ringwire::wire::{Frame, Frames, Header, PacketKind, SessionId};
use ringwire::worker::SessionKey;

#[allow(dead_code, reason = "other tests use more of it")]
mod pair_support;

use pair_support::{Echo, Pair, SERVER};

const SESSIONS: usize = 400;

/// A switch that loses what is longer than it carries, and notes what the client sends.
struct Narrow {
    switch: Switch,
    seen: Rc<Seen>,
}

#[derive(Default)]
struct Seen {
    carries: Cell<usize>,
    /// The kernel refuses longer ones.
    takes: Cell<usize>,
    from_client: RefCell<Vec<usize>>,
    /// Packets that the kernel dropped at the server's socket.
    drops: Cell<u64>,
    from_server: Cell<usize>,
    /// Sessions that the server told of drops.
    told: RefCell<BTreeSet<SessionId>>,
}

impl Seen {
    /// Packets of the client that were longer than every path carries, from now on.
    fn large(&self) -> usize {
        let large = self.from_client.borrow().iter().filter(|size| **size > PACKET_SIZE_MIN).count();
        self.from_client.borrow_mut().clear();
        large
    }
}

impl Seen {
    fn note_said(&self, packet: &[u8]) {
        self.from_server.set(self.from_server.get() + 1);
        let header = Header::decode(packet).expect("it is one of ours");
        if header.kind != PacketKind::Data {
            return;
        }
        let frames = Frames::new(&packet[HEADER_SIZE..packet.len() - TAG_SIZE]);
        let tells = |frame: Frame<'_>| matches!(frame, Frame::Stats(stats) if stats.socket_drops > 0);
        if frames.into_iter().any(|frame| tells(frame.expect("the server speaks well"))) {
            self.told.borrow_mut().insert(header.session);
        }
    }
}

impl Hub for Narrow {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], ecn: Ecn) {
        if from == SERVER {
            self.seen.note_said(packet);
        } else {
            self.seen.from_client.borrow_mut().push(packet.len());
        }
        if packet.len() <= self.seen.carries.get() {
            self.switch.send(from, to, packet, ecn);
        }
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        self.switch.receive(at, into)
    }

    fn packet_size_max(&self, _from: SocketAddr, _to: SocketAddr) -> usize {
        self.seen.takes.get()
    }

    fn drops(&self, at: SocketAddr) -> u64 {
        if at == SERVER { self.seen.drops.get() } else { 0 }
    }
}

/// A pair with one session on a path that carries so much.
fn on_a_path_that_carries(size: usize) -> (Pair, Rc<Seen>) {
    on_a_path(size, usize::MAX)
}

/// The same where the kernel refuses what is longer than it takes.
fn on_a_path(carries: usize, takes: usize) -> (Pair, Rc<Seen>) {
    let seen = Rc::new(Seen::default());
    seen.carries.set(carries);
    seen.takes.set(takes);
    let hub = Narrow { switch: Switch::default(), seen: Rc::clone(&seen) };
    (Pair::new(hub, Echo::default()), seen)
}

/// Opens so many more.
fn open(pair: &mut Pair, sessions: usize) {
    let all = pair.client.app().sessions.len() + sessions;
    for _ in 0..sessions {
        pair.client.connect(SERVER).expect("room for all");
    }
    pair.turn_until(|pair| pair.client.app().sessions.len() == all);
}

fn packet_sizes(pair: &Pair) -> Vec<usize> {
    let size = |session: &SessionKey| pair.client.engine().packet_size(*session).expect("it is open");
    pair.client.app().sessions.iter().map(size).collect()
}

/// A call on each session, and the time of a few turns more.
fn call_on_each(pair: &mut Pair) {
    let sessions = pair.client.app().sessions.clone();
    let answered = pair.client.app().replied + sessions.len() as u64;
    let deadline = pair.clock.now().after_ns(5_000_000_000);
    for session in sessions {
        pair.client.call(session, 0, b"question", deadline, 0).expect("one call fits each");
    }
    pair.turn_until(|pair| pair.client.app().replied == answered);
    (0..2_000).for_each(|_| pair.round());
}

#[test]
fn of_many_sessions_that_open_together_a_few_ask_for_the_packet_size_and_all_have_it() {
    let (mut pair, seen) = on_a_path_that_carries(8_972);
    open(&mut pair, SESSIONS);
    (0..20).for_each(|_| call_on_each(&mut pair));
    // Sizes that do not pass are tried three times each, by whoever's turn it is; each asked for itself before.
    let asked = seen.large();
    assert!((1..=30).contains(&asked), "{asked} probes");
    let sizes = packet_sizes(&pair);
    assert!(sizes.iter().all(|size| *size == sizes[0] && *size >= 8_972), "{sizes:?}");
    assert_eq!(pair.client.counters().calls_timed_out, 0);
}

#[test]
fn a_session_that_opens_later_asks_for_nothing_that_is_known() {
    let (mut pair, seen) = on_a_path_that_carries(1_472);
    call_on_each(&mut pair);
    (0..200).for_each(|_| call_on_each(&mut pair));
    assert!(seen.large() > 0);
    let found = packet_sizes(&pair)[0];
    open(&mut pair, 1);
    call_on_each(&mut pair);
    assert_eq!((seen.large(), packet_sizes(&pair)), (0, vec![found; 2]));
}

#[test]
fn a_path_that_carries_less_than_it_did_is_not_believed_to_carry_it_by_sessions_that_open_then() {
    let (mut pair, seen) = on_a_path_that_carries(16_384);
    call_on_each(&mut pair);
    assert!(packet_sizes(&pair)[0] > 16_000);
    seen.carries.set(1_472);
    let replied = pair.client.app().replied;
    let deadline = pair.clock.now().after_ns(5_000_000_000);
    let session = pair.session;
    for token in 0..8 {
        pair.client.call(session, 0, &[7; 6_000], deadline, token).expect("they fit");
    }
    pair.turn_until(|pair| pair.client.app().replied == replied + 8);
    seen.large();
    open(&mut pair, 20);
    call_on_each(&mut pair);
    let sizes = packet_sizes(&pair);
    assert!(sizes.iter().all(|size| *size <= 1_472), "{sizes:?}");
    assert!(pair.client.counters().black_holes <= 1, "nobody else fell into it");
}

#[test]
fn a_probe_that_the_kernel_refuses_holds_nobody_up() {
    // Found by tests/congestion: each size that the kernel refused cost the search a millisecond.
    let (mut pair, _) = on_a_path(65_000, 1_472);
    let began = pair.clock.now();
    pair.turn_until(|pair| packet_sizes(pair)[0] == 1_472);
    let took_ns = pair.clock.now().since_ns(began);
    assert!(took_ns < 1_000_000, "{took_ns} ns");
}

#[test]
fn a_full_socket_is_not_filled_again_by_a_packet_for_each_session_that_tells_of_it() {
    // Ten thousand sessions said a million packets a second about the drops that these made.
    let (mut pair, seen) = on_a_path_that_carries(65_000);
    open(&mut pair, SESSIONS);
    call_on_each(&mut pair);
    (0..100_000).for_each(|_| pair.round());
    let before = seen.from_server.get();
    for drops in [100, 150] {
        seen.drops.set(drops);
        (0..10_000).for_each(|_| pair.round());
    }
    assert_eq!(seen.from_server.get() - before, 2, "one says it for all");
    assert_eq!(
        pair.client.counters().peer_socket_drops,
        50,
        "the first that is heard is where counting begins"
    );
    call_on_each(&mut pair);
    assert_eq!(seen.told.borrow().len(), SESSIONS + 1, "and each with its next answer");
    assert_eq!(pair.client.counters().peer_socket_drops, 50, "that counts once");
}
