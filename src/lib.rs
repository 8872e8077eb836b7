//! Reliable messages and RPC over plain UDP, at the speed the host allows, that keep working when
//! parts fail.
//!
//! A server that echoes, and a client:
//!
//! ```
//! use ringwire::endpoint::Endpoint;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Endpoint::builder()
//!     .bind("127.0.0.1:0".parse()?)
//!     .serve(|request, reply| reply.send(request.payload))
//!     .start()?;
//!
//! let client = Endpoint::builder().start()?;
//! let peer = client.connect(server.local_addr()).wait()?; // or `.await`, on any executor
//! let reply = peer.call(1, "hello").wait().expect("a reply");
//! assert_eq!(reply, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! The rooms, each importing only what stands above it (`tests/tidy.rs` holds the table):
//!
//! ```text
//! time rng bounds   Timestamp and Clock, seeded PRNG, every maximum; units: sizes and times as people write them;
//!                   hint: what nearly never happens
//! wire              bytes <-> typed packets and frames; no I/O, no policy; total on any input
//! rings             lock-free rings and packet memory
//! sys               the kernel made safe: sockets, control messages, io_uring, cores
//! crypto            handshake, packet protection, cookies; sans-IO
//! transport         the reliability engine; sans-IO
//! io                trait Backend and its kinds: mmsg, uring, memory
//! worker            one pinned core: the loop, demultiplexing, trains, tap, mailboxes
//! endpoint          what an application holds
//! rpc               calls over messages: outcome, naming
//! sim               a whole network in one thread, virtual clock, one seed
//! testing           two connected workers for users' own tests
//! bench             load generation, recording, reports
//! tune              inspect the host
//! cli               the `ringwire` command
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("ringwire runs on Linux only: it needs UDP_SEGMENT, recvmmsg and io_uring");

pub mod bounds;
pub mod hint;
pub mod rng;
pub mod sync;
pub mod time;
pub mod units;

pub mod wire;

pub mod rings;

pub mod sys;

pub mod crypto;

pub mod transport;

pub mod io;

pub mod worker;

pub mod endpoint;

pub mod rpc;

pub mod sim;

pub mod testing;

#[cfg(feature = "cli")]
pub mod bench;

#[cfg(feature = "cli")]
pub mod tune;

#[cfg(feature = "cli")]
pub mod cli;
