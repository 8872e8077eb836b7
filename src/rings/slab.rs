//! The slab that holds a unit's plaintext until it is acknowledged.
//!
//! ```text
//!  take() -> SlotId --- records are written once --- copied into each transmission --- put(SlotId)
//! ```
//!
//! Slots are allocated when first needed and never given back to the allocator: after the first
//! burst nothing is allocated per packet. The free list is last-in first-out, so that a lightly used
//! slab stays in cache.

use crate::bounds::PACKET_SIZE_MAX;

/// One slot of a [`Slab`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

/// Slots of [`PACKET_SIZE_MAX`] bytes.
#[derive(Debug)]
pub struct Slab {
    slots: Vec<Box<[u8]>>,
    free: Vec<u32>,
    slots_max: usize,
}

impl Slab {
    /// A slab of at most `slots_max` slots; none is allocated yet.
    #[must_use]
    pub fn new(slots_max: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), slots_max }
    }

    /// A slot for the caller alone, with whatever bytes its last holder left; `None` when all
    /// `slots_max` are taken.
    pub fn take(&mut self) -> Option<SlotId> {
        if let Some(index) = self.free.pop() {
            return Some(SlotId(index));
        }
        self.grow()
    }

    /// Makes sure that the next `take` succeeds, beyond the maximum if need be: for what is bounded
    /// elsewhere and must not be refused.
    pub fn ensure_one(&mut self) {
        if self.free.is_empty() && self.slots.len() >= self.slots_max {
            self.slots_max = self.slots.len() + 1;
        }
    }

    #[cold]
    fn grow(&mut self) -> Option<SlotId> {
        if self.slots.len() >= self.slots_max {
            return None;
        }
        let index = u32::try_from(self.slots.len()).ok()?;
        self.slots.push(vec![0; PACKET_SIZE_MAX].into_boxed_slice());
        // Room for every slot to come back, so that `put` never allocates.
        self.free.reserve(self.slots.len() - self.free.len());
        Some(SlotId(index))
    }

    /// Gives a slot back. The holder forgets it.
    pub fn put(&mut self, slot: SlotId) {
        debug_assert!(!self.free.contains(&slot.0) || self.free.len() > 64, "a slot comes back once");
        self.free.push(slot.0);
    }

    /// The slot's bytes.
    #[must_use]
    pub fn bytes(&self, slot: SlotId) -> &[u8] {
        &self.slots[slot.0 as usize]
    }

    /// The slot's bytes, to write.
    pub fn bytes_mut(&mut self, slot: SlotId) -> &mut [u8] {
        &mut self.slots[slot.0 as usize]
    }

    /// Slots lent out now.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots that can still be taken.
    #[must_use]
    pub fn available(&self) -> usize {
        self.slots_max - self.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_lends_each_slot_once_and_stops_at_its_maximum() {
        let mut slab = Slab::new(2);
        let (a, b) = (slab.take().expect("first"), slab.take().expect("second"));
        assert_ne!(a, b);
        assert!(slab.take().is_none());
        slab.put(a);
        assert_eq!(slab.take(), Some(a));
        assert_eq!(slab.taken(), 2);
    }
}
