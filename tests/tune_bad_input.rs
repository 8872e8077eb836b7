//! What goes wrong, and what is said then: each refusal names what to do, and leaves the host as it was.
#![cfg(feature = "cli")]

mod tune_support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringwire::tune::host::recorded::{OnWrite, Recorded};
use tune_support::{Folder, shipped, tune, tune_well};

/// The gve host with a plan for it; `edit` comes after the plan was made.
fn planned(folder: &Folder, edit: impl FnOnce(&mut Recorded)) -> (PathBuf, PathBuf) {
    let (host, plan) = (folder.host("gve", |_| ()), folder.path("plan.toml"));
    tune_well(&["plan", "--profile", "latency", "--host", text(&host), "--output", text(&plan)]);
    let mut changed = shipped("gve");
    edit(&mut changed);
    changed.save(&host).expect("writable");
    (host, plan)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain")
}

/// Applies, which must fail with `advice`; the host must be as it was before.
fn refused(host: &Path, plan: &Path, advice: &str) -> String {
    let before = Recorded::load(host).expect("a host");
    let (status, out, err) = tune(&["apply", text(plan), "--host", text(host), "--yes", "--allow-mgmt"]);
    assert!(matches!(status, Some(1 | 2)), "{out} {err}");
    assert!(err.contains(advice), "'{advice}' in: {err}");
    assert_eq!(Recorded::load(host).expect("a host"), before, "{err}");
    err
}

#[test]
fn without_rights_everything_is_undone_and_it_says_who_may() {
    let folder = Folder::new("rights");
    let (host, plan) = planned(&folder, |host| {
        host.writes.insert("file:/proc/sys/net/core/rmem_max".into(), OnWrite::Denied);
    });
    let said = refused(&host, &plan, "CAP_NET_ADMIN");
    assert!(said.contains("settings are as they were"), "{said}");
}

#[test]
fn a_read_only_sysfs_is_met_before_anything_is_touched() {
    let folder = Folder::new("read-only");
    let (host, plan) = planned(&folder, |host| {
        host.read_only.push("ethtool:ens4/coalesce/rx-usecs".into());
    });
    let said = refused(&host, &plan, "outside the container");
    assert!(said.contains("nothing was touched"), "{said}");
    // A plan made there leaves it out and says so.
    let plan = tune_well(&["plan", "--profile", "latency", "--host", text(&host)]);
    assert!(plan.contains("left out: coalesce.rx-usecs") && plan.contains("read-only"), "{plan}");
}

#[test]
fn a_nic_that_vanishes_in_mid_apply_is_told_and_undone_when_it_is_back() {
    let folder = Folder::new("vanishes");
    let gone = "ethtool:ens4/coalesce/rx-usecs";
    let (host, plan) = planned(&folder, |host| {
        host.writes.insert(gone.into(), OnWrite::Vanishes);
    });
    let (status, _, err) = tune(&["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"]);
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("the NIC is gone") && err.contains("NOT RESTORED"), "{err}");
    // It comes back as the apply left it: the channels and features that were written, the rest as ever.
    let mut back = shipped("gve");
    back.facts.insert("ethtool:ens4/features/rx-lro".into(), "off".into());
    back.save(&host).expect("writable");
    let said = tune_well(&["undo", "--host", text(&host)]);
    assert!(!said.contains("NOT RESTORED"), "{said}");
    assert_eq!(Recorded::load(&host).expect("a host").facts, shipped("gve").facts);
}

