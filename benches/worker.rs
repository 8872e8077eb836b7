//! What does one call cost two workers, without a kernel in between?
//!
//! Both ends run on this thread and are joined by memory, so a figure is the work of both: four
//! records written and read, a quarter of a packet's sealing and opening at each end, handlers,
//! bookkeeping. The handler echoes.
//!
//! Expected, from a back-of-envelope sum for 64 bytes: four records at 5 ns each way, 76 bytes copied
//! three times each way, 76 bytes of checksum four times at 5 GB/s (60 ns), two handlers and a call
//! slot (20 ns), and per packet 1 µs shared by some 200 calls: 130 to 200 ns a call. What a real socket
//! adds is the difference to `ringwire bench rate`.

use std::rc::Rc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringwire::io::memory;
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::Config;
use ringwire::transport::security::Security;
use ringwire::worker::{App, Cx, Event, Outcome, ReplyWriter, Request, SessionKey, Worker, WorkerConfig};

/// Echoes calls and counts its own.
#[derive(Default)]
struct Echo {
    opened: bool,
    replied: u64,
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
        self.opened |= matches!(event, Event::Opened { .. });
    }
}

struct Pair {
    client: Worker<Echo>,
    server: Worker<Echo>,
    clock: VirtualClock,
    session: SessionKey,
}

/// Virtual time that one round of turns takes.
const ROUND_NS: u64 = 5_000;

impl Pair {
    fn new() -> Self {
        let (a, b) = memory::pair(([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into());
        let clock = VirtualClock::new(Timestamp(1_000_000_000));
        let target = std::net::SocketAddr::from(([10, 0, 0, 2], 2));
        let worker = |seed: u64, backend| {
            let transport = Config {
                entropy: Rng::entropy(seed),
                boot_id: seed,
                security: Security::insecure_anywhere(),
                ..Config::default()
            };
            let config = WorkerConfig { transport, ..WorkerConfig::default() };
            Worker::new(config, Box::new(backend), Rc::new(clock.clone()), Echo::default())
        };
        let (mut client, server) = (worker(1, a), worker(2, b));
        let session = client.connect(target).expect("room for the first session");
        let mut pair = Self { client, server, clock, session };
        pair.turn_until(|client| client.opened);
        pair
    }

    fn turn_until(&mut self, done: impl Fn(&Echo) -> bool) {
        while !done(self.client.app()) {
            self.client.turn();
            self.server.turn();
            self.clock.advance_to(self.clock.now().after_ns(ROUND_NS));
        }
    }

    /// Issues `window` calls and turns both ends until all are answered.
    fn echo(&mut self, window: u64, payload: &[u8]) {
        let target = self.client.app().replied + window;
        let deadline = self.clock.now().after_ns(1_000_000_000);
        for token in 0..window {
            self.client.call(self.session, 0, payload, deadline, token).expect("the window fits");
        }
        self.turn_until(|client| client.replied == target);
    }
}

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    for (window, size) in [(1u64, 64usize), (256, 64), (4_096, 64), (256, 1_024)] {
        let mut pair = Pair::new();
        let payload = vec![0x5a; size];
        // Packets reach their full size, and windows theirs, before anything is timed.
        (0..64).for_each(|_| pair.echo(window, &payload));
        group.throughput(Throughput::Elements(window));
        group.bench_function(BenchmarkId::new(format!("window {window}"), size), |bencher| {
            bencher.iter(|| pair.echo(window, &payload));
        });
    }
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
