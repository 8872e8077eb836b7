//! The simulator as a test: seeds that must pass, and the same seed twice.

use ringwire::sim::{Seeds, run, run_seeds};

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
    let trace = |threads| run_seeds(Seeds { first: 500, count: 4, threads }, |_| {}).trace;
    assert_eq!(trace(1), trace(3));
}
