//! A log with a handler that counts its runs, and a store that can be made to die.

use std::sync::{Arc, Mutex};

use ringwire::crypto::PublicKey;
use ringwire::rpc::durable::{
    Answer, Arrived, Bounds, Call, Entry, Failure, MemoryStore, Moment, ReplyLog, Store, StoreError,
    Transaction, Writes,
};
use ringwire::rpc::{method_id, status};
use ringwire::time::Timestamp;
use ringwire::wire::{DurableRequest, LeaseGrant, LeaseId};

/// Counts a run of the call that its payload names, and replies with the count of all runs.
pub const RUN: &str = "Test/Run";
/// Writes, then fails with what its payload says.
pub const FAIL: &str = "Test/Fail";
/// Writes, then panics.
pub const PANIC: &str = "Test/Panic";

/// Runs of one call, and of all.
pub const RUNS: &str = "runs";
pub const ALL: &[u8] = b"all";

pub const CLIENT: [u8; 16] = [0xc1; 16];

/// Where a store dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    BeforeCommit,
    AfterCommit,
}

/// A store that dies at its next commit, if it is told to: the log then hears an error, and the test
/// begins another log on what was really committed.
#[derive(Clone, Default)]
pub struct Mortal {
    pub inner: MemoryStore,
    pub dies: Arc<Mutex<Option<Point>>>,
}

impl Store for Mortal {
    fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.read(table, key)
    }

    fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(table, from, max)
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let dies = self.dies.lock().unwrap().take();
        if dies != Some(Point::BeforeCommit) {
            self.inner.commit(writes)?;
        }
        match dies {
            None => Ok(()),
            Some(_) => Err(StoreError::Refused { what: "committing".into(), error: "it died".into() }),
        }
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        self.inner.recover()
    }
}

/// A moment `ms` after the test's beginning, by both clocks.
pub fn at_ms(ms: u64) -> Moment {
    Moment { now: Timestamp(ms * 1_000_000), wall_ns: 1_000_000_000_000 + ms * 1_000_000 }
}

pub fn open(store: impl Store + 'static, bounds: Bounds, at: Moment) -> ReplyLog {
    let mut log = ReplyLog::open(store, bounds, [3; 32], at).expect("a store in order");
    serve(&mut log);
    log
}

pub fn serve(log: &mut ReplyLog) {
    log.serve(RUN, count).expect("one name");
    log.serve(FAIL, |call, tx| {
        tx.put(RUNS, "failed", call.payload);
        Err(Failure::new(status::APPLICATION, call.payload.to_vec()))
    })
    .expect("one name");
    log.serve(PANIC, |call, tx| {
        tx.put(RUNS, "panicked", call.payload);
        panic!("the handler's own")
    })
    .expect("one name");
}

pub fn count(call: Call<'_>, tx: &mut Transaction<'_>) -> Result<bytes::Bytes, Failure> {
    let runs = number(tx.read(RUNS, call.payload)?) + 1;
    tx.put(RUNS, call.payload, runs.to_le_bytes());
    let all = number(tx.read(RUNS, ALL)?) + 1;
    tx.put(RUNS, ALL, all.to_le_bytes());
    Ok(all.to_le_bytes().to_vec().into())
}

/// How often the call that `payload` names has run, for good.
pub fn runs(store: &impl Store, payload: &[u8]) -> u64 {
    number(store.read(RUNS, payload).expect("it reads"))
}

pub fn number(bytes: Option<Vec<u8>>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("a count is 8 bytes")))
}

pub fn ask(log: &mut ReplyLog, at: Moment, method: &str, request: &DurableRequest<'_>) -> Answer {
    ask_as(log, at, None, method, request)
}

pub fn ask_as(
    log: &mut ReplyLog,
    at: Moment,
    client: Option<PublicKey>,
    method: &str,
    request: &DurableRequest<'_>,
) -> Answer {
    let payload = request.to_vec();
    let arrived = Arrived { method: method_id(method), client, payload: &payload };
    log.run(at, &[arrived]).pop().expect("one answer for one call")
}

pub fn lease(log: &mut ReplyLog, at: Moment, attempt: u64) -> LeaseId {
    let answer = ask(log, at, RUN, &DurableRequest::Open { client: CLIENT, attempt });
    LeaseGrant::decode(&answer.payload).unwrap_or_else(|error| panic!("{error}: {answer:?}")).lease
}

pub fn call(lease: LeaseId, sequence: u64, payload: &[u8]) -> DurableRequest<'_> {
    DurableRequest::Call { lease, sequence, first_incomplete: 0, payload }
}

/// The count that a reply of [`RUN`] says.
pub fn reply(answer: &Answer) -> u64 {
    assert_eq!(answer.status, status::OK, "{answer:?}");
    number(Some(answer.payload.to_vec()))
}

/// Rows of the log's own tables.
pub fn rows(store: &impl Store) -> (usize, usize) {
    let rows = |table| store.scan(table, b"", usize::MAX).expect("it reads").len();
    (rows("ringwire.leases"), rows("ringwire.replies"))
}
