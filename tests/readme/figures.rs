//! The README's figures, from the result files in `docs/figures`.
//!
//! `bench.json` is what `ringwire bench --json` printed; `peers.json` is read by [`super::rounds`].

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::Value;

use super::rounds::{Ratio, Rounds};

/// Rows that guarantee nothing: bounds of the host, not alternatives.
const FLOORS: &[&str] = &["udp", "packed", "packed-sealed"];

/// Ringwire itself, with its packets sealed; the row called `ringwire` is insecure, as most others are.
const SEALED: &str = "ringwire-sealed";

/// What each load is compared by. `window` is a load's rate where it has one.
#[rustfmt::skip]
const LOADS: &[Load] = &[
    Load { scenario: "rtt", bytes: 64, window: 1, title: "64 B round trip, p50", field: "p50_us", unit: "µs", lower_wins: true },
    Load { scenario: "rtt", bytes: 64, window: 1, title: "64 B round trip, p99.9", field: "p999_us", unit: "µs", lower_wins: true },
    Load { scenario: "rate", bytes: 64, window: 256, title: "64 B calls, window 256", field: "per_s", unit: "/s", lower_wins: false },
    Load { scenario: "rate", bytes: 64, window: 4_096, title: "64 B calls, window 4,096", field: "per_s", unit: "/s", lower_wins: false },
    Load { scenario: "rate", bytes: 1_024, window: 64, title: "1 KiB calls, window 64", field: "per_s", unit: "/s", lower_wins: false },
    Load { scenario: "rate", bytes: 65_536, window: 16, title: "64 KiB calls, window 16", field: "per_s", unit: "/s", lower_wins: false },
    Load { scenario: "rate", bytes: 1 << 20, window: 4, title: "1 MiB calls, window 4", field: "per_s", unit: "/s", lower_wins: false },
    Load { scenario: "bulk", bytes: 65_536, window: 1, title: "64 KiB one way", field: "gbit_s", unit: "Gbit/s", lower_wins: false },
    Load { scenario: "load", bytes: 64, window: 500_000, title: "64 B at 500,000/s, p99.9", field: "p999_us", unit: "µs", lower_wins: true },
    Load { scenario: "load", bytes: 64, window: 20_000, title: "64 B at 20,000/s, p99.9", field: "p999_us", unit: "µs", lower_wins: true },
];

struct Load {
    scenario: &'static str,
    bytes: u64,
    window: u64,
    title: &'static str,
    field: &'static str,
    unit: &'static str,
    lower_wins: bool,
}

/// Ringwire beside one other under one load.
struct Row {
    load: &'static Load,
    peer: String,
    theirs: f64,
    ours: f64,
    /// Above 1 when ringwire is better.
    ratio: Ratio,
}

/// Ringwire beside what a user would take instead; what it loses against stands first.
pub fn beside_others(run: &Value) -> String {
    let mut rows = rows(run);
    rows.sort_by(|a, b| a.ratio.median.partial_cmp(&b.ratio.median).unwrap_or(Ordering::Equal));
    let (sealed, rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.peer == SEALED);
    let (floors, peers): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| FLOORS.contains(&row.peer.as_str()));
    let mut text = String::new();
    let rounds = run["rounds"].as_u64().unwrap_or(1);
    let seconds = run["seconds"].as_f64().unwrap_or(0.0);
    writeln!(
        text,
        "Medians of {rounds} interleaved rounds of {seconds} s, client and server on a core each. How many times better or worse \
         is the median of the rounds' own ratios, and behind it their spread, of rounds in which the host kept its two cores where they were, where there are three; above 1 ringwire is better.\n"
    )
    .expect("memory");
    if let Some(command) = run["command"].as_str() {
        writeln!(text, "    {command}\n").expect("memory");
    }
    let losing = peers.iter().filter(|row| row.ratio.median < 1.0).count();
    writeln!(text, "Ringwire loses {losing} of these {} comparisons; they stand first.\n", peers.len())
        .expect("memory");
    text.push_str(&table(&peers));
    if !floors.is_empty() {
        text.push_str("\nBeside what the host allows when nothing at all is guaranteed (`packed-sealed` beside ringwire sealed):\n\n");
        text.push_str(&table(&floors));
    }
    if !sealed.is_empty() {
        text.push_str("\nElse both tables are without sealing (`--insecure`), as most of the others are. What sealing costs, in the same rounds:\n\n");
        text.push_str(&sealing(&sealed));
    }
    text
}

fn sealing(rows: &[Row]) -> String {
    let mut text = String::from("| load | insecure | sealed | sealed is |\n| --- | ---: | ---: | ---: |\n");
    for row in rows {
        let show = |figure| show(figure, row.load.unit);
        let (title, insecure, sealed) = (row.load.title, show(row.ours), show(row.theirs));
        let share = if row.load.lower_wins { row.ratio.median } else { 1.0 / row.ratio.median };
        writeln!(text, "| {title} | {insecure} | {sealed} | {share:.2} × |").expect("memory");
    }
    text
}

