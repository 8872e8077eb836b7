//! What a log holds stays within its bounds, whatever its clients do (T11).

use std::time::Duration;

use ringwire::rpc::durable::{Bounds, MemoryStore};
use ringwire::rpc::status;
use ringwire::wire::{DurableRequest, LeaseGrant};

use crate::rig::{ALL, CLIENT, RUN, ask, at_ms, call, lease, open, reply, rows, runs};

#[test]
fn a_client_that_never_acknowledges_is_stopped_at_its_window() {
    let store = MemoryStore::default();
    let mut log = open(store.clone(), Bounds { window: 8, ..Bounds::default() }, at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    for sequence in 0..8 {
        assert_eq!(reply(&ask(&mut log, at_ms(1), RUN, &call(lease, sequence, b"a"))), sequence + 1);
    }
    let refused = ask(&mut log, at_ms(1), RUN, &call(lease, 8, b"a"));
    assert_eq!((refused.status, runs(&store, b"a")), (status::NO_ROOM, 8));
    let acknowledging = DurableRequest::Call { lease, sequence: 8, first_incomplete: 1, payload: b"a" };
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &acknowledging)), 9);
}

#[test]
fn ten_thousand_clients_that_never_acknowledge_stay_within_the_configured_bytes() {
    let store = MemoryStore::default();
    let bounds = Bounds {
        term: Duration::from_secs(60),
        bytes_max: 4 << 20,
        client_bytes_max: 2_048,
        ..Bounds::default()
    };
    let mut log = open(store.clone(), bounds, at_ms(0));
    let (mut ran, mut refused, mut no_lease) = (0, 0, 0);
    let mut leases = Vec::new();
    for client in 0..10_000_u64 {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&client.to_le_bytes());
        let opened = ask(&mut log, at_ms(1), RUN, &DurableRequest::Open { client: name, attempt: 1 });
        let Ok(grant) = LeaseGrant::decode(&opened.payload) else {
            assert_eq!(opened.status, status::NO_ROOM);
            no_lease += 1;
            continue;
        };
        leases.push(grant.lease);
        for sequence in 0..3 {
            match ask(&mut log, at_ms(1), RUN, &call(grant.lease, sequence, b"a")).status {
                status::OK => ran += 1,
                status::NO_ROOM => refused += 1,
                other => panic!("status {other}"),
            }
        }
        assert!(log.held().bytes <= bounds.bytes_max);
    }
    assert!(ran > 5_000 && refused + no_lease > 0, "{ran} {refused} {no_lease}");
    assert_eq!(runs(&store, ALL), ran, "who was refused did not run");
    // The store holds no more than the log says.
    let (lease_rows, reply_rows) = rows(&store);
    assert_eq!((lease_rows, reply_rows as u64), (leases.len(), ran));
    assert_eq!((log.held().leases, log.held().replies as u64), (leases.len(), ran));
    // Reopened, it counts the same.
    drop(log);
    let mut log = open(store.clone(), bounds, at_ms(2));
    assert_eq!((log.held().leases, log.held().replies as u64), (leases.len(), ran));
    assert!(log.held().bytes <= bounds.bytes_max);
    // A term later all is gone, and nothing of it runs again.
    for lease in &leases {
        let late = ask(&mut log, at_ms(60_003), RUN, &call(*lease, 0, b"a"));
        assert_eq!(late.status, status::STALE);
    }
    assert_eq!((rows(&store), log.held().bytes, runs(&store, ALL)), ((0, 0), 0, ran));
}

