//! The README tells the truth: its blocks between `<!-- begin: NAME -->` and `<!-- end: NAME -->` are
//! what their sources make of them, and its commands are those that are tested.
//!
//! With `RINGWIRE_WRITE=1` the blocks are written instead of compared (`scripts/readme-figures`).

#[path = "readme/figures.rs"]
mod figures;
#[path = "readme/rounds.rs"]
mod rounds;
#[path = "readme/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

use serde_json::Value;

const README: &str = "README.md";
const TEST_COMMAND: &str = "cargo test --release --locked --workspace";
const BENCH_COMMAND: &str = "cargo run --release --locked -- bench";
/// What the figure blocks say until results are committed.
const PENDING: &str = "*Figures are pending measurement.*\n";

#[test]
fn every_block_is_what_its_source_makes_of_it() {
    check_or_write(README, &[("output", output()), ("echo", echo()), ("figures", figures())]);
    check_or_write("docs/PERFORMANCE.md", &[("targets", targets())]);
}

fn check_or_write(page: &str, blocks: &[(&str, String)]) {
    let old = read(page).unwrap_or_else(|| panic!("{page} is there"));
    let new = blocks.iter().fold(old.clone(), |text, (name, content)| replace(&text, name, content));
    if std::env::var_os("RINGWIRE_WRITE").is_some() {
        fs::write(root().join(page), new).unwrap_or_else(|error| panic!("{page}: {error}"));
        return;
    }
    let differs = old.lines().zip(new.lines()).find(|(old, new)| old != new);
    assert!(old == new, "{page} is not up to date: run scripts/readme-figures. First: {differs:#?}");
}

#[test]
fn the_commands_shown_are_the_commands_tested() {
    let readme = read(README).expect("the README is there");
    for command in [TEST_COMMAND, BENCH_COMMAND] {
        assert!(readme.lines().any(|line| line.trim() == command), "the README shows {command}");
    }
    let ci = read(".ci/run").expect(".ci/run is there");
    assert!(ci.lines().any(|line| line == format!("step {TEST_COMMAND}")), ".ci/run runs {TEST_COMMAND}");
}

#[test]
fn the_needs_name_the_rust_version_of_the_manifest() {
    let manifest = read("Cargo.toml").expect("Cargo.toml is there");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'));
    let wanted = format!("Rust {}", version.expect("Cargo.toml names it"));
    assert!(read(README).expect("the README is there").contains(&wanted), "the README says {wanted}");
}

#[test]
fn the_echo_fits_twenty_lines() {
    let code = echo().lines().filter(|line| !line.is_empty() && !line.starts_with("```")).count();
    assert!(code <= 20, "{code} lines");
}

#[test]
fn links_to_files_lead_somewhere() {
    let pages = [
        "README.md",
        "CHANGELOG.md",
        "docs/ARCHITECTURE.md",
        "docs/OPEN.md",
        "docs/PROTOCOL.md",
        "docs/RULES.md",
    ];
    let mut broken = Vec::new();
    for page in pages {
        let folder = Path::new(page).parent().expect("a file has a folder");
        let text = read(page).unwrap_or_else(|| panic!("{page} is there"));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let is_file = !target.is_empty() && !target.contains("://");
            if is_file && !root().join(folder).join(target).exists() {
                broken.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "links to nowhere: {broken:#?}");
}

#[test]
fn files_that_the_architecture_page_names_are_there() {
    let page = read("docs/ARCHITECTURE.md").expect("the page is there");
    let quoted = page.split('`').skip(1).step_by(2);
    let files = quoted.filter(|word| word.ends_with(".rs") && !word.contains(' ') && !word.contains('*'));
    let missing: Vec<&str> =
        files.filter(|file| !root().join(file).exists() && !root().join("src").join(file).exists()).collect();
    assert!(missing.is_empty(), "docs/ARCHITECTURE.md names files that are not there: {missing:#?}");
}

/// What the bench printed, from its table on: the raw limits before it are many.
fn output() -> String {
    let Some(text) = read("docs/figures/bench.txt") else { return PENDING.into() };
    let table = text.lines().skip_while(|line| !line.starts_with('─')).map(str::trim_end);
    let shown: Vec<&str> = table.collect();
    assert!(!shown.is_empty(), "docs/figures/bench.txt holds no table");
    format!("```text\n$ {BENCH_COMMAND}\n…\n{}\n```\n", shown.join("\n"))
}

/// The example that the tests run, without its own head.
fn echo() -> String {
    let example = read("examples/echo.rs").expect("the example is there");
    let code = example.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    format!("```rust\n{}\n```\n", code.collect::<Vec<&str>>().join("\n"))
}

/// What is aimed at, and what processor time a call takes.
fn targets() -> String {
    let Some(run) = json("docs/figures/peers.json") else { return PENDING.into() };
    format!("{}\n{}", targets::reached(&run), targets::processor_time(&run))
}

fn json(path: &str) -> Option<Value> {
    read(path).map(|text| serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}")))
}

/// Beside others, then beside the host's limits.
fn figures() -> String {
    let (bench, peers) = (json("docs/figures/bench.json"), json("docs/figures/peers.json"));
    let mut parts = Vec::new();
    parts.extend(bench.as_ref().and_then(figures::host).map(|host| host + "\n"));
    parts.extend(peers.as_ref().map(figures::beside_others));
    let own = |runs| {
        format!(
            "Beside the raw limits of the host, measured in the same run:\n\n{}",
            figures::beside_limits(runs)
        )
    };
    parts.extend(bench.as_ref().map(own));
    if parts.is_empty() { PENDING.into() } else { parts.join("\n") }
}

/// `page` with `content` between the marks of `name`.
fn replace(page: &str, name: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- begin: {name} -->\n"), format!("<!-- end: {name} -->"));
    let start = page.find(&begin).unwrap_or_else(|| panic!("a page has the mark {begin}")) + begin.len();
    let stop = start + page[start..].find(&end).unwrap_or_else(|| panic!("a page has the mark {end}"));
    format!("{}{content}{}", &page[..start], &page[stop..])
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_block_is_replaced_between_its_marks() {
    let page = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n";
    assert_eq!(replace(page, "x", "new\n"), "a\n<!-- begin: x -->\nnew\n<!-- end: x -->\nb\n");
}
