//! What is seen of an engine from outside: figures of its sessions, counts, and for tests its invariants.

use crate::transport::Counters;
use crate::transport::engine::Engine;
use crate::transport::engine::table::{SessionKey, Slot};
use crate::transport::session::Session;

impl Engine {
    /// What is known of the route of `path`.
    #[cfg(test)]
    pub(crate) fn known_route_size(&self, path: crate::transport::PathIndex) -> Option<usize> {
        self.shared.paths.route_size(path)
    }

    /// Smoothed round-trip time of a session, in nanoseconds.
    #[must_use]
    pub fn rtt_ns(&self, key: SessionKey) -> Option<u64> {
        self.table.open(key).map(|s| s.rtt().smoothed_ns())
    }

    /// Bytes that a session may have in flight now.
    #[must_use]
    pub fn congestion_window(&self, key: SessionKey) -> Option<u64> {
        self.table.open(key).map(Session::congestion_window)
    }

    /// The packet size a session uses now, in bytes of UDP payload.
    #[must_use]
    pub fn packet_size(&self, key: SessionKey) -> Option<usize> {
        self.table.open(key).map(Session::packet_size)
    }

    /// Units and bytes a session still has to have acknowledged: 0 when all it accepted has arrived.
    #[must_use]
    pub fn unacknowledged(&self, key: SessionKey) -> u64 {
        self.table.open(key).map_or(0, Session::unacknowledged)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters
    }

    /// Bytes set aside for large messages in pieces, of all sessions.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.shared.reserve.taken()
    }

    /// Sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.table.open_sessions()
    }

    /// Walks every invariant; for tests and the simulator.
    pub fn check(&self) {
        let mut reserved = 0;
        for index in 0..self.table.len() {
            if let Slot::Open(session) = self.table.slot(index) {
                session.check();
                reserved += session.reserved();
            }
        }
        assert_eq!(reserved, self.shared.reserve.taken(), "memory set aside is some message's");
    }

    /// The longest that any session may wait for its next probe, in nanoseconds: its probe timeout, or its
    /// pause before it asks for credit again, doubled as often as silence has made it, or the time until its
    /// first message is repeated. For the simulator, which holds repair to a multiple of it.
    #[must_use]
    pub fn probe_timeout_ns_max(&self) -> u64 {
        let open = (0..self.table.len()).filter_map(|index| match self.table.slot(index) {
            Slot::Open(session) => Some(session.probe_timeout_ns()),
            Slot::Connecting(connecting) => Some(connecting.interval_ns()),
            _ => None,
        });
        open.max().unwrap_or(0)
    }

    /// Whether a session waits for the first packet of a peer whose address proved nothing: all that is accepted
    /// on it waits, at most for the idle timeout.
    #[must_use]
    pub fn is_half_open(&self, key: SessionKey) -> bool {
        self.table.open(key).is_some_and(Session::is_half_open)
    }
}
