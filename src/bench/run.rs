//! One run: client threads on their cores, one window for all, one report.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use super::client::{Client, Measured, Note, RunError, Shared};
use super::env::{Environment, stolen_ns};
use super::host::{Host, Place, random_u64};
use super::plan::{Over, Plan, Scenario};
use super::quiet::{self, Quiet};
use super::recorder::Window;
use super::report::{Packets, Report, Sides};
use super::validity::{Circumstances, reasons};
use crate::time::{Clock, MonotonicClock};
use crate::worker::IdlePolicy;

/// A run and who watches it.
pub struct Run<'a> {
    /// The load.
    pub plan: &'a Plan,
    /// This end.
    pub host: &'a Host,
    /// Cores of the client threads, one each.
    pub cores: &'a [usize],
    /// Cores of the threads that call through handles, one for each client thread; empty where those turn their
    /// workers themselves.
    pub callers: &'a [usize],
    /// Cores of the server, where they are on this host.
    pub server_cores: Option<&'a [usize]>,
    /// The host.
    pub env: &'a Environment,
    /// True once the run is to end early.
    pub is_interrupted: &'a dyn Fn() -> bool,
    /// Told now and then how far the run is.
    pub on_progress: &'a dyn Fn(Progress),
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Share of the whole run that has passed, warm-up included, 0 to 1.
    pub share: f64,
    /// Calls or messages completed so far.
    pub completed: u64,
}

/// How often the watching thread looks.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Between the last thread's connecting and the first call: all threads see the window before it opens.
const START_DELAY_NS: u64 = 2_000_000;

impl Run<'_> {
    /// Runs the load and reports.
    ///
    /// # Errors
    /// [`RunError`] when no load could be run at all. A load that fails is a report.
    pub fn report(&self) -> Result<Report, RunError> {
        let shared = Shared::default();
        let boot_id = random_u64()?;
        let clock = MonotonicClock;
        std::thread::scope(|scope| {
            let (sender, notes) = mpsc::channel();
            for (index, core) in self.cores.iter().enumerate() {
                let place = Place { index: index as u8, core: Some(*core), boot_id };
                let client = Client {
                    plan: self.plan,
                    host: self.host,
                    place,
                    caller_core: self.callers.get(index).copied(),
                    workers: self.cores.len(),
                    clock,
                    shared: &shared,
                };
                let sender = sender.clone();
                scope.spawn(move || client.run(&sender));
            }
            drop(sender);
            let result = self.watch(&shared, clock, &notes);
            // Whatever went wrong, no thread outlives the run.
            shared.end();
            result
        })
    }

    fn watch(
        &self,
        shared: &Shared,
        clock: MonotonicClock,
        notes: &Receiver<Note>,
    ) -> Result<Report, RunError> {
        for _ in self.cores {
            match self.next_note(shared, notes, |_| {})? {
                Note::Connected => {}
                Note::Failed(error) => return Err(error),
                Note::Done(_) => unreachable!("a thread is done only after the window was set"),
            }
        }
        let begin = clock.now().after_ns(START_DELAY_NS);
        let start = begin.after(self.plan.warmup);
        let window = Window { start, end: start.after(self.plan.duration) };
        let cores = self.watched_cores();
        let stolen_before = stolen_ns(&cores);
        shared.window.set(window).expect("the window is set once");
        let mut all: Vec<Measured> = Vec::new();
        let length_ns = window.end.since_ns(begin).max(1) as f64;
        while all.len() < self.cores.len() {
            let note = self.next_note(shared, notes, |completed| {
                let share = (clock.now().since_ns(begin) as f64 / length_ns).min(1.0);
                (self.on_progress)(Progress { share, completed });
            })?;
            match note {
                Note::Done(measured) => all.push(*measured),
                Note::Failed(error) => return Err(error),
                Note::Connected => unreachable!("every thread connected before the window was set"),
            }
        }
        let stolen = stolen_ns(&cores).zip(stolen_before).map(|(after, before)| {
            let available = clock.now().since_ns(begin).max(1) as f64 * cores.len() as f64;
            after.saturating_sub(before) as f64 / available
        });
        Ok(self.compose(all, stolen))
    }

    /// Waits for a note, keeping an eye on the interrupt.
    fn next_note(
        &self,
        shared: &Shared,
        notes: &Receiver<Note>,
        meanwhile: impl Fn(u64),
    ) -> Result<Note, RunError> {
        loop {
            match notes.recv_timeout(WATCH_INTERVAL) {
                Ok(note) => return Ok(note),
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::Died),
                Err(RecvTimeoutError::Timeout) => {
                    if (self.is_interrupted)() {
                        shared.end();
                    }
                    meanwhile(shared.completed.load(Ordering::Relaxed));
                }
            }
        }
    }

    fn watched_cores(&self) -> Vec<usize> {
        let mut cores: Vec<usize> =
            self.cores.iter().chain(self.callers).chain(self.server_cores.unwrap_or(&[])).copied().collect();
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    /// One report of what all threads measured.
    fn compose(&self, all: Vec<Measured>, stolen: Option<f64>) -> Report {
        let plan = self.plan;
        let mut all = all.into_iter();
        let mut first = all.next().expect("a run has at least one thread");
        let mut report = Report {
            scenario: plan.scenario.name(),
            over: plan.over.name(),
            entry: plan.entry.name(),
            callers: (!self.callers.is_empty()).then(|| self.callers.to_vec()),
            size: plan.size as u64,
            window: (plan.over == Over::Call).then_some(plan.window as u64),
            sessions: plan.sessions as u64,
            lanes: plan.lanes as u64,
            target: plan.target.to_string(),
            backend: first.backend.clone(),
            congestion: self.host.congestion.name(),
            poll: poll_name(self.host.idle),
            packet_size: first.packet_size.map(|size| size as u64),
            packets: first.balance.packets,
            skipped: first.skipped,
            offered_per_s: plan.rate.filter(|_| plan.scenario == Scenario::Load),
            env: self.env.clone(),
            ..Report::default()
        };
        report.cpu_s.client = Some(first.balance.cpu_s);
        report.cores =
            Sides { client: Some(self.cores.to_vec()), server: self.server_cores.map(<[usize]>::to_vec) };
        let mut losses = vec![first.balance.losses];
        let mut worker_cpu_s = first.balance.worker_cpu_s;
        let (mut delivered, mut cut_short) = (first.delivered, first.cut_short.take());
        for other in all {
            first.recorder.merge(other.recorder);
            report.packets = report.packets.plus(other.balance.packets);
            losses.push(other.balance.losses);
            worker_cpu_s += other.balance.worker_cpu_s;
            report.cpu_s.client = report.cpu_s.client.map(|sum| sum + other.balance.cpu_s);
            report.skipped = report.skipped.zip(other.skipped).map(|(a, b)| a + b);
            delivered = delivered.zip(other.delivered).map(|(a, b)| a.plus(b));
            cut_short = cut_short.or(other.cut_short);
        }
        take_server(&mut report, &first, &losses);
        report.tally = *first.recorder.tally();
        report.seconds =
            delivered.map_or_else(|| first.recorder.window().seconds(), |delivered| delivered.seconds);
        if plan.over == Over::Call {
            report.latency = Some(first.recorder.latency());
            report.service = first.recorder.service();
        }
        report.goodput_bit_s = goodput(plan, &report, delivered.map(|delivered| delivered.bytes));
        report.verified = plan.verify.then_some(report.tally.checked > 0 && report.tally.mismatched == 0);
        report.stolen = stolen;
        report.crowded = self.crowded(&report, worker_cpu_s);
        report.invalid_why = reasons(&report, &Circumstances { cut_short });
        report
    }
}

