//! Large messages on their way out: they stay in the caller's buffer and are cut into fragments.
//!
//! The first 64 KiB leave on session credit; the rest needs the receiver's GRANT (P-7.3).
//! Messages that a grant blocks do not hold up others.

use std::collections::VecDeque;

use super::buffer::{Buffer, SharedBuffer};
use crate::bounds::{REASSEMBLIES_MAX, UNGRANTED_SIZE_MAX};
use crate::wire::{ChannelId, MessageId, RecordHeader};

/// One large message.
#[derive(Debug)]
pub struct LargeOut {
    /// Its name in fragments and grants.
    pub id: MessageId,
    /// What it is: a call, a reply, a message.
    pub header: RecordHeader,
    /// Its bytes.
    pub payload: SharedBuffer,
    /// The ordinal of a one-way message.
    pub ordinal: Option<u64>,
    cut: u64,
    acked: u64,
    granted: u64,
}

impl LargeOut {
    /// Its bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.payload.len() as u64
    }

    /// True when a fragment was sent.
    #[must_use]
    pub fn started(&self) -> bool {
        self.cut > 0
    }

    fn channel(&self) -> Option<ChannelId> {
        match self.header {
            RecordHeader::Ordered { channel, .. } => Some(channel),
            _ => None,
        }
    }

    fn allowance(&self) -> u64 {
        self.granted.min(self.total()) - self.cut
    }
}

/// All large messages of a session that are not wholly acknowledged.
#[derive(Debug, Default)]
pub struct LargeQueue {
    messages: Vec<Option<LargeOut>>,
    free: Vec<u32>,
    /// Not wholly cut yet, in order of sending.
    pending: VecDeque<u32>,
    next_id: u64,
    uncut_size: u64,
    kept_size: u64,
    started: usize,
    /// Of the pending, those of which something was cut: they alone can wait for a grant.
    part_way: usize,
}

/// A piece of a message, next to be cut off.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Index of the message.
    pub message: u32,
    /// Its bytes.
    pub size: u64,
}

/// Bytes of message `index` among `pieces`.
fn size_of_message(pieces: &[Piece], index: u32) -> u64 {
    pieces.iter().filter(|piece| piece.message == index).map(|piece| piece.size).sum()
}

/// At most this many messages are part-way at once, half of what a receiver must be able to hold.
const STARTED_MAX: usize = REASSEMBLIES_MAX / 2;

impl LargeQueue {
    /// Queues a message.
    pub fn push(&mut self, header: RecordHeader, payload: SharedBuffer, ordinal: Option<u64>) {
        let id = MessageId(self.next_id);
        self.next_id += 1;
        self.uncut_size += payload.len() as u64;
        self.kept_size += payload.len() as u64;
        let message =
            LargeOut { id, header, payload, ordinal, cut: 0, acked: 0, granted: UNGRANTED_SIZE_MAX };
        let index = match self.free.pop() {
            Some(index) => {
                self.messages[index as usize] = Some(message);
                index
            }
            None => {
                self.messages.push(Some(message));
                (self.messages.len() - 1) as u32
            }
        };
        self.pending.push_back(index);
    }

    /// The message the next fragment comes from, with the offset and how many bytes may be cut there.
    #[must_use]
    #[inline]
    pub fn peek(&self) -> Option<(u32, u64, u64)> {
        if self.pending.is_empty() { None } else { self.peek_pending() }
    }

    #[inline(never)]
    fn peek_pending(&self) -> Option<(u32, u64, u64)> {
        self.peek_after(&[])
    }

    /// [`LargeQueue::peek`] once `gone` have left.
    #[must_use]
    pub fn peek_after(&self, gone: &[Piece]) -> Option<(u32, u64, u64)> {
        self.pending.iter().enumerate().find_map(|(place, &index)| {
            let message = self.messages[index as usize].as_ref()?;
            let gone_size = size_of_message(gone, index);
            let allowance = message.allowance().saturating_sub(gone_size);
            let may_start = message.started() || self.started < STARTED_MAX;
            let may_leave = may_start && allowance > 0 && !self.is_behind(place, message, gone);
            may_leave.then_some((index, message.cut + gone_size, allowance))
        })
    }

    /// Whether something could leave once `gone` have.
    #[must_use]
    #[inline(never)]
    pub fn has_more_after(&self, gone: &[Piece]) -> bool {
        self.peek_after(gone).is_some()
    }

