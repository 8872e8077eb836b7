//! `ringwire bench` without arguments: everything, in under 40 seconds.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::super::limits::{show as show_limits, to_json as limits_json};
use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::args::CommonOptions;
use super::scenario::failure;
use super::session::{BenchSession, catch_signals, place};
use crate::bench::advice::{Facts, advise};
use crate::bench::limits::{self, Limits, Options};
use crate::bench::placement::Placement;
use crate::bench::plan::{Entry, Plan, Scenario};
use crate::bench::report::Report;
use crate::bench::share::share_of;
use crate::bench::table::show_all;

/// Measures the raw limits, runs `ping`, `rate` and `bulk` against a server of our own, and prints all.
///
/// # Errors
/// [`Failure`] when a run could not be made at all.
pub fn run(common: &CommonOptions, duration: Duration) -> Result<Status, Failure> {
    if duration < DURATION_MIN {
        return Err(Failure::usage("--duration is too short to measure anything: write 160ms or more"));
    }
    let flags = catch_signals()?;
    let placement = place(common, None)?;
    // Before the server starts: it would spin on one of the two cores.
    let limits = measure_limits(&placement, duration / LIMIT_SHARE);
    let session = BenchSession::open(flags, placement, common, None, Entry::Owned)?;
    let mut reports: Vec<Report> = Vec::new();
    for scenario in [Scenario::Ping, Scenario::Rate, Scenario::Bulk] {
        if session.is_interrupted() {
            break;
        }
        let plan = plan(scenario, session.target(), duration);
        let mut report = session.run(&plan).map_err(|error| failure(&session, &error))?;
        report.limit = share_of(&report, &limits);
        reports.push(report);
    }
    print(common, &session, &limits, &reports)?;
    Ok(match session.is_interrupted() {
        true => Status::Interrupted,
        false if reports.iter().all(Report::succeeded) => Status::Ok,
        false => Status::Failed,
    })
}

/// Of a run's 4 s, each limit's part is 250 ms: with 24 of them, well under ten seconds together.
const LIMIT_SHARE: u32 = 16;
/// A limit needs 10 ms.
const DURATION_MIN: Duration = Duration::from_millis(160);

fn measure_limits(placement: &Placement, duration_each: Duration) -> Limits {
    eprintln!("measuring the raw limits of this host");
    let cores = (!placement.shared).then(|| [placement.client[0], placement.server[0]]);
    limits::run(&Options { duration_each, cores })
}

fn print(
    common: &CommonOptions,
    session: &BenchSession,
    limits: &Limits,
    reports: &[Report],
) -> Result<(), Failure> {
    if common.json {
        let all = std::iter::once(limits_json(limits)).chain(reports.iter().map(Report::to_json));
        return print_line(&Value::Array(all.collect()).to_string());
    }
    print_line(&show_limits(limits))?;
    print_line(&show_all(reports))?;
    print_line(&format!("advice: {}", advise(&facts(session, limits, reports))))
}

fn plan(scenario: Scenario, target: SocketAddr, duration: Duration) -> Plan {
    Plan { duration, warmup: duration / 8, ..Plan::of(scenario, target) }
}

fn facts(session: &BenchSession, limits: &Limits, reports: &[Report]) -> Facts {
    let ping = reports.iter().find(|report| report.scenario == "ping").and_then(|report| report.latency);
    let segments = limits.value("gso_64_byte_segments_per_s");
    Facts {
        env: session.env().clone(),
        shared_core: session.shares_core(),
        stolen: reports.iter().filter_map(|report| report.stolen).fold(0.0, f64::max),
        crowded: reports.iter().filter_map(|report| report.crowded).fold(0.0, f64::max),
        syscall_ns: limits.value("syscall_ns"),
        wake_us: limits.value("wake_p50_us"),
        offload_gain: segments.zip(limits.value("udp_packets_per_s")).map(|(joined, single)| joined / single),
        ping_p50_us: ping.and_then(|times| times.p50),
        ping_p99_9_us: ping.and_then(|times| times.p99_9),
        lost: reports.iter().filter_map(|report| report.packets.lost).sum(),
    }
}
