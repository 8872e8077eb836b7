//! Which topology a seed's run has: one in eight passes queues that its endpoints share.
//!
//! Drawn from the seed by chances of its own, so that nothing else of a plan depends on it.

use super::link::LinkSpec;
use super::topology::Topology;
use crate::rng::Rng;

/// The topology of `seed`'s run with `hosts` endpoints; `None`: links between pairs alone.
#[must_use]
pub fn shape(seed: u64, hosts: usize) -> Option<Topology> {
    if seed % SHAPED_EVERY != SHAPED_AT {
        return None;
    }
    let mut rng = Rng::new(seed ^ 0x7368_6170_6564_2121);
    let edge = LinkSpec::new(10_000_000_000, 1_000, 4 << 20);
    let narrow = narrow(&mut rng);
    Some(match (rng.below(3), hosts) {
        (0, _) => Topology::incast(hosts - 1, &edge, narrow).0,
        (1, 3) => Topology::two_hops(&edge, &narrow, &edge.clone().with_queue_packets(64)).0,
        _ => Topology::star(hosts, &narrow),
    })
}

/// A queue of a switch: from shallow to deep, some marking.
fn narrow(rng: &mut Rng) -> LinkSpec {
    let rate_bit_s = [1_000_000_000, 2_500_000_000][rng.below(2) as usize];
    let packets = [25, 100, 1_000][rng.below(3) as usize];
    let link = LinkSpec::new(rate_bit_s, 1_000, 4 << 20).with_queue_packets(packets);
    if rng.below(2) == 0 { link.with_marks_from(30_000) } else { link }
}

const SHAPED_EVERY: u64 = 8;
const SHAPED_AT: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_in_eight_has_a_topology_and_always_the_same() {
        let text = |seed, hosts| format!("{:?}", shape(seed, hosts));
        let shaped = (0..800).filter(|&seed| shape(seed, 2).is_some()).count();
        assert_eq!(shaped, 100);
        assert_eq!(text(5, 3), text(5, 3));
        assert!((0..10).any(|n| text(5 + 8 * n, 3) != text(5, 3)));
    }
}
