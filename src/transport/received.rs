//! Which packet numbers have arrived: the ranges an ack reports, and the window that drops replays.
//!
//! The two answer different questions. The ranges may forget (RFC 9000 §13.2.3: the oldest are
//! dropped safely, the peer merely resends); the replay window may not, so what is too old for it is
//! refused.

use crate::bounds::ACK_RANGES_MAX;

/// What the replay window says of a packet number, before its packet is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen before.
    New,
    /// Seen before.
    Duplicate,
    /// So far behind the largest that nobody remembers: drop it, count it, never close (D7).
    TooOld,
}

/// How a packet number stands to those before it (RFC 9000 §13.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Order {
    /// It follows the largest directly.
    Next,
    /// It is the new largest, and numbers between are missing.
    Gap,
    /// It is below the largest.
    Late,
}

/// Packet numbers received on one session.
///
/// While they come in order, as most do, the largest says it all. What tells those below it apart is there from the first
/// gap until [`Received::release`].
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The largest number seen; meaningless while `any` is false.
    largest: u64,
    /// Where the range that ends with `largest` begins.
    first: u64,
    last_arrived: u64,
    any: bool,
    /// Without it, nothing up to `largest` is new.
    gaps: Option<Box<Gaps>>,
}

impl Received {
    /// Nothing received yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `number` may be processed. Ask only after the packet was opened (S13): an
    /// unauthenticated number must not be told apart by timing.
    #[must_use]
    pub fn check(&self, number: u64) -> Verdict {
        if !self.any || number > self.largest {
            Verdict::New
        } else if self.largest - number >= REPLAY_WINDOW {
            Verdict::TooOld
        } else if self.gaps.as_ref().is_none_or(|gaps| gaps.has_arrived(number)) {
            Verdict::Duplicate
        } else {
            Verdict::New
        }
    }

    /// Enters a number that [`Received::check`] called new.
    #[inline(always)]
    pub fn insert(&mut self, number: u64) -> Order {
        debug_assert_eq!(self.check(number), Verdict::New);
        self.last_arrived = number;
        // The common case: the newest range grows by one.
        if self.any && number.wrapping_sub(self.largest) == 1 {
            self.largest = number;
            if let Some(gaps) = &mut self.gaps {
                gaps.window[word(number)] |= bit(number);
            }
            return Order::Next;
        }
        self.insert_apart(number)
    }

    /// The peer has our ack of everything below `number`: it need not be told again. The largest number stays, so
    /// that an ack can always be built.
    pub fn prune_below(&mut self, number: u64) {
        let number = number.min(self.largest);
        if let Some(gaps) = &mut self.gaps
            && gaps.prune_below(number)
        {
            return;
        }
        self.first = self.first.max(number);
    }

