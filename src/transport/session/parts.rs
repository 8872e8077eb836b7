//! Units that were cut for larger packets than the path carries now, on both sides: sent in parts, and put
//! together again (P-5.9). Nothing here runs while the packet size stands.

use crate::bounds::{CONTROL_SIZE_RESERVED, HEADER_SIZE, TAG_SIZE};
use crate::rings::copy;
use crate::time::Timestamp;
use crate::transport::buffer::Buffer;
use crate::transport::congestion::Controller;
use crate::transport::credit;
use crate::transport::delivery::Deliveries;
use crate::transport::parts_in::{Kept, Place};
use crate::transport::parts_out::Part;
use crate::transport::session::Session;
use crate::transport::session::records_in::OrderedBody;
use crate::transport::session::transmit::Pick;
use crate::transport::session::write_unit::unit_size;
use crate::transport::shared::Shared;
use crate::transport::units_out::Body;
use crate::wire::{
    Frame, Frames, MessagesUnit, RecordHeader, Records, UNIT_PART_HEAD_SIZE, UnitNumber, UnitPart,
    encode_unit_part_head,
};

impl Session {
    /// Whether a unit of `size` bytes, head included, fits a packet of today. What else is to be said and does
    /// not fit beside it leaves first, alone.
    #[inline]
    pub(super) fn fits(&self, size: usize) -> bool {
        size <= self.unit_size_max()
    }

    /// Bytes of a unit in a full part.
    pub(super) fn part_size_max(&self) -> usize {
        self.mtu.filled_size() - HEADER_SIZE - TAG_SIZE - CONTROL_SIZE_RESERVED - UNIT_PART_HEAD_SIZE
    }

    /// Large packets vanish, or the kernel refuses them: from now on they are cut smaller. Datagrams that
    /// fit no packet any more are dropped: nobody promised them.
    #[cold]
    pub(super) fn on_shrunk(&mut self, shared: &mut Shared) {
        shared.counters.black_holes += 1;
        self.congestion.set_packet_size(self.mtu.size() as u64);
        let room = self.mtu.size() - HEADER_SIZE - TAG_SIZE - crate::wire::DATAGRAM_HEAD_SIZE;
        let before = self.datagrams.len();
        self.datagrams.retain(|datagram| datagram.len() <= room);
        shared.counters.datagrams_dropped += (before - self.datagrams.len()) as u64;
    }

    /// `unit` no longer fits: it goes on in parts.
    #[cold]
    pub(super) fn cut_unit(&mut self, unit: u64, body: Body) {
        self.units.on_cut(unit);
        self.path_change.parts_out.get_or_insert_default().begin(unit, body, unit_size(body) as u16);
    }

    /// The next part, within the congestion window like any retransmission (RFC 9002 §7).
    #[cold]
    pub(super) fn pick_part(&self, budget: u64) -> Option<Pick> {
        let (part, body) = self.path_change.parts_out.as_ref()?.peek(self.part_size_max())?;
        let fits = (part.size() as u64) < budget || self.sent.packets_in_flight() == 0;
        Some(if fits { Pick::Part(part, body) } else { Pick::Nothing })
    }

    /// What a probe repeats of a unit that no longer fits.
    #[cold]
    pub(super) fn probe_part(&mut self, unit: u64, body: Body) -> Pick {
        self.cut_unit(unit, body);
        let part =
            self.path_change.parts_out.as_ref().and_then(|parts| parts.probe(unit, self.part_size_max()));
        part.map_or(Pick::Nothing, |(part, body)| Pick::Part(part, body))
    }

    /// Writes `part` into `out`, which has room for it and its head.
    #[cold]
    pub(super) fn write_part(&self, part: &Part, body: Body, out: &mut [u8], shared: &mut Shared) {
        let mut whole = std::mem::take(&mut shared.part_scratch);
        whole.resize(usize::from(part.total), 0);
        self.write_unit(part.unit, body, &mut whole, shared);
        let length = part.size() as u16;
        encode_unit_part_head(out, UnitNumber(part.unit), part.start, part.total, length);
        copy(&mut out[UNIT_PART_HEAD_SIZE..], &whole[usize::from(part.start)..usize::from(part.end)]);
        shared.part_scratch = whole;
    }

    /// `part` left in packet `number`.
    #[cold]
    pub(super) fn note_part_sent(&mut self, part: &Part, number: u64, shared: &mut Shared) {
        shared.counters.parts_sent += 1;
        if let Some(parts) = &mut self.path_change.parts_out {
            parts.on_sent(part, number);
        }
    }

    /// Packets (unit, number) that carried parts were acknowledged.
    #[cold]
    pub(super) fn on_parts_acked(&mut self, acked: &[(u64, u64)], shared: &mut Shared) {
        for &(unit, number) in acked {
            if self.path_change.parts_out.as_mut().is_some_and(|parts| parts.on_acked(unit, number)) {
                self.release_unit(unit, shared);
            }
        }
        self.drop_parts_out();
    }

    /// A packet that carried a part was declared lost.
    #[cold]
    pub(super) fn on_part_lost(&mut self, unit: u64, number: u64) {
        if let Some(parts) = &mut self.path_change.parts_out {
            parts.on_lost(unit, number);
        }
    }

    /// `unit` arrived, in whatever way.
    #[cold]
    pub(super) fn forget_parts_out(&mut self, unit: u64) {
        if let Some(parts) = &mut self.path_change.parts_out {
            parts.forget(unit);
        }
        self.drop_parts_out();
    }

