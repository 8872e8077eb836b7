//! Large messages: fragments in, whole messages out, and the grants that pace them.
//!
//! ```text
//! first fragment declares the total
//!   up to 64 KiB --> memory at once, from the reserve; from the session's credit while that is empty
//!   beyond --------> the rest reserved first, shortest remaining first --> GRANT, GRANT …
//! last byte  -> Complete { buffer } -> the application -> Reserve::recycle(), give_back()
//! ```
//!
//! Not for duplicates: units suppress those, so a byte that comes twice is the peer's lie, as is
//! anything else that does not fit what a message's first fragment declared.
//!
//! Invariant: no message holds more memory than the session's credit paid for, or the worker's
//! [`Reserve`] set aside, for it.

use std::collections::BTreeMap;

use super::buffer::Buffer;
use super::planted::{self, Fault};
pub use super::reserve::Reserve;
use super::spans::{SpanError, Spans};
use crate::bounds::{REASSEMBLIES_MAX, UNGRANTED_SIZE_MAX};
use crate::rings::copy;
use crate::wire::{FragmentHeader, MessageId, RecordHeader};

/// How a peer's fragments lie: the session closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassemblyError {
    /// The message is larger than this end takes.
    #[error("the peer began a message of {size} bytes, larger than the {size_max} that were agreed")]
    TooLarge {
        /// The declared total.
        size: u64,
        /// What the handshake allowed.
        size_max: u64,
    },
    /// A fragment without bytes.
    #[error("the peer sent an empty fragment of message {message}")]
    Empty {
        /// The message.
        message: MessageId,
    },
    /// Bytes beyond the declared total.
    #[error("the peer sent bytes beyond the end of message {message}")]
    PastEnd {
        /// The message.
        message: MessageId,
    },
    /// Bytes beyond what was granted.
    #[error("the peer sent message {message} up to byte {end}, and was granted {granted}")]
    PastGrant {
        /// The message.
        message: MessageId,
        /// The end of the fragment.
        end: u64,
        /// What was granted.
        granted: u64,
    },
    /// Another total or record than the message's first fragment had.
    #[error("the peer changed what message {message} is between its fragments")]
    Changed {
        /// The message.
        message: MessageId,
    },
    /// Bytes that had arrived under another unit.
    #[error("the peer sent bytes of message {message} twice")]
    Overlap {
        /// The message.
        message: MessageId,
    },
    /// More gaps than a unit window can leave.
    #[error("the peer left too many gaps in message {message}")]
    TooManyGaps {
        /// The message.
        message: MessageId,
    },
    /// More messages at once than a session may have in pieces.
    #[error("the peer began more than {REASSEMBLIES_MAX} large messages at once")]
    TooMany,
}

/// A message whose last byte has arrived.
#[derive(Debug)]
pub struct Complete {
    /// Its id.
    pub message: MessageId,
    /// What it is.
    pub record: RecordHeader,
    /// All its bytes. Give it to [`Reserve::recycle`] when the application is done.
    pub buffer: Buffer,
    /// Session credit to return when the application has taken it.
    pub credit: u64,
    /// Bytes for [`Reserve::give_back`] when the application has taken it.
    pub reserved: u64,
}

/// What one fragment did.
#[derive(Debug, Default)]
#[must_use]
pub struct Progress {
    /// Session credit to return at once: reserved memory took its place.
    pub credit: u64,
    /// The message, when this was its last missing piece.
    pub complete: Option<Complete>,
}

/// One GRANT to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The message.
    pub message: MessageId,
    /// How far it may be sent.
    pub offset: u64,
}

/// The large messages one session is receiving.
#[derive(Debug)]
pub struct Reassemblies {
    size_max: u64,
    // A tree, not a hash table: the peer chooses the keys (S11).
    messages: BTreeMap<MessageId, Partial>,
    /// Bytes that all of them hold.
    kept_size: u64,
    /// Bytes that ever arrived.
    received_size: u64,
    /// The most they may hold, by the peer's quota.
    limit: u64,
    /// A message waited because of it.
    was_limited: bool,
    grants_due: bool,
    /// Scratch for [`Reassemblies::next_grants`]: (bytes missing, message).
    order: Vec<(u64, MessageId)>,
}

#[derive(Debug)]
struct Partial {
    record: RecordHeader,
    total: u64,
    received: u64,
    granted: u64,
    /// Bytes set aside in the worker's [`Reserve`]: none, what needs no grant, or all.
    reserved: u64,
    /// Session credit held for it.
    credit: u64,
    buffer: Buffer,
    spans: Spans,
}

impl Reassemblies {
    /// Takes messages of up to `message_size_max` bytes, as told to the peer in the handshake.
    #[must_use]
    pub fn new(message_size_max: u64) -> Self {
        Self {
            size_max: message_size_max,
            messages: BTreeMap::new(),
            kept_size: 0,
            received_size: 0,
            limit: u64::MAX,
            was_limited: false,
            grants_due: false,
            order: Vec::new(),
        }
    }

