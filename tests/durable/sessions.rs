//! Durable calls over sessions, by client and server as an application has them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ringwire::endpoint::{Builder, Endpoint, block_on, until};
use ringwire::rpc::durable::{
    Bounds, Client, Entry, MemoryStore, NotRun, Outcome, Server, Store, StoreError, Writes,
};
use ringwire::rpc::{Router, Service, method_id, status};
use ringwire::time::{Clock, MonotonicClock};

use crate::rig::{ALL, FAIL, Mortal, PANIC, Point, RUN, count, number, runs};

const LIMIT: Duration = Duration::from_secs(20);
const CALL: u32 = method_id(RUN);

fn rest_ms(ms: u64) {
    block_on(until(MonotonicClock.now().after(Duration::from_millis(ms))));
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

fn endpoint() -> Builder {
    Endpoint::builder().bind(loopback())
}

struct Served {
    server: Server,
    endpoint: Endpoint,
}

fn serve(builder: Builder, store: impl Store + 'static, bounds: Bounds) -> Served {
    let router = |_| Router::new().queue(RUN).queue(FAIL).queue(PANIC).queue("Test/Other");
    let endpoint = builder.handler(router).start().expect("a free port");
    let server = Server::bounded(store, bounds)
        .serve(RUN, count)
        .serve(PANIC, |_, _| panic!("the handler's own"))
        .otherwise(|call| call.reply("not a durable one"))
        .start(endpoint.requests())
        .expect("a store in order");
    Served { server, endpoint }
}

fn client(builder: Builder, server: SocketAddr) -> Client {
    let endpoint = Arc::new(builder.start().expect("a free port"));
    Client::new(Service::new(endpoint, server, None)).expect("randomness")
}

fn reply(outcome: Outcome) -> u64 {
    number(Some(outcome.expect("a count").to_vec()))
}

/// Commits as a disk would: not at once.
#[derive(Clone, Default)]
struct Slow {
    inner: MemoryStore,
    commits: Arc<AtomicU64>,
}

impl Store for Slow {
    fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.read(table, key)
    }

    fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(table, from, max)
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        rest_ms(2);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(writes)
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        self.inner.recover()
    }
}

#[test]
fn calls_of_many_tasks_share_commits_and_each_runs_once() {
    let store = Slow::default();
    // A window below the number of callers: they wait for each other.
    let served = serve(endpoint(), store.clone(), Bounds { window: 24, ..Bounds::default() });
    let client = client(endpoint(), served.endpoint.local_addr());
    let seen = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for caller in 0..32 {
            let (client, seen) = (client.clone(), &seen);
            scope.spawn(move || {
                for call in 0..10 {
                    let count = reply(block_on(client.call(CALL, format!("{caller}.{call}"), LIMIT)));
                    seen.lock().expect("no caller panics").push(count);
                }
            });
        }
    });
    let mut seen = seen.into_inner().expect("no caller panics");
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(1..=320), "each count once: {seen:?}");
    assert_eq!((runs(&store, ALL), runs(&store, b"31.9")), (320, 1));
    let commits = store.commits.load(Ordering::Relaxed);
    assert!(commits < 300, "{commits} commits for 320 calls of 24 at once");
    assert!(served.server.is_running());
}

#[test]
fn a_store_that_dies_and_comes_back_shows_only_in_the_time_it_takes() {
    for point in [Point::BeforeCommit, Point::AfterCommit] {
        let store = Mortal::default();
        let served = serve(endpoint(), store.clone(), Bounds::default());
        let client = client(endpoint(), served.endpoint.local_addr());
        assert_eq!(reply(block_on(client.call(CALL, "a", LIMIT))), 1);
        *store.dies.lock().expect("nobody panics") = Some(point);
        assert_eq!(reply(block_on(client.call(CALL, "b", LIMIT))), 2, "{point:?}");
        assert_eq!((runs(&store, ALL), runs(&store, b"b")), (2, 1), "{point:?}");
    }
}

#[test]
fn a_server_that_comes_back_on_its_store_answers_what_was_asked_of_the_one_before() {
    let store = MemoryStore::default();
    let served = serve(endpoint().insecure(), store.clone(), Bounds::default());
    let address = served.endpoint.local_addr();
    let client = client(endpoint().insecure(), address);
    assert_eq!(reply(block_on(client.call(CALL, "a", LIMIT))), 1);
    drop(served.endpoint);
    drop(served.server);
    let waiting = thread::spawn({
        let client = client.clone();
        move || block_on(client.call(CALL, "b", LIMIT))
    });
    rest_ms(50);
    let served = serve(endpoint().bind(address).insecure(), store.clone(), Bounds::default());
    assert_eq!(reply(waiting.join().expect("it only calls")), 2);
    assert_eq!(reply(block_on(client.call(CALL, "c", LIMIT))), 3);
    assert_eq!(block_on(client.renew(CALL, LIMIT)).replied().map(|grant| grant.len()), Some(32));
    assert_eq!(block_on(client.release(CALL, LIMIT)), Outcome::Replied(bytes::Bytes::new()));
    assert_eq!(block_on(client.renew(CALL, LIMIT)), Outcome::Stale, "there is no lease to renew");
    assert_eq!(reply(block_on(client.call(CALL, "d", LIMIT))), 4, "another lease is asked for");
    drop(served);
}

