//! The layer table: which room may import which.

use super::source::{Source, words};

/// The rooms from the ground up; those on one line do not see each other. `src/lib.rs` declares the
/// same rooms in the same order.
pub const LAYERS: &[&[&str]] = &[
    &["bounds", "hint", "rng", "sync", "time", "units"],
    &["wire"],
    &["rings"],
    &["sys"],
    &["crypto"],
    // They meet in `worker` and nowhere else.
    &["transport", "io"],
    &["worker"],
    &["endpoint"],
    &["rpc"],
    &["sim"],
    &["testing"],
    &["bench"],
    &["tune"],
    &["cli"],
];

/// The rooms that may hold unsafe code.
pub const UNSAFE_ROOMS: &[&str] = &["rings", "sys"];

/// Every import of `source` that the table does not allow, as `file:line: what`.
pub fn forbidden_imports(source: &Source) -> Vec<String> {
    let Some(room) = source.room().filter(|room| !["lib", "main"].contains(room)) else { return Vec::new() };
    let own = layer(room);
    let seen = crate_paths(&source.text);
    let mut found = Vec::new();
    for (at, name) in seen {
        let allowed = name == room || layer(&name) < own && layer(&name).is_some();
        if !allowed {
            let why = match layer(&name) {
                Some(_) => {
                    format!("{room} may not import {name}: it does not stand above {room} in the table")
                }
                None => format!("{name} is no room: name the room it comes from, not the crate's root"),
            };
            found.push(format!("{}:{}: {why}", source.path, source.line_of(at)));
        }
    }
    found
}

/// Uses of `super` that climb out of the room, past the table.
pub fn climbing_supers(source: &Source) -> Vec<String> {
    let depth = source.path.trim_end_matches("/mod.rs").matches('/').count();
    let chain = |at: usize| {
        let mut rest = &source.code[at..];
        let mut supers = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            supers += 1;
            rest = next;
        }
        supers
    };
    let starts = words(&source.code, "super").filter(|&at| !source.code[..at].ends_with("super::"));
    let escaping = starts.filter(|&at| chain(at) >= depth + nesting(source, at));
    escaping.map(|at| format!("{}:{}: leaves the room by super::", source.path, source.line_of(at))).collect()
}

/// Modules written inside the file that hold byte `at`.
fn nesting(source: &Source, at: usize) -> usize {
    let opens = words(&source.code, "mod").filter_map(|start| {
        let open = start + source.code[start..].find(['{', ';'])?;
        (source.code.as_bytes()[open] == b'{').then_some(open)
    });
    opens.filter(|&open| open < at && at < super::source::closing_brace(&source.code, open)).count()
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// What `crate::` is followed by, at each place: one name, or each name of a group.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // `$crate` in a macro is a path too.
    for at in words(text, "crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group).into_iter().map(|name| (at, name))),
            None => found.push((at, head(rest))),
        }
    }
    found
}

/// The first segment of each path of a use group, `group` starting after its brace.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let name = head(group[start..at].trim_start());
                heads.extend((!name.is_empty()).then_some(name));
                start = at + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    heads
}

fn head(path: &str) -> String {
    path.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect()
}

#[test]
fn groups_and_single_paths_are_both_read() {
    let text = "use crate::{time::Clock, wire::{Ack, Frame}, rng}; crate::io::mmsg()";
    let names: Vec<String> = crate_paths(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["time", "wire", "rng", "io"]);
}
