//! Durable calls (R3, P-12.5): a handler's effect and its reply are committed as one, so that a call asked
//! for again after a crash gets the reply it had and is not run again.
//!
//! Not for effects outside the store: a mail sent, a file written, a call made to somebody else from a
//! durable handler can happen twice, or happen and be forgotten. No protocol makes that exactly once.
//!
//! ```text
//!  Client --lease, sequence, payload--> endpoint's queue --batch--> Server's own thread
//!    ^                                                                |  judge, handler
//!    |                                                             ReplyLog
//!    |                                                                |  effects + replies
//!    +----------------- reply, after the commit <----- Store::commit -+  (one fsync for a batch)
//! ```
//!
//! Method: RIFL (Lee et al., SOSP 2015): leases, a completion record beside the effect, and the client's
//! first incomplete call to say which records may go.
//!
//! Invariant: an answer is sent only after what it says was committed; a call whose record may be gone is
//! never run.
//!
//! A server and a client, over a store in memory, which is right for a test and wrong for anything else;
//! `examples/durable_counter.rs` has one on disk, and kills its server:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use ringwire::endpoint::{Endpoint, block_on};
//! use ringwire::rpc::durable::{Client, MemoryStore, Server};
//! use ringwire::rpc::{Router, Service, method_id};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let queue = |_worker| Router::new().queue("Counter/Next");
//! let endpoint = Endpoint::builder().bind("127.0.0.1:0".parse()?).handler(queue).start()?;
//! let _server = Server::builder(MemoryStore::default())
//!     .serve("Counter/Next", |_call, tx| {
//!         let stored = tx.read("counters", b"next")?;
//!         let count = stored.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")));
//!         tx.put("counters", "next", (count + 1).to_le_bytes());
//!         Ok(count.to_le_bytes().to_vec().into())
//!     })
//!     .start(endpoint.requests())?;
//!
//! let client = Arc::new(Endpoint::builder().bind("127.0.0.1:0".parse()?).start()?);
//! let client = Client::new(Service::new(client, endpoint.local_addr(), None))?;
//! let next = block_on(client.call(method_id("Counter/Next"), "", Duration::from_secs(5)));
//! assert_eq!(next.expect("the first number"), 0u64.to_le_bytes().as_slice());
//! # Ok(())
//! # }
//! ```

mod bounds;
mod client;
mod clock;
#[cfg(feature = "durable")]
mod disk;
mod failure;
mod lane;
mod ledger;
mod log;
mod memory;
mod outcome;
mod rows;
mod server;
mod store;
mod transaction;

pub use bounds::Bounds;
pub use client::Client;
pub use clock::Moment;
#[cfg(feature = "durable")]
pub use disk::{DiskStore, DiskView};
pub use failure::Failure;
pub use log::{Answer, Arrived, Call, ReplyLog};
pub use memory::MemoryStore;
pub use outcome::{NotRun, Outcome};
pub use rows::ClientName;
pub use server::{Builder, Server, StartError, moment};
pub use store::{Entry, Store, StoreError, Writes};
pub use transaction::Transaction;

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Leases.
    pub leases: usize,
    /// Recorded replies.
    pub replies: usize,
    /// What they count in bytes: at most [`Bounds::bytes_max`].
    pub bytes: u64,
}