    /// What to report: inclusive (smallest, largest), newest first. The range of the packet that
    /// arrived last is always among them (L34).
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = (u64, u64)> + '_ {
        let older = self.gaps.as_ref().map_or(&[][..], |gaps| &gaps.older[..gaps.len]);
        let newest = (self.first, self.largest);
        let len = usize::from(self.any) + older.len();
        (0..len).map(move |i| if i == 0 { newest } else { older[i - 1] })
    }

    /// The number after the largest.
    #[inline]
    #[must_use]
    pub fn expected(&self) -> u64 {
        if self.any { self.largest.wrapping_add(1) } else { 0 }
    }

    /// How many ranges there are to report.
    #[inline]
    #[must_use]
    pub fn range_count(&self) -> usize {
        usize::from(self.any) + self.gaps.as_ref().map_or(0, |gaps| gaps.len)
    }

    /// The range, if there is one and no more: as nearly always.
    #[inline]
    #[must_use]
    pub fn one_range(&self) -> Option<(u64, u64)> {
        let one = self.any && self.gaps.as_ref().is_none_or(|gaps| gaps.len == 0);
        one.then_some((self.first, self.largest))
    }

    /// The largest number received.
    #[must_use]
    pub fn largest(&self) -> Option<u64> {
        self.any.then_some(self.largest)
    }

    /// The number that arrived last: an ack cut short for want of room must still hold its range
    /// (L34, RFC 2018 §4).
    #[must_use]
    pub fn last_arrived(&self) -> Option<u64> {
        self.any.then_some(self.last_arrived)
    }

    /// Gives the memory back, for a session that goes idle. What is still missing below the largest is refused from
    /// here on, like what has arrived: a packet that was under way for so long counts as lost, and its unit comes
    /// again under a new number.
    pub fn release(&mut self) {
        self.gaps = None;
        self.last_arrived = self.largest;
    }

    #[cold]
    fn insert_apart(&mut self, number: u64) -> Order {
        if !self.any {
            (self.any, self.first, self.largest) = (true, number, number);
            if number == 0 {
                return Order::Next;
            }
            let mut gaps = Box::new(Gaps::after_nothing());
            gaps.window[word(number)] |= bit(number);
            self.gaps = Some(gaps);
            return Order::Gap;
        }
        let gaps = self.gaps.get_or_insert_with(|| Box::new(Gaps::after_all()));
        if number > self.largest {
            gaps.clear_skipped(self.largest, number);
            gaps.window[word(number)] |= bit(number);
            gaps.insert_range(0, (self.first, self.largest));
            (self.first, self.largest) = (number, number);
            return Order::Gap;
        }
        gaps.window[word(number)] |= bit(number);
        if number + 1 == self.first {
            self.first = gaps.join_below(number);
        } else {
            gaps.enter_ranges(number);
        }
        Order::Late
    }
}

/// What arrived below the newest range.
#[derive(Clone, Debug)]
struct Gaps {
    /// Inclusive (smallest, largest), newest first, disjoint and not touching; the first `len` count.
    older: [(u64, u64); OLDER_MAX],
    len: usize,
    /// One bit for each of the [`REPLAY_WINDOW`] numbers that end with the largest, at number modulo
    /// window.
    window: [u64; REPLAY_WORDS],
}

impl Gaps {
    /// The first number leaves a gap below it.
    fn after_nothing() -> Self {
        Self { older: [(0, 0); OLDER_MAX], len: 0, window: [0; REPLAY_WORDS] }
    }

    /// Nothing up to the largest is new.
    fn after_all() -> Self {
        Self { window: [u64::MAX; REPLAY_WORDS], ..Self::after_nothing() }
    }

    fn has_arrived(&self, number: u64) -> bool {
        self.window[word(number)] & bit(number) != 0
    }

    /// The places between `largest`, the largest so far, and `number` still hold the bits of numbers one window
    /// earlier.
    fn clear_skipped(&mut self, largest: u64, number: u64) {
        if number - largest >= REPLAY_WINDOW {
            self.window = [0; REPLAY_WORDS];
            return;
        }
        let mut next = largest + 1;
        while next < number {
            if next.is_multiple_of(64) && number - next >= 64 {
                self.window[word(next)] = 0;
                next += 64;
            } else {
                self.window[word(next)] &= !bit(next);
                next += 1;
            }
        }
    }

    /// True when an older range is left, so that the newest lies wholly above `number`.
    ///
    /// L30, RFC 9000 §13.2.4: "the receiver can stop acknowledging packets less than or equal to the Largest
    /// Acknowledged field in the sent ACK frame".
    fn prune_below(&mut self, number: u64) -> bool {
        while self.len > 0 && self.older[self.len - 1].1 < number {
            self.len -= 1;
        }
        if self.len > 0 {
            let oldest = &mut self.older[self.len - 1];
            oldest.0 = oldest.0.max(number);
        }
        self.len > 0
    }

    /// `number` lies right below the newest range: where that begins now.
    fn join_below(&mut self, number: u64) -> u64 {
        if self.len == 0 || number - self.older[0].1 != 1 {
            return number;
        }
        let first = self.older[0].0;
        self.older.copy_within(1..self.len, 0);
        self.len -= 1;
        first
    }

