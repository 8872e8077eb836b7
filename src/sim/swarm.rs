//! Which kinds of fault a seed turns on, and how far each may go.
//!
//! A network that has a little of everything hides what one fault alone would show (swarm testing,
//! Groce et al. 2012): each seed leaves about half of the kinds out and turns the others up.

use std::fmt;

use crate::rng::Rng;
use crate::sim::clock::DRIFT_PPM_MAX;
use crate::sim::crash::CrashPoint;
use crate::worker::impair::Probability;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// Packets vanish.
    Loss,
    /// Packets come twice.
    Duplicate,
    /// Packets are held back for up to about a one-way delay.
    Reorder,
    /// Packets are held back until up to a thousand later ones have passed.
    Overtaking,
    /// Packets' bytes change.
    Corrupt,
    /// All links fail at once for a while, or their directions at random.
    Outage,
    /// Some endpoints cannot reach some others, both ways or one way, until it heals.
    Partition,
    /// An endpoint loses its core for a while.
    Stall,
    /// A process dies at a named point, and another starts in its place.
    Crash,
    /// Clocks run fast or slow, start anywhere, and disagree about the date.
    Drift,
}

impl FaultKind {
    /// Every kind there is.
    pub const ALL: [FaultKind; 10] = [
        FaultKind::Loss,
        FaultKind::Duplicate,
        FaultKind::Reorder,
        FaultKind::Overtaking,
        FaultKind::Corrupt,
        FaultKind::Outage,
        FaultKind::Partition,
        FaultKind::Stall,
        FaultKind::Crash,
        FaultKind::Drift,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Loss => "loss",
            FaultKind::Duplicate => "duplication",
            FaultKind::Reorder => "reordering",
            FaultKind::Overtaking => "overtaking",
            FaultKind::Corrupt => "corruption",
            FaultKind::Outage => "outages",
            FaultKind::Partition => "partitions",
            FaultKind::Stall => "stalls",
            FaultKind::Crash => "crashes",
            FaultKind::Drift => "clock drift",
        }
    }
}

/// A set of fault kinds.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Swarm(u16);

impl Swarm {
    /// Draws one: usually each kind with a chance of a half, now and then one kind alone, all, or none.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let all = FaultKind::ALL;
        match rng.below(16) {
            0 => Self::default(),
            1 => all.into_iter().fold(Self::default(), Self::with),
            2 | 3 => Self::default().with(all[rng.below(all.len() as u64) as usize]),
            _ => all.into_iter().filter(|_| rng.chance(0.5)).fold(Self::default(), Self::with),
        }
    }

    /// This set and `kind`.
    #[must_use]
    pub fn with(self, kind: FaultKind) -> Self {
        Self(self.0 | 1 << kind as u16)
    }

    /// Whether `kind` is on.
    #[must_use]
    pub fn has(self, kind: FaultKind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }
}

impl fmt::Debug for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(FaultKind::ALL.into_iter().filter(|&kind| self.has(kind))).finish()
    }
}

/// How far each fault may go: nothing for a kind that is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Which kinds are on.
    pub on: Swarm,
    /// The most that a link loses, in millionths.
    pub loss: u32,
    /// The most that it doubles, in millionths.
    pub duplicate: u32,
    /// The most that it holds back, in millionths.
    pub reorder: u32,
    /// The most that it changes, in millionths.
    pub corrupt: u32,
    /// Packets that later ones overtake: how many in a million, and by how many at most.
    pub overtaking: Overtaking,
    /// How often the weather changes into an outage instead.
    pub outages: Probability,
    /// Partitions, on average one for so many changes of the weather; 0: none.
    pub partition_every: u64,
    /// How often an endpoint loses its core for a while.
    pub stalls: Probability,
    /// Where processes die, in this order, spread over the run.
    pub crashes: Vec<CrashPoint>,
    /// How much each endpoint's clock gains, in millionths, and what the date is off by, in nanoseconds.
    pub clocks: [HostTime; NODES_MAX],
}

/// Endpoints of one run at most.
pub const NODES_MAX: usize = 3;

/// How a link holds packets back until others have passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overtaking {
    /// Packets held back, in millionths.
    pub share: u32,
    /// How many later packets may pass one.
    pub depth: u64,
}

/// What is wrong with a host's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostTime {
    /// Millionths gained; negative: lost.
    pub drift_ppm: i64,
    /// Nanoseconds by which its first reading differs from the world's time.
    pub first_ns: u64,
    /// Seconds by which its date is off.
    pub date_s: i64,
}

