//! What one peer may take of one worker.
//!
//! A peer is its key: its sessions share its quotas. Without sealing nobody has keys, and each session
//! counts as a peer of its own.

use crate::bounds::{
    PEER_CALLS_DEFAULT, PEER_LANES_DEFAULT, PEER_REASSEMBLY_DEFAULT, PEER_SESSIONS_DEFAULT,
    PEER_UNACKED_DEFAULT,
};

/// Which bound a peer ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Quota {
    /// Sessions open at once: another handshake is refused.
    Sessions,
    /// Calls it has open towards this worker: another is answered as over quota, and not run.
    Calls,
    /// Bytes of large messages in pieces: the next waits for its GRANT.
    Reassembly,
    /// Bytes kept for it until it acknowledges them: its calls are answered as over quota, and not run.
    Unacked,
    /// Of its sessions, those it asked for over another: one more is refused.
    Lanes,
}

impl Quota {
    /// Its name in allow-lists and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Quota::Sessions => "sessions",
            Quota::Calls => "calls",
            Quota::Reassembly => "reassembly",
            Quota::Unacked => "unacked",
            Quota::Lanes => "lanes",
        }
    }
}

/// A peer's quotas with each worker; what is `None` is left to the endpoint, and there to the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Sessions it may hold. Default: 16,384.
    pub sessions: Option<u32>,
    /// Calls it may have open. One session is granted no more slots than this. Default: 262,144.
    pub calls: Option<u32>,
    /// Bytes of large messages it may have in pieces; no message of its may be larger. Default: 128 MiB, and
    /// at least one message of the largest size.
    pub reassembly: Option<u64>,
    /// Bytes that are kept for it, of replies above all, until it acknowledges them. Default: 256 MiB.
    pub unacked: Option<u64>,
    /// Of its sessions, those it may ask for over another. Default: 1,024.
    pub lanes: Option<u32>,
}

/// [`Quotas`] with every number decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) sessions: u32,
    pub(crate) calls: u32,
    pub(crate) reassembly: u64,
    pub(crate) unacked: u64,
    pub(crate) lanes: u32,
}

impl Allowance {
    /// What a key is given before what the endpoint gives, and the defaults last.
    pub(crate) fn decide(own: &Quotas, endpoint: &Quotas, message_size_max: u64) -> Self {
        Self {
            sessions: own.sessions.or(endpoint.sessions).unwrap_or(PEER_SESSIONS_DEFAULT),
            calls: own.calls.or(endpoint.calls).unwrap_or(PEER_CALLS_DEFAULT),
            reassembly: (own.reassembly.or(endpoint.reassembly))
                .unwrap_or_else(|| PEER_REASSEMBLY_DEFAULT.max(message_size_max)),
            unacked: own.unacked.or(endpoint.unacked).unwrap_or(PEER_UNACKED_DEFAULT),
            lanes: own.lanes.or(endpoint.lanes).unwrap_or(PEER_LANES_DEFAULT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_own_quota_goes_before_the_endpoints_and_that_before_the_default() {
        let own = Quotas { calls: Some(10), ..Quotas::default() };
        let endpoint = Quotas { calls: Some(20), sessions: Some(3), ..Quotas::default() };
        let allowance = Allowance::decide(&own, &endpoint, 1 << 30);
        assert_eq!((allowance.calls, allowance.sessions), (10, 3));
        assert_eq!(allowance.unacked, PEER_UNACKED_DEFAULT);
        assert_eq!(allowance.reassembly, 1 << 30, "one message of the largest size must fit");
    }
}
