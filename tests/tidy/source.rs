//! A source file, split into what the compiler reads and what people read.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the project.
pub struct Source {
    /// From the project's root, with forward slashes.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// `text` with comments and the insides of literals blanked: same lines, same columns.
    pub code: String,
    /// `text` with all but the comments blanked.
    pub comments: String,
}

impl Source {
    /// The number of the line, from 1, that holds byte `at`.
    pub fn line_of(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    /// True if byte `at` stands in a unit test: in a module of the file's, or in a file of tests.
    pub fn is_test(&self, at: usize) -> bool {
        let is_file = self.path.ends_with("tests.rs") || !self.path.starts_with("src/");
        let modules = self.code.match_indices("#[cfg(test)]").filter_map(|(start, _)| {
            let open = start + self.code[start..].find(['{', ';'])?;
            (self.code.as_bytes()[open] == b'{').then(|| open..closing_brace(&self.code, open))
        });
        is_file || modules.into_iter().any(|module| module.contains(&at))
    }

    /// The room (top-level module) this file belongs to, if it is in `src`.
    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs"))
    }
}

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folders`, in the order of their paths.
pub fn rust_sources(folders: &[&str]) -> Vec<Source> {
    let mut sources: Vec<Source> = folders
        .iter()
        .flat_map(|folder| files_below(&root().join(folder)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| read(&path))
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Every file below `folder`; none if there is no such folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the project's folders are readable").path();
            if !path.is_dir() {
                files.push(path);
            } else if !is_a_workspace_of_its_own(&path) {
                folders.push(path);
            }
        }
    }
    files
}

/// `benches/peers` runs other people's libraries; it is built apart and held to nothing here.
fn is_a_workspace_of_its_own(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|manifest| manifest.contains("[workspace]"))
}

/// The places in `code` where `word` stands alone.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let after = &code[at + word.len()..];
        !(code[..at].ends_with(part) || word.ends_with(part) && after.starts_with(part))
    })
}

/// The byte just past the brace that closes the one at `open`.
pub fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("sources are text");
    let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    let (code, comments) = split(&text);
    Source { path, text, code, comments }
}

/// What a stretch of source is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Code alone and comments alone, each with the rest blanked.
pub fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let (mut code, mut comments) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(bytes.len()));
    let mut at = 0;
    while at < bytes.len() {
        let (kind, len) = stretch(bytes, at);
        for &byte in &bytes[at..at + len] {
            let keep = |wanted: bool| if wanted || byte == b'\n' { byte } else { b' ' };
            // A letter outside ASCII is blanked byte by byte, so that both stay text of one length.
            let plain = byte.is_ascii();
            code.push(keep(kind == Kind::Code && plain));
            comments.push(keep(kind == Kind::Comment && plain));
        }
        at += len;
    }
    let text = |bytes| String::from_utf8(bytes).expect("only ASCII was kept");
    (text(code), text(comments))
}

/// The kind and length of what starts at `at`.
fn stretch(bytes: &[u8], at: usize) -> (Kind, usize) {
    let rest = &bytes[at..];
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        let len = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        return (Kind::Comment, len);
    }
    if rest.starts_with(b"/*") {
        return (Kind::Comment, block_comment(rest));
    }
    if let Some(len) = raw_string(rest).filter(|_| !after_word) {
        return (Kind::Literal, len);
    }
    match rest[0] {
        b'"' => (Kind::Literal, string(rest)),
        b'\'' => character(rest).map_or((Kind::Code, 1), |len| (Kind::Literal, len)),
        _ => (Kind::Code, 1),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"r"[..], b"br", b"cr"].into_iter().find(|prefix| rest.starts_with(prefix))?.len();
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let end = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let inside = &rest[open + 1..];
    let len = inside.windows(end.len()).position(|window| window == end);
    Some(len.map_or(rest.len(), |len| open + 1 + len + end.len()))
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    let body = if rest.get(1) == Some(&b'\\') { 3 } else { 2 };
    // A letter has up to four bytes, an escape up to `\u{10ffff}`.
    let end = rest.iter().skip(body).take(10).position(|&byte| byte == b'\'')? + body;
    let is_one_letter = std::str::from_utf8(&rest[1..end]).is_ok_and(|text| text.chars().count() == 1);
    (rest[1] == b'\\' || is_one_letter).then_some(end + 1)
}