    fn enter_ranges(&mut self, number: u64) {
        // The first range that does not lie wholly above `number`.
        let at = self.older[..self.len].iter().position(|range| range.0 <= number).unwrap_or(self.len);
        let touches_above = at > 0 && self.older[at - 1].0 == number + 1;
        let touches_below = at < self.len && number - self.older[at].1 == 1;
        match (touches_above, touches_below) {
            (true, true) => {
                self.older[at - 1].0 = self.older[at].0;
                self.older.copy_within(at + 1..self.len, at);
                self.len -= 1;
            }
            (true, false) => self.older[at - 1].0 = number,
            (false, true) => self.older[at].1 = number,
            (false, false) => self.insert_range(at, (number, number)),
        }
    }

    fn insert_range(&mut self, at: usize, range: (u64, u64)) {
        // L30: the oldest range makes room. L34, RFC 2018 §4: a block for "the contiguous block of data containing
        // the segment which triggered this ACK": if the newcomer is the oldest, it takes that one's place.
        let at = at.min(OLDER_MAX - 1);
        self.len = (self.len + 1).min(OLDER_MAX);
        self.older.copy_within(at..self.len - 1, at + 1);
        self.older[at] = range;
    }
}

fn word(number: u64) -> usize {
    ((number % REPLAY_WINDOW) / 64) as usize
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

/// Packet numbers, counted back from the largest, whose arrival is remembered exactly.
pub const REPLAY_WINDOW: u64 = 4_096;
const REPLAY_WORDS: usize = (REPLAY_WINDOW / 64) as usize;
/// Ranges that an ack reports beside the newest.
const OLDER_MAX: usize = ACK_RANGES_MAX - 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rng::Rng;

    fn filled(numbers: impl IntoIterator<Item = u64>) -> Received {
        let mut received = Received::new();
        for number in numbers {
            let _ = received.insert(number);
        }
        received
    }

    fn ranges(received: &Received) -> Vec<(u64, u64)> {
        received.ranges().collect()
    }

    #[test]
    fn packets_in_order_make_one_range() {
        let mut received = Received::new();
        assert!((0..100).all(|number| received.insert(number) == Order::Next));
        assert_eq!(ranges(&received), [(0, 99)]);
    }

    #[test]
    fn a_gap_opens_a_range_and_the_missing_packet_closes_it() {
        let mut received = filled([0, 1]);
        assert_eq!(received.insert(3), Order::Gap);
        assert_eq!(ranges(&received), [(3, 3), (0, 1)]);
        assert_eq!(received.insert(2), Order::Late);
        assert_eq!(ranges(&received), [(0, 3)]);
    }

    #[test]
    fn a_first_packet_that_is_not_number_0_is_a_gap() {
        assert_eq!(Received::new().insert(5), Order::Gap);
    }

    #[test]
    fn late_packets_grow_ranges_at_either_end() {
        assert_eq!(ranges(&filled([10, 5, 6])), [(10, 10), (5, 6)]);
        assert_eq!(ranges(&filled([10, 5, 4])), [(10, 10), (4, 5)]);
        assert_eq!(ranges(&filled([10, 5, 9])), [(9, 10), (5, 5)]);
    }

    #[test]
    fn the_same_number_twice_is_a_duplicate() {
        let received = filled([0, 1, 3]);
        assert_eq!(received.check(1), Verdict::Duplicate);
        assert_eq!(received.check(3), Verdict::Duplicate);
        assert_eq!(received.check(2), Verdict::New);
        assert_eq!(received.check(4), Verdict::New);
    }

    #[test]
    fn a_number_behind_the_window_is_too_old() {
        let received = filled([0, 5_000]);
        assert_eq!(received.check(5_000 - REPLAY_WINDOW), Verdict::TooOld);
        assert_eq!(received.check(5_000 - REPLAY_WINDOW + 1), Verdict::New);
    }

    #[test]
    fn only_so_many_ranges_are_kept_and_the_oldest_go_first() {
        // L30.
        let received = filled((0..100).map(|n| 2 * n));
        assert_eq!(received.ranges().len(), ACK_RANGES_MAX);
        assert_eq!(received.ranges().next(), Some((198, 198)));
        assert_eq!(received.ranges().last(), Some((136, 136)));
    }

    #[test]
    fn the_packet_that_arrived_last_is_reported_even_when_it_is_the_oldest() {
        // L34.
        let mut received = filled((50..150).map(|n| 2 * n));
        assert_eq!(received.insert(7), Order::Late);
        assert_eq!(received.ranges().len(), ACK_RANGES_MAX);
        assert_eq!(received.ranges().last(), Some((7, 7)));
        assert_eq!(received.last_arrived(), Some(7));
    }

    #[test]
    fn an_ack_of_an_ack_prunes_what_it_covered_but_never_the_largest() {
        // L30, RFC 9000 §13.2.4.
        let mut received = filled([0, 1, 2, 5, 6, 9]);
        received.prune_below(6);
        assert_eq!(ranges(&received), [(9, 9), (6, 6)]);
        received.prune_below(u64::MAX);
        assert_eq!(ranges(&received), [(9, 9)]);
        assert_eq!(received.check(1), Verdict::Duplicate);
        assert_eq!(received.insert(10), Order::Next);
        assert_eq!(ranges(&received), [(9, 10)]);
    }

    #[test]
    fn numbers_at_the_end_of_the_space_do_not_overflow() {
        let mut received = filled([u64::MAX - 2, u64::MAX]);
        assert_eq!(received.check(u64::MAX), Verdict::Duplicate);
        assert_eq!(received.insert(u64::MAX - 1), Order::Late);
        assert_eq!(ranges(&received), [(u64::MAX - 2, u64::MAX)]);
        assert_eq!(received.check(0), Verdict::TooOld);
    }

    #[test]
    fn any_arrival_order_agrees_with_a_set() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let mut received = Received::new();
            let mut oracle = BTreeSet::new();
            let mut largest = 0u64;
            for _ in 0..3_000 {
                let number = match rng.below(20) {
                    0 => largest + rng.below(6_000),
                    1..=9 => largest.saturating_sub(rng.below(5_000)),
                    10..=12 => largest + rng.below(130),
                    _ => largest + 1,
                };
                let expected = match &oracle {
                    seen if seen.contains(&number) && largest - number < REPLAY_WINDOW => Verdict::Duplicate,
                    seen if !seen.is_empty() && number + REPLAY_WINDOW <= largest => Verdict::TooOld,
                    _ => Verdict::New,
                };
                assert_eq!(received.check(number), expected, "seed {seed}, number {number}");
                if expected == Verdict::New {
                    let _ = received.insert(number);
                    oracle.insert(number);
                    largest = largest.max(number);
                    check_ranges(&received, &oracle, number, seed);
                }
            }
        }
    }

    #[test]
    fn packets_in_order_take_no_memory_beside_the_session() {
        assert!(filled(0..10_000).gaps.is_none());
        assert!(filled([0, 2]).gaps.is_some());
    }

    #[test]
    fn after_the_memory_was_given_back_nothing_up_to_the_largest_is_new_and_nothing_missing_is_reported() {
        let mut received = filled([0, 1, 4, 5, 7, 2]);
        received.release();
        assert!(received.gaps.is_none());
        assert!((0..=7).all(|number| received.check(number) == Verdict::Duplicate));
        assert_eq!(ranges(&received), [(7, 7)]);
        assert_eq!(received.last_arrived(), Some(7));
        assert_eq!(received.insert(8), Order::Next);
        assert_eq!(received.insert(11), Order::Gap);
        assert!([3, 6, 8].iter().all(|number| received.check(*number) == Verdict::Duplicate));
        assert!([9, 10].iter().all(|number| received.check(*number) == Verdict::New));
        assert_eq!(ranges(&received), [(11, 11), (7, 8)]);
    }

    fn check_ranges(received: &Received, oracle: &BTreeSet<u64>, last: u64, seed: u64) {
        let ranges = ranges(received);
        assert_eq!(ranges[0].1, *oracle.last().expect("one was inserted"), "seed {seed}");
        assert!(ranges.iter().any(|&(low, high)| (low..=high).contains(&last)), "seed {seed}");
        assert!(ranges.windows(2).all(|pair| pair[0].0 > pair[1].1 + 1), "seed {seed}");
        for &(low, high) in &ranges {
            assert_eq!(oracle.range(low..=high).count() as u64, high - low + 1, "seed {seed}");
        }
    }
}
