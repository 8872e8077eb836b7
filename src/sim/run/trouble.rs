//! The faults of a run: weather, outages, partitions, stalls and deaths, as the plan's swarm has them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::rng::Rng;
use crate::sim::app::SimApp;
use crate::sim::crash::{CrashPoint, Crashes};
use crate::sim::partition::Partition;
use crate::sim::plan::Plan;
use crate::sim::run::{Run, life};
use crate::sim::swarm::Overtaking;
use crate::time::{Timestamp, saturating_ns};
use crate::worker::impair::{ImpairSpec, Probability};

/// What is wrong now, and what comes next.
pub(super) struct Trouble {
    rng: Rng,
    weather_at: Timestamp,
    partition: Option<Partition>,
    /// The network is whole until then.
    part_after: Timestamp,
    stall_after: Timestamp,
    /// Deaths still to come.
    crashes_left: VecDeque<CrashPoint>,
    /// Who is to die at its point, and by when at the latest.
    doomed: Option<(usize, Timestamp)>,
    /// Dead endpoints and when they start again.
    reviving: Vec<(usize, Timestamp)>,
    crashes: Crashes,
    partitions: Partitions,
}

/// How many partitions there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Of every direction between those they part.
    pub both_ways: u64,
    /// Of one direction.
    pub one_way: u64,
    /// Of these, those that lasted longer than a session lives on silence.
    pub severing: u64,
}

impl Partitions {
    fn any(&self) -> bool {
        self.both_ways + self.one_way > 0
    }
}

impl std::ops::AddAssign for Partitions {
    fn add_assign(&mut self, other: Self) {
        self.both_ways += other.both_ways;
        self.one_way += other.one_way;
        self.severing += other.severing;
    }
}

impl Trouble {
    pub(super) fn new(plan: &Plan, rng: Rng, now: Timestamp) -> Self {
        Self {
            rng,
            weather_at: now,
            partition: None,
            part_after: now,
            stall_after: now,
            crashes_left: plan.faults.crashes.iter().copied().collect(),
            doomed: None,
            reviving: Vec::new(),
            crashes: Crashes::default(),
            partitions: Partitions::default(),
        }
    }

    pub(super) fn crashes(&self) -> Crashes {
        self.crashes
    }

    pub(super) fn partitions(&self) -> Partitions {
        self.partitions
    }

    pub(super) fn is_anyone_dead(&self) -> bool {
        !self.reviving.is_empty()
    }

    pub(super) fn next_revival(&self) -> Timestamp {
        self.reviving.iter().map(|&(_, at)| at).min().unwrap_or(Timestamp::NEVER)
    }

    pub(super) fn next_at(&self) -> Timestamp {
        let heals_at = self.partition.as_ref().map_or(Timestamp::NEVER, |partition| partition.heals_at);
        let dies_by = self.doomed.map_or(Timestamp::NEVER, |(_, by)| by);
        self.weather_at.min(heals_at).min(dies_by).min(self.next_revival())
    }
}

impl Run {
    /// Whatever is due by now, `packets` having been sent so far.
    pub(super) fn make_trouble(&mut self, now: Timestamp, packets: u64) {
        if now >= self.trouble.weather_at {
            self.change_weather(now);
            self.part(now);
        }
        self.heal(now);
        self.revive(now);
        self.doom(now, packets);
    }

    /// Clean links, no partition, nobody doomed.
    pub(super) fn end_trouble(&mut self) {
        self.set_links(Overtaking::default(), |plan, rng| plan.weather(rng, true));
        self.trouble.partition = None;
        self.trouble.doomed = None;
        let mut network = self.world.network().borrow_mut();
        network.hazards_mut().set_cut([]);
        network.hazards().fuse().disarm();
    }

    fn change_weather(&mut self, now: Timestamp) {
        let faults = &self.plan.faults;
        let overtaking = if self.trouble.rng.chance(0.5) { faults.overtaking } else { Overtaking::default() };
        let outage = self.trouble.rng.below(1_000_000) < u64::from(faults.outages.ppm());
        if outage {
            let both = self.trouble.rng.chance(0.5);
            self.set_links(overtaking, |plan, rng| {
                let weather = plan.weather(rng, false);
                // An outage of one direction is the nastier kind: acks vanish and data arrives.
                let cut = both || rng.chance(0.5);
                if cut { ImpairSpec { loss: Probability::ALWAYS, ..weather } } else { weather }
            });
        } else {
            self.set_links(overtaking, |plan, rng| plan.weather(rng, false));
        }
        let lasts = 1 + self.trouble.rng.below(2 * self.plan.weather_every_ns);
        self.trouble.weather_at = now.after_ns(if outage { lasts.min(OUTAGE_NS_MAX) } else { lasts });
        if let Some(worker) = self.world.peek(0) {
            worker.engine().check();
        }
    }

