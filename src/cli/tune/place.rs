//! Which host, and where its journals are: flags that every step shares.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::status::Failure;
use crate::time::{Clock, MonotonicClock, wall_at_zero_ns};
use crate::tune::cpus::{Cpus, parse_list};
use crate::tune::host::live::Live;
use crate::tune::host::recorded::RecordedFile;
use crate::tune::host::{Address, Host};
use crate::tune::scope::Request;

/// The host that is looked at or changed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Host")]
pub struct PlaceOptions {
    /// A recorded host instead of this one: what `audit --record` wrote. Changes go into the file
    #[arg(long, value_name = "FILE")]
    pub host: Option<PathBuf>,
    /// Where the undo journals are [default: /var/lib/ringwire/tune for root; FILE.state beside a recorded host]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

impl PlaceOptions {
    /// Opens the host.
    ///
    /// # Errors
    /// The file is no recorded host.
    pub fn open(&self) -> Result<Box<dyn Host>, Failure> {
        match &self.host {
            None => Ok(Box::new(Live::new())),
            Some(path) => match RecordedFile::open(path) {
                Ok(host) => Ok(Box::new(host)),
                Err(error) => Err(Failure::usage(error.to_string())),
            },
        }
    }

    /// The folder of the journals.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        state_folder(self.state.as_deref(), self.host.as_deref())
    }

    /// The same choice as arguments for a process of our own.
    #[must_use]
    pub fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = vec!["--state".into(), self.state().into_os_string()];
        if let Some(host) = &self.host {
            arguments.extend(["--host".into(), host.clone().into_os_string()]);
        }
        arguments
    }
}

/// The folder of the journals: as asked for, else beside a recorded host, else the user's own.
#[must_use]
pub fn state_folder(asked: Option<&Path>, recorded: Option<&Path>) -> PathBuf {
    if let Some(state) = asked {
        return state.to_owned();
    }
    if let Some(host) = recorded {
        let mut name = host.as_os_str().to_owned();
        name.push(".state");
        return name.into();
    }
    if nix::unistd::geteuid().is_root() {
        return "/var/lib/ringwire/tune".into();
    }
    let home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".local/state")));
    home.unwrap_or_else(|| ".".into()).join("ringwire/tune")
}

/// The NIC and the CPUs that a plan is about.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Scope")]
pub struct ScopeOptions {
    /// The NIC [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub nic: Option<String>,
    /// CPUs of ringwire's workers, one each: 2-5 [default: some near the NIC]
    #[arg(long, value_name = "LIST", value_parser = parse_cores)]
    pub cores: Option<Cores>,
    /// The UDP port to steer to the first worker's queue, in profiles that have ntuple rules
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
}

/// CPUs as they are written: clap takes a plain set for several values.
#[derive(Clone, Debug)]
pub struct Cores(pub Cpus);

fn parse_cores(text: &str) -> Result<Cores, String> {
    let cpus = parse_list(text).filter(|cpus| !cpus.is_empty());
    cpus.map(Cores).ok_or_else(|| format!("'{text}' is not a list of cores: write for example 0, 1,3 or 2-5"))
}

impl ScopeOptions {
    /// As the room `tune` takes it.
    #[must_use]
    pub fn request(&self) -> Request {
        Request {
            nic: self.nic.clone(),
            cores: self.cores.as_ref().map(|cores| cores.0.clone()),
            port: self.port,
        }
    }
}

/// This life of the host; a recorded one has one life.
#[must_use]
pub fn boot_of(host: &dyn Host) -> String {
    host.value(&Address::file("/proc/sys/kernel/random/boot_id")).unwrap_or_else(|| "recorded".into())
}

/// Seconds since 1970.
#[must_use]
pub fn now_s() -> u64 {
    (wall_at_zero_ns() + MonotonicClock.now().0) / 1_000_000_000
}

/// True if what is printed may be coloured: a terminal, or somebody said CLICOLOR_FORCE; never after NO_COLOR.
#[must_use]
pub fn is_colourful() -> bool {
    use std::io::IsTerminal;
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let is_forced = !["", "0"].iter().any(|no| variable("CLICOLOR_FORCE") == *no);
    variable("NO_COLOR").is_empty() && (is_forced || std::io::stdout().is_terminal())
}

/// `text` in a colour of the terminal, by its SGR number.
#[must_use]
pub fn paint(text: &str, sgr: &str) -> String {
    if is_colourful() { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
}
