//! Shares of a bottleneck: among ourselves, and beside CUBIC (T28).

use ringwire::sim::link::LinkSpec;
use ringwire::transport::CongestionKind::{self, Cubic, Dc, Model};

use crate::scene::{over, scale, show, wide_area};

#[test]
fn the_model_takes_between_half_and_twice_the_share_of_a_cubic_flow() {
    // L46, RFC 8085 §3.1: the CUBIC flow is ours, whose response function is tested beside.
    for seed in 0..scale() {
        let measured = over(&wide_area("0%", seed), &[Model, Cubic], 16 * scale(), seed);
        show("model beside cubic", seed, &measured);
        let ratio = measured.goodput_bit_s(0) / measured.goodput_bit_s(1);
        assert!((0.5..=2.0).contains(&ratio), "{ratio}");
        assert!(measured.goodput_sum_bit_s() > 85e6);
    }
}

fn eight(kind: CongestionKind, link: &LinkSpec, seconds: u64) {
    for seed in 0..scale() {
        let measured = over(link, &[kind; 8], seconds, seed);
        show(&format!("eight of {}", kind.name()), seed, &measured);
        assert!(measured.jain() >= 0.9, "{}: seed {seed}: {}", kind.name(), measured.jain());
    }
}

#[test]
fn eight_sessions_of_one_kind_share_alike() {
    // T28
    eight(Cubic, &wide_area("0%", 1), 10 * scale());
    eight(Model, &wide_area("0%", 1), 10 * scale());
    // A rack: 1 Gbit/s, 100 µs, a queue of 2 ms.
    eight(Dc, &LinkSpec::new(1_000_000_000, 50_000, 250_000), scale());
}
