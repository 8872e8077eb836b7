//! Many seeds: run in parallel, each on one thread, and added up into a verdict.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sim::checker::{Promise, Totals, Violation};
use crate::sim::crash::{CrashPoint, Crashes};
use crate::sim::overtaking::OvertakingCounters;
use crate::sim::run::{Partitions, RunReport, run};
use crate::sim::swarm::FaultKind;
use crate::time::Timestamp;
use crate::transport::Counters;
use crate::worker::impair::ImpairCounters;

/// Which seeds to run.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Threads to run them on.
    pub threads: usize,
    /// How often each is run.
    pub runs: Runs,
}

/// How often each seed is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runs {
    /// Once.
    #[default]
    Once,
    /// Twice, and the two must leave the same trace.
    Twice,
}

/// What a number of seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The first seed.
    pub first: u64,
    /// Seeds run.
    pub seeds: u64,
    /// What the engines counted.
    pub engine: Counters,
    /// What the networks did.
    pub network: ImpairCounters,
    /// In how many seeds each kind of fault was on, in their order.
    pub on: [u64; FaultKind::ALL.len()],
    /// How far packets were overtaken.
    pub overtaken: OvertakingCounters,
    /// Partitions of the networks.
    pub partitions: Partitions,
    /// Packets that met one.
    pub parted: u64,
    /// Where processes died.
    pub crashes: Crashes,
    /// Packets that found a receive buffer full.
    pub inbox_drops: u64,
    /// What applications did and saw.
    pub totals: Totals,
    /// Processes killed and started again.
    pub restarts: u64,
    /// The fewest packets of one seed.
    pub packets_min: u64,
    /// Which seed that was.
    pub packets_min_seed: u64,
    /// The longest time from the end of faults until nothing was pending, in virtual nanoseconds.
    pub calm_ns_max: u64,
    /// The most of its allowance (five probe timeouts and the transfer) that a seed took until nothing was pending
    /// between two that lived on, in per cent.
    pub allowed_pct_max: u64,
    /// Virtual nanoseconds in all.
    pub virtual_ns: u128,
    /// The traces of all seeds, folded in their order.
    pub trace: u64,
    /// The reports of the seeds that broke a promise, in their order.
    pub failed: Vec<RunReport>,
}

/// Runs `seeds`, calling `progress` with the number done after each. The summary does not depend on
/// the number of threads.
pub fn run_seeds(seeds: Seeds, progress: impl Fn(u64) + Sync) -> Summary {
    let next = AtomicU64::new(0);
    let done = Mutex::new((0, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..seeds.threads.max(1) {
            scope.spawn(|| {
                // Relaxed: the counter hands out numbers and publishes nothing.
                while let offset = next.fetch_add(1, Ordering::Relaxed)
                    && offset < seeds.count
                {
                    let report = run_as(seeds.first.wrapping_add(offset), seeds.runs);
                    let mut done = done.lock().expect("a thread that panics ends the scope");
                    done.0 += 1;
                    done.1.push((offset, report));
                    progress(done.0);
                }
            });
        }
    });
    let (_, mut reports) = done.into_inner().expect("a thread that panics ends the scope");
    reports.sort_by_key(|&(offset, _)| offset);
    let mut summary = Summary { first: seeds.first, packets_min: u64::MAX, ..Summary::default() };
    reports.into_iter().for_each(|(_, report)| summary.add(report));
    summary
}

/// A second run that goes another way is a broken promise of the simulator's own.
fn run_as(seed: u64, runs: Runs) -> RunReport {
    let mut report = run(seed);
    if runs == Runs::Twice {
        let again = run(seed);
        let same = (report.trace, report.virtual_ns, report.engine, report.totals)
            == (again.trace, again.virtual_ns, again.engine, again.totals);
        if !same {
            report.violations.push(Violation {
                at: Timestamp(report.virtual_ns),
                promise: Promise::Replay,
                what: format!("two runs left the traces {:016x} and {:016x}", report.trace, again.trace),
            });
        }
    }
    report
}

impl Summary {
    fn add(&mut self, report: RunReport) {
        self.seeds += 1;
        self.engine = self.engine.plus(&report.engine);
        self.network += report.network;
        for (count, kind) in self.on.iter_mut().zip(FaultKind::ALL) {
            *count += u64::from(report.on.has(kind));
        }
        self.overtaken += report.overtaken;
        self.partitions += report.partitions;
        self.parted += report.parted;
        self.crashes += report.crashes;
        self.inbox_drops += report.inbox_drops;
        self.totals += report.totals;
        self.restarts += report.restarts;
        self.calm_ns_max = self.calm_ns_max.max(report.calm_ns);
        self.allowed_pct_max = self.allowed_pct_max.max(report.repair_ns * 100 / report.allowed_ns.max(1));
        self.virtual_ns += u128::from(report.virtual_ns);
        self.trace = (self.trace ^ report.trace).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        if report.violations.is_empty() {
            // A broken run ends early: its packets say nothing about the work of a whole one.
            if report.network.packets < self.packets_min {
                (self.packets_min, self.packets_min_seed) = (report.network.packets, report.seed);
            }
        } else {
            self.failed.push(report);
        }
    }

