//! A hashed hierarchical timer wheel (Varghese and Lauck, 1987, scheme 7): one entry a session, so
//! that ten thousand idle sessions cost a worker nothing per turn.
//!
//! ```text
//! level 5 [ 2.4 h each ] … level 1 [ 512 µs each ]  level 0 [ 8 µs each ]      64 slots a level
//!            an entry whose slot has come falls to a lower level, or fires
//! ```
//!
//! Entries are re-armed lazily: arming later than the place an entry has in the wheel only notes the
//! new moment, and the entry looks at it when its place comes up. A probe timer that moves with each
//! ack thus costs one store.
//!
//! Invariant: a linked entry lies at or before the moment it is wanted, on the lowest level whose
//! block it shares with `elapsed`; so the first occupied slot of the lowest occupied level is the
//! earliest of all.

use crate::hint::rarely;
use crate::time::Timestamp;

/// Timers of one worker, keyed by session index.
#[derive(Clone, Debug)]
pub struct TimerWheel {
    /// No entry is wanted before this moment.
    earliest: Timestamp,
    /// The tick up to which slots have been emptied.
    elapsed: u64,
    levels: [Level; LEVELS],
    entries: Vec<Entry>,
    /// Entries taken from their slots and not yet placed again; empty between calls.
    misplaced: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// One bit for each slot that is not empty.
    occupied: u64,
    /// First key of each slot's list, or [`NONE`].
    heads: [u32; SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When to fire; [`Timestamp::NEVER`] once cancelled.
    wanted: Timestamp,
    /// The tick it was placed by.
    tick: u64,
    next: u32,
    previous: u32,
    level: u8,
    slot: u8,
    linked: bool,
}

impl Default for TimerWheel {
    fn default() -> Self {
        Self::new()
    }
}

impl TimerWheel {
    /// A wheel without entries.
    #[must_use]
    pub fn new() -> Self {
        Self {
            earliest: Timestamp::NEVER,
            elapsed: 0,
            levels: [Level { occupied: 0, heads: [NONE; SLOTS] }; LEVELS],
            entries: Vec::new(),
            misplaced: Vec::new(),
        }
    }

    /// Sets the one timer of `key` to `at`; a moment that has passed fires at the next
    /// [`TimerWheel::expired`], [`Timestamp::NEVER`] cancels.
    pub fn arm(&mut self, key: u32, at: Timestamp) {
        if at == Timestamp::NEVER {
            return self.cancel(key);
        }
        let index = key as usize;
        if rarely(index >= self.entries.len()) {
            self.entries.resize(index + 1, Entry::VACANT);
        }
        self.earliest = self.earliest.min(at);
        let entry = &mut self.entries[index];
        entry.wanted = at;
        if entry.linked {
            if tick_of(at) >= entry.tick {
                return;
            }
            self.unlink(key);
        }
        self.place(key);
    }

    /// Takes the timer of `key` back, if there is one. Its place in the wheel is left behind and
    /// found empty later.
    pub fn cancel(&mut self, key: u32) {
        if let Some(entry) = self.entries.get_mut(key as usize) {
            entry.wanted = Timestamp::NEVER;
        }
    }

    /// When `key` is to fire.
    #[must_use]
    pub fn armed(&self, key: u32) -> Option<Timestamp> {
        let wanted = self.entries.get(key as usize)?.wanted;
        (wanted != Timestamp::NEVER).then_some(wanted)
    }

    /// Appends every key whose moment has come to `keys`, and disarms it. Never early, never twice;
    /// in no particular but a reproducible order.
    pub fn expired(&mut self, now: Timestamp, keys: &mut Vec<u32>) {
        if now < self.earliest {
            return;
        }
        let tick = tick_of(now);
        while let Some((level, slot, start)) = self.first_slot() {
            if start > tick {
                break;
            }
            self.empty_slot(level, slot, now, keys);
        }
        self.elapsed = self.elapsed.max(tick);
        for index in 0..self.misplaced.len() {
            self.place(self.misplaced[index]);
        }
        self.misplaced.clear();
        self.earliest = self.lower_bound();
    }

    /// The moment to look again: never later than the earliest timer, and exact once it is less than
    /// a slot of the lowest level away.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        (self.earliest != Timestamp::NEVER).then_some(self.earliest)
    }

