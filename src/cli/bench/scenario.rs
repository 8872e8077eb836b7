//! One scenario: plan, run, print.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::args::{BulkOver, RunOptions, ScenarioArgs};
use super::session::{BenchSession, catch_signals, place};
use crate::bench::client::RunError;
use crate::bench::flight::FLIGHT_MAX;
use crate::bench::limits::{self, Limits};
use crate::bench::payload::LABEL_SIZE;
use crate::bench::placement::Placement;
use crate::bench::plan::{Entry, Over, Plan, Scenario};
use crate::bench::report::Report;
use crate::bench::share::share_of;
use crate::bench::table::show_run;
use crate::bounds::MESSAGE_SIZE_DEFAULT;
use crate::units::show_count;

/// Runs the scenario and prints its report.
///
/// # Errors
/// [`Failure`] when there is nothing to report.
pub fn run(args: &ScenarioArgs) -> Result<Status, Failure> {
    let options = options_of(args);
    let mut plan = plan_of(args);
    check(&plan).map_err(Failure::usage)?;
    if plan.entry == Entry::Handles && options.common.impair.is_some() {
        return Err(Failure::usage(
            "--impair harms the packets of a worker that bench turns itself: write --entry owned, or leave --impair out",
        ));
    }
    let placement = place(&options.common, options.target)?;
    let flags = catch_signals()?;
    // Before the server starts: it would spin on one of the two cores.
    let limits = measure_limits(options, &placement, &plan);
    let session = BenchSession::open(
        flags,
        placement,
        &options.common,
        options.target.map(|target| (target, options.server_key)),
        plan.entry,
    )?;
    plan.target = session.target();
    if plan.scenario == Scenario::Load && plan.rate.is_none() {
        plan.rate = Some(half_of_saturation(&session, &plan)?);
    }
    let mut report = session.run(&plan).map_err(|error| failure(&session, &error))?;
    report.limit = share_of(&report, &limits);
    print_report(&report, options.common.json)?;
    Ok(status_of(&session, &report))
}

/// The raw limit that the run is a share of: none where the other end is not on a core of this host that we know, or
/// where packets are harmed on purpose.
fn measure_limits(options: &RunOptions, placement: &Placement, plan: &Plan) -> Limits {
    let (Some(&server), false) = (placement.server.first(), placement.shared) else {
        return Limits::default();
    };
    if options.common.impair.is_some() {
        return Limits::default();
    }
    let duration_each = (plan.duration / LIMIT_SHARE).clamp(LIMIT_DURATION_MIN, LIMIT_DURATION_MAX);
    let limit_options = limits::Options { duration_each, cores: Some([placement.client[0], server]) };
    limits::quick(&limit_options, plan, options.common.host.insecure.is_none())
}

/// Of a run's 4 s, each limit's part is 250 ms.
const LIMIT_SHARE: u32 = 16;
const LIMIT_DURATION_MIN: Duration = Duration::from_millis(10);
const LIMIT_DURATION_MAX: Duration = Duration::from_millis(500);

/// Prints a report the way that was asked for.
///
/// # Errors
/// [`Failure`] when stdout is gone.
pub fn print_report(report: &Report, json: bool) -> Result<(), Failure> {
    let text = if json { report.to_json().to_string() } else { show_run(report) };
    if json && !report.is_valid() {
        report.invalid_why.iter().for_each(|why| eprintln!("not valid: {why}"));
    }
    print_line(&text)
}

/// How a command ends that made this report.
#[must_use]
pub fn status_of(session: &BenchSession, report: &Report) -> Status {
    match (session.is_interrupted(), report.succeeded()) {
        (true, _) => Status::Interrupted,
        (false, true) => Status::Ok,
        (false, false) => Status::Failed,
    }
}

/// How a command ends whose run came to nothing.
#[must_use]
pub fn failure(session: &BenchSession, error: &RunError) -> Failure {
    let status = if session.is_interrupted() { Status::Interrupted } else { Status::Failed };
    Failure { text: error.to_string(), status }
}

fn options_of(args: &ScenarioArgs) -> &RunOptions {
    match args {
        ScenarioArgs::Ping(args) => &args.run,
        ScenarioArgs::Rate(args) => &args.run,
        ScenarioArgs::Load(args) => &args.run,
        ScenarioArgs::Bulk(args) => &args.run,
    }
}

