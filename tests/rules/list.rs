//! The rules L01 to L58: what each says, where it is kept, and which test would notice if it were not.
//!
//! ```text
//! tests/rules/*.toml --read--> rules --faults--> what does not fit the sources
//!                                    --table---> docs/RULES.md
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// In one line, for `docs/RULES.md`.
    pub says: String,
    /// The document and section that says so.
    pub clause: String,
    /// Its words, as they stand beside the code.
    #[serde(default)]
    pub quote: String,
    /// Where we do otherwise, and argue it.
    pub departure: Option<Departure>,
    /// Ways to break it, each noticed by a test.
    #[serde(default, rename = "mutation")]
    pub mutations: Vec<Mutation>,
    /// Why there is no mutation: it is not kept, or argued away, or nothing of ours keeps it.
    pub open: Option<String>,
}

/// An argued departure from a clause.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Departure {
    /// The paragraph of `docs/PROTOCOL.md` that argues it.
    pub argued: String,
    /// The constant it is confined to; the paragraph names it.
    pub constant: String,
}

/// One way to break a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutation {
    /// The file, from the root.
    pub file: String,
    /// Code that stands in it once. What is broken of it, an expression or a statement, stands between « and »;
    /// without those, all of it.
    pub code: String,
    /// What is tried in its place.
    pub becomes: String,
    /// The test that has to fail then: its target (`lib`, or a file of `tests/`) and its name.
    pub test: String,
}

impl Mutation {
    /// The code as it stands in its file.
    pub fn code(&self) -> String {
        self.code.replace(['«', '»'], "")
    }

    /// Where in [`Mutation::code`] the part that is broken starts, and the part.
    pub fn part(&self) -> (usize, &str) {
        let marked =
            self.code.split_once('«').and_then(|(head, rest)| Some((head.len(), rest.split_once('»')?.0)));
        marked.unwrap_or((0, &self.code))
    }

    /// Target and name of the test.
    pub fn test(&self) -> (&str, &str) {
        self.test.split_once(' ').unwrap_or(("", &self.test))
    }
}

/// All rules by their names.
pub type Rules = BTreeMap<String, Rule>;

/// How many rules there are.
const RULES: usize = 58;
/// How far above its code a clause may be quoted, in lines.
const QUOTE_LINES: usize = 40;

/// Reads the rules of the project at `root`.
///
/// # Errors
/// What cannot be read, and where.
pub fn read(root: &Path) -> Result<Rules, String> {
    let mut rules = Rules::new();
    let folder = root.join("tests/rules");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.retain(|path| path.file_name().is_some_and(|name| name != "Cargo.toml"));
    files.sort();
    for path in files {
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let some: Rules = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        for (name, rule) in some {
            if rules.insert(name.clone(), rule).is_some() {
                return Err(format!("{name} is written down twice"));
            }
        }
    }
    Ok(rules)
}

/// What of `rules` does not fit the project at `root`; nothing, if all is well.
pub fn faults(root: &Path, rules: &Rules) -> Vec<String> {
    let names = (1..=RULES).map(|number| format!("L{number:02}"));
    let mut found: Vec<String> =
        names.filter(|name| !rules.contains_key(name)).map(|name| format!("{name} is missing")).collect();
    for (name, rule) in rules {
        let mut say = |what: String| found.push(format!("{name}: {what}"));
        if rule.open.is_some() {
            continue;
        }
        if rule.mutations.is_empty() {
            say("no mutation shows that its test bites".into());
        }
        for mutation in &rule.mutations {
            if let Err(what) = check_code(root, mutation).and_then(|()| check_test(root, name, mutation)) {
                say(what);
            }
        }
        if !rule.mutations.iter().any(|mutation| is_quoted(root, name, &rule.quote, mutation)) {
            say(format!(
                "its clause is not quoted beside its code: {name}, {}: \"{}\"",
                rule.clause, rule.quote
            ));
        }
        if let Some(departure) = &rule.departure
            && let Err(what) = check_departure(root, departure)
        {
            say(what);
        }
    }
    found
}

fn source(root: &Path, file: &str) -> Result<String, String> {
    fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))
}

fn check_code(root: &Path, mutation: &Mutation) -> Result<(), String> {
    let (file, code) = (&mutation.file, mutation.code());
    match source(root, file)?.matches(code.as_str()).count() {
        1 if mutation.part().1 == mutation.becomes => Err(format!("the mutation changes nothing: {code}")),
        1 => Ok(()),
        count => Err(format!("stands {count} times in {file}: {code}")),
    }
}

/// The test exists, and cites the rule: in its name, its comments, or in the script that it plays.
fn check_test(root: &Path, rule: &str, mutation: &Mutation) -> Result<(), String> {
    let (target, path) = mutation.test();
    let name = path.rsplit("::").next().unwrap_or(path);
    let text = match target {
        "scripts" => source(root, &format!("tests/scripts/{name}.pkt"))?,
        "lib" => {
            let text = unit_test_source(root, &mutation.file, path)?;
            function(&text, name).ok_or(format!("no such test: {}", mutation.test))?
        }
        target => {
            // A test in a module of its own stands in a file of the target's folder.
            let file = match path.split_once("::") {
                Some((module, _)) => format!("tests/{target}/{module}.rs"),
                None => format!("tests/{target}.rs"),
            };
            let text = source(root, &file)?;
            function(&text, name).ok_or(format!("no such test: {}", mutation.test))?
        }
    };
    if text.contains(rule) { Ok(()) } else { Err(format!("its test does not cite it: {}", mutation.test)) }
}

