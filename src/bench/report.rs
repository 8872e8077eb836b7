//! One run as one JSON object on one line: the schema that scripts depend on.

use serde_json::{Map, Value, json};

use super::env::Environment;
use super::losses::ledger_json;
use super::recorder::{Percentiles, Tally};
use crate::worker::Ledger;

/// Version of the object below. A field may be added within a version; none changes its meaning.
pub const SCHEMA: u32 = 1;

/// Everything a run says about itself. What was not measured is `None` and prints as null.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// `ping`, `rate`, `load` or `bulk`.
    pub scenario: &'static str,
    /// `call` or `message`.
    pub over: &'static str,
    /// `owned` or `handles`.
    pub entry: &'static str,
    /// Bytes of one call's request, or of one message.
    pub size: u64,
    /// Calls in flight per session, of an open loop the most that may be; `None` for one-way messages,
    /// which flow as credit allows.
    pub window: Option<u64>,
    /// Sessions.
    pub sessions: u64,
    /// Lanes of each session, its own included.
    pub lanes: u64,
    /// Length of the measured window.
    pub seconds: f64,
    /// Who was called.
    pub target: String,
    /// What carried the packets, and why.
    pub backend: Choice,
    /// Name of the congestion profile.
    pub congestion: &'static str,
    /// `spin`, `adaptive` or `park`.
    pub poll: &'static str,
    /// Bytes of a full packet.
    pub packet_size: Option<u64>,
    /// Cores of both ends.
    pub cores: Sides<Option<Vec<usize>>>,
    /// Cores of the threads that called through handles, one for each of the client's workers; `None` where the
    /// workers' own threads called.
    pub callers: Option<Vec<usize>>,
    /// What became of the calls.
    pub tally: Tally,
    /// Bytes a second one way, in bits, counted as acknowledged by the receiver.
    pub goodput_bit_s: Option<f64>,
    /// An open loop's rate as asked for.
    pub offered_per_s: Option<f64>,
    /// Sends that an open loop meant and never got to.
    pub skipped: Option<u64>,
    /// From the intended send.
    pub latency: Option<Percentiles>,
    /// From the real send.
    pub service: Option<Percentiles>,
    /// Packet counts of both ends together.
    pub packets: Packets,
    /// Where packets were lost, over both ends, since the sessions were open; `None` where the server does not tell.
    pub losses: Option<Ledger>,
    /// The raw limit of this host that this scenario runs against.
    pub limit: Option<LimitRatio>,
    /// Processor seconds over the window and its drain.
    pub cpu_s: Sides<Option<f64>>,
    /// With `--verify`: every reply was compared and held.
    pub verified: Option<bool>,
    /// Why the figures are not to be used; empty when they are.
    pub invalid_why: Vec<String>,
    /// Share of the run that the hypervisor took from the cores used, 0 to 1. Not in the object, as
    /// the next: they speak through `invalid_why`.
    pub stolen: Option<f64>,
    /// Share of the window in which spinning client threads did not run, 0 to 1: others had their cores.
    pub crowded: Option<f64>,
    /// Where it ran.
    pub env: Environment,
}

/// A choice and its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// What was chosen.
    pub name: String,
    /// Why, and why not the others.
    pub why: String,
    /// Whether sessions are sealed.
    pub secure: bool,
}

/// The same figure for both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides<T> {
    /// This process.
    pub client: T,
    /// The peer.
    pub server: T,
}

/// Packets of both ends together; a count that an end did not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// Handed to the network.
    pub sent: Option<u64>,
    /// Taken from it.
    pub received: Option<u64>,
    /// Units sent again.
    pub retransmitted: Option<u64>,
    /// Units sent again that the first try had delivered.
    pub spurious: Option<u64>,
    /// Packets declared lost.
    pub lost: Option<u64>,
    /// Packets or units seen twice.
    pub duplicate: Option<u64>,
    /// Packets whose check failed.
    pub corrupt: Option<u64>,
}

