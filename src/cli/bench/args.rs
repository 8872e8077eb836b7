//! The command line of `ringwire bench`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::super::options::{HostOptions, LoadOptions, parse_target};
use crate::bench::placement::CoreList;
use crate::bench::plan::Entry;
use crate::bench::schedule::Arrivals;
use crate::crypto::PublicKey;
use crate::units::{parse_rate, parse_time};
use crate::worker::impair::ImpairSpec;

/// `ringwire bench`.
#[derive(Args, Clone, Debug)]
#[command(
    about = "Measure this host: raw limits, round trip, rate and bulk against a server of its own",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_help_heading = "Scenarios",
    subcommand_value_name = "SCENARIO"
)]
pub struct BenchArgs {
    /// One of the four alone
    #[command(subcommand)]
    pub scenario: Option<ScenarioArgs>,
    /// Length of each run when no scenario is named; each raw limit gets a sixteenth of it
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = parse_time)]
    pub duration: Duration,
    /// How the runs are done when no scenario is named.
    #[command(flatten)]
    pub common: CommonOptions,
}

const EXAMPLES: &str = "\
Examples:
  ringwire bench                                            everything, in under 40 seconds
  ringwire bench rate --size 64 --window 256 --duration 4s  calls a second, 256 in flight
  ringwire bench load 10.0.0.2 --rate 500k --json           latency at a fixed rate, for a script";

/// What each run takes beside its load.
#[derive(Args, Clone, Debug)]
pub struct CommonOptions {
    /// This host's end.
    #[command(flatten)]
    pub host: HostOptions,
    /// Cores of the server that bench starts, one worker each
    #[arg(long, value_name = "LIST", help_heading = "Host")]
    pub server_cores: Option<CoreList>,
    /// Harm packets, each direction separately: loss=1%,delay=1ms,jitter=…,dup=…,reorder=…,corrupt=…,rate=…,queue=…,seed=7
    #[arg(long, value_name = "SPEC", help_heading = "Host")]
    pub impair: Option<ImpairSpec>,
    /// Print JSON on one line of stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `ringwire bench SCENARIO`.
#[derive(Clone, Debug, Subcommand)]
pub enum ScenarioArgs {
    /// One call in flight: the round trip
    #[command(after_help = PING_EXAMPLES)]
    Ping(PingArgs),
    /// A closed loop: calls a second with a window in flight
    #[command(after_help = RATE_EXAMPLES)]
    Rate(RateArgs),
    /// An open loop: latency at a fixed rate, from the intended send time
    #[command(after_help = LOAD_EXAMPLES)]
    Load(LoadArgs),
    /// One-way goodput
    #[command(after_help = BULK_EXAMPLES)]
    Bulk(BulkArgs),
}

/// Who is called, and with what.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// A running `ringwire serve`; without it bench starts its own on loopback
    #[arg(value_name = "TARGET", value_parser = parse_target)]
    pub target: Option<SocketAddr>,
    /// Who TARGET must be: the key that `ringwire serve` prints; needed for another host
    #[arg(long, value_name = "KEY", requires = "target", conflicts_with = "insecure")]
    pub server_key: Option<PublicKey>,
    /// Who hands the load to the worker
    #[arg(long, value_enum, value_name = "HOW", default_value = "owned", help_heading = "Load")]
    pub entry: EntryArg,
    /// The load.
    #[command(flatten)]
    pub load: LoadOptions,
    /// The rest.
    #[command(flatten)]
    pub common: CommonOptions,
}

/// Who hands the load to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EntryArg {
    /// The thread that turns it
    Owned,
    /// Another thread, through an endpoint's handles, as most programs do
    Handles,
}

impl From<EntryArg> for Entry {
    fn from(arg: EntryArg) -> Entry {
        match arg {
            EntryArg::Owned => Entry::Owned,
            EntryArg::Handles => Entry::Handles,
        }
    }
}

/// One call slot of the peer's is left for asking the server about itself.
const WINDOW_MAX: i64 = crate::bounds::CALL_SLOTS_DEFAULT as i64 - 1;

/// `ringwire bench ping`.
#[derive(Args, Clone, Debug)]
pub struct PingArgs {
    #[command(flatten)]
    pub run: RunOptions,
    /// One: more in flight is `bench rate`
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1), hide = true)]
    pub window: u32,
}

/// `ringwire bench rate`.
#[derive(Args, Clone, Debug)]
pub struct RateArgs {
    #[command(flatten)]
    pub run: RunOptions,
    /// Calls in flight per session
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=WINDOW_MAX), help_heading = "Load")]
    pub window: u32,
}

/// `ringwire bench load`.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    #[command(flatten)]
    pub run: RunOptions,
    /// Calls a second over all sessions [default: half of a saturation measured for 1 s]
    #[arg(long, value_name = "RATE", value_parser = parse_rate, help_heading = "Load")]
    pub rate: Option<f64>,
    /// Most calls in flight per session: what is due beyond it waits, and its latency counts
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(1..=WINDOW_MAX), help_heading = "Load")]
    pub window: u32,
    /// Gaps between intended sends
    #[arg(long, value_enum, value_name = "HOW", default_value = "paced", help_heading = "Load")]
    pub arrivals: ArrivalsArg,
}

/// Gaps between intended sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsArg {
    /// Equal
    Paced,
    /// Exponential, as of many independent users
    Poisson,
}

impl From<ArrivalsArg> for Arrivals {
    fn from(arg: ArrivalsArg) -> Arrivals {
        match arg {
            ArrivalsArg::Paced => Arrivals::Paced,
            ArrivalsArg::Poisson => Arrivals::Poisson,
        }
    }
}

/// `ringwire bench bulk`.
#[derive(Args, Clone, Debug)]
pub struct BulkArgs {
    #[command(flatten)]
    pub run: RunOptions,
    /// What carries the bytes
    #[arg(long, value_enum, value_name = "WHAT", default_value = "message", help_heading = "Load")]
    pub over: BulkOver,
    /// Calls in flight per session, with `--over call`; messages flow as credit allows
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=WINDOW_MAX), help_heading = "Load")]
    pub window: u32,
}

/// What carries bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BulkOver {
    /// One-way messages, counted where they arrive
    Message,
    /// Calls with an empty reply
    Call,
}

const PING_EXAMPLES: &str = "\
Examples:
  ringwire bench ping                          64 bytes, a server of its own on another core
  ringwire bench ping --poll park --size 1KiB  what sleeping costs
  ringwire bench ping 10.0.0.2:7405 --json     a server elsewhere, for a script";

const RATE_EXAMPLES: &str = "\
Examples:
  ringwire bench rate                                     256 calls in flight
  ringwire bench rate --window 4096 --verify              more in flight, every byte compared
  ringwire bench rate --impair 'loss=1%,seed=7' --json    what one lost packet in a hundred costs";

const LOAD_EXAMPLES: &str = "\
Examples:
  ringwire bench load                                   half of what saturates
  ringwire bench load --rate 1.5M --arrivals poisson    independent users
  ringwire bench load 10.0.0.2 --rate 50k --duration 60s --json";

const BULK_EXAMPLES: &str = "\
Examples:
  ringwire bench bulk                             64 KiB messages
  ringwire bench bulk --size 1MiB --verify        larger, contents checked by the receiver
  ringwire bench bulk --over call --window 16     with an answer to each";
