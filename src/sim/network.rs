//! The virtual network: packets in flight, ordered by the virtual time at which they arrive.
//!
//! ```text
//! Hub::send -> NAT -> link's Impairment -> in flight (by due time) -> deliver_due -> inbox -> Hub::receive
//!                |       | lost                                         | inbox full
//!                v       v                                              v
//!           to nobody   counted                                        counted
//! ```
//!
//! Every packet that enters is folded into the trace: two runs of one seed leave the same trace.

use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use crate::io::Ecn;
use crate::io::memory::Hub;
use crate::sim::hazards::Hazards;
use crate::sim::topology::Topology;
use crate::sim::trace::Trace;
use crate::time::{Clock, Timestamp, VirtualClock};
use crate::worker::impair::{Direction, ImpairCounters, ImpairSpec, Impairment};

/// A network of endpoints, each pair joined by two one-way links.
#[derive(Debug)]
pub struct Network {
    clock: VirtualClock,
    links: FxHashMap<(SocketAddr, SocketAddr), Impairment>,
    /// What a link does that nobody described.
    link_default: ImpairSpec,
    hazards: Hazards,
    /// Queues that several senders share, before the link between two ends.
    topology: Option<Topology>,
    in_flight: BinaryHeap<InFlight>,
    inboxes: FxHashMap<SocketAddr, Inbox>,
    /// Packets in all of them: mostly none, and nobody has to look.
    waiting: usize,
    spare: Vec<Vec<u8>>,
    order: u64,
    trace: Trace,
    inbox_size_max: u64,
    packet_size_max: usize,
    /// Larger packets vanish on the way, and nobody is told.
    carried_size_max: usize,
    /// What endpoints behind a NAT are seen as, by their own address and the other way round: `None` is
    /// nobody any more.
    seen_as: FxHashMap<SocketAddr, SocketAddr>,
    behind: FxHashMap<SocketAddr, Option<SocketAddr>>,
    vanished: u64,
    strayed: u64,
}

impl Network {
    /// A network whose links all do what `link_default` says, each with chances of its own.
    #[must_use]
    pub fn new(clock: VirtualClock, link_default: ImpairSpec) -> Self {
        Self {
            clock,
            links: FxHashMap::default(),
            link_default,
            hazards: Hazards::default(),
            topology: None,
            in_flight: BinaryHeap::new(),
            inboxes: FxHashMap::default(),
            waiting: 0,
            spare: Vec::new(),
            order: 0,
            trace: Trace::default(),
            inbox_size_max: INBOX_SIZE_DEFAULT,
            packet_size_max: crate::bounds::TRAIN_SIZE_MAX,
            carried_size_max: crate::bounds::TRAIN_SIZE_MAX,
            seen_as: FxHashMap::default(),
            behind: FxHashMap::default(),
            vanished: 0,
            strayed: 0,
        }
    }

    /// How many bytes of true size an endpoint's receive buffer holds.
    pub fn set_inbox_size(&mut self, size_max: u64) {
        self.inbox_size_max = size_max;
    }

    /// The largest packet that the links take, in bytes of UDP payload.
    pub fn set_packet_size(&mut self, size_max: usize) {
        self.packet_size_max = size_max;
    }

    /// Packets larger than `size_max` bytes of UDP payload vanish from here on, without a word to anybody:
    /// a black hole (RFC 2923 §2.1).
    pub fn set_carried_size(&mut self, size_max: usize) {
        self.carried_size_max = size_max;
    }

    /// The NAT that `at` is behind forgets: from here on its packets come from `alias`, and what is sent to
    /// where it was before reaches nobody.
    pub fn rebind(&mut self, at: SocketAddr, alias: SocketAddr) {
        if let Some(before) = self.seen_as.insert(at, alias) {
            self.behind.insert(before, None);
        }
        self.behind.insert(alias, Some(at));
    }

    /// Packets that were too large for the path.
    #[must_use]
    pub fn vanished(&self) -> u64 {
        self.vanished
    }

    /// Packets for an address that nobody has any more.
    #[must_use]
    pub fn strayed(&self) -> u64 {
        self.strayed
    }

