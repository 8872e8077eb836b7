//! On a real kernel: a veth pair in a network namespace that the test makes.
#![cfg(feature = "cli")]

mod live_support;
mod tune_support;

use std::process::Command;

use live_support::{Namespace, Peer, profile};
use tune_support::Folder;

#[test]
fn live_support_reads_the_driver_by_ioctl() {
    live_support::read_by_ioctl();
}

#[test]
fn plan_apply_status_and_undo_on_a_veth_pair_leave_it_as_it_was() {
    let Some(net) = Namespace::for_test("plan_apply_status_and_undo_on_a_veth_pair_leave_it_as_it_was")
    else {
        return;
    };
    let folder = Folder::new("live");
    let (file, plan, state) = (folder.path("live.toml"), folder.path("plan.toml"), folder.path("state"));
    let knobs = net.knobs();
    std::fs::write(&file, profile(knobs)).expect("writable");
    let [file, plan, state] = [&file, &plan, &state].map(|path| path.to_str().expect("plain"));
    if net.is_root {
        // Something that a change of channels loses, and undo must bring back.
        let lost = "echo 1 > /sys/class/net/tune0/queues/rx-3/rps_cpus && echo 1 > /sys/class/net/tune0/queues/tx-3/xps_cpus";
        net.well(&["sh", "-c", lost]);
    }
    let before = net.seen_from_outside();
    let scope = ["--profile", file, "--nic", "tune0", "--state", state];
    let said = net.tune_well(&[&["plan", "--output", plan], &scope[..]].concat());
    for (id, _) in knobs {
        assert!(said.contains(&format!("{id}: a test")), "{id} is planned: {said}");
    }
    assert_eq!(net.seen_from_outside(), before, "a plan changes nothing");
    net.tune_well(&["apply", plan, "--yes", "--state", state]);
    let applied = net.seen_from_outside();
    assert!(applied.contains("\"mtu\":1400") && applied.contains("qdisc pfifo"), "{applied}");
    let status = net.tune_well(&["status", "--state", state]);
    assert!(status.contains("holds") && !status.contains("since"), "{status}");
    let again = net.tune_well(&[&["plan"], &scope[..]].concat());
    assert!(again.contains("nothing to change"), "{again}");
    net.tune_well(&["undo", "--state", state]);
    assert_eq!(net.seen_from_outside(), before);
}

#[test]
fn an_audit_works_without_rights_and_says_what_it_could_not_read() {
    let Some(net) = Namespace::for_test("an_audit_works_without_rights_and_says_what_it_could_not_read")
    else {
        return;
    };
    let folder = Folder::new("live-audit");
    let record = folder.path("veth.json");
    let record = record.to_str().expect("plain");
    let before = net.seen_from_outside();
    let said = net.tune_well(&["audit", "--nic", "tune0", "--profile", "throughput", "--record", record]);
    assert!(said.contains("tune0 (veth, 4 receive and 4 transmit queues)"), "{said}");
    assert_eq!(net.seen_from_outside(), before, "an audit changes nothing");
    // The record is a host like any other.
    let replayed =
        tune_support::tune_well(&["plan", "--host", record, "--nic", "tune0", "--profile", "throughput"]);
    assert!(replayed.contains("throughput for tune0"), "{replayed}");
}

/// As a container has it: /sys mounted read-only, and nobody's rights.
#[test]
fn an_audit_as_nobody_with_a_read_only_sysfs_is_useful() {
    let Some(net) = Namespace::for_test("an_audit_as_nobody_with_a_read_only_sysfs_is_useful") else {
        return;
    };
    let folder = Folder::new("live-nobody");
    let binary = folder.path("ringwire");
    std::fs::copy(env!("CARGO_BIN_EXE_ringwire"), &binary).expect("writable");
    let binary = binary.to_str().expect("plain");
    // An unprivileged test is nobody already.
    let drop =
        if net.is_root { "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs" } else { "" };
    let line = format!(
        "mount -o remount,ro,bind /sys && exec {drop} {binary} tune audit --nic tune0 --profile throughput --state /nowhere"
    );
    let (status, out, err) = net.run(&["unshare", "-m", "sh", "-c", &line]);
    assert_eq!(status, Some(0), "{out} {err}");
    assert!(out.contains("tune0 (veth"), "{out}");
    // Files of sysfs stand still; what netlink sets is left to whoever has the rights.
    assert!(out.contains("gro_flush_timeout: it is mounted read-only"), "{out}");
    assert!(out.contains("tx-queue-len: rtnl:tune0/tx-queue-len is 1000"), "{out}");
    // The backlog belongs to the host: a network namespace does not show it.
    assert!(out.contains("backlog.max: this host does not have it"), "{out}");
    assert!(out.contains("report."), "what is only told is told here too: {out}");
    // The same words from a plan, which has nothing left to write below /sys.
    let plan = line.replace("tune audit", "tune plan").replace("exec ", "exec env ");
    let (status, out, err) = net.run(&["unshare", "-m", "sh", "-c", &plan]);
    assert_eq!(status, Some(0), "{out} {err}");
    assert!(out.contains("left out: napi.gro-flush-timeout"), "{out}");
    assert!(!out.contains("    file:/sys/class/net/tune0/"), "nothing is planned below /sys: {out}");
}

