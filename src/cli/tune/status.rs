//! `ringwire tune status`.

use clap::Args;
use serde_json::{Value, json};

use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::place::{PlaceOptions, boot_of, now_s, paint};
use crate::tune::audit::shorten;
use crate::tune::journal::Store;
use crate::tune::status::{Line, Report, Standing, reports};

/// `ringwire tune status`.
#[derive(Args, Clone, Debug)]
#[command(about = "List what is applied and persisted, and whether it still holds", after_help = EXAMPLES)]
pub struct StatusArgs {
    #[command(flatten)]
    pub place: PlaceOptions,
    /// Print JSON on one line of stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringwire tune status                        every apply that is not undone
  ringwire tune status --json                 for a script
  ringwire tune status --host host.json       of a recorded host";

/// Lists; status 0 whatever is listed.
///
/// # Errors
/// [`Failure`] when the journals cannot be read.
pub fn run(args: &StatusArgs) -> Result<Status, Failure> {
    let host = args.place.open()?;
    let journals = Store::look(&args.place.state()).journals();
    let journals = journals.map_err(|error| Failure::run(error.to_string()))?;
    let reports = reports(&*host, &journals, &boot_of(&*host));
    if args.json {
        let applies: Vec<Value> = reports.iter().map(to_json).collect();
        print_line(&json!({"schema": 1, "scenario": "tune-status", "applies": applies}).to_string())?;
    } else if reports.is_empty() {
        print_line("nothing is applied")?;
    } else {
        print_line(&reports.iter().map(show).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Status::Ok)
}

fn show(report: &Report) -> String {
    let now = now_s();
    let age = now.saturating_sub(report.at);
    let mut lines =
        vec![format!("apply {}: {} on {}, {} min ago", report.id, report.profile, report.nic, age / 60)];
    if let Some(until) = report.confirm_until {
        lines.push(format!(
            "  NOT CONFIRMED: undone in {} s unless you say: ringwire tune apply --confirm {}",
            until.saturating_sub(now),
            report.id
        ));
    }
    if report.broken_off {
        lines.push(format!("  broken off in the middle: ringwire tune undo --id {}", report.id));
    }
    if report.rebooted {
        lines.push("  the host was started anew since: only what is persisted came back".into());
    }
    lines.extend(report.lines.iter().map(show_line));
    lines.extend(report.persisted.iter().map(|path| format!("  persisted: {path}")));
    lines.extend(report.damage.iter().map(|text| format!("  journal: {text}")));
    lines.join("\n")
}

fn show_line(line: &Line) -> String {
    let standing = match &line.standing {
        Standing::Holds => paint("holds", "32"),
        Standing::Reverted => paint("as before", "33"),
        Standing::Changed(now) => paint(&format!("changed to {} since", shorten(now)), "33"),
        Standing::Unreadable(why) => paint(why, "31"),
    };
    format!("  {}: {} → {}: {standing}", line.address, shorten(&line.before), shorten(&line.after))
}

fn to_json(report: &Report) -> Value {
    let line = |line: &Line| {
        let (standing, now) = match &line.standing {
            Standing::Holds => ("holds", None),
            Standing::Reverted => ("reverted", None),
            Standing::Changed(now) => ("changed", Some(now)),
            Standing::Unreadable(why) => ("unreadable", Some(why)),
        };
        json!({
            "knob": line.knob, "address": line.address, "before": line.before, "after": line.after,
            "standing": standing, "now": now,
        })
    };
    json!({
        "id": report.id, "nic": report.nic, "profile": report.profile, "at": report.at,
        "confirm_until": report.confirm_until, "broken_off": report.broken_off, "rebooted": report.rebooted,
        "settings": report.lines.iter().map(line).collect::<Vec<_>>(), "persisted": report.persisted,
        "damage": report.damage,
    })
}
