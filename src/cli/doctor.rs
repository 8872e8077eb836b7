//! `ringwire doctor`: which backend would run here, and what stands in the way.

use clap::Args;
use serde_json::{Value, json};

use super::output::print_line;
use super::status::{Failure, Status};
use crate::tune::doctor::{Examination, Finding, Severity, examine};
use crate::tune::host::live::Live;
use crate::tune::host::{Address, Host};

/// `ringwire doctor`.
#[derive(Args, Clone, Debug)]
#[command(
    about = "Say which backend would run here and why, each failure with its fix",
    after_help = EXAMPLES,
)]
pub struct DoctorArgs {
    /// The NIC to look at [default: each that has hardware behind it]
    #[arg(long, value_name = "NAME")]
    pub nic: Option<String>,
    /// Print JSON on one line of stdout
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringwire doctor                                 what works here, and how to mend what does not
  ringwire doctor --nic eth0 --json               one NIC, for a script
  docker run IMAGE ringwire doctor                what a container's sandbox leaves";

/// Looks at the host and prints what was found: status 1 when nothing runs here.
///
/// # Errors
/// [`Failure`] when stdout is gone.
pub fn run(args: &DoctorArgs) -> Result<Status, Failure> {
    let host = Live::new();
    if let Some(nic) = args.nic.as_ref().filter(|nic| !is_there(&host, nic)) {
        return Err(Failure::usage(format!("there is no NIC {nic} here: `ip link` lists them")));
    }
    let examination = examine(&host, args.nic.as_deref());
    print_line(&if args.json { to_json(&examination).to_string() } else { show(&examination) })?;
    Ok(if examination.can_run() { Status::Ok } else { Status::Failed })
}

fn is_there(host: &Live, nic: &str) -> bool {
    host.value(&Address::file(format!("/sys/class/net/{nic}/mtu"))).is_some()
}

fn show(examination: &Examination) -> String {
    let mut lines = vec![format!(
        "--backend auto takes {} ({})",
        examination.backend.unwrap_or("nothing"),
        examination.backend_why
    )];
    for finding in &examination.findings {
        lines.push(format!("  {:<8} {}: {}", finding.severity.name(), finding.subject, finding.found));
        lines.extend(finding.fix.as_ref().map(|fix| format!("           fix: {fix}")));
    }
    if examination.findings.iter().all(|finding| finding.severity == Severity::Good) {
        lines.push("nothing to mend".into());
    }
    lines.join("\n")
}

fn to_json(examination: &Examination) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "subject": finding.subject, "severity": finding.severity.name(), "found": finding.found,
            "fix": finding.fix,
        })
    };
    json!({
        "schema": 1, "scenario": "doctor", "backend": examination.backend,
        "backend_why": examination.backend_why,
        "findings": examination.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
