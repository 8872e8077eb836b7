//! One queue and the wire behind it: rate, propagation delay, a finite drop-tail queue, and a threshold
//! from which packets are marked (RFC 3168) in the place of waiting for a drop.
//!
//! ```text
//! enter -> [queue, drop-tail, counted] -> sent at the rate -> impairment (loss, …) -> delay -> arrives
//! ```
//!
//! Rates count the bytes of UDP payload: headers below it are the same for every protocol that is compared.

use std::collections::VecDeque;

use crate::io::Ecn;
use crate::time::Timestamp;
use crate::worker::impair::{Direction, ImpairCounters, ImpairSpec, Impairment};

/// What one link is.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkSpec {
    /// Bits a second.
    pub rate_bit_s: u64,
    /// From the last bit sent to the last bit received, in nanoseconds.
    pub delay_ns: u64,
    /// Packets that may wait beside the one being sent.
    pub queue_packets: usize,
    /// Their bytes.
    pub queue_size: u64,
    /// A packet that finds this many bytes waiting, and is ECN-capable, is marked.
    pub mark_from: Option<u64>,
    /// What becomes of marks.
    pub marks: Marks,
    /// Every so many-th packet is lost behind the queue: the loss of response functions, which leave nothing to
    /// chance (RFC 9438 §5.1).
    pub lose_every: Option<u64>,
    /// The queue's own share of misery beyond its length: loss by chance, reordering, jitter. Its rate,
    /// queue and delay are not used.
    pub impair: ImpairSpec,
}

impl LinkSpec {
    /// A link without a mark, a loss or a bound on packets.
    #[must_use]
    pub fn new(rate_bit_s: u64, delay_ns: u64, queue_size: u64) -> Self {
        let impair = ImpairSpec::default();
        Self {
            rate_bit_s,
            delay_ns,
            queue_packets: usize::MAX,
            queue_size,
            mark_from: None,
            marks: Marks::Kept,
            lose_every: None,
            impair,
        }
    }

    /// The same with a queue bounded in packets, as switches do.
    #[must_use]
    pub fn with_queue_packets(mut self, packets: usize) -> Self {
        self.queue_packets = packets;
        self
    }

    /// The same, marking ECN-capable packets that find `bytes` waiting.
    #[must_use]
    pub fn with_marks_from(mut self, bytes: u64) -> Self {
        self.mark_from = Some(bytes);
        self
    }

    /// The same, treating marks so.
    #[must_use]
    pub fn with_marks(mut self, marks: Marks) -> Self {
        self.marks = marks;
        self
    }

    /// The same, losing every `n`-th packet.
    #[must_use]
    pub fn losing_every(mut self, n: u64) -> Self {
        self.lose_every = Some(n);
        self
    }

    /// The same with `impair` behind the queue.
    #[must_use]
    pub fn with_impairment(mut self, impair: ImpairSpec) -> Self {
        self.impair = impair;
        self
    }
}

/// What a link does to the ECN bits of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Passes them on.
    Kept,
    /// Clears them.
    Bleached,
    /// Drops what carries any.
    Refused,
}

/// What a link did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Packets that came.
    pub packets: u64,
    /// Bytes sent on.
    pub bytes_sent: u64,
    /// Packets that found the queue full.
    pub dropped: u64,
    /// Packets that came ECN-capable.
    pub capable: u64,
    /// Packets marked "congestion experienced".
    pub marked: u64,
    /// Packets lost because it was their turn.
    pub picked: u64,
    /// The most bytes that ever waited.
    pub queue_size_max: u64,
    /// Bytes times the nanoseconds they waited: over a time, the mean queue (Little's law).
    pub waited: u128,
    /// Loss and the rest that chance did.
    pub impaired: ImpairCounters,
}

/// One link of a [`Topology`](super::topology::Topology).
#[derive(Debug)]
pub struct Link {
    spec: LinkSpec,
    /// When the last bit of what it holds has left.
    free_at: Timestamp,
    /// Bytes of each packet held, and when it begins to leave.
    held: VecDeque<(Timestamp, u64)>,
    waiting_size: u64,
    impairment: Impairment,
    counters: LinkCounters,
}

impl Link {
    /// An empty link.
    #[must_use]
    pub fn new(spec: LinkSpec) -> Self {
        let impairment = Impairment::new(spec.impair.clone(), Direction::Outbound);
        Self {
            spec,
            free_at: Timestamp(0),
            held: VecDeque::new(),
            waiting_size: 0,
            impairment,
            counters: LinkCounters::default(),
        }
    }

