//! The impairment model: one seeded machine per direction that decides each packet's fate.

use crate::rng::Rng;
use crate::time::Timestamp;

use super::spec::{ImpairSpec, Probability};

/// Which of the two directions a model stands in: each has chances of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the worker to the network.
    Outbound,
    /// From the network to the worker.
    Inbound,
}

/// One direction of a bad network.
#[derive(Clone, Debug)]
pub struct Impairment {
    spec: ImpairSpec,
    rng: Rng,
    /// When the bottleneck has sent all it holds.
    bottleneck_free_at: Timestamp,
    /// When the last packet that kept its place arrives.
    last_due: Timestamp,
    counters: ImpairCounters,
}

impl Impairment {
    /// The machine that `spec` describes, for one direction of one path.
    #[must_use]
    pub fn new(spec: ImpairSpec, direction: Direction) -> Self {
        let stream = match direction {
            Direction::Outbound => 0,
            Direction::Inbound => 0x9d5c_f0e1_27ab_6b34,
        };
        let rng = Rng::new(spec.seed ^ stream);
        Self {
            spec,
            rng,
            bottleneck_free_at: Timestamp(0),
            last_due: Timestamp(0),
            counters: ImpairCounters::default(),
        }
    }

    /// What becomes of a packet of `size` bytes that enters at `now`.
    pub fn decide(&mut self, now: Timestamp, size: usize) -> Fate {
        self.counters.packets += 1;
        if self.happens(self.spec.loss) {
            self.counters.lost += 1;
            return Fate::default();
        }
        let Some(sent_at) = self.pass_bottleneck(now, size) else {
            self.counters.queue_dropped += 1;
            return Fate::default();
        };
        let first = Some(self.delivery(sent_at));
        let second = self.happens(self.spec.duplicate).then(|| {
            self.counters.duplicated += 1;
            self.delivery(sent_at)
        });
        Fate { first, second }
    }

    /// Takes another spec from here on. Packets already decided keep their fate; the chances go on
    /// from where they are, so that the run stays a function of its seed.
    pub fn set_spec(&mut self, spec: ImpairSpec) {
        self.spec = spec;
        // A link that was slow a moment ago must not hold packets of the new regime in its old queue.
        self.bottleneck_free_at = Timestamp(0);
        self.last_due = Timestamp(0);
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> ImpairCounters {
        self.counters
    }

    fn happens(&mut self, probability: Probability) -> bool {
        // Without a draw for what never happens, one knob's setting does not move another's chances
        // more than it must.
        let ppm = u64::from(probability.ppm());
        ppm != 0 && self.rng.below(1_000_000) < ppm
    }

    /// When the last bit leaves the bottleneck; `None` when its queue is full.
    fn pass_bottleneck(&mut self, now: Timestamp, size: usize) -> Option<Timestamp> {
        let Some(rate) = self.spec.rate_bit_s else { return Some(now) };
        let start = self.bottleneck_free_at.max(now);
        let waiting = u128::from(start.since_ns(now)) * u128::from(rate) / NS_BITS;
        let queue_size = self.spec.queue_size.unwrap_or(QUEUE_SIZE_DEFAULT);
        // The packet being sent needs no place in the queue: an idle link takes any packet.
        if waiting > 0 && waiting + size as u128 > u128::from(queue_size) {
            return None;
        }
        let send_ns = (size as u128 * NS_BITS / u128::from(rate)).min(u128::from(u64::MAX)) as u64;
        self.bottleneck_free_at = start.after_ns(send_ns);
        Some(self.bottleneck_free_at)
    }

    fn delivery(&mut self, sent_at: Timestamp) -> Delivery {
        let jitter_ns = self.rng.below(self.spec.jitter_ns.saturating_add(1));
        let travelled = sent_at.after_ns(self.spec.delay_ns).after_ns(jitter_ns);
        let due = if self.happens(self.spec.reorder) {
            self.counters.reordered += 1;
            // Held back alone: it does not push the packets behind it.
            let held_ns_max = self.spec.delay_ns.max(self.spec.jitter_ns).max(HELD_NS_MIN);
            travelled.max(self.last_due).after_ns(1 + self.rng.below(held_ns_max))
        } else {
            self.last_due = travelled.max(self.last_due);
            self.last_due
        };
        let corruption = self.happens(self.spec.corrupt).then(|| {
            self.counters.corrupted += 1;
            Corruption { seed: self.rng.u64() }
        });
        Delivery { due, corruption }
    }
}

/// What becomes of one packet: it arrives never, once or twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    first: Option<Delivery>,
    second: Option<Delivery>,
}

impl IntoIterator for Fate {
    type Item = Delivery;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Delivery>, 2>>;

    fn into_iter(self) -> Self::IntoIter {
        [self.first, self.second].into_iter().flatten()
    }
}

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it arrives.
    pub due: Timestamp,
    /// How its bytes were changed on the way, if they were.
    pub corruption: Option<Corruption>,
}

/// A change of a packet's bytes, drawn but not yet applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    seed: u64,
}

impl Corruption {
    /// Changes `packet`: one bit, a burst of up to 32 bits, two words swapped, or a cut at the end.
    /// An empty packet has nothing to change.
    pub fn apply(self, packet: &mut Vec<u8>) {
        if packet.is_empty() {
            return;
        }
        let mut rng = Rng::new(self.seed);
        match rng.below(4) {
            0 => flip_burst(packet, &mut rng),
            1 if swap_words(packet, &mut rng) => {}
            2 => packet.truncate(rng.below(packet.len() as u64) as usize),
            _ => flip_bit(packet, &mut rng),
        }
    }
}

