//! The slab that holds a unit's plaintext until it is acknowledged.
//!
//! ```text
//!  take() -> SlotId --- records are written once --- copied into each transmission --- put(SlotId)
//!               |
//!               +--- no room for one more record: widen() -> SlotId, a full slot with the same bytes
//!
//!  chunk of small slots  [512][512][512][512] ...         full slots  [ 16,384 ]  [ 16,384 ]
//! ```
//!
//! Most units hold one record or a few. Ten thousand of them in slots of a packet each are ten thousand pages
//! apart: every one costs an entry of the TLB, and all begin in the same few sets of the cache. So a unit starts in
//! a small slot, whose neighbours in memory are slots too, and moves once if it grows.
//!
//! Slots are allocated when first needed and never given back to the allocator: after the first
//! burst nothing is allocated per packet. The free lists are last-in first-out, so that a lightly used
//! slab stays in cache.
//!
//! Invariant: what is lent is no more memory than the slab's full slots are, however it is cut: where ten thousand sessions
//! have a call each, that is ten thousand small slots and not as many packets.

use crate::bounds::{PACKET_SIZE_MAX, SLOT_SIZE_SMALL};

/// One slot of a [`Slab`]: its index among those of its size, and which size that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

impl SlotId {
    const SMALL: u32 = 1 << 31;

    /// True until the unit in it outgrows it.
    #[inline]
    #[must_use]
    pub fn is_small(self) -> bool {
        self.0 & Self::SMALL != 0
    }

    fn index(self) -> usize {
        (self.0 & !Self::SMALL) as usize
    }

    /// Bytes that it holds.
    #[inline]
    #[must_use]
    pub fn size(self) -> usize {
        if self.is_small() { SLOT_SIZE_SMALL } else { PACKET_SIZE_MAX }
    }
}

/// Slots of [`SLOT_SIZE_SMALL`] and of [`PACKET_SIZE_MAX`] bytes.
#[derive(Debug)]
pub struct Slab {
    full: Vec<Box<[u8]>>,
    small: Vec<Box<Chunk>>,
    free_full: Vec<SlotId>,
    free_small: Vec<SlotId>,
    /// Memory lent, and the most that may be, in small slots.
    taken: usize,
    room: usize,
}

/// Small slots that lie side by side, on lines of their own.
#[derive(Debug)]
#[repr(align(64))]
struct Chunk([[u8; SLOT_SIZE_SMALL]; CHUNK_SLOTS]);

/// Small slots allocated at once.
const CHUNK_SLOTS: usize = 128;
/// What a full slot takes, in small ones.
const FULL_COST: usize = PACKET_SIZE_MAX / SLOT_SIZE_SMALL;

impl Slab {
    /// A slab of at most `slots_max` full slots, or of small ones in their memory; none is allocated yet.
    #[must_use]
    pub fn new(slots_max: usize) -> Self {
        Self {
            full: Vec::new(),
            small: Vec::new(),
            free_full: Vec::new(),
            free_small: Vec::new(),
            taken: 0,
            room: slots_max.saturating_mul(FULL_COST),
        }
    }

    /// A slot of at least `size` bytes for the caller alone, with whatever bytes its last holder left; `None` when that is
    /// more memory than is left.
    pub fn take(&mut self, size: usize) -> Option<SlotId> {
        debug_assert!(size <= PACKET_SIZE_MAX);
        let is_small = size <= SLOT_SIZE_SMALL;
        let taken = self.taken + if is_small { 1 } else { FULL_COST };
        if taken > self.room {
            return None;
        }
        self.taken = taken;
        Some(if is_small { self.take_small() } else { self.take_full() })
    }

    /// A full slot that begins with the first `size` bytes of `slot`, which its holder forgets; `None`, and he keeps it,
    /// when that is more memory than is left.
    #[inline(never)]
    #[must_use]
    pub fn widen(&mut self, slot: SlotId, size: usize) -> Option<SlotId> {
        debug_assert!(slot.is_small());
        let taken = self.taken - 1 + FULL_COST;
        if taken > self.room {
            return None;
        }
        self.taken = taken;
        let wide = self.take_full();
        self.full[wide.index()][..size].copy_from_slice(&small_slot(&self.small, slot)[..size]);
        self.free_small.push(slot);
        Some(wide)
    }

    /// Makes sure that the next `take` succeeds, beyond the maximum if need be: for what is bounded
    /// elsewhere and must not be refused.
    #[inline]
    pub fn ensure_one(&mut self) {
        self.room = self.room.max(self.taken + FULL_COST);
    }

    fn take_full(&mut self) -> SlotId {
        self.free_full.pop().unwrap_or_else(|| self.grow_full())
    }

    fn take_small(&mut self) -> SlotId {
        self.free_small.pop().unwrap_or_else(|| self.grow_small())
    }

    #[cold]
    fn grow_full(&mut self) -> SlotId {
        let slot = SlotId(self.full.len() as u32);
        debug_assert!(!slot.is_small());
        self.full.push(vec![0; PACKET_SIZE_MAX].into_boxed_slice());
        // Room for every slot to come back, so that `put` never allocates.
        self.free_full.reserve(self.full.len());
        slot
    }

