//! `ringwire tune verify`.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::super::options::{HostOptions, Poll, parse_target};
use super::super::output::print_line;
use super::super::status::{Failure, Status};
use super::login;
use super::place::{boot_of, now_s, paint, state_folder};
use crate::bench::env::Environment;
use crate::bench::host::Host as BenchHost;
use crate::bench::plan::{Entry, Over, Plan as Load, Scenario};
use crate::bench::run::Run;
use crate::bench::schedule::Arrivals;
use crate::crypto::PublicKey;
use crate::sys::cores::topology;
use crate::sys::signal::StopFlags;
use crate::tune::apply::Occasion;
use crate::tune::guard::{Drift, GuardError, check, management};
use crate::tune::host::live::Live;
use crate::tune::host::{Address, Host};
use crate::tune::journal::Store;
use crate::tune::plan::Plan;
use crate::tune::verify::{
    Better, Design, Effect, Figure, Reach, Verdict, Verified, ablate, toggled, verify,
};
use crate::units::{parse_size, parse_time};

/// `ringwire tune verify`.
#[derive(Args, Clone, Debug)]
#[command(about = "Measure what a plan brings: each knob on and off, interleaved, through the plan's NIC", after_help = EXAMPLES)]
pub struct VerifyArgs {
    /// What `ringwire tune plan --output` wrote; it must not be applied now
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// A `ringwire serve` on the other side of the NIC
    #[arg(long, value_name = "ADDR", value_parser = parse_target)]
    pub target: SocketAddr,
    /// Who it must be: the key that it prints
    #[arg(long, value_name = "KEY", required_unless_present = "insecure", conflicts_with = "insecure")]
    pub server_key: Option<PublicKey>,
    /// Toggle knobs that drop packets or concern others, too
    #[arg(long)]
    pub allow_disruptive: bool,
    /// Change even the NIC that carries the default route or this login
    #[arg(long)]
    pub allow_mgmt: bool,
    /// Write the plan to FILE without the knobs that did not help
    #[arg(long, value_name = "FILE")]
    pub ablate: Option<PathBuf>,
    /// What is measured [default: rate for the profile throughput, else ping]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Measurement")]
    pub measure: Option<Measure>,
    /// Rounds; each measures every knob once
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=1_000), help_heading = "Measurement")]
    pub rounds: u32,
    /// Length of each run
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_time, help_heading = "Measurement")]
    pub duration: Duration,
    /// Bytes of each call
    #[arg(long, value_name = "SIZE", default_value = "64", value_parser = parse_size, help_heading = "Measurement")]
    pub size: u64,
    /// Calls in flight, when the rate is measured
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4_096), help_heading = "Measurement")]
    pub window: u32,
    /// A smaller change than this is no effect
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = parse_percent, help_heading = "Measurement")]
    pub least: f64,
    /// Of the order of runs
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Measurement")]
    pub seed: u64,
    #[command(flatten)]
    pub host: HostOptions,
    /// Where the undo journals are [default: /var/lib/ringwire/tune for root]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print JSON on one line of stdout
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// The round trip: half and 99 of 100 took less
    Ping,
    /// Calls a second
    Rate,
}

const EXAMPLES: &str = "\
Examples:
  ringwire tune verify plan.toml --target 10.0.0.2 --server-key KEY
  ringwire tune verify plan.toml --target 10.0.0.2 --server-key KEY --ablate better.toml
  ringwire tune verify plan.toml --target 10.0.0.2 --server-key KEY --measure rate --allow-disruptive";

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
    let share = number.filter(|percent| (0.0..100.0).contains(percent));
    share.map(|percent| percent / 100.0).ok_or_else(|| format!("'{text}' is no share: write for example 2%"))
}

