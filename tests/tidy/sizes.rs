//! How long files and functions are. What is too long today is listed and may only shrink.

use super::source::{Source, closing_brace, words};

/// Lines of a file.
pub const FILE_LINES_MAX: usize = 500;
/// Lines of a function: a screen.
pub const FUNCTION_LINES_MAX: usize = 60;

/// Files that are too long today, with their length then.
pub const LONG_FILES: &[(&str, usize)] = &[];

/// Functions that are too long today: file, name, length then.
pub const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Files above the limit that are not listed, or above their listed length.
pub fn long_files(sources: &[Source]) -> Vec<String> {
    let listed = |path: &str| LONG_FILES.iter().find(|(file, _)| *file == path).map_or(0, |entry| entry.1);
    let mut found = Vec::new();
    for source in sources {
        let (lines, max) = (source.text.lines().count(), FILE_LINES_MAX.max(listed(&source.path)));
        if lines > max {
            found.push(format!("{}: {lines} lines, at most {max}", source.path));
        }
    }
    found
}

/// Functions above the limit that are not listed, or above their listed length.
pub fn long_functions(sources: &[Source]) -> Vec<String> {
    let listed = |path: &str, name: &str| {
        let entry = LONG_FUNCTIONS.iter().find(|(file, function, _)| *file == path && *function == name);
        entry.map_or(0, |entry| entry.2)
    };
    let mut found = Vec::new();
    for source in sources {
        for (name, line, lines) in functions(source) {
            let max = FUNCTION_LINES_MAX.max(listed(&source.path, &name));
            if lines > max {
                found.push(format!("{}:{line}: fn {name} has {lines} lines, at most {max}", source.path));
            }
        }
    }
    found
}

/// Listed offenders that are offenders no more.
pub fn mended(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, _) in LONG_FILES {
        let is_long = |source: &&Source| source.path == *file && source.text.lines().count() > FILE_LINES_MAX;
        if !sources.iter().any(|source| is_long(&source)) {
            found.push(format!("LONG_FILES: {file}"));
        }
    }
    for (file, function, _) in LONG_FUNCTIONS {
        let in_file = sources.iter().filter(|source| source.path == *file).flat_map(functions);
        if !in_file.into_iter().any(|(name, _, lines)| name == *function && lines > FUNCTION_LINES_MAX) {
            found.push(format!("LONG_FUNCTIONS: {file} {function}"));
        }
    }
    found
}

/// Name, first line and number of lines of each function with a body.
pub fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let code = &source.code;
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let name: String =
            code[at + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = body(code, at).filter(|_| !name.is_empty()) else { continue };
        let (first, last) = (source.line_of(at), source.line_of(closing_brace(code, open) - 1));
        found.push((name, first, last - first + 1));
    }
    found
}

/// Where the body of the function at `at` opens; `None` if it has none.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}