impl Packets {
    /// Both ends together: a count is known when both told it.
    #[must_use]
    pub fn plus(self, other: Packets) -> Packets {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        Packets {
            sent: sum(self.sent, other.sent),
            received: sum(self.received, other.received),
            retransmitted: sum(self.retransmitted, other.retransmitted),
            spurious: sum(self.spurious, other.spurious),
            lost: sum(self.lost, other.lost),
            duplicate: sum(self.duplicate, other.duplicate),
            corrupt: sum(self.corrupt, other.corrupt),
        }
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Packets) -> Packets {
        let less = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_sub(b?));
        Packets {
            sent: less(self.sent, earlier.sent),
            received: less(self.received, earlier.received),
            retransmitted: less(self.retransmitted, earlier.retransmitted),
            spurious: less(self.spurious, earlier.spurious),
            lost: less(self.lost, earlier.lost),
            duplicate: less(self.duplicate, earlier.duplicate),
            corrupt: less(self.corrupt, earlier.corrupt),
        }
    }

    /// The object that a report, and the server's answer about itself, carries.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({
            "sent": self.sent, "received": self.received, "retransmitted": self.retransmitted,
            "spurious": self.spurious, "lost": self.lost, "duplicate": self.duplicate,
            "corrupt": self.corrupt,
        })
    }

    /// Reads that object; a count that is absent is `None`.
    #[must_use]
    pub fn from_json(object: &Value) -> Packets {
        let count = |name: &str| object.get(name).and_then(Value::as_u64);
        Packets {
            sent: count("sent"),
            received: count("received"),
            retransmitted: count("retransmitted"),
            spurious: count("spurious"),
            lost: count("lost"),
            duplicate: count("duplicate"),
            corrupt: count("corrupt"),
        }
    }
}

/// A raw limit of the host, and the run's figure as a share of it.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRatio {
    /// The limit's name, as `ringwire limits` prints it.
    pub name: String,
    /// The limit, in its own unit.
    pub value: f64,
    /// The run's figure divided by the limit.
    pub ratio: f64,
}

impl Report {
    /// Calls completed inside the window, a second.
    #[must_use]
    pub fn per_s(&self) -> f64 {
        if self.seconds > 0.0 { self.tally.completed_in_window as f64 / self.seconds } else { 0.0 }
    }

    /// True when nothing speaks against the figures.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.invalid_why.is_empty()
    }

    /// True when every call completed with the right bytes.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        let tally = &self.tally;
        tally.completed > 0
            && tally.failed == 0
            && tally.unknown == 0
            && tally.mismatched == 0
            && tally.stray == 0
            && self.verified != Some(false)
    }

    /// The object that scripts read, in the order of its schema.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("schema", json!(SCHEMA));
        put("version", json!(env!("CARGO_PKG_VERSION")));
        put("scenario", json!(self.scenario));
        put("over", json!(self.over));
        put("entry", json!(self.entry));
        put("size", json!(self.size));
        put("window", json!(self.window));
        put("sessions", json!(self.sessions));
        put("lanes", json!(self.lanes));
        put("seconds", number(self.seconds));
        put("target", json!(self.target));
        put("backend", json!(self.backend.name));
        put("backend_why", json!(self.backend.why));
        put("secure", json!(self.backend.secure));
        put("congestion", json!(self.congestion));
        put("poll", json!(self.poll));
        put("packet_size", json!(self.packet_size));
        put(
            "cores",
            json!({"client": self.cores.client, "callers": self.callers, "server": self.cores.server}),
        );
        put("issued", json!(self.tally.issued));
        put("completed", json!(self.tally.completed));
        put("failed", json!(self.tally.failed));
        put("timed_out", json!(self.tally.timed_out));
        put("not_sent", json!(self.tally.not_sent));
        put("unknown", json!(self.tally.unknown));
        put("per_s", number(self.per_s()));
        put("goodput_bit_s", maybe(self.goodput_bit_s));
        put("offered_per_s", maybe(self.offered_per_s));
        put("skipped", json!(self.skipped));
        put("latency_us", percentiles(self.latency.as_ref()));
        put("service_us", percentiles(self.service.as_ref()));
        put("packets", self.packets.to_json());
        put("losses", self.losses.as_ref().map_or(Value::Null, ledger_json));
        put("limit", self.limit.as_ref().map_or(Value::Null, limit));
        put("cpu_s", json!({"client": maybe(self.cpu_s.client), "server": maybe(self.cpu_s.server)}));
        put("verified", json!(self.verified));
        put("valid", json!(self.is_valid()));
        put("invalid_why", json!(self.invalid_why));
        put("env", self.env.to_json());
        Value::Object(object)
    }
}

fn percentiles(percentiles: Option<&Percentiles>) -> Value {
    percentiles.map_or(Value::Null, |p| {
        json!({
            "p50": maybe(p.p50), "p90": maybe(p.p90), "p99": maybe(p.p99),
            "p99.9": maybe(p.p99_9), "p99.99": maybe(p.p99_99), "max": maybe(p.max),
        })
    })
}

