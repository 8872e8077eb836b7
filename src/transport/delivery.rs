//! What the engine found in received packets, for handlers to run after it has returned.

use super::buffer::{Buffer, SharedBuffer};
use crate::wire::{CallId, ChannelId};

/// One thing delivered to the application.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Index of the session it came on.
    pub session: u32,
    /// What it is.
    pub kind: DeliveryKind,
    /// Where its bytes are.
    pub body: BodyRef,
}

impl Delivery {
    /// Whether both came to one session, and lie in one receive buffer or in memory of their own.
    #[inline]
    #[must_use]
    pub fn lies_beside(&self, other: &Self) -> bool {
        self.session == other.session
            && match (self.body, other.body) {
                (BodyRef::Received { buffer: a, .. }, BodyRef::Received { buffer: b, .. }) => a == b,
                (BodyRef::Owned(_), _) => true,
                (BodyRef::Received { .. }, BodyRef::Owned(_)) => false,
            }
    }
}

/// What was delivered.
#[derive(Clone, Copy, Debug)]
pub enum DeliveryKind {
    /// A one-way message, with its channel when it is ordered.
    Message(Option<ChannelId>),
    /// A call to run.
    Request {
        /// The peer's call.
        call: CallId,
        /// The method asked for.
        method: u32,
    },
    /// A reply to a call issued here.
    Reply {
        /// The caller's token.
        token: u64,
        /// 0, or why the handler failed.
        status: u8,
    },
    /// An unreliable datagram.
    Datagram,
}

/// Where delivered bytes are: in a receive buffer until the end of the turn, or in owned memory.
#[derive(Clone, Copy, Debug)]
pub enum BodyRef {
    /// `size` bytes at `offset` of receive buffer `buffer`.
    Received {
        /// The receive buffer.
        buffer: u32,
        /// Bytes from its start.
        offset: u32,
        /// Bytes.
        size: u32,
    },
    /// The n-th owned buffer of this turn.
    Owned(u32),
}

/// All deliveries of one turn, in order.
#[derive(Debug, Default)]
pub struct Deliveries {
    list: Vec<Delivery>,
    owned: Vec<SharedBuffer>,
    buffer: u32,
    base: u32,
}

impl Deliveries {
    /// The next packet lies at `base` of receive buffer `buffer`.
    pub fn locate(&mut self, buffer: u32, base: usize) {
        self.buffer = buffer;
        self.base = base as u32;
    }

    /// Adds something whose bytes lie at `offset` of the current packet.
    #[inline]
    pub fn push(&mut self, session: u32, kind: DeliveryKind, offset: usize, size: usize) {
        let body =
            BodyRef::Received { buffer: self.buffer, offset: self.base + offset as u32, size: size as u32 };
        self.list.push(Delivery { session, kind, body });
    }

    /// Adds something whose bytes were copied out.
    pub fn push_owned(&mut self, session: u32, kind: DeliveryKind, bytes: Buffer) {
        let body = BodyRef::Owned(self.owned.len() as u32);
        self.owned.push(bytes.into());
        self.list.push(Delivery { session, kind, body });
    }

    /// How many there are: a mark for [`Deliveries::truncate`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes back everything after the mark: the unit turned out to be malformed.
    pub fn truncate(&mut self, mark: usize) {
        self.list.truncate(mark);
    }

    /// The n-th delivery.
    #[must_use]
    pub fn at(&self, index: usize) -> Delivery {
        self.list[index]
    }

    /// Those from the one at `from` on, up to the one before `end` or the last.
    #[inline]
    #[must_use]
    pub fn between(&self, from: usize, end: usize) -> &[Delivery] {
        &self.list[from..end.min(self.list.len())]
    }

    /// An owned buffer.
    #[must_use]
    pub fn owned(&self, index: u32) -> &SharedBuffer {
        &self.owned[index as usize]
    }

    /// Forgets all, handing owned buffers that nobody kept to `recycle`.
    pub fn clear(&mut self, recycle: impl FnMut(Buffer)) {
        self.list.clear();
        if !self.owned.is_empty() {
            self.clear_owned(recycle);
        }
    }

    #[inline(never)]
    fn clear_owned(&mut self, recycle: impl FnMut(Buffer)) {
        self.owned.drain(..).filter_map(SharedBuffer::reclaim).for_each(recycle);
    }
}
