//! The committed counts, and what is said when others are counted.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::callgrind::Counted;

/// What one load cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Instructions of a call.
    pub per_call: f64,
    /// The same of each function that takes much of them, without what it calls, the hottest first.
    pub functions: Vec<(String, f64)>,
}

/// What all loads cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The compiler.
    pub rustc: String,
    /// By load.
    pub rows: Vec<(String, Row)>,
}

/// What a comparison came to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What must not be.
    pub faults: Vec<String>,
    /// What somebody may want to know.
    pub notes: Vec<String>,
}

pub const CURE: &str = "find what made it longer (tests/instructions.rs says how to look); where it is meant, renew the table \
                        in the same commit: RINGWIRE_WRITE=1 cargo test --release --locked --test instructions";

/// Growth that a fault begins with, and the shrinking after which the table says too little.
const TOLERANCE: f64 = 0.10;
/// Growth of a load beside which its functions are looked at: below it they have only changed places.
const GROWN: f64 = 0.02;
/// A function is in the table if it has this share of its load.
const HOT: f64 = 0.03;

impl Row {
    pub fn new(counted: &Counted, calls: u64) -> Row {
        let per_call = |cost: u64| (cost as f64 * 10.0 / calls as f64).round() / 10.0;
        let total: u64 = counted.values().sum();
        let mut functions: Vec<(String, f64)> =
            counted.iter().map(|(name, cost)| (name.clone(), per_call(*cost))).collect();
        functions.sort_by(|one, other| other.1.total_cmp(&one.1));
        Row { per_call: per_call(total), functions }
    }

    fn hot(&self) -> impl Iterator<Item = &(String, f64)> {
        self.functions.iter().filter(|(_, cost)| *cost >= self.per_call * HOT)
    }

    fn of(&self, name: &str) -> Option<f64> {
        self.functions.iter().find(|(function, _)| function == name).map(|(_, cost)| *cost)
    }
}

impl Table {
    pub fn read() -> Table {
        let text = fs::read_to_string(path()).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
        let json: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
        let number = |value: &Value| value.as_f64().expect("a number");
        let row = |(name, row): (&String, &Value)| {
            let functions = row["functions"].as_object().expect("an object").iter();
            let functions = functions.map(|(name, cost)| (name.clone(), number(cost))).collect();
            (name.clone(), Row { per_call: number(&row["per_call"]), functions })
        };
        Table {
            rustc: json["rustc"].as_str().expect("a string").to_owned(),
            rows: json["loads"].as_object().expect("an object").iter().map(row).collect(),
        }
    }

    pub fn write(&self) {
        let row = |(name, row): &(String, Row)| {
            let hot: Map<String, Value> = row.hot().map(|(name, cost)| (name.clone(), json!(cost))).collect();
            (name.clone(), json!({"per_call": row.per_call, "functions": hot}))
        };
        let loads: Map<String, Value> = self.rows.iter().map(row).collect();
        let json = json!({"about": ABOUT, "rustc": self.rustc, "loads": loads});
        let text = serde_json::to_string_pretty(&json).expect("it is plain") + "\n";
        fs::write(path(), text).unwrap_or_else(|error| panic!("{}: {error}", path().display()));
    }

    /// Holds `now` against this table.
    pub fn compare(&self, now: &Table) -> Verdict {
        let mut verdict = Verdict::default();
        if self.rustc != now.rustc {
            verdict.notes.push(format!("the table was counted with {}, this with {}", self.rustc, now.rustc));
        }
        let names = |table: &Table| table.rows.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
        if names(self) != names(now) {
            verdict.faults.push(format!("the table has {:?}, the test {:?}", names(self), names(now)));
        }
        for (name, row) in &now.rows {
            let Some((_, old)) = self.rows.iter().find(|(old, _)| old == name) else { continue };
            compare_row(name, old, row, &mut verdict);
        }
        verdict
    }
}

fn compare_row(name: &str, old: &Row, now: &Row, verdict: &mut Verdict) {
    let growth = now.per_call / old.per_call - 1.0;
    let line = format!("{name}: {}", change(old.per_call, now.per_call));
    if growth > TOLERANCE {
        verdict.faults.push(line);
    } else if growth < -TOLERANCE {
        verdict.notes.push(format!("{line}: renew the table, so that nobody loses it again"));
    } else {
        verdict.notes.push(line);
    }
    for (function, cost) in &old.functions {
        let line = match now.of(function) {
            None => format!("{name}: {function} is called no more or by another name: renew the table"),
            Some(cost_now) if cost_now > cost * (1.0 + TOLERANCE) => {
                let line = format!("{name}: {function}: {}", change(*cost, cost_now));
                if growth > GROWN {
                    verdict.faults.push(line);
                    continue;
                }
                format!("{line}, while the call did not: what it does has moved there")
            }
            Some(_) => continue,
        };
        verdict.notes.push(line);
    }
}

fn change(old: f64, now: f64) -> String {
    format!("{old} instructions a call in the table, {now} now ({:+.1} %)", (now / old - 1.0) * 100.0)
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/figures/instructions.json")
}

const ABOUT: &str = "instructions of a call at both ends, and each hot function's own; written by \
                     RINGWIRE_WRITE=1 cargo test --release --locked --test instructions";

#[test]
fn growth_beyond_a_tenth_is_a_fault_and_shrinking_asks_for_a_new_table() {
    let table = |per_call: f64, own: f64| Table {
        rustc: "rustc 1".into(),
        rows: vec![(
            "load".into(),
            Row { per_call, functions: vec![("f".into(), own), ("g".into(), 100.0)] },
        )],
    };
    let old = table(1_000.0, 200.0);
    let faults = |per_call, own| old.compare(&table(per_call, own)).faults;
    assert_eq!(faults(1_000.0, 200.0), Vec::<String>::new());
    assert_eq!(faults(1_099.0, 219.0), Vec::<String>::new());
    assert_eq!(faults(1_101.0, 200.0).len(), 1, "the load");
    assert_eq!(faults(1_030.0, 230.0).len(), 1, "the function");
    assert_eq!(faults(1_010.0, 230.0), Vec::<String>::new(), "code that moved from one to the other");
    let shrunk = old.compare(&table(890.0, 200.0));
    assert!(shrunk.faults.is_empty() && shrunk.notes[0].contains("renew"), "{shrunk:?}");
    let other = Table { rustc: "rustc 2".into(), rows: Vec::new() };
    let verdict = old.compare(&other);
    assert_eq!((verdict.notes.len(), verdict.faults.len()), (1, 1), "{verdict:?}");
}
