//! Once warm, nothing is allocated for a packet, a message or a call: counted by an allocator that counts,
//! over real sockets, sealed, by either backend.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use ringwire::crypto::{Csprng, Identity};
use ringwire::io::Config as IoConfig;
use ringwire::io::select::{Selection, open};
use ringwire::rng::Rng;
use ringwire::time::{Clock, MonotonicClock, wall_at_zero_ns};
use ringwire::transport::Config;
use ringwire::transport::security::Security;
use ringwire::worker::{
    App, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey, Target, Worker, WorkerConfig,
};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it came; the count is a thread-local cell
// that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    /// # Safety
    /// As `GlobalAlloc` has it: passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    /// # Safety
    /// As `GlobalAlloc` has it: passed on.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    /// # Safety
    /// As `GlobalAlloc` has it: passed on.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A table may still double at a new high-water mark; a packet, message or call may not cost an allocation:
/// of the fewest of these there are 200 in what is counted.
const GROWTHS_MAX: u64 = 8;

#[derive(Default)]
struct Echo {
    opened: bool,
    replied: u64,
    messages: u64,
}

impl App for Echo {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, _token: u64, outcome: Outcome<'_>) {
        assert!(matches!(outcome, Outcome::Replied(_)), "{outcome:?}");
        self.replied += 1;
    }

    fn on_message(&mut self, _cx: &mut Cx<'_>, _message: Message<'_>) {
        self.messages += 1;
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        self.opened |= matches!(event, Event::Opened { .. });
    }
}

struct Pair {
    client: Worker<Echo>,
    server: Worker<Echo>,
    session: SessionKey,
}

impl Pair {
    fn new(backend: &str) -> Pair {
        let selection: Selection = backend.parse().expect("a backend");
        let worker = |seed: u64| {
            let identity = Identity::generate(&mut Csprng::new(Rng::entropy(seed)));
            let security = Security::sealed(&identity, None, wall_at_zero_ns(), MonotonicClock.now());
            let transport =
                Config { entropy: Rng::entropy(!seed), boot_id: seed, security, ..Config::default() };
            let bind: SocketAddr = "127.0.0.1:0".parse().expect("an address");
            let (backend, _) = open(&IoConfig::new(bind), &selection).expect("the backend asked for");
            let config = WorkerConfig { transport, ..WorkerConfig::default() };
            Worker::new(config, backend, Rc::new(MonotonicClock), Echo::default())
        };
        let (mut client, server) = (worker(1), worker(2));
        let key = server.public_key().expect("it is sealed");
        let session = client.connect(Target::with_key(server.local_addr(), key)).expect("room");
        let mut pair = Pair { client, server, session };
        pair.turn_until(|pair| pair.client.app().opened);
        pair
    }

    fn turn_until(&mut self, done: impl Fn(&Pair) -> bool) {
        let give_up = MonotonicClock.now().after_ns(20_000_000_000);
        while !done(self) {
            self.client.turn();
            self.server.turn();
            assert!(MonotonicClock.now() < give_up, "it hangs");
        }
    }

    /// A round of calls and messages, and what was allocated meanwhile on this thread.
    fn round(&mut self, calls: u64, payload: &[u8]) -> u64 {
        let before = COUNT.get();
        let target = self.client.app().replied + calls;
        let messages = self.server.app().messages + calls;
        let deadline = MonotonicClock.now().after_ns(10_000_000_000);
        for token in 0..calls {
            self.client.call(self.session, 0, payload, deadline, token).expect("the window fits");
            self.client.send(self.session, None, payload).expect("the queue takes it");
        }
        self.turn_until(|pair| pair.client.app().replied >= target && pair.server.app().messages >= messages);
        COUNT.get() - before
    }

    fn packets(&mut self) -> u64 {
        self.client.counters().packets_sent + self.server.counters().packets_sent
    }
}

/// Whether this host has the backend.
fn is_here(test: &str, backend: &str) -> bool {
    let bind = "127.0.0.1:0".parse().expect("an address");
    let Err(why) = open(&IoConfig::new(bind), &backend.parse().expect("a backend")) else { return true };
    println!("SKIPPED {test}: {why}");
    assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "a skip fails here: {why}");
    false
}

fn nothing_is_allocated(backend: &str) {
    let mut pair = Pair::new(backend);
    for (calls, size) in [(1, 64), (64, 64), (256, 1_000), (64, 8_000)] {
        let payload = vec![7; size];
        // Warm: tables, rings and the slab have grown to what this load needs, and beyond: how much of a round is
        // still unacknowledged when the next begins is the scheduler's, and a new peak is a slot more.
        (0..100).for_each(|_| _ = pair.round(2 * calls, &payload));
        (0..100).for_each(|_| _ = pair.round(calls, &payload));
        let before = pair.packets();
        let allocated: u64 = (0..100).map(|_| pair.round(calls, &payload)).sum();
        let packets = pair.packets() - before;
        println!("{backend}: {calls} x {size}: {allocated} allocations, {packets} packets");
        assert!(packets >= 200, "a round is two packets at least: {packets}");
        assert!(
            allocated <= GROWTHS_MAX,
            "{backend}: {allocated} allocations for {packets} packets, 100 times {calls} calls and messages of {size} bytes"
        );
    }
}

#[test]
fn nothing_is_allocated_per_packet_message_or_call_by_mmsg() {
    nothing_is_allocated("mmsg");
}

#[test]
fn nothing_is_allocated_per_packet_message_or_call_by_uring() {
    if is_here("nothing_is_allocated_per_packet_message_or_call_by_uring", "uring") {
        nothing_is_allocated("uring");
    }
}
