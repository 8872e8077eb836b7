//! What a session takes of memory at each end while calls are under way on it, and once it is idle: the heap, to the
//! byte, divided among the sessions.
//!
//! Two workers are joined by memory, under a virtual clock; sealed, since that is the rule. Sessions are opened in
//! batches, have their calls, and fall silent for longer than it takes a session to return its active block. What
//! grows with their number is theirs: the difference between many and few of them, divided by how many more they are.
//! So what a worker has once does not count, and its tables, which double now and then, count as they happen to lie.
//!
//! ```text
//! cargo test --release --locked --test session_memory -- --nocapture
//! ```
//!
//! prints the pieces that each session holds, by their size.

#[path = "session_memory/tally.rs"]
mod tally;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use ringwire::crypto::{Csprng, Identity};
use ringwire::io::memory::{MemoryBackend, Switch};
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::Config;
use ringwire::transport::security::Security;
use ringwire::worker::{
    App, Cx, Event, Outcome, ReplyWriter, Request, SessionKey, Target, Worker, WorkerConfig,
};
use tally::{Owner, Tally, owned_by};

/// The most that a session may take at either end while nothing is under way on it, in bytes.
const IDLE_SIZE_MAX: i64 = 4_096;
/// The slope between these is what a session takes.
const FEW: usize = 1_000;
const MANY: usize = 3_000;
/// Sessions opened, and called on, at once.
const BATCH: usize = 50;
/// Virtual time that one round of turns takes.
const ROUND_NS: u64 = 5_000;
/// Longer than a session is quiet before it returns its active block.
const SILENCE_NS: u64 = 300_000_000;
/// Steps of the clock in the silence: each is a turn.
const SILENCE_STEPS: u64 = 100;

#[derive(Default)]
struct Echo {
    opened: usize,
    replied: usize,
}

impl App for Echo {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, _token: u64, outcome: Outcome<'_>) {
        assert!(matches!(outcome, Outcome::Replied(_)), "{outcome:?}");
        self.replied += 1;
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        assert!(!matches!(event, Event::Closed { .. }), "{event:?}");
        self.opened += usize::from(matches!(event, Event::Opened { .. }));
    }
}

/// What is done on each session.
#[derive(Clone, Copy, Debug)]
struct Load {
    calls: usize,
    size: usize,
}

const LOADS: [Load; 3] =
    [Load { calls: 1, size: 64 }, Load { calls: 64, size: 64 }, Load { calls: 1, size: 100_000 }];

struct Ends {
    client: Worker<Echo>,
    server: Worker<Echo>,
    target: Target,
    clock: VirtualClock,
    sessions: Vec<SessionKey>,
}