impl Run<'_> {
    /// A worker that never sleeps uses its core whole, together with the thread that calls where that has the same,
    /// unless it has to share it with others.
    fn crowded(&self, report: &Report, worker_cpu_s: f64) -> Option<f64> {
        let with_server =
            self.server_cores.is_some_and(|server| self.cores.iter().any(|one| server.contains(one)));
        let spins = match self.host.idle {
            IdlePolicy::Spin => true,
            // What a server on this core takes was offered to it.
            IdlePolicy::Yield => !with_server,
            IdlePolicy::Adaptive | IdlePolicy::Park => false,
        };
        let wanted = report.seconds * self.cores.len() as f64;
        let used = if self.callers == self.cores { report.cpu_s.client? } else { worker_cpu_s };
        let had = Some(used).filter(|_| spins && wanted > 0.0)?;
        Some((1.0 - had / wanted).max(0.0))
    }
}

/// The server's part: what it counted between its two answers. Unknown where it gave none.
fn take_server(report: &mut Report, measured: &Measured, losses: &[Option<(Quiet, Quiet)>]) {
    let Some((start, end)) = &measured.balance.server else {
        report.packets = Packets::default();
        return;
    };
    report.packets = report.packets.plus(end.packets.since(start.packets));
    let looks: Option<Vec<(Quiet, Quiet)>> = losses.iter().copied().collect();
    report.losses = looks.map(|looks| quiet::ledger(&looks));
    report.cpu_s.server = end.cpu_s.zip(start.cpu_s).map(|(end, start)| end - start);
    report.cores.server = end.cores.clone();
}

/// Payload bits a second: one way, as delivered.
fn goodput(plan: &Plan, report: &Report, bytes: Option<u64>) -> Option<f64> {
    if report.seconds <= 0.0 {
        return None;
    }
    let bytes = match plan.over {
        Over::Message => bytes? as f64,
        Over::Call => report.tally.completed_in_window as f64 * plan.size as f64,
    };
    Some(bytes * 8.0 / report.seconds)
}

fn poll_name(idle: IdlePolicy) -> &'static str {
    match idle {
        IdlePolicy::Spin => "spin",
        IdlePolicy::Yield => "yield",
        IdlePolicy::Adaptive => "adaptive",
        IdlePolicy::Park => "park",
    }
}
