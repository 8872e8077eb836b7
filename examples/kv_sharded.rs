//! A key-value store with one shard a worker and no lock: a client keeps a session to every worker,
//! and calls the one that owns the key.
//!
//! ```text
//!  client -- session 0 --> worker 0: shard 0
//!        \-- session 1 --> worker 1: shard 1
//! ```
//!
//! `cargo run --example kv_sharded`

use std::collections::HashMap;
use std::error::Error;

use bytes::Bytes;
use ringwire::endpoint::{Endpoint, Handler, OpenError, Peer};
use ringwire::rpc::{method_id, status};
use ringwire::worker::{ReplyWriter, Request};

const GET: u32 = method_id("Store/Get");
const PUT: u32 = method_id("Store/Put");
const COUNT: u32 = method_id("Store/Count");
const NOT_FOUND: u8 = status::APPLICATION;
const MALFORMED: u8 = status::APPLICATION + 1;
const SHARDS: usize = 2;
const KEYS: usize = 2_000;

/// One worker's part of the store. Only that worker ever touches it.
#[derive(Default)]
struct Shard {
    values: HashMap<Box<[u8]>, Box<[u8]>>,
}

impl Handler for Shard {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        match request.method {
            GET => match self.values.get(request.payload) {
                Some(value) => reply.send(value),
                None => reply.fail(NOT_FOUND, b"no such key"),
            },
            PUT => match split(request.payload) {
                Some((key, value)) => {
                    self.values.insert(key.into(), value.into());
                    reply.send(b"");
                }
                None => reply.fail(MALFORMED, b"a key's length, the key, the value"),
            },
            COUNT => reply.send(&(self.values.len() as u64).to_le_bytes()),
            _ => reply.fail(status::NO_SUCH_METHOD, b"no such method"),
        }
    }
}

fn split(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = payload.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// A session to every shard.
struct Store {
    shards: Vec<Peer>,
}

impl Store {
    fn open(client: &Endpoint, server: std::net::SocketAddr) -> Result<Self, OpenError> {
        let open = |shard| client.connect(server).to_worker(shard as u8).wait();
        Ok(Self { shards: (0..SHARDS).map(open).collect::<Result<_, _>>()? })
    }

    fn owner(&self, key: &str) -> &Peer {
        &self.shards[method_id(key) as usize % SHARDS]
    }

    fn put(&self, key: &str, value: &str) {
        let record = [&[key.len() as u8], key.as_bytes(), value.as_bytes()].concat();
        let _ = self.owner(key).call(PUT, record).wait().expect("stored");
    }

    fn get(&self, key: &str) -> Option<Bytes> {
        self.owner(key).call(GET, key.to_owned()).wait().replied()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let bind = "127.0.0.1:0".parse()?;
    let server =
        Endpoint::builder().bind(bind).workers(SHARDS).handler(|_worker| Shard::default()).start()?;
    let client = Endpoint::builder().bind(bind).start()?;
    let store = Store::open(&client, server.local_addr())?;

    for i in 0..KEYS {
        store.put(&format!("key {i}"), &format!("value {i}"));
    }
    for i in 0..KEYS {
        let value = store.get(&format!("key {i}")).ok_or("a key is missing")?;
        assert_eq!(value, format!("value {i}"));
    }
    assert_eq!(store.get("a key that nobody stored"), None);

    let mut counts = Vec::new();
    for shard in &store.shards {
        let count = shard.call(COUNT, "").wait().expect("a count");
        counts.push(u64::from_le_bytes(count[..].try_into()?));
    }
    assert_eq!(counts.iter().sum::<u64>(), KEYS as u64);
    println!("kv_sharded: {KEYS} keys stored and read, by shard: {counts:?}");
    Ok(())
}
