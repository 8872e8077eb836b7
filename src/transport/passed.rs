//! Which sizes of packets passed lately: a loss tells of its packet's size only if none as large, sent later, passed.

/// The newest packets that passed, the larger the older: what a later and larger one shows as well is forgotten.
#[derive(Debug, Default, Clone, Copy)]
pub struct PassedSizes {
    newest: [Passed; KEPT_MAX],
    count: u8,
}

#[derive(Debug, Default, Clone, Copy)]
struct Passed {
    number: u64,
    size: u16,
}

impl Passed {
    fn shows(self, other: Passed) -> bool {
        self.number >= other.number && self.size >= other.size
    }
}

/// Sizes in use at once: full packets, the fragments of two kinds of messages, and one more.
const KEPT_MAX: usize = 4;

impl PassedSizes {
    /// Packet `number` of `size` bytes was acknowledged.
    #[inline]
    pub fn note(&mut self, number: u64, size: usize) {
        let passed = Passed { number, size: size.min(usize::from(u16::MAX)) as u16 };
        let known = &self.newest[..usize::from(self.count)];
        if known.iter().any(|&known| known.shows(passed)) {
            return;
        }
        let mut kept = [Passed::default(); KEPT_MAX];
        let mut count = 0;
        for &known in known.iter().filter(|&&known| !passed.shows(known)) {
            kept[count] = known;
            count += 1;
        }
        if count == KEPT_MAX {
            // The oldest tells least: a loss is seldom older.
            let oldest = (0..count).min_by_key(|&at| kept[at].number).expect("it is full");
            kept[oldest] = passed;
        } else {
            kept[count] = passed;
            count += 1;
        }
        (self.newest, self.count) = (kept, count as u8);
    }

    /// Whether a packet of `size` bytes or more, sent after packet `number`, passed.
    #[must_use]
    pub fn after(&self, number: u64, size: usize) -> bool {
        let known = &self.newest[..usize::from(self.count)];
        known.iter().any(|known| known.number > number && usize::from(known.size) >= size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_pass_speaks_for_its_size_and_smaller_ones_and_for_what_was_sent_before() {
        let mut passed = PassedSizes::default();
        assert!(!passed.after(0, 1));
        passed.note(10, 16_000);
        passed.note(20, 13_000);
        assert!(passed.after(9, 16_000));
        assert!(!passed.after(10, 16_000), "only 13,000 bytes passed since");
        assert!(passed.after(19, 13_000));
        assert!(!passed.after(20, 1));
    }

    #[test]
    fn it_never_claims_what_did_not_pass_and_knows_the_newest() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut passed, mut all) = (PassedSizes::default(), Vec::new());
            for _ in 0..300 {
                let (number, size) = (rng.below(1_000), 1_000 + 1_000 * rng.below(6) as usize);
                passed.note(number, size);
                all.push((number, size));
                let (of, at_least) = (rng.below(1_000), 1_000 + rng.below(6_000) as usize);
                let truth = all.iter().any(|&(number, size)| number > of && size >= at_least);
                assert!(truth || !passed.after(of, at_least), "seed {seed}: claims {at_least} after {of}");
            }
            let newest = *all.iter().max_by_key(|(number, size)| (*number, *size)).expect("many");
            assert!(passed.after(newest.0 - 1, newest.1), "seed {seed}");
        }
    }
}
