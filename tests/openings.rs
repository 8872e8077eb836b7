//! Many sessions asked for at once: none is lost, and the server's socket is not flooded.

#[allow(dead_code, reason = "other tests use more of it")]
mod pair_support;

use pair_support::{Echo, Pair, SERVER};
use ringwire::bounds::ASKING_MAX;
use ringwire::io::memory::Switch;
use ringwire::time::Clock;
use ringwire::transport::SendError;
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
