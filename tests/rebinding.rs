//! Sessions whose client changes its port in mid-run, over real sockets: a relay stands between, as a NAT
//! does, and forgets. No call is lost by either backend; who is not sealed is told.
#![cfg(feature = "cli")]

mod cli_support;
mod relay_support;

use std::time::Duration;

use cli_support::{Served, end, start};
use relay_support::Relay;
use serde_json::Value;

const EVERY: Duration = Duration::from_millis(250);

/// Whether `backend` runs here; says so, or fails, where it does not.
fn runs_here(test: &str, backend: &str) -> bool {
    let ran =
        cli_support::run(&format!("bench ping --backend {backend} --duration 50ms --warmup 10ms --json"));
    if ran.status == Some(0) {
        return true;
    }
    println!("SKIPPED {test}: {backend}: {}", ran.stderr.trim());
    assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "a skip fails here: {ran:?}");
    false
}

#[test]
fn no_call_is_lost_while_a_nat_gives_the_client_another_port_four_times_a_second() {
    let test = "no_call_is_lost_while_a_nat_gives_the_client_another_port_four_times_a_second";
    for backend in ["mmsg", "uring"] {
        if !runs_here(test, backend) {
            continue;
        }
        let server = Served::start(&format!("--backend {backend} --quiet"));
        let relay = Relay::start(server.address.parse().expect("an address"), EVERY);
        let line = format!(
            "bench load {} --server-key {} --backend {backend} --rate 2000 --duration 1500ms --warmup 100ms \
             --deadline 10s --poll adaptive --verify --json",
            relay.address, server.key,
        );
        let ended = end(start(&line));
        assert_eq!(ended.status, Some(0), "{backend}: {ended:?}");
        let report = ended.json();
        let none = Value::from(0);
        assert_eq!((&report["failed"], &report["unknown"]), (&none, &none), "{backend}: {report}");
        assert!(report["completed"].as_u64().is_some_and(|count| count > 1_000), "{backend}: {report}");
        assert!(relay.bindings() >= 3, "{backend}: the NAT forgot {} times", relay.bindings());
        assert!(relay.back_by_newest() > 0, "{backend}: the server follows to the newest port");
    }
}

#[test]
fn a_large_transfer_goes_on_at_each_new_port() {
    let server = Served::start("--quiet");
    let relay = Relay::start(server.address.parse().expect("an address"), EVERY);
    let line = format!(
        "bench bulk {} --server-key {} --size 256KiB --duration 1200ms --warmup 100ms --deadline 10s \
         --poll adaptive --verify --json",
        relay.address, server.key,
    );
    let ended = end(start(&line));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = ended.json();
    assert_eq!((&report["failed"], &report["verified"]), (&Value::from(0), &Value::from(true)), "{report}");
    assert!(relay.bindings() >= 2, "the NAT forgot {} times", relay.bindings());
}
