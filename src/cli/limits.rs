//! `ringwire limits`: what this host's kernel, cores and memory allow with nothing guaranteed.

use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use super::output::print_line;
use super::status::{Failure, Status};
use crate::bench::limits::{self, Limit, Limits, Options};
use crate::bench::placement::{CoreList, check};
use crate::sys::cores::topology;
use crate::units::{parse_time, show_bits, show_bytes, show_count, show_us};

/// `ringwire limits`.
#[derive(Args, Clone, Debug)]
#[command(
    about = "Measure the raw limits of this host: what every figure of bench is a share of",
    after_help = EXAMPLES,
)]
pub struct LimitsArgs {
    /// Time spent on each limit
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_time)]
    pub duration: Duration,
    /// The two cores to measure between [default: two that share no physical core]
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CoreList>,
    /// Print JSON on one line of stdout
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringwire limits                              every limit, half a second each
  ringwire limits --duration 3s --cores 2,3    steadier, between two cores of your choice
  ringwire limits --json | jq .limits          for a script";

/// Measures and prints.
///
/// # Errors
/// [`Failure`] for cores that are not there, or when stdout is gone.
pub fn run(args: &LimitsArgs) -> Result<Status, Failure> {
    let options = Options { duration_each: args.duration, ..options_for(args.cores.as_ref())? };
    if options.duration_each < DURATION_MIN {
        return Err(Failure::usage("--duration is too short to measure anything: write 10ms or more"));
    }
    if options.cores.is_none() {
        eprintln!("one core only: limits that take two are null");
    }
    let limits = limits::run(&options);
    print_line(&if args.json { to_json(&limits).to_string() } else { show(&limits) })?;
    Ok(Status::Ok)
}

const DURATION_MIN: Duration = Duration::from_millis(10);

fn options_for(cores: Option<&CoreList>) -> Result<Options, Failure> {
    let here = Options::here();
    let Some(list) = cores else { return Ok(here) };
    check(&topology(), list).map_err(|error| Failure::usage(error.to_string()))?;
    match list.0[..] {
        [first, second] => Ok(Options { cores: Some([first, second]), ..here }),
        _ => Err(Failure::usage(format!(
            "--cores {list}: limits are between two cores, write for example 0,1"
        ))),
    }
}

/// The object that scripts read.
#[must_use]
pub fn to_json(limits: &Limits) -> Value {
    let figures: Map<String, Value> = limits
        .list
        .iter()
        .map(|limit| {
            let value = limit.value.map(|value| (value * 1e3).round() / 1e3);
            (limit.name.to_owned(), json!({"value": value, "unit": limit.unit}))
        })
        .collect();
    json!({"schema": 1, "scenario": "limits", "limits": figures})
}

/// The limits as a table.
#[must_use]
pub fn show(limits: &Limits) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for limit in &limits.list {
        table.add_row([limit.name.to_owned(), figure(limit)]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

fn figure(limit: &Limit) -> String {
    match (limit.value, limit.unit) {
        (None, _) => "-".into(),
        (Some(value), "us") => show_us(value),
        (Some(value), "1/s") => format!("{}/s", show_count(value)),
        (Some(value), "bit/s") => show_bits(value),
        (Some(value), "B/s") => show_bytes(value),
        (Some(value), unit) => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            list: vec![
                Limit { name: "syscall_ns", value: Some(210.4), unit: "ns" },
                Limit { name: "udp_rtt_p50_us", value: Some(6.512_34), unit: "us" },
                Limit { name: "packed_bulk_bit_s", value: None, unit: "bit/s" },
            ],
        }
    }

    #[test]
    fn each_limit_has_its_value_and_unit_and_null_where_it_was_not_measured() {
        let object = to_json(&limits());
        assert_eq!((&object["schema"], &object["scenario"]), (&json!(1), &json!("limits")));
        assert_eq!(object["limits"]["udp_rtt_p50_us"], json!({"value": 6.512, "unit": "us"}));
        assert_eq!(object["limits"]["packed_bulk_bit_s"]["value"], Value::Null);
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let text = show(&limits());
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("6.51 us"), "{text}");
    }
}
