//! Packets that were read and stay in their socket for a while.
//!
//! Memory that the kernel takes back it lends again at once, the last first. The next packet of a sender on this host is
//! then written into memory that the receiver's core has just read, and its core waits for each line of it: half the
//! sender's time, at tens of gigabits a second. So large packets are read where they lie (`MSG_PEEK`, one behind the
//! other by `SO_PEEK_OFF`), and taken out many at once and late, when their lines have left the receiver's own cache.
//!
//! ```text
//! socket:  [read][read][read][read] | [not read] <- kernel
//!           taken out, oldest first   the next read begins here
//! ```
//!
//! A packet is handed over as early as without this. What stays is charged to the socket's buffer: it takes a quarter of
//! it, and a small buffer none. Small packets fill no pages, and a long row of packets that stay is walked for each that
//! is read: they are read plainly, but for one that is alone. That one goes once its answer has left, since giving
//! memory back takes time, and then nobody waits.

use std::collections::VecDeque;

use super::report::packets;

/// The packets of one socket that were read and stay in it.
#[derive(Debug)]
pub(super) struct Held {
    /// What each of them takes of the socket's buffer, the oldest first.
    charges: VecDeque<u32>,
    charged: u64,
    /// What they may take together; 0 where none is read behind another.
    budget: u64,
    /// Small packets since the last large one.
    small: u32,
    /// Looks since the last packet.
    empty: u32,
}

/// Bytes of a packet, or of packets that the kernel joined, from which on it is worth it.
const LARGE: u32 = 32_768;
/// Small packets in a row after which they are read plainly.
const SMALL_MAX: u32 = 64;
/// So many are taken out at once: in a look that finds nothing, and in any case when there are [`BUSY_MAX`]. Together
/// they are more than a core's own cache holds; of 32 (half of net.core.skb_defer_max) the kernel would wake the core
/// whose memory it is.
const PORTION: usize = 24;
/// The most that stay, but for one more batch.
const BUSY_MAX: usize = 40;
/// Empty looks at the socket after which nothing stays: some 0.3 ms, or eight times that beside a regular's.
const EMPTY_MAX: u32 = 1_024;
/// Less than so many bytes together, and the memory goes round as quickly as without.
const BUDGET_MIN: u64 = 1 << 20;
const BUDGET_MAX: u64 = 4 << 20;

impl Held {
    /// For a socket whose buffer is of `buffer_size` bytes of true size.
    pub fn new(buffer_size: u64) -> Self {
        let budget = Some(buffer_size / 4).filter(|&budget| budget >= BUDGET_MIN).unwrap_or(0);
        let charges = VecDeque::with_capacity(2 * BUSY_MAX);
        Self { charges, charged: 0, budget: budget.min(BUDGET_MAX), small: SMALL_MAX, empty: 0 }
    }

    /// What the packets that stay may take of the socket's buffer.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// What is read next stays, alone or not: large packets come, or one that was to be taken out is still there, behind
    /// errors. A plain read would hand it over again.
    #[inline]
    pub fn stays(&self) -> bool {
        self.goes_on() || !self.charges.is_empty()
    }

    /// Large packets come. False: none stays but one that is alone.
    #[inline]
    fn goes_on(&self) -> bool {
        self.small < SMALL_MAX
    }

    /// `length` bytes were read in packets of `segment_size`; `stays` when they are still there.
    #[inline]
    pub fn read(&mut self, length: u32, segment_size: u32, stays: bool) {
        self.empty = 0;
        let is_large = length >= LARGE && self.budget > 0;
        self.small = if is_large { 0 } else { (self.small + 1).min(SMALL_MAX) };
        if stays {
            let charge = true_size(length, segment_size);
            self.charged += u64::from(charge);
            self.charges.push_back(charge);
        }
    }

    /// What was read last has been answered: how many packets are to be taken out.
    #[inline]
    pub fn due(&self) -> usize {
        let count = self.charges.len();
        if count == 0 || !self.goes_on() {
            return count;
        }
        if count >= BUSY_MAX || self.charged > self.budget { count.min(PORTION) } else { 0 }
    }

    /// A look found nothing: how many packets are to be taken out.
    #[inline]
    pub fn due_when_empty(&mut self) -> usize {
        if self.charges.is_empty() {
            return 0;
        }
        self.empty += 1;
        let count = self.charges.len();
        match (count >= PORTION, self.empty >= EMPTY_MAX) {
            (_, true) => count,
            (true, false) => PORTION,
            (false, false) => 0,
        }
    }

