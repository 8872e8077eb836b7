//! A host as a set of values, each with an address: what the files of sysfs and procfs hold, what a
//! NIC's driver says, which queueing discipline a link has. One trait reads and writes them all, so that
//! a recorded host is tuned by the same code as a live one.
//!
//! ```text
//! audit, plan, apply, undo ---> dyn Host ---+--> Live      sysfs, procfs, ethtool, netlink
//!                                           +--> Recorded  a JSON file: --host host.json
//!                                           +--> Recorder  either of them, kept for --record
//! ```
//!
//! Invariant: an address names the same setting on every kind of host, and what was read can be written
//! back as it stands.

mod attributes;
mod ethtool_netlink;
mod irqbalance;
mod links;
pub mod live;
pub mod netlink;
pub mod recorded;
pub mod recorder;

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a value lives: `file:/sys/class/net/eth0/mtu`, `ethtool:eth0/rings/rx`, `rtnl:eth0/mtu`,
/// `qdisc:eth0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(String);

impl Address {
    /// A file of sysfs or procfs, by its absolute path.
    #[must_use]
    pub fn file(path: impl fmt::Display) -> Address {
        Address(format!("file:{path}"))
    }

    /// Where a symbolic link points.
    #[must_use]
    pub fn link(path: impl fmt::Display) -> Address {
        Address(format!("link:{path}"))
    }

    /// A value that the NIC's driver keeps: a group and a name in it.
    #[must_use]
    pub fn ethtool(nic: &str, group: &str, name: &str) -> Address {
        Address(format!("ethtool:{nic}/{group}/{name}"))
    }

    /// Anything, as written in a plan or a profile. Parsing decides nothing: a host refuses what it
    /// does not know.
    #[must_use]
    pub fn parse(text: &str) -> Address {
        Address(text.to_owned())
    }

    /// The kind of address: what stands before the colon.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// What stands behind the colon.
    #[must_use]
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, rest)| rest)
    }

    /// The address of `name` below this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Address {
        Address(format!("{}/{name}", self.0))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a host refuses to read or write a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// There is no such thing here.
    Absent,
    /// This user may not.
    Denied,
    /// It cannot be written here by anybody: a read-only mount, or another namespace's.
    ReadOnly,
    /// The driver or kernel does not have it.
    Unsupported,
    /// The value makes no sense to the driver or kernel.
    Invalid,
    /// The device went away.
    Gone,
    /// No room, such as for interrupt vectors or rules.
    Full,
    /// Busy, or fixed by someone else: a managed interrupt.
    Fixed,
    /// Anything else.
    Other,
}

impl Why {
    /// What an operator can do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Why::Absent => "this kernel or driver does not have it: leave the knob out of the profile",
            Why::Denied => "run it as root, or in a container with CAP_NET_ADMIN and /sys writable",
            Why::ReadOnly => {
                "it is read-only here: run it on the host itself, outside the container or network namespace"
            }
            Why::Unsupported => "the driver cannot do it: leave the knob out of the profile",
            Why::Invalid => "the driver takes other values: `ringwire tune audit` shows its limits",
            Why::Gone => "the NIC is gone: bring it back and run `ringwire tune undo`",
            Why::Full => "the hardware has no room left: fewer queues or rules",
            Why::Fixed => "the kernel or driver manages it itself: leave the knob out of the profile",
            Why::Other => "see the kernel's log",
        }
    }
}

/// A value that was not to be read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{address}: {text} ({})", why.advice())]
pub struct Refusal {
    /// Which.
    pub address: Address,
    /// What kind of refusal.
    pub why: Why,
    /// In the words of the kernel.
    pub text: String,
}

impl Refusal {
    /// A refusal in our own words.
    #[must_use]
    pub fn new(address: &Address, why: Why, text: impl Into<String>) -> Refusal {
        Refusal { address: address.clone(), why, text: text.into() }
    }

    /// What a system call said.
    #[must_use]
    pub fn from_io(address: &Address, error: &std::io::Error) -> Refusal {
        let why = match attributes::number_of(error) {
            Some(libc::ENOENT | libc::ENOTDIR) => Why::Absent,
            Some(libc::EPERM | libc::EACCES) => Why::Denied,
            Some(libc::EROFS) => Why::ReadOnly,
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => Why::Unsupported,
            Some(libc::EINVAL | libc::ERANGE) => Why::Invalid,
            Some(libc::ENODEV | libc::ENXIO) => Why::Gone,
            Some(libc::ENOSPC) => Why::Full,
            Some(libc::EIO | libc::EBUSY) => Why::Fixed,
            _ => Why::Other,
        };
        Refusal::new(address, why, error.to_string())
    }
}

/// A host that can be looked at and changed.
pub trait Host {
    /// The value at `address`, without blanks around it.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, address: &Address) -> Result<String, Refusal>;

    /// The names below `address`, in order: files of a folder, fields of a driver's group.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn list(&self, address: &Address) -> Result<Vec<String>, Refusal>;

    /// Sets the value at `address`. What it then reads is up to the kernel: read it back.
    ///
    /// # Errors
    /// Why not.
    fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal>;

    /// Why nobody can write to `address` here, whatever his rights; `None` if somebody could.
    fn read_only(&self, address: &Address) -> Option<Refusal>;

    /// The value at `address`, or `None` where there is nothing to read.
    fn value(&self, address: &Address) -> Option<String> {
        self.read(address).ok()
    }

    /// The number at `address`.
    fn number(&self, address: &Address) -> Option<u64> {
        self.value(address)?.parse().ok()
    }
}

/// How a value that is not there is written in plans and journals.
pub const ABSENT: &str = "absent";

/// The value at `address` as plans and journals write it: [`ABSENT`] where there is no such thing.
///
/// # Errors
/// It is there and cannot be read.
pub fn state(host: &dyn Host, address: &Address) -> Result<String, Refusal> {
    match host.read(address) {
        Err(refusal) if refusal.why == Why::Absent => Ok(ABSENT.into()),
        read => read,
    }
}
