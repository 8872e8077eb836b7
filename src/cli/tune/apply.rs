//! `ringwire tune apply`.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;

use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::place::{PlaceOptions, boot_of, now_s};
use super::{login, plan};
use crate::tune::apply::{Applied, Occasion, apply};
use crate::tune::guard::{Drift, GuardError, check, fit_to_boot, management};
use crate::tune::host::Host;
use crate::tune::journal::{Fact, Store};
use crate::tune::plan::Plan;
use crate::tune::undo::take_over;
use crate::units::parse_time;

/// `ringwire tune apply`.
#[derive(Args, Clone, Debug)]
#[command(about = "Apply a plan: each value is noted, written and read back; an error undoes all", after_help = EXAMPLES)]
pub struct ApplyArgs {
    /// What `ringwire tune plan --output` wrote
    #[arg(value_name = "PLAN", required_unless_present = "confirm")]
    pub plan: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Change even the NIC that carries the default route or this login
    #[arg(long)]
    pub allow_mgmt: bool,
    /// Undo it all by itself unless it is confirmed within TIME
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub confirm_within: Option<Duration>,
    /// Confirm apply ID: the host is still reachable
    #[arg(long, value_name = "ID", conflicts_with_all = ["plan", "confirm_within", "at_boot"])]
    pub confirm: Option<u64>,
    /// Take the host as the boot left it, and close what was applied before the boot
    #[arg(long)]
    pub at_boot: bool,
    #[command(flatten)]
    pub place: PlaceOptions,
}

const EXAMPLES: &str = "\
Examples:
  ringwire tune apply plan.toml                        asks first, and undoes all if anything fails
  ringwire tune apply plan.toml --yes --allow-mgmt --confirm-within 60s
  ringwire tune apply --confirm 1                      within the 60 s, from a second login";

/// Applies a plan.
///
/// # Errors
/// [`Failure`] with what failed; the host is then as it was, or the text says what is not.
pub fn run(args: &ApplyArgs) -> Result<Status, Failure> {
    if let Some(id) = args.confirm {
        return confirm(args, id);
    }
    let path = args.plan.as_ref().expect("clap asks for it");
    let mut plan = Plan::load(path).map_err(|error| Failure::usage(error.to_string()))?;
    let mut host = args.place.open()?;
    if args.at_boot {
        let (fits, left) = fit_to_boot(&*host, plan);
        left.iter().try_for_each(|text| print_line(&format!("left out: {text}")))?;
        plan = fits;
    }
    let store = Store::lock(&args.place.state()).map_err(|error| Failure::run(error.to_string()))?;
    let kept = if args.at_boot { take_over(&store, &plan.nic, &boot_of(&*host)) } else { Ok(Vec::new()) };
    let kept = kept.map_err(|error| Failure::run(error.to_string()))?;
    // The clearest answer first: an unconfirmed apply explains the drift that it causes.
    store.is_free().map_err(|error| Failure::run(error.to_string()))?;
    let drift = if args.at_boot { Drift::Accept } else { Drift::Refuse };
    check(&*host, &plan, drift).map_err(|error| Failure::run(error.to_string()))?;
    check_management(args, &*host, &plan.nic)?;
    if plan.settings.is_empty() {
        print_line("nothing to change")?;
        return Ok(Status::Ok);
    }
    if !args.yes && !ask(&plan)? {
        print_line("nothing was changed")?;
        return Ok(Status::Failed);
    }
    let now = now_s();
    let confirm_until = args.confirm_within.map(|within| now + within.as_secs().max(1));
    let occasion = Occasion { boot: boot_of(&*host), at: now, confirm_until };
    let mut watch = |id: u64| if confirm_until.is_some() { start_watch(&args.place, id) } else { Ok(()) };
    let applied = apply(&mut *host, &store, &plan, &occasion, &mut watch)
        .map_err(|error| Failure::run(error.to_string()))?;
    // What persist wrote before the boot is undone with this apply.
    let mut writer = store.append(applied.id).map_err(|error| Failure::run(error.to_string()))?;
    for fact in &kept {
        writer.write(fact).map_err(|error| Failure::run(error.to_string()))?;
    }
    print_line(&show(&applied, args))?;
    Ok(Status::Ok)
}

fn check_management(args: &ApplyArgs, host: &dyn Host, nic: &str) -> Result<(), Failure> {
    // A login to this machine says nothing about a recorded one.
    let login = if args.place.host.is_none() { login::address() } else { None };
    match management(host, nic, login) {
        Some(what) if !args.allow_mgmt => {
            Err(Failure::run(GuardError::Management { nic: nic.into(), what }.to_string()))
        }
        _ => Ok(()),
    }
}

fn ask(plan: &Plan) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to ask: say --yes"));
    }
    for setting in &plan.settings {
        print_line(&plan::difference(setting))?;
    }
    eprint!("apply {} settings to {}? [y/N] ", plan.settings.len(), plan.nic);
    let mut answer = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    read.map_err(|error| Failure::run(format!("cannot ask: {error}")))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// A process of its own that undoes the apply when its time is up: it outlives this one and this login.
fn start_watch(place: &PlaceOptions, id: u64) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["tune", "undo", "--unless-confirmed", "--id", &id.to_string()]).args(place.arguments());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map(|_| ()).map_err(|error| format!("no process to undo it in time: {error}"))
}

fn confirm(args: &ApplyArgs, id: u64) -> Result<Status, Failure> {
    let run = |error: crate::tune::journal::JournalError| Failure::run(error.to_string());
    let store = Store::lock(&args.place.state()).map_err(run)?;
    let journal = store.read(id).map_err(run)?;
    if journal.is_closed() {
        return Err(Failure::run(format!("apply {id} is undone already: apply the plan again")));
    }
    if journal.is_unconfirmed() {
        store.append(id).and_then(|mut writer| writer.write(&Fact::Confirmed)).map_err(run)?;
    }
    print_line(&format!("apply {id} stays"))?;
    Ok(Status::Ok)
}

fn show(applied: &Applied, args: &ApplyArgs) -> String {
    let mut lines = vec![format!("apply {}: {} settings written and read back", applied.id, applied.written)];
    if applied.kept > 0 {
        lines.push(format!("  {} were so already", applied.kept));
    }
    lines.extend(applied.rounded.iter().map(|text| format!("  {text}")));
    lines.push(match args.confirm_within {
        Some(within) => {
            format!("undone in {within:?} unless you say: ringwire tune apply --confirm {}", applied.id)
        }
        None => format!("take it back with: ringwire tune undo --id {}", applied.id),
    });
    lines.join("\n")
}