#[test]
fn a_value_that_the_driver_rounds_is_told_kept_and_not_planned_again() {
    let folder = Folder::new("rounds");
    let profile = folder.path("odd.toml");
    fs::write(
        &profile,
        "name = \"odd\"\nabout = \"a\"\n[[knob]]\nid = \"rings.rx\"\nwant = \"1500\"\nwhy = \"a\"\n",
    )
    .expect("writable");
    let host = folder.host("gve", |host| {
        host.writes.insert("ethtool:ens4/rings/rx".into(), OnWrite::PowerOfTwo);
    });
    let (plan, before) = (folder.path("plan.toml"), Recorded::load(&host).expect("a host"));
    let scope = ["--profile", text(&profile), "--host", text(&host)];
    tune_well(&[&["plan", "--output", text(&plan)], &scope[..]].concat());
    let said = tune_well(&["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"]);
    assert!(said.contains("1500 was asked for, the driver made it 2048"), "{said}");
    let again = tune_well(&[&["plan"], &scope[..]].concat());
    assert!(again.contains("nothing to change"), "{again}");
    tune_well(&["undo", "--host", text(&host)]);
    assert_eq!(Recorded::load(&host).expect("a host"), before);
}

#[test]
fn a_value_that_the_driver_ignores_is_an_error_and_undone() {
    let folder = Folder::new("ignores");
    let (host, plan) = planned(&folder, |host| {
        host.writes.insert("ethtool:ens4/coalesce/rx-usecs".into(), OnWrite::Ignored);
    });
    refused(&host, &plan, "was accepted, and 20 is there");
}

/// The kernel shows push modes on every driver, and most have none.
#[test]
fn what_a_driver_shows_and_cannot_do_is_an_error_and_undone() {
    let folder = Folder::new("unsupported");
    let profile = folder.path("push.toml");
    let entry = |id: &str, want: &str| format!("[[knob]]\nid = \"{id}\"\nwant = \"{want}\"\nwhy = \"a\"\n");
    let entries = entry("rings.rx", "2048") + &entry("rings.tx-push", "1");
    fs::write(&profile, format!("name = \"push\"\nabout = \"a\"\n{entries}")).expect("writable");
    let (host, plan) = (folder.host("gve", |_| ()), folder.path("plan.toml"));
    tune_well(&["plan", "--profile", text(&profile), "--host", text(&host), "--output", text(&plan)]);
    let said = refused(&host, &plan, "the driver cannot do it: leave the knob out");
    assert!(said.contains("rings/tx-push") && said.contains("2 settings are as they were"), "{said}");
}

#[test]
fn a_plan_for_another_host_or_nic_is_refused() {
    let folder = Folder::new("other");
    let (host, plan) = planned(&folder, |host| {
        host.facts.insert("file:/proc/sys/kernel/hostname".into(), "another".into());
    });
    refused(&host, &plan, "its host name is gve-guest, this one's is another");
    let (host, plan) = planned(&folder, |host| {
        host.facts.insert("file:/sys/class/net/ens4/address".into(), "02:00:00:00:00:99".into());
    });
    refused(&host, &plan, "hardware address");
    let (host, plan) = planned(&folder, |host| {
        host.facts.retain(|key, _| !key.contains("/ens4/") && !key.ends_with(":ens4"));
        host.facts.insert("file:/sys/class/net/eth7/mtu".into(), "1500".into());
    });
    refused(&host, &plan, "there is no NIC ens4 here: choose from eth7");
}

#[test]
fn a_host_that_drifted_from_the_plan_is_left_alone() {
    let folder = Folder::new("drift");
    let (host, plan) = planned(&folder, |host| {
        host.facts.insert("ethtool:ens4/coalesce/rx-usecs".into(), "77".into());
    });
    let said = refused(&host, &plan, "make a new plan");
    assert!(said.contains("coalesce/rx-usecs is 77, planned from 20"), "{said}");
}

