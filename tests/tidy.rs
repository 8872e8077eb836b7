//! What no compiler checks: which room may import which, where unsafe code, clocks and chance may
//! stand, how long files and functions are, and that nothing is left lying about.
//!
//! Each test prints the places it objects to and what to do about them.

#[path = "tidy/bans.rs"]
mod bans;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/skip.rs"]
mod skip;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tracked.rs"]
mod tracked;

use std::process::Command;

use layers::{LAYERS, UNSAFE_ROOMS};
use source::{Source, root, rust_sources, split};

/// Every folder with Rust of ours; `fuzz` has a manifest of its own.
const FOLDERS: &[&str] = &["src", "tests", "benches", "examples"];

/// Test programs that hold unsafe code, and why.
const UNSAFE_TESTS: &[(&str, &str)] = &[
    ("tests/allocations.rs", "an allocator that counts can be nothing else"),
    ("tests/live_support/ethtool.rs", "the driver's words are read by other code than the product's"),
    ("tests/refusals.rs", "a thread that takes system calls from itself has no use in the product"),
    ("tests/session_memory/tally.rs", "an allocator that counts can be nothing else"),
];

#[test]
fn each_room_imports_only_what_stands_above_it() {
    let sources = rust_sources(&["src"]);
    let mut found: Vec<String> = sources.iter().flat_map(layers::forbidden_imports).collect();
    found.extend(sources.iter().flat_map(layers::climbing_supers));
    expect_none(
        found,
        "move the shared part up to a room that both may see, or turn the call round with a trait",
    );
}

#[test]
fn the_crate_root_declares_the_rooms_in_the_order_of_the_table() {
    let sources = rust_sources(&["src"]);
    let root = sources.iter().find(|source| source.path == "src/lib.rs").expect("the library has a root");
    let declared: Vec<&str> = root
        .code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let table: Vec<&str> = LAYERS.iter().flat_map(|rooms| rooms.iter().copied()).collect();
    assert_eq!(declared, table, "src/lib.rs (left) and LAYERS in tests/tidy/layers.rs (right) differ");
}

#[test]
fn every_room_but_two_forbids_unsafe_code() {
    let sources = rust_sources(&["src"]);
    let mut found = Vec::new();
    for room in LAYERS.iter().flat_map(|rooms| rooms.iter()) {
        let tops = [format!("src/{room}.rs"), format!("src/{room}/mod.rs")];
        let top = sources.iter().find(|source| tops.contains(&source.path)).expect("each room has a file");
        let forbids = top.code.contains("#![forbid(unsafe_code)]");
        if forbids == UNSAFE_ROOMS.contains(room) {
            found.push(format!("{}: forbids unsafe code: {forbids}", top.path));
        }
    }
    expect_none(found, "open the room with #![forbid(unsafe_code)]; unsafe code belongs into rings or sys");
}

#[test]
fn unsafe_code_stands_in_its_rooms_and_says_why_it_is_sound() {
    let mut found = Vec::new();
    for source in rust_sources(FOLDERS) {
        let is_room = source.room().is_some_and(|room| UNSAFE_ROOMS.contains(&room));
        let is_test = UNSAFE_TESTS.iter().any(|(path, _)| *path == source.path);
        found.extend(bans::unargued_unsafe(&source, is_room || is_test));
    }
    expect_none(found, "give it a safe face in rings or sys, with a `// SAFETY:` argument");
}

#[test]
fn clocks_chance_and_output_stand_where_they_may() {
    let sources = rust_sources(&["src"]);
    expect_none(bans::breaches(&sources, bans::BANS), "do as the line says, or argue for an entry in BANS");
    expect_none(bans::stale_exceptions(&sources, bans::BANS), "remove the exception from BANS");
}

#[test]
fn a_leftover_says_when_it_is_due() {
    let found = rust_sources(FOLDERS).iter().flat_map(bans::unconditional_leftovers).collect();
    expect_none(found, "do it, delete it, or name the condition");
}

