//! A server of our own, as a child process that cannot outlive us.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use thiserror::Error;

use crate::crypto::PublicKey;
use crate::sys::process::{dies_with_this_thread, terminate};

/// Why a server of our own could not be had.
#[derive(Debug, Error)]
pub enum ChildError {
    /// The process did not start.
    #[error("cannot start a server of our own: {0}")]
    Spawn(#[from] std::io::Error),
    /// It ended, or said something else, before it listened.
    #[error("the server of our own did not come up ({said}): run `ringwire serve` to see why")]
    NotListening {
        /// What it said instead.
        said: String,
    },
    /// It said nothing.
    #[error("the server of our own said nothing for {0:?}: run `ringwire serve` to see why")]
    Silent(Duration),
}

/// The running child. Dropping it stops it.
#[derive(Debug)]
pub struct ServerChild {
    child: Child,
    address: SocketAddr,
    key: Option<PublicKey>,
}

impl ServerChild {
    /// Starts `this executable serve --listen 127.0.0.1:0 --quiet ARGUMENTS` and waits until it
    /// listens. Call it from the main thread: the kernel ends the child with the *thread* that
    /// started it.
    pub fn start(arguments: &[String]) -> Result<ServerChild, ChildError> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--quiet"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal is for us: the server must live to answer what is in flight.
            .process_group(0);
        let mut child = dies_with_this_thread(&mut command).spawn()?;
        let stdout = child.stdout.take().expect("stdout is piped two lines above");
        match first_line(stdout).and_then(|line| address_of(&line)) {
            Ok((address, key)) => Ok(ServerChild { child, address, key }),
            Err(error) => {
                stop(&mut child);
                Err(error)
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is known by; `None` without sealing.
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        self.key
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerChild {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A server that is up answers well within this.
const START_TIME_MAX: Duration = Duration::from_secs(5);
/// A server told to stop is given this long before it is killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

fn first_line(stdout: ChildStdout) -> Result<String, ChildError> {
    let (sender, receiver) = mpsc::channel();
    // The thread ends with the first line, or with the child.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        // Nobody waits any more once the time is over.
        let _ = sender.send(read.map(|_| line));
    });
    match receiver.recv_timeout(START_TIME_MAX) {
        Ok(line) => Ok(line?),
        Err(_) => Err(ChildError::Silent(START_TIME_MAX)),
    }
}

fn address_of(line: &str) -> Result<(SocketAddr, Option<PublicKey>), ChildError> {
    let not_listening = || ChildError::NotListening { said: format!("{:?}", line.trim_end()) };
    let said = line.trim_end().strip_prefix("listening on ").ok_or_else(not_listening)?;
    let (address, key) = said.split_once(" key ").map_or((said, None), |(address, key)| (address, Some(key)));
    let key = key.map(str::parse).transpose().map_err(|_| not_listening())?;
    Ok((address.parse().map_err(|_| not_listening())?, key))
}

fn stop(child: &mut Child) {
    // A child that has ended already needs no signal.
    let _ = terminate(child.id());
    let step = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    while waited < STOP_TIME_MAX {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        rest(step);
        waited += step;
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[expect(clippy::disallowed_methods, reason = "the main thread waits for a child; no worker sleeps here")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_first_line() {
        let address = address_of("listening on 127.0.0.1:4321\n").expect("an address");
        assert_eq!(address, ("127.0.0.1:4321".parse().expect("an address"), None));
        let key = crate::crypto::Identity::generate(&mut crate::crypto::Csprng::new([1; 32])).public_key();
        let told = address_of(&format!("listening on [::1]:4321 key {key}\n")).expect("a key may follow");
        assert_eq!(told.1, Some(key));
        assert!(address_of("listening on [::1]:4321 key abc\n").is_err(), "a key is checked");
    }

    #[test]
    fn a_server_that_says_something_else_is_quoted() {
        let error = address_of("no such backend\n").expect_err("not an address").to_string();
        assert!(error.contains("no such backend"), "{error}");
        assert!(address_of("").is_err());
    }
}
