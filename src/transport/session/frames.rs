//! Writing control frames: each is made anew from what is true when its packet leaves.

use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::planted::{self, Fault};
use crate::transport::sent::carried;
use crate::transport::session::Session;
use crate::transport::session::transmit::{Pick, Plan};
use crate::transport::shared::Shared;
use crate::wire::{self, AckHead, PacketNumber, UnitNumber, Writer};

impl Session {
    /// Writes the control frames this packet carries, acks first.
    pub(super) fn write_control(
        &mut self,
        now: Timestamp,
        writer: &mut Writer<'_>,
        plan: &Plan,
        shared: &mut Shared,
    ) -> ControlFrames {
        let mut frames = ControlFrames::default();
        if self.acks.wanted() || self.control.duplicate_seen {
            self.write_ack(now, writer, &mut frames);
        }
        let control = &mut self.control;
        if control.credit && writer.remaining() >= wire::CREDIT_SIZE {
            let limit = self.credit_in.limit();
            wire::encode_credit(writer, limit);
            self.credit_in.on_advertised(limit);
            control.credit = false;
            frames.add(carried::CREDIT);
        }
        if control.blocked && writer.remaining() >= 2 * wire::BLOCKED_SIZE {
            control.blocked = false;
            if self.credit_out.is_blocked() {
                wire::encode_blocked(writer, None, self.credit_out.limit());
                frames.add(carried::BLOCKED);
            }
            if let Some((message, limit)) = self.large.blocked() {
                wire::encode_blocked(writer, Some(message), limit);
                frames.add(carried::BLOCKED);
            }
        }
        while writer.remaining() >= wire::GRANT_SIZE {
            let Some((message, offset)) = control.grants.pop() else { break };
            wire::encode_grant(writer, message, offset);
            frames.add(carried::GRANT);
        }
        if (self.control.stats || self.tells_damage(now)) && writer.remaining() >= wire::STATS_SIZE {
            (self.control.stats, self.control.stats_alone) = (false, false);
            (self.control.arrivals.untold, self.control.arrivals.told_at) = (false, now);
            self.write_stats(writer, shared);
        }
        if self.write_lanes(now, writer) {
            frames.add(carried::LANE);
        }
        self.write_signals(writer, plan, shared, &mut frames);
        frames
    }

    #[inline(always)]
    pub(super) fn write_ack(&mut self, now: Timestamp, writer: &mut Writer<'_>, frames: &mut ControlFrames) {
        // Planted: behind a gap one unit more is claimed than arrived.
        let claimed = u64::from(planted::is(Fault::UnitFloorTooHigh) && self.window.held() > 0);
        let head = AckHead {
            unit_floor: UnitNumber(self.window.floor() + claimed),
            ack_delay_ns: u32::try_from(self.acks.delay_ns(now)).unwrap_or(u32::MAX),
            // L18, RFC 2883: used "to report the sequence numbers of the packet that triggered the
            // acknowledgement"; the ranges name it here, the flag says that it came twice.
            duplicate_seen: self.control.duplicate_seen,
            ecn_ce: self.marks.ce,
            ecn_intact: !self.marks.bleached,
        };
        let written = match self.received.one_range() {
            Some((low, high)) => {
                wire::encode_ack_of_one(writer, &head, PacketNumber(low), PacketNumber(high))
            }
            None => self.write_ranges(writer, &head),
        };
        let Some(PacketNumber(largest)) = written else { return };
        self.control.duplicate_seen = false;
        self.marks.bleached = false;
        self.acks.on_ack_sent();
        frames.ack_largest = largest;
        // Ranges below gaps that never fill are pruned only by an ack of an ack: ask for one.
        if rarely(self.received.range_count() >= ACK_RANGES_ASK) && self.sent.packets_in_flight() == 0 {
            self.control.ping = true;
        }
    }

    #[inline(never)]
    fn write_ranges(&self, writer: &mut Writer<'_>, head: &AckHead) -> Option<PacketNumber> {
        let ranges = self.received.ranges().map(|(low, high)| (PacketNumber(low), PacketNumber(high)));
        wire::encode_ack(writer, head, ranges)
    }

    fn write_stats(&mut self, writer: &mut Writer<'_>, shared: &Shared) {
        let stats = wire::Stats {
            socket_drops: shared.socket_drops,
            packets_received: self.control.arrivals.opened,
            corrupt: self.control.arrivals.corrupt,
            duplicate: self.control.arrivals.duplicate,
        };
        stats.encode(writer);
    }

    /// A packet that is the last one for now should ask for an ack: others are under way, and the peer would wait
    /// before it says that they came.
    #[inline(always)]
    pub(super) fn ends_burst(&self, shared: &Shared) -> bool {
        self.sent.packets_in_flight() > 0 && !shared.late_ack.covers_newest_of(self.key.index)
    }

    fn write_signals(
        &mut self,
        writer: &mut Writer<'_>,
        plan: &Plan,
        shared: &Shared,
        frames: &mut ControlFrames,
    ) {
        let burst_ends = !matches!(plan.pick, Pick::Nothing) && plan.fill_to == 0;
        let last_of_burst = burst_ends && self.queue.full_units() == 0 && self.ends_burst(shared);
        // L33, QUIC ack-frequency draft: "The IMMEDIATE_ACK frame helps mitigate this problem": who waits for an ack
        // asks for it, in each probe and at the end of a burst.
        let ask = self.control.ask || plan.is_probe || last_of_burst;
        if ask && writer.remaining() >= wire::ACK_REQUEST_SIZE {
            wire::encode_ack_request(writer);
            self.control.ask = false;
        }
        if self.control.ping && writer.remaining() >= wire::PING_SIZE {
            wire::encode_ping(writer);
            self.control.ping = false;
            frames.eliciting = true;
        }
    }
}

/// Ranges in an ack from which on the receiver asks for an ack of its ack.
const ACK_RANGES_ASK: usize = 8;

/// Which control frames were written.
#[derive(Default)]
pub(super) struct ControlFrames {
    pub(super) carried: u16,
    pub(super) eliciting: bool,
    pub(super) ack_largest: u64,
}

impl ControlFrames {
    pub(super) fn add(&mut self, which: u16) {
        self.carried |= which;
        self.eliciting = true;
    }
}
