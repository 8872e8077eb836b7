//! `ringwire serve`: the peer of `bench`, and an echo service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::live::{Live, show_losses};
use super::options::{DEFAULT_PORT, HostOptions, Insecure, Poll, parse_target};
use super::output::print_line;
use super::status::{Failure, Status};
use crate::bench::host::HostError;
use crate::bench::placement::check;
use crate::bench::server::Server;
use crate::endpoint::AllowList;
use crate::sys::cores::{spread, topology};
use crate::sys::signal::{ReloadFlag, StopFlags};
use crate::transport::Counters;
use crate::transport::security::is_this_host;

/// `ringwire serve`.
#[derive(Args, Clone, Debug)]
#[command(
    about = "Answer calls: the peer of bench, and an echo service",
    after_help = EXAMPLES,
)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)), value_parser = parse_target)]
    pub listen: SocketAddr,
    /// Which keys may call: lines of KEY NAME [methods=1,7] [sessions=4] [lanes=16] [calls=100] [reassembly=64MiB] [unacked=64MiB]; read again on SIGHUP [default: all]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub allow: Option<PathBuf>,
    /// Print nothing but the first line, and errors
    #[arg(long, short)]
    pub quiet: bool,
    /// This host's end.
    #[command(flatten)]
    pub host: HostOptions,
}

const EXAMPLES: &str = "\
Examples:
  ringwire serve                                    on 127.0.0.1:7405, spinning on one core
  ringwire serve -v --poll adaptive --cores 2,3     two workers that sleep when nobody calls
  ringwire serve --listen 10.0.0.2 --identity key   for other hosts, under a key that lasts";

/// How often the watching thread looks for a signal.
const WATCH_INTERVAL: Duration = Duration::from_millis(20);

/// Serves until SIGINT or SIGTERM. With `verbose` it says once a second what went in and out, and where
/// packets were lost.
///
/// # Errors
/// [`Failure`] when the address or the backend cannot be had.
pub fn run(args: &ServeArgs, verbose: u8) -> Result<Status, Failure> {
    let flags =
        StopFlags::install().map_err(|error| Failure::run(format!("cannot catch signals: {error}")))?;
    let allowed = topology();
    let cores = match &args.host.cores {
        Some(list) => {
            check(&allowed, list).map_err(|error| Failure::usage(error.to_string()))?;
            list.0.clone()
        }
        // The last: the first is where a client on this host goes unless told.
        None => spread(&allowed).last().copied().into_iter().collect(),
    };
    if args.host.insecure == Some(Insecure::Loopback) && !is_this_host(args.listen) {
        return Err(Failure::usage(format!(
            "{} takes other hosts, and --insecure alone stays on this one: write --insecure=anywhere on both ends, or leave it out",
            args.listen
        )));
    }
    let mut host = args.host.host(Poll::usual(allowed.len() < 2), None)?;
    let list = open_list(args.allow.as_deref())?;
    if let Some((list, _)) = &list {
        host.security.gate = list.clone();
    }
    let server = Server::start(&host, args.listen, &cores).map_err(|error| explain(args.listen, &error))?;
    let key = server.public_key().map_or(String::new(), |key| format!(" key {key}"));
    print_line(&format!("listening on {}{key}", server.address()))?;
    if !args.quiet {
        introduce(&server, args.host.insecure, list.as_ref().map(|(list, _)| list.len()));
    }
    let mut live = (verbose > 0 && !args.quiet).then(Live::start);
    while !flags.stop() && server.is_running() {
        if let Some(line) = live.as_mut().and_then(|live| live.look(&server)) {
            eprintln!("{line}");
        }
        if let Some((list, flag)) = &list
            && flag.take()
        {
            reload(list);
        }
        rest(WATCH_INTERVAL);
    }
    let died = !flags.stop();
    let (counters, losses) = server.stop();
    if !args.quiet {
        eprintln!("{}", show_counters(&counters));
        eprintln!("{}", show_losses(&counters, &losses));
    }
    if died { Err(Failure::run("a worker ended by itself: see the lines above")) } else { Ok(Status::Ok) }
}

/// The list of keys that may call, and what asks for it to be read again.
fn open_list(path: Option<&Path>) -> Result<Option<(Arc<AllowList>, ReloadFlag)>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let list = AllowList::open(path).map_err(|error| Failure::usage(error.to_string()))?;
    let flag =
        ReloadFlag::install().map_err(|error| Failure::run(format!("cannot catch SIGHUP: {error}")))?;
    Ok(Some((Arc::new(list), flag)))
}

fn reload(list: &AllowList) {
    match list.reload() {
        Ok(keys) => eprintln!("the list was read again: {keys} keys may call"),
        Err(error) => eprintln!("{error}; the list that was read before stays in force"),
    }
}

fn introduce(server: &Server, insecure: Option<Insecure>, listed: Option<usize>) {
    let address = server.address();
    eprintln!("{} ({})", server.backend(), server.backend_why());
    let flags = match (server.public_key(), insecure) {
        (Some(key), _) => {
            match listed {
                Some(keys) => eprintln!("{keys} keys may call; SIGHUP reads the list again"),
                None => eprintln!("any key may call: this server only echoes"),
            }
            format!(" --server-key {key}")
        }
        (None, Some(Insecure::Anywhere)) => {
            eprintln!(
                "NOT ENCRYPTED: whoever is on the network can read and change what is sent to {address}"
            );
            " --insecure=anywhere".to_owned()
        }
        (None, _) => " --insecure".to_owned(),
    };
    eprintln!("call it with: ringwire bench rate {}{flags}", client_address(address));
}

/// What a client writes: a wildcard is no address to call.
fn client_address(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("THIS-HOST:{}", address.port()) } else { address.to_string() }
}

fn explain(listen: SocketAddr, error: &HostError) -> Failure {
    let text = error.to_string();
    let in_use = text.contains("in use") || text.contains("os error 98");
    Failure::run(match in_use {
        true => format!(
            "{text}: another server has port {}; stop it, or --listen with another port or 0",
            listen.port()
        ),
        false => text,
    })
}

/// Every count that is not zero, in one line.
fn show_counters(counters: &Counters) -> String {
    let counts: Vec<String> = counters
        .list()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name}={count}"))
        .collect();
    format!("stopped: {}", if counts.is_empty() { "nothing was received".into() } else { counts.join(" ") })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the main thread waits for a signal; workers have threads of their own"
)]
fn rest(time: Duration) {
    std::thread::sleep(time);
}
