//! What a reply log may take of its host, and from each client.

use std::time::Duration;

use crate::bounds::{
    DURABLE_BYTES_DEFAULT, DURABLE_CLIENT_BYTES_DEFAULT, DURABLE_CLIENT_LEASES_DEFAULT,
    DURABLE_LEASES_DEFAULT, DURABLE_REPLY_SIZE_DEFAULT, DURABLE_TERM_DEFAULT, DURABLE_WINDOW_DEFAULT,
};

/// Bounds of a reply log. Each has a working default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long a lease lasts unless it is used: for so long after its last use a retry gets its recorded
    /// reply. 10 minutes by default; no less than a millisecond counts.
    pub term: Duration,
    /// Calls that a client may have incomplete under one lease, and so replies kept for it: 256.
    pub window: u32,
    /// Leases in all: 16,384.
    pub leases_max: usize,
    /// Leases of one client: 64.
    pub client_leases_max: usize,
    /// Bytes kept for all clients: 256 MiB. A lease counts [`Bounds::LEASE_COST`], a reply its size and
    /// [`Bounds::REPLY_COST`]. The last eighth is for the oldest incomplete call of each lease, by which
    /// the others' replies become free.
    pub bytes_max: u64,
    /// Bytes kept for one client: 8 MiB, beside the reply to the oldest incomplete call of each lease.
    pub client_bytes_max: u64,
    /// The largest reply that is recorded: 64 KiB. A call with a larger one fails and has no effect.
    pub reply_size_max: usize,
}

impl Bounds {
    /// What a lease counts, in bytes.
    pub const LEASE_COST: u64 = 512;
    /// What a reply counts beside its own bytes.
    pub const REPLY_COST: u64 = 128;

    pub(super) fn term_ns(&self) -> u64 {
        crate::time::saturating_ns(self.term).max(1_000_000)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            term: DURABLE_TERM_DEFAULT,
            window: DURABLE_WINDOW_DEFAULT,
            leases_max: DURABLE_LEASES_DEFAULT,
            client_leases_max: DURABLE_CLIENT_LEASES_DEFAULT,
            bytes_max: DURABLE_BYTES_DEFAULT,
            client_bytes_max: DURABLE_CLIENT_BYTES_DEFAULT,
            reply_size_max: DURABLE_REPLY_SIZE_DEFAULT,
        }
    }
}
