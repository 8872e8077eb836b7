//! A run's figure as a share of the raw limit it runs against.

use super::limits::Limits;
use super::report::{LimitRatio, Report};

/// The limit that `report`'s scenario runs against, and the ratio of its figure to it. Above 1 is slower
/// for a round trip, and below 1 is less for a rate. `None` where either was not measured, and where no limit
/// is of such a load. A sealed run's rate is a share of sealed packets; its round trip is one of raw UDP, and has the
/// cipher's price in it.
#[must_use]
pub fn share_of(report: &Report, limits: &Limits) -> Option<LimitRatio> {
    let name = limit_of(report)?;
    let figure = match report.scenario {
        "ping" => report.latency.as_ref()?.p50?,
        "bulk" => report.goodput_bit_s?,
        _ => report.per_s(),
    };
    let value = limits.value(name)?;
    Some(LimitRatio { name: name.to_owned(), value, ratio: figure / value })
}

/// By its load: limits are of one core at each end, calls of 64 bytes, and two windows. An open loop's rate is what
/// was asked for, and no share of anything.
fn limit_of(report: &Report) -> Option<&'static str> {
    if report.sessions != 1 || report.lanes != 1 {
        return None;
    }
    let pick = |plain, sealed| if report.backend.secure { sealed } else { plain };
    match (report.scenario, report.over, report.size, report.window) {
        ("ping", _, LIMIT_SIZE, Some(1)) if report.poll == "park" => Some("udp_rtt_parked_p50_us"),
        ("ping", _, LIMIT_SIZE, Some(1)) => Some("udp_rtt_p50_us"),
        ("rate", _, LIMIT_SIZE, Some(256)) => {
            Some(pick("packed_calls_256_per_s", "packed_sealed_calls_256_per_s"))
        }
        ("rate", _, LIMIT_SIZE, Some(4_096)) => {
            Some(pick("packed_calls_4096_per_s", "packed_sealed_calls_4096_per_s"))
        }
        // A call of bulk comes back: twice the bytes.
        ("bulk", "message", _, _) => Some(pick("packed_bulk_bit_s", "packed_sealed_bulk_bit_s")),
        _ => None,
    }
}

/// Bytes of the limits' own calls.
const LIMIT_SIZE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::super::limits::Limit;
    use super::super::recorder::{Percentiles, Tally};
    use super::*;

    /// A run that all limits are of, where scenario and window fit.
    fn run(scenario: &'static str, window: Option<u64>) -> Report {
        Report {
            scenario,
            over: if window.is_some() { "call" } else { "message" },
            size: if window.is_some() { 64 } else { 65_536 },
            window,
            sessions: 1,
            lanes: 1,
            seconds: 1.0,
            poll: "spin",
            latency: Some(Percentiles { p50: Some(9.0), ..Percentiles::default() }),
            goodput_bit_s: Some(9.0),
            tally: Tally { completed_in_window: 9, ..Tally::default() },
            ..Report::default()
        }
    }

    fn sealed(scenario: &'static str, window: Option<u64>) -> Report {
        let mut report = run(scenario, window);
        report.backend.secure = true;
        report
    }

    const ALL: [&str; 8] = [
        "udp_rtt_p50_us",
        "udp_rtt_parked_p50_us",
        "packed_calls_256_per_s",
        "packed_calls_4096_per_s",
        "packed_bulk_bit_s",
        "packed_sealed_calls_256_per_s",
        "packed_sealed_calls_4096_per_s",
        "packed_sealed_bulk_bit_s",
    ];

    /// The name of the limit that `report` is a share of.
    fn name(report: &Report) -> Option<String> {
        let list = ALL.map(|name| Limit { name, value: Some(6.0), unit: "" }).to_vec();
        let share = share_of(report, &Limits { list })?;
        assert!((share.ratio - 1.5).abs() < 1e-9, "{share:?}");
        Some(share.name)
    }

    #[test]
    fn each_scenario_is_a_share_of_its_own_limit() {
        for (report, wanted) in [
            (run("ping", Some(1)), "udp_rtt_p50_us"),
            (Report { poll: "adaptive", ..run("ping", Some(1)) }, "udp_rtt_p50_us"),
            (Report { poll: "park", ..run("ping", Some(1)) }, "udp_rtt_parked_p50_us"),
            (run("rate", Some(256)), "packed_calls_256_per_s"),
            (run("rate", Some(4_096)), "packed_calls_4096_per_s"),
            (run("bulk", None), "packed_bulk_bit_s"),
            (sealed("ping", Some(1)), "udp_rtt_p50_us"),
            (sealed("rate", Some(256)), "packed_sealed_calls_256_per_s"),
            (sealed("rate", Some(4_096)), "packed_sealed_calls_4096_per_s"),
            (sealed("bulk", None), "packed_sealed_bulk_bit_s"),
        ] {
            assert_eq!(name(&report).as_deref(), Some(wanted), "{report:?}");
        }
    }

    #[test]
    fn a_load_that_no_limit_is_of_has_none() {
        for report in [
            run("load", Some(256)),
            run("rate", Some(64)),
            run("ping", Some(2)),
            run("bulk", Some(16)),
            Report { size: 1_024, ..run("rate", Some(256)) },
            Report { sessions: 2, ..run("rate", Some(256)) },
            Report { lanes: 2, ..run("bulk", None) },
        ] {
            assert_eq!(name(&report), None, "{report:?}");
        }
        assert_eq!(share_of(&run("ping", Some(1)), &Limits::default()), None, "not measured");
    }
}
