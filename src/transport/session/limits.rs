//! What holds packets back or bounds them: the pace, the room beside a unit, the marks a path takes.

use crate::bounds::{CONTROL_SIZE_RESERVED, HEADER_SIZE, TAG_SIZE};
use crate::crypto::Protector;
use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::congestion::Controller;
use crate::transport::pacer::Pace;
use crate::transport::path_mtu::PathMtu;
use crate::transport::session::Session;
use crate::transport::session::transmit::{Pick, Plan};
use crate::transport::sink::{Marking, PacketSink};
use crate::transport::train;
use crate::wire::FRAGMENT_HEAD_SIZE;

/// Room that every unit leaves for ACK_REQUEST and PING.
const SIGNALS_SIZE: usize = 4;

/// Padding to a full packet costs at most this part of it (1/16): more, and the train ends instead.
const PADDING_PART_MAX: usize = 16;

impl Session {
    /// When the pacer lets the next packet go; `None`: now.
    #[inline(always)]
    pub(super) fn pace(&mut self, now: Timestamp) -> Option<Timestamp> {
        let pace = self.congestion.pace(&self.rtt);
        // Probes of the packet size and pings may be under way.
        if self.units.is_empty() {
            self.pacer.on_idle(pace);
        }
        self.timers.pacing = pace.and_then(|pace| self.held_until(now, pace));
        self.timers.pacing
    }

    #[inline(never)]
    fn held_until(&mut self, now: Timestamp, pace: Pace) -> Option<Timestamp> {
        let wait_ns = self.pacer.delay_ns(now, self.mtu.size() as u64, Some(pace));
        (wait_ns > 0).then(|| now.after_ns(wait_ns))
    }

    /// L43: nothing held the session back but the application, credit or a grant: what the path delivers
    /// from here on is no measure of it.
    pub(super) fn note_app_limit(&mut self, now: Timestamp) {
        let Some(rate) = &mut self.rate else { return };
        let flight = self.sent.bytes_in_flight();
        let has_window = flight + self.mtu.size() as u64 <= self.congestion.window();
        if has_window && self.timers.pacing.is_none_or(|at| at <= now) {
            rate.on_app_limited(flight);
        }
    }

    /// A path that should carry packets of `size_max` bytes, and is still to be asked.
    pub(super) fn unproven_path(protector: &Protector, size_max: usize) -> PathMtu {
        let mtu = PathMtu::new(size_max);
        if protector.is_secure() { mtu.in_blocks() } else { mtu }
    }

    /// The largest unit that leaves room to ask for an ack.
    pub(super) fn unit_size_max(&self) -> usize {
        self.mtu.filled_size() - HEADER_SIZE - TAG_SIZE - SIGNALS_SIZE
    }

    /// True when full units wait that are worth a train of `size` bytes.
    #[inline]
    pub(crate) fn is_train_ready(&self, size: usize) -> bool {
        train::is_full(self.queue.full_units(), self.mtu.size(), size)
    }

    /// Bytes of data in a fragment that fills its packet, beside what waits to be said.
    #[inline(never)]
    pub(super) fn fragment_size(&self) -> usize {
        let control = &self.control;
        let speaks = self.acks.wanted() || control.duplicate_seen || control.stats || control.wants_packet();
        let control = if speaks { CONTROL_SIZE_RESERVED - SIGNALS_SIZE } else { 0 };
        self.unit_size_max() - control - FRAGMENT_HEAD_SIZE
    }

    /// The size of the packets around one with this unit; 0 when so much padding is dearer than another train.
    #[inline(never)]
    pub(super) fn full_packet_size(&self, unit_size: usize) -> usize {
        let size = self.mtu.filled_size();
        let filled = unit_size + CONTROL_SIZE_RESERVED + HEADER_SIZE + TAG_SIZE;
        if filled > size - size / PADDING_PART_MAX { size } else { 0 }
    }

    /// What waits to be said does not fit beside the unit, whose size is what it was when it was packed: a packet
    /// without a unit says it first.
    pub(super) fn speaks_alone(&self, now: Timestamp, plan: &Plan) -> bool {
        let crowded = matches!(plan.pick, Pick::Again(..) | Pick::New(..))
            && plan.unit_size + CONTROL_SIZE_RESERVED > self.mtu.size() - HEADER_SIZE - TAG_SIZE;
        crowded && (self.acks.due(now) || self.control.wants_packet())
    }

    /// L42: packets are marked once the peer was heard, and no longer once its path failed.
    #[inline(always)]
    pub(super) fn look_after_marks(&mut self, sink: &mut impl PacketSink) {
        if self.timers.measured_from.is_none() {
            self.ecn.start(self.sent.next());
        }
        if rarely(self.ecn.take_news()) {
            let marking = if self.ecn.marks() { Marking::Ect0 } else { Marking::Off };
            sink.mark(self.path, marking);
        }
    }
}