impl Faults {
    /// Faults of the kinds that `on` holds.
    #[must_use]
    pub fn draw(on: Swarm, rng: &mut Rng) -> Self {
        let mut up_to = |kind, choices: &[u32]| {
            let chosen = choices[rng.below(choices.len() as u64) as usize];
            if on.has(kind) { chosen } else { 0 }
        };
        let loss = up_to(FaultKind::Loss, &[5_000, 20_000, 100_000, 300_000, 500_000]);
        let duplicate = up_to(FaultKind::Duplicate, &[10_000, 50_000, 200_000]);
        let reorder = up_to(FaultKind::Reorder, &[10_000, 50_000, 300_000]);
        let corrupt = up_to(FaultKind::Corrupt, &[1_000, 10_000, 50_000]);
        let share = up_to(FaultKind::Overtaking, &[500, 5_000, 50_000]);
        let depth = u64::from(up_to(FaultKind::Overtaking, &[30, 300, 1_000, 1_000]));
        let outages = up_to(FaultKind::Outage, &[50_000, 150_000]);
        let partition_every = u64::from(up_to(FaultKind::Partition, &[3, 10, 30]));
        let stalls = up_to(FaultKind::Stall, &[2_000, 20_000]);
        let crashes = up_to(FaultKind::Crash, &[1, 3, 6]);
        Self {
            on,
            loss,
            duplicate,
            reorder,
            corrupt,
            overtaking: Overtaking { share, depth },
            outages: Probability::from_ppm(outages),
            partition_every,
            stalls: Probability::from_ppm(stalls),
            crashes: (0..crashes).map(|_| CrashPoint::draw(rng)).collect(),
            clocks: std::array::from_fn(|_| HostTime::draw(on, rng)),
        }
    }
}

impl HostTime {
    fn draw(on: Swarm, rng: &mut Rng) -> Self {
        let drift_ppm = match rng.below(3) {
            0 => 0,
            1 => rng.below(201) as i64 - 100,
            _ => rng.below(2 * DRIFT_PPM_MAX as u64 + 1) as i64 - DRIFT_PPM_MAX,
        };
        let first_ns = rng.below(FIRST_NS_MAX);
        // Beyond half a minute a date proves nothing, and cookies must.
        let date_s = [0, 0, 1, -1, 45, -3_600][rng.below(6) as usize];
        if on.has(FaultKind::Drift) { Self { drift_ppm, first_ns, date_s } } else { Self::default() }
    }
}

/// Hosts were started within a day of each other.
const FIRST_NS_MAX: u64 = 86_400_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Faults {
        let mut rng = Rng::new(seed);
        let on = Swarm::draw(&mut rng);
        Faults::draw(on, &mut rng)
    }

    #[test]
    fn a_kind_that_is_off_does_nothing() {
        let none = Faults::draw(Swarm::default(), &mut Rng::new(3));
        assert_eq!((none.loss, none.duplicate, none.reorder, none.corrupt), (0, 0, 0, 0));
        assert_eq!((none.overtaking, none.partition_every), (Overtaking::default(), 0));
        assert!(none.crashes.is_empty());
        assert_eq!(none.clocks, [HostTime::default(); NODES_MAX]);
    }

    #[test]
    fn two_hundred_seeds_turn_every_kind_on_alone_and_all_at_once_and_each_to_its_most() {
        let all: Vec<Faults> = (0..200).map(drawn).collect();
        for kind in FaultKind::ALL {
            let on = all.iter().filter(|faults| faults.on.has(kind)).count();
            assert!((60..160).contains(&on), "{kind:?} in {on} of 200");
        }
        let count = |faults: &&Faults| FaultKind::ALL.into_iter().filter(|&kind| faults.on.has(kind)).count();
        assert!(all.iter().any(|faults| count(&faults) == FaultKind::ALL.len()));
        assert!(all.iter().any(|faults| count(&faults) == 1));
        assert!(all.iter().any(|faults| faults.loss == 500_000));
        assert!(all.iter().any(|faults| faults.overtaking.depth == 1_000));
        assert!(all.iter().any(|faults| (faults.duplicate, faults.corrupt) == (200_000, 50_000)));
        for point in CrashPoint::ALL {
            assert!(all.iter().any(|faults| faults.crashes.contains(&point)), "{point:?}");
        }
    }
}
