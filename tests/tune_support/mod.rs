//! Hosts to tune that are not this one: copies of the shipped inventions, in folders that end with the test.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringwire::tune::host::recorded::Recorded;

pub const SHIPPED: [&str; 5] = ["mlx5", "ice", "ena", "gve", "virtio"];

/// A folder of this test's own; in memory where there is such a place, for a journal syncs every line.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let shm = Path::new("/dev/shm");
        let top = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let folder = top.join(format!("ringwire-tune-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("writable");
        Folder(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A copy of a shipped host, changed by `edit`.
    pub fn host(&self, name: &str, edit: impl FnOnce(&mut Recorded)) -> PathBuf {
        let mut host = shipped(name);
        edit(&mut host);
        let path = self.path(&format!("{name}.json"));
        host.save(&path).expect("writable");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn shipped(name: &str) -> Recorded {
    Recorded::load(&root().join(format!("tuning/hosts/{name}.json"))).expect("it is shipped")
}

/// `ringwire tune WORDS` to its end: status, stdout and stderr.
pub fn tune(words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
    command.arg("tune").args(words).stdin(std::process::Stdio::null());
    // A login to this machine is nothing that a test depends on.
    command.env_remove("SSH_CONNECTION");
    let output = command.output().expect("the command was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The same, which must succeed: its stdout.
pub fn tune_well(words: &[&str]) -> String {
    let (status, out, err) = tune(words);
    assert_eq!(status, Some(0), "tune {words:?}: {out} {err}");
    out
}
