//! What the tests are set in, and the one line each prints.

use std::time::Duration;

use ringwire::sim::experiment::{Experiment, Flow, Measured, host};
use ringwire::sim::link::LinkSpec;
use ringwire::sim::topology::Topology;
use ringwire::transport::{Config, CongestionKind};

/// Bytes of UDP payload in a packet on Ethernet over IPv6.
pub const PACKET: usize = 1_452;
/// What of a full packet is the application's: less header, tag, fragment head and room for signals (P-1.2, P-3.7).
pub const PAYLOAD: f64 = (PACKET - 20 - 16 - 56 - 4) as f64 / PACKET as f64;

/// How much longer, or how many more seeds: 1 in the suite.
pub fn scale() -> u64 {
    if std::env::var_os("RINGWIRE_LONG").is_some() { 6 } else { 1 }
}

/// 100 Mbit/s, 10 ms, a queue of one bandwidth-delay product; `loss` by chance, each way.
pub fn wide_area(loss: &str, seed: u64) -> LinkSpec {
    let impair = format!("loss={loss},seed={seed}").parse().expect("a good spec");
    LinkSpec::new(100_000_000, 4_980_000, WIDE_QUEUE).with_impairment(impair)
}

/// Bytes that queue holds.
pub const WIDE_QUEUE: u64 = 125_000;

/// An endless flow of each kind over one bottleneck, each between hosts of its own.
pub fn over(bottleneck: &LinkSpec, kinds: &[CongestionKind], seconds: u64, seed: u64) -> Measured {
    let pairs = kinds.len();
    let edge = LinkSpec::new(10_000_000_000, 10_000, 16 << 20);
    let (topology, middle) = Topology::dumbbell(pairs, &edge, bottleneck);
    let config = |index: usize| Config { congestion: kinds[index % pairs], ..host() };
    let experiment = Experiment {
        seed,
        topology,
        packet_size: PACKET,
        receive_buffer_size: 8 << 20,
        hosts: (0..2 * pairs).map(config).collect(),
        flows: (0..pairs).map(|pair| Flow::endless(pair, pairs + pair)).collect(),
        limit: Duration::from_secs(seconds),
        warm_up: Duration::from_millis(seconds.min(8) * 250),
    };
    experiment.run(middle)
}

/// One line of figures.
pub fn show(name: &str, seed: u64, measured: &Measured) {
    let mut flows: Vec<String> =
        (0..measured.flows.len()).map(|flow| format!("{:.1}", measured.goodput_bit_s(flow) / 1e6)).collect();
    if flows.len() > 8 {
        flows = vec![format!("{:.1}", measured.goodput_sum_bit_s() / 1e6)];
    }
    let watched = measured.watched();
    println!(
        "{name}: seed {seed}: {} Mbit/s of payload, {:.1} on the link; queue {:.0} B mean, {} B at most; dropped {}, \
         marked {}; lost {:?}; sent again per lost {:.3}; spurious {}; Jain {:.3}",
        flows.join(" "),
        watched.bytes_sent as f64 * 8e3 / measured.measured_ns as f64,
        measured.queue_mean(),
        watched.queue_size_max,
        watched.dropped,
        watched.marked,
        measured.lost,
        measured.retransmitted_per_lost(),
        measured.engine.spurious,
        measured.jain(),
    );
}
