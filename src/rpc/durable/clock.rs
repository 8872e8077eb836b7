//! The clock that leases run by: it goes on across restarts and never back.

use super::rows::LogRow;
use crate::time::Timestamp;

/// A moment, by the two clocks of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock.
    pub now: Timestamp,
    /// The wall clock, in nanoseconds since 1970.
    pub wall_ns: u64,
}

/// Counts on from what the store remembers. While a process lives its monotonic clock moves it; across a
/// restart the wall clock says how long nobody was there, and one that went back says: not at all. So a
/// step of the wall clock makes leases last longer, or across a restart shorter, and nothing else: whether
/// a call runs never depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseClock {
    base_ns: u64,
    started: Timestamp,
}

impl LeaseClock {
    pub(super) fn new(stored: Option<&LogRow>, at: Moment) -> Self {
        let base_ns =
            stored.map_or(0, |row| row.lease_ns.saturating_add(at.wall_ns.saturating_sub(row.wall_ns)));
        Self { base_ns, started: at.now }
    }

    pub(super) fn read_ns(&self, now: Timestamp) -> u64 {
        self.base_ns.saturating_add(now.since_ns(self.started))
    }

    /// When this clock will read `ns`.
    pub(super) fn when(&self, ns: u64) -> Timestamp {
        self.started.after_ns(ns.saturating_sub(self.base_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_went_back_costs_its_step_and_no_more() {
        let at = |now, wall_ns| Moment { now: Timestamp(now), wall_ns };
        let first = LeaseClock::new(None, at(50, 1_000));
        assert_eq!((first.read_ns(Timestamp(50)), first.read_ns(Timestamp(80))), (0, 30));
        assert_eq!(first.when(30), Timestamp(80));
        let row = |wall_ns| LogRow { next_number: 0, lease_ns: 30, wall_ns };
        // A restart took 500, by the wall clock.
        let on_time = LeaseClock::new(Some(&row(1_030)), at(7, 1_530));
        assert_eq!(on_time.read_ns(Timestamp(8)), 531);
        // It was set back a year meanwhile: as if no time had passed, and from there on it does.
        let back = LeaseClock::new(Some(&row(u64::MAX / 2)), at(7, 1_530));
        assert_eq!((back.read_ns(Timestamp(7)), back.read_ns(Timestamp(9))), (30, 32));
    }
}
