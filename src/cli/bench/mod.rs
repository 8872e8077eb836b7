//! `ringwire bench`: turns its command line into runs, and prints them.

mod args;
mod main_job;
mod progress;
mod scenario;
mod session;

pub use args::BenchArgs;

use super::status::{Failure, Status};

/// Runs the main job, or one scenario.
///
/// # Errors
/// [`Failure`] when there is nothing to report.
pub fn run(args: &BenchArgs) -> Result<Status, Failure> {
    match &args.scenario {
        None => main_job::run(&args.common, args.duration),
        Some(scenario) => scenario::run(scenario),
    }
}
