//! `ringwire tune persist`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::login;
use super::place::PlaceOptions;
use crate::tune::guard::{GuardError, management};
use crate::tune::journal::{Journal, JournalError, Store};
use crate::tune::persist::{Exposure, Keeper, kernel_arguments, outputs, write};

/// `ringwire tune persist`.
#[derive(Args, Clone, Debug)]
#[command(about = "Keep an apply over a reboot; undo removes what this writes", after_help = EXAMPLES)]
pub struct PersistArgs {
    /// Which apply [default: the last]
    #[arg(long, value_name = "ID")]
    pub id: Option<u64>,
    /// Who brings it back at boot
    #[arg(long = "as", value_enum, value_name = "KEEPER", default_value = "systemd")]
    pub keeper: KeeperArg,
    /// Write below DIR instead of /
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Even for the NIC that carries the default route or this login
    #[arg(long)]
    pub allow_mgmt: bool,
    #[command(flatten)]
    pub place: PlaceOptions,
}

/// Who brings an apply back at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeeperArg {
    /// A unit that applies the plan, and a sysctl.d file
    Systemd,
    /// A sysctl.d file, for the settings that are sysctls
    Sysctl,
    /// A child profile for tuned
    Tuned,
}

const EXAMPLES: &str = "\
Examples:
  ringwire tune persist                        a systemd unit and a sysctl.d file for the last apply
  ringwire tune persist --as tuned             a profile for tuned-adm
  ringwire tune persist --root ./image         into an image's file system";

/// Writes the files.
///
/// # Errors
/// [`Failure`] when nothing is applied, or the files cannot be written.
pub fn run(args: &PersistArgs) -> Result<Status, Failure> {
    let failure = |error: JournalError| Failure::run(error.to_string());
    let host = args.place.open()?;
    let store = Store::lock(&args.place.state()).map_err(failure)?;
    let journal = chosen(&store, args.id).map_err(failure)?;
    if journal.is_unconfirmed() {
        return Err(failure(JournalError::Unconfirmed { id: journal.id }));
    }
    let plan = store.plan(journal.id).map_err(|error| Failure::run(error.to_string()))?;
    let login = if args.place.host.is_none() { login::address() } else { None };
    let exposure = match management(&*host, &plan.nic, login) {
        Some(what) if !args.allow_mgmt => {
            return Err(Failure::run(GuardError::Management { nic: plan.nic, what }.to_string()));
        }
        Some(_) => Exposure::Management,
        None => Exposure::Plain,
    };
    let keeper = match args.keeper {
        KeeperArg::Systemd => Keeper::Systemd,
        KeeperArg::Sysctl => Keeper::Sysctl,
        KeeperArg::Tuned => Keeper::Tuned,
    };
    let files = outputs(&plan, keeper, exposure).map_err(|error| Failure::run(error.to_string()))?;
    let root = std::path::absolute(&args.root).map_err(|error| Failure::usage(error.to_string()))?;
    let mut writer = store.append(journal.id).map_err(failure)?;
    let written = write(&root, &files, &journal.persisted(), &mut writer)
        .map_err(|error| Failure::run(error.to_string()))?;
    for path in written {
        print_line(&format!("wrote {}", path.display()))?;
    }
    if args.keeper == KeeperArg::Systemd {
        print_line(&format!("switch it on with: systemctl enable ringwire-tune-{}.service", plan.nic))?;
    }
    print_line(&format!("the kernel's command line is yours to edit: {}", kernel_arguments(&plan)))?;
    Ok(Status::Ok)
}

fn chosen(store: &Store, id: Option<u64>) -> Result<Journal, JournalError> {
    match id {
        Some(id) => store.read(id),
        None => {
            let journals = store.journals()?;
            journals.into_iter().rfind(|journal| !journal.is_closed()).ok_or(JournalError::Nothing)
        }
    }
}
