//! A run's figure as a share of the raw limit it runs against.

use super::limits::Limits;
use super::report::{LimitRatio, Report};

/// The limit that `report`'s scenario runs against, and the ratio of its figure to it. Above 1 is slower
/// for a round trip, and below 1 is less for a rate. `None` where either was not measured.
#[must_use]
pub fn share_of(report: &Report, limits: &Limits) -> Option<LimitRatio> {
    let (name, figure) = match report.scenario {
        "ping" => ("udp_rtt_p50_us", report.latency.as_ref()?.p50?),
        "rate" => ("packed_calls_256_per_s", report.per_s()),
        "bulk" => ("packed_bulk_bit_s", report.goodput_bit_s?),
        _ => return None,
    };
    let value = limits.value(name)?;
    Some(LimitRatio { name: name.to_owned(), value, ratio: figure / value })
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limit;
    use super::super::recorder::Percentiles;
    use super::*;

    #[test]
    fn a_round_trip_is_compared_with_the_raw_one() {
        let limits = Limits { list: vec![Limit { name: "udp_rtt_p50_us", value: Some(6.0), unit: "us" }] };
        let latency = Percentiles { p50: Some(9.0), ..Percentiles::default() };
        let ping = Report { scenario: "ping", latency: Some(latency), ..Report::default() };
        let share = share_of(&ping, &limits).expect("both were measured");
        assert!((share.ratio - 1.5).abs() < 1e-9, "{share:?}");
        assert_eq!(share_of(&Report { scenario: "rate", ..Report::default() }, &limits), None);
        assert_eq!(share_of(&Report { scenario: "load", ..Report::default() }, &limits), None);
    }
}