    /// Whose the address is now; `None`: nobody's.
    fn owner(&self, to: SocketAddr) -> Option<SocketAddr> {
        match self.behind.get(&to) {
            Some(owner) => *owner,
            // Behind a NAT it cannot be reached by its own address.
            None => (!self.seen_as.contains_key(&to)).then_some(to),
        }
    }

    /// From here on the link from `from` to `to` does what `spec` says. Packets in flight go on.
    pub fn set_link(&mut self, from: SocketAddr, to: SocketAddr, spec: ImpairSpec) {
        match self.links.get_mut(&(from, to)) {
            Some(link) => link.set_spec(spec),
            None => drop(self.links.insert((from, to), Impairment::new(spec, Direction::Outbound))),
        }
    }

    /// What may befall packets beside their links' impairments.
    #[must_use]
    pub fn hazards(&self) -> &Hazards {
        &self.hazards
    }

    /// The hazards, to change.
    pub fn hazards_mut(&mut self) -> &mut Hazards {
        &mut self.hazards
    }

    /// From here on packets pass the queues of `topology`, and behind them the links between pairs.
    pub fn set_topology(&mut self, topology: Topology) {
        self.topology = Some(topology);
    }

    /// The queues packets pass, if they do.
    #[must_use]
    pub fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    /// Passes `packet` into its next queue; behind the last, into the weather between its ends. Gives it back
    /// once it has passed both.
    fn pass(&mut self, mut packet: InFlight) -> Option<InFlight> {
        if packet.hop == PASSED {
            return Some(packet);
        }
        let topology = self.topology.as_mut().expect("a packet has a hop to pass in a topology only");
        let ends = (packet.from, packet.to);
        let passage = topology.enter(self.clock.now(), packet.hop, ends, packet.bytes.len(), packet.ecn);
        let Some(passage) = passage else {
            packet.hop = PASSED;
            self.weather(packet);
            return None;
        };
        packet.hop += 1;
        packet.ecn = passage.ecn;
        self.fly(packet, passage.arrivals);
        None
    }

    /// What the link between its ends does to a packet.
    fn weather(&mut self, packet: InFlight) {
        let (from, to) = (packet.from, packet.to);
        let seen = self.seen_as.get(&from).copied().unwrap_or(from);
        let link_default = &self.link_default;
        let link = self.links.entry((from, to)).or_insert_with(|| {
            let seed = link_default.seed ^ (u64::from(from.port()) << 32 | u64::from(to.port()));
            Impairment::new(ImpairSpec { seed, ..link_default.clone() }, Direction::Outbound)
        });
        let now = self.clock.now();
        for delivery in link.decide(now, packet.bytes.len()) {
            let (number, held_ns) = self.hazards.hold(now, from, to);
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(&packet.bytes);
            if let Some(corruption) = delivery.corruption {
                corruption.apply(&mut bytes);
            }
            self.order += 1;
            let due = delivery.due.after_ns(held_ns);
            self.in_flight.push(InFlight { due, order: self.order, number, from: seen, bytes, ..packet });
        }
        self.spare.push(packet.bytes);
    }

    /// `packet` is under way until each of `arrivals`.
    fn fly(&mut self, packet: InFlight, arrivals: [Option<Timestamp>; 2]) {
        let [first, second] = arrivals;
        if let Some(due) = second {
            self.order += 1;
            self.in_flight.push(InFlight { due, order: self.order, bytes: packet.bytes.clone(), ..packet });
        }
        self.order += 1;
        match first {
            Some(due) => self.in_flight.push(InFlight { due, order: self.order, ..packet }),
            None => self.spare.push(packet.bytes),
        }
    }

    /// Forgets what waits at `at`: its process died, and its socket's buffer with it.
    pub fn clear_inbox(&mut self, at: SocketAddr) {
        if let Some(inbox) = self.inboxes.get_mut(&at) {
            self.waiting -= inbox.packets.len();
            inbox.packets.clear();
            inbox.size = 0;
        }
    }

