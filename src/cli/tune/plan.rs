//! `ringwire tune plan`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::place::{PlaceOptions, ScopeOptions, paint};
use crate::tune::audit::shorten;
use crate::tune::journal::Store;
use crate::tune::knob::find;
use crate::tune::plan::{Planned, Setting, make};
use crate::tune::scope::Scope;
use crate::tune::status::settled;

/// `ringwire tune plan`.
#[derive(Args, Clone, Debug)]
#[command(about = "Plan what a profile would change here, and why; nothing is applied", after_help = EXAMPLES)]
pub struct PlanArgs {
    /// base, latency, throughput, balanced, cloud-vm, or the path of a profile
    #[arg(long, value_name = "PROFILE")]
    pub profile: String,
    #[command(flatten)]
    pub scope: ScopeOptions,
    #[command(flatten)]
    pub place: PlaceOptions,
    /// Where to write the plan
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Print JSON on one line of stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringwire tune plan --profile latency --nic eth0 --output plan.toml
  ringwire tune plan --profile throughput --nic eth0 --cores 2-5
  ringwire tune plan --profile ./mine.toml --nic eth0 --json";

/// Plans; an empty plan is a good one.
///
/// # Errors
/// [`Failure`] when there is no such NIC or profile.
pub fn run(args: &PlanArgs) -> Result<Status, Failure> {
    let host = args.place.open()?;
    let scope =
        Scope::look(&*host, &args.scope.request()).map_err(|error| Failure::usage(error.to_string()))?;
    let journals = Store::look(&args.place.state()).journals().unwrap_or_default();
    let planned = make(&*host, &scope, &args.profile, &settled(&journals))
        .map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(path) = &args.output {
        planned.plan.save(path).map_err(|error| Failure::run(error.to_string()))?;
    }
    if args.json {
        let plan = serde_json::to_value(&planned.plan).expect("text and numbers are JSON");
        let object = json!({"schema": 1, "scenario": "tune-plan", "plan": plan, "notes": planned.notes});
        print_line(&object.to_string())?;
    } else {
        print_line(&show(&planned, args.output.as_ref()))?;
    }
    Ok(Status::Ok)
}

fn show(planned: &Planned, output: Option<&PathBuf>) -> String {
    let plan = &planned.plan;
    let mut lines = vec![format!("{} for {} with workers on CPUs {}", plan.profile, plan.nic, plan.cores)];
    let mut last = "";
    for setting in &plan.settings {
        if setting.knob != last {
            lines.push(heading(setting));
            last = &setting.knob;
        }
        lines.push(difference(setting));
    }
    lines.extend(planned.notes.iter().map(|note| format!("  left out: {note}")));
    lines.push(match (plan.settings.len(), output) {
        (0, _) => "nothing to change".into(),
        (count, Some(path)) => {
            format!("{count} settings: apply them with `ringwire tune apply {}`", path.display())
        }
        (count, None) => format!("{count} settings: --output FILE keeps the plan"),
    });
    lines.join("\n")
}

fn heading(setting: &Setting) -> String {
    let letter = setting.risk.chars().next().unwrap_or('?').to_string();
    let sgr = find(&setting.knob).map_or("0", |knob| super::audit::colour(knob.risk));
    format!(
        "{} {}: {}\n    disturbs: {}",
        paint(&letter, sgr),
        paint(&setting.knob, "1"),
        setting.why,
        setting.disruption
    )
}

/// `address: current → wanted`.
pub(super) fn difference(setting: &Setting) -> String {
    let (current, wanted) = (paint(&shorten(&setting.current), "31"), paint(&shorten(&setting.wanted), "32"));
    format!("    {}: {current} → {wanted}", setting.address)
}