#[test]
fn a_sysfs_of_another_namespace_is_never_written_through() {
    let Some(net) = Namespace::for_test("a_sysfs_of_another_namespace_is_never_written_through") else {
        return;
    };
    // The network namespace alone: /sys still shows the host's NICs.
    let id = net.holder.id().to_string();
    let mut command = Command::new("nsenter");
    command.args(["-t", &id, "-n"]);
    if !net.is_root {
        command.args(["-U", "--preserve-credentials"]);
    }
    command.args([env!("CARGO_BIN_EXE_ringwire"), "tune", "audit", "--nic", "tune0"]);
    let output = command.output().expect("nsenter made it");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("there is no NIC tune0") || err.contains("another network namespace"), "{err}");
}

/// What a knob does is measured, and a busy machine may hide it. Here it cannot be missed: the kernel holds every
/// packet back for 2 ms until the knob is turned, so noise makes an interval wide and never narrow around nothing.
/// That the knob matters on this kernel is measured first, by hand. A quiet host (`RINGWIRE_QUIET_HOST=1`, as
/// scripts/tune-evidence sets it) has no excuse at all.
#[test]
fn verify_names_the_knob_that_matters_with_its_interval_and_calls_the_other_no_effect() {
    let test = "verify_names_the_knob_that_matters_with_its_interval_and_calls_the_other_no_effect";
    let Some(net) = Namespace::for_test(test) else { return };
    if !net.is_root {
        return live_support::leave_out(test, "the kernel keeps gro_flush_timeout for the host's root");
    }
    let quiet = std::env::var_os("RINGWIRE_QUIET_HOST").is_some();
    let peer = Peer::new(&net);
    let folder = Folder::new("live-verify");
    let [plan, better, state] = ["plan.toml", "better.toml", "state"]
        .map(|name| folder.path(name).to_str().expect("plain").to_owned());
    let [plan, better, state] = [&plan, &better, &state].map(String::as_str);
    slow_down_and_plan(&net, &folder, plan, state);
    let matters = matters_by_hand(&net, &peer);
    assert!(matters || !quiet, "a quiet host holds packets back for 2 ms, and shows it");
    let before = net.seen_from_outside();
    let target = ["--target", &peer.address, "--server-key", &peer.key, "--state", state, "--ablate", better];
    let measure = "--measure ping --rounds 5 --least 30% --poll adaptive --duration 200ms --json";
    let measure: Vec<&str> = measure.split(' ').collect();
    let (status, out, err) = net.tune(&[&["verify", plan][..], &target, &measure].concat());
    assert_eq!(net.seen_from_outside(), before, "verify leaves the host as it was");
    if status == Some(1) && err.contains("raise --duration") && !quiet {
        println!("{test}: too little was measured on this busy machine, and the tool said so: {err}");
        return;
    }
    assert_eq!(status, Some(0), "{out} {err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["skipped"].as_array().map(Vec::len), Some(1), "the MTU is not safe: {out}");
    let kept = std::fs::read_to_string(better).expect("written");
    assert!(kept.contains("knob = \"mtu\""), "what was not toggled is kept: {kept}");
    let excused = |knob: &str| {
        let p50 = &effect(&report, knob)["changes"]["p50_us"];
        let [low, high] = ["low", "high"].map(|end| p50[end].as_f64().expect("an interval"));
        assert!(low <= high, "{out}");
        !quiet && (high - low > 0.5 || report["valid"] == false)
    };
    for (knob, expected) in [("napi.gro-flush-timeout", "helped"), ("tx-queue-len", "no effect")] {
        let verdict = &effect(&report, knob)["verdict"];
        assert_eq!(kept.contains(knob), *verdict == "helped", "{knob}: {kept} {out}");
        // Where noise hid by hand that the first one matters, nobody knows what to expect of it.
        let unknown = expected == "helped" && !matters;
        assert!(
            verdict == expected || unknown || excused(knob),
            "{knob} is {verdict}, not {expected}: {out}"
        );
        println!("{knob}: {verdict} {}", effect(&report, knob)["changes"]["p50_us"]);
    }
}

/// True if a round trip takes at least three times as long while GRO holds packets back: written and measured without
/// `tune`.
fn matters_by_hand(net: &Namespace, peer: &Peer) -> bool {
    let p50_us = |timeout_ns: &str| -> f64 {
        let write = format!("echo {timeout_ns} > /sys/class/net/tune0/gro_flush_timeout");
        net.well(&["sh", "-c", &write]);
        let line = format!(
            "bench ping {} --server-key {} --duration 250ms --warmup 50ms --poll adaptive --json",
            peer.address, peer.key
        );
        let words: Vec<&str> = [env!("CARGO_BIN_EXE_ringwire")].into_iter().chain(line.split(' ')).collect();
        // A run that says it is not valid has its figures all the same.
        let (_, out, err) = net.run(&words);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out} {err}"));
        report["latency_us"]["p50"].as_f64().unwrap_or(f64::NAN)
    };
    let (free, held) = (p50_us("0"), p50_us("2000000"));
    println!("p50 {free} us, and {held} us while GRO holds packets for 2 ms");
    held > 3.0 * free
}

