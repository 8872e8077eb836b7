//! One seed, from the first packet to the last promise.
//!
//! ```text
//! faults: work + weather + outages + stalls + deaths   until the plan's packets were sent
//! calm:   clean links, nobody dies, no new work        until nothing is pending, within a bound
//! close:  every session in order                       and the books are closed
//! ```

use std::cell::RefCell;
use std::rc::Rc;

use crate::rng::Rng;
use crate::sim::app::{CLOSE_CODE, Shared, SimApp};
use crate::sim::checker::{Life, Totals, Violation};
use crate::sim::plan::Plan;
use crate::sim::workload::Workload;
use crate::sim::world::World;
use crate::time::{Timestamp, saturating_ns};
use crate::transport::Counters;
use crate::worker::Worker;
use crate::worker::impair::{ImpairCounters, ImpairSpec, Probability};

/// What one seed came to.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The seed.
    pub seed: u64,
    /// What the engines of all lives counted, together.
    pub engine: Counters,
    /// What the network did.
    pub network: ImpairCounters,
    /// Packets that found a receive buffer full.
    pub inbox_drops: u64,
    /// What applications did and saw.
    pub totals: Totals,
    /// Processes killed and started again.
    pub restarts: u64,
    /// Virtual nanoseconds from the end of faults until nothing was pending.
    pub calm_ns: u64,
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
    rng: Rng,
    /// What the engines of dead lives counted.
    dead: Counters,
    weather_at: Timestamp,
    stall_after: Timestamp,
    /// Dead endpoints and when they start again.
    reviving: Vec<(usize, Timestamp)>,
    incarnations: Vec<u32>,
    restarts: u64,
    started: Timestamp,
    calm_ns: u64,
}

