//! What `scripts/measure-figures` wrote: medians, and each round's figures, of ringwire and of others.
//!
//! `peers.json`: `{"command", "rounds", "seconds", "rows": [{"peer", "scenario", "bytes", "window", "per_s", "gbit_s",
//! "p50_us", "p99_us", "p999_us", "cpu_s", "runs": {field: [one a round, or null]}}]}`, ringwire's own rows among them.

use serde_json::Value;

/// One figure of all who took part in one load.
pub struct Rounds<'a> {
    rows: Vec<&'a Value>,
    field: &'a str,
}

/// How many times one figure another is, round by round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl<'a> Rounds<'a> {
    /// `window` is a load's rate where it has one.
    pub fn of(run: &'a Value, scenario: &str, bytes: u64, window: u64, field: &'a str) -> Self {
        let is_of_load =
            |row: &&Value| row["scenario"] == scenario && row["bytes"] == bytes && row["window"] == window;
        Self { rows: run["rows"].as_array().into_iter().flatten().filter(is_of_load).collect(), field }
    }

    pub fn peers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.rows.clone().into_iter().filter_map(|row| row["peer"].as_str())
    }

    /// Of all rounds that gave one.
    pub fn median(&self, peer: &str) -> Option<f64> {
        self.row(peer)?[self.field].as_f64().filter(|&figure| figure > 0.0)
    }

    /// `above` over `below` in each round that has both: a host that changes its pace between rounds then changes
    /// neither.
    pub fn ratio(&self, above: &str, below: &str) -> Option<Ratio> {
        let both = self.runs(above).zip(self.runs(below));
        let mut ratios: Vec<f64> = both.filter_map(|(above, below)| Some(above? / below?)).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (*ratios.first()?, *ratios.last()?);
        let middle = ratios.len() / 2;
        let median =
            if ratios.len() % 2 == 1 { ratios[middle] } else { (ratios[middle - 1] + ratios[middle]) / 2.0 };
        Some(Ratio { median, least, most })
    }

    fn runs(&self, peer: &str) -> impl Iterator<Item = Option<f64>> + use<'a> {
        let runs = self.row(peer).and_then(|row| row["runs"][self.field].as_array());
        runs.into_iter().flatten().map(|figure| figure.as_f64().filter(|&figure| figure > 0.0))
    }

    fn row(&self, peer: &str) -> Option<&'a Value> {
        self.rows.iter().copied().find(|row| row["peer"] == peer)
    }
}

#[test]
fn a_ratio_is_taken_within_each_round_that_has_both() {
    let row = |peer: &str, runs: &[Option<f64>]| serde_json::json!({"peer": peer, "scenario": "rate", "bytes": 64, "window": 256, "runs": {"per_s": runs}});
    let rows = [
        row("a", &[Some(10.0), Some(1.0), None, Some(4.0)]),
        row("b", &[Some(5.0), Some(2.0), Some(9.0), Some(4.0)]),
    ];
    let run = serde_json::json!({ "rows": rows });
    let rounds = Rounds::of(&run, "rate", 64, 256, "per_s");
    assert_eq!(rounds.ratio("a", "b"), Some(Ratio { median: 1.0, least: 0.5, most: 2.0 }));
    assert_eq!(rounds.ratio("a", "c"), None);
}