#[test]
fn a_plan_edited_wrong_is_told_before_anything_is_touched() {
    let folder = Folder::new("edited");
    let (host, plan) = planned(&folder, |_| ());
    let good = fs::read_to_string(&plan).expect("written");
    for (from, to, advice) in [
        ("knob = \"coalesce.rx-usecs\"", "knob = \"coalesce.rx\"", "is no knob"),
        ("ethtool:ens4/coalesce/rx-usecs", "file:/etc/passwd", "does not belong to coalesce.rx-usecs"),
        ("ethtool:ens4/coalesce/rx-usecs", "ethtool:ens5/coalesce/rx-usecs", "does not belong"),
        ("wanted = \"0\"", "wanted = \"none\"", "cannot be 'none'"),
        ("ringwire_plan = 1", "ringwire_plan = 2", "this build reads 1"),
        ("ringwire_plan = 1", "", "ringwire_plan"),
        ("nic = \"ens4\"", "nic = ens4", "is no plan"),
        ("[[setting]]", "[[settings]]", "is no plan"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        fs::write(&plan, bad).expect("writable");
        refused(&host, &plan, advice);
    }
    let twice = good.rfind("[[setting]]").expect("several");
    fs::write(&plan, format!("{good}\n{}", &good[twice..])).expect("writable");
    refused(&host, &plan, "is set twice");
    fs::remove_file(&plan).expect("ours");
    refused(&host, &plan, "tune plan --output");
}

#[test]
fn a_journal_cut_short_by_a_crash_still_undoes_all_that_was_written() {
    let folder = Folder::new("cut");
    let (host, plan) = planned(&folder, |_| ());
    tune_well(&["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"]);
    let journal = folder.path("gve.json.state/1.journal");
    let mut bytes = fs::read(&journal).expect("written");
    // The crash came in the middle of the last line.
    bytes.truncate(bytes.len() - 20);
    fs::write(&journal, bytes).expect("ours");
    let status = tune_well(&["status", "--host", text(&host)]);
    assert!(status.contains("broken off in the middle"), "{status}");
    tune_well(&["undo", "--host", text(&host)]);
    assert_eq!(Recorded::load(&host).expect("a host"), shipped("gve"));
}

#[test]
fn a_journal_that_names_other_places_writes_none_of_them() {
    let folder = Folder::new("foreign");
    let (host, plan) = planned(&folder, |_| ());
    tune_well(&["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"]);
    let journal = folder.path("gve.json.state/1.journal");
    let line = r#"{"fact":"intent","knob":"mtu","address":"file:/proc/cmdline","before":"x","wanted":"y"}"#;
    let digest = ringwire::tune::identity::digest(line.as_bytes());
    let whole = fs::read_to_string(&journal).expect("written") + &format!("{digest} {line}\n");
    fs::write(&journal, whole).expect("ours");
    let said = tune_well(&["undo", "--host", text(&host)]);
    assert!(said.contains("file:/proc/cmdline is no place of mtu"), "{said}");
    assert_eq!(Recorded::load(&host).expect("a host"), shipped("gve"));
}

#[test]
fn the_nic_that_carries_the_default_route_needs_a_word_more() {
    let folder = Folder::new("management");
    let (host, plan) = planned(&folder, |_| ());
    let (status, _, err) = tune(&["apply", text(&plan), "--host", text(&host), "--yes"]);
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("the default route") && err.contains("--allow-mgmt"), "{err}");
    assert_eq!(Recorded::load(&host).expect("a host"), shipped("gve"));
}

#[test]
fn nobody_to_ask_is_no_consent() {
    let folder = Folder::new("consent");
    let (host, plan) = planned(&folder, |_| ());
    let (status, _, err) = tune(&["apply", text(&plan), "--host", text(&host), "--allow-mgmt"]);
    assert_eq!(status, Some(2), "{err}");
    assert!(err.contains("--yes"), "{err}");
}