    /// When the next packet in flight arrives.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.in_flight.peek().map(|packet| packet.due)
    }

    /// Moves packets that are due into their inboxes, calling `arrived` with each inbox's address.
    pub fn deliver_due(&mut self, mut arrived: impl FnMut(SocketAddr)) {
        let now = self.clock.now();
        while self.in_flight.peek().is_some_and(|packet| packet.due <= now) {
            let packet = self.in_flight.pop().expect("it was looked at above");
            let Some(packet) = self.pass(packet) else { continue };
            arrived(packet.to);
            self.hazards.arrive(packet.from, packet.to, packet.number);
            let inbox = self.inboxes.entry(packet.to).or_default();
            let size = true_size(packet.bytes.len());
            if inbox.size + size > self.inbox_size_max {
                inbox.dropped += 1;
                self.spare.push(packet.bytes);
                continue;
            }
            inbox.size += size;
            inbox.packets.push_back(packet);
            self.waiting += 1;
        }
    }

    /// True when packets wait at `at`.
    #[must_use]
    pub fn has_arrived(&self, at: SocketAddr) -> bool {
        self.waiting > 0 && self.inboxes.get(&at).is_some_and(|inbox| !inbox.packets.is_empty())
    }

    /// What all links together did.
    #[must_use]
    pub fn counters(&self) -> ImpairCounters {
        let mut sum = ImpairCounters::default();
        self.links.values().for_each(|link| sum += link.counters());
        sum
    }

    /// What one link did.
    #[must_use]
    pub fn link_counters(&self, from: SocketAddr, to: SocketAddr) -> ImpairCounters {
        self.links.get(&(from, to)).map_or_else(ImpairCounters::default, Impairment::counters)
    }

    /// Packets that found an inbox full.
    #[must_use]
    pub fn inbox_drops(&self) -> u64 {
        self.inboxes.values().map(|inbox| inbox.dropped).sum()
    }

    /// A hash over every packet that entered so far: its time, its ends, its bytes.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.hash()
    }
}

impl Hub for Network {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], ecn: Ecn) {
        let seen = self.seen_as.get(&from).copied().unwrap_or(from);
        self.trace.packet(self.clock.now(), seen, to, packet);
        let Some(to) = self.owner(to) else {
            self.strayed += 1;
            return;
        };
        if !self.hazards.lets_in(from, to) {
            return;
        }
        if packet.len() > self.carried_size_max {
            self.vanished += 1;
            return;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(packet);
        let hop = if self.topology.is_some() { 0 } else { PASSED };
        let due = self.clock.now();
        let packet = InFlight { due, order: 0, number: 0, hop, from, to, ecn, bytes };
        if let Some(packet) = self.pass(packet) {
            self.weather(packet);
        }
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        if self.waiting == 0 {
            return None;
        }
        let inbox = self.inboxes.get_mut(&at)?;
        let mut packet = inbox.packets.pop_front()?;
        self.waiting -= 1;
        inbox.size -= true_size(packet.bytes.len());
        std::mem::swap(into, &mut packet.bytes);
        self.spare.push(packet.bytes);
        Some((packet.from, packet.ecn))
    }

    fn packet_size_max(&self, _from: SocketAddr, _to: SocketAddr) -> usize {
        self.packet_size_max
    }

    fn drops(&self, at: SocketAddr) -> u64 {
        self.inboxes.get(&at).map_or(0, |inbox| inbox.dropped)
    }

    fn receive_buffer_size(&self, _at: SocketAddr) -> u64 {
        self.inbox_size_max
    }
}

/// What arrived at one address and was not received yet.
#[derive(Debug, Default)]
struct Inbox {
    packets: VecDeque<InFlight>,
    size: u64,
    dropped: u64,
}

/// A packet on its way. The earliest is the greatest: the heap hands out its greatest first.
#[derive(Debug)]
struct InFlight {
    due: Timestamp,
    order: u64,
    /// Its number on its link, where a link holds packets back; else 0.
    number: u64,
    /// Links of its route that it has passed.
    hop: usize,
    from: SocketAddr,
    to: SocketAddr,
    ecn: Ecn,
    bytes: Vec<u8>,
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for InFlight {}

/// A packet's hop behind the last queue.
const PASSED: usize = usize::MAX;

/// What the kernel charges a packet of `size` bytes: the buffer it lies in, and its own record.
fn true_size(size: usize) -> u64 {
    size as u64 + PACKET_OVERHEAD
}

const PACKET_OVERHEAD: u64 = 768;
/// What an unprivileged user gets on Linux.
const INBOX_SIZE_DEFAULT: u64 = 212_992;

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn network(spec: &str) -> (Network, VirtualClock) {
        let clock = VirtualClock::default();
        (Network::new(clock.clone(), spec.parse().expect("a good spec")), clock)
    }

