//! What `scripts/measure-figures` wrote: medians, and each round's figures, of ringwire and of others.
//!
//! `peers.json`: `{"command", "rounds", "seconds", "rows": [{"peer", "scenario", "bytes", "window", "per_s", "gbit_s",
//! "p50_us", "p99_us", "p999_us", "cpu_s", "runs": {field: [one a round, or null], "apart_ns": [[before, after] each]}}]}`,
//! ringwire's own rows among them. `apart_ns` is a cache line's round trip between the two cores, asked around each run:
//! some hosts move their cores between caches, and the same program then does half of what it did.

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
    /// Rounds that it is of.
    pub rounds: usize,
}

/// The cores are as far apart in two runs when no distance around either is more than this times another.
const APART_FACTOR: f64 = 1.5;

/// Of fewer rounds in which the cores stayed where they were nothing is told: all rounds are taken then.
const ROUNDS_MIN: usize = 3;

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

    /// `above` over `below` in each round that has both and in which the cores were as far apart for either: a host that
    /// changes its pace between rounds, or in one, then changes the ratio of neither.
    pub fn ratio(&self, above: &str, below: &str) -> Option<Ratio> {
        let distances = self.distances(above).zip(self.distances(below));
        let is_alike = distances.map(|(above, below)| are_alike(above.chain(below)));
        // A file without distances has them alike.
        let both = self.runs(above).zip(self.runs(below)).zip(is_alike.chain(std::iter::repeat(true)));
        let all: Vec<(bool, f64)> =
            both.filter_map(|((above, below), is_alike)| Some((is_alike, above? / below?))).collect();
        let alike: Vec<f64> = all.iter().filter(|(is_alike, _)| *is_alike).map(|&(_, ratio)| ratio).collect();
        let is_told = alike.len() >= ROUNDS_MIN;
        spread(if is_told { alike } else { all.into_iter().map(|(_, ratio)| ratio).collect() })
    }

    /// Around each run of `peer`, those that were told.
    fn distances(&self, peer: &str) -> impl Iterator<Item = impl Iterator<Item = f64> + use<'a>> + use<'a> {
        let runs = self.row(peer).and_then(|row| row["runs"]["apart_ns"].as_array());
        runs.into_iter()
            .flatten()
            .map(|around| around.as_array().into_iter().flatten().filter_map(Value::as_f64))
    }

    fn runs(&self, peer: &str) -> impl Iterator<Item = Option<f64>> + use<'a> {
        let runs = self.row(peer).and_then(|row| row["runs"][self.field].as_array());
        runs.into_iter().flatten().map(|figure| figure.as_f64().filter(|&figure| figure > 0.0))
    }

    fn row(&self, peer: &str) -> Option<&'a Value> {
        self.rows.iter().copied().find(|row| row["peer"] == peer)
    }
}

fn are_alike(distances: impl Iterator<Item = f64>) -> bool {
    let (least, most) =
        distances.fold((f64::MAX, 0.0_f64), |(least, most), one| (least.min(one), most.max(one)));
    most <= least * APART_FACTOR
}

fn spread(mut ratios: Vec<f64>) -> Option<Ratio> {
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (*ratios.first()?, *ratios.last()?);
    let middle = ratios.len() / 2;
    let median =
        if ratios.len() % 2 == 1 { ratios[middle] } else { (ratios[middle - 1] + ratios[middle]) / 2.0 };
    Some(Ratio { median, least, most, rounds: ratios.len() })
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
    assert_eq!(rounds.ratio("a", "b"), Some(Ratio { median: 1.0, least: 0.5, most: 2.0, rounds: 3 }));
    assert_eq!(rounds.ratio("a", "c"), None);
}

#[test]
fn rounds_in_which_the_cores_moved_are_left_out_of_a_ratio_where_enough_others_are_left() {
    let row = |peer: &str, runs: [f64; 4], apart: [[f64; 2]; 4]| {
        serde_json::json!({"peer": peer, "scenario": "bulk", "bytes": 9, "window": 1,
            "runs": {"gbit_s": runs, "apart_ns": apart}})
    };
    let (near, far) = ([100.0, 110.0], [560.0, 580.0]);
    let other = row("b", [1.0; 4], [near; 4]);
    let ratio = |apart| {
        let run = serde_json::json!({ "rows": [row("a", [1.0, 2.0, 9.0, 3.0], apart), other.clone()] });
        Rounds::of(&run, "bulk", 9, 1, "gbit_s").ratio("a", "b")
    };
    let of_the_others = Ratio { median: 2.0, least: 1.0, most: 3.0, rounds: 3 };
    assert_eq!(ratio([near, near, far, near]), Some(of_the_others));
    assert_eq!(ratio([near, near, [110.0, 560.0], near]), Some(of_the_others), "it moved during the run");
    let of_all = Ratio { median: 2.5, least: 1.0, most: 9.0, rounds: 4 };
    assert_eq!(ratio([near, far, far, near]), Some(of_all), "too few are left");
}
