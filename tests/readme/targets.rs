//! What ringwire aims at, beside what `docs/figures/peers.json` holds; and processor time.

use std::fmt::Write as _;

use serde_json::Value;

use super::rounds::Rounds;

const OURS: &str = "ringwire";
const SEALED: &str = "ringwire-sealed";

/// `ours` over `other` is to be at most, or at least, this.
enum Aim {
    AtMost(f64),
    AtLeast(f64),
}
use Aim::{AtLeast, AtMost};

/// Scenario, bytes, window (or rate), as `measure-figures` names them.
type Load = (&'static str, u64, u64);

/// Title, load, field, and the aim of ours over another's.
struct Target(&'static str, Load, &'static str, &'static str, &'static str, Aim);

const RTT: Load = ("rtt", 64, 1);
const RATE_256: Load = ("rate", 64, 256);
const RATE_4096: Load = ("rate", 64, 4_096);
const RATE_1_KIB: Load = ("rate", 1_024, 64);
const RATE_64_KIB: Load = ("rate", 65_536, 16);
const RATE_1_MIB: Load = ("rate", 1 << 20, 4);
const BULK: Load = ("bulk", 65_536, 1);
const FAST: Load = ("load", 64, 500_000);
const SLOW: Load = ("load", 64, 20_000);

#[rustfmt::skip]
const TARGETS: &[Target] = &[
    Target("64 B round trip, p50", RTT, "p50_us", OURS, "udp", AtMost(1.15)),
    Target("64 B round trip, p50", RTT, "p50_us", SEALED, "udp", AtMost(1.2)),
    Target("64 B round trip, p50", RTT, "p50_us", SEALED, "tcp-spin", AtMost(0.95)),
    Target("64 B calls, window 256", RATE_256, "per_s", OURS, "packed", AtLeast(0.45)),
    Target("64 B calls, window 256", RATE_256, "per_s", SEALED, "packed-sealed", AtLeast(0.5)),
    Target("64 B calls, window 4,096", RATE_4096, "per_s", OURS, "packed", AtLeast(0.45)),
    Target("64 B calls, window 4,096", RATE_4096, "per_s", SEALED, "packed-sealed", AtLeast(0.5)),
    Target("64 B calls, window 256", RATE_256, "per_s", OURS, "tcp-spin", AtLeast(1.0)),
    Target("64 B calls, window 256", RATE_256, "per_s", SEALED, "quinn-dgram", AtLeast(3.0)),
    Target("64 B calls, window 256", RATE_256, "per_s", SEALED, "quinn", AtLeast(3.0)),
    Target("64 B calls, window 256", RATE_256, "per_s", SEALED, "s2n", AtLeast(3.0)),
    Target("64 B calls, window 256", RATE_256, "per_s", SEALED, "kcp", AtLeast(1.5)),
    Target("64 KiB one way", BULK, "gbit_s", OURS, "packed", AtLeast(0.75)),
    Target("64 KiB one way", BULK, "gbit_s", OURS, "tcp-spin", AtLeast(1.5)),
    Target("64 KiB one way", BULK, "gbit_s", SEALED, "packed-sealed", AtLeast(0.75)),
    Target("64 KiB one way", BULK, "gbit_s", SEALED, "tcp-spin", AtLeast(1.0)),
    Target("64 KiB one way", BULK, "gbit_s", SEALED, "quinn", AtLeast(3.0)),
    Target("64 KiB one way", BULK, "gbit_s", SEALED, "s2n", AtLeast(3.0)),
    Target("1 KiB calls, window 64", RATE_1_KIB, "per_s", OURS, "tcp-spin", AtLeast(1.2)),
    Target("1 KiB calls, window 64", RATE_1_KIB, "per_s", SEALED, "tcp-spin", AtLeast(0.8)),
    Target("64 KiB calls, window 16", RATE_64_KIB, "per_s", OURS, "tcp-spin", AtLeast(1.0)),
    Target("64 KiB calls, window 16", RATE_64_KIB, "per_s", SEALED, "tcp-spin", AtLeast(0.8)),
    Target("1 MiB calls, window 4", RATE_1_MIB, "per_s", OURS, "tcp-spin", AtLeast(0.9)),
    Target("1 MiB calls, window 4", RATE_1_MIB, "per_s", SEALED, "tcp-spin", AtLeast(0.8)),
    Target("64 B at 500,000/s, p99.9", FAST, "p999_us", OURS, "tcp-spin", AtMost(1.0)),
    Target("64 B at 20,000/s, p99.9", SLOW, "p999_us", SEALED, "quinn", AtMost(0.2)),
    Target("64 B at 20,000/s, p99.9", SLOW, "p999_us", SEALED, "tonic", AtMost(0.2)),
];

/// Each target with what was reached, what misses first.
pub fn reached(run: &Value) -> String {
    let (mut missed, mut held) = (String::new(), String::new());
    for Target(title, load, field, ours, other, aim) in TARGETS {
        let rounds = Rounds::of(run, load.0, load.1, load.2, field);
        let Some(ratio) = rounds.ratio(ours, other) else { continue };
        let (wanted, holds) = match aim {
            AtMost(bound) => (format!("at most {bound}"), ratio.median <= *bound),
            AtLeast(bound) => (format!("at least {bound}"), ratio.median >= *bound),
        };
        let (text, verdict) = if holds { (&mut held, "holds") } else { (&mut missed, "**missed**") };
        let (median, least, most, of) = (ratio.median, ratio.least, ratio.most, ratio.rounds);
        let sealed = if *ours == SEALED { "sealed" } else { "insecure" };
        writeln!(
            text,
            "| {title} | {sealed} ÷ {other} | {wanted} | {median:.2} | {least:.2} to {most:.2} | {of} | {verdict} |"
        )
        .expect("memory");
    }
    let rounds = run["rounds"].as_u64().unwrap_or(1);
    format!(
        "The median of the ratios within each of {rounds} rounds, and their spread; what misses stands first. Rounds in which \
         the host moved its two cores farther apart or nearer are left out where three others are left:\n\n\
         | load | ratio | aim | reached | in its rounds | of them | |\n| --- | --- | ---: | ---: | ---: | ---: | --- |\n{missed}{held}"
    )
}

/// Of both ends together, for a million calls and for a gigabyte.
pub fn processor_time(run: &Value) -> String {
    let (calls, bytes) = (Spent::of(run, RATE_256, "per_s", 1e-6), Spent::of(run, BULK, "gbit_s", 1.0 / 8.0));
    let mut peers: Vec<&str> = calls.done.peers().collect();
    peers.extend(bytes.done.peers().filter(|peer| calls.by(peer).is_none()));
    let key = |peer: &&str| calls.by(peer).or_else(|| bytes.by(peer)).unwrap_or(f64::MAX);
    peers.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let figure = |figure: Option<f64>| figure.map_or("-".into(), |seconds| format!("{seconds:.3}"));
    let mut text = String::from(
        "Seconds of processor time, both ends together, while they are busy:\n\n\
         | who | a million calls of 64 B, window 256 | a gigabyte one way |\n| --- | ---: | ---: |\n",
    );
    for peer in peers {
        writeln!(text, "| {peer} | {} | {} |", figure(calls.by(peer)), figure(bytes.by(peer)))
            .expect("memory");
    }
    text
}

/// Processor time under one load, and what was done in it.
struct Spent<'a> {
    time: Rounds<'a>,
    done: Rounds<'a>,
    /// What is counted, in units of `done` for a second.
    scale: f64,
}

