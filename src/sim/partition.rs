//! Partitions: some endpoints cannot reach some others, both ways or one way, until it heals.
//!
//! Unlike an outage, the rest of the network goes on: of three endpoints two may each see a third that
//! do not see each other.

use crate::rng::Rng;
use crate::time::Timestamp;

/// One partition: which directed links are cut, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Pairs of endpoints, from and to.
    pub cut: Vec<(usize, usize)>,
    /// When it heals.
    pub heals_at: Timestamp,
}

impl Partition {
    /// Draws one between `nodes` endpoints that begins at `now` and lasts at most `lasts_ns_max`.
    #[must_use]
    pub fn draw(nodes: usize, now: Timestamp, lasts_ns_max: u64, rng: &mut Rng) -> Self {
        let one = rng.below(nodes as u64) as usize;
        let mut cut = Vec::new();
        // One endpoint loses all others, or one pair loses each other.
        let whole = rng.chance(0.5);
        let other = (one + 1 + rng.below(nodes as u64 - 1) as usize) % nodes;
        let shape = rng.below(3);
        for peer in (0..nodes).filter(|&peer| peer != one && (whole || peer == other)) {
            // Both ways, only what it says, only what it hears.
            if shape != 2 {
                cut.push((one, peer));
            }
            if shape != 1 {
                cut.push((peer, one));
            }
        }
        Self { cut, heals_at: now.after_ns(1 + rng.below(lasts_ns_max)) }
    }

    /// True when no direction between two endpoints is cut alone.
    #[must_use]
    pub fn is_both_ways(&self) -> bool {
        self.cut.iter().all(|&(from, to)| self.cut.contains(&(to, from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_partition_is_drawn_and_none_cuts_an_endpoint_from_itself() {
        let mut rng = Rng::new(1);
        let all: Vec<Partition> =
            (0..300).map(|_| Partition::draw(3, Timestamp(5), 1_000, &mut rng)).collect();
        assert!(all.iter().all(|partition| !partition.cut.is_empty()));
        assert!(all.iter().flat_map(|partition| &partition.cut).all(|(from, to)| from != to));
        for links in [1, 2, 4] {
            assert!(all.iter().any(|partition| partition.cut.len() == links), "{links} links cut");
        }
        let both = all.iter().filter(|partition| partition.is_both_ways()).count();
        assert!((60..140).contains(&both), "{both} of 300 both ways");
        assert!(all.iter().all(|partition| partition.heals_at > Timestamp(5)));
    }
}