#[test]
fn a_reply_that_there_is_no_room_for_means_that_the_call_had_no_effect() {
    let store = MemoryStore::default();
    let room = Bounds::LEASE_COST + Bounds::REPLY_COST + 7;
    let bounds = Bounds { client_bytes_max: room, ..Bounds::default() };
    let mut log = open(store.clone(), bounds, at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    // A reply of eight bytes: one too many, for a call that is not its lease's oldest.
    let refused = ask(&mut log, at_ms(1), RUN, &call(lease, 1, b"a"));
    assert_eq!((refused.status, runs(&store, b"a"), log.held().replies), (status::NO_ROOM, 0, 0));
    let mut log = open(store.clone(), Bounds { client_bytes_max: room + 1, ..bounds }, at_ms(2));
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &call(lease, 1, b"a"))), 1);
    // Too large to be recorded at all: it fails, for good, without effect.
    let mut log = open(store.clone(), Bounds { reply_size_max: 7, ..Bounds::default() }, at_ms(3));
    let failed = ask(&mut log, at_ms(3), RUN, &call(lease, 2, b"b"));
    assert_eq!((failed.status, runs(&store, b"b")), (status::UNRECORDED, 0));
}

#[test]
fn later_calls_that_took_all_the_room_do_not_lock_out_the_oldest() {
    let store = MemoryStore::default();
    let reply_cost = Bounds::REPLY_COST + 8;
    let own = Bounds { client_bytes_max: Bounds::LEASE_COST + 2 * reply_cost, ..Bounds::default() };
    let common = Bounds { bytes_max: 8 * reply_cost, ..Bounds::default() };
    for bounds in [own, common] {
        let mut log = open(store.clone(), bounds, at_ms(0));
        let lease = lease(&mut log, at_ms(0), 1);
        // The first was lost on the way; those after it arrived.
        let mut run = |sequence| ask(&mut log, at_ms(1), RUN, &call(lease, sequence, b"a")).status;
        let full = (1..9).find(|&sequence| run(sequence) == status::NO_ROOM).expect("it fills up");
        assert!(full >= 3, "{full}");
        assert_eq!(ask(&mut log, at_ms(2), RUN, &call(lease, 0, b"a")).status, status::OK);
        let next = DurableRequest::Call { lease, sequence: full, first_incomplete: full, payload: b"a" };
        assert_eq!(ask(&mut log, at_ms(3), RUN, &next).status, status::OK);
        assert!(log.held().bytes <= bounds.bytes_max);
        let _ = ask(&mut log, at_ms(4), RUN, &DurableRequest::Release { lease });
    }
}

#[test]
fn a_client_with_all_its_leases_gets_one_more_only_for_an_idle_one() {
    let bounds = Bounds { client_leases_max: 2, ..Bounds::default() };
    let mut log = open(MemoryStore::default(), bounds, at_ms(0));
    let first = lease(&mut log, at_ms(0), 1);
    let idle = lease(&mut log, at_ms(1), 2);
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &call(first, 0, b"a"))), 1);
    let third = lease(&mut log, at_ms(3), 3);
    assert_eq!(ask(&mut log, at_ms(4), RUN, &call(idle, 0, b"b")).status, status::STALE);
    assert_eq!(reply(&ask(&mut log, at_ms(4), RUN, &call(first, 0, b"a"))), 1, "its reply is kept");
    assert_eq!(reply(&ask(&mut log, at_ms(4), RUN, &call(third, 0, b"c"))), 2);
    let refused = ask(&mut log, at_ms(5), RUN, &DurableRequest::Open { client: CLIENT, attempt: 4 });
    assert_eq!(refused.status, status::NO_ROOM);
    let other = ask(&mut log, at_ms(5), RUN, &DurableRequest::Open { client: [9; 16], attempt: 4 });
    assert_eq!(other.status, status::OK, "another client is not concerned");
    let few = Bounds { leases_max: 3, ..Bounds::default() };
    let mut log = open(MemoryStore::default(), few, at_ms(0));
    for attempt in 1..=3 {
        lease(&mut log, at_ms(0), attempt);
    }
    let refused = ask(&mut log, at_ms(5), RUN, &DurableRequest::Open { client: [9; 16], attempt: 4 });
    assert_eq!(refused.status, status::NO_ROOM);
}
