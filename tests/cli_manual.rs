//! The manual, the completions, and the examples at the end of every verb's help: each is run.
#![cfg(feature = "cli")]

mod cli_support;
mod tune_support;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use cli_support::{Served, end, rest_ms, run, start};
use ringwire::cli::Cli;
use tune_support::{Folder, tune_well};

/// Every verb, by its words.
fn verbs() -> Vec<(Vec<String>, clap::Command)> {
    fn walk(command: &clap::Command, words: &[String], found: &mut Vec<(Vec<String>, clap::Command)>) {
        found.push((words.to_vec(), command.clone()));
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            walk(verb, &[words, &[verb.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    walk(&Cli::command(), &[], &mut found);
    found
}

#[test]
fn every_verb_has_a_page_that_names_its_flags() {
    let folder = Folder::new("man");
    let pages = folder.path("man1");
    assert_eq!(run(&format!("man --output {}", pages.display())).status, Some(0));
    let mut written = BTreeSet::new();
    for (words, command) in verbs() {
        let name = [&["ringwire".to_owned()], &words[..]].concat().join("-");
        let path = pages.join(format!("{name}.1"));
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{name}: no page of man");
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            let flag = flag.replace('-', "\\-");
            assert!(page.contains(&flag), "{name}: --{flag}");
        }
        written.insert(path);
    }
    let there: BTreeSet<_> =
        fs::read_dir(&pages).expect("written").map(|entry| entry.expect("there").path()).collect();
    assert_eq!(there, written);
    assert!(run("man").stdout.contains("ringwire"));
}

#[test]
fn completions_know_every_verb_and_flag() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(&format!("completions {shell}"));
        assert_eq!(ended.status, Some(0), "{ended:?}");
        for word in ["bench", "tune", "audit", "confirm-within", "server-key"] {
            assert!(ended.stdout.contains(word), "{shell}: {word}");
        }
    }
    let folder = Folder::new("completions");
    let script = folder.path("ringwire.bash");
    fs::write(&script, run("completions bash").stdout).expect("writable");
    let checked = Command::new("bash").arg("-n").arg(&script).status();
    assert!(checked.is_ok_and(|status| status.success()), "bash reads it");
}

/// The command of each example line, without what it is said to do.
fn examples() -> Vec<String> {
    let mut lines = Vec::new();
    for (_, mut command) in verbs() {
        let help = command.render_long_help().to_string();
        let Some((_, examples)) = help.split_once("Examples:\n") else { continue };
        for line in examples.lines().filter(|line| line.contains("ringwire ")) {
            let line = line.trim();
            lines.push(line.split_once("  ").map_or(line, |(command, _)| command).trim().to_owned());
        }
    }
    lines
}

#[test]
fn every_example_of_every_verb_parses() {
    let key = public_key();
    for line in examples().iter().filter(|line| line.starts_with("ringwire ")) {
        let line = line.split(" | ").next().expect("a command").replace("KEY", &key).replace('\'', "");
        if let Err(error) = <Cli as clap::Parser>::try_parse_from(line.split_whitespace()) {
            let asked = matches!(error.kind(), clap::error::ErrorKind::DisplayHelp);
            assert!(asked, "{line}: {error}");
        }
    }
}

fn public_key() -> String {
    let folder = Folder::new("key");
    let ended = run(&format!("keygen {}", folder.path("identity").display()));
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended.stdout.trim().to_owned()
}

/// Runs `line` in `folder`.
fn run_of(folder: &Folder, line: &str) -> std::process::Output {
    let mut command = Command::new("sh");
    let words = line.replacen("ringwire", env!("CARGO_BIN_EXE_ringwire"), 1);
    command
        .args(["-c", &words])
        .current_dir(folder.path(""))
        .stdin(Stdio::null())
        .env_remove("SSH_CONNECTION");
    command.output().expect("sh is everywhere")
}

/// Runs `line` in `folder`, which must end well.
fn run_in(folder: &Folder, line: &str) -> String {
    let output = run_of(folder, line);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}: {text} {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A machine that is busy with something else needs longer for a figure that is valid.
fn run_for_as_long_as_it_takes(folder: &Folder, line: &str) {
    let quick = |length: &str| run_of(folder, &format!("{line} --duration {length}")).status.success();
    if !["100ms", "500ms", "2s"].into_iter().any(quick) {
        run_in(folder, &format!("{line} --duration 5s"));
    }
}

#[test]
fn the_examples_of_tune_run_on_an_invented_host() {
    for (index, line) in examples().iter().filter(|line| line.starts_with("ringwire tune ")).enumerate() {
        if line.contains("tune verify") {
            // It needs a network: tests/tune_live.rs makes one.
            continue;
        }
        let folder = Folder::new(&format!("examples-{index}"));
        let host = folder.host("virtio", |_| ());
        let shown = host.to_str().expect("plain");
        fs::copy(&host, folder.path("host.json")).expect("ours");
        fs::write(folder.path("mine.toml"), "name = \"mine\"\nabout = \"mine\"\ninclude = [\"latency\"]\n")
            .expect("writable");
        let plan = ["plan", "--profile", "cloud-vm", "--nic", "eth0", "--host", shown, "--output"];
        for name in ["plan.toml", "p.toml"] {
            let path = folder.path(name);
            tune_well(&[&plan[..], &[path.to_str().expect("plain")]].concat());
        }
        let path = folder.path("plan.toml");
        let apply = ["apply", path.to_str().expect("plain"), "--host", shown, "--yes", "--allow-mgmt"];
        if ["tune undo", "tune persist"].iter().any(|step| line.contains(step)) {
            tune_well(&apply);
        } else if line.contains("--confirm 1") {
            tune_well(&[&apply[..], &["--confirm-within", "60s"]].concat());
        }
        let mut line = line.clone();
        if !line.contains("--host") {
            line.push_str(&format!(" --host {shown}"));
        }
        if line.contains("tune apply") && !line.contains("--confirm 1") {
            // Nobody is there to be asked.
            let more = ["--yes", "--allow-mgmt"].into_iter().filter(|flag| !line.contains(flag));
            line = format!("{line} {}", more.collect::<Vec<_>>().join(" "));
        }
        if line.contains("tune persist") {
            let root = if line.contains("--root") { "" } else { "--root root" };
            line = format!("{line} --allow-mgmt {root}");
        }
        // Four CPUs on that host.
        run_in(&folder, &line.replace("--cores 2-5", "--cores 2-3"));
        if line.contains("--confirm-within") {
            tune_well(&["apply", "--confirm", "1", "--host", shown]);
        }
    }
}

#[test]
fn the_examples_of_the_other_verbs_run() {
    let server = Served::start("");
    let target = format!("{} --server-key {}", server.address, server.key);
    let folder = Folder::new("other-examples");
    fs::create_dir_all(folder.path("etc")).expect("writable");
    for line in examples().iter().filter(|line| line.starts_with("ringwire ")) {
        let line = line.split(" | ").next().expect("a command");
        let verb = line.split_whitespace().nth(1).unwrap_or_default();
        let line = match verb {
            "bench" if line.split_whitespace().nth(2).is_some() => {
                let line = line.replace("10.0.0.2:7405", &target).replace("10.0.0.2", &target);
                let line = line.replace("bench rate 127.0.0.1", &format!("bench rate {target}"));
                let line = line.replace("--duration 4s", "").replace("--duration 60s", "");
                // How fast this machine is is not the question here.
                let line = line.replace("1.5M", "20k").replace("500k", "20k").replace("50k", "20k");
                let poll = if line.contains("--poll") { "" } else { "--poll adaptive" };
                run_for_as_long_as_it_takes(&folder, &format!("{line} --warmup 20ms --deadline 30s {poll}"));
                continue;
            }
            "keygen" => line.replace("/etc/ringwire", "etc"),
            "doctor" => line.replace(" --nic eth0", ""),
            "man" => line.to_owned(),
            "completions" => line.to_owned(),
            // `tune` has a test of its own; `serve` and the long ones are run by tests of theirs.
            _ => continue,
        };
        run_in(&folder, &line);
    }
    let mut served = start("serve --listen 127.0.0.1:0 --poll adaptive");
    rest_ms(300);
    ringwire::sys::process::terminate(served.id()).expect("ours");
    assert!(served.try_wait().is_ok());
    assert_eq!(end(served).status, Some(0));
}
