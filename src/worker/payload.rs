//! The bytes a handler is given, and how it may keep them.

use bytes::Bytes;

use crate::bounds::HEADER_SIZE;
use crate::transport::buffer::SharedBuffer;
use crate::transport::{BodyRef, Deliveries};

/// Where a payload is while its handler runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'a> {
    /// In the packet it came in.
    InPacket(&'a [u8]),
    /// In memory of its own: it came in several packets, or waited for others.
    Owned(&'a SharedBuffer),
}

impl<'a> Payload<'a> {
    /// What lies at `body`: in the buffer `received`, or beside it.
    #[inline(always)]
    pub(super) fn of(body: BodyRef, received: &'a [u8], deliveries: &'a Deliveries) -> Self {
        match body {
            BodyRef::Received { offset, size, .. } => {
                let start = offset as usize;
                debug_assert!(start >= HEADER_SIZE);
                Payload::InPacket(&received[start..start + size as usize])
            }
            BodyRef::Owned(index) => Payload::Owned(deliveries.owned(index)),
        }
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Payload::InPacket(bytes) => bytes,
            Payload::Owned(buffer) => buffer,
        }
    }

    #[inline]
    pub(super) fn owned(self) -> Option<&'a SharedBuffer> {
        match self {
            Payload::InPacket(_) => None,
            Payload::Owned(buffer) => Some(buffer),
        }
    }
}

/// A payload to be kept as it is: no copy.
#[inline]
pub(super) fn shared(owned: Option<&SharedBuffer>) -> Option<Bytes> {
    owned.map(|buffer| buffer.part(0..buffer.len()))
}
