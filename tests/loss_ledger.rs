//! The loss ledger over real sockets: packets are made to vanish at one place each, and the ledger names
//! that place, to within one in a hundred of what was lost.
//!
//! What was really lost is known apart from the ledger: the tap counts what it takes, and the kernel counts
//! per socket in `/proc/net/udp`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringwire::crypto::{Csprng, Identity};
use ringwire::io::memory::{Hub, Switch};
use ringwire::io::mmsg::Mmsg;
use ringwire::io::{Backend, Config as IoConfig, Ecn};
use ringwire::rng::Rng;
use ringwire::time::{Clock, MonotonicClock};
use ringwire::transport::Counters;
use ringwire::transport::security::Security;
use ringwire::worker::tap::{Tap, TapConfig, TapCounters};
use ringwire::worker::{
    App, Cx, Event, Ledger, Outcome, ReplyWriter, Request, SessionKey, Target, Worker, WorkerConfig,
};

#[allow(dead_code, reason = "other tests use more of it")]
mod pair_support;

use pair_support::{Echo, Pair, SERVER};

/// Answers calls and forgets what it is told.
#[derive(Default)]
struct Quiet {
    opened: Option<SessionKey>,
}

impl App for Quiet {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome<'_>) {}

    fn on_event(&mut self, _: &mut Cx<'_>, event: Event) {
        if let Event::Opened { session, .. } = event {
            self.opened = Some(session);
        }
    }
}

struct Ends {
    client: Worker<Quiet>,
    server: Worker<Quiet>,
    session: SessionKey,
    tap: Rc<Cell<TapCounters>>,
    clock: MonotonicClock,
}

/// A client behind a tap that does what `impair` says, and a server whose socket asks for `buffer` bytes.
///
/// A server with a small buffer takes its packets singly: of a train that it would take as one (`UDP_GRO`) and
/// has no room for, the kernel counts one packet (`__udp_enqueue_schedule_skb`), and the rest is the network's.
fn ends(seed: u64, impair: &str, buffer: Option<u64>) -> Ends {
    let clock = MonotonicClock;
    let config = |seed: u64| {
        let identity = Identity::generate(&mut Csprng::new(Rng::entropy(seed)));
        let mut config = WorkerConfig::default();
        config.transport.boot_id = seed;
        config.transport.entropy = Rng::entropy(seed);
        config.transport.security = Security::sealed(&identity, None, 0, clock.now());
        config
    };
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let open = |socket_buffer| {
        let socket = IoConfig { socket_buffer, gro: socket_buffer.is_none(), ..IoConfig::new(any) };
        Box::new(Mmsg::open(&socket).expect("a free port")) as Box<dyn Backend>
    };
    let impair = Some(impair.parse().expect("a good spec"));
    let tap = Tap::new(open(None), Rc::new(clock), TapConfig { impair, capture: None }).expect("no capture");
    let watch = tap.watch();
    let server = Worker::new(config(seed + 1), open(buffer), Rc::new(clock), Quiet::default());
    let mut client = Worker::new(config(seed + 2), Box::new(tap), Rc::new(clock), Quiet::default());
    let target = Target { server_key: server.public_key(), ..Target::from(server.local_addr()) };
    let session = client.connect(target).expect("a new worker has room");
    let mut ends = Ends { client, server, session, tap: watch, clock };
    ends.until(|ends| ends.client.app().opened.is_some() && ends.server.app().opened.is_some());
    ends
}

impl Ends {
    /// Turns both ends until `done`, at most half a minute: no figure is taken of how long it was.
    fn until(&mut self, done: impl Fn(&mut Ends) -> bool) {
        let end = self.clock.now().after(Duration::from_secs(30));
        while !done(self) {
            assert!(self.clock.now() < end, "it did not come to its end in half a minute");
            self.client.turn();
            self.server.turn();
        }
    }

