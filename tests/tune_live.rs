//! On a real kernel: a veth pair in a network namespace that the test makes, with a sysfs of its own. Nothing
//! outside of it is written. As root all knobs of a veth are turned; an unprivileged user's namespace lets
//! only some be written, and only those are.
#![cfg(feature = "cli")]

mod tune_support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use tune_support::Folder;

/// A namespace with `tune0`, whose other end is `peer0`. It ends with the test.
struct Namespace {
    holder: Child,
    is_root: bool,
}

const QUEUES: &str = "numrxqueues 4 numtxqueues 4";

impl Namespace {
    fn new() -> Result<Namespace, String> {
        let is_root = nix::unistd::geteuid().is_root();
        // A mount namespace too: sysfs shows the network namespace in which it was mounted.
        let script = format!(
            "mount -t sysfs sysfs /sys && ip link add tune0 {QUEUES} type veth peer name peer0 {QUEUES} && \
             ip link set tune0 up && ip link set peer0 up && echo up && exec cat"
        );
        let flags = if is_root { "-nm" } else { "-Urnm" };
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", &script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| format!("cannot run unshare: {error}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.as_mut().expect("piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        if line == "up\n" {
            return Ok(Namespace { holder, is_root });
        }
        let output = holder.wait_with_output().map_err(|error| error.to_string())?;
        Err(format!("{read:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn command(&self, words: &[&str]) -> Command {
        let id = self.holder.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &id, "-n", "-m"]);
        if !self.is_root {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.args(words).stdin(Stdio::null()).env_remove("SSH_CONNECTION");
        command
    }

    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(words).output().expect("nsenter made it");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn tune_well(&self, words: &[&str]) -> String {
        let (status, out, err) = self.run(&[&[env!("CARGO_BIN_EXE_ringwire"), "tune"], words].concat());
        assert_eq!(status, Some(0), "tune {words:?}: {out} {err}");
        out
    }

    /// All that other tools see of the pair and of the namespace.
    fn seen_from_outside(&self) -> String {
        let mut seen = String::new();
        let sysfs = "cd /sys/class/net/tune0 && grep -r . mtu tx_queue_len gro_flush_timeout napi_defer_hard_irqs threaded queues | sort";
        for words in [
            &["ip", "-d", "link", "show", "tune0"][..],
            &["tc", "qdisc", "show", "dev", "tune0"],
            &["sh", "-c", sysfs],
            &[
                "sh",
                "-c",
                "sysctl -a 2>/dev/null | grep ^net | grep -v -e random -e nf_conntrack_count | sort",
            ],
            &["ethtool", "-k", "tune0"],
            &["ethtool", "-l", "tune0"],
        ] {
            let (status, out, _) = self.run(words);
            // ethtool is not everywhere; what it prints is compared where it is.
            let missing = status == Some(127) || status == Some(1) && words[0] == "ethtool" && out.is_empty();
            if !missing {
                seen.push_str(&format!("$ {}\n{out}\n", words.join(" ")));
            }
        }
        seen
    }
}

/// The other end of the pair in a namespace of its own, with a server in it.
struct Peer {
    holder: Child,
    server: Child,
    address: String,
    key: String,
}

impl Peer {
    fn new(net: &Namespace) -> Peer {
        let mut holder = net.command(&["unshare", "-n", "sh", "-c", "echo up && exec cat"]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("as the first");
        first_line(&mut holder);
        let id = holder.id().to_string();
        let inside = |words: &[&str]| {
            let mut command = Command::new("nsenter");
            command.args(["-t", &id, "-n"]);
            if !net.is_root {
                command.args(["-U", "--preserve-credentials"]);
            }
            command.args(words);
            command
        };
        let ok = |words: &[&str]| {
            let (status, out, err) = net.run(words);
            assert_eq!(status, Some(0), "{words:?}: {out} {err}");
        };
        ok(&["ip", "link", "set", "peer0", "netns", &id]);
        ok(&["ip", "addr", "add", "10.78.0.1/24", "dev", "tune0"]);
        for words in [
            &["ip", "addr", "add", "10.78.0.2/24", "dev", "peer0"][..],
            &["ip", "link", "set", "peer0", "up"],
        ] {
            assert!(inside(words).status().is_ok_and(|status| status.success()), "{words:?}");
        }
        let line = ["serve", "--listen", "10.78.0.2:0", "--poll", "adaptive", "--quiet"];
        let mut server = inside(&[&[env!("CARGO_BIN_EXE_ringwire")], &line[..]].concat());
        let mut server = server.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it was built");
        let said = first_line(&mut server);
        let said = said.strip_prefix("listening on ").unwrap_or_else(|| panic!("said {said:?}"));
        let (address, key) = said.split_once(" key ").expect("a key");
        Peer { address: address.into(), key: key.into(), holder, server }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.holder] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("it speaks");
    line.trim_end().to_owned()
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.stdin.take().map(|mut stdin| stdin.flush());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn namespace(test: &str) -> Option<Namespace> {
    match Namespace::new() {
        Ok(namespace) => Some(namespace),
        Err(why) => {
            println!("SKIPPED {test}: {why}");
            assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "a skip fails here: {why}");
            None
        }
    }
}

/// What a veth has, each turned to another value than it has.
const ALL: &[(&str, &str)] = &[
    ("channels.rx", "2"),
    ("channels.tx", "2"),
    ("mtu", "1400"),
    ("qdisc", "pfifo"),
    ("tx-queue-len", "500"),
    ("offload.gro", "on"),
    ("offload.gso-udp", "off"),
    ("offload.gso", "off"),
    ("rps.cpus", "0"),
    ("rfs.flows", "256"),
    ("xps.cpus", "0"),
    ("napi.gro-flush-timeout", "20000"),
    ("napi.defer-hard-irqs", "2"),
];

/// What a user's own namespace lets its root write.
const UNPRIVILEGED: &[(&str, &str)] = &[
    ("channels.rx", "2"),
    ("mtu", "1400"),
    ("qdisc", "pfifo"),
    ("offload.gro", "on"),
    ("offload.gso-udp", "off"),
];

fn profile(knobs: &[(&str, &str)]) -> String {
    let entry =
        |(id, want): &(&str, &str)| format!("[[knob]]\nid = \"{id}\"\nwant = \"{want}\"\nwhy = \"a test\"\n");
    let entries: String = knobs.iter().map(entry).collect();
    format!("name = \"live\"\nabout = \"what a veth has\"\n{entries}")
}

#[test]
fn plan_apply_status_and_undo_on_a_veth_pair_leave_it_as_it_was() {
    let Some(net) = namespace("plan_apply_status_and_undo_on_a_veth_pair_leave_it_as_it_was") else { return };
    let folder = Folder::new("live");
    let (file, plan, state) = (folder.path("live.toml"), folder.path("plan.toml"), folder.path("state"));
    let knobs = if net.is_root { ALL } else { UNPRIVILEGED };
    std::fs::write(&file, profile(knobs)).expect("writable");
    let [file, plan, state] = [&file, &plan, &state].map(|path| path.to_str().expect("plain"));
    if net.is_root {
        // Something that a change of channels loses, and undo must bring back.
        let lost = "echo 1 > /sys/class/net/tune0/queues/rx-3/rps_cpus && echo 1 > /sys/class/net/tune0/queues/tx-3/xps_cpus";
        assert_eq!(net.run(&["sh", "-c", lost]).0, Some(0));
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
    assert!(applied.contains("mtu 1400") && applied.contains("qdisc pfifo"), "{applied}");
    let status = net.tune_well(&["status", "--state", state]);
    assert!(status.contains("holds") && !status.contains("since"), "{status}");
    let again = net.tune_well(&[&["plan"], &scope[..]].concat());
    assert!(again.contains("nothing to change"), "{again}");
    net.tune_well(&["undo", "--state", state]);
    assert_eq!(net.seen_from_outside(), before);
}

#[test]
fn an_audit_works_without_rights_and_says_what_it_could_not_read() {
    let Some(net) = namespace("an_audit_works_without_rights_and_says_what_it_could_not_read") else {
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
    let Some(net) = namespace("an_audit_as_nobody_with_a_read_only_sysfs_is_useful") else { return };
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
    assert!(
        out.contains("tx-queue-len: file:/sys/class/net/tune0/tx_queue_len: it is mounted read-only"),
        "{out}"
    );
    // The backlog belongs to the host: a network namespace does not show it.
    assert!(out.contains("backlog.max: this host does not have it"), "{out}");
    assert!(out.contains("report."), "what is only told is told here too: {out}");
    // The same words from a plan, which has nothing left to write below /sys.
    let plan = line.replace("tune audit", "tune plan").replace("exec ", "exec env ");
    let (status, out, err) = net.run(&["unshare", "-m", "sh", "-c", &plan]);
    assert_eq!(status, Some(0), "{out} {err}");
    assert!(
        out.contains("left out: tx-queue-len") && !out.contains("/sys/class/net/tune0/tx_queue_len: 1000"),
        "{out}"
    );
}

#[test]
fn a_sysfs_of_another_namespace_is_never_written_through() {
    let Some(net) = namespace("a_sysfs_of_another_namespace_is_never_written_through") else { return };
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

/// What a knob does is measured, and a busy machine may hide it: whether the one that helps is named is asked of
/// a quiet host only (`RINGWIRE_QUIET_HOST=1`, as scripts/tune-evidence sets it). What must hold everywhere: the
/// host is left as it was, each effect has its interval, nothing is called harmful that is not, and the plan
/// that is written keeps the knobs that helped and no other.
#[test]
fn verify_keeps_the_knobs_that_helped_and_leaves_the_host_as_it_was() {
    let test = "verify_keeps_the_knobs_that_helped_and_leaves_the_host_as_it_was";
    let Some(net) = namespace(test) else { return };
    if !net.is_root {
        // Not a facility that is missing: the kernel keeps this file for the host's root.
        println!("SKIPPED {test}: an unprivileged user may not put interrupts off");
        return;
    }
    let peer = Peer::new(&net);
    let folder = Folder::new("live-verify");
    let [plan, better, state] = ["plan.toml", "better.toml", "state"]
        .map(|name| folder.path(name).to_str().expect("plain").to_owned());
    let [plan, better, state] = [&plan, &better, &state].map(String::as_str);
    slow_down_and_plan(&net, &folder, plan, state);
    let before = net.seen_from_outside();
    let target = ["--target", &peer.address, "--server-key", &peer.key, "--state", state, "--ablate", better];
    let measure = "--measure ping --rounds 5 --least 10% --poll adaptive --duration 300ms --json";
    let measure: Vec<&str> = measure.split(' ').collect();
    let words = [&["verify", plan][..], &target, &measure].concat();
    let (status, out, err) = net.run(&[&[env!("CARGO_BIN_EXE_ringwire"), "tune"], &words[..]].concat());
    assert_eq!(net.seen_from_outside(), before, "verify leaves the host as it was");
    let quiet = std::env::var_os("RINGWIRE_QUIET_HOST").is_some();
    if status == Some(1) && err.contains("raise --duration") && !quiet {
        println!("{test}: too little was measured on this busy machine, and the tool said so");
        return;
    }
    assert_eq!(status, Some(0), "{out} {err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["skipped"].as_array().map(Vec::len), Some(1), "the MTU is not safe: {out}");
    let kept = std::fs::read_to_string(better).unwrap_or_default();
    for knob in ["napi.defer-hard-irqs", "tx-queue-len"] {
        let measured = effect(&report, knob);
        assert!(measured["changes"]["p50_us"]["high"].is_number(), "it has an interval: {out}");
        assert_eq!(kept.contains(knob), measured["verdict"] == "helped", "{knob}: {kept} {out}");
    }
    assert_ne!(effect(&report, "napi.defer-hard-irqs")["verdict"], "hurt", "{out}");
    if quiet {
        assert_eq!(effect(&report, "napi.defer-hard-irqs")["verdict"], "helped", "{out}");
        assert_eq!(effect(&report, "tx-queue-len")["verdict"], "no effect", "{out}");
    }
}

#[test]
fn verify_refuses_a_target_behind_another_nic() {
    let Some(net) = namespace("verify_refuses_a_target_behind_another_nic") else { return };
    let peer = Peer::new(&net);
    let folder = Folder::new("live-refused");
    let (file, plan) = (folder.path("live.toml"), folder.path("plan.toml"));
    std::fs::write(&file, profile(&[("mtu", "1400")])).expect("writable");
    let [file, plan] = [&file, &plan].map(|path| path.to_str().expect("plain"));
    net.tune_well(&["plan", "--profile", file, "--nic", "tune0", "--state", "/nowhere", "--output", plan]);
    for target in ["10.78.0.1:9", "127.0.0.1:9"] {
        let words = ["verify", plan, "--target", target, "--server-key", &peer.key, "--state", "/nowhere"];
        let (status, _, err) = net.run(&[&[env!("CARGO_BIN_EXE_ringwire"), "tune"], &words[..]].concat());
        assert!(matches!(status, Some(1 | 2)), "{err}");
        assert!(err.contains("does not go through tune0") || err.contains("no way to"), "{err}");
    }
}

fn effect<'a>(report: &'a serde_json::Value, arm: &str) -> &'a serde_json::Value {
    let effects = report["effects"].as_array().expect("a list");
    effects.iter().find(|effect| effect["arm"] == arm).expect(arm)
}

/// Has the kernel put interrupts off, and plans to stop that.
fn slow_down_and_plan(net: &Namespace, folder: &Folder, plan: &str, state: &str) {
    let paths = ["slow.toml", "slow-plan.toml", "quick.toml", "slow-state"];
    let paths = paths.map(|name| folder.path(name).to_str().expect("plain").to_owned());
    let [slow, slow_plan, quick, slow_state] = paths.each_ref().map(String::as_str);
    // A veth takes single packets through GRO only where joined ones may be forwarded (drivers/net/veth.c).
    let held = [
        ("offload.gro", "on"),
        ("offload.gro-udp", "on"),
        ("napi.gro-flush-timeout", "8000000"),
        ("napi.defer-hard-irqs", "100"),
    ];
    std::fs::write(slow, profile(&held)).expect("writable");
    let wants = [("napi.defer-hard-irqs", "0"), ("tx-queue-len", "500"), ("mtu", "1400")];
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