    /// Takes one fragment, whose unit was new and cost `credit`.
    ///
    /// # Errors
    /// [`ReassemblyError`]: the session closes.
    pub fn on_fragment(
        &mut self,
        header: &FragmentHeader,
        data: &[u8],
        credit: u64,
        reserve: &mut Reserve,
    ) -> Result<Progress, ReassemblyError> {
        self.check(header, data)?;
        let partial = match self.messages.get_mut(&header.message) {
            Some(partial) => partial,
            None => self.begin(header, reserve)?,
        };
        partial.place(header, data)?;
        let returned = partial.charge(credit);
        let (whole, wants_grant) = (partial.is_whole(), partial.granted < partial.total);
        self.received_size += data.len() as u64;
        self.grants_due |= wants_grant;
        let complete = if whole { self.finish(header.message) } else { None };
        Ok(Progress { credit: returned, complete })
    }

    /// Appends the grants to send now: of the messages that need one, the [`GRANTED_AT_ONCE`] with
    /// the fewest bytes missing may each have `share` bytes under way, once `reserve` holds the whole.
    /// Returns the session credit that reserved memory took the place of. Costs nothing while nothing
    /// changed: call it every turn.
    pub fn next_grants(&mut self, share: u64, reserve: &mut Reserve, out: &mut Vec<Grant>) -> u64 {
        if !std::mem::take(&mut self.grants_due) {
            return 0;
        }
        let mut order = std::mem::take(&mut self.order);
        let waiting = self.messages.iter().filter(|(_, partial)| partial.granted < partial.total);
        order.extend(waiting.map(|(&message, partial)| (partial.total - partial.received, message)));
        order.sort_unstable();
        let mut credit = 0;
        for &(_, message) in order.iter().take(GRANTED_AT_ONCE) {
            let partial = self.messages.get_mut(&message).expect("it was listed above");
            if partial.reserved < partial.total {
                let more = partial.total - partial.kept();
                if self.kept_size + more > self.limit {
                    // Another message of this peer's may give memory back: look again next turn.
                    self.was_limited = true;
                    self.grants_due = true;
                    continue;
                }
                let took = planted::is(Fault::GrantWithoutReserve)
                    || reserve.take_rest(partial.reserved, partial.total - partial.reserved);
                if !took {
                    // Another session may give memory back: look again next turn.
                    self.grants_due = true;
                    continue;
                }
                self.kept_size += more;
                credit += partial.reserve(reserve);
            }
            if let Some(offset) = partial.grant(share) {
                out.push(Grant { message, offset });
            }
        }
        order.clear();
        self.order = order;
        credit
    }

    /// Memory may have come back since [`Reassemblies::next_grants`] last looked.
    pub fn reconsider(&mut self) {
        self.grants_due |= !self.messages.is_empty();
    }

    /// How far `message` may be sent: what to tell a peer that is blocked on it, or whose GRANT was
    /// lost. `None` when it is complete or unknown, and nothing needs to be said.
    #[must_use]
    pub fn granted(&self, message: MessageId) -> Option<u64> {
        self.messages.get(&message).map(|partial| partial.granted)
    }

    /// Forgets all messages and gives their memory back: the session has ended.
    pub fn clear(&mut self, reserve: &mut Reserve) {
        for partial in std::mem::take(&mut self.messages).into_values() {
            reserve.give_back(partial.reserved);
        }
        self.kept_size = 0;
        self.grants_due = false;
    }

    /// Bytes that the worker's [`Reserve`] set aside for them.
    #[must_use]
    pub fn reserved_size(&self) -> u64 {
        self.messages.values().map(|partial| partial.reserved).sum()
    }

    /// Bytes set aside for messages in pieces.
    #[must_use]
    pub fn kept_size(&self) -> u64 {
        self.kept_size
    }

    /// Bytes of fragments that ever arrived.
    #[must_use]
    pub fn received_size(&self) -> u64 {
        self.received_size
    }

    /// Whether the peer may send more of a message that it began.
    #[must_use]
    pub fn awaits_bytes(&self) -> bool {
        self.messages.values().any(|partial| partial.received < partial.granted)
    }

    /// The peer's quota leaves room for `bytes` in this session. Heads that need no grant may go beyond it,
    /// on the session's credit.
    pub fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Whether a message waited because of the limit since this was last asked.
    pub fn take_limited(&mut self) -> bool {
        std::mem::take(&mut self.was_limited)
    }

    /// Gives pooled memory back: the session is idle.
    pub fn release(&mut self) {
        self.order = Vec::new();
        // A tree from which everything was taken keeps a node.
        if self.messages.is_empty() {
            self.messages = BTreeMap::new();
        }
    }

