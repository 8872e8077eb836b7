//! How an end is told (P-9.3), with the packets lost that tell it. Packets of 64 bytes from an end that has closed
//! are its CLOSE.

mod recovery_support;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use recovery_support::{CLIENT, SERVER, Scene, insecure};
use ringwire::time::Clock;
use ringwire::transport::Config;
use ringwire::worker::CloseReason;

const RTT: Duration = Duration::from_micros(100);

/// Two calls of the client are with the server's application, and nothing is in flight.
fn two_calls_waiting(config: Config) -> Scene {
    let mut scene = Scene::new(RTT / 2, config);
    scene.server.as_mut().expect("it is there").app_mut().defers = true;
    scene.call(1, Duration::from_secs(60));
    scene.call(2, Duration::from_secs(60));
    scene.run(Duration::from_millis(20));
    assert_eq!(scene.client.app().outcomes, []);
    scene
}

/// The server closes. Its probe timeout at that moment, in nanoseconds.
fn close(scene: &mut Scene) -> u64 {
    let server = scene.server.as_mut().expect("it is there");
    let session = server.app().opened[0];
    let probe_timeout_ns = server.engine().probe_timeout_ns_max();
    server.close(session, 7);
    probe_timeout_ns
}

/// Counts what `from` sends, and drops what `drops` says, told how many came before.
fn watch(scene: &Scene, from: ([u8; 4], u16), drops: impl Fn(u64) -> bool + 'static) -> Rc<Cell<u64>> {
    let (from, seen) = (SocketAddr::from(from), Rc::new(Cell::new(0)));
    let count = Rc::clone(&seen);
    scene.line.borrow_mut().drop = Box::new(move |sender, _| {
        if sender != from {
            return false;
        }
        count.set(count.get() + 1);
        drops(count.get() - 1)
    });
    seen
}

#[test]
fn a_close_that_was_lost_twice_ends_the_waiting_calls_within_five_probe_timeouts() {
    for config in [Config::default(), insecure()] {
        let mut scene = two_calls_waiting(config);
        watch(&scene, SERVER, |before| before < 2);
        let (start, probe_timeout_ns) = (scene.clock.now(), close(&mut scene));
        scene.until(Duration::from_secs(1), |s| s.client.app().outcomes.len() == 2);
        for (_, name, at) in &scene.client.app().outcomes {
            assert_eq!(*name, "unknown");
            let took = at.since_ns(start);
            assert!(took <= 5 * probe_timeout_ns, "{took} ns at a probe timeout of {probe_timeout_ns}");
        }
        assert_eq!(scene.client.app().closed, [CloseReason::Peer(7)]);
    }
}

#[test]
fn a_close_that_was_heard_is_not_said_again() {
    for config in [Config::default(), insecure()] {
        let mut scene = two_calls_waiting(config);
        let said = watch(&scene, SERVER, |_| false);
        close(&mut scene);
        scene.run(Duration::from_secs(2));
        assert_eq!(said.get(), 1, "one CLOSE");
        assert_eq!(scene.client.app().closed, [CloseReason::Peer(7)]);
    }
}

#[test]
fn a_close_whose_answer_was_lost_is_answered_again() {
    let mut scene = two_calls_waiting(Config::default());
    let answers = watch(&scene, CLIENT, |before| before < 2);
    close(&mut scene);
    scene.run(Duration::from_secs(2));
    assert_eq!(answers.get(), 3, "two answers lost, and one that ended it");
}

#[test]
fn nobody_hears_the_close_and_it_ends_after_a_second_all_the_same() {
    let mut scene = two_calls_waiting(Config::default());
    let said = watch(&scene, SERVER, |_| true);
    // Nor is anybody there who would ask.
    watch_both_ways(&scene, &said);
    close(&mut scene);
    scene.run(Duration::from_millis(1_100));
    let repeats = said.get();
    assert!((5..=20).contains(&repeats), "{repeats} in a second: twice the pause each time");
    scene.run(Duration::from_secs(3));
    assert_eq!(said.get(), repeats);
}

/// Drops everything, and counts the server's.
fn watch_both_ways(scene: &Scene, said: &Rc<Cell<u64>>) {
    let said = Rc::clone(said);
    scene.line.borrow_mut().drop = Box::new(move |sender, _| {
        said.set(said.get() + u64::from(sender == SocketAddr::from(SERVER)));
        true
    });
}

#[test]
fn an_end_that_missed_the_close_hears_of_it_by_its_next_packet() {
    for config in [Config::default(), insecure()] {
        let mut scene = two_calls_waiting(config);
        let clock = scene.clock.clone();
        let deaf_until = clock.now().after(Duration::from_millis(200));
        scene.line.borrow_mut().drop =
            Box::new(move |sender, _| sender == SocketAddr::from(SERVER) && clock.now() < deaf_until);
        close(&mut scene);
        scene.run(Duration::from_millis(201));
        assert!(scene.client.app().closed.is_empty(), "no repeat was due just then");
        let start = scene.clock.now();
        scene.call(3, Duration::from_secs(60));
        scene.until(Duration::from_secs(1), |s| s.client.app().outcomes.len() == 3);
        let took = scene.clock.now().since_ns(start);
        assert!(took <= 2 * RTT.as_nanos() as u64, "{took} ns");
    }
}

#[test]
fn ends_that_close_at_once_do_not_go_on_telling_each_other() {
    for config in [Config::default(), insecure()] {
        let mut scene = two_calls_waiting(config);
        let sent = Rc::new(Cell::new(0));
        let count = Rc::clone(&sent);
        scene.line.borrow_mut().drop = Box::new(move |_, _| {
            count.set(count.get() + 1);
            false
        });
        let session = scene.session;
        // With its calls given up the client has nothing to flush, and says its CLOSE at once, as the server does.
        (1..=2).for_each(|token| assert!(scene.client.cancel(session, token)));
        scene.client.close(session, 8);
        close(&mut scene);
        scene.run(Duration::from_secs(3));
        assert!(sent.get() <= 8, "{} packets", sent.get());
        assert_eq!(scene.client.app().closed.len(), 1);
    }
}
