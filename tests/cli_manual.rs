//! The manual, the completions, and the examples at the end of every verb's help: each is run.
#![cfg(feature = "cli")]

mod cli_support;
mod tune_support;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use cli_support::{Served, run};
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
            let line = line.split_once("  ").map_or(line, |(command, _)| command).trim().to_owned();
            // Some stand on two pages.
            if !lines.contains(&line) {
                lines.push(line);
            }
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

/// Runs a bench once. On a machine that is busy with something else it may say that its figures are not valid, and
/// why, with the status that scripts are told: that is what the example does there.
fn bench_in(folder: &Folder, line: &str) {
    let output = run_of(folder, line);
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let reasons: Vec<&str> = out
        .lines()
        .chain(err.lines())
        .filter_map(|line| Some(line.split_once("NOT VALID: ").or_else(|| line.split_once("not valid: "))?.1))
        .collect();
    // Status 1 is for a run that failed: it says why, too.
    let status = output.status.code();
    assert!(status == Some(0) || status == Some(1) && !reasons.is_empty(), "{line}: {status:?} {out} {err}");
    assert!(!out.is_empty(), "{line}: it reports: {err}");
    let of_the_host = |reason: &&&str| BUSY.iter().any(|busy| reason.contains(busy));
    assert_eq!(reasons.iter().filter(of_the_host).count(), reasons.len(), "{line}: {out} {err}");
    if !reasons.is_empty() {
        println!("{line}: {}", reasons.join("; "));
    }
}

/// What a busy machine does to a short run; bytes that differ or calls that stray are no such thing.
const BUSY: [&str; 3] = ["when the host is quiet", "raise --duration", "the offered rate was not reached"];

#[test]
fn the_examples_of_tune_run_on_an_invented_host() {
    for (index, line) in lines_of("tune").iter().enumerate() {
        if line.contains("tune verify") {
            // It needs a network: tests/tune_live.rs makes one, and runs them there.
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
fn the_examples_of_bench_run() {
    let server = Served::start("");
    let target = format!("{} --server-key {}", server.address, server.key);
    let folder = Folder::new("bench-examples");
    let lines = lines_of("bench");
    assert!(lines.len() >= 15, "{lines:?}");
    for line in lines {
        let line = line.replace("10.0.0.2:7405", &target).replace("10.0.0.2", &target);
        let line = line.replace("bench rate 127.0.0.1", &format!("bench rate {target}"));
        let line = line.replace("--duration 4s", "").replace("--duration 60s", "");
        // How fast this machine is is not the question here.
        let line = line.replace("1.5M", "20k").replace("500k", "20k").replace("50k", "20k");
        let poll = if line.contains("--poll") { "" } else { "--poll adaptive" };
        let short = match line.split_whitespace().nth(2) {
            Some(_) => "--duration 100ms --warmup 20ms --deadline 30s",
            None => "--duration 200ms",
        };
        bench_in(&folder, &format!("{line} {short} {poll}"));
    }
}

#[test]
fn the_examples_of_limits_and_sim_run() {
    let folder = Folder::new("limits-examples");
    let cores = if ringwire::sys::cores::allowed().len() > 1 { "--cores 0,1" } else { "" };
    for line in lines_of("limits") {
        let line = line.replace("--duration 3s", "").replace("--cores 2,3", cores);
        // With the filter behind it only where there is one.
        let (command, filter) = line.split_once(" | ").unwrap_or((&line, ""));
        let filter =
            if has_command("jq") && !filter.is_empty() { format!(" | {filter}") } else { String::new() };
        let line = format!("{command} --duration 10ms{filter}");
        if line.contains("--iface") && !allows_namespaces(&folder, &line) {
            continue;
        }
        let told = run_in(&folder, &line);
        let only = line.split_once("--only ").and_then(|(_, names)| names.split_whitespace().next());
        assert!(told.contains(only.unwrap_or("udp_packets_per_s")), "{told}");
    }
    for line in lines_of("sim") {
        let short = if line.contains("--seeds 1000") { line.replace("1000", "3") } else { line.clone() };
        let more = if short.contains("--seeds") { "" } else { " --seeds 3" };
        run_in(&folder, &format!("{short}{more}"));
    }
}

/// Whether this host lets `line` make a network of its own; where it does not, that is said.
fn allows_namespaces(folder: &Folder, line: &str) -> bool {
    let said = String::from_utf8_lossy(&run_of(folder, line).stderr).into_owned();
    let is_refused =
        said.contains("no network namespace may be made") || said.contains("no veth pair can be");
    if is_refused {
        println!("SKIPPED {line}: {said}");
        assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "a skip fails here: {said}");
    }
    !is_refused
}

#[test]
fn the_examples_of_serve_run_answer_and_stop() {
    let folder = Folder::new("serve-examples");
    let key = folder.path("key");
    assert_eq!(run(&format!("keygen {}", key.display())).status, Some(0));
    for line in lines_of("serve") {
        let two = if ringwire::sys::cores::allowed().len() > 1 { "--cores 0,1" } else { "" };
        let line = line.replace("ringwire serve", "").replace("--cores 2,3", two);
        let line = line.replace("--listen 10.0.0.2", "").replace("key", key.to_str().expect("plain"));
        // Another server may have the usual port.
        let poll = if line.contains("--poll") { "" } else { "--poll spin" };
        let served = Served::start(&format!("--listen 127.0.0.1:0 {line} {poll}"));
        let target = format!("{} --server-key {}", served.address, served.key);
        let short = "--duration 100ms --warmup 20ms --deadline 30s --poll adaptive";
        bench_in(&folder, &format!("ringwire bench ping {target} {short}"));
        assert_eq!(served.terminate().status, Some(0), "{line}");
    }
}

#[test]
fn the_examples_of_the_other_verbs_run() {
    let folder = Folder::new("other-examples");
    fs::create_dir_all(folder.path("etc")).expect("writable");
    for verb in ["keygen", "doctor", "man", "completions"] {
        for line in lines_of(verb) {
            run_in(&folder, &line.replace("/etc/ringwire", "etc").replace(" --nic eth0", " --nic lo"));
        }
    }
    // In an image it is the same command.
    let docker =
        examples().into_iter().filter_map(|line| Some(line.split_once("docker run IMAGE ")?.1.to_owned()));
    docker.for_each(|line| drop(run_in(&folder, &line)));
    let verbs = ["bench", "limits", "sim", "serve", "tune", "keygen", "doctor", "man", "completions"];
    for line in examples() {
        let verb = line.split("ringwire ").nth(1).and_then(|rest| rest.split_whitespace().next());
        assert!(verb.is_some_and(|verb| verbs.contains(&verb)), "no test runs: {line}");
    }
}

/// The examples that call `verb`, whichever page they are on.
fn lines_of(verb: &str) -> Vec<String> {
    let lines: Vec<String> = examples()
        .into_iter()
        .filter(|line| line.split_whitespace().take(2).eq(["ringwire", verb]))
        .collect();
    assert!(!lines.is_empty(), "{verb}");
    lines
}

fn has_command(name: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}
