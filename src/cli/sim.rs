//! `ringwire sim`: simulated networks, each a function of its seed, held against the promises.

use clap::Args;
use indicatif::ProgressBar;

use super::output::print_line;
use super::status::{Failure, Status};
use crate::sim::table::{HEADING, cells};
use crate::sim::{Runs, Seeds, run_seeds};
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
    /// Run every seed twice and fail if the two leave different traces
    #[arg(long)]
    pub twice: bool,
    /// Print instead what losses cost: loss and size of messages to goodput, p99.9 and units repeated
    #[arg(long, conflicts_with_all = ["seed", "seeds", "threads", "twice"])]
    pub table: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringwire sim                         a hundred networks from seed 1 on
  ringwire sim --seed 42 --seeds 1     replay one, as a failure's last line says
  ringwire sim --seeds 10000           the run that a release must pass";

/// The committed table, `docs/figures/sim-loss.txt`.
fn print_table() -> Result<Status, Failure> {
    print_line(&format!("{TABLE_ABOUT}\n\n{HEADING}"))?;
    for cell in cells() {
        print_line(&cell.to_string())?;
    }
    Ok(Status::Ok)
}

const TABLE_ABOUT: &str = "\
What losses cost, in the simulator: 10 Gbit/s, 20 us each way, `dc`, one session, losses in both directions. Written by
scripts/sim-table. Mbit/s: payload delivered while the sender sends what it may for 30 ms. p99.9: of 4,000 messages, one
in 500 us. Repeated: units sent again for each of the sender's packets that was lost.";

/// Runs the seeds and prints the totals.
///
/// # Errors
/// [`Failure`] for no seeds at all, or when stdout is gone.
pub fn run(args: &SimArgs) -> Result<Status, Failure> {
    if args.table {
        return print_table();
    }
    if args.seeds == 0 {
        return Err(Failure::usage("--seeds 0 runs nothing: write 1 or more"));
    }
    let threads = args.threads.unwrap_or_else(|| allowed().len()).max(1);
    let bar = ProgressBar::new(args.seeds);
    let runs = if args.twice { Runs::Twice } else { Runs::Once };
    let seeds = Seeds { first: args.seed, count: args.seeds, threads, runs };
    let summary = run_seeds(seeds, |done| bar.set_position(done));
    bar.finish_and_clear();
    print_line(&summary.to_string())?;
    Ok(if summary.is_good() { Status::Ok } else { Status::Failed })
}
