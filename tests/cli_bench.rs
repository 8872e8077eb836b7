//! `ringwire bench` as scripts see it: one line of JSON whose sums hold, statuses, and what is left
//! when a server dies or was never there.
#![cfg(feature = "cli")]

mod cli_support;

use cli_support::{Served, end, interrupt, rest_ms, run, start};
use serde_json::Value;

/// Quick, and kind to a machine that runs other tests beside this one.
const QUICK: &str = "--duration 300ms --warmup 50ms --poll adaptive --json";

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report}"))
}

fn assert_sums(report: &Value) {
    let ended = count(report, "completed") + count(report, "failed") + count(report, "unknown");
    assert_eq!(count(report, "issued"), ended, "{report}");
    assert!(count(report, "timed_out") + count(report, "not_sent") <= count(report, "failed"), "{report}");
    let times = &report["latency_us"];
    let rising: Vec<f64> = ["p50", "p90", "p99", "p99.9", "p99.99", "max"]
        .iter()
        .filter_map(|name| times[name].as_f64())
        .collect();
    assert!(rising.is_sorted(), "{times}");
}

#[test]
fn every_scenario_prints_one_line_whose_sums_hold() {
    for (line, scenario) in [
        ("bench ping --size 64", "ping"),
        ("bench rate --window 32 --size 200 --verify", "rate"),
        ("bench load --rate 2k --arrivals poisson --seed 3", "load"),
        ("bench bulk --size 64KiB --verify", "bulk"),
        ("bench bulk --over call --size 100KiB --window 4", "bulk"),
        ("bench rate --sessions 3 --window 8", "rate"),
        ("bench bulk --lanes 2 --size 64KiB --verify", "bulk"),
    ] {
        let ended = run(&format!("{line} {QUICK}"));
        assert_eq!(ended.status, Some(0), "{line}: {ended:?}");
        let report = ended.json();
        assert_eq!(report["scenario"], scenario, "{line}");
        assert_sums(&report);
        assert!(count(&report, "completed") > 0, "{line}: {report}");
        assert_eq!((count(&report, "failed"), count(&report, "unknown")), (0, 0), "{line}: {report}");
        assert!(report["per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{line}: {report}");
        assert!(report["packets"]["sent"].is_u64(), "both ends told: {line}: {report}");
        assert!(report["cpu_s"]["server"].is_f64(), "{line}: {report}");
        let verified = if line.contains("--verify") { Value::Bool(true) } else { Value::Null };
        assert_eq!(report["verified"], verified, "{line}: {report}");
    }
}

/// Another thread than the worker's makes the calls, as in most programs. By the policy that is usual where it shares
/// the worker's core, and by one that sleeps.
#[test]
fn calls_through_handles_are_followed_to_their_outcomes_too() {
    for (line, scenario) in [
        ("bench ping --size 64", "ping"),
        ("bench rate --window 256 --verify", "rate"),
        ("bench rate --window 4095 --size 200 --poll adaptive", "rate"),
        ("bench rate --sessions 40 --lanes 2 --window 4 --verify --insecure", "rate"),
        ("bench load --rate 2k --arrivals poisson --seed 3", "load"),
        ("bench bulk --size 64KiB --verify", "bulk"),
        ("bench bulk --over call --size 100KiB --window 4 --poll park", "bulk"),
    ] {
        let ended = run(&format!("{line} --entry handles --duration 300ms --warmup 50ms --json"));
        assert_eq!(ended.status, Some(0), "{line}: {ended:?}");
        let report = ended.json();
        assert_eq!((&report["scenario"], &report["entry"]), (&scenario.into(), &"handles".into()), "{line}");
        assert_sums(&report);
        assert!(count(&report, "completed") > 0, "{line}: {report}");
        assert_eq!((count(&report, "failed"), count(&report, "unknown")), (0, 0), "{line}: {report}");
        let callers = report["cores"]["callers"].as_array().unwrap_or_else(|| panic!("{line}: {report}"));
        assert_eq!(callers.len(), 1, "{line}: {report}");
        if !line.contains("--poll") {
            let shares = report["cores"]["client"][0] == callers[0];
            assert_eq!(report["poll"], if shares { "yield" } else { "spin" }, "{line}: {report}");
        }
        assert!(report["packets"]["sent"].is_u64(), "both ends told: {line}: {report}");
        assert!(report["packet_size"].is_u64(), "{line}: {report}");
        let used = |end: &str| report["cpu_s"][end].as_f64().is_some_and(|seconds| seconds > 0.0);
        assert!(used("client"), "{line}: {report}");
        assert!(used("server"), "{line}: {report}");
        let verified = if line.contains("--verify") { Value::Bool(true) } else { Value::Null };
        assert_eq!(report["verified"], verified, "{line}: {report}");
        if scenario == "load" {
            assert!(report["service_us"].is_object(), "{line}: {report}");
            assert!(report["skipped"].is_u64(), "{line}: {report}");
        }
    }
}

#[test]
fn a_server_that_dies_under_calls_through_handles_leaves_partial_results_and_1() {
    let served = Served::start("");
    let bench = start(&format!(
        "bench rate {} --entry handles --window 16 --duration 20s --warmup 50ms --deadline 300ms --json",
        served.address
    ));
    rest_ms(1_000);
    served.kill();
    let ended = end(bench);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.took.as_secs_f64() < 10.0, "long before 20 s: {ended:?}");
    let report = ended.json();
    assert_sums(&report);
    assert!(count(&report, "completed") > 0, "partial results: {report}");
    assert!(count(&report, "failed") + count(&report, "unknown") > 0, "named outcomes: {report}");
    assert_eq!(report["valid"], false, "{report}");
}

