//! `ringwire limits --iface`: a veth pair in namespaces that the command makes itself, as root and as a user who may
//! make only what is his own; and what is said where even that is forbidden.
#![cfg(feature = "cli")]

mod cli_support;

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Prints that `test` was skipped and why; fails it where nothing may be skipped.
fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
    assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "a skip fails here: {why}");
}

/// Runs `ringwire LINE` behind `before`, a command that runs others.
fn run_behind(before: &[&str], line: &str) -> Output {
    let program = [env!("CARGO_BIN_EXE_ringwire")];
    let words: Vec<&str> = before.iter().copied().chain(program).chain(line.split_whitespace()).collect();
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn names(limits: &Value) -> BTreeSet<&str> {
    limits.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Limits without a figure; a short run has too few samples for a tail.
fn missing(limits: &Value) -> Vec<&str> {
    let of = |name: &&str| limits[*name]["value"].is_null() && !name.contains("p99");
    names(limits).into_iter().filter(of).collect()
}

/// The links that this process sees.
fn links() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/net/dev").expect("procfs is mounted");
    table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// The ways to run it here: as who this is, and as root also without a single capability, as any user is.
fn ways() -> Vec<Vec<&'static str>> {
    let mut ways = vec![vec!["env"]];
    if nix::unistd::geteuid().is_root() {
        ways.push(vec!["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
    }
    ways
}

/// What stands beside loopback's own.
const OVER_VETH: [&str; 17] = [
    "udp_rtt_p50_us",
    "udp_rtt_p99_us",
    "udp_rtt_p99.9_us",
    "udp_rtt_parked_p50_us",
    "udp_rtt_parked_p99_us",
    "udp_packets_per_s",
    "gso_bulk_bit_s",
    "gso_64_byte_segments_per_s",
    "tcp_rtt_p50_us",
    "tcp_rtt_p99_us",
    "tcp_rtt_p99.9_us",
    "packed_calls_256_per_s",
    "packed_calls_4096_per_s",
    "packed_bulk_bit_s",
    "packed_sealed_calls_256_per_s",
    "packed_sealed_calls_4096_per_s",
    "packed_sealed_bulk_bit_s",
];

#[test]
fn a_link_that_the_command_makes_is_measured_beside_loopback_and_nothing_of_it_is_left() {
    let test = "a_link_that_the_command_makes_is_measured_beside_loopback_and_nothing_of_it_is_left";
    let before = links();
    for (way, iface, mtu) in
        ways().into_iter().flat_map(|way| [(way.clone(), "", 1_500), (way, "veth:9000", 9_000)])
    {
        // A starved run takes up to ten times as long, and has its figures all the same.
        let output = run_behind(&way, &format!("limits --iface {iface} --duration 100ms --json"));
        let said = text(&output.stderr);
        if said.contains("no network namespace may be made") || said.contains("no veth pair can be made") {
            return skip(test, said.trim());
        }
        assert_eq!(output.status.code(), Some(0), "{way:?}: {said}");
        let object: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let veth = &object["veth"];
        assert_eq!((&veth["mtu"], &veth["packet_size"]), (&mtu.into(), &(mtu - 28).into()), "{object}");
        assert_eq!(names(&veth["limits"]), OVER_VETH.into_iter().collect(), "{object}");
        assert!(names(&veth["limits"]).is_subset(&names(&object["limits"])), "{object}");
        if ringwire::sys::cores::allowed().len() >= 2 {
            assert_eq!(missing(&veth["limits"]), [""; 0], "{way:?}");
        }
    }
    assert_eq!(links(), before, "the host's links are as they were");
}

#[test]
fn only_the_limits_that_are_named_are_measured() {
    let output = run_behind(&[], "limits --only syscall_ns,udp_rtt_p50_us --duration 10ms --json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let object: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(names(&object["limits"]), ["syscall_ns", "udp_rtt_p50_us"].into_iter().collect(), "{object}");
    let output = run_behind(&[], "limits --only udp");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("there is no limit 'udp'; there are syscall_ns, "), "{said}");
}

#[test]
fn where_namespaces_are_forbidden_it_says_at_once_what_to_do() {
    let test = "where_namespaces_are_forbidden_it_says_at_once_what_to_do";
    // A user namespace has counts of its own: nothing outside of it is touched.
    let script = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$@\"";
    let before = ["unshare", "-Ur", "sh", "-c", script, "sh"];
    let tried = Command::new("unshare")
        .args(["-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_net_namespaces"])
        .output();
    match tried {
        Ok(tried) if tried.status.success() => (),
        other => return skip(test, &format!("no user namespace to try it in: {other:?}")),
    }
    // It would take a minute if loopback came first.
    let output = run_behind(&before, "limits --iface --duration 5s");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("sysctl -w user.max_net_namespaces"), "{said}");
    assert_eq!(text(&output.stdout), "");
}
