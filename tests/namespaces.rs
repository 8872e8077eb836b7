//! Client and server as on two hosts, over a veth pair. Needs `unshare`, `nsenter` and `ip`; where one is
//! missing or the kernel forbids namespaces, a test says SKIPPED, and with `RINGWIRE_STRICT=1` it fails.
#![cfg(feature = "cli")]

#[allow(dead_code, reason = "the flood under benches uses more of it")]
mod netns_support;

use netns_support::{Host, Net, Running, SERVER_V4, SERVER_V6};
use ringwire::endpoint::Endpoint;
use ringwire::io::mmsg::Mmsg;
use ringwire::io::{Backend, Config, Ecn, PathId, Train};
use serde_json::Value;

/// The network, or `None` where this host does not let tests make one.
fn net(test: &str, mtu: u32) -> Option<Net> {
    match Net::new(mtu) {
        Ok(net) => Some(net),
        Err(why) => {
            println!("SKIPPED {test}: {why}");
            assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "a skip fails here: {why}");
            None
        }
    }
}

/// A server that listens on the link, and what to write after `bench SCENARIO` to call it.
fn serve(net: &Net, address: &str, flags: &str) -> (Running, String) {
    let bind = if address.contains(':') { format!("[{address}]:0") } else { format!("{address}:0") };
    let mut server =
        net.start(Host::Server, &format!("serve --listen {bind} --poll adaptive {flags} --quiet"));
    let line = server.next_line();
    let said = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("said {line:?}"));
    let target = match said.split_once(" key ") {
        Some((address, key)) => format!("{address} --server-key {key}"),
        None => format!("{said} --insecure=anywhere"),
    };
    (server, target)
}

/// Runs `bench LINE` on the client, which must succeed.
fn bench(net: &Net, line: &str) -> Value {
    let (status, out, err) = net.start(Host::Client, &format!("bench {line} --json")).end();
    assert_eq!(status, Some(0), "bench {line}: {out} {err}");
    let report: Value = serde_json::from_str(out.trim()).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert_eq!((&report["failed"], &report["unknown"]), (&Value::from(0), &Value::from(0)), "{report}");
    assert!(report["completed"].as_u64().is_some_and(|count| count > 100), "{report}");
    report
}

const SHORT: &str = "--duration 300ms --warmup 100ms --poll adaptive --verify";

#[test]
fn calls_cross_a_link_over_both_families_and_backends() {
    let Some(net) = net("calls_cross_a_link_over_both_families_and_backends", 1_500) else { return };
    for (address, size) in [(SERVER_V4, 1_472), (SERVER_V6, 1_452)] {
        for backend in ["mmsg", "uring"] {
            let flags = format!("--backend {backend}");
            let (_server, target) = serve(&net, address, &flags);
            for scenario in ["ping", "rate"] {
                let report = bench(&net, &format!("{scenario} {target} {SHORT} {flags}"));
                assert_eq!(report["secure"], true, "{report}");
                assert_eq!(report["verified"], true, "{report}");
                assert_eq!(report["backend"], backend, "{report}");
                assert_eq!(report["packet_size"], size, "the link's size was found: {report}");
            }
        }
    }
}

#[test]
fn an_insecure_server_is_called_from_another_host_only_when_both_ends_say_so() {
    let test = "an_insecure_server_is_called_from_another_host_only_when_both_ends_say_so";
    let Some(net) = net(test, 1_500) else { return };
    let (_server, target) = serve(&net, SERVER_V4, "--insecure=anywhere");
    let report = bench(&net, &format!("rate {target} {SHORT}"));
    assert_eq!(report["secure"], false, "{report}");
    let address = target.split(' ').next().expect("an address");
    let (status, _, err) = net.start(Host::Client, &format!("bench ping {address} {SHORT}")).end();
    assert_eq!(status, Some(2), "{err}");
    assert!(err.contains("--server-key KEY"), "the line to copy: {err}");
}

