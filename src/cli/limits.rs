//! `ringwire limits`: what this host's kernel, cores and memory allow with nothing guaranteed.

use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use super::output::print_line;
use super::status::{Failure, Status};
use crate::bench::limits::{self, Limit, Limits, Options, VETH_MTU, VethError, VethLimits};
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
    /// Measure UDP and TCP over this link too, made in network namespaces of its own: veth, or veth:MTU with 1280 to
    /// 9216 bytes [default when named without a value: veth:1500]
    #[arg(long, value_name = "LINK", num_args = 0..=1, default_missing_value = "veth")]
    pub iface: Option<Link>,
    /// Measure only these, by their names in the table, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_name)]
    pub only: Vec<&'static str>,
    /// Print JSON on one line of stdout
    #[arg(long)]
    pub json: bool,
}

/// A link between two namespaces that the command makes: a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Bytes of an IP packet that it carries.
    pub mtu: u32,
}

impl std::str::FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Link, String> {
        let mtu = match text.split_once(':') {
            None if text == "veth" => Some(MTU_DEFAULT),
            Some(("veth", mtu)) => mtu.parse().ok().filter(|mtu| VETH_MTU.contains(mtu)),
            _ => return Err(format!("'{text}' is no link that can be made: write veth or veth:9000")),
        };
        let Some(mtu) = mtu else {
            return Err(format!("'{text}': an MTU is {} to {} bytes", VETH_MTU.start(), VETH_MTU.end()));
        };
        Ok(Link { mtu })
    }
}

const MTU_DEFAULT: u32 = 1_500;

const EXAMPLES: &str = "\
Examples:
  ringwire limits --duration 3s --cores 2,3                every limit, steadier, between two cores of your choice
  ringwire limits --iface veth:9000 --json | jq .veth      over a link with jumbo frames too, for a script
  ringwire limits --only cache_line_round_trip_ns          how far apart the two cores are just now";

fn parse_name(text: &str) -> Result<&'static str, String> {
    limits::names().find(|&name| name == text).ok_or_else(|| {
        format!("there is no limit '{text}'; there are {}", limits::names().collect::<Vec<_>>().join(", "))
    })
}

/// Measures and prints.
///
/// # Errors
/// [`Failure`] for cores that are not there, where no namespaces may be made, or when stdout is gone.
pub fn run(args: &LimitsArgs) -> Result<Status, Failure> {
    let options = Options { duration_each: args.duration, ..options_for(args.cores.as_ref())? };
    if options.duration_each < DURATION_MIN {
        return Err(Failure::usage("--duration is too short to measure anything: write 10ms or more"));
    }
    if options.cores.is_none() {
        eprintln!("one core only: limits that take two are null");
    }
    if args.iface.is_some() {
        // Before loopback has taken its time.
        limits::veth_allowed().map_err(refused)?;
    }
    let wanted = |name: &str| args.only.is_empty() || args.only.contains(&name);
    let limits = limits::run_only(&options, wanted);
    // Last: where a user namespace is needed, this process stays in it.
    let veth =
        args.iface.map(|link| limits::run_veth(&options, link.mtu, wanted)).transpose().map_err(refused)?;
    print_line(&match (args.json, &veth) {
        (true, None) => to_json(&limits).to_string(),
        (true, Some(veth)) => with_veth(to_json(&limits), veth).to_string(),
        (false, None) => show(&limits),
        (false, Some(veth)) => show_both(&limits, veth),
    })?;
    Ok(Status::Ok)
}

fn refused(error: VethError) -> Failure {
    Failure::run(format!("--iface: {error}"))
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
    json!({"schema": 1, "scenario": "limits", "limits": figures(limits)})
}

/// The same with the veth pair's limits beside those of loopback.
fn with_veth(mut object: Value, veth: &VethLimits) -> Value {
    object["veth"] =
        json!({"mtu": veth.mtu, "packet_size": veth.packet_size, "limits": figures(&veth.limits)});
    object
}

fn figures(limits: &Limits) -> Map<String, Value> {
    limits
        .list
        .iter()
        .map(|limit| {
            let value = limit.value.map(|value| (value * 1e3).round() / 1e3);
            (limit.name.to_owned(), json!({"value": value, "unit": limit.unit}))
        })
        .collect()
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

/// Both tables, each under the path it is for.
fn show_both(limits: &Limits, veth: &VethLimits) -> String {
    let (loopback, over_veth) = (show(limits), show(&veth.limits));
    let (mtu, packet_size) = (veth.mtu, veth.packet_size);
    format!(
        "over loopback:\n{loopback}\n\n\
         over a veth pair between two network namespaces, MTU {mtu}, packed into packets of {packet_size} bytes:\n\
         {over_veth}"
    )
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
    fn a_links_limits_stand_beside_loopbacks_and_change_nothing_there() {
        let veth = VethLimits { mtu: 9_000, packet_size: 8_972, limits: limits() };
        let object = with_veth(to_json(&limits()), &veth);
        assert_eq!(object["limits"], to_json(&limits())["limits"]);
        assert_eq!((&object["veth"]["mtu"], &object["veth"]["packet_size"]), (&json!(9_000), &json!(8_972)));
        assert_eq!(object["veth"]["limits"]["udp_rtt_p50_us"], json!({"value": 6.512, "unit": "us"}));
        let text = show_both(&limits(), &veth);
        for part in ["over loopback:\n", "MTU 9000, packed into packets of 8972 bytes:\n"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_link_is_veth_with_an_mtu_that_links_have() {
        let parse = |text: &str| text.parse::<Link>();
        assert_eq!(parse("veth"), Ok(Link { mtu: 1_500 }));
        assert_eq!(parse("veth:9000"), Ok(Link { mtu: 9_000 }));
        for wrong in ["", "9000", "eth0", "veth:", "veth:1279", "veth:9217", "veth:-1", "veth:1500:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_limits_that_there_are_can_be_asked_for() {
        assert_eq!(parse_name("wake_p50_us"), Ok("wake_p50_us"));
        let told = parse_name("wake").unwrap_err();
        assert!(told.contains("'wake'") && told.contains("wake_p50_us, memcpy_byte_s"), "{told}");
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let text = show(&limits());
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("6.51 us"), "{text}");
    }
}
