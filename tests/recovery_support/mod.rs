//! Two workers joined by a line with a delay and a script of which packets to drop, under a virtual clock.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringwire::bounds::{HEADER_SIZE, TAG_SIZE};
use ringwire::crypto::{Csprng, Identity};
use ringwire::io::Ecn;
use ringwire::io::memory::{Hub, MemoryBackend};
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::Config;
use ringwire::transport::security::Security;
use ringwire::wire::ACK_FIXED_SIZE;
use ringwire::worker::{
    App, CloseReason, Cx, Event, Outcome, ReplyWriter, Request, SessionKey, Target, Worker, WorkerConfig,
};

/// Says of a packet (who sent it, its bytes) whether the line drops it.
pub type DropRule = Box<dyn FnMut(SocketAddr, &[u8]) -> bool>;

/// A line that delays every packet alike and drops what its script names.
pub struct Line {
    pub clock: VirtualClock,
    pub one_way_ns: u64,
    pub queues: HashMap<SocketAddr, VecDeque<(Timestamp, SocketAddr, Vec<u8>)>>,
    pub drop: DropRule,
    /// How much longer than others a packet is under way, in nanoseconds.
    pub hold: Box<dyn FnMut() -> u64>,
    pub dropped: u64,
}

impl Hub for Line {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], _ecn: Ecn) {
        if (self.drop)(from, packet) {
            self.dropped += 1;
            return;
        }
        let at = self.clock.now().after_ns(self.one_way_ns + (self.hold)());
        let queue = self.queues.entry(to).or_default();
        let place = queue.partition_point(|(other, ..)| *other <= at);
        queue.insert(place, (at, from, packet.to_vec()));
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        let queue = self.queues.get_mut(&at)?;
        if queue.front()?.0 > self.clock.now() {
            return None;
        }
        let (_, from, packet) = queue.pop_front()?;
        *into = packet;
        Some((from, Ecn::NotEct))
    }
}

impl Line {
    fn next_arrival(&self) -> Timestamp {
        self.queues.values().filter_map(|q| q.front()).map(|(at, ..)| *at).min().unwrap_or(Timestamp::NEVER)
    }
}

#[derive(Default)]
pub struct Echo {
    pub opened: Vec<SessionKey>,
    pub closed: Vec<CloseReason>,
    pub outcomes: Vec<(u64, &'static str, Timestamp)>,
    pub runs: u64,
    /// Calls are taken and never answered.
    pub defers: bool,
}

impl App for Echo {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        self.runs += 1;
        if self.defers {
            let _ = reply.defer();
            return;
        }
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        let name = match outcome {
            Outcome::Replied(_) => "replied",
            Outcome::Failed { .. } => "failed",
            Outcome::TimedOut => "timed out",
            Outcome::Unknown => "unknown",
            Outcome::NotSent => "not sent",
        };
        self.outcomes.push((token, name, cx.now()));
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, .. } => self.opened.push(session),
            Event::Closed { reason, .. } => self.closed.push(reason),
            _ => {}
        }
    }
}

pub struct Scene {
    pub clock: VirtualClock,
    pub line: Rc<RefCell<Line>>,
    pub client: Worker<Echo>,
    pub server: Option<Worker<Echo>>,
    pub session: SessionKey,
    pub config: Config,
    /// Steps taken: a clock that stands still is a bug, not a long test.
    pub steps: u64,
}

pub const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 1);
pub const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 2);

impl Scene {
    pub fn new(one_way: Duration, config: Config) -> Self {
        Self::over(one_way, config, Box::new(|_, _| false))
    }

    pub fn over(one_way: Duration, config: Config, drop: DropRule) -> Self {
        let clock = VirtualClock::new(Timestamp(1_000_000_000));
        let line = Rc::new(RefCell::new(Line {
            clock: clock.clone(),
            one_way_ns: one_way.as_nanos() as u64,
            queues: HashMap::new(),
            drop,
            hold: Box::new(|| 0),
            dropped: 0,
        }));
        let mut client = worker(&clock, &line, CLIENT.into(), &config, 1);
        let server = worker(&clock, &line, SERVER.into(), &config, 2);
        let session = client.connect(server_target()).expect("room for a session");
        let mut scene = Self { clock, line, client, server: Some(server), session, config, steps: 0 };
        scene.until(Duration::from_secs(5), |s| !s.client.app().opened.is_empty());
        // Settle: the packet size is probed, the round trip is known.
        for token in 0..20 {
            scene.call(1_000_000 + token, Duration::from_secs(10));
            scene.until(Duration::from_secs(5), |s| s.client.app().outcomes.len() == token as usize + 1);
        }
        scene.run(Duration::from_secs(1));
        scene.client.app_mut().outcomes.clear();
        scene
    }

