//! `ringwire tune`: audit, plan, apply, verify, undo, status, persist.

mod apply;
mod audit;
mod login;
mod persist;
mod place;
mod plan;
mod status;
mod undo;
mod verify;

use clap::{Args, Subcommand};

use super::status::{Failure, Status};

/// `ringwire tune`.
#[derive(Args, Clone, Debug)]
#[command(
    about = "Tune this host and its NIC: find what stands in the way, plan, apply, take back",
    after_help = EXAMPLES,
    subcommand_help_heading = "Steps",
    subcommand_value_name = "STEP"
)]
pub struct TuneArgs {
    /// What to do.
    #[command(subcommand)]
    pub step: Step,
}

const EXAMPLES: &str = "\
Examples:
  ringwire tune audit --nic eth0                                   what stands in the way, nothing is changed
  ringwire tune plan --profile latency --nic eth0 --output p.toml  what would be changed, and why
  ringwire tune apply p.toml --confirm-within 60s                  change it; without a confirmation it is undone";

/// The steps of tuning.
#[derive(Clone, Debug, Subcommand)]
pub enum Step {
    #[expect(missing_docs, reason = "the step's own arguments say it")]
    Audit(audit::AuditArgs),
    #[expect(missing_docs, reason = "the step's own arguments say it")]
    Plan(plan::PlanArgs),
    #[expect(missing_docs, reason = "the step's own arguments say it")]
    Apply(apply::ApplyArgs),
    #[expect(missing_docs, reason = "the step's own arguments say it")]
    Verify(Box<verify::VerifyArgs>),
    #[expect(missing_docs, reason = "the step's own arguments say it")]
    Undo(undo::UndoArgs),
    #[expect(missing_docs, reason = "the step's own arguments say it")]
    Status(status::StatusArgs),
    #[expect(missing_docs, reason = "the step's own arguments say it")]
    Persist(persist::PersistArgs),
}

/// Runs one step.
///
/// # Errors
/// [`Failure`] with what to do next.
pub fn run(args: &TuneArgs) -> Result<Status, Failure> {
    match &args.step {
        Step::Audit(args) => audit::run(args),
        Step::Plan(args) => plan::run(args),
        Step::Apply(args) => apply::run(args),
        Step::Verify(args) => verify::run(args),
        Step::Undo(args) => undo::run(args),
        Step::Status(args) => status::run(args),
        Step::Persist(args) => persist::run(args),
    }
}
