//! The simulator as a test: seeds that must pass, and the same seed twice.

use ringwire::sim::{Runs, Seeds, run, run_seeds};

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in [1, 2, 3, 77, 1_000_003] {
        let (a, b) = (run(seed), run(seed));
        assert_eq!(a.trace, b.trace, "seed {seed}");
        assert_eq!(a.engine, b.engine, "seed {seed}");
        assert_eq!(a.virtual_ns, b.virtual_ns, "seed {seed}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let trace = |threads| run_seeds(Seeds { first: 500, count: 4, threads, runs: Runs::Twice }, |_| {}).trace;
    assert_eq!(trace(1), trace(3));
}

/// The first seeds of many; `docs/evidence/4-sim-long.txt` holds a run of ten thousand. A failure prints
/// the line that replays its seed.
#[test]
fn every_promise_holds_on_every_seed_and_the_work_is_real() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = run_seeds(Seeds { first: 1, count: 200, threads, runs: Runs::Once }, |_| {});
    assert!(summary.is_good(), "{summary}");
}
