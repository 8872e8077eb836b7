//! What operators copy: the systemd unit starts the command it names, and the container's profile allows
//! every system call that a server makes.
#![cfg(feature = "cli")]

mod cli_support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cli_support::{Served, rest_ms, run};
use serde_json::Value;

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tuning").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_unit_starts_a_server_that_reads_its_list_again() {
    let unit = file("systemd/ringwire.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/ringwire serve "))
        .expect("it starts");
    let folder = std::env::temp_dir().join(format!("ringwire-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("writable");
    let shown = folder.display();
    assert_eq!(run(&format!("keygen {shown}/identity")).status, Some(0));
    // The unit's own example of a list, with a key that is one.
    let example = unit.lines().find_map(|line| line.strip_prefix("#   echo '")).expect("an example");
    let example = example.split('\'').next().expect("quoted");
    let key = run(&format!("keygen --show {shown}/identity")).stdout;
    fs::write(folder.join("allow"), example.replace("rw1…", key.trim()) + "\n").expect("writable");
    let line = line
        .replace("/etc/ringwire", &shown.to_string())
        .replace("[::]:7405", "[::1]:0")
        .replace(" --poll adaptive", "");
    let served = Served::start(&line);
    assert!(unit.contains("ExecReload=/bin/kill -HUP $MAINPID"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(served.id().cast_signed()), nix::sys::signal::SIGHUP)
        .expect("ours");
    rest_ms(200);
    let ended = served.terminate();
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("read again: 1 keys"), "{}", ended.stderr);
    fs::remove_dir_all(&folder).expect("ours");
}

#[test]
fn the_containers_profile_allows_every_call_that_a_server_makes() {
    let profile: Value = serde_json::from_str(&file("container/seccomp.json")).expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let names = profile["syscalls"][0]["names"].as_array().expect("a list");
    let names: Vec<&str> = names.iter().map(|name| name.as_str().expect("text")).collect();
    assert!(names.is_sorted(), "so that a difference shows");
    let allowed: BTreeSet<&str> = names.into_iter().collect();
    for dangerous in
        ["ptrace", "mount", "bpf", "setns", "unshare", "init_module", "kexec_load", "process_vm_writev"]
    {
        assert!(!allowed.contains(dangerous), "{dangerous}");
    }
    for backend in ["mmsg", "uring"] {
        let Some(made) = traced(backend) else { return };
        assert!(made.contains("recvmmsg") || made.contains("io_uring_enter"), "a server ran: {made:?}");
        let missing: Vec<&String> = made.iter().filter(|name| !allowed.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{backend}: {missing:?} are missing from the profile");
    }
}

/// RINGWIRE_STRICT=1 lets this pass: it asks for what the kernel has, and strace is a developer's tool.
fn skip<T>(why: &str) -> Option<T> {
    println!("SKIPPED the_containers_profile_allows_every_call_that_a_server_makes: {why}");
    None
}

/// The names of the system calls of a server that is called and stopped; `None` where they cannot be seen.
fn traced(backend: &str) -> Option<BTreeSet<String>> {
    let trace = std::env::temp_dir().join(format!("ringwire-trace-{backend}-{}", std::process::id()));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_ringwire"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--poll", "park", "--backend", backend]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else { return skip("no strace here") };
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("it speaks");
    let Some((address, key)) =
        line.trim_end().strip_prefix("listening on ").and_then(|said| said.split_once(" key "))
    else {
        return skip("strace may not trace");
    };
    let called = run(&format!(
        "bench rate {address} --server-key {key} --duration 200ms --warmup 50ms --poll adaptive"
    ));
    assert_eq!(called.status, Some(0), "{}", called.stderr);
    // strace passes the signal on to the server, its only child, and ends with it.
    let server =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).expect("strace has a child");
    let server = server.split_whitespace().next().expect("the server").parse().expect("a number");
    ringwire::sys::process::terminate(server).expect("ours");
    child.wait().expect("ours");
    let text = fs::read_to_string(&trace).expect("strace wrote it");
    let calls = text.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('));
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let made = calls.map(|(name, _)| name.to_owned()).filter(|name| is_name(name)).collect();
    fs::remove_file(&trace).expect("ours");
    Some(made)
}
