//! Reports for people.

use comfy_table::{CellAlignment, Table, presets};

use super::losses::ledger_line;
use super::recorder::Percentiles;
use super::report::Report;
use crate::units::{show_bits, show_count, show_size, show_us};

/// One run in a few lines.
#[must_use]
pub fn show_run(report: &Report) -> String {
    let mut lines = vec![headline(report), figure_line(report), calls_line(report)];
    lines.extend(report.latency.as_ref().map(|times| percentile_line("latency", times)));
    lines.extend(report.service.as_ref().map(|times| percentile_line("service", times)));
    lines.push(packets_line(report));
    lines.extend(report.losses.as_ref().map(ledger_line));
    lines.push(cpu_line(report));
    lines.extend(report.verified.map(verified_line));
    lines.extend(report.invalid_why.iter().map(|why| format!("NOT VALID: {why}")));
    lines.join("\n")
}

/// All runs in one table, with their ratios to the raw limits.
#[must_use]
pub fn show_all(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["", "figure", "p50", "p99", "p99.9", "raw limit", "share of it", ""]);
    for report in reports {
        let times = report.latency.unwrap_or_default();
        let (limit, ratio) = report.limit.as_ref().map_or_else(
            || (absent(), absent()),
            |limit| (show_limit(report, limit.value), format!("{:.2}", limit.ratio)),
        );
        table.add_row([
            format!("{} {}", report.scenario, show_size(report.size)),
            figure(report),
            maybe_us(times.p50),
            maybe_us(times.p99),
            maybe_us(times.p99_9),
            limit,
            ratio,
            if report.is_valid() && report.succeeded() { String::new() } else { "see below".into() },
        ]);
    }
    for column in 1..=6 {
        table
            .column_mut(column)
            .expect("the header has eight columns")
            .set_cell_alignment(CellAlignment::Right);
    }
    let mut text = table.to_string();
    for report in reports {
        if !report.succeeded() {
            text.push_str(&format!("\n{} FAILED: {}", report.scenario, calls_line(report)));
        }
        for why in &report.invalid_why {
            text.push_str(&format!("\n{} NOT VALID: {why}", report.scenario));
        }
    }
    text
}

fn headline(report: &Report) -> String {
    let cores = |cores: &Option<Vec<usize>>| {
        cores.as_ref().map_or_else(|| "?".into(), |cores| format!("{cores:?}").replace(['[', ']', ' '], ""))
    };
    let lanes = if report.lanes > 1 { format!(" of {} lanes", report.lanes) } else { String::new() };
    let window = report.window.map_or_else(String::new, |window| format!(", window {window}"));
    let sealing = if report.backend.secure { "sealed" } else { "NOT ENCRYPTED" };
    let callers = report
        .callers
        .as_ref()
        .map_or_else(String::new, |_| format!(" through handles on {}", cores(&report.callers)));
    format!(
        "{} of {} over {}{window}, {} session(s){lanes}, {:.1} s to {}\n{} ({}), {}, {}, cores {}{callers} -> {}, {sealing}",
        report.scenario,
        show_size(report.size),
        report.over,
        report.sessions,
        report.seconds,
        report.target,
        report.backend.name,
        report.backend.why,
        report.congestion,
        report.poll,
        cores(&report.cores.client),
        cores(&report.cores.server),
    )
}

/// The figure that the scenario is about.
fn figure(report: &Report) -> String {
    match (report.scenario, report.goodput_bit_s) {
        ("bulk", Some(bits)) => show_bits(bits),
        _ => format!("{}/s", show_count(report.per_s())),
    }
}

fn figure_line(report: &Report) -> String {
    let mut line = format!("  {}", figure(report));
    if report.scenario == "bulk" {
        line.push_str(&format!(", {}/s", show_count(report.per_s())));
    }
    if let (Some(offered), Some(skipped)) = (report.offered_per_s, report.skipped) {
        line.push_str(&format!(" of {}/s offered, {skipped} skipped", show_count(offered)));
    }
    if let Some(limit) = &report.limit {
        line.push_str(&format!(
            ", {:.2} of {} ({})",
            limit.ratio,
            limit.name,
            show_limit(report, limit.value)
        ));
    }
    line
}

