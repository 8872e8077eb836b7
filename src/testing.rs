//! For users' own tests: two connected workers on a virtual network, moved on by hand.
//!
//! Not for speed figures: time is virtual, and a second of it passes in milliseconds.
//!
//! ```text
//! pair(seed, client app, server app) --> run_for(1 ms), run_until(…) --> look at both apps
//! ```
//!
//! Invariant: everything that happens is a function of the seed and of what the test does.
#![forbid(unsafe_code)]

pub mod bare;
pub mod said;
pub mod scripted;

use std::net::SocketAddr;
use std::time::Duration;

use crate::crypto::{Csprng, Identity};
use crate::rng::Rng;
use crate::sim::world::World;
use crate::time::Timestamp;
use crate::transport::security::Security;
use crate::worker::impair::ImpairSpec;
use crate::worker::{
    App, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey, Worker, WorkerConfig,
};

/// Two workers, a client's and a server's, 20 µs apart on a network without faults, connected by a sealed
/// session.
///
/// # Panics
/// When they do not connect: that is a bug of this library's.
#[must_use]
pub fn pair<C: App, S: App>(seed: u64, client: C, server: S) -> Pair<C, S> {
    let link = ImpairSpec { delay_ns: DELAY_NS, seed, ..ImpairSpec::default() };
    let mut world = World::new(seed, link);
    let now = world.now();
    let config = |boot_id: u64| {
        let identity = Identity::generate(&mut Csprng::new(Rng::entropy(!seed ^ boot_id)));
        let mut config = WorkerConfig::default();
        config.transport.boot_id = boot_id;
        config.transport.entropy = Rng::entropy(seed ^ boot_id);
        config.transport.security = Security::sealed(&identity, None, 0, now);
        config
    };
    let server = world.add(config(1), Side::Server(server));
    let client = world.add(config(2), Side::Client(client));
    assert_eq!((server, client), (SERVER, CLIENT));
    let target = world.target(SERVER);
    let session =
        world.worker(CLIENT).expect("nobody kills it").connect(target).expect("a new worker has room");
    let mut pair = Pair { world, session };
    let opened = |pair: &mut Pair<C, S>| {
        let worker = pair.world.peek(CLIENT).expect("nobody kills it");
        worker.engine().packet_size(session).is_some()
    };
    assert!(pair.run_until(Duration::from_secs(1), opened), "a network without faults connects, seed {seed}");
    pair
}

/// A client and a server, and the network between them. See [`pair`].
pub struct Pair<C: App, S: App> {
    world: World<Side<C, S>>,
    session: SessionKey,
}

impl<C: App, S: App> Pair<C, S> {
    /// The session, as the client names it.
    #[must_use]
    pub fn session(&self) -> SessionKey {
        self.session
    }

    /// The virtual time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// The client's worker: calls and messages begin here.
    pub fn client(&mut self) -> &mut Worker<Side<C, S>> {
        self.world.worker(CLIENT).expect("nobody kills it")
    }

    /// The server's worker.
    pub fn server(&mut self) -> &mut Worker<Side<C, S>> {
        self.world.worker(SERVER).expect("nobody kills it")
    }

    /// The client's application.
    pub fn client_app(&mut self) -> &mut C {
        match self.client().app_mut() {
            Side::Client(app) => app,
            Side::Server(_) => unreachable!("each side was placed when the pair was made"),
        }
    }

    /// The server's application.
    pub fn server_app(&mut self) -> &mut S {
        match self.server().app_mut() {
            Side::Server(app) => app,
            Side::Client(_) => unreachable!("each side was placed when the pair was made"),
        }
    }

    /// From here on both directions of the network do what `spec` says.
    pub fn impair(&mut self, spec: &ImpairSpec) {
        let (server, client) = (self.world.addr(SERVER), self.world.addr(CLIENT));
        let mut network = self.world.network().borrow_mut();
        // Each direction has chances of its own.
        let back = ImpairSpec { seed: !spec.seed, ..spec.clone() };
        network.set_link(client, server, spec.clone());
        network.set_link(server, client, back);
    }

