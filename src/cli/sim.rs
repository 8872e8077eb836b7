//! `ringwire sim`: simulated networks, each a function of its seed, held against the promises.

use clap::Args;
use indicatif::ProgressBar;

use super::output::print_line;
use super::status::{Failure, Status};
use crate::sim::{Seeds, run_seeds};
use crate::sys::cores::allowed;

/// `ringwire sim`.
#[derive(Args, Clone, Debug)]
#[command(
    about = "Run simulated networks and hold what applications saw against every promise",
    after_help = EXAMPLES,
)]
pub struct SimArgs {
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many seeds to run, counting up
    #[arg(long, value_name = "K", default_value_t = 100)]
    pub seeds: u64,
    /// Threads to run them on; a seed's result does not depend on it [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

const EXAMPLES: &str = "\
Examples:
  ringwire sim                         a hundred networks from seed 1 on
  ringwire sim --seed 42 --seeds 1     replay one, as a failure's last line says
  ringwire sim --seeds 1000            the run that a release must pass";

/// Runs the seeds and prints the totals.
///
/// # Errors
/// [`Failure`] for no seeds at all, or when stdout is gone.
pub fn run(args: &SimArgs) -> Result<Status, Failure> {
    if args.seeds == 0 {
        return Err(Failure::usage("--seeds 0 runs nothing: write 1 or more"));
    }
    let threads = args.threads.unwrap_or_else(|| allowed().len()).max(1);
    let bar = ProgressBar::new(args.seeds);
    let summary = run_seeds(Seeds { first: args.seed, count: args.seeds, threads }, |done| {
        bar.set_position(done);
    });
    bar.finish_and_clear();
    print_line(&summary.to_string())?;
    Ok(if summary.is_good() { Status::Ok } else { Status::Failed })
}
