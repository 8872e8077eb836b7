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
mod packed;
mod path;
mod sealing;
mod tcp;
mod udp;

use std::time::Duration;

pub use copies::{Copies, copies};
pub use path::{VethError, veth_allowed};

use super::plan::{Plan, Scenario};
use copies::Destination;
use path::{Path, Veth};
use sealing::Sealing::{self, Plain, Sealed};

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

    fn push(&mut self, name: &'static str, value: Option<f64>, unit: &'static str) {
        let value = value.filter(|value| value.is_finite() && *value > 0.0);
        self.list.push(Limit { name, value, unit });
    }
}

/// Measures every limit, over loopback.
#[must_use]
pub fn run(options: &Options) -> Limits {
    measure(options, &Path::Loopback, &[CORES, UDP_RTT, UDP_RATE, TCP], &PACKED)
}

/// Measures only what a run of `plan`, sealed where `secure`, may be a share of, see [`super::share`]: nothing for an
/// open loop.
#[must_use]
pub fn quick(options: &Options, plan: &Plan, secure: bool) -> Limits {
    let load = match plan.scenario {
        Scenario::Ping => return measure(options, &Path::Loopback, &[UDP_RTT], &[]),
        Scenario::Rate => Load::Calls(plan.window),
        Scenario::Bulk => Load::Bulk,
        Scenario::Load => return Limits::default(),
    };
    let sealing = if secure { Sealed } else { Plain };
    let fits = |packed: &&Packed| packed.load == load && packed.sealing == sealing;
    let packed: Vec<Packed> = PACKED.iter().filter(fits).copied().collect();
    measure(options, &Path::Loopback, &[], &packed)
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

/// Measures the limits of UDP and TCP over a veth pair, whose ends stand in two network namespaces of their own.
/// The calling thread stays in one of them: see [`crate::sys::netns::NetNs::enter_new`].
///
/// # Errors
/// [`VethError`]: this host does not let this process make them.
///
/// # Panics
/// When `mtu` is not within [`VETH_MTU`].
pub fn run_veth(options: &Options, mtu: u32) -> Result<VethLimits, VethError> {
    assert!(VETH_MTU.contains(&mtu), "an MTU of {mtu} was asked for");
    let path = Path::Veth(Veth::new(mtu)?);
    let limits = measure(options, &path, &[UDP_RTT, UDP_RATE, TCP], &PACKED);
    Ok(VethLimits { mtu, packet_size: path.packet_size(), limits })
}

fn measure(options: &Options, path: &Path, groups: &[Group], packed: &[Packed]) -> Limits {
    let mut limits = Limits::default();
    for group in groups {
        group(options, path, &mut limits);
    }
    for limit in packed {
        limit.measure(options, path, &mut limits);
    }
    limits
}

/// Measures the limits of one kind and appends them.
type Group = fn(&Options, &Path, &mut Limits);

const CORES: Group = |options, _path, limits| {
    limits.push("syscall_ns", Some(cores::syscall_ns(options)), "ns");
    limits.push("uring_nop_ns", cores::uring_nop_ns(options, 1), "ns");
    limits.push("uring_nop_batch_16_ns", cores::uring_nop_ns(options, 16), "ns");
    limits.push("cache_line_round_trip_ns", cores::cache_line_round_trip_ns(options), "ns");
    limits.push("wake_p50_us", cores::wake_us(options, 0.5), "us");
    limits.push("memcpy_byte_s", Some(copies::memcpy_byte_s(options, Destination::Aligned)), "B/s");
    limits.push("memcpy_near_byte_s", Some(copies::memcpy_byte_s(options, Destination::Near)), "B/s");
    limits.push("crc_16_kib_byte_s", Some(cores::crc_byte_s(options)), "B/s");
    limits.push("seal_1400_byte_s", Some(aead::seal_byte_s(options, 1_400)), "B/s");
    limits.push("seal_16_kib_byte_s", Some(aead::seal_byte_s(options, 16_368)), "B/s");
};

const UDP_RTT: Group = |options, path, limits| {
    let spinning = udp::round_trip(options, path, udp::Idle::Spin);
    limits.push("udp_rtt_p50_us", spinning.p50, "us");
    limits.push("udp_rtt_p99_us", spinning.p99, "us");
    limits.push("udp_rtt_p99.9_us", spinning.p99_9, "us");
    let parked = udp::round_trip(options, path, udp::Idle::Park);
    limits.push("udp_rtt_parked_p50_us", parked.p50, "us");
    limits.push("udp_rtt_parked_p99_us", parked.p99, "us");
};

const UDP_RATE: Group = |options, path, limits| {
    limits.push("udp_packets_per_s", udp::packets_per_s(options, path), "1/s");
    limits.push("gso_bulk_bit_s", udp::gso_bulk_bit_s(options, path), "bit/s");
    limits.push("gso_64_byte_segments_per_s", udp::gso_segments_per_s(options, path), "1/s");
};

const TCP: Group = |options, path, limits| {
    let times = tcp::round_trip(options, path);
    limits.push("tcp_rtt_p50_us", times.p50, "us");
    limits.push("tcp_rtt_p99_us", times.p99, "us");
    limits.push("tcp_rtt_p99.9_us", times.p99_9, "us");
};

/// What packed packets carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// Calls of 64 bytes with so many in flight.
    Calls(usize),
    /// Bytes one way.
    Bulk,
}

/// A limit of packed packets.
#[derive(Clone, Copy)]
struct Packed {
    name: &'static str,
    load: Load,
    sealing: Sealing,
}

const PACKED: [Packed; 6] = [
    Packed { name: "packed_calls_256_per_s", load: Load::Calls(256), sealing: Plain },
    Packed { name: "packed_calls_4096_per_s", load: Load::Calls(4_096), sealing: Plain },
    Packed { name: "packed_bulk_bit_s", load: Load::Bulk, sealing: Plain },
    Packed { name: "packed_sealed_calls_256_per_s", load: Load::Calls(256), sealing: Sealed },
    Packed { name: "packed_sealed_calls_4096_per_s", load: Load::Calls(4_096), sealing: Sealed },
    Packed { name: "packed_sealed_bulk_bit_s", load: Load::Bulk, sealing: Sealed },
];

impl Packed {
    fn measure(self, options: &Options, path: &Path, limits: &mut Limits) {
        let (value, unit) = match self.load {
            Load::Calls(window) => (packed::calls_per_s(options, path, window, self.sealing), "1/s"),
            Load::Bulk => (packed::bulk_bit_s(options, path, self.sealing), "bit/s"),
        };
        limits.push(self.name, value, unit);
    }
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
    fn every_limit_has_a_figure_on_two_cores_and_a_name_of_its_own() {
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
        let mut names: Vec<_> = limits.list.iter().map(|limit| limit.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), limits.list.len());
        assert!(options.cores.is_none() || missing(&limits).is_empty(), "{:?}", missing(&limits));
        assert!(limits.value("syscall_ns").unwrap() < 1e6);
    }
}