#[test]
fn an_interrupt_reaches_a_thread_that_sleeps_over_its_calls() {
    let bench = start("bench ping --entry handles --duration 30s --warmup 50ms --json");
    rest_ms(1_500);
    interrupt(bench.id());
    let ended = end(bench);
    assert_eq!(ended.status, Some(130), "{ended:?}");
    let report = ended.json();
    assert_sums(&report);
    assert!(count(&report, "completed") > 0, "{report}");
}

#[test]
fn harm_is_not_done_to_an_endpoint_and_the_refusal_says_what_to_write() {
    let ended = run("bench rate --entry handles --impair loss=1% --json");
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--entry owned"), "{ended:?}");
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_scenario_on_two_cores_of_this_host_is_a_share_of_its_raw_limit() {
    if ringwire::sys::cores::allowed().len() < 2 {
        return println!("one core: limits between two are null, and so are the shares of them");
    }
    for (line, limit) in [
        ("bench ping", Some("udp_rtt_p50_us")),
        ("bench rate --window 256", Some("packed_sealed_calls_256_per_s")),
        ("bench rate --window 256 --insecure", Some("packed_calls_256_per_s")),
        ("bench rate --window 4096", Some("packed_sealed_calls_4096_per_s")),
        ("bench rate --window 4096 --insecure", Some("packed_calls_4096_per_s")),
        ("bench rate --window 32", None),
        ("bench bulk", Some("packed_sealed_bulk_bit_s")),
        ("bench bulk --insecure", Some("packed_bulk_bit_s")),
        ("bench load --rate 2k", None),
        ("bench bulk --impair loss=1%,seed=7", None),
    ] {
        let report = run(&format!("{line} --duration 500ms --warmup 50ms --poll adaptive --json")).json();
        assert_eq!(report["limit"]["name"].as_str(), limit, "{line}: {report}");
        let has_ratio = report["limit"]["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0);
        assert_eq!(has_ratio, limit.is_some(), "{line}: {report}");
    }
}

#[test]
fn lanes_are_opened_over_their_sessions_handshakes_to_every_worker_of_the_server() {
    // Both workers on one core where there is no other: they are steered to all the same.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let server = Served::start(if cores > 1 { "--cores 0,1 --insecure" } else { "--insecure" });
    let line = format!("bench rate {} --insecure --sessions 2 --lanes 3 --window 8 {QUICK}", server.address);
    let ended = run(&line);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = ended.json();
    assert_sums(&report);
    assert_eq!((count(&report, "sessions"), count(&report, "lanes")), (2, 3));
    assert_eq!((count(&report, "failed"), count(&report, "unknown")), (0, 0), "{report}");
    let counters = server.terminate().stderr;
    assert!(counters.contains(" lanes_granted=4"), "two for each session: {counters}");
    assert!(counters.contains(" sessions_opened=6"), "{counters}");
}

/// The server took cookies that came back in another order than they were issued in for copies, and said nothing.
#[test]
fn hundreds_of_sessions_of_one_key_open_at_once() {
    let ended = run(&format!("bench rate --sessions 300 --window 1 {QUICK}"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = ended.json();
    assert_sums(&report);
    assert_eq!((count(&report, "sessions"), count(&report, "failed")), (300, 0));
    assert_eq!(report["secure"], true);
}

#[test]
fn an_open_loop_without_a_rate_offers_half_of_what_saturates() {
    let report = run(&format!("bench load {QUICK}")).json();
    assert!(report["offered_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{report}");
    assert!(report["skipped"].is_u64(), "{report}");
    assert!(report["service_us"].is_object(), "{report}");
    assert_sums(&report);
}

#[test]
fn a_target_that_does_not_answer_ends_with_1_in_time_and_says_so() {
    // Bound and never read: packets arrive and nobody answers.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let silent = socket.local_addr().expect("it is bound").to_string();
    for target in [silent.as_str(), "127.0.0.1:1"] {
        let ended = run(&format!("bench ping {target} --deadline 1s --json"));
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&format!("no answer from {target}")), "{ended:?}");
        assert!(ended.took.as_secs_f64() < 5.0, "{ended:?}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn a_server_killed_in_the_middle_leaves_partial_results_and_1() {
    for how in ["killed", "stopped"] {
        let served = Served::start("");
        let line = format!(
            "bench rate {} --window 16 --duration 20s --warmup 50ms --deadline 300ms --poll adaptive --json",
            served.address
        );
        let bench = start(&line);
        rest_ms(1_000);
        if how == "killed" {
            served.kill()
        } else {
            drop(served.terminate())
        }
        let ended = end(bench);
        assert_eq!(ended.status, Some(1), "{how}: {ended:?}");
        assert!(ended.took.as_secs_f64() < 10.0, "long before 20 s: {how}: {ended:?}");
        let report = ended.json();
        assert_sums(&report);
        assert!(count(&report, "completed") > 0, "partial results: {how}: {report}");
        assert!(count(&report, "failed") + count(&report, "unknown") > 0, "named outcomes: {how}: {report}");
        assert_eq!(report["valid"], false, "{how}: {report}");
    }
}

#[test]
fn an_interrupt_prints_what_there_is_and_ends_with_130() {
    let bench = start("bench rate --window 16 --duration 30s --warmup 50ms --poll adaptive --json");
    rest_ms(1_500);
    interrupt(bench.id());
    let ended = end(bench);
    assert_eq!(ended.status, Some(130), "{ended:?}");
    let report = ended.json();
    assert_sums(&report);
    assert!(count(&report, "completed") > 0, "{report}");
    assert_eq!(count(&report, "failed"), 0, "the server lived until the calls were answered: {report}");
}

#[test]
fn lost_packets_cost_time_and_nothing_else() {
    let ended = run(&format!("bench rate --window 16 --impair loss=2%,dup=1%,seed=7 --verify {QUICK}"));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = ended.json();
    assert_sums(&report);
    assert_eq!(report["verified"], true, "{report}");
}

#[test]
fn a_backend_asked_for_by_name_is_used_or_refused_with_its_reason() {
    let ended = run(&format!("bench ping --backend uring {QUICK}"));
    match ended.status {
        Some(0) => assert_eq!(ended.json()["backend"], "uring"),
        Some(1) => assert!(ended.stderr.contains("uring"), "{ended:?}"),
        _ => panic!("{ended:?}"),
    }
}

#[test]
fn doctor_names_the_backend_that_auto_takes() {
    let ended = run("doctor --json");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let found = ended.json();
    assert!(found["backend"].is_string(), "{found}");
    assert!(found["findings"].as_array().is_some_and(|findings| !findings.is_empty()), "{found}");
}
