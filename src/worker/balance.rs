//! Batches of equal size.
//!
//! Between two busy ends calls and replies go round in two batches: while one end works on the first, the other
//! works on the second, and then they swap. When one batch is larger, each end waits for the other half of the
//! time; and it stays larger, for a batch comes back as it left. So a batch that is larger than the one before is
//! answered in two parts, the first as large as their mean. The rest leaves shortly before the small batch and is
//! met together with it:
//!
//! ```text
//! here  |--- 200 calls ---|56|            |-- 128 ---|-- 128 ---|
//! there |56|              |--- 200 ----   |-- 128 ---|-- 128 ---|
//! ```

/// What is known of the batch before.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// How large it was, in handlers run.
    before: usize,
    /// Nothing waited when it was answered.
    waits: bool,
}

impl Balance {
    /// A batch of `count` has come: after how many of them what was answered should leave; `None`: with the rest.
    #[inline]
    pub(super) fn part(&mut self, count: usize) -> Option<usize> {
        let before = std::mem::replace(&mut self.before, count);
        // An end that always finds work has no time for another send, and its peer is the one that waits.
        let waited = std::mem::take(&mut self.waits);
        let uneven = count >= before + DIFFERENCE_MIN.max(before / 4);
        (waited && uneven).then_some((count + before) / 2)
    }

    /// A batch of one has come: [`Balance::part`] for what is never parted.
    #[inline]
    pub(super) fn note_one(&mut self) {
        (self.before, self.waits) = (1, false);
    }

    /// Nothing has come.
    #[inline]
    pub(super) fn wait(&mut self) {
        self.waits = true;
    }
}

/// Fewer are not worth another send: it costs both ends as much as a dozen small calls.
const DIFFERENCE_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of two batches that an end met by turns, `times` in all: what is cut off one joins the other.
    fn met((mut next, mut other): (usize, usize), times: usize) -> (usize, usize) {
        let mut balance = Balance::default();
        for _ in 0..times {
            balance.wait();
            let first = balance.part(next).unwrap_or(next);
            (next, other) = (other + next - first, first);
        }
        (next, other)
    }

    #[test]
    fn two_batches_grow_equal_and_stay_so() {
        for (here, there) in [(200, 56), (56, 200), (255, 1), (250, 250), (130, 126), (1_000, 24), (64, 0)] {
            let (a, b) = met((here, there), 16);
            assert_eq!(a + b, here + there);
            let apart = a.abs_diff(b);
            assert!(apart < DIFFERENCE_MIN.max(a.min(b) / 4), "{here} and {there} became {a} and {b}");
        }
    }

    #[test]
    fn what_is_even_or_small_leaves_at_once() {
        let mut balance = Balance::default();
        for count in [1, 1, 15, 15, 1, 16, 31, 31, 38] {
            balance.wait();
            assert_eq!(balance.part(count), None, "{count}");
        }
        balance.wait();
        assert_eq!(balance.part(100), Some(69));
        assert_eq!(balance.part(50), None);
        balance.wait();
        assert_eq!(balance.part(66), Some(58));
    }

    #[test]
    fn an_end_that_always_finds_work_leaves_batches_as_they_are() {
        let mut balance = Balance::default();
        for count in [100, 10, 200, 1, 1_000] {
            assert_eq!(balance.part(count), None, "{count}");
        }
    }
}
