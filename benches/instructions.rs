//! How many instructions does one call cost two workers? Counted by valgrind, not by a clock:
//!
//! ```text
//! cargo bench --no-run --bench instructions
//! valgrind --tool=callgrind target/release/deps/instructions-* WINDOW SIZE CALLS
//! ```

use std::rc::Rc;

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

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: u64| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (window, size, calls) = (number(0, 1), number(1, 64), number(2, 10_000));
    let mut pair = Pair::new();
    let payload = vec![0x5a; size as usize];
    for _ in 0..calls.div_ceil(window) {
        pair.echo(window, &payload);
    }
}
