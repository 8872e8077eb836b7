//! A server that dies and comes back, over real sockets and as processes: what clients learn, and when.
#![cfg(feature = "cli")]

mod cli_support;

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cli_support::{Served, rest_ms, run};
use ringwire::endpoint::{Endpoint, Outcome, block_on};
use ringwire::rpc::{Repeat, Service};
use ringwire::transport::CloseReason;

/// The echo of `ringwire serve`.
const ECHO: u32 = 0;
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn clients_of_a_restarted_server_learn_it_by_a_reset_and_open_their_session_again() {
    let identity = std::env::temp_dir().join(format!("ringwire-restart-{}", std::process::id()));
    let _ = fs::remove_file(&identity);
    let path = identity.display();
    assert_eq!(run(&format!("keygen {path}")).status, Some(0));
    let first = Served::start(&format!("--identity {path}"));
    let address: SocketAddr = first.address.parse().expect("an address");
    let key = first.key.parse().expect("a key");

    let endpoint = Endpoint::builder().bind("127.0.0.1:0".parse().expect("an address")).start();
    let service = Service::new(Arc::new(endpoint.expect("a free port")), address, Some(key));
    let call = |service: &Service, repeat| block_on(service.call(ECHO, "still there?", LIMIT, repeat));
    let before = call(&service, Repeat::Never);
    assert_eq!(before.outcome.expect("the echo"), "still there?");
    let old = block_on(service.peer()).expect("the session in use");
    assert_eq!(before.boot_id, Some(old.boot_id()));

    first.kill();
    // Asked of a dead process, and answered by nobody until the next one proves that it is another.
    let in_flight = old.call(ECHO, "anybody?").deadline(LIMIT);
    let waiting = std::thread::spawn(move || in_flight.wait());
    rest_ms(300);
    let second = Served::start(&format!("--listen {address} --identity {path}"));
    assert_eq!(
        waiting.join().expect("it only waits"),
        Outcome::Unknown,
        "it may have run, and is not run again"
    );
    assert_eq!(old.close_reason(), Some(CloseReason::Reset));

    let after = call(&service, Repeat::Never);
    assert_eq!(after.outcome.expect("the echo of the next incarnation"), "still there?");
    assert_ne!(after.boot_id, before.boot_id);
    second.terminate();
    fs::remove_file(&identity).expect("ours");
}