    /// How many stay.
    #[inline]
    pub fn count(&self) -> usize {
        self.charges.len()
    }

    /// The `count` oldest have been taken out.
    #[inline]
    pub fn taken_out(&mut self, count: usize) {
        for charge in self.charges.drain(..count.min(self.charges.len())) {
            self.charged -= u64::from(charge);
        }
    }
}

/// What the kernel charges for packets of `segment_size` that it may have joined: at least a page and its own account of
/// each. An estimate: drivers differ.
#[inline]
fn true_size(length: u32, segment_size: u32) -> u32 {
    let count = packets(length, segment_size).unwrap_or(1);
    count.saturating_mul(segment_size.max(PAGE_SIZE) + ACCOUNT_SIZE)
}

const PAGE_SIZE: u32 = 4_096;
const ACCOUNT_SIZE: u32 = 768;

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: u64 = 16 << 20;

    fn read(held: &mut Held, count: usize, length: u32) {
        (0..count).for_each(|_| held.read(length, length, held.stays()));
    }

    /// Behind the first large one, which was read plainly.
    fn holding(buffer: u64) -> Held {
        let mut held = Held::new(buffer);
        held.read(40_000, 40_000, false);
        held
    }

    #[test]
    fn large_packets_stay_until_there_are_many_and_the_oldest_go_first() {
        let mut held = holding(BUFFER);
        read(&mut held, BUSY_MAX - 1, 40_000);
        assert_eq!(held.due(), 0, "others wait");
        assert_eq!(held.due_when_empty(), PORTION, "nobody waits");
        read(&mut held, 1, 40_000);
        assert_eq!(held.due(), PORTION);
        held.taken_out(PORTION);
        assert_eq!((held.due(), held.count()), (0, BUSY_MAX - PORTION));
        assert_eq!(held.due_when_empty(), 0, "not many");
    }

    #[test]
    fn what_stays_takes_no_more_of_the_buffer_than_its_part() {
        let mut held = holding(BUFFER / 2);
        while held.due() == 0 {
            read(&mut held, 1, 64_000);
        }
        assert!(held.count() < BUSY_MAX, "{held:?}");
        let most = u64::from(true_size(64_000, 64_000));
        assert!(held.charged <= held.budget() + most && held.charged > held.budget() - most, "{held:?}");
        let joined = true_size(43 * 1_472, 1_472);
        assert!(joined > 43 * 4_096, "a driver may give each packet a page: {joined}");
        assert!(held.budget() <= BUFFER / 8);
    }

    #[test]
    fn in_a_small_buffer_nothing_stays_but_a_packet_that_is_alone() {
        let mut held = Held::new(416 << 10);
        read(&mut held, 9, 60_000);
        assert_eq!((held.budget(), held.goes_on(), held.count()), (0, false, 0));
        held.read(64, 64, true);
        assert_eq!(held.due(), 1);
    }

    #[test]
    fn nothing_stays_for_long_once_nothing_comes() {
        let mut held = holding(BUFFER);
        read(&mut held, 5, 40_000);
        let looks = (1..).find(|_| held.due_when_empty() > 0).expect("there is no end to them");
        assert_eq!((looks, held.due_when_empty()), (EMPTY_MAX, 5));
        held.taken_out(5);
        assert_eq!((held.due_when_empty(), held.charged), (0, 0));
    }

    #[test]
    fn while_one_could_not_be_taken_out_others_are_read_behind_it() {
        let mut held = Held::new(BUFFER);
        held.read(100, 100, true);
        assert_eq!((held.due(), held.stays()), (1, true));
        read(&mut held, 3, 100);
        assert_eq!(held.due(), 4);
        held.taken_out(4);
        assert!(!held.stays(), "nothing is left, and only small ones come");
    }

    #[test]
    fn where_only_small_packets_come_none_stays_but_one_that_is_alone() {
        let mut held = holding(BUFFER);
        read(&mut held, SMALL_MAX as usize, 100);
        assert_eq!((held.goes_on(), held.due()), (false, SMALL_MAX as usize), "read plainly from here on");
        held.taken_out(SMALL_MAX as usize);
        held.read(100, 100, true);
        assert_eq!(held.due(), 1);
    }
}