    fn drop_parts_out(&mut self) {
        if self.path_change.parts_out.as_ref().is_some_and(|parts| parts.is_empty()) {
            self.path_change.parts_out = None;
        }
    }

    /// Keeps a part, and takes its unit once it is whole. True when there is no memory for it: its packet
    /// counts as lost.
    #[cold]
    pub(super) fn on_part(
        &mut self,
        part: &UnitPart,
        frames: &[u8],
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<bool, &'static str> {
        let unit = part.unit.0;
        // It may turn out to hold records: the stricter rule.
        if self.refuses_unit(unit, true, shared) {
            return Ok(true);
        }
        if !self.admit_unit(unit, shared) {
            return Ok(false);
        }
        shared.counters.parts_received += 1;
        let is_lowest = unit == self.window.floor();
        let place = Place { unit, offset: part.offset, total: part.total, is_lowest };
        let data = &frames[part.data_offset..part.data_offset + part.length];
        let parts = self.path_change.parts_in.get_or_insert_default();
        let kept = parts.keep(place, data, &mut shared.reserve);
        match kept.map_err(|_| "parts that do not make a unit")? {
            Kept::Part => Ok(false),
            Kept::Refused => {
                shared.counters.parts_refused += 1;
                Ok(true)
            }
            Kept::Whole(bytes) => {
                self.on_whole_unit(part.unit, &bytes, shared, deliveries)?;
                Ok(false)
            }
        }
    }

    /// The parts of `unit` came to `bytes`: exactly the frame that would have come in one packet.
    fn on_whole_unit(
        &mut self,
        unit: UnitNumber,
        bytes: &[u8],
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        let mut frames = Frames::new(bytes);
        let frame = frames.next();
        if frames.position() == bytes.len() {
            match frame {
                Some(Ok(Frame::Messages(whole))) if whole.unit == unit => {
                    return self.on_rebuilt(&whole, bytes, shared, deliveries);
                }
                Some(Ok(Frame::Fragment(whole))) if whole.unit == unit => {
                    return self.on_fragment(&whole, bytes, shared, deliveries);
                }
                _ => {}
            }
        }
        Err("parts that do not make a unit")
    }

    /// A unit of records that came in parts: delivered all or none, from memory of its own, since no
    /// receive buffer holds it whole.
    fn on_rebuilt(
        &mut self,
        unit: &MessagesUnit,
        bytes: &[u8],
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        let cost = credit::cost(unit.length);
        self.charge(cost)?;
        let records = &bytes[unit.offset..unit.offset + unit.length];
        let mark = deliveries.len();
        for record in Records::new(records) {
            let handled = record.map_err(|_| "a record that cannot be read").and_then(|record| {
                let payload = shared.reserve.copy(&records[record.offset..record.offset + record.length]);
                self.on_rebuilt_record(&record.header, payload, shared, deliveries)
            });
            if let Err(what) = handled {
                deliveries.truncate(mark);
                return Err(what);
            }
        }
        self.mark_unit(unit.unit.0, shared);
        self.consumed(cost, shared);
        Ok(())
    }

    fn on_rebuilt_record(
        &mut self,
        header: &RecordHeader,
        payload: Buffer,
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        if let RecordHeader::Ordered { channel, sequence } = *header {
            return self.on_ordered(channel, sequence, OrderedBody::Owned(payload), shared, deliveries);
        }
        if let Some(kind) = self.kind_of(header, shared)? {
            shared.counters.payload_delivered += payload.len() as u64;
            deliveries.push_owned(self.key.index, kind, payload);
        }
        Ok(())
    }

    /// Gives the memory of parts back: nothing is under way.
    pub(super) fn release_parts(&mut self) {
        if self.path_change.parts_in.as_ref().is_some_and(|parts| parts.is_empty()) {
            self.path_change.parts_in = None;
        }
    }

    /// `unit` is here whole.
    #[cold]
    pub(super) fn forget_parts_in(&mut self, unit: u64, shared: &mut Shared) {
        if let Some(parts) = &mut self.path_change.parts_in {
            parts.forget(unit, &mut shared.reserve);
        }
    }

    /// The session has ended.
    pub(super) fn clear_parts(&mut self, shared: &mut Shared) {
        self.path_change.parts_out = None;
        if let Some(mut parts) = self.path_change.parts_in.take() {
            parts.clear(&mut shared.reserve);
        }
    }

    /// True when a unit of the peer's is here in parts.
    pub(super) fn has_parts(&self) -> bool {
        self.path_change.parts_in.as_ref().is_some_and(|parts| !parts.is_empty())
    }

    /// Bytes set aside for units in parts.
    pub(super) fn parts_kept(&self) -> u64 {
        self.path_change.parts_in.as_ref().map_or(0, |parts| parts.kept_size())
    }

    /// Bytes of parts that ever arrived.
    pub(super) fn parts_received(&self) -> u64 {
        self.path_change.parts_in.as_ref().map_or(0, |parts| parts.received_size())
    }

    /// The kernel refused a packet of `size` on this session's path.
    pub(crate) fn on_packet_refused(&mut self, now: Timestamp, size: usize, shared: &mut Shared) {
        let path = &mut shared.paths.of(self.path).size;
        path.on_fell(size);
        let in_use = self.mtu.on_refused(now, size);
        // A probe that never left is nobody's turn any more.
        path.note(now, self.mtu.sizes());
        if in_use {
            self.on_shrunk(shared);
        }
    }
}
