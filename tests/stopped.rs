//! A server process that is stopped and goes on again, over real sockets: SIGSTOP for less than the dead-peer
//! time fails nothing; for more it ends every call by its name, and nothing runs twice.
#![cfg(feature = "cli")]

mod cli_support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cli_support::{Served, go_on, rest_ms, stop};
use ringwire::endpoint::{Call, Endpoint, Outcome, Peer};
use ringwire::transport::{CloseReason, Config, SendError};

/// The echo of `ringwire serve`.
const ECHO: u32 = 0;
/// The dead-peer time: a session that hears nothing for so long is dead.
const DEAD: Duration = Duration::from_secs(3);
const CALLS: usize = 64;

struct Scene {
    server: Served,
    address: SocketAddr,
    client: Endpoint,
    peer: Peer,
    /// Calls made so far.
    made: usize,
}

impl Scene {
    fn new() -> Self {
        let server = Served::start("");
        let address: SocketAddr = server.address.parse().expect("an address");
        let config = Config { idle_timeout: DEAD, keep_alive: DEAD / 10, ..Config::default() };
        let client = Endpoint::builder().bind("127.0.0.1:0".parse().expect("an address")).transport(config);
        let client = client.start().expect("a free port");
        let peer = client.connect(address).wait().expect("the server runs");
        let mut scene = Self { server, address, client, peer, made: 0 };
        for call in scene.calls(Duration::from_secs(20)) {
            assert!(matches!(call.wait(), Outcome::Replied(_)));
        }
        scene
    }

    fn calls(&mut self, limit: Duration) -> Vec<Call> {
        let first = self.made;
        self.made += CALLS;
        let call =
            |number: usize| self.peer.call(ECHO, number.to_le_bytes().to_vec()).deadline(limit).start();
        (first..self.made).map(call).collect()
    }

    /// How many calls the server ran in all, by its own account at its end.
    fn ran(self) -> usize {
        drop(self.peer);
        drop(self.client);
        let ended = self.server.terminate();
        let count = ended.stderr.split_whitespace().find_map(|word| word.strip_prefix("calls_received="));
        count.expect("the server tells").parse().expect("a number")
    }
}

#[test]
fn a_server_stopped_for_nine_tenths_of_the_dead_peer_time_fails_nothing() {
    let mut scene = Scene::new();
    stop(scene.server.id());
    let calls = scene.calls(Duration::from_secs(20));
    rest_ms(DEAD.as_millis() as u64 * 9 / 10);
    go_on(scene.server.id());
    for call in calls {
        assert!(matches!(call.wait(), Outcome::Replied(_)));
    }
    rest_ms(200);
    assert_eq!(scene.peer.close_reason(), None, "no false failure");
    let made = scene.made;
    assert_eq!(scene.ran(), made, "each ran once");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long a process was silent is a matter of the host's clock"
)]
fn a_server_stopped_for_longer_ends_every_call_by_name_and_runs_none_twice() {
    let mut scene = Scene::new();
    stop(scene.server.id());
    let stopped = Instant::now();
    let hasty = scene.calls(DEAD / 3);
    let patient = scene.calls(Duration::from_secs(20));
    for call in hasty {
        assert_eq!(call.wait(), Outcome::TimedOut);
    }
    assert!(stopped.elapsed() < DEAD, "by their deadline, and not when the server counted as dead");
    for call in patient {
        assert_eq!(call.wait(), Outcome::Unknown, "it may have run");
    }
    assert!(stopped.elapsed() >= DEAD * 9 / 10, "after {:?}", stopped.elapsed());
    assert_eq!(scene.peer.closed().wait(), CloseReason::TimedOut);
    let after = scene.peer.call(ECHO, "").wait();
    assert_eq!(after, Outcome::NotSent(SendError::Closed));
    let rest = (DEAD * 11 / 10).saturating_sub(stopped.elapsed());
    rest_ms(rest.as_millis() as u64);
    go_on(scene.server.id());
    // It serves again, over a session of its own.
    let again = scene.client.connect(scene.address).wait().expect("the server goes on");
    assert!(matches!(again.call(ECHO, "again").wait(), Outcome::Replied(_)));
    drop(again);
    let made = scene.made + 1;
    let ran = scene.ran();
    assert!(ran <= made, "{made} were made and {ran} ran: one ran twice");
}
