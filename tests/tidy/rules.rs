//! The lessons that code cites by number stand in `docs/RULES.md`.

use std::collections::BTreeSet;

use super::source::{Source, root};

/// Citations in comments without a line in `docs/RULES.md`.
pub fn unknown_citations(sources: &[Source]) -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/RULES.md")).expect("docs/RULES.md is committed");
    let known: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).collect();
    let mut found = Vec::new();
    for source in sources {
        for (index, line) in source.comments.lines().enumerate() {
            let unknown = citations(line).filter(|rule| !known.contains(rule));
            found.extend(unknown.map(|rule| format!("{}:{}: {rule}", source.path, index + 1)));
        }
    }
    found
}

/// Words such as L05, S10 or D7.
fn citations(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| {
        let number = word.strip_prefix(['L', 'S', 'D']).unwrap_or("");
        (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
