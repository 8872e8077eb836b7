//! Units that arrive in parts: kept until they are whole, then taken as if they had come in one packet.
//!
//! A part that is kept is acknowledged, so it stays as long as its session; what there is no memory for
//! is refused, and its packet counts as lost. The lowest missing unit is always kept, so that whoever
//! keeps to the rules gets on whatever the rest came to.
//!
//! Invariant: beside the lowest missing unit, no byte is kept that the worker's [`Reserve`] did not set
//! aside.

use std::collections::BTreeMap;

use super::cover::Cover;
use super::reserve::Reserve;

/// Units in parts that one session keeps, in bytes, the lowest missing one apart.
pub const PARTS_SIZE_MAX: u64 = 1 << 20;
/// A sender cuts at 1,000 bytes and more, seldom twice: more pieces than this with gaps between are made
/// on purpose.
const PIECES_MAX: usize = 64;

/// Where a part belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The unit.
    pub unit: u64,
    /// The part's first byte in it.
    pub offset: u16,
    /// Bytes of the whole unit.
    pub total: u16,
    /// It is the lowest that is missing.
    pub is_lowest: bool,
}

/// What became of a part.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Kept {
    /// Bytes of its unit are still missing.
    Part,
    /// It was the last: the unit's bytes.
    Whole(Vec<u8>),
    /// There is no memory for it now.
    Refused,
}

/// How parts lie: the session closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// Another part of the unit told another size.
    #[error("parts of a unit that do not agree on its size")]
    Total,
    /// Bytes that came twice and are not the same.
    #[error("parts of a unit that do not agree on its bytes")]
    Bytes,
    /// More gaps than an honest cut leaves.
    #[error("a unit in too many parts")]
    TooMany,
}

/// The units that one session has in parts.
#[derive(Debug, Default)]
pub struct PartsIn {
    // A tree, not a hash table: the peer chooses the numbers (S11).
    units: BTreeMap<u64, Partial>,
    /// Bytes set aside for them.
    kept_size: u64,
    /// Bytes that ever arrived.
    received_size: u64,
}

#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    cover: Cover,
    /// Bytes set aside in the [`Reserve`]: all, or, for the lowest missing unit, none.
    reserved: u64,
}

impl PartsIn {
    /// Keeps one part of a unit that has not been received, `data`, which is not empty and lies within it.
    ///
    /// # Errors
    /// [`PartError`]: the session closes.
    pub fn keep(&mut self, place: Place, data: &[u8], reserve: &mut Reserve) -> Result<Kept, PartError> {
        if !self.units.contains_key(&place.unit) && !self.begin(place, reserve) {
            return Ok(Kept::Refused);
        }
        let partial = self.units.get_mut(&place.unit).expect("it was there, or has just begun");
        let fresh = partial.enter(place, data)?;
        self.received_size += fresh;
        if !partial.cover.is_whole(place.total) {
            return Ok(Kept::Part);
        }
        let bytes = std::mem::take(&mut partial.bytes);
        self.forget(place.unit, reserve);
        Ok(Kept::Whole(bytes))
    }

    /// `unit` was received: what is kept of it is of no use any more.
    pub fn forget(&mut self, unit: u64, reserve: &mut Reserve) {
        if let Some(partial) = self.units.remove(&unit) {
            reserve.give_back(partial.reserved);
            self.kept_size -= partial.reserved;
        }
    }

    /// The session has ended.
    pub fn clear(&mut self, reserve: &mut Reserve) {
        for partial in std::mem::take(&mut self.units).into_values() {
            reserve.give_back(partial.reserved);
        }
        self.kept_size = 0;
    }

    /// Bytes set aside.
    #[must_use]
    pub fn kept_size(&self) -> u64 {
        self.kept_size
    }

    /// Bytes of parts that ever arrived, those that came twice counted once.
    #[must_use]
    pub fn received_size(&self) -> u64 {
        self.received_size
    }

    /// True when no unit is in parts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    fn begin(&mut self, place: Place, reserve: &mut Reserve) -> bool {
        let total = u64::from(place.total);
        let fits = self.kept_size + total <= PARTS_SIZE_MAX && reserve.take(total);
        if !fits && !place.is_lowest {
            return false;
        }
        let reserved = if fits { total } else { 0 };
        self.kept_size += reserved;
        let bytes = vec![0; usize::from(place.total)];
        self.units.insert(place.unit, Partial { bytes, cover: Cover::default(), reserved });
        true
    }
}

