//! Runs every example as a user would: alone, to its end, with a result that is shown and right.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `cargo test` builds the examples beside the tests: `target/PROFILE/{deps/this, examples/NAME}`.
/// `None`: this test was asked for alone, which builds no examples.
fn built(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are built in PROFILE/deps");
    let example = profile.join("examples").join(name);
    example.exists().then_some(example)
}

fn run(name: &str, expected: &[&str]) {
    let Some(example) = built(name) else {
        // `cargo test --test examples` builds this test alone; the whole suite builds both.
        eprintln!("example {name} is not built: run `cargo test`, or `cargo build --examples` first");
        return;
    };
    let output = Command::new(example).output().expect("the example starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{stdout}{stderr}", output.status);
    for line in expected {
        assert!(
            stdout.lines().any(|shown| shown.starts_with(line)),
            "{name}: no '{line}' in\n{stdout}{stderr}"
        );
    }
}

#[test]
fn echo_shows_its_echo() {
    run("echo", &["echo: hello, wire"]);
}

#[test]
fn messages_arrive_in_order() {
    run("messages", &["messages: 20000 received, in order on each of 2 channels"]);
}

#[test]
fn methods_are_answered_in_place() {
    run("rpc_inline", &["rpc_inline: the sum is 10", "rpc_inline: the handler says: cannot divide by zero"]);
}

#[test]
fn calls_are_awaited_and_answered_by_async_code() {
    run("rpc_async", &["rpc_async: 100 of 100 replies right"]);
}

#[test]
fn a_store_is_sharded_over_workers() {
    run("kv_sharded", &["kv_sharded: 2000 keys stored and read, by shard: ["]);
}

#[test]
fn a_counter_is_exact_though_its_server_is_killed() {
    run("durable_counter", &["durable_counter: 300 increments, 5 kills (seed 1): the counter is 300"]);
}
