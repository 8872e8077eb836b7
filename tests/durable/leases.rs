//! Leases, windows and records, by the log alone.

use ringwire::crypto::{Csprng, Identity};
use ringwire::rpc::durable::{Arrived, Bounds, MemoryStore, Moment};
use ringwire::rpc::{method_id, status};
use ringwire::wire::{DurableRequest, LeaseGrant, LeaseId};

use crate::rig::{
    ALL, CLIENT, FAIL, PANIC, RUN, RUNS, ask, ask_as, at_ms, call, lease, open, reply, rows, runs,
};
use ringwire::rpc::durable::Store;

const TERM_MS: u64 = 600_000;

#[test]
fn a_retry_gets_the_recorded_reply_and_does_not_run() {
    let store = MemoryStore::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    assert_eq!(reply(&ask(&mut log, at_ms(1), RUN, &call(lease, 0, b"a"))), 1);
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &call(lease, 1, b"b"))), 2);
    for _ in 0..3 {
        assert_eq!(reply(&ask(&mut log, at_ms(3), RUN, &call(lease, 0, b"a"))), 1);
    }
    drop(log);
    let mut log = open(store.clone(), Bounds::default(), at_ms(4));
    assert_eq!(reply(&ask(&mut log, at_ms(5), RUN, &call(lease, 1, b"b"))), 2);
    assert_eq!((runs(&store, b"a"), runs(&store, b"b"), runs(&store, ALL)), (1, 1, 2));
}

#[test]
fn a_retry_in_the_same_commit_joins_the_first_try() {
    let store = MemoryStore::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    let payload = call(lease, 0, b"a").to_vec();
    let arrived = Arrived { method: method_id(RUN), client: None, payload: &payload };
    let answers = log.run(at_ms(1), &[arrived; 3]);
    assert!(answers.iter().all(|answer| reply(answer) == 1), "{answers:?}");
    assert_eq!(runs(&store, b"a"), 1);
}

#[test]
fn another_call_under_a_used_number_is_told_so_and_gets_nobody_elses_reply() {
    let mut log = open(MemoryStore::default(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    assert_eq!(reply(&ask(&mut log, at_ms(1), RUN, &call(lease, 0, b"a"))), 1);
    for (method, payload) in [(RUN, b"b"), (FAIL, b"a")] {
        let answer = ask(&mut log, at_ms(2), method, &call(lease, 0, payload));
        assert_eq!(answer.status, status::MALFORMED, "{answer:?}");
    }
}

#[test]
fn a_call_that_fails_or_panics_has_no_effect_and_fails_for_good() {
    let store = MemoryStore::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    for _ in 0..2 {
        let failed = ask(&mut log, at_ms(1), FAIL, &call(lease, 0, b"no funds"));
        assert_eq!((failed.status, &failed.payload[..]), (status::APPLICATION, &b"no funds"[..]));
        let panicked = ask(&mut log, at_ms(1), PANIC, &call(lease, 1, b"x"));
        assert_eq!(panicked.status, status::PANICKED);
    }
    assert_eq!(store.scan(RUNS, b"", 9).unwrap(), [], "what they wrote is not kept");
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &call(lease, 2, b"a"))), 1, "and others go on");
}

#[test]
fn acknowledged_replies_go_and_their_calls_are_stale() {
    let store = MemoryStore::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    for sequence in 0..10 {
        let _ = ask(&mut log, at_ms(1), RUN, &call(lease, sequence, b"a"));
    }
    assert_eq!(rows(&store), (1, 10));
    let next = DurableRequest::Call { lease, sequence: 10, first_incomplete: 9, payload: b"a" };
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &next)), 11);
    assert_eq!(rows(&store), (1, 2), "the unacknowledged one and the new one");
    let late = ask(&mut log, at_ms(3), RUN, &call(lease, 3, b"a"));
    assert_eq!(late.status, status::STALE);
    let renew = DurableRequest::Renew { lease, first_incomplete: 11 };
    assert_eq!(LeaseGrant::decode(&ask(&mut log, at_ms(4), RUN, &renew).payload).unwrap().lease, lease);
    assert_eq!((rows(&store), runs(&store, b"a")), ((1, 0), 11));
    assert_eq!(ask(&mut log, at_ms(5), RUN, &DurableRequest::Release { lease }).status, status::OK);
    assert_eq!(ask(&mut log, at_ms(5), RUN, &call(lease, 11, b"a")).status, status::STALE);
    assert_eq!((rows(&store), log.held().bytes), ((0, 0), 0));
}

#[test]
fn a_lease_that_ended_answers_stale_and_never_runs() {
    let store = MemoryStore::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    assert_eq!(reply(&ask(&mut log, at_ms(10), RUN, &call(lease, 0, b"a"))), 1);
    // Used at 10: there until then + the term, and a use extends it.
    assert_eq!(reply(&ask(&mut log, at_ms(9 + TERM_MS), RUN, &call(lease, 0, b"a"))), 1);
    let end = 9 + 2 * TERM_MS;
    assert_eq!(log.next_expiry(), at_ms(end).now);
    for (sequence, payload) in [(0, b"a"), (1, b"b")] {
        let answer = ask(&mut log, at_ms(end), RUN, &call(lease, sequence, payload));
        assert_eq!(answer.status, status::STALE, "{answer:?}");
    }
    assert_eq!((runs(&store, ALL), rows(&store), log.held().bytes), (1, (0, 0), 0));
    // Nothing of it comes back with a new process, and its number is not given again.
    let mut log = open(store.clone(), Bounds::default(), at_ms(end + 1));
    assert_eq!(ask(&mut log, at_ms(end + 1), RUN, &call(lease, 0, b"a")).status, status::STALE);
    assert_ne!(crate::rig::lease(&mut log, at_ms(end + 1), 1), lease);
}

