//! Flows over a topology, measured: what the figures on congestion control are taken from.
//!
//! ```text
//! hosts + flows + topology + seed --> workers' own turn() in virtual time --> Measured
//! ```
//!
//! It measures, it does not judge: nothing is checked here but that a run comes to an end. Messages
//! are exact in number, so what arrived is counted at the receiver and not inferred.

use std::time::Duration;

use bytes::Bytes;

use crate::rng::Rng;
use crate::sim::link::LinkCounters;
use crate::sim::topology::{LinkIndex, Topology};
use crate::sim::world::World;
use crate::time::Timestamp;
use crate::transport::security::Security;
use crate::transport::{Config, Counters, SendError, SessionKey};
use crate::wire::ChannelId;
use crate::worker::impair::ImpairSpec;
use crate::worker::{App, Cx, Event, Message, Outcome, ReplyWriter, Request, Worker, WorkerConfig};

/// One session, and the messages that one end sends the other over it.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The host that sends, by its place in [`Experiment::hosts`].
    pub from: usize,
    /// The host that receives.
    pub to: usize,
    /// Bytes of each message.
    pub message_size: usize,
    /// Messages to send; `None`: as many as the network takes.
    pub messages: Option<u64>,
    /// When it begins, after all sessions are open.
    pub start_ns: u64,
    /// What the receiver does with a message.
    pub reader: Reader,
}

impl Flow {
    /// Messages of 256 KiB from `from` to `to` without end.
    #[must_use]
    pub fn endless(from: usize, to: usize) -> Self {
        let message_size = 256 << 10;
        Self { from, to, message_size, messages: None, start_ns: 0, reader: Reader::Takes }
    }

    /// One message of `message_size` bytes.
    #[must_use]
    pub fn one(from: usize, to: usize, message_size: usize) -> Self {
        Self { message_size, messages: Some(1), ..Self::endless(from, to) }
    }

    /// The same, beginning later.
    #[must_use]
    pub fn starting_at(mut self, start: Duration) -> Self {
        self.start_ns = start.as_nanos() as u64;
        self
    }

    /// The same, its reader never done with what it gets.
    #[must_use]
    pub fn unread(mut self) -> Self {
        self.reader = Reader::Stopped;
        self
    }
}

/// What a receiver does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It is done with each at once.
    Takes,
    /// It keeps all, and its credit with them.
    Stopped,
}

/// What to run.
#[derive(Debug)]
pub struct Experiment {
    /// Every chance comes from it.
    pub seed: u64,
    /// The network.
    pub topology: Topology,
    /// The largest packet it carries, in bytes of UDP payload.
    pub packet_size: usize,
    /// Bytes of true size that each socket's receive buffer holds.
    pub receive_buffer_size: u64,
    /// The settings of each host, in the topology's order.
    pub hosts: Vec<Config>,
    /// What they send.
    pub flows: Vec<Flow>,
    /// How long it may take from the first flow's start. With endless flows: how long it takes.
    pub limit: Duration,
    /// Endless flows are measured from this long after the start: slow start and its queue are over.
    pub warm_up: Duration,
}

/// What one flow came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlowMeasured {
    /// Application bytes that arrived while it was measured.
    pub payload: u64,
    /// From its start to the arrival of its last message; `None`: it did not get there.
    pub completion_ns: Option<u64>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// By flow.
    pub flows: Vec<FlowMeasured>,
    /// How long was measured, in nanoseconds: with finite flows, until the last arrived.
    pub measured_ns: u64,
    /// What the engines of all hosts counted, openings included.
    pub engine: Counters,
    /// Packets that the network lost, to full queues and to chance.
    pub lost: (u64, u64),
    watched: LinkCounters,
    watched_before: LinkCounters,
}

impl Experiment {
    /// Runs it and looks at `watched`.
    ///
    /// # Panics
    /// When sessions do not open: the network is unusable.
    #[must_use]
    pub fn run(self, watched: LinkIndex) -> Measured {
        Run::new(self).go(watched)
    }
}

impl Measured {
    /// Application bits a second of `flow`.
    #[must_use]
    pub fn goodput_bit_s(&self, flow: usize) -> f64 {
        self.flows[flow].payload as f64 * 8e9 / self.measured_ns as f64
    }

    /// Application bits a second of all flows.
    #[must_use]
    pub fn goodput_sum_bit_s(&self) -> f64 {
        (0..self.flows.len()).map(|flow| self.goodput_bit_s(flow)).sum()
    }

    /// The mean bytes waiting in the watched queue.
    #[must_use]
    pub fn queue_mean(&self) -> f64 {
        (self.watched.waited - self.watched_before.waited) as f64 / self.measured_ns as f64
    }

