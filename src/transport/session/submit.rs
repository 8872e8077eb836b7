//! What the application hands in: calls, replies, messages, datagrams. Each is accepted whole or
//! refused with the reason; nothing is queued without bound.

use bytes::Bytes;

use crate::bounds::{CONTROL_SIZE_RESERVED, HEADER_SIZE, RECORD_SIZE_MAX, SEND_QUEUE_SIZE_MAX, TAG_SIZE};
use crate::rings::copy;
use crate::time::Timestamp;
use crate::transport::buffer::SharedBuffer;
use crate::transport::reassembly::Reserve;
use crate::transport::session::{Phase, Session};
use crate::transport::shared::Shared;
use crate::transport::{Event, Fate, SendError};
use crate::wire::{CallId, ChannelId, DATAGRAM_HEAD_SIZE, MESSAGES_HEAD_SIZE, RecordHeader};

/// Datagrams that wait in one session; one more pushes out the oldest.
const DATAGRAMS_QUEUED_MAX: usize = 256;

/// What is handed in: bytes to copy, a length to be written in place, or a buffer to keep.
pub(crate) enum Payload<'a> {
    /// Copied into the unit when small, into a buffer when large.
    Copied(&'a [u8]),
    /// Kept as it is when large.
    Owned(Bytes),
}

impl Payload<'_> {
    fn len(&self) -> usize {
        match self {
            Payload::Copied(bytes) => bytes.len(),
            Payload::Owned(bytes) => bytes.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Payload::Copied(bytes) => bytes,
            Payload::Owned(bytes) => bytes,
        }
    }

    fn into_body(self, reserve: &mut Reserve) -> SharedBuffer {
        match self {
            Payload::Copied(bytes) => reserve.copy(bytes).into(),
            Payload::Owned(bytes) => bytes.into(),
        }
    }
}

impl Session {
    /// Bytes of records that fit one unit now.
    #[inline]
    fn capacity(&self) -> usize {
        self.mtu.filled_size() - HEADER_SIZE - TAG_SIZE - CONTROL_SIZE_RESERVED - MESSAGES_HEAD_SIZE
    }

    /// The largest payload that goes into a packed unit with this record head; a larger one is cut
    /// into fragments.
    #[inline]
    pub(crate) fn small_size_max(&self, header: &RecordHeader) -> usize {
        (self.capacity() - header.size()).min(RECORD_SIZE_MAX)
    }

    fn may_submit(&self, size: usize) -> Result<(), SendError> {
        match self.phase {
            Phase::Open => {}
            _ => return Err(SendError::Closed),
        }
        if size as u64 > self.message_size_max() {
            let size_max = self.message_size_max();
            return Err(SendError::MessageTooLarge { size: size as u64, size_max });
        }
        let queued = self.queue.queued_size() as u64 + self.large.uncut_size();
        if queued >= SEND_QUEUE_SIZE_MAX as u64 {
            return Err(SendError::WouldBlock);
        }
        Ok(())
    }

    /// Issues a call. `token` comes back with its outcome.
    // Its arguments do not fit registers: a call of its own would pass half of them through memory.
    #[inline(always)]
    pub(crate) fn call(
        &mut self,
        method: u32,
        payload: Payload<'_>,
        deadline: Timestamp,
        token: u64,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        self.may_submit(payload.len())?;
        let call = self.calls.open(token, deadline).ok_or(SendError::WouldBlock)?;
        let queued = self.enqueue(RecordHeader::Request { call, method }, payload, None, shared);
        if queued.is_err() {
            self.calls.withdraw(call);
            return Err(SendError::WouldBlock);
        }
        shared.counters.calls_sent += 1;
        Ok(())
    }

    /// The caller gives up: its call ends as timed out.
    pub(crate) fn cancel(&mut self, token: u64, shared: &mut Shared) -> bool {
        let waited = self.calls.abandon(token);
        if waited {
            let (session, fate) = (self.key, Fate::TimedOut);
            shared.events.push(Event::CallEnded { session, token, fate });
        }
        waited
    }

    /// Sends a one-way message, in order on `channel` or in none, and returns its ordinal.
    pub(crate) fn message(
        &mut self,
        channel: Option<ChannelId>,
        payload: Payload<'_>,
        shared: &mut Shared,
    ) -> Result<u64, SendError> {
        self.may_submit(payload.len())?;
        // Before a sequence number is drawn: one that is not used would leave a gap for ever.
        if !shared.slab.has_one() {
            return Err(SendError::WouldBlock);
        }
        let header = match channel {
            None => RecordHeader::Message,
            Some(channel) => {
                let sequence = self.channels_out.next(channel).ok_or(SendError::TooManyChannels)?;
                RecordHeader::Ordered { channel, sequence }
            }
        };
        let ordinal = self.next_ordinal;
        self.enqueue(header, payload, Some(ordinal), shared)?;
        self.next_ordinal += 1;
        shared.counters.messages_sent += 1;
        Ok(ordinal)
    }

