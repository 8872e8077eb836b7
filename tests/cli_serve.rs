//! `ringwire serve` as scripts see it: its first line, its end, and a port that is taken.
#![cfg(feature = "cli")]

mod cli_support;

use cli_support::{Served, run, start};

#[test]
fn the_first_line_is_the_address_and_sigterm_stops_it_cleanly() {
    let served = Served::start("");
    assert!(served.address.starts_with("127.0.0.1:"), "{}", served.address);
    let address = served.address.clone();
    let called = run(&format!("bench ping {address} --duration 100ms --warmup 10ms --poll park --json"));
    assert_eq!(called.status, Some(0), "{called:?}");
    let ended = served.terminate();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains(&format!("ringwire bench rate {address}")), "the line to paste: {ended:?}");
    assert!(ended.stderr.contains("stopped: "), "final counts: {ended:?}");
    assert!(ended.stderr.contains("packets_received="), "{ended:?}");
    assert!(ended.took.as_secs() < 5, "{ended:?}");
}

#[test]
fn a_port_that_is_taken_ends_with_1_and_says_so() {
    let served = Served::start("");
    let second = run(&format!("serve --listen {}", served.address));
    assert_eq!(second.status, Some(1), "{second:?}");
    assert!(second.stderr.contains("--listen"), "{second:?}");
    assert_eq!(second.stdout, "");
    served.terminate();
}

#[test]
fn off_loopback_says_not_encrypted() {
    let child = start("serve --listen 0.0.0.0:0 --poll park --insecure=anywhere");
    let id = child.id();
    std::thread::spawn(move || {
        // Long enough to come up; the flag is what ends it, not the moment.
        cli_support::rest_ms(500);
        ringwire::sys::process::terminate(id)
    });
    let ended = cli_support::end(child);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("NOT ENCRYPTED"), "{ended:?}");
}

#[test]
fn a_server_of_the_bench_does_not_outlive_it() {
    let mut bench = start("bench ping --duration 30s --poll park");
    let list = format!("/proc/{0}/task/{0}/children", bench.id());
    // It measures the raw limit first.
    let children = (0..200).find_map(|_| {
        cli_support::rest_ms(50);
        match std::fs::read_to_string(&list) {
            Ok(children) if children.trim().is_empty() => None,
            children => Some(children),
        }
    });
    bench.kill().expect("it is ours");
    bench.wait().expect("it is ours");
    let Ok(children) = children.expect("it starts a server within 10 s") else {
        println!("SKIPPED a_server_of_the_bench_does_not_outlive_it: this kernel does not list children");
        assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "a skip fails here");
        return;
    };
    let server = children.split_whitespace().next().expect("it started a server");
    let gone = (0..100).any(|_| {
        cli_support::rest_ms(50);
        // A process that has ended and waits to be collected is gone.
        std::fs::read_to_string(format!("/proc/{server}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    assert!(gone, "process {server} is still there");
}

#[test]
fn a_port_in_use_is_refused_to_a_server_of_several_workers_too() {
    // The same user's: the kernel alone would let both share the port.
    for cores in ["--cores 0", "--cores 0,1"] {
        let first = Served::start(cores);
        let second = run(&format!("serve --listen {} --poll park --cores 0,1", first.address));
        assert_eq!(second.status, Some(1), "{second:?}");
        assert!(second.stderr.contains("another server has port"), "{second:?}");
        assert_eq!(first.terminate().status, Some(0));
    }
}
