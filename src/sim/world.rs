//! Workers on a virtual network: who turns when, and how time moves on.
//!
//! ```text
//! step(): next event = min(arrivals, timers, limit) --> clock --> inboxes --> turn() of whoever is due
//! ```
//!
//! A turn costs virtual time, drawn per turn: without it two workers would run in lockstep, and a
//! timer would never be late.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::crypto::PublicKey;
use crate::io::memory::MemoryBackend;
use crate::rng::Rng;
use crate::sim::clock::HostClock;
use crate::sim::network::Network;
use crate::sim::plan::address;
use crate::time::{Clock, Timestamp, VirtualClock};
use crate::worker::impair::ImpairSpec;
use crate::worker::{App, Target, Worker, WorkerConfig};

/// Endpoints of one worker each, on one network and one clock.
pub struct World<A: App> {
    clock: VirtualClock,
    network: Rc<RefCell<Network>>,
    nodes: Vec<Node<A>>,
    rng: Rng,
    turn_ns_max: u64,
    restless: Option<usize>,
}

struct Node<A: App> {
    addr: SocketAddr,
    /// What its processes read: one clock for all its lives.
    clock: HostClock,
    /// `None` while its process is dead.
    worker: Option<Worker<A>>,
    /// What its last life was known by.
    public_key: Option<PublicKey>,
    /// Its core is busy until then.
    ready_at: Timestamp,
    /// A turn that found nothing is not repeated for its timer's sake before then.
    quiet_until: Timestamp,
    quiet_ns: u64,
    /// Turns in a row that did something, since it was last asked or told anything.
    busy_turns: u32,
}

