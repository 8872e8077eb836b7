//! `ringwire tune audit`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::place::{PlaceOptions, ScopeOptions, paint};
use crate::tune::audit::{Audit, audit};
use crate::tune::cpus::{Cpus, show_list};
use crate::tune::journal::Store;
use crate::tune::knob::Risk;
use crate::tune::status::settled;

/// `ringwire tune audit`.
#[derive(Args, Clone, Debug)]
#[command(about = "Say what stands in the way on this host, without changing anything", after_help = EXAMPLES)]
pub struct AuditArgs {
    /// What the host is held against: base, latency, throughput, balanced, cloud-vm, or the path of a profile
    #[arg(long, value_name = "PROFILE", default_value = "balanced")]
    pub profile: String,
    #[command(flatten)]
    pub scope: ScopeOptions,
    #[command(flatten)]
    pub place: PlaceOptions,
    /// Write all that was read to FILE, to be looked at elsewhere with --host FILE
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub record: Option<PathBuf>,
    /// Print JSON on one line of stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringwire tune audit --nic eth0                        against the profile balanced
  ringwire tune audit --nic eth0 --profile latency --cores 2-5
  ringwire tune audit --nic eth0 --record host.json     for somebody else to look at";

/// Audits the host: status 0 whatever is found.
///
/// # Errors
/// [`Failure`] when there is no such NIC or profile.
pub fn run(args: &AuditArgs) -> Result<Status, Failure> {
    let mut host = args.place.open()?;
    let journals = Store::look(&args.place.state()).journals().unwrap_or_default();
    let (audit, mut record) = audit(&mut *host, &args.scope.request(), &args.profile, &settled(&journals))
        .map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(path) = &args.record {
        record.about = format!("recorded by ringwire {}", env!("CARGO_PKG_VERSION"));
        record.save(path).map_err(|error| Failure::run(error.to_string()))?;
    }
    print_line(&if args.json { to_json(&audit).to_string() } else { show(&audit) })?;
    Ok(Status::Ok)
}

fn show(audit: &Audit) -> String {
    let scope = &audit.scope;
    let mut lines = vec![format!(
        "{} ({}, {} receive and {} transmit queues{}), profile {}",
        scope.nic,
        scope.driver.as_deref().unwrap_or("driver unknown"),
        scope.rx_queues,
        scope.tx_queues,
        scope.node.map(|node| format!(", node {node}")).unwrap_or_default(),
        audit.profile,
    )];
    for (index, cpu) in scope.workers.iter().enumerate() {
        let queues = (0..scope.rx_queues).filter(|queue| scope.worker_of(*queue) == Some(*cpu));
        let queues: Cpus = queues.collect();
        lines.push(format!("worker {index} on CPU {cpu} reads queues {}", show_list(&queues)));
    }
    for finding in &audit.findings {
        let risk = paint(&finding.risk.letter().to_string(), colour(finding.risk));
        lines.push(format!("  {risk} {}: {}", paint(&finding.id, "1"), finding.evidence));
        lines.push(format!("      {}", finding.benefit));
    }
    if audit.findings.is_empty() {
        lines.push("nothing stands out".into());
    }
    section(&mut lines, "left out:", &audit.notes);
    section(&mut lines, "could not be read:", &audit.unread);
    lines.push("risk: S safe and live, D drops packets for a moment, G affects other programs, B at boot only, X for experts".into());
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, items: &[String]) {
    if !items.is_empty() {
        lines.push(title.into());
        lines.extend(items.iter().map(|item| format!("  {item}")));
    }
}

pub(super) fn colour(risk: Risk) -> &'static str {
    match risk {
        Risk::S => "32",
        Risk::D | Risk::G => "33",
        Risk::B | Risk::X => "31",
    }
}

fn to_json(audit: &Audit) -> Value {
    let finding = |finding: &crate::tune::audit::Finding| {
        json!({
            "id": finding.id, "risk": finding.risk.letter().to_string(), "evidence": finding.evidence,
            "benefit": finding.benefit,
        })
    };
    json!({
        "schema": 1, "scenario": "tune-audit", "nic": audit.scope.nic, "driver": audit.scope.driver,
        "profile": audit.profile, "workers": audit.scope.workers,
        "findings": audit.findings.iter().map(finding).collect::<Vec<_>>(),
        "notes": audit.notes, "unread": audit.unread,
    })
}
