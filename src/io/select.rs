//! Which backend carries the packets here, and why not the others.
//!
//! A ladder is walked by use: each kind is opened, and io_uring carries a packet to itself first. A
//! kind that was asked for alone and cannot be had is an error: a figure never comes from another
//! backend than the one named.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;

use super::mmsg::Mmsg;
use super::uring::{Uring, UringError};
use super::{Backend, Config};

/// A backend with a socket, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Batched system calls.
    Mmsg,
    /// io_uring.
    Uring,
}

impl Kind {
    /// Every kind, in the order that `auto` tries them.
    ///
    /// mmsg first: with one session in flight a send and its reply are two calls either way, and
    /// io_uring adds its queues to them. `ringwire doctor` shows both.
    pub const LADDER: [Kind; 2] = [Kind::Mmsg, Kind::Uring];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Mmsg => "mmsg",
            Kind::Uring => "uring",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The kinds to try, in order of preference. Never empty.
    pub kinds: Vec<Kind>,
    /// The order is ours, not the user's.
    pub auto: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self { kinds: Kind::LADDER.to_vec(), auto: true }
    }
}

impl FromStr for Selection {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Self, SelectError> {
        if text == "auto" {
            return Ok(Self::default());
        }
        let mut kinds = Vec::new();
        for name in text.split(',').map(str::trim) {
            let kind = Kind::LADDER.into_iter().find(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| SelectError::UnknownName { name: name.to_owned() })?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        Ok(Self { kinds, auto: false })
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.auto {
            return f.write_str("auto");
        }
        let names: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
        f.write_str(&names.join(","))
    }
}

/// Why no backend was opened.
#[derive(Debug, Error)]
pub enum SelectError {
    /// No backend has this name.
    #[error("no backend is called '{name}': use auto, mmsg, uring, or a list such as uring,mmsg")]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// This host cannot run what was asked for.
    #[error("{reasons}; --backend auto takes what works here")]
    Unavailable {
        /// What stood in the way of each kind asked for.
        reasons: String,
    },
    /// The socket itself failed, as it would with any backend.
    #[error("cannot open a UDP socket at {bind}: {error}")]
    Socket {
        /// Where.
        bind: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Opens the first kind of `selection` that works here. The text says which and why, in a line.
///
/// # Errors
/// None works, or the address cannot be bound.
pub fn open(config: &Config, selection: &Selection) -> Result<(Box<dyn Backend>, String), SelectError> {
    let mut lost: Vec<String> = Vec::new();
    for kind in &selection.kinds {
        match open_kind(config, *kind) {
            Ok(backend) => {
                let why = why(selection, *kind, &lost);
                return Ok((backend, why));
            }
            Err(Failure::Socket(error)) => {
                return Err(SelectError::Socket { bind: config.bind, error });
            }
            Err(Failure::Kind(reason)) => lost.push(reason),
        }
    }
    Err(SelectError::Unavailable { reasons: lost.join("; ") })
}

fn why(selection: &Selection, kind: Kind, lost: &[String]) -> String {
    if !lost.is_empty() {
        return format!("{}; using {kind}", lost.join("; "));
    }
    match (selection.auto, kind) {
        (false, _) => format!("{kind}, as asked"),
        (true, Kind::Mmsg) => "mmsg: first of the ladder; uring is there to be asked for".to_owned(),
        (true, Kind::Uring) => "uring: first of the ladder".to_owned(),
    }
}

enum Failure {
    /// Any kind would fail alike.
    Socket(io::Error),
    /// This kind cannot be had here.
    Kind(String),
}

fn open_kind(config: &Config, kind: Kind) -> Result<Box<dyn Backend>, Failure> {
    match kind {
        Kind::Mmsg => match Mmsg::open(config) {
            Ok(backend) => Ok(Box::new(backend)),
            Err(error) => Err(Failure::Socket(error)),
        },
        Kind::Uring => match Uring::open(config) {
            Ok(backend) => Ok(Box::new(backend)),
            Err(UringError::Socket(error)) => Err(Failure::Socket(error)),
            Err(error) => Err(Failure::Kind(error.to_string())),
        },
    }
}

/// Whether one kind of backend works here.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub kind: Kind,
    /// Why it cannot be had; `None` when it can.
    pub trouble: Option<String>,
}

/// Tries every kind at `config` and tells which work.
#[must_use]
pub fn survey(config: &Config) -> Vec<Finding> {
    Kind::LADDER
        .into_iter()
        .map(|kind| {
            let trouble = match open_kind(config, kind) {
                Ok(_) => None,
                Err(Failure::Socket(error)) => Some(error.to_string()),
                Err(Failure::Kind(reason)) => Some(reason),
            };
            Finding { kind, trouble }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_an_order_of_preference() {
        let selection: Selection = "uring, mmsg,uring".parse().unwrap();
        assert_eq!(selection.kinds, [Kind::Uring, Kind::Mmsg]);
        assert_eq!(selection.to_string(), "uring,mmsg");
        assert_eq!("auto".parse::<Selection>().unwrap(), Selection::default());
        assert!("xdp".parse::<Selection>().is_err());
        assert!("".parse::<Selection>().is_err());
    }

    #[test]
    fn a_taken_port_is_no_reason_to_try_another_backend() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let config = Config::new(taken.local_addr().unwrap());
        let error = open(&config, &Selection::default()).err().unwrap();
        assert!(matches!(error, SelectError::Socket { .. }), "{error}");
    }

    #[test]
    fn what_lost_is_named_beside_what_was_chosen() {
        let selection: Selection = "uring,mmsg".parse().unwrap();
        let lost = ["io_uring unavailable: EPERM (blocked by seccomp)".to_owned()];
        let why = why(&selection, Kind::Mmsg, &lost);
        assert_eq!(why, "io_uring unavailable: EPERM (blocked by seccomp); using mmsg");
    }

    #[test]
    fn auto_opens_something_wherever_udp_works() {
        let config = Config::new("127.0.0.1:0".parse().unwrap());
        let (backend, why) = open(&config, &Selection::default()).unwrap();
        assert!(why.contains(backend.name()), "{why}");
        assert!(survey(&config).iter().any(|finding| finding.trouble.is_none()));
    }
}