#[test]
fn a_link_with_jumbo_frames_carries_packets_of_their_size() {
    let Some(net) = net("a_link_with_jumbo_frames_carries_packets_of_their_size", 9_000) else { return };
    let (_server, target) = serve(&net, SERVER_V4, "");
    let report = bench(&net, &format!("bulk {target} {SHORT} --size 64KiB"));
    assert_eq!(report["packet_size"], 8_972, "{report}");
}

#[test]
fn no_call_is_lost_while_the_link_is_down_for_a_moment() {
    let Some(net) = net("no_call_is_lost_while_the_link_is_down_for_a_moment", 1_500) else { return };
    let (_server, target) = serve(&net, SERVER_V4, "");
    let line = format!(
        "bench load {target} --rate 2000 --duration 2s --warmup 200ms --deadline 10s --poll adaptive --json"
    );
    let running = net.start(Host::Client, &line);
    rest_ms(900);
    net.set_link("down");
    rest_ms(300);
    net.set_link("up");
    let (status, out, err) = running.end();
    let report: Value =
        serde_json::from_str(out.trim()).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
    assert_eq!((&report["failed"], &report["unknown"]), (&Value::from(0), &Value::from(0)), "{report}");
    assert_eq!(status, Some(0), "{report} {err}");
    let worst = report["latency_us"]["max"].as_f64().expect("measured");
    assert!(worst > 100_000.0, "calls did wait for the link: {report}");
}

/// Runs a load of calls of `size`, does `what` to the network in the middle, and looks that each call ended
/// well.
fn load_through(net: &Net, flags: &str, size: &str, what: impl FnOnce()) -> Value {
    let (_server, target) = serve(net, SERVER_V4, flags);
    let line = format!(
        "bench load {target} --rate 1000 --size {size} --duration 1500ms --warmup 200ms --deadline 10s \
         --poll adaptive --verify --json {flags}"
    );
    let running = net.start(Host::Client, &line);
    rest_ms(900);
    what();
    let (status, out, err) = running.end();
    let report: Value =
        serde_json::from_str(out.trim()).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
    assert_eq!((&report["failed"], &report["unknown"]), (&Value::from(0), &Value::from(0)), "{report}");
    assert_eq!(status, Some(0), "{report} {err}");
    report
}

#[test]
fn no_call_is_lost_when_large_packets_begin_to_vanish_on_the_link() {
    let test = "no_call_is_lost_when_large_packets_begin_to_vanish_on_the_link";
    for backend in ["mmsg", "uring"] {
        let Some(net) = net(test, 9_000) else { return };
        net.carry_single_packets();
        // Requests vanish at the server's end; replies are refused by the server's own kernel.
        let report = load_through(&net, &format!("--backend {backend}"), "8000", || {
            net.set_mtu(Host::Server, 1_400);
        });
        let size = report["packet_size"].as_u64().expect("measured");
        assert!((1_200..=1_372).contains(&size), "{backend}: the size that passes was found: {report}");
    }
}

/// Set for the half of the test below that runs on a host.
const MARKS: &str = "RINGWIRE_TEST_MARKS";

#[test]
fn packets_are_marked_by_whichever_socket_they_leave() {
    let test = "packets_are_marked_by_whichever_socket_they_leave";
    if std::env::var_os(MARKS).is_some() {
        return marks_arrive();
    }
    let Some(net) = net(test, 1_500) else { return };
    let program = std::env::current_exe().expect("a running test is a program");
    let program = program.to_str().expect("its path is text");
    let marks = format!("{MARKS}=1");
    let words = ["env", &marks, program, "--exact", test, "--nocapture", "--test-threads=1"];
    let (status, out, err) = net.run(Host::Client, &words).end();
    assert_eq!(status, Some(0), "{out} {err}");
}