#[test]
fn an_apply_that_nobody_confirms_is_undone_and_until_then_no_other_begins() {
    let folder = Folder::new("switch");
    let (host, plan) = planned(&folder, |_| ());
    let apply = ["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"];
    let said = tune_well(&[&apply[..], &["--confirm-within", "2s"]].concat());
    assert!(said.contains("tune apply --confirm 1"), "{said}");
    assert_ne!(Recorded::load(&host).expect("a host"), shipped("gve"), "it was applied");
    let (status, _, err) = tune(&apply);
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("apply 1 is not confirmed yet"), "{err}");
    assert!(tune_well(&["status", "--host", text(&host)]).contains("NOT CONFIRMED"));
    let acted = (0..600).any(|_| {
        rest_ms(50);
        tune_well(&["status", "--host", text(&host)]).contains("nothing is applied")
    });
    assert!(acted, "the switch did not act");
    assert_eq!(Recorded::load(&host).expect("a host"), shipped("gve"));
    let (status, _, err) = tune(&["apply", "--confirm", "1", "--host", text(&host)]);
    assert!(status == Some(1) && err.contains("undone already"), "{err}");
}

#[test]
fn a_confirmed_apply_stays() {
    let folder = Folder::new("stays");
    let (host, plan) = planned(&folder, |_| ());
    let apply = ["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"];
    // Long enough for a slow machine to start the second command before the switch acts.
    tune_well(&[&apply[..], &["--confirm-within", "4s"]].concat());
    tune_well(&["apply", "--confirm", "1", "--host", text(&host)]);
    rest_ms(4_500);
    assert!(tune_well(&["status", "--host", text(&host)]).contains("holds"));
    tune_well(&["undo", "--host", text(&host)]);
}

#[test]
fn undo_leaves_alone_what_somebody_changed_since() {
    let folder = Folder::new("since");
    let (host, plan) = planned(&folder, |_| ());
    tune_well(&["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"]);
    let mut changed = Recorded::load(&host).expect("a host");
    changed.facts.insert("ethtool:ens4/coalesce/rx-usecs".into(), "5".into());
    changed.save(&host).expect("writable");
    assert!(tune_well(&["status", "--host", text(&host)]).contains("changed to 5 since"));
    let said = tune_well(&["undo", "--host", text(&host)]);
    assert!(said.contains("left alone") && said.contains("somebody changed it"), "{said}");
    let mut expected = shipped("gve");
    expected.facts.insert("ethtool:ens4/coalesce/rx-usecs".into(), "5".into());
    assert_eq!(Recorded::load(&host).expect("a host"), expected);
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let folder = Folder::new("names");
    let host = folder.host("mlx5", |_| ());
    for (words, advice) in [
        (&["plan", "--profile", "speed", "--nic", "eth2"][..], "latency"),
        (&["plan", "--profile", "latency"], "--nic"),
        (&["plan", "--profile", "latency", "--nic", "eth9"], "choose from eth0, eth2"),
        (&["plan", "--profile", "latency", "--nic", "lo"], "no queues"),
        (&["plan", "--profile", "latency", "--nic", "eth2", "--cores", "99"], "choose from 0-31"),
        (&["audit", "--nic", "eth2", "--cores", "x"], "2-5"),
        (&["undo"], "nothing is applied"),
        (&["undo", "--id", "7"], "there is no apply 7"),
        (&["persist"], "nothing is applied"),
    ] {
        let (status, out, err) = tune(&[words, &["--host", text(&host)]].concat());
        assert!(matches!(status, Some(1 | 2)), "{words:?}: {out} {err}");
        assert!(err.contains(advice), "{words:?}: '{advice}' in {err}");
    }
    let (status, _, err) = tune(&["audit", "--host", "no-such.json"]);
    assert!(status == Some(2) && err.contains("--record"), "{err}");
    fs::write(folder.path("bad.json"), "{}").expect("writable");
    let (status, _, err) = tune(&["audit", "--host", text(&folder.path("bad.json"))]);
    assert!(status == Some(2) && err.contains("no recorded host"), "{err}");
}

