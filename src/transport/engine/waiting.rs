//! How long sessions wait before they look again: for the simulator, which holds repair to a multiple of it.

use crate::transport::engine::Engine;
use crate::transport::engine::table::Slot;

impl Engine {
    /// The longest that any open session may wait for its next probe, in nanoseconds: its probe timeout, or
    /// its pause before it asks for credit again, doubled as often as silence has made it.
    #[must_use]
    pub fn probe_timeout_ns_max(&self) -> u64 {
        let open = (0..self.table.len()).filter_map(|index| match self.table.slot(index) {
            Slot::Open(session) => Some(session.probe_timeout_ns()),
            _ => None,
        });
        open.max().unwrap_or(0)
    }
}
