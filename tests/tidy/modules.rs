//! Which files a target reaches by its `mod` lines.

use std::collections::BTreeSet;

use super::source::{Source, root, words};

/// Files in `sources` that no target of the package reaches.
pub fn unreached(sources: &[Source], roots: &[String]) -> Vec<String> {
    let mut open: Vec<String> = roots.to_vec();
    let mut reached = BTreeSet::new();
    while let Some(path) = open.pop() {
        if let Some(source) = sources.iter().find(|source| source.path == path)
            && reached.insert(path)
        {
            open.extend(declared(source));
        }
    }
    sources.iter().map(|source| source.path.clone()).filter(|path| !reached.contains(path)).collect()
}

/// Targets: the library, the command, each test and example, and the benches that Cargo.toml names.
pub fn targets(sources: &[Source]) -> Vec<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml is there");
    let is_target = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
        let is_direct = path.matches('/').count() == 1;
        match path.split('/').next() {
            Some("src") => ["src/lib.rs", "src/main.rs"].contains(&path),
            Some("benches") => is_direct && manifest.contains(&format!("[[bench]]\nname = \"{name}\"")),
            _ => is_direct || name == "main" && path.matches('/').count() == 2 || is_named_by_member(path),
        }
    };
    sources.iter().map(|source| source.path.clone()).filter(|path| is_target(path)).collect()
}

/// True when a member package lies in the file's folder and its manifest names the file as a target.
fn is_named_by_member(path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else { return false };
    let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line == format!("path = \"{file}\""))
}

/// The files that `source` declares as modules: both places where rustc looks.
fn declared(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').expect("every source is in a folder");
    let owns_folder = ["mod.rs", "lib.rs", "main.rs"].contains(&file) || is_target_root(&source.path);
    let below = if owns_folder { folder.to_owned() } else { source.path.trim_end_matches(".rs").to_owned() };
    let mut files = Vec::new();
    for at in words(&source.code, "mod") {
        let rest = &source.code[at + 3..];
        let name: String =
            rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() || !rest[rest.find(&name).unwrap_or(0) + name.len()..].starts_with(';') {
            continue;
        }
        match path_attribute(source, at) {
            Some(path) => files.push(format!("{folder}/{path}")),
            None => {
                files.push(format!("{below}/{name}.rs"));
                files.push(format!("{below}/{name}/mod.rs"));
            }
        }
    }
    files
}

fn is_target_root(path: &str) -> bool {
    !path.starts_with("src/") && path.matches('/').count() == 1
}

/// The value of `#[path = "…"]` on the lines just above the declaration at `at`.
fn path_attribute(source: &Source, at: usize) -> Option<String> {
    let line_start = source.text[..at].rfind('\n').map_or(0, |end| end + 1);
    let above = source.text[..line_start].lines().rev();
    let mut attributes = above.take_while(|line| line.trim_start().starts_with("#["));
    let line = attributes.find(|line| line.trim_start().starts_with("#[path"))?;
    line.split('"').nth(1).map(str::to_owned)
}
