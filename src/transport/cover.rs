//! Which bytes of one unit are there, when pieces may overlap: a unit is cut anew each time its path
//! carries less.

/// A set of bytes, as half-open ranges in ascending order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    list: Vec<(u16, u16)>,
}

impl Cover {
    /// Enters `start..end`, some of which may be there already.
    pub fn add(&mut self, start: u16, end: u16) {
        debug_assert!(start < end);
        // All that the new range overlaps or touches becomes one with it.
        let first = self.list.partition_point(|range| range.1 < start);
        let behind = self.list.partition_point(|range| range.0 <= end);
        let joined = self.list[first..behind].iter().fold((start, end), |(s, e), r| (s.min(r.0), e.max(r.1)));
        self.list.splice(first..behind, [joined]);
    }

    /// The first bytes of `start..end` that are not there.
    #[must_use]
    pub fn missing(&self, start: u16, end: u16) -> Option<(u16, u16)> {
        let at = self.list.partition_point(|range| range.1 <= start);
        let (first, stop) = match self.list.get(at) {
            None => (start, end),
            Some(range) if range.0 > start => (start, range.0.min(end)),
            Some(range) => {
                let next = self.list.get(at + 1).map_or(end, |next| next.0.min(end));
                (range.1, next)
            }
        };
        (first < stop).then_some((first, stop))
    }

    /// The ranges, in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.list.iter().copied()
    }

    /// How many pieces it is in.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.list.len()
    }

    /// Whether it is exactly `0..total`.
    #[must_use]
    pub fn is_whole(&self, total: u16) -> bool {
        self.list == [(0, total)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn whatever_is_added_agrees_with_a_set_of_bytes() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let total = 1 + rng.below(200) as u16;
            let (mut cover, mut oracle) = (Cover::default(), vec![false; usize::from(total)]);
            for _ in 0..40 {
                let start = rng.below(u64::from(total)) as u16;
                let end = start + 1 + rng.below(u64::from(total - start)) as u16;
                let first = (start..end).find(|&at| !oracle[usize::from(at)]);
                let found = cover.missing(start, end);
                assert_eq!(found.map(|gap| gap.0), first, "seed {seed}: {cover:?} in {start}..{end}");
                if let Some((from, to)) = found {
                    assert!((from..to).all(|at| !oracle[usize::from(at)]), "seed {seed}");
                    assert!(to == end || oracle[usize::from(to)], "seed {seed}: the gap is longer");
                }
                // Seldom whole: short pieces.
                let end = end.min(start + 1 + rng.below(20) as u16);
                cover.add(start, end);
                oracle[usize::from(start)..usize::from(end)].fill(true);
                assert_eq!(cover.is_whole(total), oracle.iter().all(|&there| there), "seed {seed}");
                assert!(cover.list.windows(2).all(|pair| pair[0].1 < pair[1].0), "seed {seed}: {cover:?}");
            }
        }
    }
}