#[test]
fn a_lease_that_ended_while_its_client_rested_is_replaced_unseen() {
    let store = MemoryStore::default();
    let bounds = Bounds { term: Duration::from_millis(30), ..Bounds::default() };
    let served = serve(endpoint(), store.clone(), bounds);
    let client = client(endpoint(), served.endpoint.local_addr());
    for expected in 1..=3 {
        assert_eq!(reply(block_on(client.call(CALL, "a", LIMIT))), expected);
        // Nobody calls: it is ended all the same, soon after its time.
        let soon = MonotonicClock.now().after(LIMIT);
        while !store.scan("ringwire.leases", b"", 9).expect("it reads").is_empty() {
            assert!(MonotonicClock.now() < soon, "the lease of 30 ms is still there");
            rest_ms(5);
        }
    }
}

/// Keeps a commit, then loses every lease and says that it failed: what a client finds whose retry comes
/// after its lease ended.
#[derive(Clone, Default)]
struct Forgetful {
    inner: MemoryStore,
    forgets: Arc<AtomicU64>,
}

impl Store for Forgetful {
    fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.read(table, key)
    }

    fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(table, from, max)
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        self.inner.commit(writes)?;
        if self.forgets.swap(0, Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let mut gone = Writes::default();
        for table in ["ringwire.leases", "ringwire.replies"] {
            for (key, _) in self.inner.scan(table, b"", usize::MAX)? {
                gone.remove(table, key);
            }
        }
        self.inner.commit(&gone)?;
        Err(StoreError::Refused { what: "committing".into(), error: "it forgot".into() })
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        self.inner.recover()
    }
}

#[test]
fn a_call_that_may_have_run_under_a_lease_that_ended_is_stale_and_not_made_again() {
    let store = Forgetful::default();
    let served = serve(endpoint(), store.clone(), Bounds::default());
    let client = client(endpoint(), served.endpoint.local_addr());
    assert_eq!(reply(block_on(client.call(CALL, "a", LIMIT))), 1);
    store.forgets.store(1, Ordering::Relaxed);
    assert_eq!(block_on(client.call(CALL, "b", LIMIT)), Outcome::Stale);
    assert_eq!(runs(&store, b"b"), 1, "it had run; it does not run again");
    assert_eq!(reply(block_on(client.call(CALL, "c", LIMIT))), 3, "the next call has a lease of its own");
}

#[test]
fn failures_come_as_they_are_and_calls_of_other_methods_go_elsewhere() {
    let served = serve(endpoint(), MemoryStore::default(), Bounds::default());
    let address = served.endpoint.local_addr();
    let client = client(endpoint(), address);
    let panicked = block_on(client.call(method_id(PANIC), "", LIMIT));
    assert!(matches!(panicked, Outcome::Failed { status: status::PANICKED, .. }), "{panicked:?}");
    let unknown = block_on(client.call(method_id("Test/None"), "", LIMIT));
    assert!(matches!(unknown, Outcome::Failed { status: status::NO_SUCH_METHOD, .. }), "{unknown:?}");
    let plain = endpoint().start().expect("a free port");
    let peer = plain.connect(address).wait().expect("it is there");
    assert_eq!(peer.call(method_id("Test/Other"), "").wait().expect("a reply"), "not a durable one");
    let not_durable = peer.call(CALL, "").wait();
    assert!(matches!(not_durable, ringwire::endpoint::Outcome::Failed { status: status::MALFORMED, .. }));
    drop(served.server);
}

#[test]
fn a_call_that_cannot_be_made_says_at_its_deadline_that_it_did_not_run() {
    // A port that is taken, by somebody who never answers.
    let deaf = UdpSocket::bind(loopback()).expect("a free port");
    let nobody = deaf.local_addr().expect("it is bound");
    let absent = client(endpoint().insecure(), nobody);
    let (began, limit) = (MonotonicClock.now(), Duration::from_millis(300));
    let outcome = block_on(absent.call(CALL, "a", limit));
    assert!(matches!(outcome, Outcome::NotRun(_)), "{outcome:?}");
    let took = began.until(MonotonicClock.now());
    assert!(took >= limit, "not before its deadline: {took:?}");
    // A server without room says so, and the client says it on.
    let bounds = Bounds { leases_max: 0, ..Bounds::default() };
    let served = serve(endpoint(), MemoryStore::default(), bounds);
    let refused = client(endpoint(), served.endpoint.local_addr());
    let no_room = |why: &NotRun| matches!(why, NotRun::Refused { status: status::NO_ROOM, .. });
    let was_told = (0..20).any(|_| match block_on(refused.call(CALL, "a", limit)) {
        Outcome::NotRun(why) => no_room(&why),
        other => panic!("there is no room: {other:?}"),
    });
    assert!(was_told, "a slow host may take a deadline to open a session, not twenty");
}
