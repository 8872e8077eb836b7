//! Which bytes of a message have arrived: disjoint spans, few of them, no overlap forgiven.

/// Why a span was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanError {
    /// Some of it is there already.
    Overlap,
    /// It would leave more than [`SPANS_MAX`] pieces.
    TooMany,
}

/// A set of bytes, as half-open spans in ascending order that do not touch.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    list: Vec<(u64, u64)>,
}

impl Spans {
    /// No bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters `start..end`, which is not empty.
    pub fn insert(&mut self, start: u64, end: u64) -> Result<(), SpanError> {
        debug_assert!(start < end);
        // The common case: the next piece of a message that arrives in order.
        if let Some(last) = self.list.last_mut()
            && last.1 == start
        {
            last.1 = end;
            return Ok(());
        }
        let at = self.list.partition_point(|span| span.0 < start);
        let below = at.checked_sub(1).map(|below| self.list[below]);
        let above = self.list.get(at).copied();
        if below.is_some_and(|below| below.1 > start) || above.is_some_and(|above| above.0 < end) {
            return Err(SpanError::Overlap);
        }
        match (below.is_some_and(|below| below.1 == start), above.is_some_and(|above| above.0 == end)) {
            (true, true) => {
                self.list[at - 1].1 = self.list[at].1;
                self.list.remove(at);
            }
            (true, false) => self.list[at - 1].1 = end,
            (false, true) => self.list[at].0 = start,
            (false, false) if self.list.len() >= SPANS_MAX => return Err(SpanError::TooMany),
            (false, false) => self.list.insert(at, (start, end)),
        }
        Ok(())
    }

    /// Whether it is exactly `0..total`.
    #[must_use]
    pub fn is_whole(&self, total: u64) -> bool {
        self.list == [(0, total)]
    }
}

/// A sender cuts a message in the order of its units, so each gap is at least one missing unit, and no
/// more than half the largest unit window can be gaps.
pub const SPANS_MAX: usize = crate::bounds::UNIT_WINDOW_MAX as usize / 2 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn pieces_in_any_order_make_a_whole() {
        for seed in 0..100 {
            let mut rng = Rng::new(seed);
            let mut cuts: Vec<u64> = (0..60).map(|_| 1 + rng.below(998)).collect();
            cuts.extend([0, 1_000]);
            cuts.sort_unstable();
            cuts.dedup();
            let mut pieces: Vec<(u64, u64)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
            let mut spans = Spans::new();
            while !pieces.is_empty() {
                assert!(!spans.is_whole(1_000), "seed {seed}");
                let (start, end) = pieces.swap_remove(rng.below(pieces.len() as u64) as usize);
                assert_eq!(spans.insert(start, end), Ok(()), "seed {seed}");
                assert_eq!(spans.clone().insert(start, end), Err(SpanError::Overlap), "seed {seed}");
            }
            assert!(spans.is_whole(1_000), "seed {seed}");
        }
    }

    #[test]
    fn any_overlap_is_found() {
        for (start, end) in [(9, 11), (10, 20), (12, 14), (19, 21), (0, 100), (19, 30), (29, 31), (20, 31)] {
            let mut spans = Spans::new();
            spans.insert(10, 20).unwrap();
            spans.insert(30, 40).unwrap();
            let before = spans.list.clone();
            assert_eq!(spans.insert(start, end), Err(SpanError::Overlap), "{start}..{end}");
            assert_eq!(spans.list, before);
        }
    }

    #[test]
    fn gaps_are_bounded() {
        let mut spans = Spans::new();
        (0..SPANS_MAX as u64).for_each(|n| spans.insert(2 * n, 2 * n + 1).unwrap());
        let end = 2 * SPANS_MAX as u64;
        assert_eq!(spans.insert(end, end + 1), Err(SpanError::TooMany));
        assert_eq!(spans.insert(1, 2), Ok(()));
        assert_eq!(spans.insert(end, end + 1), Ok(()));
    }
}
