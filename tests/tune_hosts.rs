//! The shipped hosts: what an audit and a plan find on each (snapshots in tests/snapshots; write them anew
//! with RINGWIRE_BLESS=1 and look at the difference), and a round trip on each.
#![cfg(feature = "cli")]

mod tune_support;

use std::fs;

use ringwire::tune::apply::{Occasion, apply};
use ringwire::tune::guard::{Drift, check};
use ringwire::tune::host::recorded::Recorded;
use ringwire::tune::journal::Store;
use ringwire::tune::plan::{self, Settled};
use ringwire::tune::profile;
use ringwire::tune::scope::{Request, Scope};
use ringwire::tune::status::{Standing, reports, settled};
use ringwire::tune::undo::undo;
use tune_support::{Folder, SHIPPED, root, shipped, tune, tune_well};

/// Which profile each host is held against.
const PROFILES: [(&str, &str); 5] = [
    ("mlx5", "latency"),
    ("ice", "latency"),
    ("ena", "cloud-vm"),
    ("gve", "cloud-vm"),
    ("virtio", "balanced"),
];

fn compare(name: &str, text: &str) {
    let path = root().join(format!("tests/snapshots/tune-{name}.txt"));
    if std::env::var("RINGWIRE_BLESS").as_deref() == Ok("1") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(&path, text).expect("writable");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}: RINGWIRE_BLESS=1 writes it anew", path.display());
}

#[test]
fn audit_and_plan_find_on_each_shipped_host_what_is_wrong_with_it() {
    let folder = Folder::new("snapshots");
    for (name, profile) in PROFILES {
        let path = folder.host(name, |_| ());
        let host = path.to_str().expect("plain");
        let nic = nic_of(name);
        let audit = tune_well(&["audit", "--host", host, "--nic", nic, "--profile", profile]);
        let plan = tune_well(&["plan", "--host", host, "--nic", nic, "--profile", profile]);
        compare(
            name,
            &format!(
                "$ ringwire tune audit --profile {profile}\n{audit}\n$ ringwire tune plan --profile {profile}\n{plan}"
            ),
        );
    }
}

/// What is now is red, what is wanted green, and the risk has its colour, too.
#[test]
fn a_plan_is_a_coloured_difference_where_colours_are_wanted() {
    let folder = Folder::new("colours");
    let host = folder.host("gve", |_| ());
    let plan = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringwire"));
        command.args(["tune", "plan", "--profile", "latency", "--host"]).arg(&host);
        let output = command.env_remove("NO_COLOR").envs(variables.iter().copied()).output();
        String::from_utf8(output.expect("it was built").stdout).expect("text")
    };
    let coloured = plan(&[("CLICOLOR_FORCE", "1")]);
    assert!(
        coloured.contains("ethtool:ens4/coalesce/rx-usecs: \u{1b}[31m20\u{1b}[0m → \u{1b}[32m0\u{1b}[0m")
    );
    assert!(coloured.contains("\u{1b}[32mS\u{1b}[0m \u{1b}[1mcoalesce.rx-usecs\u{1b}[0m: "), "{coloured}");
    for plain in [plan(&[]), plan(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")])] {
        assert!(plain.contains("rx-usecs: 20 → 0") && !plain.contains('\u{1b}'), "{plain}");
    }
}

fn nic_of(name: &str) -> &'static str {
    match name {
        "mlx5" => "eth2",
        "ice" => "ens1f0",
        "ena" => "ens5",
        "gve" => "ens4",
        _ => "eth0",
    }
}

