//! Who may open sessions, and what they may do on them: at the level of workers on a virtual clock, and of
//! endpoints over real sockets.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringwire::crypto::{Csprng, PublicKey};
use ringwire::endpoint::{AllowList, Endpoint, EndpointError, Identity, OpenError, Outcome, PresharedKey};
use ringwire::io::memory;
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::security::{Gate, Security};
use ringwire::transport::{Config, ConnectError};
use ringwire::worker::{
    self, App, CloseReason, Cx, Event, ReplyWriter, Request, Target, Worker, WorkerConfig, status,
};

fn identity(seed: u8) -> Identity {
    Identity::generate(&mut Csprng::new([seed; 32]))
}

fn list(key: &PublicKey, limits: &str) -> Arc<AllowList> {
    Arc::new(AllowList::parse(&format!("{key} tester {limits}\n")).expect("a good list"))
}

#[derive(Default)]
struct Ends {
    opened: usize,
    closed: Vec<CloseReason>,
}

impl App for Ends {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: worker::Outcome<'_>) {
        panic!("nobody called, and call {token} ended as {outcome:?}");
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { .. } => self.opened += 1,
            Event::Closed { reason, .. } => self.closed.push(reason),
            _ => {}
        }
    }
}

/// A client and a server whose turns the test takes one by one.
struct Pair {
    clock: VirtualClock,
    client: Worker<Ends>,
    server: Worker<Ends>,
}

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 1);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 2);

impl Pair {
    fn new(gate: impl Gate + 'static) -> Self {
        let clock = VirtualClock::new(Timestamp(1_000_000_000));
        let (a, b) = memory::pair(CLIENT.into(), SERVER.into());
        let worker = |seed: u8, backend, gate: Option<Arc<dyn Gate>>| {
            let mut security = Security::sealed(&identity(seed), None, 0, Timestamp(0));
            security.gate = gate.unwrap_or(security.gate);
            let entropy = Rng::entropy(seed.into());
            let transport = Config { entropy, security, boot_id: seed.into(), ..Config::default() };
            let config = WorkerConfig { transport, ..WorkerConfig::default() };
            Worker::new(config, Box::new(backend), Rc::new(clock.clone()), Ends::default())
        };
        let client = worker(1, a, None);
        let server = worker(2, b, Some(Arc::new(gate)));
        Self { clock, client, server }
    }

    fn connect(&mut self) {
        let target = Target::with_key(SERVER.into(), identity(2).public_key());
        self.client.connect(target).expect("room for a session");
    }

    fn run_for_ms(&mut self, ms: u64) {
        let end = self.clock.now().after_ns(ms * 1_000_000);
        while self.clock.now() < end {
            while !(self.client.turn().idle & self.server.turn().idle) {}
            self.clock.advance_to(self.clock.now().after_ns(100_000));
        }
    }
}

#[test]
fn a_key_that_asks_for_many_sessions_at_once_gets_no_more_than_its_share() {
    let mut pair = Pair::new(list(&identity(1).public_key(), "sessions=2"));
    (0..4).for_each(|_| pair.connect());
    pair.run_for_ms(1_000);
    assert_eq!(pair.server.engine().sessions(), 2);
    assert_eq!(pair.client.app().opened, 2);
    assert_eq!(pair.client.app().closed, [CloseReason::Refused(6); 2], "and is told why");
}

#[test]
fn a_key_taken_off_the_list_while_its_handshake_is_under_way_does_not_come_in() {
    let gate = list(&identity(1).public_key(), "");
    let mut pair = Pair::new(gate.clone());
    pair.connect();
    // The client's turns, until its first message is on the way.
    (0..3).for_each(|_| _ = pair.client.turn());
    // The server opened it, found the key on the list, and has not answered.
    pair.server.turn();
    assert!(pair.server.engine().wants_job(), "the answer waits");
    gate.replace("").expect("nobody");
    pair.run_for_ms(1_000);
    assert_eq!(pair.server.engine().sessions(), 0);
    assert_eq!(pair.client.app().closed, [CloseReason::Refused(5)]);
}