#[test]
fn persist_writes_below_its_root_and_undo_removes_what_nobody_edited() {
    let folder = Folder::new("persist");
    let (host, plan) = planned(&folder, |_| ());
    let root = folder.path("root");
    tune_well(&["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"]);
    let persist = ["persist", "--host", text(&host), "--root", text(&root)];
    let (status, _, err) = tune(&persist);
    assert!(status == Some(1) && err.contains("--allow-mgmt"), "{err}");
    let said = tune_well(&[&persist[..], &["--allow-mgmt"]].concat());
    assert!(said.contains("systemctl enable ringwire-tune-ens4.service"), "{said}");
    assert!(said.contains("nohz_full="), "kernel arguments are told: {said}");
    tune_well(&[&persist[..], &["--allow-mgmt", "--as", "tuned"]].concat());
    let unit =
        fs::read_to_string(root.join("etc/systemd/system/ringwire-tune-ens4.service")).expect("written");
    assert!(
        unit.contains(
            "/usr/bin/ringwire tune apply /etc/ringwire/tune/ens4.toml --yes --at-boot --allow-mgmt"
        ),
        "{unit}"
    );
    let sysctl = fs::read_to_string(root.join("etc/sysctl.d/90-ringwire-ens4.conf")).expect("written");
    assert!(sysctl.contains("net.core.rmem_max = 4194304"), "{sysctl}");
    let tuned = root.join("etc/tuned/ringwire-ens4/tuned.conf");
    assert!(fs::read_to_string(&tuned).expect("written").contains("include=network-latency"));
    assert!(tune_well(&["status", "--host", text(&host)]).contains("persisted:"));
    fs::write(&tuned, "mine now").expect("ours");
    // As `systemctl enable` does.
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).expect("writable");
    for name in ["ringwire-tune-ens4.service", "other.service"] {
        symlink(format!("/etc/systemd/system/{name}"), wants.join(name)).expect("writable");
    }
    let said = tune_well(&["undo", "--host", text(&host)]);
    assert!(said.contains("tuned.conf was edited since"), "{said}");
    assert!(!root.join("etc/systemd/system/ringwire-tune-ens4.service").exists());
    assert!(fs::symlink_metadata(wants.join("ringwire-tune-ens4.service")).is_err(), "nor is it enabled");
    assert!(fs::symlink_metadata(wants.join("other.service")).is_ok());
    assert!(!root.join("etc/sysctl.d/90-ringwire-ens4.conf").exists());
    assert!(!root.join("etc/ringwire/tune/ens4.toml").exists());
    assert!(tuned.exists());
    assert_eq!(Recorded::load(&host).expect("a host"), shipped("gve"));
}

#[test]
fn what_was_persisted_is_applied_at_boot_and_undone_with_it() {
    let folder = Folder::new("boot");
    let (host, plan) = planned(&folder, |_| ());
    let root = folder.path("root");
    tune_well(&["apply", text(&plan), "--host", text(&host), "--yes", "--allow-mgmt"]);
    tune_well(&["persist", "--host", text(&host), "--root", text(&root), "--allow-mgmt"]);
    // The boot: the kernel has forgotten all, and sysctl.d was read before the unit started.
    let mut fresh = shipped("gve");
    fresh.facts.insert("file:/proc/sys/kernel/random/boot_id".into(), "another-life".into());
    fresh.facts.insert("file:/proc/sys/net/core/rmem_max".into(), "4194304".into());
    fresh.save(&host).expect("writable");
    assert!(tune_well(&["status", "--host", text(&host)]).contains("started anew since"));
    let kept = root.join("etc/ringwire/tune/ens4.toml");
    tune_well(&["apply", text(&kept), "--yes", "--at-boot", "--allow-mgmt", "--host", text(&host)]);
    let status = tune_well(&["status", "--host", text(&host)]);
    assert!(status.starts_with("apply 2:") && !status.contains("apply 1:"), "{status}");
    tune_well(&["undo", "--host", text(&host)]);
    assert!(!kept.exists(), "undo removes what was persisted before the boot");
    assert_eq!(Recorded::load(&host).expect("a host"), fresh);
}

#[expect(clippy::disallowed_methods, reason = "the switch has a time")]
fn rest_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