    /// Whether an earlier message of the same ordered channel is not wholly cut: cutting this one first
    /// would make the receiver hold it, and all after it, behind a gap.
    fn is_behind(&self, place: usize, message: &LargeOut, gone: &[Piece]) -> bool {
        let Some(channel) = message.channel() else { return false };
        self.pending.iter().take(place).any(|&index| {
            let earlier = self.messages[index as usize].as_ref();
            earlier.is_some_and(|earlier| {
                earlier.channel() == Some(channel)
                    && earlier.cut + size_of_message(gone, index) < earlier.total()
            })
        })
    }

    /// Whether a message of `channel` is not wholly cut: what follows on the channel queues behind it.
    #[must_use]
    pub fn holds_channel(&self, channel: ChannelId) -> bool {
        let mut pending = self.pending.iter();
        pending.any(|&i| self.messages[i as usize].as_ref().and_then(LargeOut::channel) == Some(channel))
    }

    /// `size` bytes of message `index` leave in a fragment.
    pub fn cut(&mut self, index: u32, size: u64) {
        let Some(message) = self.messages[index as usize].as_mut() else { return };
        debug_assert!(size <= message.allowance());
        if !message.started() {
            self.started += 1;
            self.part_way += 1;
        }
        message.cut += size;
        self.uncut_size -= size;
        if message.cut == message.total() {
            self.part_way -= 1;
            // It is the first but for those that wait for grants.
            if let Some(at) = self.pending.iter().position(|&i| i == index) {
                self.pending.remove(at);
            }
        }
    }