#[test]
fn sessions_of_a_key_taken_off_the_list_end_and_others_stay() {
    let (client, other) = (identity(1).public_key(), identity(3).public_key());
    let gate = Arc::new(AllowList::parse(&format!("{client} a\n{other} b\n")).expect("a good list"));
    let mut pair = Pair::new(gate.clone());
    pair.connect();
    pair.run_for_ms(10);
    gate.replace(&format!("{client} a sessions=9\n")).expect("one less");
    pair.run_for_ms(50);
    assert_eq!(pair.server.engine().sessions(), 1);
    gate.replace(&format!("{other} b\n")).expect("another less");
    // The look is every 10 ms.
    pair.run_for_ms(12);
    assert_eq!(pair.server.engine().sessions(), 0);
    assert_eq!(pair.server.counters().expelled, 1);
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

#[test]
fn an_endpoint_that_serves_others_does_not_start_before_it_knows_whom() {
    let serving = || Endpoint::builder().bind(anywhere()).serve(|request, reply| reply.send(request.payload));
    let error = serving().start().expect_err("nobody was named");
    assert!(matches!(error, EndpointError::NoGate { .. }), "{error}");
    assert!(error.to_string().contains("allow_any_client"), "it says what to do: {error}");
    assert!(serving().allow_any_client().start().is_ok());
    assert!(serving().gate(list(&identity(1).public_key(), "")).start().is_ok());
}

#[test]
fn an_endpoint_that_only_calls_out_lets_nobody_in() {
    let quiet = Endpoint::builder().bind(anywhere()).start().expect("it serves nobody");
    let target = SocketAddr::from(([127, 0, 0, 1], quiet.local_addr().port()));
    let caller = Endpoint::builder().bind(loopback()).start().expect("a free port");
    let error = caller.connect(target).wait().expect_err("it lets nobody in");
    assert_eq!(error, OpenError::Ended(CloseReason::Refused(5)));
}

#[test]
fn a_server_on_another_host_must_be_named_and_an_insecure_end_stays_on_this_one() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 9));
    let sealed = Endpoint::builder().bind(anywhere()).start().expect("a free port");
    let error = sealed.connect(elsewhere).wait().expect_err("no key was named");
    assert_eq!(error, OpenError::Local(ConnectError::NoServerKey));
    let plain = Endpoint::builder().bind(anywhere()).insecure().start().expect("a free port");
    let error = plain.connect(elsewhere).wait().expect_err("it is insecure");
    assert_eq!(error, OpenError::Local(ConnectError::InsecureElsewhere));
}

#[test]
fn a_method_that_a_key_may_not_call_never_reaches_the_handler() {
    let me = identity(1);
    let server = Endpoint::builder()
        .bind(loopback())
        .gate(list(&me.public_key(), "methods=1"))
        .serve(|request, reply| {
            assert_eq!(request.method, 1, "the handler of a method that is not allowed");
            reply.send(request.payload);
        })
        .start()
        .expect("a free port");
    let client = Endpoint::builder().bind(loopback()).identity(me).start().expect("a free port");
    let peer = client.connect(server.local_addr()).wait().expect("the key is on the list");
    assert_eq!(peer.call(1, "yes").wait().expect("it may"), "yes");
    let Outcome::Failed { status, .. } = peer.call(2, "no").wait() else { panic!("it may not") };
    assert_eq!(status, status::FORBIDDEN);
}

#[test]
fn only_ends_with_the_same_preshared_key_open_sessions() {
    let end = |psk: Option<u8>| {
        let builder = Endpoint::builder().bind(loopback());
        let builder = match psk {
            Some(byte) => builder.preshared_key(PresharedKey::new([byte; 32])),
            None => builder,
        };
        builder.start().expect("a free port")
    };
    let server = end(Some(7));
    let target = server.local_addr();
    assert!(end(Some(7)).connect(target).wait().is_ok());
    // Side by side: silence takes its time.
    std::thread::scope(|scope| {
        for other in [Some(8), None] {
            scope.spawn(move || {
                let error = end(other).connect(target).wait().expect_err("another key");
                assert_eq!(error, OpenError::Ended(CloseReason::Unreachable), "strangers get silence");
            });
        }
    });
}
