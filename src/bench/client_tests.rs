//! A client thread against a server in the same process, over loopback.

use std::net::Ipv4Addr;
use std::sync::mpsc;

use super::*;
use crate::bench::quiet;
use crate::bench::server::Server;
use crate::io::select::Selection;
use crate::sys::cores::allowed;
use crate::time::Clock;
use crate::transport::CongestionKind;
use crate::transport::security::Security;
use crate::worker::IdlePolicy;

const WARMUP: Duration = Duration::from_millis(2);
const LENGTH: Duration = Duration::from_millis(15);
/// Into the second of the 100 ms that a parked worker waits when no timer is set.
const HESITATION: Duration = Duration::from_millis(130);
const ROUNDS: usize = 12;

fn host() -> Host {
    Host {
        backend: Selection::default(),
        idle: IdlePolicy::Park,
        congestion: CongestionKind::Auto,
        socket_buffer: None,
        impair: None,
        security: Security::insecure(),
        server_key: None,
    }
}

fn ping(target: SocketAddr) -> Plan {
    Plan { duration: LENGTH, warmup: WARMUP, verify: true, ..Plan::of(Scenario::Ping, target) }
}

/// One run whose start is told `HESITATION` after the client has connected, as when another thread of it is
/// slower.
fn late_start(host: &Host, plan: &Plan) -> Box<Measured> {
    let shared = Shared::default();
    let clock = MonotonicClock;
    let place = Place { index: 0, core: None, boot_id: 7 };
    let client = Client { plan, host, place, caller_core: None, workers: 1, clock, shared: &shared };
    std::thread::scope(|scope| {
        let (sender, notes) = mpsc::channel();
        scope.spawn(move || client.run(&sender));
        assert!(matches!(notes.recv(), Ok(Note::Connected)));
        let early = notes.recv_timeout(HESITATION);
        assert!(early.is_err(), "no note before the start: {early:?}");
        let start = clock.now().after(WARMUP);
        shared.window.set(Window { start, end: start.after(LENGTH) }).expect("set once");
        match notes.recv() {
            Ok(Note::Done(measured)) => measured,
            other => panic!("no measurement: {other:?}"),
        }
    })
}

#[test]
fn a_parked_client_that_waits_for_its_start_does_not_sleep_through_it() {
    let server = Server::start(&host(), (Ipv4Addr::LOCALHOST, 0).into(), &allowed()[..1]).expect("a server");
    let plan = ping(server.address());
    let completed: Vec<u64> =
        (0..ROUNDS).map(|_| late_start(&host(), &plan).recorder.tally().completed).collect();
    // A host that takes the core for one window empties that one; the sleep emptied all.
    let empty = completed.iter().filter(|calls| **calls == 0).count();
    assert!(empty <= ROUNDS / 3, "{empty} of {ROUNDS} windows without a call: {completed:?}");
}

#[test]
fn a_run_against_a_parked_server_names_no_packet_lost_that_was_not() {
    let server = Server::start(&host(), (Ipv4Addr::LOCALHOST, 0).into(), &allowed()[..1]).expect("a server");
    let plan = ping(server.address());
    for round in 0..ROUNDS {
        let looks = late_start(&host(), &plan).balance.losses.expect("the server tells");
        let ledger = quiet::ledger(&[looks]);
        assert_eq!(ledger.network(), 0, "round {round}: {ledger:?}");
    }
}