    /// The earliest moment at which any entry can be wanted.
    fn lower_bound(&self) -> Timestamp {
        let Some((level, slot, start)) = self.first_slot() else {
            return Timestamp::NEVER;
        };
        if level > 0 {
            return Timestamp(start << TICK_SHIFT);
        }
        // Re-armed entries may be wanted later than other slots' entries: look no further than this
        // slot's end.
        let mut earliest = Timestamp((start + 1) << TICK_SHIFT);
        let mut key = self.levels[level].heads[slot];
        while key != NONE {
            let entry = &self.entries[key as usize];
            earliest = earliest.min(entry.wanted);
            key = entry.next;
        }
        earliest
    }

    /// Level, slot and first tick of the earliest slot that is not empty.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let slot = self.levels[level].occupied.trailing_zeros() as usize;
        let shift = level * SLOT_BITS;
        let block = self.elapsed >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot, block + ((slot as u64) << shift)))
    }

    fn empty_slot(&mut self, level: usize, slot: usize, now: Timestamp, keys: &mut Vec<u32>) {
        let mut key = std::mem::replace(&mut self.levels[level].heads[slot], NONE);
        self.levels[level].occupied &= !(1 << slot);
        while key != NONE {
            let entry = &mut self.entries[key as usize];
            entry.linked = false;
            if entry.wanted <= now {
                entry.wanted = Timestamp::NEVER;
                keys.push(key);
            } else if entry.wanted != Timestamp::NEVER {
                self.misplaced.push(key);
            }
            key = entry.next;
        }
    }

    /// Links `key` where its moment belongs. Past moments go to the current tick, moments beyond the
    /// horizon to its end.
    fn place(&mut self, key: u32) {
        let tick = tick_of(self.entries[key as usize].wanted).clamp(self.elapsed, self.elapsed | HORIZON);
        let differing = (self.elapsed ^ tick).checked_ilog2().unwrap_or(0) as usize;
        let level = differing / SLOT_BITS;
        let slot = (tick >> (level * SLOT_BITS)) as usize % SLOTS;
        let next = std::mem::replace(&mut self.levels[level].heads[slot], key);
        self.levels[level].occupied |= 1 << slot;
        if next != NONE {
            self.entries[next as usize].previous = key;
        }
        let entry = &mut self.entries[key as usize];
        entry.tick = tick;
        entry.next = next;
        entry.previous = NONE;
        entry.level = level as u8;
        entry.slot = slot as u8;
        entry.linked = true;
    }

    fn unlink(&mut self, key: u32) {
        let entry = self.entries[key as usize];
        if entry.next != NONE {
            self.entries[entry.next as usize].previous = entry.previous;
        }
        if entry.previous == NONE {
            let level = &mut self.levels[usize::from(entry.level)];
            level.heads[usize::from(entry.slot)] = entry.next;
            if entry.next == NONE {
                level.occupied &= !(1 << entry.slot);
            }
        } else {
            self.entries[entry.previous as usize].next = entry.next;
        }
        self.entries[key as usize].linked = false;
    }
}

impl Entry {
    const VACANT: Entry = Entry {
        wanted: Timestamp::NEVER,
        tick: 0,
        next: NONE,
        previous: NONE,
        level: 0,
        slot: 0,
        linked: false,
    };
}

fn tick_of(at: Timestamp) -> u64 {
    at.0 >> TICK_SHIFT
}