    fn set_links(&mut self, overtaking: Overtaking, weather: impl Fn(&Plan, &mut Rng) -> ImpairSpec) {
        for from in 0..self.world.len() {
            for to in (0..self.world.len()).filter(|&to| to != from) {
                let spec = weather(&self.plan, &mut self.trouble.rng);
                let seed = spec.seed ^ OVERTAKING_STREAM;
                let (from, to) = (self.world.addr(from), self.world.addr(to));
                let mut network = self.world.network().borrow_mut();
                network.set_link(from, to, spec);
                network.hazards_mut().set_overtaking(from, to, overtaking, seed);
            }
        }
    }

    /// Parts the network, once for so many changes of the weather.
    fn part(&mut self, now: Timestamp) {
        let every = self.plan.faults.partition_every;
        if every == 0
            || self.trouble.partition.is_some()
            || now < self.trouble.part_after
            || self.trouble.rng.below(every) > 0
        {
            return;
        }
        // In a rack the work of seconds is more than a run is for: it parts for so many strokes.
        let strokes_ns = self.plan.work_every_ns * PARTITION_STROKES_MAX;
        let mut partition =
            Partition::draw(self.world.len(), now, strokes_ns.min(PARTITION_NS_MAX), &mut self.trouble.rng);
        let idle_ns = saturating_ns(self.plan.idle_timeout());
        if strokes_ns > 2 * idle_ns && self.trouble.rng.chance(0.2) {
            partition.heals_at = now.after_ns(idle_ns + idle_ns / 4);
            self.trouble.partitions.severing += 1;
        }
        let again = now.since_ns(self.trouble.part_after) < idle_ns && self.trouble.partitions.any();
        if again || partition.heals_at.since_ns(now) > idle_ns / 2 {
            // Long enough for a session to die of it, with what was cut or lossy shortly before and after.
            let mut shared = self.shared.borrow_mut();
            shared.severed.extend(partition.cut.iter().map(|&(from, to)| (from as u32, to as u32)));
        }
        let both_ways = partition.is_both_ways();
        self.trouble.partitions.both_ways += u64::from(both_ways);
        self.trouble.partitions.one_way += u64::from(!both_ways);
        let cut: Vec<(SocketAddr, SocketAddr)> =
            partition.cut.iter().map(|&(from, to)| (self.world.addr(from), self.world.addr(to))).collect();
        self.world.network().borrow_mut().hazards_mut().set_cut(cut);
        self.trouble.partition = Some(partition);
    }

    fn heal(&mut self, now: Timestamp) {
        if self.trouble.partition.as_ref().is_some_and(|partition| partition.heals_at <= now) {
            self.trouble.partition = None;
            let strokes_ns = self.plan.work_every_ns * PARTITION_STROKES_MAX;
            self.trouble.part_after = now.after_ns((strokes_ns / 8).min(WHOLE_NS));
            self.world.network().borrow_mut().hazards_mut().set_cut([]);
        }
    }

    /// Takes an endpoint's core away for a while, and no core for more than a small share of the time.
    pub(super) fn stall(&mut self, now: Timestamp) {
        let ppm = u64::from(self.plan.faults.stalls.ppm());
        if now < self.trouble.stall_after || self.trouble.rng.below(1_000_000) >= ppm {
            return;
        }
        let node = self.trouble.rng.below(self.world.len() as u64) as usize;
        let lasts_ns = 1 + self.trouble.rng.below(STALL_NS_MAX);
        self.world.stall(node, lasts_ns);
        self.trouble.stall_after = now.after_ns(STALL_SHARE * lasts_ns);
    }