    /// What the watched link did while it was measured.
    #[must_use]
    pub fn watched(&self) -> LinkCounters {
        let (now, before) = (self.watched, self.watched_before);
        LinkCounters {
            packets: now.packets - before.packets,
            bytes_sent: now.bytes_sent - before.bytes_sent,
            dropped: now.dropped - before.dropped,
            marked: now.marked - before.marked,
            capable: now.capable - before.capable,
            waited: now.waited - before.waited,
            ..now
        }
    }

    /// Units sent again ÷ packets that the watched link lost, to its queue and to chance, from the start on.
    #[must_use]
    pub fn retransmitted_per_lost(&self) -> f64 {
        let lost = self.watched.dropped + self.watched.impaired.lost;
        self.engine.retransmitted as f64 / lost.max(1) as f64
    }

    /// Jain's index of the flows' shares: 1 when they are equal, 1/n when one has all.
    #[must_use]
    pub fn jain(&self) -> f64 {
        let shares = || self.flows.iter().map(|flow| flow.payload as f64);
        let (sum, squares): (f64, f64) = (shares().sum(), shares().map(|share| share * share).sum());
        sum * sum / (self.flows.len() as f64 * squares)
    }

    /// The `p`-th percentile (0 to 100) of the flows' completion times, in nanoseconds; unfinished flows count
    /// as never.
    #[must_use]
    pub fn completion_ns(&self, p: f64) -> u64 {
        let mut all: Vec<u64> =
            self.flows.iter().map(|flow| flow.completion_ns.unwrap_or(u64::MAX)).collect();
        all.sort_unstable();
        let place = (p / 100.0 * all.len() as f64).ceil() as usize;
        all[place.clamp(1, all.len()) - 1]
    }
}

/// The settings of a host that trusts the simulator.
#[must_use]
pub fn host() -> Config {
    Config { security: Security::insecure_anywhere(), ..Config::default() }
}

/// One host's application: it counts what arrives on each session.
#[derive(Default)]
struct Sink {
    sessions: Vec<Heard>,
    opened: usize,
}

struct Heard {
    session: SessionKey,
    reader: Reader,
    messages: u64,
    payload: u64,
    last: Timestamp,
}

impl App for Sink {
    fn on_request(&mut self, _request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(&[]);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, _token: u64, _outcome: Outcome<'_>) {}

    fn on_message(&mut self, cx: &mut Cx<'_>, message: Message<'_>) {
        let Some(heard) = self.sessions.iter_mut().find(|heard| heard.session == message.session) else {
            return;
        };
        // A flow's first message says which flow it is.
        if message.channel == Some(INTRODUCTION) {
            heard.reader = if message.payload[0] == 1 { Reader::Stopped } else { Reader::Takes };
            return;
        }
        heard.messages += 1;
        heard.payload += message.payload.len() as u64;
        heard.last = cx.now();
        if heard.reader == Reader::Stopped {
            cx.hold(message.session, message.payload.len() as u64);
        }
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        if let Event::Opened { session, accepted, .. } = event {
            self.opened += 1;
            if accepted {
                let (reader, last) = (Reader::Takes, Timestamp(0));
                self.sessions.push(Heard { session, reader, messages: 0, payload: 0, last });
            }
        }
    }
}

struct Run {
    world: World<Sink>,
    flows: Vec<Running>,
    limit_ns: u64,
    warm_up_ns: u64,
}

struct Running {
    flow: Flow,
    /// At the sender.
    session: SessionKey,
    /// Which of the receiver's sessions it is.
    place: usize,
    payload: Bytes,
    sent: u64,
    payload_before: u64,
}

impl Run {
    fn new(experiment: Experiment) -> Self {
        let Experiment { seed, topology, packet_size, receive_buffer_size, hosts, flows, limit, warm_up } =
            experiment;
        let mut world = World::new(seed, ImpairSpec::default());
        {
            let mut network = world.network().borrow_mut();
            network.set_inbox_size(receive_buffer_size);
            network.set_packet_size(packet_size);
            network.set_topology(topology);
        }
        for (index, mut transport) in hosts.into_iter().enumerate() {
            transport.boot_id = index as u64 + 1;
            transport.entropy = Rng::entropy(seed ^ ((index as u64 + 1) << 32));
            let config = WorkerConfig { transport, ..WorkerConfig::default() };
            world.add(config, Sink::default());
        }
        let flows = flows.into_iter().map(|flow| open(&mut world, flow)).collect();
        let (limit_ns, warm_up_ns) = (limit.as_nanos() as u64, warm_up.as_nanos() as u64);
        Self { world, flows, limit_ns, warm_up_ns }
    }

