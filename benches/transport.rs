//! What do the engine's leaves cost when nothing goes wrong?
//!
//! Expected: in order, each of these is a few compares and one store in memory that is in cache. A
//! packet number noted: 2 to 5 ns. A unit admitted: below 3 ns, for only the floor moves. A timer
//! moved later: one store, 1 to 2 ns; that is what each ack does to the probe timer. A slab slot taken
//! and put back: 2 to 4 ns. All of them happen once a packet, which takes about a microsecond.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringwire::rings::Slab;
use ringwire::time::Timestamp;
use ringwire::transport::received::Received;
use ringwire::transport::timer_wheel::TimerWheel;
use ringwire::transport::unit_window::UnitWindow;

fn leaves(criterion: &mut Criterion) {
    criterion.bench_function("received/in order", |bencher| {
        let (mut received, mut number) = (Received::new(), 0);
        bencher.iter(|| {
            black_box(received.check(number));
            let _ = black_box(received.insert(number));
            number += 1;
        });
    });
    criterion.bench_function("unit_window/in order", |bencher| {
        let (mut window, mut unit) = (UnitWindow::new(4_096), 0);
        bencher.iter(|| {
            black_box(window.check(unit));
            window.insert(unit);
            unit += 1;
        });
    });
    criterion.bench_function("timer_wheel/moved later", |bencher| {
        let (mut wheel, mut at) = (TimerWheel::new(), 1_000_000);
        wheel.arm(7, Timestamp(at));
        bencher.iter(|| {
            at += 100;
            wheel.arm(black_box(7), Timestamp(at));
        });
    });
    criterion.bench_function("slab/taken and put back", |bencher| {
        let mut slab = Slab::new(64);
        bencher.iter(|| {
            let slot = slab.take(1).expect("one is out at a time");
            slab.put(black_box(slot));
        });
    });
}

criterion_group!(benches, leaves);
criterion_main!(benches);
