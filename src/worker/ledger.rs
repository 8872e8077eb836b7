//! The loss ledger: where packets were lost, place by place.
//!
//! A packet that was built and never taken in by its receiver was lost at exactly one place:
//!
//! ```text
//! built -> our queue -> kernel's offload -> NETWORK -> their socket buffer -> their rings -> their engine -> taken in
//!          own_queue    offload, refused               socket_buffer          ring           damaged, no_session
//! ```
//!
//! Each end counts what it sees, on the side of sending and on the side of receiving; what both ends
//! together cannot name was lost in the network. Nothing here costs the data path a system call: the kernel's
//! drop counter is read by one getsockopt in ten milliseconds, the rest are plain counters beside work
//! that is done anyway.

use std::ops::AddAssign;

use crate::io::IoCounters;
use crate::transport::Counters;

/// What one end counted of its own part of the way. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCounters {
    /// Packets built and handed to the backend.
    pub sent: u64,
    /// Packets that arrived whole, for the first time.
    pub taken_in: u64,
    /// Sends that the kernel had no room for (ENOBUFS, EAGAIN, ENOMEM), tried again in vain.
    pub own_queue: u64,
    /// Packets of trains that segmentation offload failed on, singly too.
    pub offload: u64,
    /// Sends refused for another reason: too big for the route, no route, a filter.
    pub refused: u64,
    /// Packets that found this end's receive buffer full. The kernel counts here, too, what its own UDP checksum
    /// or a filter dropped at the socket. Packets that it would have handed over as one (`UDP_GRO`) it counts as
    /// one when it drops them: the rest of such a train is found in [`Ledger::network`].
    pub socket_buffer: u64,
    /// Packets dropped at a ring of this process: cut short, or handed to a worker that was too far behind.
    pub ring: u64,
    /// Packets that arrived damaged: the tag or the header was wrong.
    pub damaged: u64,
    /// Packets for a session that is not here: it has ended, is not open yet, or its name was damaged.
    pub no_session: u64,
}

impl LossCounters {
    /// What an engine and the backend under it counted.
    #[must_use]
    pub fn of(engine: &Counters, io: &IoCounters) -> Self {
        let damaged = engine.corrupt + engine.malformed;
        let no_session = engine.unknown_session + engine.early_packets;
        let not_taken = damaged + no_session + engine.duplicate_packets;
        Self {
            sent: engine.packets_sent,
            taken_in: engine.packets_received.saturating_sub(not_taken),
            own_queue: io.dropped_no_room,
            offload: io.dropped_offload,
            refused: io.send_dropped.saturating_sub(io.dropped_no_room + io.dropped_offload),
            socket_buffer: io.socket_drops,
            ring: io.truncated + io.ring_dropped,
            damaged,
            no_session,
        }
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    fn with(self, other: Self, op: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            sent: op(self.sent, other.sent),
            taken_in: op(self.taken_in, other.taken_in),
            own_queue: op(self.own_queue, other.own_queue),
            offload: op(self.offload, other.offload),
            refused: op(self.refused, other.refused),
            socket_buffer: op(self.socket_buffer, other.socket_buffer),
            ring: op(self.ring, other.ring),
            damaged: op(self.damaged, other.damaged),
            no_session: op(self.no_session, other.no_session),
        }
    }

    /// Lost on this end's part of the way.
    #[must_use]
    pub fn named(&self) -> u64 {
        let here = self.socket_buffer + self.ring + self.damaged + self.no_session;
        self.own_queue + self.offload + self.refused + here
    }
}

impl AddAssign for LossCounters {
    fn add_assign(&mut self, other: Self) {
        *self = self.with(other, |a, b| a + b);
    }
}

/// The ledger of a closed group of ends: all that talked to each other, and to nobody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What the ends counted, together.
    pub counted: LossCounters,
}

impl Ledger {
    /// The ledger of ends that counted this.
    #[must_use]
    pub fn of(ends: impl IntoIterator<Item = LossCounters>) -> Self {
        let mut counted = LossCounters::default();
        ends.into_iter().for_each(|end| counted += end);
        Self { counted }
    }

    /// Packets that were built and not taken in.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.counted.sent.saturating_sub(self.counted.taken_in)
    }

    /// Lost between the ends: what neither can name.
    #[must_use]
    pub fn network(&self) -> u64 {
        self.lost().saturating_sub(self.counted.named())
    }

    /// Every place and what was lost there, the sum of which is what was lost, unless the ends counted
    /// something twice.
    #[must_use]
    pub fn places(&self) -> [(&'static str, u64); 8] {
        let LossCounters { own_queue, offload, refused, socket_buffer, ring, damaged, no_session, .. } =
            self.counted;
        [
            ("own_queue", own_queue),
            ("offload", offload),
            ("refused", refused),
            ("network", self.network()),
            ("socket_buffer", socket_buffer),
            ("ring", ring),
            ("damaged", damaged),
            ("no_session", no_session),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neither_end_can_name_was_lost_in_the_network() {
        let sender = LossCounters { sent: 1_000, own_queue: 3, ..LossCounters::default() };
        let receiver =
            LossCounters { taken_in: 950, socket_buffer: 20, damaged: 7, ..LossCounters::default() };
        let ledger = Ledger::of([sender, receiver]);
        assert_eq!((ledger.lost(), ledger.network()), (50, 20));
        assert_eq!(ledger.places().iter().map(|(_, count)| count).sum::<u64>(), 50);
    }

    #[test]
    fn each_count_goes_to_one_place() {
        let engine = Counters {
            packets_sent: 10,
            packets_received: 100,
            corrupt: 4,
            malformed: 1,
            duplicate_packets: 5,
            unknown_session: 2,
            early_packets: 1,
            ..Counters::default()
        };
        let io = IoCounters {
            send_dropped: 9,
            dropped_no_room: 2,
            dropped_offload: 3,
            socket_drops: 6,
            truncated: 7,
            ring_dropped: 1,
            ..IoCounters::default()
        };
        let counted = LossCounters::of(&engine, &io);
        let expected = LossCounters {
            sent: 10,
            taken_in: 87,
            own_queue: 2,
            offload: 3,
            refused: 4,
            socket_buffer: 6,
            ring: 8,
            damaged: 5,
            no_session: 3,
        };
        assert_eq!(counted, expected);
        assert_eq!(counted.since(counted), LossCounters::default());
        assert_eq!(counted.named(), 31);
    }
}