    #[cold]
    fn grow_small(&mut self) -> SlotId {
        let first = (self.small.len() * CHUNK_SLOTS) as u32;
        self.small.push(Box::new(Chunk([[0; SLOT_SIZE_SMALL]; CHUNK_SLOTS])));
        self.free_small.reserve(self.small.len() * CHUNK_SLOTS);
        // Neighbours are taken one after the other.
        let others = first + 1..first + CHUNK_SLOTS as u32;
        self.free_small.extend(others.rev().map(|index| SlotId(index | SlotId::SMALL)));
        SlotId(first | SlotId::SMALL)
    }

    /// Gives a slot back. The holder forgets it.
    pub fn put(&mut self, slot: SlotId) {
        let (free, cost) =
            if slot.is_small() { (&mut self.free_small, 1) } else { (&mut self.free_full, FULL_COST) };
        self.taken -= cost;
        debug_assert!(!free.contains(&slot) || free.len() > 64, "a slot comes back once");
        free.push(slot);
    }

    /// The slot's bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self, slot: SlotId) -> &[u8] {
        if slot.is_small() { small_slot(&self.small, slot) } else { &self.full[slot.index()] }
    }

    /// The slot's bytes, to write.
    #[inline]
    pub fn bytes_mut(&mut self, slot: SlotId) -> &mut [u8] {
        if slot.is_small() {
            let index = slot.index();
            &mut self.small[index / CHUNK_SLOTS].0[index % CHUNK_SLOTS]
        } else {
            &mut self.full[slot.index()]
        }
    }

    /// The bytes of a full slot, to write: one look-up less than for any.
    ///
    /// # Panics
    /// When it is a small one.
    #[inline]
    pub fn full_bytes_mut(&mut self, slot: SlotId) -> &mut [u8] {
        &mut self.full[slot.0 as usize]
    }

    /// Memory lent out now, in small slots.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// True when a slot of any size can be taken.
    #[inline]
    #[must_use]
    pub fn has_one(&self) -> bool {
        self.taken + FULL_COST <= self.room
    }
}

#[inline]
fn small_slot(small: &[Box<Chunk>], slot: SlotId) -> &[u8] {
    let index = slot.index();
    &small[index / CHUNK_SLOTS].0[index % CHUNK_SLOTS]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_lends_each_slot_once_and_stops_at_its_maximum() {
        let mut slab = Slab::new(2);
        let large = SLOT_SIZE_SMALL + 1;
        let (a, b) = (slab.take(large).expect("first"), slab.take(large).expect("second"));
        assert_ne!(a, b);
        assert!(slab.take(large).is_none());
        slab.put(a);
        assert_eq!(slab.take(large), Some(a));
        assert_eq!(slab.taken(), 2 * FULL_COST);
    }

    #[test]
    fn small_and_full_slots_share_the_memory() {
        let mut slab = Slab::new(2);
        let all: Vec<SlotId> = (0..2 * FULL_COST).map(|_| slab.take(1).expect("as many as fit")).collect();
        assert!(slab.take(1).is_none() && !slab.has_one());
        all.into_iter().for_each(|slot| slab.put(slot));
        let small = slab.take(SLOT_SIZE_SMALL).expect("first");
        let full = slab.take(SLOT_SIZE_SMALL + 1).expect("second");
        assert_eq!((small.size(), full.size()), (SLOT_SIZE_SMALL, PACKET_SIZE_MAX));
        assert_eq!(slab.bytes(small).len(), small.size());
        assert_eq!(slab.bytes_mut(full).len(), full.size());
        assert_eq!(slab.full_bytes_mut(full).len(), full.size());
        assert!(slab.take(PACKET_SIZE_MAX).is_none() && !slab.has_one());
        slab.ensure_one();
        assert!(slab.has_one() && slab.take(PACKET_SIZE_MAX).is_some());
        assert!(slab.take(1).is_none());
        assert_eq!(slab.taken(), 1 + 2 * FULL_COST);
    }

    #[test]
    fn a_widened_slot_keeps_its_bytes_and_takes_no_more_memory_than_there_is() {
        let mut slab = Slab::new(1);
        let small = slab.take(100).expect("the only one");
        slab.bytes_mut(small)[..100].fill(7);
        let other = slab.take(1).expect("as many as fit");
        assert_eq!(slab.widen(small, 100), None, "another has some of it");
        assert_eq!(slab.bytes(small)[..100], [7; 100]);
        slab.put(other);
        let wide = slab.widen(small, 100).expect("it is all there");
        assert_eq!(wide.size(), PACKET_SIZE_MAX);
        assert_eq!(slab.bytes(wide)[..100], [7; 100]);
        assert_eq!((slab.taken(), slab.has_one()), (FULL_COST, false));
        slab.put(wide);
        let small = slab.take(1).expect("it came back when its bytes moved");
        slab.put(small);
        assert_eq!(slab.take(PACKET_SIZE_MAX), Some(wide));
    }

    #[test]
    fn small_slots_lie_side_by_side_in_the_order_in_which_they_are_first_taken() {
        let mut slab = Slab::new(usize::MAX);
        let slots: Vec<SlotId> = (0..CHUNK_SLOTS + 1).map(|_| slab.take(1).expect("room")).collect();
        let place = |slot: &SlotId| slab.bytes(*slot).as_ptr().addr();
        assert_eq!(place(&slots[0]) % 64, 0);
        for (at, slot) in slots[..CHUNK_SLOTS].iter().enumerate() {
            assert_eq!(place(slot), place(&slots[0]) + at * SLOT_SIZE_SMALL);
        }
    }
}