#[test]
fn every_shipped_host_goes_round_by_the_command() {
    let folder = Folder::new("round");
    for (name, profile) in PROFILES {
        let path = folder.host(name, |_| ());
        let (host, plan) = (path.to_str().expect("plain"), folder.path("plan.toml"));
        let plan = plan.to_str().expect("plain");
        let scope = ["--host", host, "--nic", nic_of(name), "--profile", profile, "--output", plan];
        tune_well(&[&["plan"], &scope[..]].concat());
        tune_well(&["apply", plan, "--host", host, "--yes", "--allow-mgmt"]);
        let again = tune_well(&[&["plan"], &scope[..6]].concat());
        assert!(again.contains("nothing to change"), "{name} {profile}: {again}");
        let status = tune_well(&["status", "--host", host]);
        assert!(status.contains("holds") && !status.contains("since"), "{name} {profile}: {status}");
        tune_well(&["undo", "--host", host]);
        assert_eq!(Recorded::load(&path).expect("it is a host"), shipped(name), "{name} {profile}");
        assert!(tune_well(&["status", "--host", host]).contains("nothing is applied"));
    }
}

/// The same by the library, for it writes the host's file once and not at every write.
#[test]
fn every_profile_goes_round_on_every_shipped_host() {
    let folder = Folder::new("round-all");
    for name in SHIPPED {
        for profile in profile::names() {
            let mut host = shipped(name);
            let request = Request { nic: Some(nic_of(name).into()), ..Request::default() };
            let store = Store::lock(&folder.path(&format!("{name}-{profile}"))).expect("free");
            let made = |host: &Recorded, settled: &Settled| {
                let scope = Scope::look(host, &request).expect("the NIC is there");
                plan::make(host, &scope, profile, settled).expect("it is shipped").plan
            };
            let plan = made(&host, &Settled::new());
            assert!(!plan.settings.is_empty(), "{name} {profile}");
            check(&host, &plan, Drift::Refuse).expect("nothing changed since");
            let occasion = Occasion { boot: "recorded".into(), at: 1, confirm_until: None };
            let applied = apply(&mut host, &store, &plan, &occasion, &mut |_| Ok(())).expect("it takes it");
            let journals = store.journals().expect("readable");
            assert_eq!(made(&host, &settled(&journals)).settings, [], "{name} {profile}: a second plan");
            for line in &reports(&host, &journals, "recorded")[0].lines {
                assert_eq!(line.standing, Standing::Holds, "{name} {profile}: {line:?}");
            }
            let mut writer = store.append(applied.id).expect("ours");
            let undone = undo(&mut host, &journals[0], &mut writer).expect("room");
            assert!(undone.is_whole() && undone.left.is_empty(), "{name} {profile}: {undone}");
            assert_eq!(host, shipped(name), "{name} {profile}");
        }
    }
}

#[test]
fn a_recorded_host_is_found_again_in_its_record() {
    let folder = Folder::new("record");
    for name in SHIPPED {
        let path = folder.host(name, |_| ());
        let (host, record) = (path.to_str().expect("plain"), folder.path("again.json"));
        let record = record.to_str().expect("plain");
        for profile in ["latency", "throughput"] {
            let scope = ["--nic", nic_of(name), "--profile", profile, "--json"];
            let first = tune_well(&[&["audit", "--host", host, "--record", record], &scope[..]].concat());
            let second = tune_well(&[&["audit", "--host", record], &scope[..]].concat());
            assert_eq!(first, second, "{name} {profile}");
        }
    }
}

#[test]
fn what_is_invented_says_so_in_its_first_lines_and_cites_its_sources() {
    for name in SHIPPED {
        let text = fs::read_to_string(root().join(format!("tuning/hosts/{name}.json"))).expect("shipped");
        let head: String = text.lines().take(3).collect();
        assert!(head.contains("\"synthetic\": true") && head.contains("INVENTED"), "{name}: {head}");
        let host = shipped(name);
        assert!(host.synthetic && host.sources.len() >= 3, "{name}");
        assert!(host.sources.iter().any(|source| source.contains("of Linux")), "{name}: a driver's source");
    }
}

#[test]
fn an_audit_needs_no_rights_and_changes_nothing() {
    // This host as it is: whatever NIC it has, and whoever runs the test.
    let (status, out, err) = tune(&["audit", "--json"]);
    match status {
        Some(0) => assert!(out.contains("\"scenario\":\"tune-audit\""), "{out}"),
        // Several NICs, or none: it says which.
        _ => assert!(status == Some(2) && err.contains("--nic"), "{out} {err}"),
    }
}
