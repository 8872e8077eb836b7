//! What may not stand in the sources, and the few places where it may.

use super::source::{Source, words};

/// One thing that is banned.
pub struct Ban {
    /// Looked for in code, not in comments or literals.
    pub words: &'static [&'static str],
    /// Whether unit tests keep to it too.
    pub in_tests: bool,
    /// What to do instead.
    pub instead: &'static str,
    /// Where it may stand, and why: a file, or a folder ending in a slash.
    pub allowed: &'static [(&'static str, &'static str)],
}

/// Bans on the library's sources.
pub const BANS: &[Ban] = &[
    Ban {
        words: &["clock_gettime(", "Instant::now", "SystemTime::now", "UNIX_EPOCH"],
        in_tests: true,
        instead: "take the time as an argument, or ask a time::Clock",
        allowed: &[("src/time.rs", "the one clock that reads the host's")],
    },
    Ban {
        words: &["thread::sleep"],
        in_tests: true,
        instead: "wait in the backend, with a deadline",
        allowed: &[
            ("src/bench/child.rs", "waits for another process to end, no worker is near"),
            ("src/cli/serve.rs", "the main thread waits for a signal, the workers have their own"),
        ],
    },
    Ban {
        words: &["rand::", "getrandom", "RandomState", "DefaultHasher"],
        in_tests: true,
        instead: "take the generator or a seed as an argument (rng); only boot ids and keys ask the kernel",
        allowed: &[
            ("src/sys/process.rs", "boot ids and cookie keys come from the kernel"),
            ("src/endpoint/start.rs", "an endpoint draws its boot id when it starts"),
            (
                "src/endpoint/trust.rs",
                "an endpoint draws its entropy, and an identity of its own, when it starts",
            ),
            ("src/endpoint/error.rs", "names the error of that draw"),
        ],
    },
    Ban {
        words: &["println!", "print!", "eprintln!", "eprint!"],
        in_tests: false,
        instead: "return it, or use tracing; results are printed by the command alone",
        allowed: &[("src/cli/", "the command"), ("src/bench/", "the command's reports and progress")],
    },
    Ban {
        words: &["todo!", "unimplemented!", "dbg!"],
        in_tests: true,
        instead: "finish it or leave it out; what is missing stands in the README under \"Not done\"",
        allowed: &[],
    },
];

/// Every breach of the bans in `sources`, then every exception that nothing needs any more.
pub fn breaches(sources: &[Source], bans: &[Ban]) -> Vec<String> {
    let mut found = Vec::new();
    for ban in bans {
        for source in sources {
            for word in ban.words {
                let places = words(&source.code, word)
                    .filter(|&at| !is_allowed(ban, &source.path) && (ban.in_tests || !source.is_test(at)));
                found
                    .extend(places.map(|at| {
                        format!("{}:{}: {word}: {}", source.path, source.line_of(at), ban.instead)
                    }));
            }
        }
    }
    found
}

/// Exceptions that no source needs any more.
pub fn stale_exceptions(sources: &[Source], bans: &[Ban]) -> Vec<String> {
    let mut stale = Vec::new();
    for ban in bans {
        for (place, _) in ban.allowed.iter().filter(|(place, _)| !place.ends_with('/')) {
            let needed = sources
                .iter()
                .filter(|source| source.path == *place)
                .any(|source| ban.words.iter().any(|word| words(&source.code, word).next().is_some()));
            stale.extend((!needed).then(|| format!("{place} no longer uses any of {:?}", ban.words)));
        }
    }
    stale
}

fn is_allowed(ban: &Ban, path: &str) -> bool {
    ban.allowed.iter().any(
        |(place, _)| {
            if place.ends_with('/') { path.starts_with(place) } else { path == *place }
        },
    )
}

/// Leftover marks in comments that name no condition under which they are to be taken up.
pub fn unconditional_leftovers(source: &Source) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut found = Vec::new();
    for (index, line) in source.comments.lines().enumerate() {
        let marked = marks.iter().any(|mark| words(line, mark).next().is_some());
        if marked && words(line, "when").next().is_none() {
            found.push(format!("{}:{}: say when: \"(when 6.12 is the floor): …\"", source.path, index + 1));
        }
    }
    found
}

/// Tests that somebody switched off, whichever way.
pub fn switched_off(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (code, comment)) in source.code.lines().zip(source.comments.lines()).enumerate() {
        let attribute = code.trim_start().starts_with("#[ignore") || code.contains(", ignore)]");
        let example = ["```ignore", "```rust,ignore"].iter().any(|fence| comment.contains(fence));
        if attribute || example {
            found.push(format!("{}:{}: runs, or goes; a skip prints why", source.path, index + 1));
        }
    }
    found.extend(loose_skips(source));
    found
}

/// Skips that name no test, or that strict runs do not see: such a test is switched off.
fn loose_skips(source: &Source) -> Vec<String> {
    let said = concat!('"', "SKIP", "PED");
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((_, after)) = line.split_once(said) else { continue };
        let near = &lines[index.saturating_sub(SKIP_REACH)..lines.len().min(index + SKIP_REACH + 1)];
        if !after.starts_with(' ') {
            found.push(format!("{}:{}: says which test it skips", source.path, index + 1));
        }
        if !near.iter().any(|line| line.contains("RINGWIRE_STRICT")) {
            found.push(format!(
                "{}:{}: fails under RINGWIRE_STRICT=1, or says beside it why not",
                source.path,
                index + 1
            ));
        }
    }
    found
}

/// Lines between what is printed and what strict runs see of it.
const SKIP_REACH: usize = 3;

/// Unsafe code outside its rooms, and unsafe code that does not say why it is sound.
pub fn unargued_unsafe(source: &Source, allowed: bool) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for at in words(&source.code, "unsafe") {
        let line = source.line_of(at);
        let rest = source.code[at + "unsafe".len()..].trim_start();
        // Not code but a lint's name or a type: `unsafe_code` is a word of its own, `unsafe fn` a type.
        let is_type = rest.starts_with("fn(") || rest.starts_with("extern \" \" fn(");
        if !allowed && !is_type {
            found.push(format!("{}:{line}: unsafe outside rings and sys", source.path));
        } else if !is_type && !is_argued(&lines, line - 1, rest.starts_with("fn ")) {
            found.push(format!("{}:{line}: unsafe without a SAFETY argument", source.path));
        }
    }
    found
}

/// True if the comment above the statement that `line` belongs to argues for it.
fn is_argued(lines: &[&str], line: usize, is_function: bool) -> bool {
    let wanted = if is_function { "# Safety" } else { "SAFETY:" };
    for above in lines[..=line].iter().rev() {
        if above.contains(wanted) {
            return true;
        }
        let text = above.trim();
        let is_comment = text.starts_with("//") || text.starts_with("#[");
        let ends_before = text.is_empty() || text.ends_with([';', '}']);
        if !std::ptr::eq(above, &lines[line]) && !is_comment && ends_before {
            return false;
        }
    }
    false
}