impl Run {
    fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x7765_6174_6865_7221);
        let link = plan.weather(&mut rng, true);
        let mut world = World::new(plan.seed, link);
        world.network().borrow_mut().set_inbox_size(plan.inbox_size);
        world.network().borrow_mut().set_packet_size(plan.link_packet_size);
        let shared = Shared {
            alive: (0..plan.nodes).map(|node| Some(life(node, 0))).collect(),
            defer_every: [0, 3, 10][rng.below(3) as usize],
            defer_ns: rng.below(8 * plan.delay_ns),
            ..Shared::default()
        };
        let shared = Rc::new(RefCell::new(shared));
        for node in 0..plan.nodes {
            let app = SimApp::new(life(node, 0), Rc::clone(&shared), world.clock());
            world.add(plan.worker(node, 0, world.now()), app);
        }
        let started = world.now();
        Self {
            workload: Workload::new(&plan, Rc::clone(&shared), started),
            incarnations: vec![0; plan.nodes],
            weather_at: started,
            stall_after: started,
            reviving: Vec::new(),
            dead: Counters::default(),
            restarts: 0,
            calm_ns: 0,
            plan,
            world,
            shared,
            rng,
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
        let mut deaths_left = self.plan.restarts;
        loop {
            let now = self.world.now();
            let packets = self.world.network().borrow().counters().packets;
            if packets >= self.plan.packets || now >= give_up || self.is_broken() {
                return;
            }
            self.change_weather(now);
            self.revive(now);
            // Deaths are spread over the run: one for each equal share of its packets.
            let deaths_due = packets * u64::from(self.plan.restarts + 1) / self.plan.packets;
            if deaths_left > 0 && deaths_due > u64::from(self.plan.restarts - deaths_left) {
                deaths_left -= 1;
                self.kill(now);
            }
            if self.workload.next_at() <= now {
                self.workload.stroke(&mut self.world);
                self.stall(now);
            }
            self.workload.answer_deferred(&mut self.world);
            self.world.step(self.next_own_event());
        }
    }

    /// Clean links and no new work: everything pending completes within the bound.
    fn calm(&mut self) {
        let began = self.world.now();
        self.set_links(|plan, rng| plan.weather(rng, true));
        let bound = began.after_ns(CALM_NS + self.plan.delay_ns * CALM_DELAYS);
        if !self.wait_for_quiet(bound) {
            self.shared.borrow_mut().checker.expect_nothing_pending_between_the_living(self.world.now());
            // Only silence tells that a peer is dead whose address nobody answers for.
            let dead_by = began.after_ns(2 * saturating_ns(self.plan.idle_timeout()));
            if !self.wait_for_quiet(dead_by) {
                self.shared.borrow_mut().checker.finish(self.world.now());
            }
        }
        self.calm_ns = self.world.now().since_ns(began);
    }

    /// True once nothing is pending; false at `bound`, or when a promise is broken.
    fn wait_for_quiet(&mut self, bound: Timestamp) -> bool {
        let mut look_at = self.world.now();
        while self.world.now() < bound && !self.is_broken() {
            let now = self.world.now();
            self.revive(now);
            self.workload.answer_deferred(&mut self.world);
            if now >= look_at {
                look_at = now.after_ns(LOOK_NS);
                if self.reviving.is_empty() && self.shared.borrow().checker.pending() == 0 {
                    return true;
                }
            }
            let next = self.next_deferred().min(self.next_revival()).min(look_at).min(bound);
            self.world.step(next.max(now.after_ns(1)));
        }
        self.is_broken()
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
        while self.world.step(end) {}
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
            inbox_drops: network.inbox_drops(),
            totals: shared.checker.totals(),
            restarts: self.restarts,
            calm_ns: self.calm_ns,
            virtual_ns: self.world.now().since_ns(self.started),
            trace: network.trace(),
            violations: shared.checker.violations().to_vec(),
        }
    }

    /// A broken promise ends the run: what follows from it tells nothing new.
    fn is_broken(&self) -> bool {
        !self.shared.borrow().checker.violations().is_empty()
    }

    fn next_own_event(&self) -> Timestamp {
        let own = self.workload.next_at().min(self.weather_at);
        own.min(self.next_deferred()).min(self.next_revival())
    }

    fn next_deferred(&self) -> Timestamp {
        let workers = (0..self.world.len()).filter_map(|node| self.world.peek(node));
        workers.filter_map(|worker| worker.app().next_deferred()).min().unwrap_or(Timestamp::NEVER)
    }

    fn next_revival(&self) -> Timestamp {
        self.reviving.iter().map(|&(_, at)| at).min().unwrap_or(Timestamp::NEVER)
    }

    fn change_weather(&mut self, now: Timestamp) {
        if now < self.weather_at {
            return;
        }
        let outage = self.rng.below(1_000_000) < u64::from(self.plan.outages.ppm());
        if outage {
            let both = self.rng.chance(0.5);
            self.set_links(|plan, rng| {
                let weather = plan.weather(rng, false);
                // An outage of one direction is the nastier kind: acks vanish and data arrives.
                let cut = both || rng.chance(0.5);
                if cut { ImpairSpec { loss: Probability::ALWAYS, ..weather } } else { weather }
            });
        } else {
            self.set_links(|plan, rng| plan.weather(rng, false));
        }
        let lasts = 1 + self.rng.below(2 * self.plan.weather_every_ns);
        self.weather_at = now.after_ns(if outage { lasts.min(OUTAGE_NS_MAX) } else { lasts });
        if let Some(worker) = self.world.peek(0) {
            worker.engine().check();
        }
    }

    fn set_links(&mut self, weather: impl Fn(&Plan, &mut Rng) -> ImpairSpec) {
        for from in 0..self.world.len() {
            for to in (0..self.world.len()).filter(|&to| to != from) {
                let spec = weather(&self.plan, &mut self.rng);
                let (from, to) = (self.world.addr(from), self.world.addr(to));
                self.world.network().borrow_mut().set_link(from, to, spec);
            }
        }
    }

    /// Takes an endpoint's core away for a while, and no core for more than a small share of the time.
    fn stall(&mut self, now: Timestamp) {
        if now < self.stall_after || self.rng.below(1_000_000) >= u64::from(self.plan.stalls.ppm()) {
            return;
        }
        let node = self.rng.below(self.world.len() as u64) as usize;
        let lasts_ns = 1 + self.rng.below(STALL_NS_MAX);
        self.world.stall(node, lasts_ns);
        self.stall_after = now.after_ns(STALL_SHARE * lasts_ns);
    }

    fn kill(&mut self, now: Timestamp) {
        let node = self.rng.below(self.world.len() as u64) as usize;
        let Some(worker) = self.world.kill(node) else { return };
        self.bury(node, &worker);
        let dead_ns = if self.rng.chance(0.5) { 1 } else { 1 + self.rng.below(DEAD_NS_MAX) };
        self.reviving.push((node, now.after_ns(dead_ns)));
    }

    fn bury(&mut self, node: usize, worker: &Worker<SimApp>) {
        worker.engine().check();
        self.dead = self.dead.plus(&worker.counters());
        let mut shared = self.shared.borrow_mut();
        shared.alive[node] = None;
        shared.checker.died(worker.app().life());
    }

    fn revive(&mut self, now: Timestamp) {
        let due: Vec<usize> =
            self.reviving.iter().filter(|&&(_, at)| at <= now).map(|&(node, _)| node).collect();
        self.reviving.retain(|&(_, at)| at > now);
        for node in due {
            self.restarts += 1;
            self.incarnations[node] += 1;
            let life = life(node, self.incarnations[node]);
            self.shared.borrow_mut().alive[node] = Some(life);
            let app = SimApp::new(life, Rc::clone(&self.shared), self.world.clock());
            let config = self.plan.worker(node, life.incarnation, now);
            self.world.start(node, config, app);
        }
    }
}

fn life(node: usize, incarnation: u32) -> Life {
    Life { node: node as u32, incarnation }
}

/// What is pending has this long once the faults have stopped: twice the longest outage, which is
/// as far as a doubling probe timer can have drifted, and room for what is queued…
const CALM_NS: u64 = 2 * OUTAGE_NS_MAX + 4_000_000_000;
/// …and this many one-way delays more.
const CALM_DELAYS: u64 = 200;
const CLOSE_NS: u64 = 2_000_000_000;
const LOOK_NS: u64 = 200_000;
const OUTAGE_NS_MAX: u64 = 1_000_000_000;
const STALL_NS_MAX: u64 = 30_000_000;
/// One part in so many of the time may pass in stalls.
const STALL_SHARE: u64 = 8;
const DEAD_NS_MAX: u64 = 500_000_000;
