//! What does one call cost two workers, without a kernel in between?
//!
//! Both ends run on this thread and are joined by memory, so a figure is the work of both: four
//! records written and read, a quarter of a packet's sealing and opening at each end, handlers,
//! bookkeeping. The handler echoes.
//!
//! Expected, from a back-of-envelope sum for 64 bytes: four records at 5 ns each way, 76 bytes copied
//! three times each way, 76 bytes of checksum four times at 5 GB/s (60 ns), two handlers and a call
//! slot (20 ns), and per packet 1 µs shared by some 200 calls: 130 to 200 ns a call. What a real socket
//! adds is the difference to `ringwire bench rate`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringwire::io::memory::Switch;

#[path = "../tests/pair_support/mod.rs"]
mod pair_support;

use pair_support::{Echo, Pair};

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    for (window, size) in [(1u64, 64usize), (256, 64), (4_096, 64), (256, 1_024)] {
        let mut pair = Pair::new(Switch::default(), Echo::default());
        let payload = vec![0x5a; size];
        // Packets reach their full size, and windows theirs, before anything is timed.
        (0..64).for_each(|_| pair.echo(window, &payload));
        group.throughput(Throughput::Elements(window));
        group.bench_function(BenchmarkId::new(format!("window {window}"), size), |bencher| {
            bencher.iter(|| pair.echo(window, &payload));
        });
    }
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
