//! `docs/PROTOCOL.md` and the code that cites it stay together: each rule has one number, and each
//! number cited in a source or test is a rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_rule_has_a_number_of_its_own() {
    let text = protocol();
    let defined: Vec<String> = rules(&text);
    let distinct: BTreeSet<&String> = defined.iter().collect();
    assert_eq!(distinct.len(), defined.len(), "a rule number is defined twice: {defined:?}");
    assert!(defined.len() > 50);
}

#[test]
fn every_rule_cited_in_a_source_or_test_exists() {
    let rules: BTreeSet<String> = rules(&protocol()).into_iter().collect();
    let mut missing = Vec::new();
    for file in rust_files() {
        let text = fs::read_to_string(&file).expect("sources are text");
        for (index, line) in text.lines().enumerate() {
            let unknown = citations(line).into_iter().filter(|rule| !rules.contains(rule));
            missing.extend(unknown.map(|rule| format!("{}:{}: {rule}", file.display(), index + 1)));
        }
    }
    assert!(missing.is_empty(), "cited, but not in docs/PROTOCOL.md:\n{}", missing.join("\n"));
}

#[test]
fn every_rule_the_protocol_text_refers_to_exists() {
    let text = protocol();
    let rules: BTreeSet<String> = rules(&text).into_iter().collect();
    for rule in text.lines().flat_map(citations) {
        assert!(rules.contains(&rule), "PROTOCOL.md refers to {rule}, which it does not define");
    }
}

#[test]
fn citations_are_found_wherever_they_stand() {
    let line = format!("// see {0}-1.2, ({0}-10.2): {0}-3 and STEP-4.5", 'P');
    assert_eq!(citations(&line), ["P-1.2", "P-10.2"]);
}

/// The numbers defined: in bold, at the start of a rule, a paragraph or a table's row.
fn rules(text: &str) -> Vec<String> {
    let starts = ["- **", "**", "| **"];
    let bold = |line: &str| starts.iter().find_map(|start| line.strip_prefix(start).map(str::to_owned));
    text.lines().filter_map(bold).filter_map(|rest| citation_at(&rest)).collect()
}

fn citations(line: &str) -> Vec<String> {
    let is_word_start = |at: usize| !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
    let starts = line.match_indices("P-").filter(|(at, _)| is_word_start(*at));
    starts.filter_map(|(at, _)| citation_at(&line[at..])).collect()
}

/// The citation `text` opens with: "P-", digits, a dot, digits.
fn citation_at(text: &str) -> Option<String> {
    let (section, rest) = text.strip_prefix("P-")?.split_once('.')?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let rule = digits(rest);
    let is_number = !section.is_empty() && digits(section) == section && !rule.is_empty();
    is_number.then(|| format!("P-{section}.{rule}"))
}

fn protocol() -> String {
    fs::read_to_string(root().join("docs/PROTOCOL.md")).expect("docs/PROTOCOL.md is committed")
}

fn rust_files() -> Vec<PathBuf> {
    let mut folders = vec![root().join("src"), root().join("tests")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
