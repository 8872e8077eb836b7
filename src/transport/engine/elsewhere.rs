//! A session's packets that came by another path than its own: its peer's address may have changed.

use crate::time::Timestamp;
use crate::transport::Deliveries;
use crate::transport::engine::table::Slot;
use crate::transport::engine::{Engine, Meta};
use crate::wire::Header;

impl Engine {
    /// Handles a DATA packet whose path is not its session's. What the session does about that is its
    /// own affair; here the tables are kept that name sessions by their paths.
    #[cold]
    pub(super) fn on_data_elsewhere(
        &mut self,
        now: Timestamp,
        meta: &Meta,
        header: &Header,
        packet: &mut [u8],
        deliveries: &mut Deliveries,
    ) {
        let Some((index, session)) = self.table.by_id(header.session) else { return };
        let (held, origin) = (session.held_paths(), session.origin_key());
        session.handle_packet_elsewhere(now, meta, header, packet, &mut self.shared, deliveries);
        let (holds, path) = (session.held_paths(), session.path);
        let moved = session.origin_key();
        self.touch(index);
        if held != holds {
            self.table.hold_paths(holds);
            self.table.drop_paths(held);
        }
        if origin != moved {
            // A repeated INIT from there is this session's, and its route may carry more or less.
            if self.accepted.get(&origin) == Some(&index) {
                self.accepted.remove(&origin);
                self.accepted.insert(moved, index);
            }
            let route_size = self.route_size(path).min(self.config.packet_size_max);
            if let Slot::Open(session) = self.table.slot_mut(index) {
                session.set_route_size(route_size);
            }
        }
    }

    /// A session is over: its place is free, and no table names it any more.
    pub(super) fn remove(&mut self, index: u32) {
        self.forget_origin(index);
        self.closings -= usize::from(matches!(self.table.slot(index), Slot::Closing(_)));
        self.table.remove(index);
    }

    /// Nothing is awaited of a session any more: no timer, and no INIT that would find it.
    pub(super) fn forget_origin(&mut self, index: u32) {
        self.timers.cancel(index);
        if let Slot::Open(session) = self.table.slot(index)
            && session.accepted
            // A lane has no INIT, and its peer may call it as it called another session.
            && session.lane_of().is_none()
        {
            let origin = session.origin_key();
            self.accepted.remove(&origin);
            let attempt = (origin.1, origin.2);
            if self.attempts.get(&attempt) == Some(&index) {
                self.attempts.remove(&attempt);
            }
        }
    }

    /// The largest packet size of any open session, in bytes of UDP payload; `None` without one.
    #[must_use]
    pub fn packet_size_max(&self) -> Option<usize> {
        let sizes = (0..self.table.len()).filter_map(|index| match self.table.slot(index) {
            Slot::Open(session) => Some(session.packet_size()),
            _ => None,
        });
        sizes.max()
    }
}
