//! `ringwire bench` without arguments: everything, in under 40 seconds.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::args::CommonOptions;
use super::scenario::{BULK_SIZE_DEFAULT, failure};
use super::session::BenchSession;
use crate::bench::advice::{Facts, advise};
use crate::bench::plan::{Over, Plan, Scenario};
use crate::bench::report::Report;
use crate::bench::schedule::Arrivals;
use crate::bench::table::show_all;

/// Runs `ping`, `rate` and `bulk` against a server of our own, and prints the table.
///
/// # Errors
/// [`Failure`] when a run could not be made at all.
pub fn run(common: &CommonOptions) -> Result<Status, Failure> {
    let session = BenchSession::open(common, None)?;
    let mut reports: Vec<Report> = Vec::new();
    for scenario in [Scenario::Ping, Scenario::Rate, Scenario::Bulk] {
        if session.is_interrupted() {
            break;
        }
        reports
            .push(session.run(&plan(scenario, session.target())).map_err(|error| failure(&session, &error))?);
    }
    if common.json {
        let all: Vec<_> = reports.iter().map(Report::to_json).collect();
        print_line(&serde_json::Value::Array(all).to_string())?;
    } else {
        print_line(&show_all(&reports))?;
        print_line(&format!("\nadvice: {}", advise(&facts(&session, &reports))))?;
    }
    Ok(match session.is_interrupted() {
        true => Status::Interrupted,
        false if reports.iter().all(Report::succeeded) => Status::Ok,
        false => Status::Failed,
    })
}

fn plan(scenario: Scenario, target: SocketAddr) -> Plan {
    let bulk = scenario == Scenario::Bulk;
    Plan {
        scenario,
        over: if bulk { Over::Message } else { Over::Call },
        size: if bulk { BULK_SIZE_DEFAULT as usize } else { 64 },
        duration: Duration::from_secs(4),
        warmup: Duration::from_millis(500),
        window: if scenario == Scenario::Ping { 1 } else { 256 },
        rate: None,
        arrivals: Arrivals::Paced,
        sessions: 1,
        deadline: Duration::from_secs(1),
        seed: 1,
        verify: false,
        target,
    }
}

fn facts(session: &BenchSession, reports: &[Report]) -> Facts {
    let ping = reports.iter().find(|report| report.scenario == "ping").and_then(|report| report.latency);
    Facts {
        env: session.env().clone(),
        shared_core: session.shares_core(),
        ping_p50_us: ping.and_then(|times| times.p50),
        ping_p99_9_us: ping.and_then(|times| times.p99_9),
        lost: reports.iter().filter_map(|report| report.packets.lost).sum(),
        ..Facts::default()
    }
}
