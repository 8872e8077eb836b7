//! One seed, from the first packet to the last promise.
//!
//! ```text
//! faults: work + every trouble whose kind is on    until the plan's packets were sent
//! calm:   clean links, nobody dies, no new work    until nothing is pending, within the allowance
//! close:  every session in order                   and the books are closed
//! ```

mod allowance;
mod trouble;

use std::cell::RefCell;
use std::rc::Rc;

use crate::rng::Rng;
use crate::sim::app::{CLOSE_CODE, Shared, SimApp};
use crate::sim::checker::{HalfOpen, Life, Totals, Violation};
use crate::sim::crash::Crashes;
use crate::sim::overtaking::OvertakingCounters;
use crate::sim::plan::Plan;
use crate::sim::shape::shape;
use crate::sim::swarm::Swarm;
use crate::sim::workload::Workload;
use crate::sim::world::World;
use crate::time::{Timestamp, saturating_ns};
use crate::transport::Counters;
use crate::worker::impair::ImpairCounters;

use allowance::Allowance;
pub use trouble::Partitions;
use trouble::Trouble;

/// What one seed came to.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The seed.
    pub seed: u64,
    /// What the engines of all lives counted, together.
    pub engine: Counters,
    /// What the network did.
    pub network: ImpairCounters,
    /// Which kinds of fault were on.
    pub on: Swarm,
    /// How far packets were overtaken.
    pub overtaken: OvertakingCounters,
    /// Packets that met a partition.
    pub parted: u64,
    /// Partitions, those of one direction among them, and those that outlast a session.
    pub partitions: Partitions,
    /// Where processes died.
    pub crashes: Crashes,
    /// Packets that found a receive buffer full.
    pub inbox_drops: u64,
    /// What applications did and saw.
    pub totals: Totals,
    /// Processes killed and started again.
    pub restarts: u64,
    /// Virtual nanoseconds from the end of faults until nothing was pending.
    pub calm_ns: u64,
    /// Virtual nanoseconds from there until nothing was pending between two that both lived on: what is held
    /// to the allowance.
    pub repair_ns: u64,
    /// Virtual nanoseconds that it might have taken.
    pub allowed_ns: u64,
    /// Virtual nanoseconds in all.
    pub virtual_ns: u64,
    /// A hash over every packet sent: the same for the same seed, always.
    pub trace: u64,
    /// The promises broken.
    pub violations: Vec<Violation>,
}

/// Runs `seed`. Deterministic: the report is a function of the seed and the build.
#[must_use]
pub fn run(seed: u64) -> RunReport {
    Run::new(Plan::new(seed)).go()
}

struct Run {
    plan: Plan,
    world: World<SimApp>,
    workload: Workload,
    shared: Rc<RefCell<Shared>>,
    trouble: Trouble,
    /// What the engines of dead lives counted.
    dead: Counters,
    incarnations: Vec<u32>,
    restarts: u64,
    started: Timestamp,
    calm_ns: u64,
    repair_ns: Option<u64>,
    allowed_ns: u64,
}

