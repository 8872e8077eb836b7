//! Which units have arrived: a floor (all below received) and a bitmap of the window above it.
//!
//! Units in order, the rule, only move the floor. The bitmap exists from the first unit that arrives
//! out of order until [`UnitWindow::release`].

use crate::bounds::{UNIT_WINDOW_MAX, UNIT_WINDOW_MIN};
use crate::hint::rarely;

/// What the window says of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitVerdict {
    /// Not received before: deliver it.
    New,
    /// Received before: drop it, count it, create no state.
    Duplicate,
    /// At or above floor + window, where no honest sender sends: the session closes.
    Beyond,
}

/// The units received on one session.
#[derive(Clone, Debug)]
pub struct UnitWindow {
    floor: u64,
    window: u64,
    /// Units received above the floor: bits set in `words`.
    held: u64,
    /// Ring of bits, unit `u` at `u` modulo its size, a power of two; empty until needed.
    words: Vec<u64>,
}

impl UnitWindow {
    /// Nothing received; `window` units above the floor are welcome (kept to
    /// [`UNIT_WINDOW_MIN`]`..=`[`UNIT_WINDOW_MAX`]).
    #[must_use]
    pub fn new(window: u32) -> Self {
        let window = window.clamp(UNIT_WINDOW_MIN, UNIT_WINDOW_MAX);
        Self { floor: 0, window: u64::from(window), held: 0, words: Vec::new() }
    }

    /// Whether `unit` is to be delivered.
    #[inline(always)]
    #[must_use]
    pub fn check(&self, unit: u64) -> UnitVerdict {
        if unit < self.floor {
            UnitVerdict::Duplicate
        } else if unit - self.floor >= self.window {
            UnitVerdict::Beyond
        } else if self.held > 0 && self.words[self.word(unit)] & bit(unit) != 0 {
            UnitVerdict::Duplicate
        } else {
            UnitVerdict::New
        }
    }

    /// Enters a unit that [`UnitWindow::check`] called new.
    #[inline(always)]
    pub fn insert(&mut self, unit: u64) {
        debug_assert_eq!(self.check(unit), UnitVerdict::New);
        if rarely(unit != self.floor) {
            self.hold(unit);
            return;
        }
        self.floor += 1;
        if rarely(self.held > 0) {
            self.raise_floor();
        }
    }

    /// All units below this one were received; it itself was not.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Units received above the floor.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Gives the bitmap back when nothing is held in it: for a session that goes idle.
    pub fn release(&mut self) {
        if self.held == 0 {
            self.words = Vec::new();
        }
    }

    #[cold]
    fn hold(&mut self, unit: u64) {
        if self.words.is_empty() {
            self.words = vec![0; (self.window.next_power_of_two() / 64) as usize];
        }
        let word = self.word(unit);
        self.words[word] |= bit(unit);
        self.held += 1;
    }

    #[inline(never)]
    fn raise_floor(&mut self) {
        while self.held > 0 {
            let word = self.word(self.floor);
            let offset = self.floor % 64;
            let run = u64::from((self.words[word] >> offset).trailing_ones());
            if run == 0 {
                return;
            }
            let mask = if run == 64 { u64::MAX } else { ((1 << run) - 1) << offset };
            self.words[word] &= !mask;
            self.floor += run;
            self.held -= run;
            if offset + run < 64 {
                return;
            }
        }
    }

    fn word(&self, unit: u64) -> usize {
        (unit / 64) as usize & (self.words.len() - 1)
    }
}

fn bit(unit: u64) -> u64 {
    1 << (unit % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn units_in_order_move_the_floor_and_touch_no_bitmap() {
        let mut window = UnitWindow::new(4_096);
        for unit in 0..10_000 {
            assert_eq!(window.check(unit), UnitVerdict::New);
            window.insert(unit);
        }
        assert_eq!(window.floor(), 10_000);
        assert_eq!(window.words.capacity(), 0);
    }

    #[test]
    fn a_missing_unit_holds_the_floor_until_it_arrives() {
        let mut window = UnitWindow::new(4_096);
        (1..300).for_each(|unit| window.insert(unit));
        assert_eq!((window.floor(), window.held()), (0, 299));
        window.insert(0);
        assert_eq!((window.floor(), window.held()), (300, 0));
    }

    #[test]
    fn a_unit_below_the_floor_or_held_is_a_duplicate() {
        let mut window = UnitWindow::new(64);
        window.insert(0);
        window.insert(5);
        assert_eq!(window.check(0), UnitVerdict::Duplicate);
        assert_eq!(window.check(5), UnitVerdict::Duplicate);
        assert_eq!(window.check(1), UnitVerdict::New);
    }

    #[test]
    fn a_unit_at_floor_plus_window_is_beyond() {
        let mut window = UnitWindow::new(100);
        assert_eq!(window.check(99), UnitVerdict::New);
        assert_eq!(window.check(100), UnitVerdict::Beyond);
        window.insert(0);
        assert_eq!(window.check(100), UnitVerdict::New);
        assert_eq!(window.check(u64::MAX), UnitVerdict::Beyond);
    }

    #[test]
    fn the_bitmap_is_given_back_only_when_nothing_is_held() {
        let mut window = UnitWindow::new(4_096);
        window.insert(1);
        window.release();
        assert_eq!(window.check(1), UnitVerdict::Duplicate);
        window.insert(0);
        window.release();
        assert_eq!(window.words.capacity(), 0);
        assert_eq!(window.check(1), UnitVerdict::Duplicate);
        assert_eq!(window.check(2), UnitVerdict::New);
    }

    #[test]
    fn a_declared_window_is_kept_within_bounds() {
        assert_eq!(UnitWindow::new(0).check(u64::from(UNIT_WINDOW_MIN)), UnitVerdict::Beyond);
        assert_eq!(UnitWindow::new(u32::MAX).check(u64::from(UNIT_WINDOW_MAX)), UnitVerdict::Beyond);
    }

    #[test]
    fn any_arrival_order_agrees_with_a_set() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let size = [64, 65, 100, 4_096][rng.below(4) as usize];
            let mut window = UnitWindow::new(size);
            let mut oracle = BTreeSet::new();
            let mut floor = 0;
            for _ in 0..4_000 {
                while oracle.contains(&floor) {
                    floor += 1;
                }
                assert_eq!(window.floor(), floor, "seed {seed}");
                let unit = match rng.below(4) {
                    0 => floor,
                    1 => floor.saturating_sub(rng.below(100)),
                    _ => floor + rng.below(u64::from(size) + 10),
                };
                let expected = if oracle.contains(&unit) {
                    UnitVerdict::Duplicate
                } else if unit >= floor + u64::from(size) {
                    UnitVerdict::Beyond
                } else {
                    UnitVerdict::New
                };
                assert_eq!(window.check(unit), expected, "seed {seed}, unit {unit}");
                if expected == UnitVerdict::New {
                    window.insert(unit);
                    oracle.insert(unit);
                }
            }
        }
    }
}