    /// Turns both ends until nothing is on its way, and each has looked at its socket and been told of the
    /// other's.
    fn settle(&mut self) {
        self.until(|ends| ends.client.engine().unacknowledged(ends.session) == 0);
        let end = self.clock.now().after(Duration::from_millis(150));
        self.until(|ends| ends.clock.now() >= end);
        // Whoever was kept from its core all the time looks now, and tells.
        for _ in 0..100 {
            self.client.turn();
            self.server.turn();
        }
    }

    /// Sends `count` messages of `size` bytes and waits for them to arrive.
    fn say(&mut self, count: usize, size: usize) {
        let bytes = vec![7; size];
        for _ in 0..count {
            while self.client.send(self.session, None, &bytes).is_err() {
                self.client.turn();
                self.server.turn();
            }
        }
        self.settle();
    }

    /// The server looks away while the client sends what its window lets it, `rounds` times.
    fn flood(&mut self, rounds: usize) {
        let bytes = [7; 1_000];
        for _ in 0..rounds {
            for _ in 0..20 {
                while self.client.datagram(self.session, &bytes).is_err() {}
                self.client.turn();
            }
            self.server.turn();
            self.client.turn();
        }
    }

    fn ledger(&mut self) -> Ledger {
        Ledger::of([self.client.loss_counters(), self.server.loss_counters()])
    }
}

/// Both within one in a hundred of each other, and enough of them to say so.
fn assert_close(what: &str, seen: u64, truth: u64) {
    assert!(truth >= 100, "{what}: only {truth} were lost: that shows nothing");
    assert!(seen.abs_diff(truth) * 100 <= truth, "{what}: {seen} seen, {truth} in truth");
}

/// The places add up to what was lost.
fn assert_adds_up(ledger: &Ledger) {
    let sum: u64 = ledger.places().iter().map(|(_, count)| count).sum();
    assert_close("the sum of all places", sum, ledger.lost());
}

fn place(ledger: &Ledger, name: &str) -> u64 {
    ledger.places().into_iter().find(|(place, _)| *place == name).expect("a place").1
}

#[test]
fn what_the_network_loses_is_the_network_s() {
    let mut ends = ends(11, "loss=10%,seed=5", None);
    // So many that the client's packets of nothing but acks, which nobody declares lost, are below one in a
    // hundred of what is lost.
    ends.say(12_000, 2_000);
    let tap = ends.tap.get();
    let truth = tap.outbound.lost + tap.inbound.lost;
    let ledger = ends.ledger();
    assert_close("lost in the network", ledger.network(), truth);
    assert_eq!(ledger.counted.named(), 0, "nothing was lost at either end: {ledger:?}");
    assert_adds_up(&ledger);
    // What the sender alone believes, by acks, of its own packets.
    let engine: Counters = ends.client.counters();
    assert_close(
        "declared lost and not acknowledged",
        engine.lost - engine.losses_mistaken,
        tap.outbound.lost,
    );
}

#[test]
fn what_is_damaged_on_the_way_is_counted_where_the_seal_breaks_and_told_to_its_sender() {
    let mut ends = ends(21, "corrupt=10%,seed=6", None);
    ends.say(3_000, 2_000);
    // What was damaged last is told along with what comes later, however soon all that was said; and a STATS may
    // be damaged itself.
    let is_told = |ends: &Ends| 2 * ends.client.counters().peer_corrupt >= ends.server.counters().corrupt;
    for _ in 0..20 {
        ends.say(20, 100);
        if is_told(&ends) {
            break;
        }
    }
    let tap = ends.tap.get();
    let ledger = ends.ledger();
    // A packet cut to nothing is no packet any more: its end was in the network. Of one whose session's name was
    // damaged nothing else can be told.
    let truth = tap.outbound.corrupted + tap.inbound.corrupted;
    let renamed = place(&ledger, "no_session");
    let seen = place(&ledger, "damaged") + renamed + ledger.network();
    assert_close("damaged, renamed, or cut to nothing", seen, truth);
    assert!(renamed * 10 <= truth, "{ledger:?}");
    assert!(ledger.network() * 20 <= truth, "{ledger:?}");
    assert_adds_up(&ledger);
    let told = ends.client.counters().peer_corrupt;
    let there = ends.server.counters().corrupt;
    assert!(told > 0 && told <= there && told * 2 >= there, "{told} of {there} told by STATS");
}

