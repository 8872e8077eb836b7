//! What every bench command needs before its first run: cores, a server, the interrupt.

use std::net::SocketAddr;

use super::super::options::{Insecure, Poll};
use super::super::status::Failure;
use super::args::CommonOptions;
use super::progress::Bar;
use crate::bench::child::ServerChild;
use crate::bench::client::RunError;
use crate::bench::env::Environment;
use crate::bench::host::Host;
use crate::bench::placement::{CoreError, CoreList, Placement, caller_cores, check};
use crate::bench::plan::{Entry, Plan};
use crate::bench::report::Report;
use crate::bench::run::{Progress, Run};
use crate::crypto::PublicKey;
use crate::sys::cores::topology;
use crate::sys::signal::StopFlags;
use crate::transport::security::is_this_host;

/// A server to call and this end's cores, kept for all runs of one command.
pub struct BenchSession {
    target: SocketAddr,
    host: Host,
    cores: Vec<usize>,
    callers: Vec<usize>,
    server_cores: Option<Vec<usize>>,
    shared_core: bool,
    flags: StopFlags,
    env: Environment,
    // Held for its end: dropping it stops the server.
    _server: Option<ServerChild>,
}

impl BenchSession {
    /// Starts a server where there is no `target`. Call it from the main thread.
    ///
    /// # Errors
    /// [`Failure`] when the server does not come up.
    pub fn open(
        flags: StopFlags,
        placement: Placement,
        common: &CommonOptions,
        target: Option<(SocketAddr, Option<PublicKey>)>,
        entry: Entry,
    ) -> Result<BenchSession, Failure> {
        let options = &common.host;
        let callers = match entry {
            Entry::Owned => Vec::new(),
            Entry::Handles => caller_cores(&topology(), &placement),
        };
        let caller_shares = callers.iter().any(|core| placement.client.contains(core));
        let usual = if caller_shares { Poll::Yield } else { Poll::usual(placement.shared) };
        let mut session = BenchSession {
            target: SocketAddr::from(([127, 0, 0, 1], 0)),
            host: options.host(usual, common.impair.clone())?,
            cores: placement.client,
            callers,
            server_cores: None,
            shared_core: placement.shared,
            flags,
            env: Environment::read(),
            _server: None,
        };
        if caller_shares && options.poll.is_none() {
            eprintln!(
                "the calling thread has its worker's core {}: --poll yield, and figures below what a core of its own gives",
                CoreList(session.callers.clone())
            );
        }
        if let Some((target, key)) = target {
            session.target = target;
            session.host.server_key = key;
            check_exposure(target, key, options.insecure)?;
            return Ok(session);
        }
        if placement.shared {
            eprintln!(
                "both ends share core {}: --poll adaptive, and figures below what two cores give",
                CoreList(placement.server.clone())
            );
        }
        let arguments =
            options.server_arguments(Poll::usual(placement.shared), &CoreList(placement.server.clone()));
        let server = ServerChild::start(&arguments).map_err(|error| Failure::run(error.to_string()))?;
        session.target = server.address();
        session.host.server_key = server.key();
        session.server_cores = Some(placement.server);
        session._server = Some(server);
        Ok(session)
    }

    /// Who is called.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// True when both ends run on one core.
    #[must_use]
    pub fn shares_core(&self) -> bool {
        self.shared_core
    }

    /// True once a signal asked for the end.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.flags.stop()
    }

    /// The host.
    #[must_use]
    pub fn env(&self) -> &Environment {
        &self.env
    }

    /// Runs one plan, with a progress line on stderr where that is a terminal.
    ///
    /// # Errors
    /// [`RunError`] when no load could be run.
    pub fn run(&self, plan: &Plan) -> Result<Report, RunError> {
        let bar = Bar::new(plan.scenario.name());
        // A thread without a session would have nothing to do.
        let cores = &self.cores[..self.cores.len().min(plan.sessions)];
        let run = Run {
            plan,
            host: &self.host,
            cores,
            callers: &self.callers[..self.callers.len().min(cores.len())],
            server_cores: self.server_cores.as_deref(),
            env: &self.env,
            is_interrupted: &|| self.flags.stop(),
            on_progress: &|progress: Progress| bar.show(progress),
        };
        run.report()
    }
}

/// Catches the signals that end a command early.
///
/// # Errors
/// [`Failure`] when the kernel does not let it.
pub fn catch_signals() -> Result<StopFlags, Failure> {
    StopFlags::install().map_err(|error| Failure::run(format!("cannot catch signals: {error}")))
}

/// Places this end, and the server where there is no `target`.
///
/// # Errors
/// [`Failure`] for cores that are not there.
pub fn place(common: &CommonOptions, target: Option<SocketAddr>) -> Result<Placement, Failure> {
    choose(common, target).map_err(|error| Failure::usage(error.to_string()))
}

fn choose(common: &CommonOptions, target: Option<SocketAddr>) -> Result<Placement, CoreError> {
    let allowed = topology();
    let cores = common.host.cores.as_ref();
    if target.is_none() {
        return Placement::choose(&allowed, cores, common.server_cores.as_ref());
    }
    // The server runs elsewhere, or on cores we do not know: only our own are placed.
    cores.map_or(Ok(()), |list| check(&allowed, list))?;
    let client = cores
        .map_or_else(|| allowed.first().map(|core| core.id).into_iter().collect(), |list| list.0.clone());
    Ok(Placement { client, server: Vec::new(), shared: false })
}

/// What leaves this host is sealed for someone who was named, or is said not to be.
fn check_exposure(
    target: SocketAddr,
    key: Option<PublicKey>,
    insecure: Option<Insecure>,
) -> Result<(), Failure> {
    if is_this_host(target) {
        return Ok(());
    }
    match insecure {
        None if key.is_some() => Ok(()),
        None => Err(Failure::usage(format!(
            "{target} is on another host: say who must answer there, with the line that `ringwire serve` prints on it:\n  \
             ringwire bench rate {target} --server-key KEY"
        ))),
        Some(Insecure::Anywhere) => {
            eprintln!("NOT ENCRYPTED: what goes to {target} can be read and changed on its way");
            Ok(())
        }
        Some(Insecure::Loopback) => Err(Failure::usage(format!(
            "{target} is on another host, and --insecure alone stays on this one: write --insecure=anywhere on both ends, or leave it out"
        ))),
    }
}
