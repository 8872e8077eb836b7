//! Many sessions asked for at once, and calling at once: none is lost, and the server is not flooded.

#[allow(dead_code, reason = "other tests use more of it")]
mod pair_support;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use pair_support::{Echo, Pair, SERVER};
use ringwire::bounds::ASKING_MAX;
use ringwire::io::Ecn;
use ringwire::io::memory::{Hub, Switch};
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::SendError;
use ringwire::wire::{Header, PacketKind};
use ringwire::worker::Target;

const SESSIONS: usize = 2_000;

/// A pair whose client has asked for [`SESSIONS`] more in one go.
fn asked() -> Pair {
    let mut pair = Pair::new(Switch::default(), Echo::default());
    for _ in 0..SESSIONS {
        pair.client.connect(SERVER).expect("room for all");
    }
    pair
}

#[test]
fn thousands_of_sessions_asked_for_at_once_do_not_flood_the_server() {
    let mut pair = asked();
    let before = pair.client.counters().handshakes_sent;
    // While the server does not turn; each turn of the client makes some first messages ready.
    for _ in 0..SESSIONS {
        pair.client.turn();
    }
    let asked = pair.client.counters().handshakes_sent - before;
    assert_eq!(asked, ASKING_MAX as u64, "the rest waits for their answers");
    pair.turn_until(|pair| pair.client.app().sessions.len() == SESSIONS + 1);
    // Each asked once, and once more with the server's cookie: nothing was lost, or needed to be said again.
    assert_eq!(pair.client.counters().handshakes_sent - before, 2 * SESSIONS as u64);
    assert_eq!(pair.server.app().sessions.len(), SESSIONS + 1);
}

#[test]
fn a_server_that_does_not_answer_holds_nobody_in_line_for_longer_than_an_interval() {
    let mut pair = asked();
    let mut asked = pair.client.counters().handshakes_sent;
    let began = pair.clock.now();
    // Only the client turns. A place is given up after 20 ms, when its INIT is due again.
    for ms in 0..1_000_u64 {
        pair.clock.advance_to(began.after_ns(ms * 1_000_000));
        pair.client.turn();
        let now = pair.client.counters().handshakes_sent;
        let repeated_max = (ms / 20) * ASKING_MAX as u64;
        assert!(now - asked <= repeated_max + ASKING_MAX as u64, "{} in millisecond {ms}", now - asked);
        asked = now;
    }
    // After that second the server is there: all open, whoever asked before.
    pair.turn_until(|pair| pair.client.app().sessions.len() == SESSIONS + 1);
}

#[test]
fn a_session_in_line_is_given_up_when_its_own_time_is_over() {
    let mut pair = asked();
    let within = Some(std::time::Duration::from_millis(5));
    let last = pair.client.connect(Target { within, ..Target::from(SERVER) }).expect("room for one more");
    pair.client.turn();
    let deadline = pair.clock.now().after_ns(1_000_000_000);
    assert_eq!(pair.client.call(last, 0, &[], deadline, 0), Err(SendError::NotOpen));
    pair.clock.advance_to(pair.clock.now().after_ns(6_000_000));
    pair.client.turn();
    assert_eq!(
        pair.client.call(last, 0, &[], deadline, 0),
        Err(SendError::Closed),
        "it did not wait for a place"
    );
}

#[test]
fn sessions_in_line_that_nobody_wants_any_more_are_passed_over() {
    let mut pair = Pair::new(Switch::default(), Echo::default());
    let keys: Vec<_> = (0..300).map(|_| pair.client.connect(SERVER).expect("room for all")).collect();
    for key in &keys[50..250] {
        pair.client.close(*key, 0);
    }
    pair.turn_until(|pair| pair.client.app().sessions.len() == 1 + 100);
    let opened = &pair.client.app().sessions[1..];
    assert!(keys[..50].iter().chain(&keys[250..]).all(|key| opened.contains(key)));
}

