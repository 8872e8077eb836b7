//! Each planted fault is found by the simulator within 200 seeds, and the same seed without the
//! fault breaks nothing: the suite that says whether the checker would notice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use ringwire_planted::sim::{Plan, run};
use ringwire_planted::transport::planted::{Fault, arm};

const SEEDS_MAX: u64 = 200;

/// The first seed that shows `fault`, and how it showed.
fn find(fault: Fault) -> Option<(u64, String)> {
    (1..=SEEDS_MAX).find_map(|seed| {
        let broken = with(Some(fault), seed)?;
        // A seed that breaks without the fault says nothing about it.
        with(None, seed).is_none().then_some((seed, broken))
    })
}

/// What `seed` broke with `fault` armed on this thread.
fn with(fault: Option<Fault>, seed: u64) -> Option<String> {
    let _armed = arm(fault);
    match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(report) => report.violations.first().map(ToString::to_string),
        // An invariant of the engine's own noticed before an application could.
        Err(_) => Some(format!("an assertion failed in plan {:?}", Plan::new(seed).faults)),
    }
}

#[test]
fn every_planted_fault_is_found_within_200_seeds() {
    let next = AtomicUsize::new(0);
    let mut found: Vec<(Fault, Option<(u64, String)>)> = std::thread::scope(|scope| {
        let hunt = || {
            let mut found = Vec::new();
            // Relaxed: the counter hands out numbers and publishes nothing.
            while let Some(&fault) = Fault::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                found.push((fault, find(fault)));
            }
            found
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(hunt)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a hunt catches its panics")).collect()
    });
    found.sort_by_key(|(fault, _)| Fault::ALL.iter().position(|other| other == fault));
    for (fault, seen) in &found {
        match seen {
            Some((seed, how)) => println!("{fault:?}: seed {seed}: {how}"),
            None => println!("{fault:?}: not found in {SEEDS_MAX} seeds"),
        }
    }
    let missed: Vec<Fault> =
        found.iter().filter(|(_, seen)| seen.is_none()).map(|&(fault, _)| fault).collect();
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}