/// The file that a unit test's module path names: itself, or its `_tests.rs`.
fn unit_test_source(root: &Path, file: &str, path: &str) -> Result<String, String> {
    let module = path.split("::tests::").next().unwrap_or(path).replace("::", "/");
    let places = [
        format!("src/{module}.rs"),
        format!("src/{module}/mod.rs"),
        format!("src/{module}_tests.rs"),
        format!("src/{module}/tests.rs"),
    ];
    let name = path.rsplit("::").next().unwrap_or(path);
    let texts = places.iter().filter_map(|place| source(root, place).ok());
    let call = format!("fn {name}(");
    texts.into_iter().find(|text| text.contains(&call)).ok_or(format!("no test {path} near {file}"))
}

/// A function's text, with the comments above it.
fn function(text: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.trim_start().starts_with(&format!("fn {name}(")))?;
    let is_above = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[")
    };
    let first = at - lines[..at].iter().rev().take_while(is_above).count();
    let indent = lines[at].len() - lines[at].trim_start().len();
    let closing = format!("{}}}", " ".repeat(indent));
    let last = at + lines[at..].iter().position(|line| *line == closing)?;
    Some(lines[first..=last].join("\n"))
}

/// True when the rule's name and its clause's words stand beside the code, or above it.
fn is_quoted(root: &Path, rule: &str, quote: &str, mutation: &Mutation) -> bool {
    let Ok(text) = source(root, &mutation.file) else { return false };
    let Some(at) = text.find(&mutation.code()) else { return false };
    let first = text[..at].lines().count().saturating_sub(QUOTE_LINES);
    let end = text[..at].lines().count() + mutation.code.lines().count() + QUOTE_LINES;
    let near: Vec<&str> = text.lines().skip(first).take(end - first).map(comment).collect();
    let near = words(&near.join(" "));
    near.contains(&words(quote)) && near.contains(rule)
}

/// A line's text without the marks of a comment.
fn comment(line: &str) -> &str {
    let line = line.trim_start();
    let mark = ["//!", "///", "//"].into_iter().find_map(|mark| line.strip_prefix(mark));
    mark.unwrap_or(line)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn check_departure(root: &Path, departure: &Departure) -> Result<(), String> {
    let Departure { argued, constant } = departure;
    let protocol = source(root, "docs/PROTOCOL.md")?;
    let start = protocol.find(&format!("- **{argued}**")).ok_or(format!("PROTOCOL.md has no {argued}"))?;
    let rest = &protocol[start + 2..];
    let paragraph = &rest[..rest.find("\n- **").unwrap_or(rest.len())];
    if paragraph.contains(&format!("`{constant}`")) {
        return Ok(());
    }
    Err(format!("{argued} of PROTOCOL.md does not name its constant {constant}"))
}

/// The table of `docs/RULES.md`.
pub fn table(rules: &Rules) -> String {
    let mut lines = vec![
        "| rule | what it says | source | code | test |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    for (name, rule) in rules {
        let mut clause = rule.clause.clone();
        if let Some(departure) = &rule.departure {
            clause += &format!("; departure {}", departure.argued);
        }
        if let Some(open) = &rule.open {
            lines.push(format!("| {name} | {} | {clause} | no mutation: {open} | |", rule.says));
            continue;
        }
        let code = distinct(
            rule.mutations.iter().map(|mutation| format!("`{}`", mutation.file.trim_start_matches("src/"))),
        );
        let tests = distinct(rule.mutations.iter().map(|mutation| {
            let (target, path) = mutation.test();
            let name = path.rsplit("::").next().unwrap_or(path);
            if target == "lib" { format!("`{name}`") } else { format!("`{target}`: `{name}`") }
        }));
        lines.push(format!("| {name} | {} | {clause} | {code} | {tests} |", rule.says));
    }
    lines.join("\n") + "\n"
}

fn distinct(items: impl Iterator<Item = String>) -> String {
    let mut kept: Vec<String> = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept.join(", ")
}

/// `page` with the table between its two marks replaced.
///
/// # Errors
/// Without the marks.
pub fn with_table(page: &str, table: &str) -> Result<String, String> {
    let (head, rest) =
        page.split_once(TABLE_BEGINS).ok_or("docs/RULES.md lost the mark where its table begins")?;
    let (_, tail) = rest.split_once(TABLE_ENDS).ok_or("docs/RULES.md lost the mark where its table ends")?;
    Ok(format!("{head}{TABLE_BEGINS}\n\n{table}\n{TABLE_ENDS}{tail}"))
}

const TABLE_BEGINS: &str = "<!-- written by scripts/rules --write from tests/rules/*.toml -->";
const TABLE_ENDS: &str = "<!-- end of what scripts/rules writes -->";
