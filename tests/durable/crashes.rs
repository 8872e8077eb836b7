//! Crashes at named points, one by one and at random.

use ringwire::rng::Rng;
use ringwire::rpc::durable::{Bounds, ReplyLog};
use ringwire::rpc::status;
use ringwire::wire::{DurableRequest, LeaseId};

use crate::rig::{ALL, Mortal, Point, RUN, ask, at_ms, call, lease, open, reply, rows, runs};

#[test]
fn a_crash_before_the_commit_leaves_nothing_and_the_retry_runs() {
    let store = Mortal::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    *store.dies.lock().unwrap() = Some(Point::BeforeCommit);
    let failed = ask(&mut log, at_ms(1), RUN, &call(lease, 0, b"a"));
    assert_eq!((failed.status, runs(&store, b"a"), rows(&store)), (status::STORE_FAILED, 0, (1, 0)));
    let mut log = open(store.clone(), Bounds::default(), at_ms(2));
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &call(lease, 0, b"a"))), 1);
    assert_eq!(runs(&store, b"a"), 1);
}

#[test]
fn a_crash_between_commit_and_reply_leaves_both_and_the_retry_gets_the_reply() {
    let store = Mortal::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    *store.dies.lock().unwrap() = Some(Point::AfterCommit);
    // The log does not know that it was kept, and does not say so.
    let failed = ask(&mut log, at_ms(1), RUN, &call(lease, 0, b"a"));
    assert_eq!((failed.status, runs(&store, b"a"), rows(&store)), (status::STORE_FAILED, 1, (1, 1)));
    let mut log = open(store.clone(), Bounds::default(), at_ms(2));
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &call(lease, 0, b"a"))), 1);
    assert_eq!(runs(&store, b"a"), 1);
}

#[test]
fn a_crash_after_the_reply_changes_nothing() {
    let store = Mortal::default();
    let mut log = open(store.clone(), Bounds::default(), at_ms(0));
    let lease = lease(&mut log, at_ms(0), 1);
    assert_eq!(reply(&ask(&mut log, at_ms(1), RUN, &call(lease, 0, b"a"))), 1);
    drop(log);
    let mut log = open(store.clone(), Bounds::default(), at_ms(2));
    assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &call(lease, 0, b"a"))), 1);
    assert_eq!(runs(&store, b"a"), 1);
}

#[test]
fn a_log_whose_store_failed_goes_on_by_itself_from_what_was_kept() {
    for point in [Point::BeforeCommit, Point::AfterCommit] {
        let store = Mortal::default();
        let mut log = open(store.clone(), Bounds::default(), at_ms(0));
        let lease = lease(&mut log, at_ms(0), 1);
        *store.dies.lock().unwrap() = Some(point);
        assert_eq!(ask(&mut log, at_ms(1), RUN, &call(lease, 0, b"a")).status, status::STORE_FAILED);
        assert_eq!(reply(&ask(&mut log, at_ms(2), RUN, &call(lease, 0, b"a"))), 1, "{point:?}");
        assert_eq!(runs(&store, b"a"), 1);
    }
}

/// Clients that retry, repeat old attempts, acknowledge and let leases run out; a server that dies at
/// every point and comes back. Checked against what the clients were told.
#[test]
fn no_history_of_crashes_runs_a_call_twice_or_loses_one_that_was_replied_to() {
    let first = std::env::var("RINGWIRE_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in first.map_or(0..300, |seed: u64| seed..seed + 1) {
        println!("seed {seed}: RINGWIRE_SEED={seed} cargo test --test durable no_history");
        History::new(seed).run();
    }
}

struct History {
    rng: Rng,
    store: Mortal,
    log: ReplyLog,
    ms: u64,
    calls: Vec<Told>,
    lease: LeaseId,
    leases: u64,
    /// First call of the present lease, in `calls`.
    base: usize,
}

/// What a client knows of one call.
struct Told {
    lease: LeaseId,
    sequence: u64,
    payload: Vec<u8>,
    reply: Option<u64>,
    stale: bool,
}

impl History {
    fn new(seed: u64) -> Self {
        let store = Mortal::default();
        let mut log = open(store.clone(), Bounds::default(), at_ms(0));
        let lease = lease(&mut log, at_ms(0), 0);
        let rng = Rng::new(seed);
        Self { rng, store, log, ms: 0, calls: Vec::new(), lease, leases: 1, base: 0 }
    }

    fn run(&mut self) {
        for _ in 0..120 {
            self.ms += self.rng.below(50);
            match self.rng.below(10) {
                0 => self.crash(),
                1 => *self.store.dies.lock().unwrap() = Some(Point::BeforeCommit),
                2 => *self.store.dies.lock().unwrap() = Some(Point::AfterCommit),
                3 if self.rng.chance(0.1) => self.pass_a_term(),
                4..=6 => self.again(),
                _ => self.fresh(),
            }
            self.check();
        }
        *self.store.dies.lock().unwrap() = None;
        // At the end everyone asks once more for what has no answer yet.
        (0..self.calls.len()).for_each(|index| self.attempt(index));
        self.check();
        let all = runs(&self.store, ALL);
        let replied = self.calls.iter().filter(|told| told.reply.is_some()).count() as u64;
        let stale = self.calls.iter().filter(|told| told.stale).count() as u64;
        assert!(replied <= all && all <= replied + stale, "{replied} replied, {stale} stale, {all} ran");
    }

    fn crash(&mut self) {
        self.log = open(self.store.clone(), Bounds::default(), at_ms(self.ms));
    }

    fn pass_a_term(&mut self) {
        self.ms += 600_001;
        *self.store.dies.lock().unwrap() = None;
        self.lease = lease(&mut self.log, at_ms(self.ms), self.leases);
        self.leases += 1;
        self.base = self.calls.len();
    }

    fn fresh(&mut self) {
        let (lease, sequence) = (self.lease, (self.calls.len() - self.base) as u64);
        let payload = format!("call {}", self.calls.len()).into_bytes();
        self.calls.push(Told { lease, sequence, payload, reply: None, stale: false });
        self.attempt(self.calls.len() - 1);
    }

    /// An attempt of any call at all: a retry, or a copy that was long under way.
    fn again(&mut self) {
        if !self.calls.is_empty() {
            let index = self.rng.below(self.calls.len() as u64) as usize;
            self.attempt(index);
        }
    }

    fn attempt(&mut self, index: usize) {
        let known = |told: &Told| told.reply.is_some() || told.stale;
        let own = &self.calls[self.base..];
        let first_incomplete = own.iter().position(|told| !known(told)).unwrap_or(own.len()) as u64;
        let Told { lease, sequence, ref payload, .. } = self.calls[index];
        let first_incomplete = if index >= self.base { first_incomplete.min(sequence) } else { 0 };
        let request = DurableRequest::Call { lease, sequence, first_incomplete, payload };
        let answer = ask(&mut self.log, at_ms(self.ms), RUN, &request);
        let told = &mut self.calls[index];
        match answer.status {
            status::OK => {
                let reply = reply(&answer);
                assert!(told.reply.is_none_or(|before| before == reply), "another reply: {answer:?}");
                told.reply = Some(reply);
            }
            status::STALE => told.stale |= told.reply.is_none(),
            status::STORE_FAILED => {}
            other => panic!("status {other}: {answer:?}"),
        }
    }

    fn check(&self) {
        for told in &self.calls {
            let runs = runs(&self.store, &told.payload);
            assert!(runs <= 1, "{} ran {runs} times", String::from_utf8_lossy(&told.payload));
            assert!(told.reply.is_none() || runs == 1, "a call that was replied to is there");
        }
    }
}