    /// A packet of `size` bytes enters: when each copy of it arrives at the other end, and with which mark.
    pub fn enter(&mut self, now: Timestamp, size: usize, ecn: Ecn) -> Passage {
        self.counters.packets += 1;
        let size = size as u64;
        while self.held.front().is_some_and(|(starts, _)| *starts <= now) {
            self.waiting_size -= self.held.pop_front().map_or(0, |(_, size)| size);
        }
        self.counters.capable += u64::from(ecn != Ecn::NotEct);
        let ecn = match self.spec.marks {
            Marks::Kept => ecn,
            Marks::Bleached => Ecn::NotEct,
            Marks::Refused if ecn == Ecn::NotEct => ecn,
            Marks::Refused => {
                self.counters.dropped += 1;
                return Passage::default();
            }
        };
        let busy = self.free_at > now;
        let full =
            self.held.len() >= self.spec.queue_packets || self.waiting_size + size > self.spec.queue_size;
        if busy && full {
            self.counters.dropped += 1;
            return Passage::default();
        }
        let over = self.spec.mark_from.is_some_and(|from| self.waiting_size >= from);
        let marks = busy && over && matches!(ecn, Ecn::Ect0 | Ecn::Ect1);
        self.counters.marked += u64::from(marks);
        let starts = self.free_at.max(now);
        if busy {
            self.held.push_back((starts, size));
            self.waiting_size += size;
            self.counters.queue_size_max = self.counters.queue_size_max.max(self.waiting_size);
        }
        self.counters.waited += u128::from(starts.since_ns(now)) * u128::from(size);
        self.counters.bytes_sent += size;
        self.free_at = starts.after_ns(send_ns(size, self.spec.rate_bit_s));
        if self.spec.lose_every.is_some_and(|every| self.counters.packets.is_multiple_of(every)) {
            self.counters.picked += 1;
            return Passage::default();
        }
        let fate = self.impairment.decide(self.free_at, size as usize);
        let delay_ns = self.spec.delay_ns;
        let mut arrivals = fate.into_iter().map(|delivery| delivery.due.after_ns(delay_ns));
        Passage { arrivals: [arrivals.next(), arrivals.next()], ecn: if marks { Ecn::Ce } else { ecn } }
    }

    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &LinkSpec {
        &self.spec
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        LinkCounters { impaired: self.impairment.counters(), ..self.counters }
    }
}

/// How a packet passed a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// When each copy arrives: none, one or two.
    pub arrivals: [Option<Timestamp>; 2],
    /// The ECN bits it arrives with.
    pub ecn: Ecn,
}

/// How long `size` bytes take at `rate_bit_s`, in nanoseconds.
#[must_use]
pub fn send_ns(size: u64, rate_bit_s: u64) -> u64 {
    (u128::from(size) * 8_000_000_000 / u128::from(rate_bit_s.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 8 Mbit/s: one byte a microsecond.
    fn link() -> LinkSpec {
        LinkSpec::new(8_000_000, 1_000, 10_000)
    }

    fn arrival(link: &mut Link, at_us: u64, size: usize) -> Option<u64> {
        link.enter(Timestamp(at_us * 1_000), size, Ecn::Ect0).arrivals[0].map(|at| at.0 / 1_000)
    }

    #[test]
    fn packets_leave_at_the_rate_and_arrive_a_delay_later() {
        let mut link = Link::new(link());
        assert_eq!(arrival(&mut link, 0, 100), Some(101));
        assert_eq!(arrival(&mut link, 0, 100), Some(201));
        assert_eq!(arrival(&mut link, 500, 100), Some(601));
        // One waited 100 µs with 100 bytes.
        assert_eq!(link.counters().waited, 100_000 * 100);
    }

    #[test]
    fn a_queue_of_two_packets_holds_two_beside_the_one_that_leaves() {
        let mut link = Link::new(link().with_queue_packets(2));
        let arrived: Vec<_> = (0..4).map(|_| arrival(&mut link, 0, 100)).collect();
        assert_eq!(arrived, [Some(101), Some(201), Some(301), None]);
        assert_eq!((link.counters().dropped, link.counters().queue_size_max), (1, 200));
        assert_eq!(arrival(&mut link, 100, 100), Some(401), "one began to leave");
    }

    #[test]
    fn a_queue_beyond_its_threshold_marks_what_is_capable_of_it() {
        let mut link = Link::new(link().with_marks_from(150));
        let marks: Vec<_> = (0..4).map(|_| link.enter(Timestamp(0), 100, Ecn::Ect0).ecn).collect();
        assert_eq!(marks, [Ecn::Ect0, Ecn::Ect0, Ecn::Ect0, Ecn::Ce]);
        assert_eq!(link.enter(Timestamp(0), 100, Ecn::NotEct).ecn, Ecn::NotEct);
        assert_eq!(link.counters().marked, 1);
    }
}