fn rows(run: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for load in LOADS {
        let rounds = Rounds::of(run, load.scenario, load.bytes, load.window, load.field);
        for peer in rounds.peers().filter(|peer| *peer != "ringwire") {
            // Like with like.
            let us = if peer == "packed-sealed" { SEALED } else { "ringwire" };
            let (above, below) = if load.lower_wins { (peer, us) } else { (us, peer) };
            let figures = (rounds.median(peer), rounds.median(us), rounds.ratio(above, below));
            if let (Some(theirs), Some(ours), Some(ratio)) = figures {
                rows.push(Row { load, peer: peer.to_owned(), theirs, ours, ratio });
            }
        }
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| load | other | its figure | ringwire | ringwire is | in its rounds |\n| --- | --- | ---: | ---: | --- | ---: |\n",
    );
    for row in rows {
        let verdict = if row.ratio.median < 1.0 {
            format!("**{:.2} × worse**", 1.0 / row.ratio.median)
        } else {
            format!("{:.2} × better", row.ratio.median)
        };
        let show = |figure| show(figure, row.load.unit);
        let (title, peer, theirs, ours) = (row.load.title, &row.peer, show(row.theirs), show(row.ours));
        let spread = format!("{:.2} to {:.2}", row.ratio.least, row.ratio.most);
        writeln!(text, "| {title} | {peer} | {theirs} | {ours} | {verdict} | {spread} |").expect("memory");
    }
    text
}

/// Ringwire's runs beside the raw limits of the host.
pub fn beside_limits(runs: &Value) -> String {
    let mut text = String::from(
        "| load | figure | p50 | p99 | p99.9 | raw limit | share of it | backend |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    for run in runs.as_array().into_iter().flatten().filter(|run| run["per_s"].is_number()) {
        let name = run["scenario"].as_str().unwrap_or("?");
        let load = format!("{name} {} B, window {}", run["size"], or_dash(&run["window"]));
        let gbit =
            run["goodput_bit_s"].as_f64().filter(|_| name == "bulk").map(|bits| show(bits / 1e9, "Gbit/s"));
        let figure = gbit.unwrap_or_else(|| show(run["per_s"].as_f64().unwrap_or(0.0), "/s"));
        let time = |name: &str| run["latency_us"][name].as_f64().map_or("-".into(), |us| show(us, "µs"));
        let limit = &run["limit"];
        let scale = |value: f64| match name {
            "ping" => show(value, "µs"),
            "bulk" => show(value / 1e9, "Gbit/s"),
            _ => show(value, "/s"),
        };
        let raw = limit["value"].as_f64().map_or("-".into(), |value| {
            format!("{} ({})", scale(value), limit["name"].as_str().unwrap_or("?"))
        });
        let share = limit["ratio"].as_f64().map_or("-".into(), |ratio| format!("{ratio:.2}"));
        let times = ["p50", "p99", "p99.9"].map(time).join(" | ");
        let valid = if run["valid"] == true { "" } else { ", NOT VALID" };
        let backend = run["backend"].as_str().unwrap_or("?").to_owned() + valid;
        writeln!(text, "| {load} | {figure} | {times} | {raw} | {share} | {backend} |").expect("memory");
    }
    text
}

/// The host that the runs name.
pub fn host(runs: &Value) -> Option<String> {
    let run = runs.as_array()?.iter().find(|run| run["env"].is_object())?;
    let env = &run["env"];
    let cores = env["cores_allowed"].as_u64().map_or(String::new(), |cores| format!("{cores} cores of "));
    let virtualized = if env["virtualized"] == true { ", a virtual machine" } else { "" };
    Some(format!(
        "Host: {cores}{}{virtualized}, Linux {}. ringwire {}, {}.",
        env["cpu"].as_str().unwrap_or("an unnamed processor"),
        env["kernel"].as_str().unwrap_or("?"),
        run["version"].as_str().unwrap_or("?"),
        if run["secure"] == true { "sealed where nothing else is said" } else { "not encrypted" },
    ))
}

fn or_dash(value: &Value) -> String {
    if value.is_null() { "-".into() } else { value.to_string() }
}

fn show(figure: f64, unit: &str) -> String {
    match unit {
        "/s" if figure >= 1e6 => format!("{:.2} M/s", figure / 1e6),
        "/s" if figure >= 1e3 => format!("{:.1} k/s", figure / 1e3),
        "/s" => format!("{figure:.0}/s"),
        _ if figure >= 100.0 => format!("{figure:.0} {unit}"),
        _ => format!("{figure:.1} {unit}"),
    }
}

#[test]
fn losing_rows_stand_first_and_floors_apart() {
    let row = |peer: &str, per_s: f64, p50: f64| {
        serde_json::json!([
            {"peer": peer, "scenario": "rate", "bytes": 64, "window": 256, "per_s": per_s, "runs": {"per_s": [per_s, per_s * 2.0]}},
            {"peer": peer, "scenario": "rtt", "bytes": 64, "window": 1, "p50_us": p50, "p999_us": null, "runs": {"p50_us": [p50]}},
        ])
    };
    let all = [
        row("ringwire", 4e6, 10.0),
        row("slow", 1e6, 50.0),
        row("tcp-spin", 6e6, 9.0),
        row("packed", 2e7, 7.0),
    ];
    let rows: Vec<Value> = all.iter().flat_map(|pair| pair.as_array().expect("pairs").clone()).collect();
    let text = beside_others(&serde_json::json!({"rounds": 3, "seconds": 3.0, "rows": rows}));
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in\n{text}"));
    assert!(text.contains("loses 2 of these 4 comparisons"), "{text}");
    assert!(
        at("| tcp-spin | 6.00 M/s | 4.00 M/s | **1.50 × worse** | 0.67 to 0.67 |")
            < at("| tcp-spin | 9.0 µs |")
    );
    assert!(
        at("| tcp-spin | 9.0 µs | 10.0 µs | **1.11 × worse** | 0.90 to 0.90 |")
            < at("| slow | 1.00 M/s | 4.00 M/s | 4.00 × better | 4.00 to 4.00 |")
    );
    assert!(at("nothing at all is guaranteed") < at("| packed |"));
}
