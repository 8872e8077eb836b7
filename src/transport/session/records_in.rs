//! Units of small records: all that one holds is delivered, or nothing.

use crate::bounds::HEADER_SIZE;
use crate::hint::rarely;
use crate::transport::buffer::Buffer;
use crate::transport::calls::ReplyTo;
use crate::transport::channel::Accepted;
use crate::transport::credit;
use crate::transport::delivery::{Deliveries, DeliveryKind};
use crate::transport::planted::{self, Fault};
use crate::transport::session::Session;
use crate::transport::session::receive::Seen;
use crate::transport::shared::Shared;
use crate::transport::unit_window::UnitVerdict;
use crate::wire::{ChannelId, DecodeError, MessagesUnit, Record, RecordHeader, Records, UnitNumber};

impl Session {
    /// A MESSAGES frame.
    #[inline(always)]
    pub(super) fn on_messages_frame(
        &mut self,
        unit: &MessagesUnit,
        frames: &[u8],
        seen: &mut Seen,
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        let unit = &MessagesUnit { unit: UnitNumber(unit.unit.near(self.window.floor())), ..*unit };
        let is_new = matches!(self.window.check(unit.unit.0), UnitVerdict::New);
        if rarely(!is_new || !self.channels_in.has_room_for_unit()) {
            seen.refused |= self.refuses_unit(unit.unit.0, true, shared);
            if seen.refused || !self.admit_unit(unit.unit.0, shared) {
                return Ok(());
            }
        }
        self.on_messages(unit, is_new, frames, shared, deliveries)
    }

    /// A unit of small records: all are delivered, or, if one cannot be read, none.
    #[inline(always)]
    fn on_messages(
        &mut self,
        unit: &MessagesUnit,
        is_new: bool,
        frames: &[u8],
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        if planted::is(Fault::AckBeforeQueued) && unit.unit.0 % 64 == 63 {
            self.mark_unit(unit.unit.0, shared);
            return Ok(());
        }
        let cost = credit::cost(unit.length);
        self.charge(cost)?;
        let bytes = &frames[unit.offset..unit.offset + unit.length];
        let (mark, mut records) = (deliveries.len(), Records::new(bytes));
        let place = (bytes, HEADER_SIZE + unit.offset);
        let mut taken = match records.next() {
            Some(first) => self.take_record(first, place, shared, deliveries),
            None => Ok(()),
        };
        // A round trip's is the only one. What the compiler would prepare for more, it would wait for.
        if taken.is_ok() && !records.is_empty() {
            taken = self.take_records(records, place, shared, deliveries);
        }
        if let Err(what) = taken {
            deliveries.truncate(mark);
            return Err(what);
        }
        if is_new {
            self.mark_new_unit(unit.unit.0, shared);
        }
        self.consumed(cost, shared);
        Ok(())
    }

    #[inline(never)]
    fn take_records(
        &mut self,
        records: Records<'_>,
        place: (&[u8], usize),
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        for record in records {
            self.take_record(record, place, shared, deliveries)?;
        }
        Ok(())
    }

    /// Takes one of the records in `bytes`, which begin at `base` in their packet.
    #[inline(always)]
    fn take_record(
        &mut self,
        record: Result<Record, DecodeError>,
        (bytes, base): (&[u8], usize),
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        let Ok(record) = record else { return Err("a record that cannot be read") };
        let payload = &bytes[record.offset..record.offset + record.length];
        self.on_record(&record.header, payload, base + record.offset, shared, deliveries)
    }

    #[inline(always)]
    fn on_record(
        &mut self,
        header: &RecordHeader,
        payload: &[u8],
        offset: usize,
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        let index = self.key.index;
        let kind = match *header {
            RecordHeader::Ordered { channel, sequence } => {
                let place = OrderedBody::Packet { offset, payload };
                return self.on_ordered(channel, sequence, place, shared, deliveries);
            }
            ref other => match self.kind_of(other, shared)? {
                Some(kind) => kind,
                None => return Ok(()),
            },
        };
        shared.counters.payload_delivered += payload.len() as u64;
        deliveries.push(index, kind, offset, payload.len());
        Ok(())
    }

    /// What an unordered record is to the application; `None` for a reply nobody waits for.
    // Handed back through memory, its three nested parts would be read before they are written whole.
    #[inline(always)]
    pub(super) fn kind_of(
        &mut self,
        header: &RecordHeader,
        shared: &mut Shared,
    ) -> Result<Option<DeliveryKind>, &'static str> {
        Ok(Some(match *header {
            RecordHeader::Request { call, method } => {
                if !self.open_calls.begin(call) && !planted::is(Fault::NoDuplicateSuppression) {
                    return Err("a call in a slot that waits for its reply");
                }
                shared.counters.calls_received += 1;
                DeliveryKind::Request { call, method }
            }
            RecordHeader::Reply { call, status } => match self.calls.take(call) {
                ReplyTo::Waiting(token) => {
                    shared.counters.replies_received += 1;
                    DeliveryKind::Reply { token, status }
                }
                ReplyTo::Abandoned => return Ok(None),
                ReplyTo::Nobody if planted::is(Fault::NoDuplicateSuppression) => return Ok(None),
                ReplyTo::Nobody => return Err("a reply to no call"),
            },
            RecordHeader::Message | RecordHeader::Ordered { .. } => {
                shared.counters.messages_delivered += 1;
                DeliveryKind::Message(None)
            }
        }))
    }

    #[inline(never)]
    pub(super) fn on_ordered(
        &mut self,
        channel: ChannelId,
        sequence: u64,
        place: OrderedBody<'_>,
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        let kind = DeliveryKind::Message(Some(channel));
        let index = self.key.index;
        let accepted = self.channels_in.accept(channel, sequence, || place.to_buffer());
        match accepted.map_err(|_| "an ordered channel beyond its bounds, or a message sent twice")? {
            Accepted::Deliver => {
                shared.counters.messages_delivered += 1;
                shared.counters.payload_delivered += place.len() as u64;
                match place {
                    OrderedBody::Packet { offset, payload } => {
                        deliveries.push(index, kind, offset, payload.len())
                    }
                    OrderedBody::Owned(bytes) => deliveries.push_owned(index, kind, bytes),
                }
                while let Some(bytes) = self.channels_in.pop_ready(channel) {
                    shared.counters.messages_delivered += 1;
                    shared.counters.payload_delivered += bytes.len() as u64;
                    deliveries.push_owned(index, kind, bytes);
                }
            }
            Accepted::Held => {}
        }
        Ok(())
    }
}

/// Where an ordered message's bytes are when it arrives.
pub(super) enum OrderedBody<'a> {
    Packet { offset: usize, payload: &'a [u8] },
    Owned(Buffer),
}

impl OrderedBody<'_> {
    fn len(&self) -> usize {
        match self {
            OrderedBody::Packet { payload, .. } => payload.len(),
            OrderedBody::Owned(bytes) => bytes.len(),
        }
    }

    fn to_buffer(&self) -> Buffer {
        match self {
            OrderedBody::Packet { payload, .. } => Buffer::from(payload.to_vec()),
            OrderedBody::Owned(bytes) => Buffer::from(bytes.to_vec()),
        }
    }
}
