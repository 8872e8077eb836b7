//! Every file that the project hands out, whatever its language.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::source::{files_below, root};

/// Hosts that a text of the project may link to.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "crates.io",
    "datatracker.ietf.org",
    "docs.kernel.org",
    "docs.rs",
    "doc.rust-lang.org",
    "github.com",
    "keepachangelog.com",
    "man7.org",
    "opensource.org",
    "semver.org",
    "www.apache.org",
    "www.iana.org",
    "www.kernel.org",
    "www.rfc-editor.org",
];

/// Lines that name a folder of somebody's machine or a host outside the list above.
pub fn private_places() -> Vec<String> {
    // Written in two parts, so that this list does not find itself.
    let folders =
        [concat!("/wo", "rk/"), concat!("/tm", "p/wt"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut found = Vec::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (index, line) in text.lines().enumerate() {
            let place = |what: String| format!("{}:{}: {what}", path.display(), index + 1);
            found.extend(folders.iter().filter(|folder| line.contains(**folder)).map(|f| place((*f).into())));
            found.extend(hosts(line).into_iter().filter(|host| !HOSTS.contains(&host.as_str())).map(place));
        }
    }
    found
}

/// The host of each link in `line`; a pattern or placeholder has none.
fn hosts(line: &str) -> Vec<String> {
    let links = line.split("://").skip(1).map(|rest| {
        let part = |c: &char| c.is_ascii_alphanumeric() || *c == '.' || *c == '-';
        rest.chars().take_while(part).collect::<String>()
    });
    links.filter(|host| host.contains('.')).collect()
}

/// From the root, the files under version control; without that, all but what is built.
fn files() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let from_git = listed.ok().filter(|output| output.status.success() && !output.stdout.is_empty());
    if let Some(output) = from_git {
        let names = String::from_utf8(output.stdout).expect("our file names are ASCII");
        return names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    }
    let below = |path: PathBuf| path.strip_prefix(root()).expect("below the root").to_owned();
    let built = |path: &PathBuf| {
        path.components().any(|part| [".git", "target"].map(AsRef::as_ref).contains(&part.as_os_str()))
    };
    files_below(root()).into_iter().map(below).filter(|path| !built(path)).collect()
}

#[test]
fn hosts_of_links_are_found() {
    assert_eq!(hosts("see https://docs.rs/x and udp://{}: http://crates.io:80/d"), ["docs.rs", "crates.io"]);
}
