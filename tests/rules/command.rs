//! `scripts/rules`: the table rule, code, test; and, asked to, the proof that each test bites.

#[path = "list.rs"]
mod list;
#[path = "mutate.rs"]
mod mutate;

use std::path::Path;
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: scripts/rules [--write | --mutate [L01 …]]

  (nothing)   print the table: rule, code, test; and check it against the sources
  --write     write the table into docs/RULES.md
  --mutate    break each rule, or those named, in a copy of the project, and demand that its test fails

Exit status: 0 all rules are kept and watched, 1 some are not, 2 usage.";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().expect("the project lies above this package");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => print_table(&root),
        ["--write"] => write_table(&root),
        ["--mutate", ref names @ ..] => mutate(&root, names),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn checked(root: &Path) -> Result<list::Rules, String> {
    let rules = list::read(root)?;
    let faults = list::faults(root, &rules);
    if faults.is_empty() { Ok(rules) } else { Err(faults.join("\n")) }
}

fn print_table(root: &Path) -> Result<(), String> {
    let rules = list::read(root)?;
    print!("{}", list::table(&rules));
    checked(root).map(drop)
}

fn write_table(root: &Path) -> Result<(), String> {
    let path = root.join("docs/RULES.md");
    let page = std::fs::read_to_string(&path).map_err(|error| format!("docs/RULES.md: {error}"))?;
    let page = list::with_table(&page, &list::table(&list::read(root)?))?;
    std::fs::write(&path, page).map_err(|error| format!("docs/RULES.md: {error}"))
}

/// Breaks the rules of these names; all if there are none.
fn mutate(root: &Path, names: &[&str]) -> Result<(), String> {
    let mut rules = checked(root)?;
    if let Some(unknown) = names.iter().find(|name| !rules.contains_key(**name)) {
        return Err(format!("there is no rule {unknown}"));
    }
    rules.retain(|name, _| names.is_empty() || names.contains(&name.as_str()));
    for command in [
        &["git", "rev-parse", "HEAD"][..],
        &["rustc", "--version"],
        &["uname", "-sr"],
        &["date", "-u", "+%F %R"],
    ] {
        let said = Command::new(command[0]).args(&command[1..]).current_dir(root).output();
        let said = said.map_err(|error| format!("{}: {error}", command[0]))?;
        println!("{}: {}", command.join(" "), String::from_utf8_lossy(&said.stdout).trim());
    }
    match mutate::run(root, &rules)? {
        0 => Ok(()),
        survivors => Err(format!("{survivors} ways to break a rule went unnoticed: sharpen the test")),
    }
}
