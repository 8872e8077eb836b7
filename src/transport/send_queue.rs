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
        // Nearly every record of a busy session is a call or a reply, which no ordinal counts, and finds room in a full
        // slot.
        if ordinal.is_none()
            && let Some(open) = &mut self.open
            && !open.slot.is_small()
            && usize::from(open.size) + record_size <= capacity
        {
            let start = MESSAGES_HEAD_SIZE + usize::from(open.size);
            open.size += record_size as u16;
            self.queued_size += record_size;
            return Some(&mut slab.full_bytes_mut(open.slot)[start..start + record_size]);
        }
        // And that of a session which waits for each answer is the first of its unit.
        if ordinal.is_none() && self.open.is_none() {
            let slot = slab.take(MESSAGES_HEAD_SIZE + record_size)?;
            self.open = Some(Packed { slot, size: record_size as u16, first_ordinal: 0 });
            self.open_messages = 0;
            self.queued_size += record_size;
            return Some(&mut slab.bytes_mut(slot)[MESSAGES_HEAD_SIZE..MESSAGES_HEAD_SIZE + record_size]);
        }
        self.reserve_anew(slab, capacity, record_size, ordinal)
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
        if let Some(open) = &mut self.open
            && MESSAGES_HEAD_SIZE + usize::from(open.size) + record_size > open.slot.size()
        {
            // Nobody else knows of the slot before the unit has its number.
            match slab.widen(open.slot, MESSAGES_HEAD_SIZE + usize::from(open.size)) {
                Some(wide) => open.slot = wide,
                None => self.close(),
            }
        }
        if self.open.is_none() {
            let slot = slab.take(MESSAGES_HEAD_SIZE + record_size)?;
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
        let start = MESSAGES_HEAD_SIZE + usize::from(open.size);
        open.size += record_size as u16;
        self.queued_size += record_size;
        Some(&mut slab.bytes_mut(open.slot)[start..start + record_size])
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
    #[inline(always)]
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

    /// Whether another unit may leave behind the one that [`SendQueue::peek`] shows.
    #[inline]
    #[must_use]
    pub fn has_second(&self) -> bool {
        let open = usize::from(self.open.is_some() && !self.held);
        self.closed.len() + open > 1
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{PACKET_SIZE_MAX, SLOT_SIZE_SMALL};

    const CAPACITY: usize = PACKET_SIZE_MAX - 200;

    /// Queues a record of `size` bytes that all are `mark`.
    fn push(queue: &mut SendQueue, slab: &mut Slab, size: usize, mark: u8, ordinal: Option<u64>) {
        queue.reserve(slab, CAPACITY, size, ordinal).expect("the slab has room").fill(mark);
    }

    fn records(slab: &Slab, packed: Packed) -> &[u8] {
        &slab.bytes(packed.slot)[MESSAGES_HEAD_SIZE..MESSAGES_HEAD_SIZE + usize::from(packed.size)]
    }

    #[test]
    fn a_unit_outgrows_its_small_slot_once_and_keeps_every_record() {
        for size in [1, 76, 100, 499, 500, 501, 1_000] {
            let (mut queue, mut slab) = (SendQueue::default(), Slab::new(1));
            let (mut expected, mut slots) = (Vec::new(), Vec::new());
            for mark in 0..(CAPACITY / size).min(1_000) {
                push(&mut queue, &mut slab, size, mark as u8, None);
                expected.extend(std::iter::repeat_n(mark as u8, size));
                slots.push(queue.peek().expect("it is open").slot);
            }
            slots.dedup();
            let fits = MESSAGES_HEAD_SIZE + size <= SLOT_SIZE_SMALL;
            assert_eq!(slots.len(), 1 + usize::from(fits), "records of {size} bytes");
            let memory = slots[slots.len() - 1].size() / SLOT_SIZE_SMALL;
            assert_eq!((slab.taken(), queue.full_units()), (memory, 0));
            let packed = queue.pop().expect("it is open");
            assert!(records(&slab, packed) == expected, "records of {size} bytes");
        }
    }

    #[test]
    fn a_unit_that_may_not_grow_for_want_of_memory_leaves_as_it_is_and_the_next_begins() {
        let (mut queue, mut slab) = (SendQueue::default(), Slab::new(1));
        let other = slab.take(1).expect("it is all there");
        (0..6).for_each(|mark| push(&mut queue, &mut slab, 100, mark, None));
        assert_eq!(queue.full_units(), 1);
        let (first, second) = (queue.pop().expect("closed"), queue.pop().expect("open"));
        assert_eq!((first.size, second.size), (500, 100));
        assert!(first.slot.is_small() && second.slot.is_small());
        assert_eq!(records(&slab, second), [5; 100]);
        assert!(
            queue.reserve(&mut slab, CAPACITY, 1_000, None).is_none(),
            "a full slot is more than is left"
        );
        [other, first.slot, second.slot].into_iter().for_each(|slot| slab.put(slot));
        assert_eq!(slab.taken(), 0);
    }

    #[test]
    fn messages_that_are_counted_move_like_calls_and_a_gap_still_closes_their_unit() {
        let (mut queue, mut slab) = (SendQueue::default(), Slab::new(2));
        (0..8).for_each(|ordinal| push(&mut queue, &mut slab, 100, ordinal as u8, Some(ordinal)));
        push(&mut queue, &mut slab, 100, 9, Some(9));
        let (first, second) = (queue.pop().expect("closed"), queue.pop().expect("open"));
        assert_eq!((first.size, first.first_ordinal, first.slot.size()), (800, 0, PACKET_SIZE_MAX));
        assert_eq!((second.size, second.first_ordinal, second.slot.size()), (100, 9, SLOT_SIZE_SMALL));
        let marks: Vec<u8> = records(&slab, first).chunks(100).map(|record| record[0]).collect();
        assert_eq!(marks, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_unit_that_is_still_open_is_a_second_unless_it_is_held() {
        let (mut queue, mut slab) = (SendQueue::default(), Slab::new(3));
        assert!(!queue.has_second(), "there is none at all");
        push(&mut queue, &mut slab, CAPACITY, 1, None);
        assert!(!queue.has_second());
        push(&mut queue, &mut slab, 100, 2, None);
        assert_eq!((queue.full_units(), queue.has_second()), (1, true));
        queue.hold_open(true);
        assert!(!queue.has_second());
        push(&mut queue, &mut slab, CAPACITY, 3, None);
        assert_eq!((queue.full_units(), queue.has_second()), (2, true));
    }

    #[test]
    fn a_unit_in_the_last_slot_still_grows_and_the_next_one_is_refused() {
        let (mut queue, mut slab) = (SendQueue::default(), Slab::new(1));
        (0..CAPACITY / 100).for_each(|_| push(&mut queue, &mut slab, 100, 1, None));
        assert!(queue.reserve(&mut slab, CAPACITY, 100, None).is_none());
        assert_eq!(queue.full_units(), 1);
    }
}
