//! Breaks each rule on purpose and demands that its test notices.
//!
//! All mutations go into one copy of the project, each behind a switch, so that one build serves them all:
//!
//! ```text
//! a + b   -->   (if crate::mutant::is(17) { a - b } else { a + b })      RINGWIRE_MUTANT=17 chooses
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::list::{Mutation, Rules};

/// A test that runs longer than this under a mutation has noticed it: it waits for what never comes.
const PATIENCE: Duration = Duration::from_secs(120);
/// What chooses the mutation.
const VARIABLE: &str = "RINGWIRE_MUTANT";

/// Runs every rule's tests without and with its mutations, and prints what came of it. How many mutations
/// nobody noticed.
///
/// # Errors
/// When the copy cannot be made or built, or a test fails before anything was broken.
pub fn run(root: &Path, rules: &Rules) -> Result<usize, String> {
    let copy = Copy::make(root)?;
    let mutations: Vec<(&str, &Mutation)> = rules
        .iter()
        .flat_map(|(name, rule)| rule.mutations.iter().map(move |mutation| (name.as_str(), mutation)))
        .collect();
    copy.plant(&mutations)?;
    let programs = copy.build(&mutations)?;
    let tests: BTreeSet<(&str, &str)> = mutations.iter().map(|(_, mutation)| mutation.test()).collect();
    for (target, name) in &tests {
        let run = programs.run(target, name, 0)?;
        if run != Run::Passed {
            return Err(format!("{target} {name}: {run:?} though nothing is broken"));
        }
    }
    println!("{} tests pass with nothing broken", tests.len());
    let mut survivors = 0;
    for (index, (rule, mutation)) in mutations.iter().enumerate() {
        let (target, name) = mutation.test();
        let run = programs.run(target, name, index + 1)?;
        survivors += usize::from(run == Run::Passed);
        let verdict = match run {
            Run::Passed => "NOT NOTICED",
            Run::Failed => "noticed",
            Run::Endless => "noticed (never ended)",
        };
        let short = |code: &str| code.split_whitespace().collect::<Vec<_>>().join(" ");
        println!(
            "{rule}  {verdict}  {}: {} => {}",
            mutation.file,
            short(&mutation.code),
            short(&mutation.becomes)
        );
        println!("     {target} {name}");
    }
    let kept: BTreeSet<&str> = mutations.iter().map(|(rule, _)| *rule).collect();
    println!("{} mutations of {} rules, {survivors} not noticed", mutations.len(), kept.len());
    for (name, rule) in rules {
        if let Some(open) = &rule.open {
            println!("{name}  no mutation: {open}");
        }
    }
    Ok(survivors)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Passed,
    Failed,
    Endless,
}

