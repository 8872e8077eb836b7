//! The raw limits of this host: what its kernel, cores and memory allow with nothing guaranteed. Every
//! figure of `bench` is a share of one of them.
//!
//! Two threads of this process, each pinned to a core of its own, talk over loopback, or over a veth pair between
//! two network namespaces, by the plainest calls there are. A limit that cannot be measured here (one core, io_uring
//! blocked) is `None`.

mod aead;
mod copies;
mod cores;
mod duel;
mod groups;
mod packed;
mod path;
mod sealing;
mod tcp;
mod udp;

use std::time::Duration;

pub use copies::{Copies, copies};
pub use groups::names;
pub use path::{VethError, veth_allowed};

use super::plan::{Plan, Scenario};
use groups::measure;
use path::{Path, Veth};

/// How the limits are measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time spent on each, a fifth of it warming up.
    pub duration_each: Duration,
    /// The cores of the two threads; `None` where the host lends only one.
    pub cores: Option<[usize; 2]>,
}

impl Options {
    /// Half a second each, on two cores of the allowed set that share nothing where there are such.
    #[must_use]
    pub fn here() -> Self {
        let spread = crate::sys::cores::spread(&crate::sys::cores::topology());
        let cores = match spread[..] {
            [first, second, ..] => Some([first, second]),
            _ => None,
        };
        Self { duration_each: Duration::from_millis(500), cores }
    }
}

/// One raw limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Its name: stable, scripts read it.
    pub name: &'static str,
    /// The figure in `unit`; `None` where it could not be measured.
    pub value: Option<f64>,
    /// `ns`, `us`, `1/s`, `bit/s` or `B/s`.
    pub unit: &'static str,
}

/// Raw limits, in the order they are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The limits.
    pub list: Vec<Limit>,
}

impl Limits {
    /// The figure called `name`, if it was measured.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.list.iter().find(|limit| limit.name == name)?.value
    }
}

/// Measures every limit, over loopback.
#[must_use]
pub fn run(options: &Options) -> Limits {
    run_only(options, |_| true)
}

/// Measures those limits whose names are `wanted`, see [`names`], over loopback.
#[must_use]
pub fn run_only(options: &Options, wanted: impl Fn(&str) -> bool) -> Limits {
    measure(options, &Path::Loopback, wanted)
}

/// Measures only what a run of `plan`, sealed where `secure`, may be a share of, see [`super::share`]: nothing for an
/// open loop.
#[must_use]
pub fn quick(options: &Options, plan: &Plan, secure: bool) -> Limits {
    let packed = if secure { "packed_sealed" } else { "packed" };
    let limit = match plan.scenario {
        Scenario::Ping => return run_only(options, |name| name.starts_with("udp_rtt")),
        Scenario::Rate => format!("{packed}_calls_{}_per_s", plan.window),
        Scenario::Bulk => format!("{packed}_bulk_bit_s"),
        Scenario::Load => return Limits::default(),
    };
    run_only(options, |name| name == limit)
}

/// Limits over a veth pair.
#[derive(Clone, Debug, PartialEq)]
pub struct VethLimits {
    /// Bytes of an IP packet that the link carries.
    pub mtu: u32,
    /// Bytes of the packets that the packed peer fills.
    pub packet_size: usize,
    /// Those limits that a path makes a difference to, by the names they have over loopback.
    pub limits: Limits,
}

/// The MTUs of a veth pair: from the least that IPv6 asks of a link to what jumbo frames of any card are.
pub const VETH_MTU: std::ops::RangeInclusive<u32> = 1_280..=9_216;

/// Measures the `wanted` limits of UDP and TCP over a veth pair, whose ends stand in two network namespaces of their own.
/// The calling thread stays in one of them: see [`crate::sys::netns::NetNs::enter_new`].
///
/// # Errors
/// [`VethError`]: this host does not let this process make them.
///
/// # Panics
/// When `mtu` is not within [`VETH_MTU`].
pub fn run_veth(options: &Options, mtu: u32, wanted: impl Fn(&str) -> bool) -> Result<VethLimits, VethError> {
    assert!(VETH_MTU.contains(&mtu), "an MTU of {mtu} was asked for");
    let path = Path::Veth(Veth::new(mtu)?);
    let limits = measure(options, &path, wanted);
    Ok(VethLimits { mtu, packet_size: path.packet_size(), limits })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits without a figure. Short runs have too few samples for a tail, and io_uring may be blocked.
    fn missing(limits: &Limits) -> Vec<&'static str> {
        let excused = |name: &str| name.contains("p99") || name.starts_with("uring");
        let names = limits.list.iter().filter(|limit| limit.value.is_none()).map(|limit| limit.name);
        names.filter(|name| !excused(name)).collect()
    }

    #[test]
    fn every_limit_has_a_figure_on_two_cores() {
        let mut options = Options::here();
        let mut limits = Limits::default();
        // Where other work has the cores, a short run may get no turn at all: try longer ones.
        for milliseconds in [20, 100, 500] {
            options.duration_each = Duration::from_millis(milliseconds);
            limits = run(&options);
            if options.cores.is_none() || missing(&limits).is_empty() {
                break;
            }
        }
        let measured: Vec<_> = limits.list.iter().map(|limit| limit.name).collect();
        assert_eq!(measured, names().collect::<Vec<_>>());
        assert!(options.cores.is_none() || missing(&limits).is_empty(), "{:?}", missing(&limits));
        assert!(limits.value("syscall_ns").unwrap() < 1e6);
    }

    #[test]
    fn only_what_is_wanted_is_measured_and_shown() {
        let options = Options { duration_each: Duration::from_millis(10), ..Options::here() };
        let wanted = ["syscall_ns", "udp_rtt_p50_us"];
        let limits = run_only(&options, |name| wanted.contains(&name));
        assert_eq!(limits.list.iter().map(|limit| limit.name).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_run_is_measured_against_the_one_limit_of_its_load() {
        let options = Options { duration_each: Duration::from_millis(10), ..Options::here() };
        let to = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let of = |plan: &Plan, secure| -> Vec<&str> {
            quick(&options, plan, secure).list.iter().map(|limit| limit.name).collect()
        };
        let rate = Plan { window: 256, ..Plan::of(Scenario::Rate, to) };
        assert_eq!(of(&rate, false), ["packed_calls_256_per_s"]);
        assert_eq!(of(&rate, true), ["packed_sealed_calls_256_per_s"]);
        assert_eq!(of(&Plan { window: 7, ..rate }, true), [""; 0]);
        assert_eq!(of(&Plan::of(Scenario::Bulk, to), true), ["packed_sealed_bulk_bit_s"]);
        assert_eq!(of(&Plan::of(Scenario::Load, to), true), [""; 0]);
    }
}
