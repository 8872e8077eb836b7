//! Two workers joined by memory, under a virtual clock, with an application that echoes: for tests and
//! benchmarks of what a call costs and how its packets leave.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;

use ringwire::io::memory::{Hub, MemoryBackend};
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::Config;
use ringwire::transport::security::Security;
use ringwire::worker::{
    App, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey, Worker, WorkerConfig,
};

/// What each call takes of a clock.
pub struct Work {
    pub clock: VirtualClock,
    pub call_ns: u64,
}

/// Echoes calls, and counts its own and what it hears.
#[derive(Default)]
pub struct Echo {
    /// Open, in the order in which they were opened.
    pub sessions: Vec<SessionKey>,
    pub replied: u64,
    pub heard: u64,
    /// Nothing, unless told.
    pub work: Option<Work>,
    /// Said as soon as a session opens that this end asked for.
    pub greeting: Option<&'static [u8]>,
}

impl App for Echo {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        if let Some(Work { clock, call_ns }) = &self.work {
            clock.advance_to(clock.now().after_ns(*call_ns));
        }
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, _token: u64, outcome: Outcome<'_>) {
        assert!(matches!(outcome, Outcome::Replied(_)), "{outcome:?}");
        self.replied += 1;
    }

    fn on_message(&mut self, _cx: &mut Cx<'_>, _message: Message<'_>) {
        self.heard += 1;
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        let Event::Opened { session, accepted, .. } = event else { return };
        self.sessions.push(session);
        if let (Some(greeting), false) = (self.greeting, accepted) {
            cx.send(session, None, greeting).expect("it has just been opened");
        }
    }
}

pub struct Pair {
    pub client: Worker<Echo>,
    pub server: Worker<Echo>,
    pub clock: VirtualClock,
    pub session: SessionKey,
}

/// Where the server is.
pub const SERVER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 2));
/// Virtual time that one round of turns takes.
const ROUND_NS: u64 = 5_000;
/// A thousand calls need a few rounds: what is not done by then never is.
const ROUNDS_MAX: u64 = 1_000_000;

impl Pair {
    /// Two workers on `hub`, whose session is open.
    pub fn new<H: Hub + 'static>(hub: H, client: Echo) -> Self {
        Self::with_clock(VirtualClock::new(Timestamp(1_000_000_000)), hub, client)
    }

    /// Two workers on `hub`, which may look at their clock, too.
    pub fn with_clock<H: Hub + 'static>(clock: VirtualClock, hub: H, client: Echo) -> Self {
        Self::with_slots(Config::default().slab_slots, clock, hub, client)
    }

    /// The same with so much memory for units at each end.
    pub fn with_slots<H: Hub + 'static>(
        slab_slots: usize,
        clock: VirtualClock,
        hub: H,
        client: Echo,
    ) -> Self {
        Self::configured(|config| Config { slab_slots, ..config }, clock, hub, client)
    }

    /// The same with other bounds at both ends.
    pub fn configured<H: Hub + 'static>(
        configure: impl Fn(Config) -> Config,
        clock: VirtualClock,
        hub: H,
        client: Echo,
    ) -> Self {
        let (at, target) = (SocketAddr::from(([10, 0, 0, 1], 1)), SERVER);
        let hub = Rc::new(RefCell::new(hub));
        let worker = |seed: u64, at, app| {
            let transport = configure(Config {
                entropy: Rng::entropy(seed),
                boot_id: seed,
                security: Security::insecure_anywhere(),
                ..Config::default()
            });
            let config = WorkerConfig { transport, ..WorkerConfig::default() };
            let backend = Box::new(MemoryBackend::new(at, Rc::clone(&hub)));
            Worker::new(config, backend, Rc::new(clock.clone()), app)
        };
        let (mut client, server) = (worker(1, at, client), worker(2, target, Echo::default()));
        let session = client.connect(target).expect("room for the first session");
        let mut pair = Self { client, server, clock, session };
        pair.turn_until(|pair| !pair.client.app().sessions.is_empty());
        pair
    }

    /// One turn of each end.
    pub fn round(&mut self) {
        self.client.turn();
        self.server.turn();
        self.clock.advance_to(self.clock.now().after_ns(ROUND_NS));
    }

    pub fn turn_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..ROUNDS_MAX {
            if done(self) {
                return;
            }
            self.round();
        }
        panic!("it never came to its end");
    }

    /// Issues `window` calls and turns both ends until all are answered.
    pub fn echo(&mut self, window: u64, payload: &[u8]) {
        let target = self.client.app().replied + window;
        let deadline = self.clock.now().after_ns(1_000_000_000);
        for token in 0..window {
            self.client.call(self.session, 0, payload, deadline, token).expect("the window fits");
        }
        self.turn_until(|pair| pair.client.app().replied == target);
    }
}