/// The base tick is 2^13 ns, about 8 µs: timers are placed by it, and fire to the nanosecond.
const TICK_SHIFT: u32 = 13;
const SLOT_BITS: usize = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 6;
/// Ticks below the top level's block: 2^36, about 6.5 days. What lies beyond is placed again there.
const HORIZON: u64 = (1 << (SLOT_BITS * LEVELS)) - 1;
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    const US: u64 = 1_000;
    const S: u64 = 1_000_000_000;

    fn fired(wheel: &mut TimerWheel, now: u64) -> Vec<u32> {
        let mut keys = Vec::new();
        wheel.expired(Timestamp(now), &mut keys);
        keys
    }

    #[test]
    fn a_timer_fires_once_and_to_the_nanosecond() {
        let mut wheel = TimerWheel::new();
        wheel.arm(3, Timestamp(75 * US + 1));
        assert_eq!(fired(&mut wheel, 75 * US), [0u32; 0]);
        assert_eq!(wheel.next(), Some(Timestamp(75 * US + 1)));
        assert_eq!(fired(&mut wheel, 75 * US + 1), [3]);
        assert_eq!(fired(&mut wheel, S), [0u32; 0]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn arming_later_moves_nothing_and_still_fires_late() {
        let mut wheel = TimerWheel::new();
        wheel.arm(1, Timestamp(100 * US));
        let placed = wheel.entries[1].tick;
        wheel.arm(1, Timestamp(900 * US));
        assert_eq!(wheel.entries[1].tick, placed);
        assert_eq!(fired(&mut wheel, 100 * US), [0u32; 0]);
        assert_eq!(fired(&mut wheel, 899 * US), [0u32; 0]);
        assert_eq!(fired(&mut wheel, 900 * US), [1]);
    }

    #[test]
    fn arming_earlier_fires_earlier() {
        let mut wheel = TimerWheel::new();
        wheel.arm(1, Timestamp(3_600 * S));
        wheel.arm(1, Timestamp(10 * US));
        assert_eq!(wheel.next(), Some(Timestamp(10 * US)));
        assert_eq!(fired(&mut wheel, 10 * US), [1]);
        assert_eq!(fired(&mut wheel, 3_600 * S), [0u32; 0]);
    }

    #[test]
    fn a_cancelled_timer_never_fires_and_its_key_can_be_used_again() {
        let mut wheel = TimerWheel::new();
        wheel.arm(1, Timestamp(10 * US));
        wheel.cancel(1);
        wheel.cancel(77);
        assert_eq!(wheel.armed(1), None);
        assert_eq!(fired(&mut wheel, 20 * US), [0u32; 0]);
        wheel.arm(1, Timestamp(30 * US));
        assert_eq!(fired(&mut wheel, 30 * US), [1]);
    }

    #[test]
    fn a_moment_in_the_past_fires_at_the_next_look() {
        let mut wheel = TimerWheel::new();
        assert_eq!(fired(&mut wheel, 5 * S), [0u32; 0]);
        wheel.arm(1, Timestamp(1));
        wheel.arm(2, Timestamp(5 * S));
        let mut keys = fired(&mut wheel, 5 * S);
        keys.sort_unstable();
        assert_eq!(keys, [1, 2]);
    }

    #[test]
    fn a_timer_beyond_the_horizon_fires_in_its_own_time() {
        let mut wheel = TimerWheel::new();
        let at = Timestamp(20 * 86_400 * S + 7);
        wheel.arm(1, at);
        let mut looks = 0;
        while let Some(next) = wheel.next() {
            let keys = fired(&mut wheel, next.0);
            assert!(keys.is_empty() || next >= at);
            looks += 1;
        }
        assert_eq!(wheel.armed(1), None);
        assert!(looks < 30, "{looks} looks for one timer");
    }

    #[test]
    fn entries_are_small() {
        assert!(size_of::<Entry>() <= 32);
    }

    #[test]
    fn any_sequence_agrees_with_a_sorted_map() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut wheel = TimerWheel::new();
            let mut oracle = BTreeMap::new();
            let mut now = rng.below(S);
            for step in 0..2_000 {
                match rng.below(8) {
                    0 => {
                        let key = rng.below(50) as u32;
                        wheel.cancel(key);
                        oracle.remove(&key);
                    }
                    1..=4 => {
                        let key = rng.below(50) as u32;
                        let span = 1 << rng.below(52);
                        let at = Timestamp((now + rng.below(span)).saturating_sub(rng.below(1_000)));
                        wheel.arm(key, at);
                        oracle.insert(key, at);
                    }
                    5 => {
                        let span = 1 << rng.below(46);
                        now += rng.below(span);
                    }
                    6 => now = wheel.next().map_or(now, |next| now.max(next.0)),
                    _ => now += rng.below(20 * US),
                }
                let context = format!("seed {seed}, step {step}, now {now}");
                assert_look_agrees(&mut wheel, &mut oracle, Timestamp(now), &context);
            }
        }
    }

    fn assert_look_agrees(
        wheel: &mut TimerWheel,
        oracle: &mut BTreeMap<u32, Timestamp>,
        now: Timestamp,
        context: &str,
    ) {
        let earliest = oracle.values().min().copied();
        if let Some(earliest) = earliest {
            assert!(wheel.next().is_some_and(|next| next <= earliest), "{context}");
        }
        let mut keys = Vec::new();
        wheel.expired(now, &mut keys);
        keys.sort_unstable();
        let expected: Vec<u32> = oracle.iter().filter(|&(_, &at)| at <= now).map(|(&key, _)| key).collect();
        assert_eq!(keys, expected, "{context}");
        oracle.retain(|_, &mut at| at > now);
        for key in 0..50 {
            assert_eq!(wheel.armed(key), oracle.get(&key).copied(), "{context}");
        }
        // What is left lies in the future, so a worker that waits for it always makes progress.
        assert!(wheel.next().is_none_or(|next| next > now), "{context}");
    }
}
