//! What waits to be sent for the first time: small records packed into slab slots as they come.
//!
//! Nothing has a unit number yet: numbers are given when a unit is cut for sending, so that small
//! messages and fragments of large ones can take turns.

use std::collections::VecDeque;

use crate::bounds::RECORD_SIZE_MAX;
use crate::rings::Slab;
use crate::transport::units_out::Packed;
use crate::wire::{MESSAGES_HEAD_SIZE, RECORD_HEAD_SIZE_MAX};

/// Packed records that wait for their first transmission.
#[derive(Debug, Default)]
pub struct SendQueue {
    open: Option<Packed>,
    open_messages: u64,
    closed: VecDeque<Packed>,
    queued_size: usize,
    /// The open unit waits for more records.
    held: bool,
}

impl SendQueue {
    /// Makes room for one record of `record_size` bytes, head included, in the open unit of at most
    /// `capacity` bytes of records, closing it first when it is full, and returns the record's place: the
    /// caller writes all of it. `ordinal` is the message's, for one-way messages. `None` when the slab is
    /// exhausted.
    #[inline(always)]
    pub fn reserve<'a>(
        &mut self,
        slab: &'a mut Slab,
        capacity: usize,
        record_size: usize,
        ordinal: Option<u64>,
    ) -> Option<&'a mut [u8]> {
        debug_assert!(record_size <= capacity);
        debug_assert!(record_size <= RECORD_HEAD_SIZE_MAX + RECORD_SIZE_MAX);
        // Nearly every record is a call or a reply, which no ordinal counts, and finds room.
        if ordinal.is_none()
            && let Some(open) = &mut self.open
            && usize::from(open.size) + record_size <= capacity
        {
            return Some(Self::extend(open, &mut self.queued_size, slab, record_size));
        }
        self.reserve_anew(slab, capacity, record_size, ordinal)
    }

    /// Lengthens the open unit by a record, and returns its place.
    #[inline(always)]
    fn extend<'a>(
        open: &mut Packed,
        queued_size: &mut usize,
        slab: &'a mut Slab,
        record_size: usize,
    ) -> &'a mut [u8] {
        let start = MESSAGES_HEAD_SIZE + usize::from(open.size);
        open.size += record_size as u16;
        *queued_size += record_size;
        &mut slab.bytes_mut(open.slot)[start..start + record_size]
    }

    #[inline(never)]
    fn reserve_anew<'a>(
        &mut self,
        slab: &'a mut Slab,
        capacity: usize,
        record_size: usize,
        ordinal: Option<u64>,
    ) -> Option<&'a mut [u8]> {
        if let Some(open) = &self.open {
            let gap = ordinal
                .is_some_and(|o| self.open_messages > 0 && open.first_ordinal + self.open_messages != o);
            if usize::from(open.size) + record_size > capacity || gap {
                self.close();
            }
        }
        if self.open.is_none() {
            let slot = slab.take()?;
            self.open = Some(Packed { slot, size: 0, first_ordinal: 0 });
            self.open_messages = 0;
        }
        let open = self.open.as_mut()?;
        if let Some(ordinal) = ordinal {
            if self.open_messages == 0 {
                open.first_ordinal = ordinal;
            }
            self.open_messages += 1;
        }
        Some(Self::extend(open, &mut self.queued_size, slab, record_size))
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.closed.push_back(open);
        }
    }

    /// The unit to send next: a full one, else the one still open, unless it is held.
    #[must_use]
    pub fn peek(&self) -> Option<Packed> {
        self.closed.front().copied().or(if self.held { None } else { self.open })
    }

    /// Whether the open unit stays back for now.
    pub fn hold_open(&mut self, held: bool) {
        self.held = held;
    }

    /// The unit that `peek` showed leaves.
    pub fn pop(&mut self) -> Option<Packed> {
        let packed = match self.closed.pop_front() {
            Some(packed) => Some(packed),
            None => self.open.take(),
        }?;
        self.queued_size -= usize::from(packed.size);
        Some(packed)
    }

    /// Nothing waits: the memory goes back.
    pub fn release(&mut self) {
        debug_assert!(self.is_empty());
        self.closed = VecDeque::new();
    }

    /// Full units that wait.
    #[must_use]
    pub fn full_units(&self) -> usize {
        self.closed.len()
    }

    /// Bytes of records that wait.
    #[must_use]
    pub fn queued_size(&self) -> usize {
        self.queued_size
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_none() && self.closed.is_empty()
    }
}