fn flip_bit(packet: &mut [u8], rng: &mut Rng) {
    let bit = rng.below(packet.len() as u64 * 8);
    packet[(bit / 8) as usize] ^= 1 << (bit % 8);
}

fn flip_burst(packet: &mut [u8], rng: &mut Rng) {
    let at = rng.below(packet.len() as u64) as usize;
    // The first byte's mask is odd, hence never zero: a burst always changes something.
    let mask = (rng.u64() as u32 | 1).to_le_bytes();
    packet[at..].iter_mut().zip(mask).for_each(|(byte, flip)| *byte ^= flip);
}

/// False when the two words it chose are alike and nothing changed.
fn swap_words(packet: &mut [u8], rng: &mut Rng) -> bool {
    let words = packet.len() as u64 / 4;
    let (a, b) = (rng.below(words) as usize * 4, rng.below(words) as usize * 4);
    if words == 0 || packet[a..a + 4] == packet[b..b + 4] {
        return false;
    }
    (0..4).for_each(|i| packet.swap(a + i, b + i));
    true
}

/// What one direction did to its packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImpairCounters {
    /// Packets that came.
    pub packets: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped because the bottleneck's queue was full.
    pub queue_dropped: u64,
    /// Sent on twice.
    pub duplicated: u64,
    /// Held back.
    pub reordered: u64,
    /// Changed on the way.
    pub corrupted: u64,
}

impl std::ops::AddAssign for ImpairCounters {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.lost += other.lost;
        self.queue_dropped += other.queue_dropped;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
    }
}

/// Nanoseconds in a second over bits in a byte.
const NS_BITS: u128 = 8_000_000_000;
/// What a bottleneck holds unless told: about 170 full-sized Ethernet frames.
const QUEUE_SIZE_DEFAULT: u64 = 256 * 1024;
/// A packet held back on a path without delay waits up to this long, or nothing would overtake it.
const HELD_NS_MIN: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Impairment {
        Impairment::new(text.parse().expect("a good spec"), Direction::Outbound)
    }

    fn dues(model: &mut Impairment, now: u64, size: usize) -> Vec<u64> {
        model.decide(Timestamp(now), size).into_iter().map(|delivery| delivery.due.0).collect()
    }

    #[test]
    fn no_loss_delivers_each_packet_once_and_at_once() {
        let mut model = model("loss=0%");
        (0..1_000).for_each(|now| assert_eq!(dues(&mut model, now, 100), [now]));
        assert_eq!(model.counters(), ImpairCounters { packets: 1_000, ..ImpairCounters::default() });
    }

    #[test]
    fn shares_come_out_as_asked() {
        let mut model = model("loss=10%,dup=20%,reorder=5%,corrupt=1%,seed=3");
        (0..100_000).for_each(|now| drop(dues(&mut model, now, 100)));
        let seen = model.counters();
        let near = |count: u64, expected: u64| count.abs_diff(expected) * 10 < expected;
        assert!(near(seen.lost, 10_000), "{seen:?}");
        assert!(near(seen.duplicated, 18_000), "{seen:?}");
        assert!(near(seen.reordered, 5_400), "{seen:?}");
        assert!(near(seen.corrupted, 1_080), "{seen:?}");
    }

    #[test]
    fn jitter_alone_keeps_the_order_and_reorder_breaks_it() {
        let ordered = |text: &str| {
            let mut model = model(text);
            let all: Vec<u64> = (0..1_000).flat_map(|i| dues(&mut model, i * 1_000, 100)).collect();
            all.is_sorted()
        };
        assert!(ordered("delay=1ms,jitter=500us,seed=5"));
        assert!(!ordered("delay=1ms,reorder=10%,seed=5"));
        assert!(!ordered("reorder=10%,seed=5"));
    }

    #[test]
    fn a_bottleneck_sends_at_its_rate_and_drops_what_does_not_fit() {
        // 8 Mbit/s is one byte a microsecond.
        let mut model = model("rate=8Mbit,queue=250B,delay=1us");
        assert_eq!(dues(&mut model, 0, 100), [101_000]);
        assert_eq!(dues(&mut model, 0, 100), [201_000]);
        assert!(dues(&mut model, 0, 100).is_empty(), "200 bytes wait; 300 do not fit in 250");
        assert_eq!(dues(&mut model, 100_000, 100), [301_000]);
        assert_eq!(model.counters().queue_dropped, 1);
    }

    #[test]
    fn a_huge_rate_or_a_tiny_one_overflows_nothing() {
        dues(&mut model("rate=1bit,queue=0"), u64::MAX - 1, 65_507);
        dues(&mut model("rate=18446744073709551615bit,delay=1s"), u64::MAX, 1);
        dues(&mut model("jitter=18446744073709551615ns,reorder=100%"), u64::MAX, 1);
    }

    #[test]
    fn directions_have_chances_of_their_own_and_one_seed_is_one_fate() {
        let spec: ImpairSpec = "loss=50%,seed=11".parse().expect("a good spec");
        let fates = |direction| {
            let mut model = Impairment::new(spec.clone(), direction);
            (0..64).map(|now| model.decide(Timestamp(now), 1)).collect::<Vec<_>>()
        };
        assert_eq!(fates(Direction::Outbound), fates(Direction::Outbound));
        assert_ne!(fates(Direction::Outbound), fates(Direction::Inbound));
    }

    #[test]
    fn corruption_always_changes_the_packet() {
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed);
            let mut packet = vec![0; 1 + rng.below(40) as usize];
            rng.fill(&mut packet);
            let before = packet.clone();
            Corruption { seed }.apply(&mut packet);
            assert_ne!(packet, before, "seed {seed}");
        }
        Corruption { seed: 1 }.apply(&mut Vec::new());
    }
}