impl Partial {
    /// Enters `data`; how many of its bytes are new.
    fn enter(&mut self, place: Place, data: &[u8]) -> Result<u64, PartError> {
        if self.bytes.len() != usize::from(place.total) {
            return Err(PartError::Total);
        }
        let start = usize::from(place.offset);
        let (first, behind) = (place.offset, place.offset + data.len() as u16);
        let mut known = 0;
        for (from, to) in self.cover.ranges() {
            let (from, to) = (from.max(first), to.min(behind));
            if from < to {
                let (from, to) = (usize::from(from), usize::from(to));
                // P-5.2: a unit's bytes never change.
                if self.bytes[from..to] != data[from - start..to - start] {
                    return Err(PartError::Bytes);
                }
                known += to - from;
            }
        }
        self.bytes[start..start + data.len()].copy_from_slice(data);
        self.cover.add(first, behind);
        if self.cover.pieces() > PIECES_MAX {
            return Err(PartError::TooMany);
        }
        Ok((data.len() - known) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn place(unit: u64, offset: u16, total: u16) -> Place {
        Place { unit, offset, total, is_lowest: false }
    }

    #[test]
    fn parts_in_any_order_and_with_overlaps_make_the_unit_once() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut reserve = Reserve::new(1 << 20);
            let mut parts = PartsIn::default();
            let total = 12 + rng.below(9_000) as u16;
            let unit: Vec<u8> = (0..total).map(|_| rng.u64() as u8).collect();
            let mut pieces = Vec::new();
            for size in [700, 1_100] {
                pieces.extend((0..total).step_by(size).map(|at| (at, (at + size as u16).min(total))));
            }
            let mut got = Vec::new();
            while got.is_empty() {
                let (from, to) = pieces[rng.below(pieces.len() as u64) as usize];
                let data = &unit[usize::from(from)..usize::from(to)];
                if let Kept::Whole(bytes) = parts.keep(place(3, from, total), data, &mut reserve).unwrap() {
                    got = bytes;
                }
            }
            assert_eq!(got, unit, "seed {seed}");
            assert_eq!((parts.kept_size(), reserve.taken()), (0, 0), "seed {seed}");
            assert_eq!(parts.received_size(), u64::from(total));
        }
    }

    #[test]
    fn parts_that_contradict_each_other_are_found_out() {
        let mut reserve = Reserve::new(1 << 20);
        let mut parts = PartsIn::default();
        assert_eq!(parts.keep(place(0, 10, 100), &[7; 20], &mut reserve), Ok(Kept::Part));
        assert_eq!(parts.keep(place(0, 15, 100), &[7; 20], &mut reserve), Ok(Kept::Part));
        assert_eq!(parts.keep(place(0, 0, 101), &[7; 10], &mut reserve), Err(PartError::Total));
        assert_eq!(parts.keep(place(0, 34, 100), &[8; 20], &mut reserve), Err(PartError::Bytes));
        assert_eq!(parts.keep(place(0, 9, 100), &[8; 2], &mut reserve), Err(PartError::Bytes));
        for at in 20..200 {
            match parts.keep(place(1, 2 * at, 1_000), &[7], &mut reserve) {
                Ok(Kept::Part) => assert!(at < 84),
                other => return assert_eq!((at, other), (84, Err(PartError::TooMany))),
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_lowest_missing_unit_is_always_taken() {
        let mut reserve = Reserve::new(256 << 20);
        let mut parts = PartsIn::default();
        let mut kept = 0;
        for unit in 1..1_000 {
            match parts.keep(place(unit, 0, 16_000), &[1; 1_000], &mut reserve).unwrap() {
                Kept::Part => kept += 1,
                other => assert_eq!(other, Kept::Refused),
            }
        }
        assert_eq!(kept, PARTS_SIZE_MAX / 16_000);
        let lowest = Place { is_lowest: true, ..place(0, 0, 16_000) };
        assert_eq!(parts.keep(lowest, &[1; 1_000], &mut reserve).unwrap(), Kept::Part);
        assert!(parts.kept_size() <= PARTS_SIZE_MAX);
        assert_eq!(reserve.taken(), parts.kept_size());
        parts.forget(0, &mut reserve);
        parts.clear(&mut reserve);
        assert_eq!(reserve.taken(), 0);
    }

    #[test]
    fn without_memory_a_part_is_refused_and_takes_none() {
        let mut reserve = Reserve::new(1_000);
        let mut parts = PartsIn::default();
        assert_eq!(parts.keep(place(4, 0, 2_000), &[1; 10], &mut reserve), Ok(Kept::Refused));
        assert!(parts.is_empty());
        assert_eq!(reserve.taken(), 0);
    }
}