impl<A: App> World<A> {
    /// An empty world that stands at a time of its own; every choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, link: ImpairSpec) -> Self {
        let clock = VirtualClock::new(EPOCH);
        let network = Rc::new(RefCell::new(Network::new(clock.clone(), link)));
        Self {
            clock,
            network,
            nodes: Vec::new(),
            rng: Rng::new(seed),
            turn_ns_max: TURN_NS_MAX,
            restless: None,
        }
    }

    /// The clock all endpoints share.
    #[must_use]
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The network between the endpoints.
    #[must_use]
    pub fn network(&self) -> &RefCell<Network> {
        &self.network
    }

    /// Adds an endpoint whose clock is the world's, and starts its worker. Its index; they count from 0.
    pub fn add(&mut self, config: WorkerConfig, app: A) -> usize {
        self.add_with_clock(config, app, HostClock::true_to(self.clock.clone()))
    }

    /// [`World::add`] for a host with a clock of its own.
    pub fn add_with_clock(&mut self, config: WorkerConfig, app: A, clock: HostClock) -> usize {
        let index = self.nodes.len();
        let addr = address(index);
        let now = self.now();
        self.nodes.push(Node {
            addr,
            clock,
            worker: None,
            public_key: None,
            ready_at: now,
            quiet_until: now,
            quiet_ns: QUIET_NS_MIN,
            busy_turns: 0,
        });
        self.start(index, config, app);
        index
    }

    /// Starts a new incarnation at `index`, with nothing of the last one's memory.
    pub fn start(&mut self, index: usize, config: WorkerConfig, app: A) {
        let now = self.now();
        let node = &mut self.nodes[index];
        assert!(node.worker.is_none(), "one process at a time has an address");
        let backend = MemoryBackend::new(node.addr, Rc::clone(&self.network));
        let clock = Rc::new(node.clock.clone());
        let worker = Worker::new(config, Box::new(backend), clock, app);
        node.public_key = worker.public_key();
        node.worker = Some(worker);
        (node.ready_at, node.quiet_until) = (now, now);
    }

    /// Kills the process at `index` between two turns. What it had in memory is gone.
    pub fn kill(&mut self, index: usize) -> Option<Worker<A>> {
        let node = &mut self.nodes[index];
        self.network.borrow_mut().clear_inbox(node.addr);
        node.worker.take()
    }

    /// Keeps `index` from turning for `ns`: its core was taken away.
    pub fn stall(&mut self, index: usize, ns: u64) {
        let until = self.now().after_ns(ns);
        let node = &mut self.nodes[index];
        node.ready_at = node.ready_at.max(until);
    }

    /// The address of `index`.
    #[must_use]
    pub fn addr(&self, index: usize) -> SocketAddr {
        self.nodes[index].addr
    }

    /// The clock of the host at `index`.
    #[must_use]
    pub fn host_clock(&self, index: usize) -> &HostClock {
        &self.nodes[index].clock
    }

    /// Which endpoint has this address.
    #[must_use]
    pub fn index_at(&self, addr: SocketAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.addr == addr)
    }

    /// The NAT that `index` is behind forgets: others see it at `alias` from now on.
    pub fn rebind(&mut self, index: usize, alias: SocketAddr) {
        self.network.borrow_mut().rebind(self.addr(index), alias);
    }

    /// Whom to name to open a session with `index`; by the key of its last life.
    #[must_use]
    pub fn target(&self, index: usize) -> Target {
        Target { server_key: self.nodes[index].public_key, ..Target::from(self.addr(index)) }
    }

    /// The worker at `index`, unless its process is dead. What is asked of it leaves at the next turn.
    pub fn worker(&mut self, index: usize) -> Option<&mut Worker<A>> {
        let node = &mut self.nodes[index];
        (node.quiet_until, node.busy_turns) = (Timestamp(0), 0);
        node.worker.as_mut()
    }

    /// The worker at `index` to look at, unless its process is dead.
    #[must_use]
    pub fn peek(&self, index: usize) -> Option<&Worker<A>> {
        self.nodes[index].worker.as_ref()
    }

    /// An endpoint whose worker turns on and on though nothing comes: it would keep a core busy for ever.
    #[must_use]
    pub fn restless(&self) -> Option<usize> {
        self.restless
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True when there are no endpoints.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Moves on to the next thing that happens, at most to `limit`, and lets it happen. False once
    /// `limit` is reached.
    pub fn step(&mut self, limit: Timestamp) -> bool {
        let next = self.next_event().max(self.now());
        if next >= limit {
            self.clock.advance_to(limit.max(self.now()));
            self.deliver();
            return false;
        }
        self.clock.advance_to(next);
        self.deliver();
        let first = self.rng.below(self.nodes.len() as u64) as usize;
        for i in 0..self.nodes.len() {
            let index = (first + i) % self.nodes.len();
            if self.wakes_at(&self.nodes[index]) <= next {
                self.turn(index);
            }
        }
        true
    }

    fn deliver(&mut self) {
        let Self { network, nodes, .. } = self;
        network.borrow_mut().deliver_due(|addr| {
            let node = nodes.iter_mut().find(|node| node.addr == addr);
            // What arrived may give a quiet worker something to do.
            node.into_iter().for_each(|node| (node.quiet_until, node.busy_turns) = (Timestamp(0), 0));
        });
        // No socket is open at a dead process's address.
        let mut network = network.borrow_mut();
        nodes.iter().filter(|node| node.worker.is_none()).for_each(|node| network.clear_inbox(node.addr));
    }

    fn next_event(&self) -> Timestamp {
        let arrival = self.network.borrow().next_due().unwrap_or(Timestamp::NEVER);
        self.nodes.iter().map(|node| self.wakes_at(node)).fold(arrival, Timestamp::min)
    }

    fn wakes_at(&self, node: &Node<A>) -> Timestamp {
        let Some(worker) = &node.worker else { return Timestamp::NEVER };
        if self.network.borrow().has_arrived(node.addr) {
            return node.ready_at;
        }
        node.clock.when(worker.due_at()).max(node.ready_at).max(node.quiet_until)
    }

    fn turn(&mut self, index: usize) {
        let now = self.now();
        let cost = 1 + self.rng.below(self.turn_ns_max);
        let node = &mut self.nodes[index];
        let Some(worker) = &mut node.worker else { return };
        let idle = worker.turn().idle;
        node.ready_at = now.after_ns(cost);
        node.quiet_ns = if idle { (node.quiet_ns * 2).min(QUIET_NS_MAX) } else { QUIET_NS_MIN };
        node.quiet_until = if idle { now.after_ns(node.quiet_ns) } else { now };
        node.busy_turns = if idle { 0 } else { node.busy_turns + 1 };
        if node.busy_turns > BUSY_TURNS_MAX {
            self.restless = Some(index);
        }
    }
}

/// Where the clock starts: far from zero, so that a subtraction gone wrong shows.
const EPOCH: Timestamp = Timestamp(1_000_000_000_000);
const TURN_NS_MAX: u64 = 2_000;
const QUIET_NS_MIN: u64 = 1_000;
const QUIET_NS_MAX: u64 = 500_000;
/// Far more than the largest window takes to leave.
const BUSY_TURNS_MAX: u32 = 10_000;