    /// Queues the reply to a call of the peer. A reply is always taken: its call slot bounds it.
    #[inline]
    pub(crate) fn reply(
        &mut self,
        call: CallId,
        status: u8,
        payload: Payload<'_>,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        if !matches!(self.phase, Phase::Open | Phase::Flushing { .. }) {
            return Err(SendError::Closed);
        }
        if payload.len() as u64 > self.message_size_max() {
            let (size, size_max) = (payload.len() as u64, self.message_size_max());
            return Err(SendError::MessageTooLarge { size, size_max });
        }
        if !self.open_calls.end(call) {
            return Err(SendError::NoSuchCall);
        }
        let header = RecordHeader::Reply { call, status };
        shared.counters.replies_sent += 1;
        if payload.len() <= self.small_size_max(&header) {
            // A reply is bounded by its call slot, and is never refused for want of slab slots.
            shared.slab.ensure_one();
            if let Some(place) = self.reserve(&header, payload.len(), None, shared) {
                copy(place, payload.bytes());
                return Ok(());
            }
        }
        self.large.push(header, payload.into_body(&mut shared.reserve), None);
        // At once: the calls behind this one may come to as much.
        self.settle(shared);
        Ok(())
    }

    /// Room for a small reply of `size` bytes, written in place by the caller; `None` when it must go
    /// through [`Session::reply`].
    #[inline]
    pub(crate) fn reserve_reply<'a>(
        &mut self,
        call: CallId,
        status: u8,
        size: usize,
        shared: &'a mut Shared,
    ) -> Option<&'a mut [u8]> {
        let header = RecordHeader::Reply { call, status };
        let open = matches!(self.phase, Phase::Open | Phase::Flushing { .. });
        if !open || size > self.small_size_max(&header) {
            return None;
        }
        if !self.open_calls.end(call) {
            return None;
        }
        shared.counters.replies_sent += 1;
        shared.slab.ensure_one();
        self.reserve(&header, size, None, shared)
    }

    /// Queues an unreliable datagram; the oldest of too many is dropped and counted.
    pub(crate) fn datagram(&mut self, payload: &[u8], shared: &mut Shared) -> Result<(), SendError> {
        if !matches!(self.phase, Phase::Open) {
            return Err(SendError::Closed);
        }
        let size_max = self.capacity() + MESSAGES_HEAD_SIZE - DATAGRAM_HEAD_SIZE;
        if payload.len() > size_max {
            let (size, size_max) = (payload.len() as u64, size_max as u64);
            return Err(SendError::MessageTooLarge { size, size_max });
        }
        if self.datagrams.len() >= DATAGRAMS_QUEUED_MAX {
            self.datagrams.pop_front();
            shared.counters.datagrams_dropped += 1;
        }
        self.datagrams.push_back(payload.to_vec());
        Ok(())
    }

    #[inline(always)]
    fn enqueue(
        &mut self,
        header: RecordHeader,
        payload: Payload<'_>,
        ordinal: Option<u64>,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        let is_large = payload.len() > self.small_size_max(&header);
        if is_large || self.waits_behind_large(&header, payload.len()) {
            self.large.push(header, payload.into_body(&mut shared.reserve), ordinal);
            return Ok(());
        }
        let reserved = self.reserve(&header, payload.len(), ordinal, shared).ok_or(SendError::WouldBlock)?;
        copy(reserved, payload.bytes());
        Ok(())
    }

    /// A small ordered message follows a large one of its channel that is not wholly cut: it queues
    /// behind it, as a fragment that is the whole message. An empty one cannot be a fragment.
    #[inline]
    fn waits_behind_large(&self, header: &RecordHeader, size: usize) -> bool {
        match header {
            RecordHeader::Ordered { channel, .. } => size > 0 && self.large.holds_channel(*channel),
            _ => false,
        }
    }

    // A header that goes through memory is read there before it is written whole: the processor waits for
    // the store. So its head is written where the header is made.
    #[inline(always)]
    fn reserve<'a>(
        &mut self,
        header: &RecordHeader,
        size: usize,
        ordinal: Option<u64>,
        shared: &'a mut Shared,
    ) -> Option<&'a mut [u8]> {
        let capacity = self.capacity();
        let head_size = header.size();
        let record = self.queue.reserve(&mut shared.slab, capacity, head_size + size, ordinal)?;
        header.encode(size as u16, record);
        Some(&mut record[head_size..])
    }
}