    /// Messages in pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message is in pieces.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn check(&self, header: &FragmentHeader, data: &[u8]) -> Result<(), ReassemblyError> {
        let message = header.message;
        if header.total > self.size_max {
            return Err(ReassemblyError::TooLarge { size: header.total, size_max: self.size_max });
        }
        if data.is_empty() {
            return Err(ReassemblyError::Empty { message });
        }
        let end = header.offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > header.total) {
            return Err(ReassemblyError::PastEnd { message });
        }
        Ok(())
    }

    fn begin(
        &mut self,
        header: &FragmentHeader,
        reserve: &mut Reserve,
    ) -> Result<&mut Partial, ReassemblyError> {
        if self.messages.len() >= REASSEMBLIES_MAX {
            return Err(ReassemblyError::TooMany);
        }
        let granted = header.total.min(UNGRANTED_SIZE_MAX);
        let buffer = reserve.buffer(granted as usize);
        // What needs no grant moves to reserved memory at once, if there is some: its bytes have left
        // the socket's buffer, which is what session credit protects. Held on credit instead, 64 KiB
        // that wait for a grant would stop every small message of a session whose share is less.
        let fits = self.kept_size + granted <= self.limit;
        self.was_limited |= !fits;
        let reserved = if fits && reserve.take(granted) { granted } else { 0 };
        self.kept_size += granted;
        let partial = Partial {
            record: header.record,
            total: header.total,
            received: 0,
            granted,
            reserved,
            credit: 0,
            buffer,
            spans: Spans::new(),
        };
        Ok(self.messages.entry(header.message).or_insert(partial))
    }

    fn finish(&mut self, message: MessageId) -> Option<Complete> {
        let partial = self.messages.remove(&message)?;
        self.kept_size -= partial.kept();
        let Partial { record, reserved, credit, buffer, .. } = partial;
        // Its place among the shortest is free.
        self.grants_due |= !self.messages.is_empty();
        Some(Complete { message, record, buffer, credit, reserved })
    }
}

impl Partial {
    fn place(&mut self, header: &FragmentHeader, data: &[u8]) -> Result<(), ReassemblyError> {
        let message = header.message;
        if header.total != self.total || header.record != self.record {
            return Err(ReassemblyError::Changed { message });
        }
        let misplaced = planted::is(Fault::ReassemblyIgnoresOffset);
        let start = if misplaced { self.received } else { header.offset };
        let end = start + data.len() as u64;
        if end > self.granted {
            return Err(ReassemblyError::PastGrant { message, end, granted: self.granted });
        }
        self.spans.insert(start, end).map_err(|error| match error {
            SpanError::Overlap => ReassemblyError::Overlap { message },
            SpanError::TooMany => ReassemblyError::TooManyGaps { message },
        })?;
        copy(&mut self.buffer[start as usize..end as usize], data);
        self.received += data.len() as u64;
        Ok(())
    }

    /// Bytes it holds, reserved or on the session's credit.
    fn kept(&self) -> u64 {
        self.buffer.len() as u64
    }

    /// Credit to return at once.
    fn charge(&mut self, credit: u64) -> u64 {
        if self.reserved > 0 {
            return credit;
        }
        self.credit += credit;
        0
    }

    fn is_whole(&self) -> bool {
        self.received == self.total && self.spans.is_whole(self.total)
    }

    /// The worker set the whole aside: the buffer grows to it, and the credit comes free.
    fn reserve(&mut self, reserve: &mut Reserve) -> u64 {
        self.reserved = self.total;
        let size = self.total as usize;
        if self.buffer.room() < size {
            let mut whole = reserve.buffer(size);
            copy(&mut whole[..self.buffer.len()], &self.buffer);
            reserve.recycle(std::mem::replace(&mut self.buffer, whole));
        }
        self.buffer.show(size);
        std::mem::take(&mut self.credit)
    }

    /// The new grant, when it is worth a frame: the first, the last, or a quarter of a share.
    fn grant(&mut self, share: u64) -> Option<u64> {
        let offset = self.received.saturating_add(share.max(GRANT_SIZE_MIN)).min(self.total);
        let moved = offset.saturating_sub(self.granted);
        let first = self.granted == UNGRANTED_SIZE_MAX;
        let worth = moved > 0 && (first || offset == self.total || moved >= share / 4);
        worth.then(|| {
            self.granted = offset;
            offset
        })
    }
}

/// Messages of one session that are granted more at the same time (Homa calls it overcommitment):
/// enough to bridge a sender that is slow with one of them.
pub const GRANTED_AT_ONCE: usize = 8;
/// The least that is ever granted beyond what arrived: what a message may send ungranted, so that a
/// small share cannot bring the first grant below it.
const GRANT_SIZE_MIN: u64 = 2 * UNGRANTED_SIZE_MAX;

#[cfg(test)]
#[path = "reassembly_tests.rs"]
mod tests;
