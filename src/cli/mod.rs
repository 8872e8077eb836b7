//! The `ringwire` command: reads the command line, runs a verb, and ends with a status that scripts
//! can rely on (0 ok, 1 run failed, 2 usage, 130 interrupted).
//!
//! Not for measuring or serving: a verb turns flags into a plan and hands it to its room. One clap
//! definition is the parser, the help and the list of what is built: a verb, flag or value that is
//! not there does not parse.
//!
//! ```text
//! argv --clap--> bench | serve | limits | doctor | keygen | sim | tune --plan--> bench::*, tune::*, sim::* --report--> stdout
//!                                                                progress --> stderr
//! ```
//!
//! Invariant: results go to stdout, everything else to stderr.
#![forbid(unsafe_code)]

pub mod bench;
pub mod doctor;
pub mod keygen;
pub mod keys;
pub mod limits;
mod live;
pub mod manual;
pub mod options;
pub mod output;
pub mod serve;
pub mod sim;
pub mod status;
pub mod tune;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use status::{Failure, Status};

/// Reliable messages and RPC over plain UDP, as fast as the host allows
#[derive(Clone, Debug, Parser)]
#[command(name = "ringwire", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Say more on stderr; twice for still more (RUST_LOG says it finer)
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

const EXAMPLES: &str = "\
Examples:
  ringwire bench                     measure this host, in under 40 seconds
  ringwire serve                     answer calls on 127.0.0.1:7405
  ringwire bench rate 127.0.0.1      call that server as fast as it answers";

/// What the command can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Bench(Box<bench::BenchArgs>),
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Serve(serve::ServeArgs),
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Limits(limits::LimitsArgs),
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Doctor(doctor::DoctorArgs),
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Keygen(keygen::KeygenArgs),
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Sim(sim::SimArgs),
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Tune(tune::TuneArgs),
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Man(manual::ManArgs),
    #[expect(missing_docs, reason = "the verb's own arguments say it")]
    Completions(manual::CompletionsArgs),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    let result = match &cli.verb {
        Verb::Bench(args) => bench::run(args),
        Verb::Serve(args) => serve::run(args, cli.verbose),
        Verb::Limits(args) => limits::run(args),
        Verb::Doctor(args) => doctor::run(args),
        Verb::Keygen(args) => keygen::run(args),
        Verb::Sim(args) => sim::run(args),
        Verb::Tune(args) => tune::run(args),
        Verb::Man(args) => manual::run_man(args),
        Verb::Completions(args) => manual::run_completions(args),
    };
    match result {
        Ok(status) => status.into(),
        Err(Failure { text, status }) => {
            if !text.is_empty() {
                eprintln!("ringwire: {text}");
            }
            if status == Status::Usage {
                eprintln!("ringwire --help shows what can be said");
            }
            status.into()
        }
    }
}

/// RUST_LOG wins over `-v`.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_ends_its_help_with_three_examples() {
        fn walk(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            let (_, examples) =
                help.split_once("Examples:\n").unwrap_or_else(|| panic!("no examples:\n{help}"));
            let count = examples.lines().filter(|line| line.contains("ringwire ")).count();
            assert_eq!(count, 3, "{help}");
            let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
            for name in names.iter().filter(|name| *name != "help") {
                walk(command.find_subcommand_mut(name).expect("it was listed"));
            }
        }
        walk(&mut Cli::command());
    }

    #[test]
    fn what_is_not_built_does_not_parse() {
        for line in [
            "ringwire keygen --show",
            "ringwire tune",
            "ringwire tune plan",
            "ringwire tune apply",
            "ringwire tune undo --unless-confirmed",
            "ringwire bench rate --backend xdp",
            "ringwire bench rate --congestion bbr",
            "ringwire bench ping --over datagram",
            "ringwire bench rate --server-key rw1x",
            "ringwire bench ping --rate 1000",
            "ringwire bench ping --window 2",
            "ringwire bench rate --duration 4",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn flags_read_as_the_documents_write_them() {
        for line in [
            "ringwire bench",
            "ringwire bench --json",
            "ringwire bench ping --size 64 --duration 3s --window 1 --json",
            "ringwire bench rate 127.0.0.1:7405 --size 64 --duration 3s --window 4096 --json",
            "ringwire bench load --rate 1.5M --arrivals poisson --verify --seed 7",
            "ringwire bench bulk --size 64KiB --window 1 --json",
            "ringwire bench rate --impair loss=1%,delay=1ms,seed=7 --backend uring,mmsg --poll park",
            "ringwire bench rate --cores 0 --server-cores 1 --socket-buffer 4MiB --insecure",
            "ringwire serve --listen 127.0.0.1:0 --insecure=anywhere -v",
            "ringwire serve --identity file --allow list",
            "ringwire bench rate --identity file",
            "ringwire keygen file",
            "ringwire doctor --json",
            "ringwire sim --seed 7 --seeds 1000",
            "ringwire limits --duration 100ms --cores 0,1 --json",
            "ringwire tune audit --nic eth0 --host host.json --record other.json --json",
            "ringwire tune plan --profile latency --nic eth0 --cores 2-5 --port 7405 --output plan.toml",
            "ringwire tune apply plan.toml --yes --allow-mgmt --confirm-within 60s",
            "ringwire tune apply --confirm 3",
            "ringwire tune undo --id 3",
            "ringwire tune status --json",
            "ringwire tune persist --as tuned --root dir",
        ] {
            if let Err(error) = Cli::try_parse_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
    }
}
