//! How packets reach the kernel: one small trait, and its kinds.
//!
//! Not for policy: a backend neither knows what a session is nor when to retry. Bytes are lent, never
//! copied: the worker seals a train into memory the backend lends, and opens packets in the buffers
//! the backend received into.
//!
//! ```text
//!        lend() -> TrainBuffer --- seal here ---> submit(Train) -> flush()
//! kernel <-------------------------------------------------------------+
//!        +--> receive(&mut batch) -> buffer_mut(i) --- open here ---> release()
//! ```
//!
//! Invariant: between `receive` and `release` a received buffer is the worker's alone; between
//! `submit` and its completion a train buffer is the backend's alone.
#![forbid(unsafe_code)]

pub mod config;
mod held;
#[cfg(test)]
mod held_tests;
mod inlet;
mod joining;
pub mod memory;
pub mod mmsg;
#[cfg(test)]
mod mmsg_tests;
mod outbox;
mod paths;
mod port;
mod refusal;
mod regular;
#[cfg(test)]
mod regular_tests;
mod report;
mod segments;
pub mod select;
mod sender;
mod train;
pub mod uring;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::bounds::{PACKET_SIZE_MAX, PACKET_SIZE_MIN};

pub use crate::sys::shed::{ALL as ALL_KEPT, Kept};
pub use config::Config;
pub use train::{Train, TrainBuffer};

/// Index into the worker's path table: one remote address seen through one local socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(pub u32);

/// The two ECN bits of an IP header (RFC 3168 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    /// Not ECN-capable, or the socket does not show it.
    #[default]
    NotEct,
    /// ECN-capable, codepoint 1.
    Ect1,
    /// ECN-capable, codepoint 0.
    Ect0,
    /// Congestion experienced.
    Ce,
}

/// One receive: a buffer that holds one packet, or several that the kernel joined (GRO).
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Which buffer: see [`Backend::buffer_mut`].
    pub buffer: u32,
    /// Bytes received.
    pub length: u32,
    /// Bytes of each packet but the last; equal to `length` for a single packet.
    pub segment_size: u32,
    /// Who sent it.
    pub from: SocketAddr,
    /// The ECN bits it came with.
    pub ecn: Ecn,
}

/// What a backend has to say about an earlier submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet of this size does not fit the path (EMSGSIZE, or EINVAL from GSO): a failed probe.
    PacketTooBig {
        /// The path that refused it.
        path: PathId,
        /// The size refused, in bytes.
        segment_size: usize,
    },
    /// GSO failed by use and was switched off for this socket.
    GsoOff,
    /// The kernel had no room (ENOBUFS, EAGAIN) and `packets` were dropped here.
    SendDropped {
        /// The path they were for.
        path: PathId,
        /// How many.
        packets: usize,
    },
    /// The remote port answered with an ICMP error (ECONNREFUSED and its kin): a hint, never proof.
    Unreachable {
        /// The path, if the kernel told.
        path: Option<PathId>,
    },
}

/// What a backend counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// Packets handed to the kernel.
    pub packets_sent: u64,
    /// Packets the kernel handed over.
    pub packets_received: u64,
    /// System calls that sent.
    pub send_calls: u64,
    /// System calls that received something.
    pub receive_calls: u64,
    /// Packets dropped because the kernel refused them.
    pub send_dropped: u64,
    /// Of these, those it had no room for, after some tries.
    pub dropped_no_room: u64,
    /// And those whose segmentation it failed on.
    pub dropped_offload: u64,
    /// Packets the kernel dropped for want of room in our socket's buffer (SK_MEMINFO_DROPS), as of
    /// the last look.
    pub socket_drops: u64,
    /// Receives cut short because the buffer was too small.
    pub truncated: u64,
    /// Packets for this worker that came in elsewhere and found its ring full.
    pub ring_dropped: u64,
}

/// One way to move trains and packets. Called per batch, so it is `dyn`.
pub trait Backend {
    /// Its name on the command line: `mmsg`, `uring`, `memory`.
    fn name(&self) -> &'static str;

    /// The address the socket is bound to.
    fn local_addr(&self) -> SocketAddr;

    /// The largest packet the route to `remote` carries, in bytes of UDP payload, at most
    /// [`PACKET_SIZE_MAX`]; [`PACKET_SIZE_MIN`] when the route cannot tell.
    fn route_size(&self, remote: SocketAddr) -> usize {
        let told = crate::sys::route::route(remote).map(|route| route.payload_size(remote));
        told.unwrap_or(PACKET_SIZE_MIN).min(PACKET_SIZE_MAX)
    }

    /// Tells the backend where `path` leads. Ids come in order from 0; a known id is re-pointed.
    fn register_path(&mut self, path: PathId, remote: SocketAddr);

    /// From here on packets to `path` carry `ecn`, and the marks of what arrives are shown. A backend marks
    /// nothing that stays on this host: there is no queue on the way that could mark it.
    fn mark(&mut self, path: PathId, ecn: Ecn) {
        let _ = (path, ecn);
    }

    /// Clears `batch` and fills it with what has arrived, without waiting. True when the batch came
    /// back full: more may be waiting. All earlier received buffers must have been released.
    fn receive(&mut self, batch: &mut Vec<Received>) -> io::Result<bool>;

    /// The bytes of a received buffer.
    fn buffer_mut(&mut self, buffer: u32) -> &mut [u8];

    /// Every buffer of the last `receive` goes back.
    fn release(&mut self);

    /// Memory for one train; `None` while all of it is in flight.
    fn lend(&mut self) -> Option<TrainBuffer>;

    /// Takes back memory that was lent and not used.
    fn give_back(&mut self, buffer: TrainBuffer);

    /// Takes a train. It may stay here until `flush`. What of it lies elsewhere is gathered or
    /// [filled](TrainBuffer::fill) in.
    fn submit(&mut self, train: Train);

    /// Hands everything submitted to the kernel. Never waits.
    fn flush(&mut self) -> io::Result<()>;

    /// Hands over one packet from memory that stays with whoever lent it, and can be written again at once. False, and it
    /// is to be submitted, where that is not possible now, or went wrong.
    fn send_lone(&mut self, path: PathId, packet: &[u8]) -> bool {
        let _ = (path, packet);
        false
    }

    /// Waits until something arrives, the doorbell rings, or `timeout` passes (`None`: no limit).
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// What wakes a [`Backend::wait`] from another thread.
    fn doorbell(&self) -> Doorbell;

    /// Moves what happened since the last call into `events`.
    fn poll_events(&mut self, events: &mut Vec<Event>);

    /// Has the kernel drop first messages but for `kept` of them, before they take room; `None`: takes all.
    /// False where that cannot be had: all are taken.
    fn shed(&mut self, kept: Option<Kept>) -> bool {
        kept.is_none()
    }

    /// What was counted so far. `look` asks the kernel for its drop counter first (a system call).
    fn counters(&mut self, look: bool) -> IoCounters;

    /// The receive buffer the kernel granted, read back, in bytes of true size.
    fn receive_buffer_size(&self) -> u64;
}

/// Rings a worker that waits in [`Backend::wait`], from any thread.
#[derive(Clone)]
pub struct Doorbell(std::sync::Arc<dyn Fn() + Send + Sync>);

impl Doorbell {
    /// A doorbell that calls `ring`.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self(std::sync::Arc::new(ring))
    }

    /// Wakes the worker.
    pub fn ring(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Doorbell")
    }
}