#[test]
fn calls_of_many_sessions_find_memory_by_their_size_and_who_is_refused_has_nothing_to_say() {
    // Two full packets' memory, or 64 small units: thousands of sessions with a call each found none in as many slots.
    let clock = VirtualClock::new(Timestamp(1_000_000_000));
    let mut pair = Pair::with_slots(2, clock, Switch::default(), Echo::default());
    for _ in 1..100 {
        pair.client.connect(SERVER).expect("room for all");
    }
    pair.turn_until(|pair| pair.client.app().sessions.len() == 100);
    (0..2_000).for_each(|_| pair.round());
    let sessions = pair.client.app().sessions.clone();
    let deadline = pair.clock.now().after_ns(1_000_000_000);
    let call = |pair: &mut Pair, at: usize| pair.client.call(sessions[at], 0, b"question", deadline, 0);
    for at in 0..64 {
        assert_eq!(call(&mut pair, at), Ok(()), "{at}");
    }
    // They leave, and are not answered: nothing is to be said.
    for _ in 0..4 {
        pair.client.turn();
    }
    assert!(pair.client.engine().is_full() && !pair.client.wants_turn());
    for at in 64..100 {
        assert_eq!(call(&mut pair, at), Err(SendError::WouldBlock), "{at}");
    }
    assert!(!pair.client.wants_turn(), "a session whose call was refused is not let speak");
    pair.turn_until(|pair| pair.client.app().replied == 64);
    (0..2_000).for_each(|_| pair.round());
    assert!(!pair.client.engine().is_full(), "it came back");
    for at in 64..100 {
        assert_eq!(call(&mut pair, at), Ok(()), "{at}");
    }
    pair.turn_until(|pair| pair.client.app().replied == 100);
}

/// Once it is slow it hands the server one packet in so many nanoseconds, however many wait.
struct Till {
    clock: VirtualClock,
    seen: Rc<Seen>,
    next_at: Timestamp,
    waiting: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
}

#[derive(Default)]
struct Seen {
    each_ns: Cell<u64>,
    /// The most INITs that waited for the server at once.
    most: Cell<usize>,
}

/// A pair whose one session is open, and who hands the server its packets from then on.
fn behind_a_till() -> (Pair, Rc<Seen>) {
    let (clock, seen) = (VirtualClock::new(Timestamp(1_000_000_000)), Rc::new(Seen::default()));
    let next_at = Timestamp(0);
    let till = Till { clock: clock.clone(), seen: Rc::clone(&seen), next_at, waiting: VecDeque::new() };
    (Pair::with_clock(clock, till, Echo::default()), seen)
}

impl Hub for Till {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], _ecn: Ecn) {
        self.waiting.push_back((from, to, packet.to_vec()));
        let is_init =
            |packet: &[u8]| Header::decode(packet).is_ok_and(|header| header.kind == PacketKind::Init);
        let waiting = self.waiting.iter().filter(|(_, _, packet)| is_init(packet)).count();
        self.seen.most.set(self.seen.most.get().max(waiting));
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        let now = self.clock.now();
        if at == SERVER {
            if now < self.next_at {
                return None;
            }
            self.next_at = now.after_ns(self.seen.each_ns.get());
        }
        let first = self.waiting.iter().position(|(_, to, _)| *to == at)?;
        let (from, _, packet) = self.waiting.remove(first)?;
        *into = packet;
        Some((from, Ecn::NotEct))
    }
}

#[test]
fn hundreds_of_sessions_that_wait_behind_each_other_take_nothing_for_lost() {
    let (mut pair, seen) = behind_a_till();
    for _ in 1..300 {
        pair.client.connect(SERVER).expect("room for all");
    }
    pair.turn_until(|pair| pair.client.app().sessions.len() == 300);
    (0..2_000).for_each(|_| pair.round());
    let before = pair.client.counters().probes;
    seen.each_ns.set(20_000);
    let deadline = pair.clock.now().after_ns(1_000_000_000);
    for session in pair.client.app().sessions.clone() {
        pair.client.call(session, 0, b"all at once", deadline, 0).expect("an open session");
    }
    // The last is answered after six milliseconds. Until it called, a round trip took ten microseconds.
    pair.turn_until(|pair| pair.client.app().replied == 300);
    // The server does probe: the acks of its answers wait behind all calls, and nobody could tell it.
    assert_eq!(pair.client.counters().probes, before);
}

#[test]
fn no_more_ask_at_once_than_have_a_place_though_each_has_to_ask_again_with_a_cookie() {
    let (mut pair, seen) = behind_a_till();
    seen.each_ns.set(20_000);
    for _ in 0..300 {
        pair.client.connect(SERVER).expect("room for all");
    }
    pair.turn_until(|pair| pair.client.app().sessions.len() == 1 + 300);
    assert!(seen.most.get() <= ASKING_MAX, "{} INITs waited for the server", seen.most.get());
}

#[test]
fn a_server_that_opens_sessions_slowly_is_not_asked_by_ever_more_of_them() {
    let (mut pair, seen) = behind_a_till();
    // Sixty-four of them, and what those say that are open, are not through when their INIT is due again.
    seen.each_ns.set(150_000);
    for _ in 0..500 {
        pair.client.connect(SERVER).expect("room for all");
    }
    pair.turn_until(|pair| pair.client.app().sessions.len() == 1 + 500);
    // Five from each place. Were it passed on with the second, there would be 1,500.
    assert!(seen.most.get() <= 5 * ASKING_MAX, "{} INITs waited for the server", seen.most.get());
}