fn plan_of(args: &ScenarioArgs) -> Plan {
    let load = &options_of(args).load;
    let plan = |scenario, window: u32| {
        // The session fills it in once the server listens.
        let usual = Plan::of(scenario, NO_TARGET);
        Plan {
            size: load.size.map_or(usual.size, |size| size as usize),
            duration: load.duration,
            warmup: load.warmup,
            window: window as usize,
            sessions: load.sessions as usize,
            lanes: load.lanes as usize,
            deadline: load.deadline,
            seed: load.seed,
            verify: load.verify,
            entry: options_of(args).entry.into(),
            ..usual
        }
    };
    match args {
        ScenarioArgs::Ping(args) => plan(Scenario::Ping, args.window),
        ScenarioArgs::Rate(args) => plan(Scenario::Rate, args.window),
        ScenarioArgs::Load(args) => {
            Plan { rate: args.rate, arrivals: args.arrivals.into(), ..plan(Scenario::Load, args.window) }
        }
        ScenarioArgs::Bulk(args) => Plan {
            over: if args.over == BulkOver::Call { Over::Call } else { Over::Message },
            ..plan(Scenario::Bulk, args.window)
        },
    }
}

const NO_TARGET: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// What parses but cannot be run. The text says what to write instead.
fn check(plan: &Plan) -> Result<(), String> {
    if plan.size as u64 > MESSAGE_SIZE_DEFAULT {
        return Err(format!(
            "--size {}: the largest message is {MESSAGE_SIZE_DEFAULT} bytes, write 64MiB or less",
            plan.size
        ));
    }
    if plan.duration < DURATION_MIN {
        return Err(format!(
            "--duration {:?} is too short to measure anything: write 10ms or more",
            plan.duration
        ));
    }
    if plan.deadline.is_zero() {
        return Err("--deadline 0: no call can be answered in no time, write for example 1s".into());
    }
    if plan.sessions.saturating_mul(plan.lanes).saturating_mul(plan.window) > FLIGHT_MAX {
        return Err(format!(
            "--sessions {} of --lanes {} with --window {}: at most {FLIGHT_MAX} calls in flight, lower one",
            plan.sessions, plan.lanes, plan.window
        ));
    }
    let labelled = plan.over == Over::Message && plan.verify;
    if labelled && plan.size < LABEL_SIZE {
        return Err(format!(
            "--verify: a one-way message names its contents in {LABEL_SIZE} bytes, write --size {LABEL_SIZE} or more"
        ));
    }
    Ok(())
}

const DURATION_MIN: Duration = Duration::from_millis(10);

/// An open loop without a rate takes half of what a closed one reaches in a second.
fn half_of_saturation(session: &BenchSession, plan: &Plan) -> Result<f64, Failure> {
    let saturation = Plan {
        scenario: Scenario::Rate,
        window: SATURATION_WINDOW,
        duration: Duration::from_secs(1),
        warmup: Duration::from_millis(250),
        ..plan.clone()
    };
    let report = session.run(&saturation).map_err(|error| failure(session, &error))?;
    let per_s = report.per_s();
    if !report.succeeded() || per_s <= 0.0 {
        let why = report.invalid_why.join("; ");
        return Err(Failure {
            text: format!(
                "no rate was given, and saturating the server to find one failed ({why}): write --rate"
            ),
            status: status_of(session, &report),
        });
    }
    eprintln!("saturated at {}/s: half of that is offered", show_count(per_s));
    Ok(per_s / 2.0)
}

/// Calls in flight that saturate a session.
const SATURATION_WINDOW: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::of(Scenario::Rate, NO_TARGET)
    }

    #[test]
    fn a_plan_that_cannot_be_run_says_what_to_write() {
        assert_eq!(check(&plan()), Ok(()));
        let bad = [
            Plan { size: 1 << 40, ..plan() },
            Plan { duration: Duration::from_millis(1), ..plan() },
            Plan { deadline: Duration::ZERO, ..plan() },
            Plan { sessions: 65_536, window: 16_000, ..plan() },
            Plan { over: Over::Message, verify: true, size: 8, ..plan() },
        ];
        for plan in bad {
            let text = check(&plan).expect_err("cannot be run");
            assert!(text.contains("write") || text.contains("lower"), "{text}");
        }
    }
}