impl<'a> Spent<'a> {
    fn of(run: &'a Value, load: Load, field: &'a str, scale: f64) -> Self {
        let all = |field| Rounds::of(run, load.0, load.1, load.2, field);
        Self { time: all("cpu_s"), done: all(field), scale: scale * run["seconds"].as_f64().unwrap_or(1.0) }
    }

    fn by(&self, peer: &str) -> Option<f64> {
        Some(self.time.median(peer)? / (self.done.median(peer)? * self.scale))
    }
}

#[test]
fn what_misses_its_aim_stands_first() {
    let row = |peer: &str, p50: f64| serde_json::json!({"peer": peer, "scenario": "rtt", "bytes": 64, "window": 1, "runs": {"p50_us": [p50, p50]}});
    let run = serde_json::json!({"rounds": 2, "rows": [row("ringwire", 12.0), row("ringwire-sealed", 11.0), row("udp", 10.0)]});
    let text = reached(&run);
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in\n{text}"));
    assert!(
        at("| insecure ÷ udp | at most 1.15 | 1.20 | 1.20 to 1.20 | 2 | **missed** |")
            < at("| sealed ÷ udp | at most 1.2 | 1.10 | 1.10 to 1.10 | 2 | holds |")
    );
}

#[test]
fn processor_time_is_shared_out_among_what_was_done() {
    let row = |scenario: &str, window: u64, bytes: u64| {
        serde_json::json!({"peer": "ringwire", "scenario": scenario, "bytes": bytes, "window": window,
            "per_s": 4e6, "gbit_s": 16.0, "cpu_s": 6.0})
    };
    let run = serde_json::json!({"seconds": 3, "rows": [row("rate", 256, 64), row("bulk", 1, 65_536)]});
    assert!(processor_time(&run).contains("| ringwire | 0.500 | 1.000 |"), "{}", processor_time(&run));
}
