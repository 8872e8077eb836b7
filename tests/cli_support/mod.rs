//! Running the command as a user does: processes, with a time limit on each.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use ringwire::sys::process::dies_with_this_thread;
use serde_json::Value;

/// What a finished command left.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ended {
    /// The one JSON object on stdout.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A command that takes longer has hung.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Starts `ringwire ARGUMENTS`, split at blanks.
pub fn start(line: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringwire"));
    command.args(line.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    dies_with_this_thread(&mut command).spawn().expect("the command was built")
}

/// Runs `ringwire ARGUMENTS` to its end.
pub fn run(line: &str) -> Ended {
    end(start(line))
}

/// Waits for the end of a command.
#[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
pub fn end(mut child: Child) -> Ended {
    let started = Instant::now();
    let out = read_all(child.stdout.take().expect("piped"));
    let err = read_all(child.stderr.take().expect("piped"));
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if started.elapsed() > TIME_MAX {
            child.kill().expect("the child is ours");
            panic!("the command hung: {:?}", out.join());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Ended {
        status: status.code(),
        stdout: out.join().expect("it only reads"),
        stderr: err.join().expect("it only reads"),
        took: started.elapsed(),
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("it is text");
        text
    })
}

/// A `ringwire serve` that sleeps when nobody calls.
pub struct Served {
    child: Child,
    pub address: String,
    /// Empty without sealing.
    pub key: String,
}

impl Served {
    pub fn start(more: &str) -> Served {
        let listen = if more.contains("--listen") { "" } else { "--listen 127.0.0.1:0" };
        let poll = if more.contains("--poll") { "" } else { "--poll park" };
        let mut child = start(&format!("serve {listen} {poll} {more}"));
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("it speaks");
        let said = line.trim_end().strip_prefix("listening on ").unwrap_or_else(|| panic!("said {line:?}"));
        let (address, key) = said.split_once(" key ").unwrap_or((said, ""));
        Served { address: address.to_owned(), key: key.to_owned(), child }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.child.kill().expect("the child is ours");
        self.child.wait().expect("the child is ours");
    }

    /// Ends it as an operator would.
    pub fn terminate(self) -> Ended {
        ringwire::sys::process::terminate(self.child.id()).expect("the child is ours");
        end(self.child)
    }
}

/// Waits a while.
#[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
pub fn rest_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Ctrl-C.
pub fn interrupt(id: u32) {
    signal(id, Signal::SIGINT);
}

/// Takes its cores away, and returns once none of its threads runs any more: one that was in the middle of
/// something goes on for a moment.
pub fn stop(id: u32) {
    signal(id, Signal::SIGSTOP);
    while !is_stopped(id) {
        rest_ms(1);
    }
}

/// Whether every thread is in state T (proc_pid_stat(5): the letter behind the name in brackets).
fn is_stopped(id: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).expect("the child runs");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

/// Gives them back.
pub fn go_on(id: u32) {
    signal(id, Signal::SIGCONT);
}

fn signal(id: u32, signal: Signal) {
    kill(nix::unistd::Pid::from_raw(id.cast_signed()), signal).expect("the child is ours");
}