    fn go(mut self, watched: LinkIndex) -> Measured {
        let started = self.world.now();
        let (limit, warm) = (started.after_ns(self.limit_ns), started.after_ns(self.warm_up_ns));
        let mut before = None;
        while self.world.now() < limit && !self.is_complete() {
            if before.is_none() && self.world.now() >= warm {
                before = Some((self.world.now(), self.look(watched)));
                self.flows.iter_mut().for_each(|running| {
                    running.payload_before = heard(&self.world, running).payload;
                });
            }
            let next = self.feed(started);
            self.world.step(limit.min(next));
        }
        let (measured_from, watched_before) = before.unwrap_or((started, LinkCounters::default()));
        let finite = self.flows.iter().all(|running| running.flow.messages.is_some());
        let last = self.flows.iter().map(|running| heard(&self.world, running).last).max();
        let ended = if finite && self.is_complete() { last.unwrap_or(limit) } else { self.world.now() };
        let mut engine = Counters::default();
        for host in 0..self.world.len() {
            let worker = self.world.peek(host).expect("no process dies here");
            worker.engine().check();
            engine = engine.plus(&worker.counters());
        }
        Measured {
            flows: self.flows.iter().map(|running| self.measure(running, started)).collect(),
            measured_ns: ended.since_ns(measured_from).max(1),
            engine,
            lost: self.world.network().borrow().topology().map_or((0, 0), Topology::lost),
            watched: self.look(watched),
            watched_before,
        }
    }

    fn look(&self, watched: LinkIndex) -> LinkCounters {
        let network = self.world.network().borrow();
        network.topology().map_or_else(LinkCounters::default, |topology| topology.counters(watched))
    }

    fn measure(&self, running: &Running, started: Timestamp) -> FlowMeasured {
        let heard = heard(&self.world, running);
        let start = started.after_ns(running.flow.start_ns);
        let complete = running.flow.messages.is_some_and(|messages| heard.messages >= messages);
        FlowMeasured {
            payload: heard.payload - running.payload_before,
            completion_ns: complete.then(|| heard.last.since_ns(start)),
        }
    }

    /// Gives each flow that has begun what its session takes. When the next one begins.
    fn feed(&mut self, started: Timestamp) -> Timestamp {
        let now = self.world.now();
        let mut next = Timestamp::NEVER;
        for running in &mut self.flows {
            let Running { flow, session, payload, sent, .. } = running;
            let begins = started.after_ns(flow.start_ns);
            if begins > now {
                next = next.min(begins);
                continue;
            }
            while flow.messages.is_none_or(|messages| *sent < messages) {
                let full = |worker: &Worker<Sink>| {
                    flow.messages.is_none() && worker.engine().unacknowledged(*session) >= QUEUED_MAX
                };
                if self.world.peek(flow.from).is_none_or(full) {
                    break;
                }
                let Some(worker) = self.world.worker(flow.from) else { break };
                match worker.send_owned(*session, None, payload.clone()) {
                    Ok(_) => *sent += 1,
                    Err(SendError::WouldBlock) => break,
                    Err(error) => panic!("a flow's session ended: {error}"),
                }
            }
        }
        next
    }

    fn is_complete(&self) -> bool {
        self.flows.iter().all(|running| {
            let heard = heard(&self.world, running);
            running.flow.messages.is_some_and(|messages| heard.messages >= messages)
        })
    }
}

fn heard<'a>(world: &'a World<Sink>, running: &Running) -> &'a Heard {
    let worker = world.peek(running.flow.to).expect("no process dies here");
    &worker.app().sessions[running.place]
}

/// Opens the flow's session and introduces it; until all are open nothing else is sent.
fn open(world: &mut World<Sink>, flow: Flow) -> Running {
    let place = world.peek(flow.to).map_or(0, |worker| worker.app().sessions.len());
    let target = world.target(flow.to);
    let worker = world.worker(flow.from).expect("it was just started");
    let opened = worker.app().opened;
    let session = worker.connect(target).expect("any host may be asked for a session");
    let limit = world.now().after_ns(OPENING_NS_MAX);
    while world.peek(flow.from).is_some_and(|worker| worker.app().opened == opened) {
        assert!(world.step(limit), "no session opened within {OPENING_NS_MAX} ns");
    }
    let worker = world.worker(flow.from).expect("no process dies here");
    let introduction = [u8::from(flow.reader == Reader::Stopped)];
    worker.send(session, Some(INTRODUCTION), &introduction).expect("the session is open and empty");
    // It settles: the introduction, its ack, and the probes of the packet size.
    let settled = world.now().after_ns(SETTLING_NS);
    while world.step(settled) {}
    let payload = Bytes::from(vec![0x5a; flow.message_size]);
    Running { flow, session, place, payload, sent: 0, payload_before: 0 }
}

/// The channel of a flow's first message, which no flow sends on later.
const INTRODUCTION: ChannelId = ChannelId(1);
/// Bytes and units an endless flow keeps queued: more than any window here.
const QUEUED_MAX: u64 = 3 << 20;
const OPENING_NS_MAX: u64 = 20_000_000_000;
const SETTLING_NS: u64 = 3_000_000;
