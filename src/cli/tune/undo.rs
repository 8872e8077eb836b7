//! `ringwire tune undo`.

use std::time::Duration;

use clap::Args;

use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::place::{PlaceOptions, now_s};
use crate::sys::wait::wait_readable;
use crate::tune::journal::{Journal, JournalError, Store};
use crate::tune::undo::undo;

/// `ringwire tune undo`.
#[derive(Args, Clone, Debug)]
#[command(about = "Take an apply back, in reverse, but for what somebody changed since", after_help = EXAMPLES)]
pub struct UndoArgs {
    /// Which apply [default: the last]
    #[arg(long, value_name = "ID")]
    pub id: Option<u64>,
    /// Every apply, the last one first
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Wait until its time to be confirmed is up, and undo it only if it was not
    #[arg(long, requires = "id")]
    pub unless_confirmed: bool,
    #[command(flatten)]
    pub place: PlaceOptions,
}

const EXAMPLES: &str = "\
Examples:
  ringwire tune undo             the last apply, and what persist wrote for it
  ringwire tune undo --id 1      that one; `ringwire tune status` lists them
  ringwire tune undo --all       everything that is applied";

/// Undoes; status 1 when something could not be put back.
///
/// # Errors
/// [`Failure`] when nothing is applied, or the journal cannot be used.
pub fn run(args: &UndoArgs) -> Result<Status, Failure> {
    if args.unless_confirmed {
        return watch(args);
    }
    let failure = |error: JournalError| Failure::run(error.to_string());
    let store = Store::lock(&args.place.state()).map_err(failure)?;
    let open = open_journals(&store).map_err(failure)?;
    let chosen: Vec<Journal> = match args.id {
        Some(id) => vec![store.read(id).map_err(failure)?],
        None if args.all => open.into_iter().rev().collect(),
        None => open.into_iter().next_back().into_iter().collect(),
    };
    if chosen.is_empty() {
        return Err(failure(JournalError::Nothing));
    }
    let mut status = Status::Ok;
    for journal in chosen {
        if journal.is_closed() {
            print_line(&format!("apply {} is undone already", journal.id))?;
            continue;
        }
        if !undo_one(args, &store, &journal)? {
            status = Status::Failed;
        }
    }
    Ok(status)
}

fn open_journals(store: &Store) -> Result<Vec<Journal>, JournalError> {
    Ok(store.journals()?.into_iter().filter(|journal| !journal.is_closed()).collect())
}

/// True if all is back.
fn undo_one(args: &UndoArgs, store: &Store, journal: &Journal) -> Result<bool, Failure> {
    let mut host = args.place.open()?;
    let mut writer = store.append(journal.id).map_err(|error| Failure::run(error.to_string()))?;
    let undone = undo(&mut *host, journal, &mut writer).map_err(|error| Failure::run(error.to_string()))?;
    for damage in &journal.damage {
        eprintln!("journal {}: {damage}", journal.id);
    }
    print_line(&format!("apply {}: {undone}", journal.id))?;
    Ok(undone.is_whole())
}

/// The dead man's switch: sleeps until the time is up, in a session of its own.
fn watch(args: &UndoArgs) -> Result<Status, Failure> {
    let failure = |error: JournalError| Failure::run(error.to_string());
    // Out of the login's session, whose end must not end this. A process that leads its group cannot
    // leave it: that is one that a person started in a terminal.
    let _ = nix::unistd::setsid();
    let id = args.id.expect("clap asks for it");
    let folder = args.place.state();
    loop {
        let journal = Store::look(&folder).read(id).map_err(failure)?;
        if !journal.is_unconfirmed() {
            return Ok(Status::Ok);
        }
        if journal.confirm_until().is_none_or(|until| now_s() >= until) {
            match Store::lock(&folder) {
                // Whoever holds it may be confirming.
                Err(JournalError::Busy { .. }) => {}
                Err(error) => return Err(failure(error)),
                Ok(store) => {
                    let journal = store.read(id).map_err(failure)?;
                    let whole = !journal.is_unconfirmed() || undo_one(args, &store, &journal)?;
                    return Ok(if whole { Status::Ok } else { Status::Failed });
                }
            }
        }
        wait_readable([], Some(STEP)).map_err(|error| Failure::run(error.to_string()))?;
    }
}

const STEP: Duration = Duration::from_millis(100);
