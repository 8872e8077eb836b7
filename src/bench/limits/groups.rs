//! All limits there are, in the order they are shown, and which of them one run measures together.

use super::copies::{Destination, memcpy_byte_s};
use super::path::Path;
use super::sealing::Sealing::{Plain, Sealed};
use super::udp::Idle;
use super::{Limit, Limits, Options, aead, cores, packed, tcp, udp};

/// Limits that one run measures.
#[derive(Debug)]
pub(super) struct Group {
    /// Their names and units, in the order of its figures.
    limits: &'static [(&'static str, &'static str)],
    measure: Measure,
}

#[derive(Debug)]
enum Measure {
    /// Cores, memory and the kernel's door.
    Here(fn(&Options) -> Option<f64>),
    /// What a path makes a difference to.
    Over(fn(&Options, &Path) -> Figures),
}

/// No group has more.
type Figures = [Option<f64>; 3];

use Measure::{Here, Over};

/// A limit of which a run gives one figure.
fn one(figure: Option<f64>) -> Figures {
    [figure, None, None]
}

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    Group { limits: &[("syscall_ns", "ns")], measure: Here(|options| Some(cores::syscall_ns(options))) },
    Group { limits: &[("uring_nop_ns", "ns")], measure: Here(|options| cores::uring_nop_ns(options, 1)) },
    Group { limits: &[("uring_nop_batch_16_ns", "ns")], measure: Here(|options| cores::uring_nop_ns(options, 16)) },
    Group { limits: &[("cache_line_round_trip_ns", "ns")], measure: Here(cores::cache_line_round_trip_ns) },
    Group { limits: &[("wake_p50_us", "us")], measure: Here(|options| cores::wake_us(options, 0.5)) },
    Group { limits: &[("memcpy_byte_s", "B/s")], measure: Here(|options| Some(memcpy_byte_s(options, Destination::Aligned))) },
    Group { limits: &[("memcpy_near_byte_s", "B/s")], measure: Here(|options| Some(memcpy_byte_s(options, Destination::Near))) },
    Group { limits: &[("crc_16_kib_byte_s", "B/s")], measure: Here(|options| Some(cores::crc_byte_s(options))) },
    Group { limits: &[("seal_1400_byte_s", "B/s")], measure: Here(|options| Some(aead::seal_byte_s(options, 1_400))) },
    Group { limits: &[("seal_16_kib_byte_s", "B/s")], measure: Here(|options| Some(aead::seal_byte_s(options, 16_368))) },
    Group {
        limits: &[("udp_rtt_p50_us", "us"), ("udp_rtt_p99_us", "us"), ("udp_rtt_p99.9_us", "us")],
        measure: Over(|options, path| udp::round_trip(options, path, Idle::Spin).all()),
    },
    Group {
        limits: &[("udp_rtt_parked_p50_us", "us"), ("udp_rtt_parked_p99_us", "us")],
        measure: Over(|options, path| udp::round_trip(options, path, Idle::Park).all()),
    },
    Group { limits: &[("udp_packets_per_s", "1/s")], measure: Over(|options, path| one(udp::packets_per_s(options, path))) },
    Group { limits: &[("gso_bulk_bit_s", "bit/s")], measure: Over(|options, path| one(udp::gso_bulk_bit_s(options, path))) },
    Group { limits: &[("gso_64_byte_segments_per_s", "1/s")], measure: Over(|options, path| one(udp::gso_segments_per_s(options, path))) },
    Group {
        limits: &[("tcp_rtt_p50_us", "us"), ("tcp_rtt_p99_us", "us"), ("tcp_rtt_p99.9_us", "us")],
        measure: Over(|options, path| tcp::round_trip(options, path).all()),
    },
    Group { limits: &[("packed_calls_256_per_s", "1/s")], measure: Over(|options, path| one(packed::calls_per_s(options, path, 256, Plain))) },
    Group { limits: &[("packed_calls_4096_per_s", "1/s")], measure: Over(|options, path| one(packed::calls_per_s(options, path, 4_096, Plain))) },
    Group { limits: &[("packed_bulk_bit_s", "bit/s")], measure: Over(|options, path| one(packed::bulk_bit_s(options, path, Plain))) },
    Group { limits: &[("packed_sealed_calls_256_per_s", "1/s")], measure: Over(|options, path| one(packed::calls_per_s(options, path, 256, Sealed))) },
    Group { limits: &[("packed_sealed_calls_4096_per_s", "1/s")], measure: Over(|options, path| one(packed::calls_per_s(options, path, 4_096, Sealed))) },
    Group { limits: &[("packed_sealed_bulk_bit_s", "bit/s")], measure: Over(|options, path| one(packed::bulk_bit_s(options, path, Sealed))) },
];

/// The names of all limits.
pub fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.limits).map(|&(name, _)| name)
}

/// Measures the limits whose names are `wanted`: over loopback all, over another path those that it makes a difference
/// to.
pub(super) fn measure(options: &Options, path: &Path, wanted: impl Fn(&str) -> bool) -> Limits {
    let mut limits = Limits::default();
    for group in GROUPS.iter().filter(|group| group.limits.iter().any(|(name, _)| wanted(name))) {
        let figures = match (&group.measure, path) {
            (Here(measure), Path::Loopback) => one(measure(options)),
            (Here(_), Path::Veth(_)) => continue,
            (Over(measure), path) => measure(options, path),
        };
        for (&(name, unit), figure) in group.limits.iter().zip(figures) {
            if wanted(name) {
                let value = figure.filter(|value| value.is_finite() && *value > 0.0);
                limits.list.push(Limit { name, value, unit });
            }
        }
    }
    limits
}

#[test]
fn no_two_limits_have_one_name_and_no_group_more_of_them_than_figures() {
    let mut all: Vec<_> = names().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), names().count());
    assert!(GROUPS.iter().all(|group| group.limits.len() <= one(None).len()));
}
