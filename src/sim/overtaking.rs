//! Deep reordering: a packet is held back on its link until up to a thousand later ones have passed.
//!
//! ```text
//! sent  1 2 3 4 5 6 ...      held: 2, until n later ones have passed
//! seen  1 3 4 5 ... 2
//! ```
//!
//! The hold is a time, n times the link's mean gap between packets, so that a link that falls silent
//! still lets go.

use crate::rng::Rng;
use crate::sim::swarm::Overtaking;
use crate::time::Timestamp;

/// One direction of one link.
#[derive(Debug)]
pub struct Holding {
    spec: Overtaking,
    rng: Rng,
    last: Option<Timestamp>,
    /// The mean gap between packets, in 1/16 ns.
    gap_16: u64,
    sent: u64,
    /// The latest packet that arrived, by its number on this link.
    newest: u64,
    seen: OvertakingCounters,
}

/// How far packets were overtaken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OvertakingCounters {
    /// Packets held back.
    pub held: u64,
    /// Packets that a hundred later ones or more overtook.
    pub by_hundred: u64,
    /// The most later packets that overtook one.
    pub most: u64,
}

impl std::ops::AddAssign for OvertakingCounters {
    fn add_assign(&mut self, other: Self) {
        self.held += other.held;
        self.by_hundred += other.by_hundred;
        self.most = self.most.max(other.most);
    }
}

impl Holding {
    /// A link that holds packets back as `spec` says.
    #[must_use]
    pub fn new(spec: Overtaking, seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self { spec, rng, last: None, gap_16: 0, sent: 0, newest: 0, seen: OvertakingCounters::default() }
    }

    /// From here on as `spec` says.
    pub fn set_spec(&mut self, spec: Overtaking) {
        self.spec = spec;
    }

    /// A packet enters at `now`: its number on this link, and for how long it is held, in nanoseconds.
    pub fn enter(&mut self, now: Timestamp) -> (u64, u64) {
        if let Some(last) = self.last.replace(now) {
            // An exponential mean over about sixteen packets; a pause is no gap between packets.
            let gap = now.since_ns(last).min(GAP_NS_MAX);
            self.gap_16 = self.gap_16 - self.gap_16 / 16 + gap;
        }
        self.sent += 1;
        let held = self.spec.share > 0 && self.rng.below(1_000_000) < u64::from(self.spec.share);
        if !held {
            return (self.sent, 0);
        }
        self.seen.held += 1;
        let passed_by = 1 + self.rng.below(self.spec.depth);
        (self.sent, 1 + (self.gap_16 / 16).saturating_mul(passed_by).min(HELD_NS_MAX))
    }

    /// The packet with this number on the link arrives.
    pub fn arrive(&mut self, number: u64) {
        let overtaken = self.newest.saturating_sub(number);
        self.newest = self.newest.max(number);
        self.seen.most = self.seen.most.max(overtaken);
        self.seen.by_hundred += u64::from(overtaken >= 100);
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> OvertakingCounters {
        self.seen
    }
}

const GAP_NS_MAX: u64 = 5_000_000;
/// Nothing is held for longer than this.
const HELD_NS_MAX: u64 = 500_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_overtaken_by_up_to_a_thousand_later_ones() {
        let mut link = Holding::new(Overtaking { share: 20_000, depth: 1_000 }, 7);
        let mut arrivals: Vec<(u64, u64)> = (0..50_000u64)
            .map(|i| {
                let (number, held) = link.enter(Timestamp(i * 1_000));
                (i * 1_000 + held, number)
            })
            .collect();
        arrivals.sort_unstable();
        arrivals.iter().for_each(|&(_, number)| link.arrive(number));
        let seen = link.counters();
        assert!((800..1_200).contains(&seen.held), "{seen:?}");
        assert!((900..1_100).contains(&seen.most), "{seen:?}");
        assert!(seen.by_hundred * 10 > seen.held * 8, "{seen:?}");
    }

    #[test]
    fn a_link_that_fell_silent_lets_go() {
        let mut link = Holding::new(Overtaking { share: 1_000_000, depth: 1_000 }, 7);
        link.enter(Timestamp(0));
        let (_, held) = link.enter(Timestamp(3_600_000_000_000));
        assert!(held <= HELD_NS_MAX + 1, "{held}");
    }
}