impl Ends {
    fn new(is_sealed: bool) -> Self {
        let clock = VirtualClock::new(Timestamp(1_000_000_000));
        let (at, target) = (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([10, 0, 0, 2], 2)));
        let hub = Rc::new(RefCell::new(Switch::default()));
        let worker = |seed: u64, at| {
            let identity = Identity::generate(&mut Csprng::new(Rng::entropy(seed)));
            let security = if is_sealed {
                Security::sealed(&identity, None, 1_700_000_000_000_000_000, clock.now())
            } else {
                Security::insecure_anywhere()
            };
            let transport =
                Config { entropy: Rng::entropy(!seed), boot_id: seed, security, ..Config::default() };
            let config = WorkerConfig { transport, ..WorkerConfig::default() };
            let backend = Box::new(MemoryBackend::new(at, Rc::clone(&hub)));
            Worker::new(config, backend, Rc::new(clock.clone()), Echo::default())
        };
        let client = owned_by(Owner::Client, || worker(1, at));
        let server = owned_by(Owner::Server, || worker(2, target));
        let target = server.public_key().map_or(Target::from(target), |key| Target::with_key(target, key));
        Self { client, server, target, clock, sessions: Vec::new() }
    }

    fn turn(&mut self, passes_ns: u64) {
        owned_by(Owner::Client, || self.client.turn());
        owned_by(Owner::Server, || self.server.turn());
        self.clock.advance_to(self.clock.now().after_ns(passes_ns));
    }

    fn turn_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..1_000_000 {
            if done(self) {
                return;
            }
            self.turn(ROUND_NS);
        }
        panic!("it never came to its end");
    }

    /// Opens sessions until there are `sessions`.
    fn open(&mut self, sessions: usize) {
        while self.sessions.len() < sessions {
            let target = self.target;
            for _ in 0..BATCH {
                let session = owned_by(Owner::Client, || self.client.connect(target)).expect("room");
                self.sessions.push(session);
            }
            let open = self.sessions.len();
            self.turn_until(|ends| ends.client.app().opened == open && ends.server.app().opened == open);
        }
    }

    /// Calls on each session, and all replies.
    fn load(&mut self, load: Load) {
        let payload = vec![0x5a; load.size];
        for batch in self.sessions.clone().chunks(BATCH) {
            let replied = self.client.app().replied + batch.len() * load.calls;
            let deadline = self.clock.now().after_ns(1_000_000_000);
            for session in batch {
                for token in 0..load.calls as u64 {
                    let called =
                        owned_by(Owner::Client, || self.client.call(*session, 0, &payload, deadline, token));
                    called.expect("the queue takes it");
                }
            }
            self.turn_until(|ends| ends.client.app().replied == replied);
        }
    }

    /// Nothing is said until every session has returned its active block.
    fn fall_silent(&mut self) {
        (0..SILENCE_STEPS).for_each(|_| self.turn(SILENCE_NS / SILENCE_STEPS));
        let asleep = |worker: &mut Worker<Echo>| worker.counters().idle_returns;
        let (client, server) = (asleep(&mut self.client), asleep(&mut self.server));
        let sessions = self.sessions.len() as u64;
        assert!(client >= sessions && server >= sessions, "{client} and {server} of {sessions} fell asleep");
    }
}

/// What each end holds.
struct Holding {
    client: Tally,
    server: Tally,
}

impl Holding {
    fn now() -> Self {
        Self { client: Tally::of(Owner::Client), server: Tally::of(Owner::Server) }
    }

    /// Bytes that each session more than `before` takes, at the client and at the server.
    fn since(&self, before: &Self) -> [i64; 2] {
        let more = (MANY - FEW) as i64;
        [(&self.client, &before.client), (&self.server, &before.server)]
            .map(|(now, then)| (now.size() - then.size()) / more)
    }

    /// The pieces that every session holds.
    fn print(&self, before: &Self) {
        for (end, now, then) in
            [("client", &self.client, &before.client), ("server", &self.server, &before.server)]
        {
            let each = |size: &usize, held: &i64| {
                (held - then.pieces.get(size).unwrap_or(&0)) as f64 / (MANY - FEW) as f64
            };
            let pieces = now.pieces.iter().map(|(size, held)| (size, each(size, held)));
            let pieces =
                pieces.filter(|(_, each)| *each >= 0.1).map(|(size, each)| format!("{each:.1} of {size}"));
            println!("  {end}: {}", pieces.collect::<Vec<_>>().join(", "));
        }
    }
}

/// What `sessions` sessions hold after `load`, active and idle.
fn held(is_sealed: bool, sessions: usize, load: Load) -> [Holding; 2] {
    let mut ends = Ends::new(is_sealed);
    ends.open(sessions);
    ends.load(load);
    let active = Holding::now();
    ends.fall_silent();
    // Awake and asleep again.
    ends.load(load);
    ends.fall_silent();
    [active, Holding::now()]
}

fn an_idle_session_is_small(is_sealed: bool) {
    let mut largest = 0;
    for load in LOADS {
        let [few_active, few_idle] = held(is_sealed, FEW, load);
        let [active, idle] = held(is_sealed, MANY, load);
        let sizes = [active.since(&few_active), idle.since(&few_idle)];
        println!("sealed {is_sealed}, {load:?}: [client, server] active, idle: {sizes:?}");
        active.print(&few_active);
        idle.print(&few_idle);
        largest = largest.max(sizes[1][0]).max(sizes[1][1]);
    }
    assert!(largest <= IDLE_SIZE_MAX, "an idle session takes {largest} bytes, {IDLE_SIZE_MAX} is the bound");
}

// One test: the counts are the process's.
#[test]
fn an_idle_session_takes_no_more_than_four_kibibytes_at_either_end() {
    an_idle_session_is_small(true);
    an_idle_session_is_small(false);
}