/// Measures; status 1 when the host could not be brought back whole.
///
/// # Errors
/// [`Failure`] when nothing could be measured.
pub fn run(args: &VerifyArgs) -> Result<Status, Failure> {
    let plan = Plan::load(&args.plan).map_err(|error| Failure::usage(error.to_string()))?;
    let mut host = Live::new();
    check_path(&host, &plan, args.target)?;
    let store = Store::lock(&state_folder(args.state.as_deref(), None));
    let store = store.map_err(|error| Failure::run(error.to_string()))?;
    check(&host, &plan, Drift::Refuse)
        .map_err(|error| Failure::run(format!("{error}; verify starts from before the plan")))?;
    if let Some(what) = management(&host, &plan.nic, login::address()).filter(|_| !args.allow_mgmt) {
        return Err(Failure::run(GuardError::Management { nic: plan.nic, what }.to_string()));
    }
    let reach = if args.allow_disruptive { Reach::Disruptive } else { Reach::Safe };
    let knobs = toggled(&plan, reach).0;
    tell_length(args, &knobs);
    let occasion = Occasion { boot: boot_of(&host), at: now_s(), confirm_until: None };
    let design = Design { rounds: args.rounds as usize, alpha: ALPHA, least: args.least, seed: args.seed };
    let bench = Bench::new(args, &plan)?;
    let verified = verify(&mut host, &store, &plan, reach, &occasion, &design, &mut || bench.measure());
    let verified = verified.map_err(|error| Failure::run(error.to_string()))?;
    if let Some(path) = &args.ablate {
        ablate(&plan, &verified).save(path).map_err(|error| Failure::run(error.to_string()))?;
    }
    print_line(&if args.json { to_json(&verified).to_string() } else { show(&verified, args) })?;
    Ok(if verified.undone.is_whole() { Status::Ok } else { Status::Failed })
}

/// The chance of any wrong verdict.
const ALPHA: f64 = 0.05;

/// What is measured must go through what is tuned.
fn check_path(host: &dyn Host, plan: &Plan, target: SocketAddr) -> Result<(), Failure> {
    let any = crate::bench::host::any_address_for(target);
    let local = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    let local = local.map_err(|error| Failure::run(format!("no way to {target}: {error}")))?.ip();
    let addresses = host.value(&Address::parse(&format!("addresses:{}", plan.nic))).unwrap_or_default();
    let is_of_nic = addresses.split_whitespace().any(|text| text.parse() == Ok(local));
    if is_of_nic && local != target.ip() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "what goes to {target} does not go through {}: name a server on its other side (`ip route get {}`)",
        plan.nic,
        target.ip()
    )))
}

fn tell_length(args: &VerifyArgs, knobs: &Plan) {
    let mut ids: Vec<&str> = knobs.settings.iter().map(|setting| setting.knob.as_str()).collect();
    ids.dedup();
    let runs = (ids.len() + 3) as u32 * args.rounds;
    let length = (args.duration + WARMUP) * runs;
    eprintln!("{} knobs, {runs} runs: about {} s", ids.len(), length.as_secs().max(1));
}

const WARMUP: Duration = Duration::from_millis(50);

fn flags() -> Result<StopFlags, Failure> {
    StopFlags::install().map_err(|error| Failure::run(format!("cannot catch signals: {error}")))
}

/// Runs one load after the other.
struct Bench {
    load: Load,
    host: BenchHost,
    cores: Vec<usize>,
    env: Environment,
    flags: StopFlags,
}

impl Bench {
    fn new(args: &VerifyArgs, plan: &Plan) -> Result<Bench, Failure> {
        let measure = args.measure.unwrap_or(match plan.profile.as_str() {
            "throughput" => Measure::Rate,
            _ => Measure::Ping,
        });
        let allowed = topology();
        let cores = match &args.host.cores {
            Some(list) => {
                crate::bench::placement::check(&allowed, list)
                    .map_err(|error| Failure::usage(error.to_string()))?;
                list.0.clone()
            }
            None => allowed.first().map(|core| core.id).into_iter().collect(),
        };
        let load = Load {
            scenario: if measure == Measure::Ping { Scenario::Ping } else { Scenario::Rate },
            over: Over::Call,
            entry: Entry::Owned,
            size: usize::try_from(args.size).map_err(|error| Failure::usage(error.to_string()))?,
            duration: args.duration,
            warmup: WARMUP,
            window: if measure == Measure::Ping { 1 } else { args.window as usize },
            rate: None,
            arrivals: Arrivals::Paced,
            sessions: cores.len(),
            lanes: 1,
            deadline: Duration::from_secs(1),
            seed: args.seed,
            verify: false,
            target: args.target,
        };
        let mut host = args.host.host(Poll::Spin, None)?;
        host.server_key = args.server_key;
        Ok(Bench { load, host, cores, env: Environment::read(), flags: flags()? })
    }

