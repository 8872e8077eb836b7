//! Each rule of the field is kept by code that can be pointed at, quotes its clause, and has a test that cites
//! it. That the tests bite is shown by `scripts/rules --mutate`.

#[path = "rules/list.rs"]
mod list;

use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_rule_has_its_code_its_clause_and_its_test() {
    let rules = list::read(root()).expect("tests/rules/*.toml can be read");
    let faults = list::faults(root(), &rules);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_page_of_rules_shows_what_the_rules_say() {
    let rules = list::read(root()).expect("tests/rules/*.toml can be read");
    let page = std::fs::read_to_string(root().join("docs/RULES.md")).expect("docs/RULES.md is committed");
    let written = list::with_table(&page, &list::table(&rules)).expect("its marks are there");
    assert_eq!(page, written, "run scripts/rules --write");
}