/// From one socket to another of this host, at an address that is not loopback: what stays on loopback has no marks.
fn marks_arrive() {
    let bind = "10.77.0.2:0".parse().expect("an address");
    for connected in [false, true] {
        let mut there =
            Mmsg::open(&Config { ecn: Ecn::Ect0, ..Config::new(bind) }).expect("this host's address");
        let connect = connected.then(|| there.local_addr());
        let mut here = Mmsg::open(&Config { connect, ..Config::new(bind) }).expect("this host's address");
        here.register_path(PathId(0), there.local_addr());
        // More than enough for a socket of its own: io/regular.rs.
        for (count, ecn) in
            [(2, Ecn::Ect0), (1, Ecn::NotEct), (1_500, Ecn::Ect0), (2, Ecn::NotEct), (2, Ecn::Ect0)]
        {
            here.mark(PathId(0), ecn);
            for n in 0..count {
                let mut buffer = here.lend().expect("nothing is on its way");
                buffer.bytes_mut()[..40].fill(1);
                here.submit(Train { buffer, length: 40, segment_size: 40, path: PathId(0) });
                here.flush().expect("the socket is there");
                assert_eq!(mark_of_next(&mut there), ecn, "packet {n} of {count}, connected: {connected}");
            }
        }
    }
}

fn mark_of_next(there: &mut Mmsg) -> Ecn {
    let mut batch = Vec::new();
    loop {
        there.receive(&mut batch).expect("the socket is there");
        if let [received] = batch[..] {
            return received.ecn;
        }
        there.wait(Some(std::time::Duration::from_secs(5))).expect("the socket is there");
    }
}

/// Set for the client's half of the test below, which runs this very test on the client's host.
const CALLS: &str = "RINGWIRE_TEST_CALLS";

#[test]
fn a_client_that_gets_another_address_keeps_its_session() {
    let test = "a_client_that_gets_another_address_keeps_its_session";
    if let Ok(target) = std::env::var(CALLS) {
        return call_until_moved(&target);
    }
    let Some(net) = net(test, 1_500) else { return };
    for (backend, address) in [("mmsg", SERVER_V4), ("mmsg", SERVER_V6), ("uring", SERVER_V4)] {
        let (_server, target) = serve(&net, address, &format!("--backend {backend}"));
        let program = std::env::current_exe().expect("a running test is a program");
        let program = program.to_str().expect("its path is text");
        let calls = format!("{CALLS}={target}");
        let mut client = net
            .run(Host::Client, &["env", &calls, program, "--exact", test, "--nocapture", "--test-threads=1"]);
        // The test program says a few things of its own before.
        let called = (0..20).any(|_| client.next_line().ends_with("called"));
        assert!(called, "{backend}: it never called: {:?}", client.end());
        net.renumber_client();
        let (status, out, err) = client.end();
        assert_eq!(status, Some(0), "{backend}: {out} {err}");
        net.renumber_client_back();
    }
}

/// Calls the server at "ADDRESS --server-key KEY" all the time, until well after the address has changed.
fn call_until_moved(target: &str) {
    let (address, key) = target.split_once(" --server-key ").expect("an address and a key");
    let any = if address.contains("]:") { "[::]:0" } else { "0.0.0.0:0" };
    let client = Endpoint::builder().bind(any.parse().expect("an address")).start().expect("a host");
    let key = key.parse().expect("a key");
    let peer =
        client.connect(address.parse().expect("an address")).server_key(key).wait().expect("it listens");
    let call = |n: u32| {
        let payload = n.to_le_bytes().to_vec();
        let reply = peer.call(0, payload.clone()).wait().expect("the session lives on");
        assert_eq!(reply, payload);
    };
    // So many that both ends have a socket connected to the other (io/regular.rs).
    (0..2_000).for_each(call);
    println!("called");
    for n in 0..130 {
        call(n);
        rest_ms(10);
    }
}

#[expect(clippy::disallowed_methods, reason = "the outage has a length")]
fn rest_ms(ms: u64) {
    std::thread::sleep(std::time::Duration::from_millis(ms));
}
