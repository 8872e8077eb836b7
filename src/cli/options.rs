//! Flags that several verbs share, each described once.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::keys::{Proof, security};
use super::status::Failure;
use crate::bench::host::Host;
use crate::bench::placement::CoreList;
use crate::crypto::Suite;
use crate::io::select::Selection;
use crate::transport::CongestionKind;
use crate::units::{parse_size, parse_time};
use crate::worker::IdlePolicy;
use crate::worker::impair::ImpairSpec;

/// Where `serve` listens and `bench TARGET` calls unless told: a port that IANA lists as unassigned.
pub const DEFAULT_PORT: u16 = 7405;

/// How this host's end is run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Host")]
pub struct HostOptions {
    /// Cores of this process's workers, one each: 0, 1,3 or 2-5
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CoreList>,
    /// What moves the packets: auto, uring, mmsg, or a list in order of preference
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub backend: Selection,
    /// How a worker waits when there is nothing to do [default: spin; adaptive where both ends share a core, yield where a thread that calls through handles shares its worker's]
    #[arg(long, value_enum, value_name = "HOW")]
    pub poll: Option<Poll>,
    /// Congestion control
    #[arg(long, value_enum, value_name = "NAME", default_value = "auto")]
    pub congestion: Congestion,
    /// Socket buffer to ask the kernel for, each way
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub socket_buffer: Option<u64>,
    /// Who this end is: a file that `ringwire keygen` wrote [default: a new identity each time]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub identity: Option<PathBuf>,
    /// A secret that both ends hold beside their keys: a file that `ringwire keygen --preshared` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub preshared: Option<PathBuf>,
    /// What this end seals with; a server takes the client's choice [default: what this CPU is quick at]
    #[arg(long, value_enum, value_name = "NAME", conflicts_with = "insecure")]
    pub suite: Option<Cipher>,
    /// Run without encryption: on loopback, or with =anywhere on both ends
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true, default_missing_value = "loopback")]
    pub insecure: Option<Insecure>,
}

impl HostOptions {
    /// This end, as asked for; it waits by `usual` unless told how.
    ///
    /// # Errors
    /// [`Failure`] for an identity that cannot be used.
    pub fn host(&self, usual: Poll, impair: Option<ImpairSpec>) -> Result<Host, Failure> {
        let poll = self.poll.unwrap_or(usual);
        Ok(Host {
            backend: self.backend.clone(),
            idle: poll.into(),
            congestion: self.congestion.into(),
            socket_buffer: self.socket_buffer,
            impair,
            security: security(&Proof {
                identity: self.identity.as_deref(),
                preshared: self.preshared.as_deref(),
                suite: self.suite.map(Suite::from),
                insecure: self.insecure,
            })?,
            server_key: None,
        })
    }

    /// The same choices as arguments for a server of our own. Harm is done at one end only.
    #[must_use]
    pub fn server_arguments(&self, usual: Poll, cores: &CoreList) -> Vec<String> {
        let poll = self.poll.unwrap_or(usual);
        let mut arguments = vec![
            format!("--cores={cores}"),
            format!("--backend={}", self.backend),
            format!("--poll={}", poll.name()),
            format!("--congestion={}", self.congestion.name()),
        ];
        arguments.extend(self.insecure.map(|_| "--insecure".to_owned()));
        arguments.extend(self.preshared.as_ref().map(|path| format!("--preshared={}", path.display())));
        arguments.extend(self.socket_buffer.map(|size| format!("--socket-buffer={size}")));
        arguments
    }
}

/// How a worker waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Poll {
    /// Never: it looks again at once
    Spin,
    /// Never: it lets others on its core go first, then looks again
    Yield,
    /// It looks again for a while, then sleeps
    Adaptive,
    /// It sleeps at once
    Park,
}

impl Poll {
    /// How a worker waits unless told: it spins, but not on a core that both ends share, where that starves the other.
    #[must_use]
    pub fn usual(shared: bool) -> Poll {
        if shared { Poll::Adaptive } else { Poll::Spin }
    }

    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Poll::Spin => "spin",
            Poll::Yield => "yield",
            Poll::Adaptive => "adaptive",
            Poll::Park => "park",
        }
    }
}

impl From<Poll> for IdlePolicy {
    fn from(poll: Poll) -> IdlePolicy {
        match poll {
            Poll::Spin => IdlePolicy::Spin,
            Poll::Yield => IdlePolicy::Yield,
            Poll::Adaptive => IdlePolicy::Adaptive,
            Poll::Park => IdlePolicy::Park,
        }
    }
}

/// Congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Congestion {
    /// By the round trip: `dc` below a millisecond, else the wide area's
    Auto,
    /// For data centres: a delay target
    Dc,
    /// For wide areas: RFC 9438
    Cubic,
    /// For wide areas that lose packets: by measured rate and round trip
    Model,
}

impl Congestion {
    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        CongestionKind::from(self).name()
    }
}

impl From<Congestion> for CongestionKind {
    fn from(congestion: Congestion) -> CongestionKind {
        match congestion {
            Congestion::Auto => CongestionKind::Auto,
            Congestion::Dc => CongestionKind::Dc,
            Congestion::Model => CongestionKind::Model,
            Congestion::Cubic => CongestionKind::Cubic,
        }
    }
}

/// What seals packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cipher {
    /// AES-128-GCM
    #[value(name = "aes128-gcm")]
    Aes128Gcm,
    /// ChaCha20-Poly1305, for CPUs without AES
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

impl From<Cipher> for Suite {
    fn from(cipher: Cipher) -> Suite {
        match cipher {
            Cipher::Aes128Gcm => Suite::Aes128Gcm,
            Cipher::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
        }
    }
}

/// Where plaintext is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Insecure {
    /// Within this host
    Loopback,
    /// On any network
    Anywhere,
}

/// The load of one run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    /// Bytes of each call or message [default: 64; bulk: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub size: Option<u64>,
    /// Length of the measured window
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = parse_time)]
    pub duration: Duration,
    /// Load before the window, not measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    pub warmup: Duration,
    /// Sessions, shared out among the workers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub sessions: u32,
    /// Lanes of each session, opened over its handshake: each is one core of the server, with a window of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::bounds::LANES_DEFAULT)))]
    pub lanes: u32,
    /// Time each call has
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    pub deadline: Duration,
    /// Seed of contents and of random gaps
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Compare every byte of every reply (else one call in 512)
    #[arg(long)]
    pub verify: bool,
}

/// Reads `HOST`, `HOST:PORT` or `ADDRESS:PORT`; the first address that a name has is taken.
pub fn parse_target(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let resolved = match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() && text.parse::<std::net::Ipv6Addr>().is_err() => {
            text.to_socket_addrs()
        }
        _ => (text.trim_matches(['[', ']']), DEFAULT_PORT).to_socket_addrs(),
    };
    let advice = format!("write an address such as 127.0.0.1:{DEFAULT_PORT}");
    match resolved {
        Ok(mut addresses) => addresses.next().ok_or(format!("'{text}' has no address: {advice}")),
        Err(error) => Err(format!("'{text}' is no address ({error}): {advice}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_leave_its_port_out() {
        let default = |text| parse_target(text).expect(text).to_string();
        assert_eq!(default("127.0.0.1"), "127.0.0.1:7405");
        assert_eq!(default("127.0.0.1:9"), "127.0.0.1:9");
        assert_eq!(default("::1"), "[::1]:7405");
        assert_eq!(default("[::1]:9"), "[::1]:9");
        assert!(parse_target("").is_err());
        assert!(parse_target("127.0.0.1:99999").is_err());
    }
}