    /// One run; again where none of its calls was answered: the machine was doing something else.
    fn measure(&self) -> Result<Vec<Figure>, String> {
        let mut answered = self.measure_once();
        for _ in 1..TRIES {
            if answered.is_ok() || self.flags.stop() {
                break;
            }
            answered = self.measure_once();
        }
        answered
    }

    fn measure_once(&self) -> Result<Vec<Figure>, String> {
        let run = Run {
            plan: &self.load,
            host: &self.host,
            callers: &[],
            cores: &self.cores,
            server_cores: None,
            env: &self.env,
            is_interrupted: &|| self.flags.stop(),
            on_progress: &|_| (),
        };
        let report = run.report().map_err(|error| error.to_string())?;
        if self.flags.stop() {
            return Err("interrupted".into());
        }
        if report.tally.completed_in_window == 0 {
            let why = report.invalid_why.first().map_or("raise --duration", String::as_str);
            return Err(format!("no call was answered within {:?}: {why}", self.load.duration));
        }
        if self.load.scenario == Scenario::Rate {
            return Ok(vec![Figure { name: "per_s", better: Better::More, value: report.per_s() }]);
        }
        let percentiles = report.latency.unwrap_or_default();
        let named = [("p50_us", percentiles.p50), ("p99_us", percentiles.p99)];
        let figure = |(name, value): (&'static str, Option<f64>)| {
            Some(Figure { name, better: Better::Less, value: value? })
        };
        let figures: Vec<Figure> = named.into_iter().filter_map(figure).collect();
        if figures.is_empty() {
            Err("too few calls for a median: raise --duration".into())
        } else {
            Ok(figures)
        }
    }
}

/// Of one run.
const TRIES: usize = 3;

fn show(verified: &Verified, args: &VerifyArgs) -> String {
    let mut lines = Vec::new();
    for effect in &verified.effects {
        let sgr = match effect.verdict {
            Verdict::Helped => "32",
            Verdict::Hurt => "31",
            Verdict::NoEffect => "0",
        };
        let changes: Vec<String> = effect
            .changes
            .iter()
            .map(|(name, change)| {
                let [middle, low, high] = [change.middle, change.low, change.high].map(|share| share * 100.0);
                format!("{name} {middle:+.1} % [{low:+.1}, {high:+.1}]")
            })
            .collect();
        lines.push(format!(
            "{}: {} ({})",
            paint(&effect.arm, "1"),
            paint(effect.verdict.words(), sgr),
            changes.join(", ")
        ));
    }
    if is_noisy(verified) {
        lines.push(
            "the control differs from itself: too noisy, run it again with more --rounds on a quiet host"
                .into(),
        );
    }
    lines.extend(verified.skipped.iter().map(|text| format!("not toggled: {text}")));
    lines.extend(args.ablate.iter().map(|path| format!("what helped is in {}", path.display())));
    lines.push(verified.undone.to_string());
    lines.join("\n")
}

fn is_noisy(verified: &Verified) -> bool {
    verified.effects.iter().any(|effect| effect.arm == "control" && effect.verdict != Verdict::NoEffect)
}

fn to_json(verified: &Verified) -> Value {
    let effect = |effect: &Effect| {
        let changes: serde_json::Map<String, Value> = effect
            .changes
            .iter()
            .map(|(name, change)| {
                ((*name).to_owned(), json!({"change": change.middle, "low": change.low, "high": change.high}))
            })
            .collect();
        json!({"arm": effect.arm, "verdict": effect.verdict.words(), "changes": changes})
    };
    json!({
        "schema": 1, "scenario": "tune-verify", "effects": verified.effects.iter().map(effect).collect::<Vec<_>>(),
        "skipped": verified.skipped, "valid": !is_noisy(verified), "restored": verified.undone.is_whole(),
    })
}