/// The examples of its help, on a plan of one knob, short.
#[test]
fn the_examples_of_verify_run() {
    let Some(net) = Namespace::for_test("the_examples_of_verify_run") else { return };
    let peer = Peer::new(&net);
    let folder = Folder::new("live-examples");
    let (file, state) = (folder.path("one.toml"), folder.path("state"));
    let state = state.to_str().expect("plain");
    std::fs::write(&file, profile(&[("tx-queue-len", "500"), ("mtu", "1400")])).expect("writable");
    let plan = folder.path("plan.toml");
    let [file, plan] = [&file, &plan].map(|path| path.to_str().expect("plain"));
    net.tune_well(&["plan", "--profile", file, "--nic", "tune0", "--state", state, "--output", plan]);
    let help = net.tune_well(&["verify", "--help"]);
    let (_, examples) = help.split_once("Examples:").expect("it has some");
    let lines: Vec<&str> =
        examples.lines().map(str::trim).filter(|line| line.starts_with("ringwire tune verify ")).collect();
    assert_eq!(lines.len(), 3, "{help}");
    let before = net.seen_quickly();
    for line in lines {
        let line = line.replace("10.0.0.2", &peer.address).replace("KEY", &peer.key);
        let line = line.replacen("ringwire", env!("CARGO_BIN_EXE_ringwire"), 1);
        let short = format!(
            "cd {} && {line} --rounds 4 --duration 60ms --poll adaptive --state {state}",
            folder.path("").display()
        );
        let (status, out, err) = net.run(&["sh", "-c", &short]);
        let told = status == Some(1) && err.contains("raise --duration");
        assert!(told || status == Some(0) && out.contains("tx-queue-len"), "{short}: {out} {err}");
        assert_eq!(net.seen_quickly(), before, "{short}");
    }
}

#[test]
fn verify_refuses_a_target_behind_another_nic() {
    let Some(net) = Namespace::for_test("verify_refuses_a_target_behind_another_nic") else { return };
    let peer = Peer::new(&net);
    let folder = Folder::new("live-refused");
    let (file, plan) = (folder.path("live.toml"), folder.path("plan.toml"));
    std::fs::write(&file, profile(&[("mtu", "1400")])).expect("writable");
    let [file, plan] = [&file, &plan].map(|path| path.to_str().expect("plain"));
    net.tune_well(&["plan", "--profile", file, "--nic", "tune0", "--state", "/nowhere", "--output", plan]);
    for target in ["10.78.0.1:9", "127.0.0.1:9"] {
        let words = ["verify", plan, "--target", target, "--server-key", &peer.key, "--state", "/nowhere"];
        let (status, _, err) = net.tune(&words);
        assert!(matches!(status, Some(1 | 2)), "{err}");
        assert!(err.contains("does not go through tune0") || err.contains("no way to"), "{err}");
    }
}

fn effect<'a>(report: &'a serde_json::Value, arm: &str) -> &'a serde_json::Value {
    let effects = report["effects"].as_array().expect("a list");
    effects.iter().find(|effect| effect["arm"] == arm).expect(arm)
}

/// Has GRO hold packets back, and plans to stop that.
fn slow_down_and_plan(net: &Namespace, folder: &Folder, plan: &str, state: &str) {
    let paths = ["slow.toml", "slow-plan.toml", "quick.toml", "slow-state"];
    let paths = paths.map(|name| folder.path(name).to_str().expect("plain").to_owned());
    let [slow, slow_plan, quick, slow_state] = paths.each_ref().map(String::as_str);
    // A veth takes single packets through GRO only where joined ones may be forwarded (drivers/net/veth.c).
    let held = [
        ("offload.gro", "on"),
        ("offload.gro-udp", "on"),
        ("napi.gro-flush-timeout", "2000000"),
        ("napi.defer-hard-irqs", "100"),
    ];
    std::fs::write(slow, profile(&held)).expect("writable");
    let wants = [("napi.gro-flush-timeout", "0"), ("tx-queue-len", "500"), ("mtu", "1400")];
    std::fs::write(quick, profile(&wants)).expect("writable");
    net.tune_well(&[
        "plan",
        "--profile",
        slow,
        "--nic",
        "tune0",
        "--state",
        slow_state,
        "--output",
        slow_plan,
    ]);
    net.tune_well(&["apply", slow_plan, "--yes", "--state", slow_state]);
    net.tune_well(&["plan", "--profile", quick, "--nic", "tune0", "--state", state, "--output", plan]);
}