    /// How often each event happened that proves the work was real, by name.
    #[must_use]
    pub fn events(&self) -> Vec<(&'static str, u64)> {
        let (engine, network) = (&self.engine, &self.network);
        let mut events = vec![
            ("packets lost", network.lost),
            ("packets duplicated", network.duplicated),
            ("packets reordered", network.reordered),
            ("packets held back for later ones to pass", self.overtaken.held),
            ("packets overtaken by a hundred or more", self.overtaken.by_hundred),
            ("packets corrupted", network.corrupted),
            ("packets that met a partition", self.parted),
            ("partitions of both directions", self.partitions.both_ways),
            ("partitions of one direction", self.partitions.one_way),
            ("partitions that outlast a session", self.partitions.severing),
            ("units retransmitted", engine.retransmitted),
            ("spurious retransmits", engine.spurious),
            ("repairing probes", engine.probes_repairing),
            ("duplicate units", engine.duplicate_units),
            ("unit window full", engine.window_full),
            ("GRANT waits", engine.grant_waits),
            ("BLOCKED", engine.blocked),
            ("active blocks returned when idle", engine.idle_returns),
            ("lanes opened", engine.lanes_opened),
            ("lanes refused", engine.lanes_refused),
            ("keys updated", engine.key_updates),
            ("restarts", self.restarts),
        ];
        events.extend(CrashPoint::ALL.map(|point| (point.name(), self.crashes.at(point))));
        events
    }

    /// The events that a run this long must have seen and did not. Short runs owe none.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        if self.seeds < SEEDS_OWING_EVENTS {
            return Vec::new();
        }
        self.events().into_iter().filter(|&(_, count)| count == 0).map(|(name, _)| name).collect()
    }

    /// True when every promise held and the work was real: the command's exit status 0.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.missing().is_empty() && self.packets_min >= PACKETS_PER_SEED_MIN
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { messages, messages_delivered, messages_reported, .. } = self.totals;
        let Totals { calls, calls_run, calls_replied, calls_timed_out, calls_ended, datagrams, .. } =
            self.totals;
        writeln!(f, "seeds {} from {}, trace {:016x}", self.seeds, self.first, self.trace)?;
        let on: Vec<String> = FaultKind::ALL
            .iter()
            .zip(self.on)
            .map(|(kind, count)| format!("{} {count}", kind.name()))
            .collect();
        writeln!(f, "seeds with faults of each kind on: {}", on.join(", "))?;
        // Nothing but broken seeds: none of them was run whole.
        let least = if self.packets_min == u64::MAX { 0 } else { self.packets_min };
        writeln!(f, "{:>12}  packets, {least} at least in each whole seed", self.network.packets)?;
        for (name, count) in self.events() {
            writeln!(f, "{count:>12}  {name}")?;
        }
        writeln!(f, "{:>12}  packets dropped at a full receive buffer", self.inbox_drops)?;
        writeln!(
            f,
            "{messages:>12}  messages: {messages_delivered} delivered, {messages_reported} reported unknown or not sent"
        )?;
        writeln!(
            f,
            "{calls:>12}  calls: {calls_run} ran, {calls_replied} replied, {calls_timed_out} timed out, \
             {calls_ended} ended otherwise"
        )?;
        writeln!(f, "{datagrams:>12}  datagrams delivered")?;
        writeln!(
            f,
            "{:>12}  ms at most until all was done after faults stopped; between the living {} % of what is allowed",
            self.calm_ns_max / 1_000_000,
            self.allowed_pct_max
        )?;
        writeln!(f, "{:>12}  s of virtual time", self.virtual_ns / 1_000_000_000)?;
        let broken: usize = self.failed.iter().map(|report| report.violations.len()).sum();
        write!(f, "{broken:>12}  violations")?;
        for report in &self.failed {
            write!(
                f,
                "\n\nseed {} broke a promise; replay: ringwire sim --seed {} --seeds 1",
                report.seed, report.seed
            )?;
            for violation in &report.violations {
                write!(f, "\n  {violation}")?;
            }
        }
        for name in self.missing() {
            write!(f, "\nnever happened: {name}; the work was not real")?;
        }
        if self.packets_min < PACKETS_PER_SEED_MIN {
            write!(
                f,
                "\nseed {} sent {} packets, fewer than {PACKETS_PER_SEED_MIN}",
                self.packets_min_seed, self.packets_min
            )?;
        }
        Ok(())
    }
}

/// From so many seeds on, every listed event must have happened.
const SEEDS_OWING_EVENTS: u64 = 100;
/// A seed that sends fewer packets proves little.
const PACKETS_PER_SEED_MIN: u64 = 5_000;