    /// From here on packets of more than `size_max` bytes of UDP payload vanish on the way, and nobody is
    /// told: a black hole.
    pub fn carry_at_most(&mut self, size_max: usize) {
        self.world.network().borrow_mut().set_carried_size(size_max);
    }

    /// The NAT that the client is behind forgets it: the server sees it at `alias` from now on, and what it
    /// sends to where the client was before is lost.
    pub fn rebind(&mut self, alias: SocketAddr) {
        self.world.rebind(CLIENT, alias);
    }

    /// The packet size that the client sends by now, and the server.
    #[must_use]
    pub fn packet_sizes(&mut self) -> [usize; 2] {
        let session = self.session;
        let client = self.client().engine().packet_size(session);
        let server = self.server().engine().packet_size_max();
        [client.unwrap_or(0), server.unwrap_or(0)]
    }

    /// Lets `time` pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.world.now().after(time);
        while self.world.step(end) {}
    }

    /// Lets time pass until `done` says so; false when `limit` passed first.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.world.now().after(limit);
        loop {
            if done(self) {
                return true;
            }
            if !self.world.step(end) {
                return done(self);
            }
        }
    }
}

/// One of the two applications: a worker's type names both, so that one world holds them.
pub enum Side<C, S> {
    /// The client's.
    Client(C),
    /// The server's.
    Server(S),
}

macro_rules! on_side {
    ($side:expr, $app:ident => $call:expr) => {
        match $side {
            Side::Client($app) => $call,
            Side::Server($app) => $call,
        }
    };
}

impl<C: App, S: App> App for Side<C, S> {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        on_side!(self, app => app.on_request(request, reply));
    }

    fn on_outcome(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        on_side!(self, app => app.on_outcome(cx, token, outcome));
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: Message<'_>) {
        on_side!(self, app => app.on_message(cx, message));
    }

    fn on_datagram(&mut self, cx: &mut Cx<'_>, message: Message<'_>) {
        on_side!(self, app => app.on_datagram(cx, message));
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        on_side!(self, app => app.on_event(cx, event));
    }
}

const SERVER: usize = 0;
const CLIENT: usize = 1;
const DELAY_NS: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Echo {
        outcomes: Vec<(u64, Vec<u8>)>,
    }

    impl App for Echo {
        fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
            reply.send(request.payload);
        }

        fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
            let bytes = match outcome {
                Outcome::Replied(bytes) => bytes.to_vec(),
                other => panic!("call {token} ended as {other:?}"),
            };
            self.outcomes.push((token, bytes));
        }
    }

    fn call(pair: &mut Pair<Echo, Echo>, token: u64) {
        let session = pair.session();
        let sent = pair.client().call(session, 1, b"hello", Timestamp::NEVER, token);
        sent.expect("a connected pair takes a call");
    }

    #[test]
    fn a_call_between_a_pair_comes_back_after_a_round_trip() {
        let mut pair = pair(7, Echo::default(), Echo::default());
        let asked = pair.now();
        call(&mut pair, 9);
        assert!(pair.run_until(Duration::from_millis(1), |pair| !pair.client_app().outcomes.is_empty()));
        assert_eq!(pair.client_app().outcomes, [(9, b"hello".to_vec())]);
        assert!(pair.now().since_ns(asked) >= 2 * DELAY_NS);
    }

    #[test]
    fn a_pair_keeps_its_promises_on_a_lossy_network() {
        let mut pair = pair(8, Echo::default(), Echo::default());
        pair.impair(&"loss=30%,delay=20us,seed=8".parse().expect("a good spec"));
        (0..50).for_each(|token| call(&mut pair, token));
        assert!(pair.run_until(Duration::from_secs(5), |pair| pair.client_app().outcomes.len() == 50));
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.client_app().outcomes.len(), 50, "no outcome comes twice");
    }
}