impl Run {
    fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x7765_6174_6865_7221);
        let link = plan.weather(&mut rng, true);
        let mut world = World::new(plan.seed, link);
        world.network().borrow_mut().set_inbox_size(plan.inbox_size);
        world.network().borrow_mut().set_packet_size(plan.link_packet_size);
        if let Some(topology) = shape(plan.seed, plan.nodes) {
            world.network().borrow_mut().set_topology(topology);
        }
        let shared = Shared {
            alive: (0..plan.nodes).map(|node| Some(life(node, 0))).collect(),
            defer_every: [0, 3, 10][rng.below(3) as usize],
            defer_ns: rng.below(8 * plan.delay_ns),
            fuse: world.network().borrow().hazards().fuse(),
            ..Shared::default()
        };
        let shared = Rc::new(RefCell::new(shared));
        for node in 0..plan.nodes {
            let clock = plan.clock(node, world.clock());
            let app = SimApp::new(life(node, 0), Rc::clone(&shared), clock.clone());
            let config = plan.worker(node, 0, world.now(), &clock);
            world.add_with_clock(config, app, clock);
        }
        let started = world.now();
        Self {
            workload: Workload::new(&plan, Rc::clone(&shared), started),
            incarnations: vec![0; plan.nodes],
            trouble: Trouble::new(&plan, rng, started),
            dead: Counters::default(),
            restarts: 0,
            calm_ns: 0,
            repair_ns: None,
            allowed_ns: 0,
            plan,
            world,
            shared,
            started,
        }
    }

    fn go(mut self) -> RunReport {
        self.faults();
        self.calm();
        self.close();
        let at = self.world.now();
        self.shared.borrow_mut().checker.finish(at);
        self.report()
    }

    /// Work and every kind of trouble, until the plan's packets were sent.
    fn faults(&mut self) {
        let give_up = self.world.now().after_ns(self.plan.time_limit_ns());
        loop {
            let now = self.world.now();
            let packets = self.world.network().borrow().counters().packets;
            if packets >= self.plan.packets || now >= give_up || self.is_broken() {
                return;
            }
            self.make_trouble(now, packets);
            if self.workload.next_at() <= now {
                self.workload.stroke(&mut self.world);
                self.stall(now);
            }
            self.workload.answer_deferred(&mut self.world);
            self.step(self.next_own_event());
            self.bury_the_fallen();
        }
    }

    /// Clean links and no new work: everything pending completes within what it is allowed.
    fn calm(&mut self) {
        let began = self.world.now();
        self.end_trouble();
        let allowance = Allowance::of(&self.plan, &self.world, &self.shared.borrow().checker);
        self.allowed_ns = allowance.ns();
        let bound = began.after_ns(self.allowed_ns);
        if !self.wait_for_quiet(began, bound) {
            let half_open = self.half_open();
            let (now, mut shared) = (self.world.now(), self.shared.borrow_mut());
            let checker = &mut shared.checker;
            checker.expect_nothing_pending_between_the_living(now, &half_open, &allowance.to_string());
            drop(shared);
            // Only silence tells that a peer is dead whose address nobody answers for.
            let dead_by = began.after_ns(2 * saturating_ns(self.plan.idle_timeout()));
            if !self.wait_for_quiet(began, dead_by) {
                self.shared.borrow_mut().checker.finish(self.world.now());
            }
        }
        self.calm_ns = self.world.now().since_ns(began);
    }

    /// True once nothing is pending; false at `bound`, or when a promise is broken.
    fn wait_for_quiet(&mut self, began: Timestamp, bound: Timestamp) -> bool {
        let mut look_at = self.world.now();
        while self.world.now() < bound && !self.is_broken() {
            let now = self.world.now();
            self.revive(now);
            self.workload.answer_deferred(&mut self.world);
            if now >= look_at {
                let waited_ns = now.since_ns(began);
                look_at = now.after_ns(LOOK_NS.max(waited_ns / LOOK_PARTS));
                if self.is_quiet(waited_ns) {
                    return true;
                }
            }
            let next = self.next_deferred().min(self.trouble.next_revival()).min(look_at).min(bound);
            self.step(next.max(now.after_ns(1)));
        }
        self.is_broken()
    }

    /// Whether nothing is pending, `waited_ns` after the faults stopped.
    fn is_quiet(&mut self, waited_ns: u64) -> bool {
        let checker = &self.shared.borrow().checker;
        let is_pending = checker.is_anything_pending();
        if self.repair_ns.is_none()
            && !(is_pending && checker.is_anything_pending_between_the_living(&self.half_open()))
        {
            self.repair_ns = Some(waited_ns);
        }
        !is_pending && !self.trouble.is_anyone_dead()
    }

    /// Sessions whose peer has not spoken on them yet. No probe tells how long it will not.
    fn half_open(&self) -> HalfOpen {
        let living = (0..self.world.len()).filter_map(|node| self.world.peek(node));
        let sessions = living.flat_map(|worker| {
            let app = worker.app();
            let half_open = app.sessions().iter().filter(|session| worker.engine().is_half_open(session.key));
            half_open.map(|session| (app.life(), session.number))
        });
        sessions.collect()
    }

    /// Each session is closed by the endpoint that asked for it, and both ends are told.
    fn close(&mut self) {
        for node in 0..self.world.len() {
            let Some(worker) = self.world.worker(node) else { continue };
            let life = worker.app().life();
            for session in worker.app().sessions().to_vec() {
                self.shared.borrow_mut().closed.push((life, session.peer));
                worker.close(session.key, CLOSE_CODE);
            }
        }
        let end = self.world.now().after_ns(CLOSE_NS + self.plan.delay_ns * 10);
        while self.step(end) && !self.is_broken() {}
    }

    fn report(mut self) -> RunReport {
        let mut engine = self.dead;
        for node in 0..self.world.len() {
            if let Some(worker) = self.world.kill(node) {
                worker.engine().check();
                engine = engine.plus(&worker.counters());
            }
        }
        let shared = self.shared.borrow();
        let network = self.world.network().borrow();
        RunReport {
            seed: self.plan.seed,
            engine,
            network: network.counters(),
            on: self.plan.faults.on,
            overtaken: network.hazards().overtaken(),
            parted: network.hazards().parted(),
            partitions: self.trouble.partitions(),
            crashes: self.trouble.crashes(),
            inbox_drops: network.inbox_drops(),
            totals: shared.checker.totals(),
            restarts: self.restarts,
            calm_ns: self.calm_ns,
            repair_ns: self.repair_ns.unwrap_or(self.calm_ns),
            allowed_ns: self.allowed_ns,
            virtual_ns: self.world.now().since_ns(self.started),
            trace: network.trace(),
            violations: shared.checker.violations().to_vec(),
        }
    }

    /// [`World::step`], and whether anyone should rest by now.
    fn step(&mut self, limit: Timestamp) -> bool {
        let goes_on = self.world.step(limit);
        if let Some(node) = self.world.restless()
            && !self.is_broken()
        {
            self.shared.borrow_mut().checker.is_restless(self.world.now(), node);
        }
        goes_on
    }

    /// A broken promise ends the run: what follows from it tells nothing new.
    fn is_broken(&self) -> bool {
        !self.shared.borrow().checker.violations().is_empty()
    }

    fn next_own_event(&self) -> Timestamp {
        self.workload.next_at().min(self.trouble.next_at()).min(self.next_deferred())
    }

    fn next_deferred(&self) -> Timestamp {
        let workers = (0..self.world.len()).filter_map(|node| self.world.peek(node));
        workers.filter_map(|worker| worker.app().next_deferred()).min().unwrap_or(Timestamp::NEVER)
    }
}

fn life(node: usize, incarnation: u32) -> Life {
    Life { node: node as u32, incarnation }
}

const CLOSE_NS: u64 = 2_000_000_000;
const LOOK_NS: u64 = 200_000;
/// Or so many looks in the time that has passed, which is precise enough then.
const LOOK_PARTS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::BY_STEPS;

    /// Of one run: a hash of every packet that entered the network, and what the engines counted.
    fn sent(seed: u64, by_steps: bool) -> (u64, String) {
        BY_STEPS.set(by_steps);
        let report = run(seed);
        BY_STEPS.set(false);
        (report.trace, format!("{:?}", report.engine))
    }

    #[test]
    fn plain_packets_are_those_that_the_steps_for_all_kinds_would_have_built() {
        // L33, L40: plain packets ask for acks and mind the window by themselves.
        let seeds = if cfg!(miri) { 0..1 } else { 0..60 };
        for seed in seeds {
            let (plain, steps) = (sent(seed, false), sent(seed, true));
            assert_eq!(plain, steps, "seed {seed}: again with `cargo test --release --lib plain_packets`");
        }
    }
}