    pub fn call(&mut self, token: u64, deadline: Duration) {
        let deadline = self.clock.now().after(deadline);
        self.client.call(self.session, 0, &token.to_le_bytes(), deadline, token).expect("room for a call");
    }

    /// Lets `n` packets of `from` that carry more than an ack pass, then drops one.
    pub fn drop_nth(&mut self, from: ([u8; 4], u16), n: u64) {
        let (from, mut seen) = (SocketAddr::from(from), 0);
        self.line.borrow_mut().drop = Box::new(move |sender, packet| {
            if sender != from || packet.len() <= HEADER_SIZE + ACK_FIXED_SIZE + TAG_SIZE {
                return false;
            }
            seen += 1;
            seen == n + 1
        });
    }

    /// Makes a call of which the next packet of `from` is lost; how long it took.
    pub fn lose_one_of(&mut self, from: ([u8; 4], u16)) -> Duration {
        self.drop_nth(from, 0);
        let start = self.clock.now();
        self.call(1, Duration::from_secs(5));
        self.until(Duration::from_secs(5), |s| s.client.app().outcomes.len() == 1);
        let (_, name, at) = self.client.app().outcomes[0];
        assert_eq!(name, "replied");
        assert_eq!(self.line.borrow().dropped, 1, "the script dropped one packet");
        Duration::from_nanos(at.since_ns(start))
    }

    pub fn step(&mut self) -> bool {
        self.steps += 1;
        assert!(
            self.steps < 3_000_000,
            "the clock stands still at {:?}: {:?} due {:?}",
            self.clock.now(),
            self.client.counters(),
            self.client.due_at()
        );
        let mut idle = self.client.turn().idle;
        let mut next = self.client.due_at().min(self.line.borrow().next_arrival());
        if let Some(server) = &mut self.server {
            idle &= server.turn().idle;
            next = next.min(server.due_at()).min(self.line.borrow().next_arrival());
        } else {
            self.line.borrow_mut().queues.remove(&SERVER.into());
        }
        self.client.engine().check();
        if idle {
            self.clock.advance_to(
                next.max(self.clock.now().after_ns(1)).min(self.clock.now().after_ns(10_000_000)),
            );
        }
        idle
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.clock.now().after(time);
        while self.clock.now() < end {
            self.step();
        }
    }

    pub fn until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.clock.now().after(limit);
        while !done(self) {
            assert!(self.clock.now() < end, "not done in {limit:?}: {:?}", self.client.counters());
            self.step();
        }
    }
}

/// Who is at `at`, in every life: as with a key file.
pub fn identity(at: SocketAddr) -> Identity {
    Identity::generate(&mut Csprng::new([at.port() as u8; 32]))
}

pub fn server_target() -> Target {
    Target::with_key(SERVER.into(), identity(SERVER.into()).public_key())
}

pub fn insecure() -> Config {
    Config { security: Security::insecure_anywhere(), ..Config::default() }
}

pub fn worker(
    clock: &VirtualClock,
    line: &Rc<RefCell<Line>>,
    at: SocketAddr,
    config: &Config,
    seed: u64,
) -> Worker<Echo> {
    let sealed = Security::sealed(&identity(at), None, 0, clock.now());
    let security = if config.security.anywhere { config.security.clone() } else { sealed };
    let entropy = Rng::entropy(seed);
    let transport = Config { entropy, security, boot_id: seed, ..config.clone() };
    let config = WorkerConfig { transport, ..WorkerConfig::default() };
    let backend = MemoryBackend::new(at, line.clone());
    Worker::new(config, Box::new(backend), Rc::new(clock.clone()), Echo::default())
}