#[test]
fn no_test_is_switched_off() {
    let found = rust_sources(FOLDERS).iter().flat_map(bans::switched_off).collect();
    expect_none(found, "a test that a host cannot run prints why and fails under RINGWIRE_STRICT=1");
}

#[test]
fn every_lesson_cited_is_written_down() {
    expect_none(rules::unknown_citations(&rust_sources(FOLDERS)), "add a line to docs/RULES.md");
}

#[test]
fn every_source_is_part_of_a_target() {
    let sources = rust_sources(FOLDERS);
    let found = modules::unreached(&sources, &modules::targets(&sources));
    expect_none(found, "declare it as a module (a bench: in Cargo.toml), or delete it");
}

#[test]
fn files_and_functions_fit_their_limits() {
    let sources = rust_sources(FOLDERS);
    expect_none(sizes::long_files(&sources), "one concept a file: move a part out");
    expect_none(sizes::long_functions(&sources), "move arithmetic to a leaf, keep the branches together");
    expect_none(sizes::mended(&sources), "well done: take the line out of tests/tidy/sizes.rs");
}

#[test]
fn no_file_names_a_private_place() {
    expect_none(tracked::private_places(), "write what a reader elsewhere can follow");
}

#[test]
fn the_lock_file_names_one_public_registry() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is committed");
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let found = lock.lines().filter(|line| line.starts_with("source = ") && *line != public);
    expect_none(found.map(str::to_owned).collect(), "depend on crates.io alone");
}

#[test]
fn without_its_features_the_library_is_the_datapath_alone() {
    let test = "without_its_features_the_library_is_the_datapath_alone";
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--no-default-features",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--locked",
            "--offline",
        ])
        .current_dir(root())
        .output();
    let Ok(tree) = tree else { return skip::skip(test, "cargo is not to be had") };
    assert!(tree.status.success(), "cargo tree: {}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8_lossy(&tree.stdout);
    let heavy = [
        "clap",
        "comfy-table",
        "indicatif",
        "netlink-bindings",
        "redb",
        "serde",
        "serde_json",
        "toml",
        "tracing-subscriber",
    ];
    let found = text.lines().filter(|line| heavy.iter().any(|name| line.split(' ').next() == Some(name)));
    expect_none(
        found.map(str::to_owned).collect(),
        "make it optional, behind the feature `cli` or `durable`",
    );
    assert!(text.contains("io-uring"), "the datapath is in the tree");
}

#[test]
fn comments_and_literals_are_told_from_code() {
    let text = "let a = \"un//safe\"; // fn\nlet b = 'x'; /* /* b */ */ f::<'a>(r#\"un\"safe\"#, '\\'');";
    let (code, comments) = split(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(code.contains("f::<'a>("), "{code}");
    assert!(!code.contains("safe") && !code.contains("fn") && !code.contains('x'), "{code}");
    assert!(comments.contains("// fn") && comments.contains("/* b */"), "{comments}");
}

#[test]
fn the_rules_bite() {
    let (code, comments) =
        split("use crate::worker::Worker;\nfn f() { unsafe { now() } let t = Instant::now(); }\n");
    let text = code.clone();
    let bad = Source { path: "src/wire/bad.rs".into(), text, code, comments };
    assert_eq!(layers::forbidden_imports(&bad).len(), 1);
    assert_eq!(bans::unargued_unsafe(&bad, false).len(), 1);
    assert_eq!(bans::unargued_unsafe(&bad, true).len(), 1);
    assert_eq!(modules::unreached(&[bad], &["src/lib.rs".into()]), ["src/wire/bad.rs"]);
    let (code, comments) = split("use crate::transport::Engine; fn f() { let t = Instant::now(); }\n");
    let bad = Source { path: "src/io/bad.rs".into(), text: code.clone(), code, comments };
    assert_eq!(layers::forbidden_imports(&bad).len(), 1);
    assert_eq!(bans::breaches(&[bad], bans::BANS).len(), 1);
}

/// Fails with the places found and what to do.
fn expect_none(found: Vec<String>, cure: &str) {
    assert!(found.is_empty(), "\n{}\n\n=> {cure}\n", found.join("\n"));
}