/// A copy of the project below its `target`, so that what does not change is not built anew.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make(from: &Path) -> Result<Self, String> {
        let target = from.join("target");
        let copy = Copy { root: target.join("rules"), target };
        if copy.root.exists() {
            fs::remove_dir_all(&copy.root).map_err(|error| format!("{}: {error}", copy.root.display()))?;
        }
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(from).output();
        let listed = listed.map_err(|error| format!("git ls-files: {error}"))?;
        let names = String::from_utf8(listed.stdout).map_err(|error| error.to_string())?;
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            let to = copy.root.join(name);
            let made = fs::create_dir_all(to.parent().unwrap_or(&copy.root));
            made.and_then(|()| fs::copy(from.join(name), &to)).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(copy)
    }

    /// Puts every mutation behind its switch. Those of the same code share it.
    fn plant(&self, mutations: &[(&str, &Mutation)]) -> Result<(), String> {
        let mut files: BTreeMap<&str, Vec<(usize, &Mutation)>> = BTreeMap::new();
        for (index, (_, mutation)) in mutations.iter().enumerate() {
            files.entry(&mutation.file).or_default().push((index + 1, mutation));
        }
        for (file, mutations) in files {
            let path = self.root.join(file);
            let text = fs::read_to_string(&path).map_err(|error| format!("{file}: {error}"))?;
            let planted = planted(file, &text, &mutations)?;
            fs::write(&path, planted).map_err(|error| format!("{file}: {error}"))?;
        }
        let root = self.root.join("src/lib.rs");
        let text = fs::read_to_string(&root).map_err(|error| format!("src/lib.rs: {error}"))?;
        fs::write(&root, text + SWITCH).map_err(|error| format!("src/lib.rs: {error}"))
    }

    fn build(&self, mutations: &[(&str, &Mutation)]) -> Result<Programs, String> {
        let targets: BTreeSet<&str> = mutations.iter().map(|(_, mutation)| mutation.test().0).collect();
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        cargo.args(["test", "--no-run", "--locked"]).current_dir(&self.root);
        for target in &targets {
            match *target {
                "lib" => cargo.arg("--lib"),
                target => cargo.args(["--test", target]),
            };
        }
        cargo.env("CARGO_TARGET_DIR", &self.target);
        let output = cargo.output().map_err(|error| format!("cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("a mutation does not compile, which shows nothing:\n{said}"));
        }
        let mut programs = BTreeMap::new();
        for line in said.lines().filter_map(|line| line.trim_start().strip_prefix("Executable ")) {
            let Some((what, path)) = line.trim_end_matches(')').rsplit_once(" (") else { continue };
            let target = what.rsplit('/').next().unwrap_or(what).trim_end_matches(".rs");
            programs.insert(target.to_owned(), self.root.join(path));
        }
        Ok(Programs { root: self.root.clone(), programs })
    }
}

/// `text` with the code of each mutation behind its switch.
fn planted(file: &str, text: &str, mutations: &[(usize, &Mutation)]) -> Result<String, String> {
    let mut places: BTreeMap<(usize, &str), Vec<(usize, &str)>> = BTreeMap::new();
    for (index, mutation) in mutations {
        let at = text.find(&mutation.code()).ok_or(format!("{file} lacks: {}", mutation.code()))?;
        let (offset, part) = mutation.part();
        places.entry((at + offset, part)).or_default().push((*index, &mutation.becomes));
    }
    let (mut planted, mut done) = (String::new(), 0);
    for ((start, part), switches) in places {
        if start < done {
            return Err(format!("{file}: two mutations overlap at: {part}"));
        }
        planted += &text[done..start];
        let mut switched = String::new();
        for (index, becomes) in switches {
            switched += &format!("if crate::mutant::is({index}) {{ {becomes} }} else ");
        }
        switched += &format!("{{ {part} }}");
        let is_statement = part.ends_with([';', '}']);
        planted += &if is_statement { switched } else { format!("({switched})") };
        done = start + part.len();
    }
    Ok(planted + &text[done..])
}

const SWITCH: &str = r#"
/// Which rule is broken: see `scripts/rules`.
#[doc(hidden)]
#[allow(missing_docs)]
pub mod mutant {
    pub fn is(index: u32) -> bool {
        static CHOSEN: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
        let chosen = || std::env::var("RINGWIRE_MUTANT").ok().and_then(|text| text.parse().ok());
        *CHOSEN.get_or_init(|| chosen().unwrap_or(0)) == index
    }
}
"#;

/// The test programs by target.
struct Programs {
    root: PathBuf,
    programs: BTreeMap<String, PathBuf>,
}

impl Programs {
    /// Runs one test under mutation `index`; 0 is none.
    fn run(&self, target: &str, name: &str, index: usize) -> Result<Run, String> {
        let program = self.programs.get(target).ok_or(format!("no test program {target}"))?;
        let mut child = Command::new(program)
            .args(["--exact", name, "--test-threads", "1"])
            .env(VARIABLE, index.to_string())
            .env("CARGO_MANIFEST_DIR", &self.root)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        if !ends(&mut child)? {
            child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
            return Ok(Run::Endless);
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout);
        match (output.status.success(), said.contains("1 passed"), said.contains("running 1 test")) {
            (true, true, _) => Ok(Run::Passed),
            (false, _, true) => Ok(Run::Failed),
            _ => Err(format!("{target} has no test {name}")),
        }
    }
}

fn ends(child: &mut Child) -> Result<bool, String> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if child.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(false)
}
