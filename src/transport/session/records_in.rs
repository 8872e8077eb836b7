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
use crate::wire::{CallId, ChannelId, DecodeError, MessagesUnit, Record, RecordHeader, Records, UnitNumber};

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
        let Ok(Record { header, offset: start, length }) = record else {
            return Err("a record that cannot be read");
        };
        let (index, offset) = (self.key.index, base + start);
        // Each kind is put into the list where it is known: what three arms hand on would be put together first.
        match header {
            RecordHeader::Ordered { channel, sequence } => {
                let place = OrderedBody::Packet { offset, payload: &bytes[start..start + length] };
                return self.on_ordered(channel, sequence, place, shared, deliveries);
            }
            RecordHeader::Reply { call, status } => {
                let Some(token) = self.take_reply(call, shared)? else { return Ok(()) };
                deliveries.push(index, DeliveryKind::Reply { token, status }, offset, length);
            }
            other => {
                let Some(kind) = self.kind_of(&other, shared)? else { return Ok(()) };
                deliveries.push(index, kind, offset, length);
            }
        }
        shared.counters.payload_delivered += length as u64;
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
            RecordHeader::Reply { call, status } => match self.take_reply(call, shared)? {
                Some(token) => DeliveryKind::Reply { token, status },
                None => return Ok(None),
            },
            RecordHeader::Message | RecordHeader::Ordered { .. } => {
                shared.counters.messages_delivered += 1;
                DeliveryKind::Message(None)
            }
        }))
    }

    /// The token of the call that is answered; `None` when its caller gave up.
    #[inline(always)]
    fn take_reply(&mut self, call: CallId, shared: &mut Shared) -> Result<Option<u64>, &'static str> {
        match self.calls.take(call) {
            ReplyTo::Waiting(token) => {
                shared.counters.replies_received += 1;
                Ok(Some(token))
            }
            ReplyTo::Abandoned => Ok(None),
            ReplyTo::Nobody if planted::is(Fault::NoDuplicateSuppression) => Ok(None),
            ReplyTo::Nobody => Err("a reply to no call"),
        }
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