    /// The message at `index`.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&LargeOut> {
        self.messages.get(index as usize)?.as_ref()
    }

    /// Bytes of the message at `index`; 0 when it has arrived.
    #[must_use]
    pub fn total(&self, index: u32) -> u64 {
        self.get(index).map_or(0, LargeOut::total)
    }

    /// `size` bytes of message `index` arrived; a message that has arrived whole is forgotten. Its memory
    /// comes back for the next, unless somebody else still holds it.
    pub fn on_acked(&mut self, index: u32, size: u64) -> Option<Buffer> {
        let slot = self.messages.get_mut(index as usize)?;
        let message = slot.as_mut()?;
        message.acked += size;
        if message.acked < message.total() {
            return None;
        }
        self.kept_size -= message.total();
        self.started -= 1;
        self.free.push(index);
        slot.take()?.payload.reclaim()
    }

    /// The receiver grants message `id` up to `offset`. Grants never shrink. True when that let
    /// something go on; an unknown id is a message that has arrived meanwhile.
    pub fn on_grant(&mut self, id: MessageId, offset: u64) -> bool {
        let found = self
            .pending
            .iter()
            .copied()
            .find(|&i| self.messages[i as usize].as_ref().is_some_and(|m| m.id == id));
        let Some(message) = found.and_then(|i| self.messages[i as usize].as_mut()) else { return false };
        let grew = offset > message.granted;
        message.granted = message.granted.max(offset);
        grew
    }

    /// The first message that waits for a grant, and what it was granted so far.
    #[must_use]
    #[inline]
    pub fn blocked(&self) -> Option<(MessageId, u64)> {
        if self.pending.is_empty() { None } else { self.blocked_pending() }
    }

    #[inline(never)]
    fn blocked_pending(&self) -> Option<(MessageId, u64)> {
        // Asked for each time there is nothing to send: thousands may be queued behind the few that are part-way.
        let pending = self.pending.iter().filter_map(|&index| self.messages[index as usize].as_ref());
        let mut part_way = pending.filter(|message| message.started()).take(self.part_way);
        let waits = part_way.find(|message| message.allowance() == 0)?;
        Some((waits.id, waits.granted))
    }

    /// Bytes that were never sent.
    #[must_use]
    pub fn uncut_size(&self) -> u64 {
        self.uncut_size
    }

    /// Bytes of all messages that have not arrived whole.
    #[must_use]
    pub fn kept_size(&self) -> u64 {
        self.kept_size
    }

    /// True when nothing waits to be cut.
    #[must_use]
    pub fn is_all_cut(&self) -> bool {
        self.pending.is_empty()
    }

    /// Gives the memory back, for a session that goes idle, unless a message is on its way.
    pub fn release(&mut self) {
        if self.free.len() == self.messages.len() {
            (self.messages, self.free, self.pending) = (Vec::new(), Vec::new(), VecDeque::new());
        }
    }

    /// The session failed: every message not wholly acknowledged.
    pub fn drain(&mut self) -> impl Iterator<Item = LargeOut> + '_ {
        self.pending.clear();
        self.free.clear();
        self.uncut_size = 0;
        self.kept_size = 0;
        (self.started, self.part_way) = (0, 0);
        self.messages.drain(..).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(message: u32, size: u64) -> Piece {
        Piece { message, size }
    }

    fn zeros(size: usize) -> SharedBuffer {
        SharedBuffer::from(Buffer::zeroed(size))
    }

    #[test]
    fn nothing_is_left_after_the_last_piece_that_may_leave() {
        let mut queue = LargeQueue::default();
        queue.push(RecordHeader::Message, zeros(30_000), None);
        assert!(queue.has_more_after(&[piece(0, 10_000)]));
        assert!(!queue.has_more_after(&[piece(0, 30_000)]));
        queue.push(RecordHeader::Message, zeros(20_000), None);
        assert!(queue.has_more_after(&[piece(0, 30_000)]), "the other one");
        assert_eq!(queue.peek_after(&[piece(0, 30_000), piece(1, 5_000)]), Some((1, 5_000, 15_000)));
        assert!(!queue.has_more_after(&[piece(0, 30_000), piece(1, 20_000)]));
        queue.cut(0, 30_000);
        assert!(queue.has_more_after(&[piece(1, 19_999)]));
        assert!(!queue.has_more_after(&[piece(1, 20_000)]));
    }

    #[test]
    fn a_message_beyond_64_kib_waits_for_its_grant_and_does_not_hold_up_the_next() {
        let mut queue = LargeQueue::default();
        queue.push(RecordHeader::Message, zeros(100_000), Some(0));
        queue.push(RecordHeader::Message, zeros(20_000), Some(1));
        assert_eq!(queue.peek(), Some((0, 0, UNGRANTED_SIZE_MAX)));
        queue.cut(0, UNGRANTED_SIZE_MAX);
        assert_eq!(queue.blocked(), Some((MessageId(0), UNGRANTED_SIZE_MAX)));
        assert_eq!(queue.peek(), Some((1, 0, 20_000)));
        assert!(queue.on_grant(MessageId(0), 100_000));
        assert!(!queue.on_grant(MessageId(0), 70_000), "a grant never shrinks");
        assert_eq!(queue.peek(), Some((0, UNGRANTED_SIZE_MAX, 100_000 - UNGRANTED_SIZE_MAX)));
    }

    #[test]
    fn a_later_message_of_the_same_channel_is_not_cut_first() {
        let mut queue = LargeQueue::default();
        let ordered = |sequence| RecordHeader::Ordered { channel: ChannelId(7), sequence };
        queue.push(ordered(0), zeros(100_000), Some(0));
        queue.push(ordered(1), zeros(20_000), Some(1));
        queue.cut(0, UNGRANTED_SIZE_MAX);
        assert_eq!(queue.peek(), None, "the first waits for its grant, the second for the first");
        let rest = 100_000 - UNGRANTED_SIZE_MAX;
        assert!(queue.holds_channel(ChannelId(7)));
        queue.on_grant(MessageId(0), 100_000);
        assert_eq!(queue.peek_after(&[piece(0, rest - 1)]), Some((0, 100_000 - 1, 1)));
        assert_eq!(
            queue.peek_after(&[piece(0, rest)]),
            Some((1, 0, 20_000)),
            "beside the first's last piece"
        );
        queue.cut(0, rest);
        assert_eq!(queue.peek(), Some((1, 0, 20_000)));
    }

    #[test]
    fn a_message_acknowledged_whole_is_forgotten_and_its_memory_comes_back() {
        let mut queue = LargeQueue::default();
        queue.push(RecordHeader::Message, zeros(20_000), Some(0));
        queue.cut(0, 20_000);
        assert!(queue.on_acked(0, 12_000).is_none());
        assert!(queue.get(0).is_some());
        assert_eq!(queue.on_acked(0, 8_000).map(|buffer| buffer.len()), Some(20_000));
        assert!(queue.get(0).is_none());
    }

    #[test]
    fn memory_that_the_caller_still_reads_stays_the_caller_s() {
        let mut queue = LargeQueue::default();
        let bytes = bytes::Bytes::from(vec![7; 20_000]);
        queue.push(RecordHeader::Message, bytes.clone().into(), Some(0));
        queue.cut(0, 20_000);
        assert!(queue.on_acked(0, 20_000).is_none());
        assert!(queue.get(0).is_none() && bytes.iter().all(|byte| *byte == 7));
    }
}
