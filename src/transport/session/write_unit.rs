//! Writing what a packet carries beside control frames: a unit or a part of one.

use bytes::Bytes;

use crate::bounds::UNGRANTED_SIZE_MAX;
use crate::rings::copy;
use crate::transport::credit;
use crate::transport::sent::NO_UNIT;
use crate::transport::session::Session;
use crate::transport::session::transmit::Pick;
use crate::transport::shared::Shared;
use crate::transport::units_out::Body;
use crate::wire::{self, FILL_SIZE_MIN, FRAGMENT_HEAD_SIZE, FragmentHeader, MESSAGES_HEAD_SIZE, UnitNumber};

impl Session {
    /// Writes what was picked into `out`; which unit that is, and, where they are better left where they are,
    /// the bytes behind its head.
    #[inline(always)]
    pub(super) fn write_pick(
        &mut self,
        pick: Pick,
        number: u64,
        out: &mut [u8],
        shared: &mut Shared,
    ) -> (u64, Option<Bytes>) {
        let (unit, body) = match pick {
            Pick::Nothing => return (NO_UNIT, None),
            Pick::Part(part, body) => {
                self.write_part(&part, body, out, shared);
                return (part.unit, None);
            }
            Pick::Again(unit, body) => (unit, body),
            Pick::New(body, None) => (self.number_unit(body, number), body),
            Pick::New(body, Some(second)) => return self.write_pair(body, second, number, out, shared),
        };
        (unit, self.write_last(unit, body, out, shared))
    }

    /// The number of the second, and its bytes where they are better left where they are.
    #[inline(never)]
    fn write_pair(
        &mut self,
        first: Body,
        second: Body,
        number: u64,
        out: &mut [u8],
        shared: &Shared,
    ) -> (u64, Option<Bytes>) {
        let (head, tail) = out.split_at_mut(unit_size(first));
        let unit = self.number_unit(first, number);
        self.write_unit(unit, first, head, shared);
        let unit = self.number_unit(second, number);
        (unit, self.write_last(unit, second, tail, shared))
    }

    /// Writes the packet's last unit, but for the bytes that are better left where they are.
    #[inline(always)]
    fn write_last(&self, unit: u64, body: Body, out: &mut [u8], shared: &Shared) -> Option<Bytes> {
        let elsewhere = self.elsewhere(body);
        match elsewhere {
            None => self.write_unit(unit, body, out, shared),
            Some(_) => self.write_fragment_head(unit, body, out),
        }
        elsewhere
    }

    /// Bytes of `spare`, of which nothing is needed, that are to stand before `body` and not behind it (P-3.20).
    #[inline(always)]
    pub(super) fn fill_before(&self, body: Body, spare: usize) -> usize {
        match body {
            Body::Fragment { size, .. } if spare >= FILL_SIZE_MIN && self.is_sealed_elsewhere(size) => spare,
            _ => 0,
        }
    }

    /// Whether a fragment's bytes are sealed from where they lie: they are then their packet's last.
    #[inline(never)]
    fn is_sealed_elsewhere(&self, size: u16) -> bool {
        usize::from(size) >= GATHERED_SIZE_MIN && self.protector.seals_from_elsewhere()
    }

    /// The bytes of a fragment that are better left where they are than copied into their packet: the kernel gathers
    /// them, or the cipher reads them there.
    #[inline(always)]
    fn elsewhere(&self, body: Body) -> Option<Bytes> {
        let Body::Fragment { large, offset, size } = body else { return None };
        self.piece_elsewhere(large, offset, size)
    }

    #[inline(never)]
    fn piece_elsewhere(&self, large: u32, offset: u64, size: u16) -> Option<Bytes> {
        let leaves_as_it_is = usize::from(size) >= GATHERED_SIZE_MIN && self.protector.leaves_bytes();
        if !leaves_as_it_is && !self.is_sealed_elsewhere(size) {
            return None;
        }
        let start = offset as usize;
        Some(self.large.get(large)?.payload.part(start..start + usize::from(size)))
    }

    #[inline(never)]
    fn write_fragment_head(&self, unit: u64, body: Body, out: &mut [u8]) {
        let Body::Fragment { large, offset, size } = body else { return };
        let message = self.large.get(large).expect("a message lives until all its units are acknowledged");
        let header =
            FragmentHeader { record: message.header, message: message.id, offset, total: message.total() };
        wire::encode_fragment_head(out, &header, UnitNumber(unit), size);
    }

    #[inline(always)]
    pub(super) fn write_unit(&self, unit: u64, body: Body, out: &mut [u8], shared: &Shared) {
        match body {
            Body::Packed(packed) => {
                let end = MESSAGES_HEAD_SIZE + usize::from(packed.size);
                let records = &shared.slab.bytes(packed.slot)[MESSAGES_HEAD_SIZE..end];
                copy(&mut out[MESSAGES_HEAD_SIZE..end], records);
                wire::encode_messages_head(out, UnitNumber(unit), packed.size);
            }
            Body::Fragment { .. } => self.write_fragment(unit, body, out),
        }
    }

    #[inline(never)]
    fn write_fragment(&self, unit: u64, body: Body, out: &mut [u8]) {
        self.write_fragment_head(unit, body, out);
        let Body::Fragment { large, offset, size } = body else { return };
        let message = self.large.get(large).expect("a message lives until all its units are acknowledged");
        let start = offset as usize;
        let data = &message.payload[start..start + usize::from(size)];
        copy(&mut out[FRAGMENT_HEAD_SIZE..FRAGMENT_HEAD_SIZE + data.len()], data);
    }
}

/// Bytes of a unit with its head.
#[inline]
pub(super) fn unit_size(body: Body) -> usize {
    match body {
        Body::Packed(packed) => MESSAGES_HEAD_SIZE + usize::from(packed.size),
        Body::Fragment { size, .. } => FRAGMENT_HEAD_SIZE + usize::from(size),
    }
}

/// What a unit costs in session credit; `None` for fragments that live on a GRANT.
#[inline]
pub(super) fn charged(body: Body) -> Option<u64> {
    match body {
        Body::Packed(packed) => Some(credit::cost(usize::from(packed.size))),
        Body::Fragment { offset, size, .. } => fragment_cost(offset, usize::from(size)),
    }
}

/// What a fragment costs: the first 64 KiB of a message live on session credit, the rest on its GRANT.
pub(super) fn fragment_cost(offset: u64, size: usize) -> Option<u64> {
    (offset < UNGRANTED_SIZE_MAX).then(|| credit::cost(size))
}

/// A piece more costs the kernel and us about as much as copying so many bytes.
const GATHERED_SIZE_MIN: usize = 4 * 1024;