    fn receive(network: &mut Network, at: u16) -> Vec<Vec<u8>> {
        network.deliver_due(|_| {});
        let mut bytes = Vec::new();
        let mut all = Vec::new();
        while network.receive(addr(at), &mut bytes).is_some() {
            all.push(bytes.clone());
        }
        all
    }

    #[test]
    fn a_packet_arrives_when_its_delay_has_passed() {
        let (mut network, clock) = network("delay=1ms");
        network.send(addr(1), addr(2), b"one", Ecn::NotEct);
        assert!(receive(&mut network, 2).is_empty());
        assert_eq!(network.next_due(), Some(Timestamp(1_000_000)));
        clock.advance_to(Timestamp(1_000_000));
        assert!(receive(&mut network, 1).is_empty());
        assert_eq!(receive(&mut network, 2), [b"one"]);
    }

    #[test]
    fn a_full_inbox_drops_and_counts() {
        let (mut network, _clock) = network("loss=0%");
        network.set_inbox_size(3 * (100 + PACKET_OVERHEAD));
        (0..5).for_each(|_| network.send(addr(1), addr(2), &[7; 100], Ecn::NotEct));
        assert_eq!(receive(&mut network, 2).len(), 3);
        assert_eq!((network.inbox_drops(), network.drops(addr(2))), (2, 2));
        network.send(addr(1), addr(2), &[7; 100], Ecn::NotEct);
        assert_eq!(receive(&mut network, 2).len(), 1, "room came back");
    }

    #[test]
    fn one_direction_can_be_cut() {
        let (mut network, _clock) = network("loss=0%");
        network.set_link(addr(1), addr(2), "loss=100%".parse().expect("a good spec"));
        network.send(addr(1), addr(2), b"a", Ecn::NotEct);
        network.send(addr(2), addr(1), b"b", Ecn::NotEct);
        assert!(receive(&mut network, 2).is_empty());
        assert_eq!(receive(&mut network, 1), [b"b"]);
        assert_eq!(network.counters().lost, 1);
    }

    #[test]
    fn a_nat_that_forgets_shows_another_address_and_loses_what_was_sent_to_the_last() {
        let (mut network, _clock) = network("loss=0%");
        let mut bytes = Vec::new();
        network.rebind(addr(1), addr(101));
        network.send(addr(1), addr(2), b"out", Ecn::NotEct);
        network.deliver_due(|_| {});
        assert_eq!(network.receive(addr(2), &mut bytes), Some((addr(101), Ecn::NotEct)));
        network.send(addr(2), addr(101), b"back", Ecn::NotEct);
        assert_eq!(receive(&mut network, 1), [b"back"]);
        network.rebind(addr(1), addr(102));
        network.send(addr(2), addr(101), b"late", Ecn::NotEct);
        network.send(addr(2), addr(1), b"past the NAT", Ecn::NotEct);
        assert!(receive(&mut network, 1).is_empty());
        assert_eq!(network.strayed(), 2);
    }

    #[test]
    fn a_packet_larger_than_the_path_carries_vanishes_and_is_counted() {
        let (mut network, _clock) = network("loss=0%");
        network.set_carried_size(1_400);
        network.send(addr(1), addr(2), &[7; 1_401], Ecn::NotEct);
        network.send(addr(1), addr(2), &[7; 1_400], Ecn::NotEct);
        assert_eq!(receive(&mut network, 2).len(), 1);
        assert_eq!(network.vanished(), 1);
    }

    #[test]
    fn the_trace_tells_runs_apart_by_time_and_bytes() {
        let trace = |at: u64, bytes: &[u8]| {
            let (mut network, clock) = network("loss=0%");
            clock.advance_to(Timestamp(at));
            network.send(addr(1), addr(2), bytes, Ecn::NotEct);
            network.trace()
        };
        assert_eq!(trace(1, b"x"), trace(1, b"x"));
        assert_ne!(trace(1, b"x"), trace(2, b"x"));
        assert_ne!(trace(1, b"x"), trace(1, b"y"));
        assert_ne!(trace(1, b"x"), trace(1, b"x\0"));
    }
}