    /// Deaths are spread over the run, one for each equal share of its packets: an endpoint is doomed to
    /// die at the next point, and dies between two turns if it does not reach it.
    fn doom(&mut self, now: Timestamp, packets: u64) {
        if let Some((node, by)) = self.trouble.doomed {
            if by <= now {
                self.trouble.doomed = None;
                self.world.network().borrow().hazards().fuse().disarm();
                self.die(node, CrashPoint::BetweenTurns);
            }
            return;
        }
        let total = self.plan.faults.crashes.len() as u64;
        let left = self.trouble.crashes_left.len() as u64;
        let due = packets * (total + 1) / self.plan.packets;
        if left == 0 || due <= total - left {
            return;
        }
        let Some(point) = self.trouble.crashes_left.pop_front() else { return };
        if point == CrashPoint::BetweenTurns {
            let node = self.trouble.rng.below(self.world.len() as u64) as usize;
            return self.die(node, point);
        }
        let (node, nth) = match point {
            // Whoever asks for a session has the higher index.
            CrashPoint::Opened => (1 + self.trouble.rng.below(self.world.len() as u64 - 1) as usize, 1),
            CrashPoint::Accepted => (self.trouble.rng.below(self.world.len() as u64 - 1) as usize, 1),
            CrashPoint::Closed => (self.trouble.rng.below(self.world.len() as u64) as usize, 1),
            _ => {
                let nth = 1 + self.trouble.rng.below(if point == CrashPoint::MidTrain { 64 } else { 3 });
                (self.trouble.rng.below(self.world.len() as u64) as usize, nth)
            }
        };
        if nth == 1 && matches!(point, CrashPoint::Opened | CrashPoint::Accepted | CrashPoint::Closed) {
            self.workload.close_all_of(&mut self.world, node);
        }
        self.world.network().borrow().hazards().fuse().arm(self.world.addr(node), point, nth);
        let within_ns = DOOM_NS_MAX + DOOM_DELAYS * self.plan.delay_ns;
        self.trouble.doomed = Some((node, now.after_ns(within_ns)));
    }

    /// After a step: a process that died within it is gone.
    pub(super) fn bury_the_fallen(&mut self) {
        let fuse = self.world.network().borrow().hazards().fuse();
        let Some((addr, point)) = fuse.blown() else { return };
        let node = self.world.index_at(addr).expect("only endpoints are doomed");
        // It is silent until it is gone, then its address is the next incarnation's.
        self.die(node, point);
        fuse.disarm();
        self.trouble.doomed = None;
    }

    fn die(&mut self, node: usize, point: CrashPoint) {
        let Some(worker) = self.world.kill(node) else { return };
        self.trouble.crashes.count(point);
        worker.engine().check();
        self.dead = self.dead.plus(&worker.counters());
        let mut shared = self.shared.borrow_mut();
        shared.alive[node] = None;
        shared.checker.died(worker.app().life());
        drop(shared);
        let rng = &mut self.trouble.rng;
        let dead_ns = if rng.chance(0.5) { 1 } else { 1 + rng.below(DEAD_NS_MAX) };
        self.trouble.reviving.push((node, self.world.now().after_ns(dead_ns)));
    }

    /// Starts new incarnations that are due.
    pub(super) fn revive(&mut self, now: Timestamp) {
        let reviving = &mut self.trouble.reviving;
        let due: Vec<usize> = reviving.iter().filter(|&&(_, at)| at <= now).map(|&(node, _)| node).collect();
        reviving.retain(|&(_, at)| at > now);
        for node in due {
            self.restarts += 1;
            self.incarnations[node] += 1;
            let life = life(node, self.incarnations[node]);
            self.shared.borrow_mut().alive[node] = Some(life);
            let clock = self.world.host_clock(node).clone();
            let config = self.plan.worker(node, life.incarnation, now, &clock);
            let app = SimApp::new(life, Rc::clone(&self.shared), clock);
            self.world.start(node, config, app);
        }
    }
}

const OUTAGE_NS_MAX: u64 = 1_000_000_000;
const PARTITION_NS_MAX: u64 = 3_000_000_000;
/// Between two partitions there is time to hear of each other.
const WHOLE_NS: u64 = 1_500_000_000;
const PARTITION_STROKES_MAX: u64 = 50_000;
const STALL_NS_MAX: u64 = 30_000_000;
/// One part in so many of the time may pass in stalls.
const STALL_SHARE: u64 = 8;
const DEAD_NS_MAX: u64 = 500_000_000;
/// A doomed process reaches its point within this and so many one-way delays, or dies between two turns.
const DOOM_NS_MAX: u64 = 50_000_000;
const DOOM_DELAYS: u64 = 100;
const OVERTAKING_STREAM: u64 = 0x6f76_6572_7461_6b65;
