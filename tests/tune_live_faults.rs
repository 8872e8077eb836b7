//! What goes wrong on a real kernel, on a veth pair in a namespace that the test makes: death at every write, no
//! rights, a read-only sysfs, a NIC that vanishes, a second apply; and irqbalance, which is invented here.
#![cfg(feature = "cli")]

mod live_support;
mod tune_support;

use std::path::Path;
use std::process::Command;

use live_support::{Namespace, order, profile, texts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringwire::tune::apply::{Occasion, apply};
use ringwire::tune::guard::{Drift, check};
use ringwire::tune::host::live::Live;
use ringwire::tune::host::{Address, Host, Refusal};
use ringwire::tune::journal::Store;
use ringwire::tune::plan::Plan;
use ringwire::tune::undo::undo;
use tune_support::Folder;

#[test]
fn live_support_reads_the_driver_by_ioctl() {
    live_support::read_by_ioctl();
}

/// This host, of which something goes wrong at one write.
struct Doomed {
    host: Live,
    writes_left: usize,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The process is killed before the kernel has the value.
    DeathBefore,
    /// The process is killed as soon as the kernel has it.
    DeathAfter,
    /// The NIC is taken away.
    NicGone,
}

impl Host for Doomed {
    fn read(&self, address: &Address) -> Result<String, Refusal> {
        self.host.read(address)
    }

    fn list(&self, address: &Address) -> Result<Vec<String>, Refusal> {
        self.host.list(address)
    }

    fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal> {
        let is_now = self.writes_left == 0;
        self.writes_left = self.writes_left.wrapping_sub(1);
        match self.fate {
            Fate::DeathBefore if is_now => die(),
            Fate::DeathAfter if is_now => {
                self.host.write(address, value)?;
                die();
            }
            Fate::NicGone if is_now => {
                let gone = Command::new("ip").args(["link", "del", "tune0"]).status();
                assert!(gone.is_ok_and(|status| status.success()));
            }
            _ => {}
        }
        self.host.write(address, value)
    }

    fn read_only(&self, address: &Address) -> Option<Refusal> {
        self.host.read_only(address)
    }
}

/// Nothing of this process runs after it, not even a destructor.
fn die() {
    kill(Pid::this(), Signal::SIGKILL).expect("it is this process");
}

/// `apply FATE AT PLAN STATE` or `undo FATE AT PLAN STATE`, inside of the namespace.
fn meet_fate(order: &str) {
    let words: Vec<&str> = order.split(' ').collect();
    let [verb, fate, at, plan, state] = words[..] else { panic!("told {order}") };
    let fate = match fate {
        "before" => Fate::DeathBefore,
        "after" => Fate::DeathAfter,
        _ => Fate::NicGone,
    };
    let mut host = Doomed { host: Live::new(), writes_left: at.parse().expect("a number"), fate };
    let store = Store::lock(Path::new(state)).expect("the dead hold no lock");
    if verb == "undo" {
        let journal = store.journals().expect("readable").pop().expect("begun");
        let mut writer = store.append(journal.id).expect("ours");
        let undone = undo(&mut host, &journal, &mut writer).expect("room");
        assert!(undone.is_whole() && undone.left.is_empty(), "{undone}");
        return;
    }
    let plan = Plan::load(Path::new(plan)).expect("it was made for this");
    check(&host, &plan, Drift::Refuse).expect("the last undo was whole");
    let occasion = Occasion { boot: "this".into(), at: 1, confirm_until: None };
    match apply(&mut host, &store, &plan, &occasion, &mut |_| Ok(())) {
        Ok(applied) => println!("{} written", applied.written),
        Err(error) => println!("not applied: {error}"),
    }
}

/// A plan that turns all that can be turned here.
fn planned(net: &Namespace, folder: &Folder, knobs: &[(&str, &str)]) -> [String; 2] {
    let [file, plan, state] =
        ["live.toml", "plan.toml", "state"].map(|name| folder.path(name).to_str().expect("plain").to_owned());
    std::fs::write(&file, profile(knobs)).expect("writable");
    net.tune_well(&["plan", "--profile", &file, "--nic", "tune0", "--state", &state, "--output", &plan]);
    [plan, state]
}

#[test]
fn killed_at_any_write_to_a_live_veth_undo_restores_exactly() {
    let test = "killed_at_any_write_to_a_live_veth_undo_restores_exactly";
    if let Some(order) = order() {
        return meet_fate(&order);
    }
    let Some(net) = Namespace::for_test(test) else { return };
    let folder = Folder::new("live-death");
    if net.is_root {
        // Something that a change of channels loses, and undo must bring back.
        net.well(&["sh", "-c", "echo 1 > /sys/class/net/tune0/queues/rx-3/rps_cpus"]);
    }
    let [plan, state] = planned(&net, &folder, net.knobs());
    let settings = Plan::load(Path::new(&plan)).expect("just made").settings.len();
    let mut writes = Vec::new();
    let (all, quick) = (net.seen_from_outside(), net.seen_quickly());
    for fate in ["before", "after"] {
        let mut deaths = 0;
        loop {
            let ended = net.rerun(test, &format!("apply {fate} {deaths} {plan} {state}"));
            let (status, out, err) = texts(&ended);
            // Killed, or the write that was to be its last never came.
            assert!(status.is_none() || status == Some(0) && out.contains(" written"), "{out} {err}");
            // The undo dies too, and the next one ends.
            let ended = net.rerun(test, &format!("undo {fate} {} {plan} {state}", deaths % 3));
            let (undo_status, out, err) = texts(&ended);
            assert!(matches!(undo_status, None | Some(0)), "{out} {err}");
            if undo_status.is_none() {
                net.tune_well(&["undo", "--state", &state]);
            }
            assert_eq!(net.seen_quickly(), quick, "died {fate} write {deaths}");
            if status.is_some() {
                break;
            }
            deaths += 1;
        }
        writes.push(deaths);
    }
    // A setting or two comes about by another, as the last queue's vanish with the channels.
    assert!(writes[0] == writes[1] && writes[0] + 2 >= settings, "{writes:?} deaths of {settings} settings");
    assert_eq!(net.seen_from_outside(), all);
}

#[test]
fn a_nic_that_vanishes_in_mid_apply_is_told_and_its_settings_are_not_made_up() {
    let test = "a_nic_that_vanishes_in_mid_apply_is_told_and_its_settings_are_not_made_up";
    if let Some(order) = order() {
        return meet_fate(&order);
    }
    let Some(net) = Namespace::for_test(test) else { return };
    let folder = Folder::new("live-vanish");
    let [plan, state] =
        planned(&net, &folder, &[("mtu", "1400"), ("tx-queue-len", "500"), ("offload.gso", "off")]);
    let (status, out, err) = texts(&net.rerun(test, &format!("apply gone 1 {plan} {state}")));
    assert_eq!(status, Some(0), "{out} {err}");
    assert!(out.contains("not applied") && out.contains("the NIC is gone"), "{out}");
    assert!(out.contains("NOT RESTORED"), "{out}");
    // While it is away, an undo says so; when a NIC of that name is back, as new, it has nothing to restore.
    let (status, _, err) = net.tune(&["undo", "--state", &state]);
    assert!(status == Some(1), "{err}");
    net.well(&["ip", "link", "add", "tune0", "type", "veth", "peer", "name", "peer0"]);
    let fresh = net.seen_from_outside();
    net.tune_well(&["undo", "--state", &state]);
    assert_eq!(net.seen_from_outside(), fresh);
    let (status, _, err) = net.tune(&["apply", &plan, "--yes", "--state", &state]);
    assert!(status == Some(1) && err.contains("hardware address"), "the plan was for the other one: {err}");
}

#[test]
fn without_rights_nothing_of_a_live_veth_changes_and_it_says_who_may() {
    let Some(net) = Namespace::for_test("without_rights_nothing_of_a_live_veth_changes_and_it_says_who_may")
    else {
        return;
    };
    let folder = Folder::new("live-rights");
    let [plan, state] =
        planned(&net, &folder, &[("mtu", "1400"), ("offload.gso", "off"), ("qdisc", "pfifo")]);
    let before = net.seen_from_outside();
    let binary = folder.path("ringwire");
    std::fs::copy(env!("CARGO_BIN_EXE_ringwire"), &binary).expect("writable");
    let binary = binary.to_str().expect("plain");
    // Without a single capability, whoever it is; the folder is everybody's.
    let run = format!(
        "chmod 777 {0} && exec setpriv --bounding-set -all --inh-caps -all {1} {binary} tune apply {plan} --yes --state {0}/mine",
        Path::new(&state).parent().expect("a folder").display(),
        if net.is_root { "--reuid 65534 --regid 65534 --clear-groups" } else { "--no-new-privs" },
    );
    let (status, out, err) = net.run(&["sh", "-c", &run]);
    assert_eq!(status, Some(1), "{out} {err}");
    assert!(err.contains("CAP_NET_ADMIN") && err.contains("settings are as they were"), "{err}");
    assert_eq!(net.seen_from_outside(), before);
}

#[test]
fn a_read_only_sysfs_stops_an_apply_before_it_touches_anything() {
    let test = "a_read_only_sysfs_stops_an_apply_before_it_touches_anything";
    let Some(net) = Namespace::for_test(test) else { return };
    if !net.is_root {
        return live_support::leave_out(test, "an unprivileged user may not write files of sysfs at all");
    }
    let folder = Folder::new("live-read-only");
    let [plan, state] = planned(&net, &folder, &[("mtu", "1400"), ("napi.gro-flush-timeout", "20000")]);
    let before = net.seen_from_outside();
    let run = format!(
        "mount -o remount,ro,bind /sys && exec {} tune apply {plan} --yes --state {state}",
        env!("CARGO_BIN_EXE_ringwire")
    );
    let (status, out, err) = net.run(&["unshare", "-m", "sh", "-c", &run]);
    assert_eq!(status, Some(1), "{out} {err}");
    assert!(err.contains("nothing was touched") && err.contains("outside the container"), "{err}");
    assert_eq!(net.seen_from_outside(), before);
}

#[test]
fn a_second_apply_while_one_is_unconfirmed_is_refused_on_a_live_veth() {
    let Some(net) = Namespace::for_test("a_second_apply_while_one_is_unconfirmed_is_refused_on_a_live_veth")
    else {
        return;
    };
    let folder = Folder::new("live-second");
    let [plan, state] = planned(&net, &folder, &[("mtu", "1400"), ("offload.gso", "off")]);
    let before = net.seen_from_outside();
    net.tune_well(&["apply", &plan, "--yes", "--state", &state, "--confirm-within", "60s"]);
    let applied = net.seen_from_outside();
    let (status, _, err) = net.tune(&["apply", &plan, "--yes", "--state", &state]);
    assert!(status == Some(1) && err.contains("apply 1 is not confirmed yet"), "{err}");
    assert_eq!(net.seen_from_outside(), applied);
    net.tune_well(&["undo", "--id", "1", "--state", &state]);
    assert_eq!(net.seen_from_outside(), before);
}

/// Settings of single NAPI instances, where the kernel has them (6.13 and later): on a veth they are there once GRO
/// is on.
#[test]
fn settings_of_single_napi_instances_go_round_on_a_live_veth() {
    let test = "settings_of_single_napi_instances_go_round_on_a_live_veth";
    let Some(net) = Namespace::for_test(test) else { return };
    if !net.is_root {
        return live_support::leave_out(test, "the kernel lets only the host's root set them");
    }
    let folder = Folder::new("live-napi");
    let [plan, state] = planned(&net, &folder, &[("offload.gro", "on")]);
    net.tune_well(&["apply", &plan, "--yes", "--state", &state]);
    let record = folder.path("veth.json");
    let napis = || {
        net.tune_well(&["audit", "--nic", "tune0", "--record", record.to_str().expect("plain")]);
        let host = ringwire::tune::host::recorded::Recorded::load(&record).expect("just written");
        host.facts.into_iter().filter(|(key, _)| key.starts_with("napi:")).collect::<Vec<_>>()
    };
    let before = napis();
    if !before.iter().any(|(key, _)| key.ends_with("/defer-hard-irqs")) {
        return live_support::leave_out(test, &format!("this kernel keeps none (6.13 does): {before:?}"));
    }
    let own = Folder::new("live-napi-own");
    let wants = [("napi.each-defer-hard-irqs", "3"), ("napi.each-gro-flush-timeout", "30000")];
    let [plan, own_state] = planned(&net, &own, &wants);
    let (status, out, err) = net.tune(&["apply", &plan, "--yes", "--state", &own_state]);
    assert_eq!(status, Some(0), "{out} {err}");
    let applied = napis();
    let with = |end: &str, value: &str| {
        applied.iter().filter(|(key, now)| key.ends_with(end) && now == value).count()
    };
    assert_eq!((with("/defer-hard-irqs", "3"), with("/gro-flush-timeout", "30000")), (4, 4), "{applied:?}");
    net.tune_well(&["undo", "--state", &own_state]);
    assert_eq!(napis(), before);
}

/// A tap device takes rx-frames to 64 and has no other moderation (drivers/net/tun.c): it rounds, and its answer over
/// netlink leaves out what it does not have.
#[test]
fn a_value_that_a_live_driver_rounds_is_told_and_what_it_does_not_have_is_left_out() {
    let test = "a_value_that_a_live_driver_rounds_is_told_and_what_it_does_not_have_is_left_out";
    let Some(net) = Namespace::for_test(test) else { return };
    let (status, _, err) = net.run(&["ip", "tuntap", "add", "tap0", "mode", "tap"]);
    if status != Some(0) {
        return live_support::leave_out(test, &format!("no tap device is to be had: {err}"));
    }
    let folder = Folder::new("live-rounds");
    let [file, plan, state] =
        ["tap.toml", "plan.toml", "state"].map(|name| folder.path(name).to_str().expect("plain").to_owned());
    let wants = [("coalesce.rx-frames", "100"), ("coalesce.rx-usecs", "10"), ("coalesce.cqe-mode-rx", "1")];
    std::fs::write(&file, profile(&wants)).expect("writable");
    let scope = ["--profile", &file, "--nic", "tap0", "--state", &state];
    let before = net.driver_by_ioctl("tap0");
    let said = net.tune_well(&[&["plan", "--output", &plan][..], &scope].concat());
    for left in ["coalesce.rx-usecs", "coalesce.cqe-mode-rx"] {
        assert!(said.contains(&format!("left out: {left}: this host does not have it")), "{said}");
    }
    let said = net.tune_well(&["apply", &plan, "--yes", "--state", &state]);
    assert!(said.contains("100 was asked for, the driver made it 64"), "{said}");
    // rx_max_coalesced_frames is the second word of struct ethtool_coalesce.
    let applied = net.driver_by_ioctl("tap0");
    assert!(
        before.contains("coalesce [0, 0, ") && applied.contains("coalesce [0, 64, "),
        "{before} {applied}"
    );
    let again = net.tune_well(&[&["plan"][..], &scope].concat());
    assert!(again.contains("nothing to change"), "{again}");
    net.tune_well(&["undo", "--state", &state]);
    assert_eq!(net.driver_by_ioctl("tap0"), before);
}

#[test]
fn the_nic_that_carries_this_login_needs_a_word_more() {
    let Some(net) = Namespace::for_test("the_nic_that_carries_this_login_needs_a_word_more") else { return };
    let folder = Folder::new("live-login");
    let [plan, state] = planned(&net, &folder, &[("mtu", "1400")]);
    net.well(&["ip", "addr", "add", "10.78.0.1/24", "dev", "tune0"]);
    let before = net.seen_quickly();
    let apply = |words: &[&str]| {
        let ringwire = [env!("CARGO_BIN_EXE_ringwire"), "tune", "apply", &plan, "--yes", "--state", &state];
        net.command(&[&ringwire, words].concat())
            .env("SSH_CONNECTION", "10.78.0.9 50000 10.78.0.1 22")
            .output()
            .map(|output| texts(&output))
            .expect("nsenter made it")
    };
    let (status, _, err) = apply(&[]);
    assert!(status == Some(1) && err.contains("this login") && err.contains("--allow-mgmt"), "{err}");
    assert_eq!(net.seen_quickly(), before);
    assert_eq!(apply(&["--allow-mgmt"]).0, Some(0));
    net.tune_well(&["undo", "--state", &state]);
    assert_eq!(net.seen_quickly(), before);
}