fn limit(limit: &LimitRatio) -> Value {
    // A ratio of small figures needs more than three decimals.
    json!({"name": limit.name, "value": number(limit.value), "ratio": json!((limit.ratio * 1e6).round() / 1e6)})
}

/// Three decimals: a nanosecond in microseconds, more than any of these figures holds.
fn number(value: f64) -> Value {
    json!((value * 1e3).round() / 1e3)
}

fn maybe(value: Option<f64>) -> Value {
    value.map_or(Value::Null, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the schema, in order: a script's author reads them there.
    const FIELDS: &str = "schema version scenario over entry size window sessions lanes seconds target \
        backend backend_why secure congestion poll packet_size cores issued completed failed timed_out \
        not_sent unknown per_s goodput_bit_s offered_per_s skipped latency_us service_us packets losses limit \
        cpu_s verified valid invalid_why env";

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().expect("an object").keys().map(String::as_str).collect()
    }

    fn report() -> Report {
        let tally = Tally { issued: 3, completed: 3, completed_in_window: 2, ..Tally::default() };
        Report { scenario: "rate", seconds: 4.0, tally, ..Report::default() }
    }

    #[test]
    fn the_object_has_the_fields_of_the_schema_in_their_order() {
        let object = report().to_json();
        assert_eq!(keys(&object), FIELDS.split_whitespace().collect::<Vec<_>>());
        assert_eq!(keys(&object["cores"]), ["client", "callers", "server"]);
        assert_eq!(keys(&object["cpu_s"]), ["client", "server"]);
        let packets = ["sent", "received", "retransmitted", "spurious", "lost", "duplicate", "corrupt"];
        assert_eq!(keys(&object["packets"]), packets);
    }

    #[test]
    fn percentiles_carry_their_names_and_null_where_samples_lack() {
        let latency = Percentiles { p50: Some(6.5), max: Some(1_234.567_89), ..Percentiles::default() };
        let object = Report { latency: Some(latency), ..report() }.to_json();
        assert_eq!(keys(&object["latency_us"]), ["p50", "p90", "p99", "p99.9", "p99.99", "max"]);
        assert_eq!(object["latency_us"]["p50"], json!(6.5));
        assert_eq!(object["latency_us"]["p99.9"], Value::Null);
        assert_eq!(object["latency_us"]["max"], json!(1_234.568));
        assert_eq!(object["service_us"], Value::Null);
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let object = report().to_json();
        for name in
            ["losses", "offered_per_s", "skipped", "goodput_bit_s", "limit", "verified", "packet_size"]
        {
            assert_eq!(object[name], Value::Null, "{name}");
        }
        assert_eq!(object["packets"]["sent"], Value::Null);
    }

    #[test]
    fn the_rate_is_what_completed_in_the_window() {
        assert_eq!(report().to_json()["per_s"], json!(0.5));
        assert_eq!(Report::default().per_s(), 0.0, "an empty window is not a division");
    }

    #[test]
    fn the_object_is_one_line() {
        assert!(!report().to_json().to_string().contains('\n'));
    }

    #[test]
    fn a_reason_makes_it_invalid_and_a_failure_makes_it_fail() {
        let mut invalid = report();
        assert!(invalid.is_valid());
        invalid.invalid_why.push("stolen".into());
        assert_eq!(invalid.to_json()["valid"], json!(false));
        assert!(invalid.succeeded());
        let break_it: [fn(&mut Report); 6] = [
            |report| report.tally.failed = 1,
            |report| report.tally.unknown = 1,
            |report| report.tally.mismatched = 1,
            |report| report.tally.stray = 1,
            |report| report.tally.completed = 0,
            |report| report.verified = Some(false),
        ];
        for spoil in break_it {
            let mut failed = report();
            spoil(&mut failed);
            assert!(!failed.succeeded());
        }
    }

    #[test]
    fn counters_of_both_ends_add_up_only_when_both_told() {
        let told = Packets { sent: Some(5), lost: Some(1), ..Packets::default() };
        let both = told.plus(Packets { sent: Some(2), ..Packets::default() });
        assert_eq!((both.sent, both.lost), (Some(7), None));
        assert_eq!(both.since(told).sent, Some(2));
        assert_eq!(Packets::from_json(&both.to_json()), both);
    }
}