#[test]
fn what_finds_the_peer_s_socket_buffer_full_is_the_socket_buffer_s() {
    // Below what the credit of one session counts on: datagrams, which need none, overrun it.
    let mut ends = ends(31, "loss=0%", Some(8 * 1024));
    let port = ends.server.local_addr().port();
    // The first STATS of a session tells where the socket's count stood: only its growth is ours.
    ends.flood(20);
    ends.settle();
    let (told_before, before) = (ends.client.counters().peer_socket_drops, kernel_drops(port));
    assert!(before > 0, "nothing was dropped: that shows nothing");
    ends.flood(400);
    ends.settle();
    let (ledger, truth) = (ends.ledger(), kernel_drops(port));
    assert_close("at the server's socket buffer", place(&ledger, "socket_buffer"), truth);
    assert_close("lost in all", ledger.lost(), truth);
    assert_eq!(ledger.network(), 0, "{ledger:?}");
    assert_adds_up(&ledger);
    let told = ends.client.counters().peer_socket_drops - told_before;
    assert_close("told by STATS", told, truth - before);
}

/// A switch whose server's socket is said to have dropped so many packets.
struct Overrun {
    switch: Switch,
    drops: Rc<Cell<u64>>,
}

impl Hub for Overrun {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], ecn: Ecn) {
        self.switch.send(from, to, packet, ecn);
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        self.switch.receive(at, into)
    }

    fn packet_size_max(&self, from: SocketAddr, to: SocketAddr) -> usize {
        self.switch.packet_size_max(from, to)
    }

    fn drops(&self, at: SocketAddr) -> u64 {
        if at == SERVER { self.drops.get() } else { 0 }
    }
}

#[test]
fn what_a_peer_s_socket_dropped_is_not_multiplied_by_the_sessions_that_are_told_of_it() {
    // With 10,000 sessions to one worker 7.8 million packets were shown where 784 had been dropped.
    let drops = Rc::new(Cell::new(16));
    let mut pair = Pair::new(Overrun { switch: Switch::default(), drops: drops.clone() }, Echo::default());
    let sessions = 20;
    (1..sessions).for_each(|_| {
        pair.client.connect(SERVER).expect("room");
    });
    pair.turn_until(|pair| pair.client.app().sessions.len() == sessions);
    // A socket is looked at once in 10 ms, and a round takes 5 µs.
    (0..5_000).for_each(|_| pair.round());
    assert_eq!(pair.client.counters().peer_socket_drops, 0, "the first STATS tells where the count stood");
    drops.set(16 + 784);
    (0..5_000).for_each(|_| pair.round());
    assert_eq!(pair.client.counters().peer_socket_drops, 784);
}

/// The kernel's own count of what it dropped at the socket with this port: the last column of its line.
fn kernel_drops(port: u16) -> u64 {
    let local = format!(":{port:04X}");
    // The table is handed over piece by piece. Between two pieces other sockets come and go, and a line that is there may
    // be passed over: it is read until it shows the socket, which is open all the while.
    for _ in 0..100 {
        let table = std::fs::read_to_string("/proc/net/udp").expect("Linux has it");
        let line = table
            .lines()
            .find(|line| line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(&local)));
        if let Some(drops) = line.and_then(|line| line.split_whitespace().last()) {
            return drops.parse().expect("a number");
        }
    }
    panic!("the socket is open, and a hundred readings of the kernel's table do not show it");
}
