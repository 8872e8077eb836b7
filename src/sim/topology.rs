//! Networks of links: who sends to whom over which queues.
//!
//! ```text
//!  star      host --up--> (switch) --down--> host          every pair
//!  incast    the same, with one host's way down narrow      many senders, one receiver
//!  dumbbell  left --up--> (A) ==bottleneck==> (B) --down--> right
//!  two hops  as the dumbbell, with a second bottleneck behind the first; cross traffic enters between
//! ```
//!
//! Hosts are counted as [`World::add`](super::world::World::add) does. A packet passes the links of its route one
//! after the other; what it finds in a queue is what others put there.

use std::net::SocketAddr;

use super::link::{Link, LinkCounters, LinkSpec, Passage};
use crate::io::Ecn;
use crate::time::Timestamp;

/// A network of links and the routes over them.
#[derive(Debug, Default)]
pub struct Topology {
    links: Vec<Link>,
    /// By sender, then receiver: the links to pass, in order.
    routes: Vec<Vec<Vec<usize>>>,
}

/// A link of a topology, by its index.
pub type LinkIndex = usize;

impl Topology {
    /// `hosts` hosts on one switch. The way up from a host is link 2·host, the way down to it the next.
    #[must_use]
    pub fn star(hosts: usize, edge: &LinkSpec) -> Self {
        let mut topology = Self::default();
        for _ in 0..2 * hosts {
            topology.add(edge.clone());
        }
        topology.route(hosts, |from, to| vec![2 * from, 2 * to + 1]);
        topology
    }

    /// `senders` hosts and, after them, one receiver whose way down is `narrow`. The topology, and that link.
    #[must_use]
    pub fn incast(senders: usize, edge: &LinkSpec, narrow: LinkSpec) -> (Self, LinkIndex) {
        let mut topology = Self::star(senders + 1, edge);
        let down = 2 * senders + 1;
        topology.links[down] = Link::new(narrow);
        (topology, down)
    }

    /// `pairs` hosts on the left, as many on the right; between them `bottleneck`, the same both ways. The
    /// topology, and the bottleneck from left to right.
    #[must_use]
    pub fn dumbbell(pairs: usize, edge: &LinkSpec, bottleneck: &LinkSpec) -> (Self, LinkIndex) {
        let mut topology = Self::star(2 * pairs, edge);
        let there = topology.add(bottleneck.clone());
        let back = topology.add(bottleneck.clone());
        topology.route(2 * pairs, |from, to| match (from < pairs, to < pairs) {
            (true, false) => vec![2 * from, there, 2 * to + 1],
            (false, true) => vec![2 * from, back, 2 * to + 1],
            _ => vec![2 * from, 2 * to + 1],
        });
        (topology, there)
    }

    /// Three hosts left, middle, right in a row, a queue between each two: 0 to 2 passes both, 0 to 1 the
    /// first, 1 to 2 the second. The topology, and the two queues from left to right.
    #[must_use]
    pub fn two_hops(edge: &LinkSpec, first: &LinkSpec, second: &LinkSpec) -> (Self, [LinkIndex; 2]) {
        let mut topology = Self::star(3, edge);
        let there = [topology.add(first.clone()), topology.add(second.clone())];
        let back = [topology.add(first.clone()), topology.add(second.clone())];
        topology.route(3, |from, to| {
            let between: Vec<usize> = match from < to {
                true => (from..to).map(|hop| there[hop]).collect(),
                false => (to..from).rev().map(|hop| back[hop]).collect(),
            };
            [vec![2 * from], between, vec![2 * to + 1]].concat()
        });
        (topology, there)
    }

    /// What `link` did so far.
    #[must_use]
    pub fn counters(&self, link: LinkIndex) -> LinkCounters {
        self.links[link].counters()
    }

    /// What `link` is.
    #[must_use]
    pub fn spec(&self, link: LinkIndex) -> &LinkSpec {
        self.links[link].spec()
    }

    /// What all links lost to full queues, and to chance.
    #[must_use]
    pub fn lost(&self) -> (u64, u64) {
        let counters = || self.links.iter().map(Link::counters);
        (counters().map(|c| c.dropped).sum(), counters().map(|c| c.impaired.lost).sum())
    }

    /// The packet enters its `hop`-th link; `None` once it has passed them all.
    pub(super) fn enter(
        &mut self,
        now: Timestamp,
        hop: usize,
        ends: (SocketAddr, SocketAddr),
        size: usize,
        ecn: Ecn,
    ) -> Option<Passage> {
        let (from, to) = (host_of(ends.0), host_of(ends.1));
        let link = *self.routes[from][to].get(hop)?;
        Some(self.links[link].enter(now, size, ecn))
    }

    fn add(&mut self, spec: LinkSpec) -> LinkIndex {
        // Each link has chances of its own.
        let seed = spec.impair.seed ^ (self.links.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let impair = crate::worker::impair::ImpairSpec { seed, ..spec.impair.clone() };
        self.links.push(Link::new(LinkSpec { impair, ..spec }));
        self.links.len() - 1
    }

    fn route(&mut self, hosts: usize, route: impl Fn(usize, usize) -> Vec<LinkIndex>) {
        self.routes = (0..hosts).map(|from| (0..hosts).map(|to| route(from, to)).collect()).collect();
    }
}

/// Host `n` has the address 10.0.0.(n + 1).
fn host_of(addr: SocketAddr) -> usize {
    match addr {
        SocketAddr::V4(v4) => usize::from(v4.ip().octets()[3]) - 1,
        SocketAddr::V6(_) => unreachable!("the simulator's hosts have IPv4 addresses"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n + 1], 7_000))
    }

    fn edge() -> LinkSpec {
        LinkSpec::new(8_000_000_000, 1_000, 1 << 20)
    }

    fn hops(topology: &mut Topology, from: u8, to: u8) -> usize {
        let ends = (host(from), host(to));
        (0..).take_while(|&hop| topology.enter(Timestamp(0), hop, ends, 100, Ecn::NotEct).is_some()).count()
    }

    #[test]
    fn routes_pass_as_many_queues_as_the_drawings_show() {
        let mut star = Topology::star(3, &edge());
        assert_eq!(hops(&mut star, 0, 2), 2);
        let (mut dumbbell, middle) = Topology::dumbbell(2, &edge(), &edge());
        assert_eq!(
            (hops(&mut dumbbell, 0, 3), hops(&mut dumbbell, 3, 0), hops(&mut dumbbell, 0, 1)),
            (3, 3, 2)
        );
        assert_eq!(dumbbell.counters(middle).packets, 1, "one way only");
        let (mut row, [first, second]) = Topology::two_hops(&edge(), &edge(), &edge());
        assert_eq!((hops(&mut row, 0, 2), hops(&mut row, 0, 1), hops(&mut row, 2, 0)), (4, 3, 4));
        assert_eq!((row.counters(first).packets, row.counters(second).packets), (2, 1));
    }

    #[test]
    fn senders_of_an_incast_meet_in_the_receivers_queue() {
        let narrow = LinkSpec::new(8_000_000, 1_000, 1 << 20).with_queue_packets(2);
        let (mut incast, down) = Topology::incast(4, &edge(), narrow);
        assert!((0..4).all(|sender| hops(&mut incast, sender, 4) >= 1));
        assert_eq!((incast.counters(down).dropped, incast.lost()), (1, (1, 0)));
    }
}