#[test]
fn a_lease_lasts_across_a_restart_by_the_wall_clock() {
    let store = MemoryStore::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    assert_eq!(reply(&ask(&mut log, at_ms(1_000), RUN, &call(lease, 0, b"a"))), 1);
    drop(log);
    // Down for all but a second of the term; the monotonic clock begins anew.
    let wall = at_ms(1_000 + TERM_MS - 1_000).wall_ns;
    let at = |ms: u64| Moment { now: at_ms(ms).now, wall_ns: wall + ms * 1_000_000 };
    let mut log = open(store.clone(), Bounds::default(), at(0));
    assert_eq!(log.next_expiry(), at(1_000).now);
    assert_eq!(reply(&ask(&mut log, at(999), RUN, &call(lease, 0, b"a"))), 1);
    drop(log);
    let mut log = open(store, Bounds::default(), at(999 + TERM_MS));
    assert_eq!(ask(&mut log, at(999 + TERM_MS), RUN, &call(lease, 0, b"a")).status, status::STALE);
}

#[test]
fn a_wall_clock_set_back_never_makes_a_call_run_again() {
    let store = MemoryStore::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    assert_eq!(reply(&ask(&mut log, at_ms(0), RUN, &call(lease, 0, b"a"))), 1);
    // While it runs the wall clock jumps ten years ahead, then back: no lease moves.
    let decade_ns = 10 * 365 * 86_400 * 1_000_000_000;
    let ahead = Moment { now: at_ms(1).now, wall_ns: at_ms(1).wall_ns + decade_ns };
    assert_eq!(reply(&ask(&mut log, ahead, RUN, &call(lease, 0, b"a"))), 1);
    drop(log);
    // It restarts ten years before what it last saw: as if no time had passed.
    let mut log = open(store.clone(), Bounds::default(), at_ms(2));
    assert_eq!(reply(&ask(&mut log, at_ms(3), RUN, &call(lease, 0, b"a"))), 1);
    // It goes on from there.
    let answer = ask(&mut log, at_ms(4 + TERM_MS), RUN, &call(lease, 0, b"a"));
    assert_eq!((answer.status, runs(&store, ALL)), (status::STALE, 1));
}

#[test]
fn a_lease_asked_for_twice_is_one_lease() {
    let mut log = open(MemoryStore::default(), Bounds::default(), at_ms(0));
    let first = lease(&mut log, at_ms(0), 1);
    assert_eq!(lease(&mut log, at_ms(1), 1), first);
    assert_ne!(lease(&mut log, at_ms(1), 2), first);
    assert_eq!(log.held().leases, 2);
}

#[test]
fn a_lease_is_its_clients_alone() {
    let mut log = open(MemoryStore::default(), Bounds::default(), at_ms(0));
    let key = |seed| Some(Identity::generate(&mut Csprng::new([seed; 32])).public_key());
    let request = DurableRequest::Open { client: CLIENT, attempt: 1 };
    let granted = ask_as(&mut log, at_ms(0), key(1), RUN, &request);
    let lease = LeaseGrant::decode(&granted.payload).unwrap().lease;
    assert_eq!(reply(&ask_as(&mut log, at_ms(1), key(1), RUN, &call(lease, 0, b"a"))), 1);
    let guess = LeaseId { check: lease.check ^ 1, ..lease };
    for (client, lease) in [(key(2), lease), (None, lease), (key(1), guess)] {
        for request in [call(lease, 0, b"a"), DurableRequest::Renew { lease, first_incomplete: 9 }] {
            assert_eq!(ask_as(&mut log, at_ms(2), client, RUN, &request).status, status::STALE);
        }
        let _ = ask_as(&mut log, at_ms(2), client, RUN, &DurableRequest::Release { lease });
    }
    assert_eq!(reply(&ask_as(&mut log, at_ms(3), key(1), RUN, &call(lease, 0, b"a"))), 1);
    // The same attempt of another client is another lease.
    let other = ask_as(&mut log, at_ms(4), key(2), RUN, &request);
    assert_ne!(LeaseGrant::decode(&other.payload).unwrap().lease, lease);
}

#[test]
fn what_is_no_durable_call_is_told_so() {
    let mut log = open(MemoryStore::default(), Bounds::default(), at_ms(0));
    let plain = Arrived { method: method_id(RUN), client: None, payload: b"plain" };
    let answer = log.run(at_ms(0), &[plain]).remove(0);
    assert_eq!(answer.status, status::MALFORMED);
    let answer = log.run(at_ms(0), &[Arrived { method: 7, ..plain }]).remove(0);
    assert_eq!(answer.status, status::NO_SUCH_METHOD);
}