fn calls_line(report: &Report) -> String {
    let tally = &report.tally;
    format!(
        "  {} issued: {} completed, {} failed ({} timed out, {} not sent), {} unknown, {} mismatched",
        tally.issued,
        tally.completed,
        tally.failed,
        tally.timed_out,
        tally.not_sent,
        tally.unknown,
        tally.mismatched,
    )
}

fn percentile_line(name: &str, times: &Percentiles) -> String {
    format!(
        "  {name}  p50 {}  p90 {}  p99 {}  p99.9 {}  p99.99 {}  max {}",
        maybe_us(times.p50),
        maybe_us(times.p90),
        maybe_us(times.p99),
        maybe_us(times.p99_9),
        maybe_us(times.p99_99),
        maybe_us(times.max),
    )
}

fn packets_line(report: &Report) -> String {
    let packets = &report.packets;
    let count = |count: Option<u64>| count.map_or_else(absent, |count| count.to_string());
    format!(
        "  packets of both ends: {} sent, {} received, {} lost, {} retransmitted ({} spurious), {} duplicate, {} corrupt",
        count(packets.sent),
        count(packets.received),
        count(packets.lost),
        count(packets.retransmitted),
        count(packets.spurious),
        count(packets.duplicate),
        count(packets.corrupt),
    )
}

fn cpu_line(report: &Report) -> String {
    let seconds = |seconds: Option<f64>| seconds.map_or_else(absent, |seconds| format!("{seconds:.2} s"));
    format!("  processor: client {}, server {}", seconds(report.cpu_s.client), seconds(report.cpu_s.server))
}

fn verified_line(verified: bool) -> String {
    if verified { "  every byte verified".into() } else { "  NOT VERIFIED: contents differ".into() }
}

fn show_limit(report: &Report, value: f64) -> String {
    match report.scenario {
        "ping" => show_us(value),
        "bulk" => show_bits(value),
        _ => format!("{}/s", show_count(value)),
    }
}

fn maybe_us(us: Option<f64>) -> String {
    us.map_or_else(absent, show_us)
}

/// What was not measured.
fn absent() -> String {
    "-".into()
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Tally;
    use super::super::report::LimitRatio;
    use super::*;

    fn report() -> Report {
        Report {
            scenario: "rate",
            size: 64,
            seconds: 2.0,
            tally: Tally { issued: 10, completed: 10, completed_in_window: 10, ..Tally::default() },
            latency: Some(Percentiles { p50: Some(12.5), ..Percentiles::default() }),
            limit: Some(LimitRatio { name: "packed_calls_256_per_s".into(), value: 1e7, ratio: 0.5 }),
            ..Report::default()
        }
    }

    #[test]
    fn the_table_shows_each_run_with_its_share_of_the_limit() {
        let text = show_all(&[report()]);
        for part in ["rate 64 B", "5.00/s", "12.5 us", "10.0 M/s", "0.50"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("NOT VALID"));
    }

    #[test]
    fn a_sealed_run_is_not_called_unencrypted() {
        let mut run = report();
        assert!(show_run(&run).contains("NOT ENCRYPTED"));
        run.backend.secure = true;
        let text = show_run(&run);
        assert!(text.contains("sealed") && !text.contains("NOT ENCRYPTED"), "{text}");
    }

    #[test]
    fn what_speaks_against_a_run_is_said_under_the_table() {
        let mut bad = report();
        bad.tally.failed = 1;
        bad.invalid_why.push("the server stopped answering".into());
        let text = show_all(&[bad.clone()]);
        assert!(text.contains("rate FAILED"), "{text}");
        assert!(text.contains("NOT VALID: the server stopped answering"), "{text}");
        assert!(show_run(&bad).contains("1 failed"), "{}", show_run(&bad));
    }
}
