//! What a plan brings, measured: each knob by itself and all together against none, interleaved, so that
//! what the host does meanwhile falls on all alike.
//!
//! ```text
//! round: none, none again, knob 1, knob 2, …, all     in a new order each round
//! ```
//!
//! "None again" is the control: what it shows is noise, and a run whose control shows something is told
//! to be too noisy. The journal is begun before the first toggle and undone at the end, so that whatever
//! dies, `tune undo` brings the host back.

use thiserror::Error;

use super::apply::{ApplyError, Occasion, apply};
use super::bootstrap::{Interval, mean_interval};
use super::host::{Host, Refusal};
use super::journal::{Fact, JournalError, Store};
use super::knob::find;
use super::plan::{Plan, Setting, read_state};
use super::undo::{Undone, undo};
use crate::rng::Rng;

/// One figure of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Its name, such as `p50_us`.
    pub name: &'static str,
    /// Which way is better.
    pub better: Better,
    /// What was measured.
    pub value: f64,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Latency.
    Less,
    /// Throughput.
    More,
}

/// Measures the host as it is now. A figure that not every run gives is left out.
pub type Meter<'a> = dyn FnMut() -> Result<Vec<Figure>, String> + 'a;

/// How it is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Design {
    /// Rounds; each measures every arm once.
    pub rounds: usize,
    /// The chance that any of all verdicts is wrong where nothing has an effect, 0 to 1.
    pub alpha: f64,
    /// A smaller change than this share is no effect, 0 to 1.
    pub least: f64,
    /// Of the order and of the resampling.
    pub seed: u64,
}

/// What is to be said of a knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At least one figure is better, and none is worse.
    Helped,
    /// At least one is worse.
    Hurt,
    /// Neither: that is a result.
    NoEffect,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Helped => "helped",
            Verdict::Hurt => "hurt",
            Verdict::NoEffect => "no effect",
        }
    }
}

/// One arm against none.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// A knob's id, `all` or `control`.
    pub arm: String,
    /// Each figure's change as a share: -0.1 is a tenth less.
    pub changes: Vec<(&'static str, Interval)>,
    /// What is to be said.
    pub verdict: Verdict,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The control, each knob, and all together.
    pub effects: Vec<Effect>,
    /// Knobs of the plan that were not toggled, and why.
    pub skipped: Vec<String>,
    /// What came of undoing it.
    pub undone: Undone,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Nothing may be toggled.
    #[error(
        "no knob of this plan is safe to toggle: --allow-disruptive toggles the others too, and drops packets meanwhile"
    )]
    NothingSafe,
    /// The host refuses it.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A toggle failed; the host is undone.
    #[error("{refusal}; {undone}")]
    Toggle {
        /// What.
        refusal: Refusal,
        /// What came of undoing it.
        undone: Undone,
    },
    /// No figures; the host is undone.
    #[error("{why}; {undone}")]
    Meter {
        /// Why.
        why: String,
        /// What came of undoing it.
        undone: Undone,
    },
}

/// Which knobs are toggled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those that disturb nobody.
    Safe,
    /// All of them.
    Disruptive,
}

/// The part of `plan` that may be toggled, and what is left out.
#[must_use]
pub fn toggled(plan: &Plan, reach: Reach) -> (Plan, Vec<String>) {
    let may =
        |setting: &Setting| reach == Reach::Disruptive || find(&setting.knob).is_some_and(|k| k.is_safe());
    let (kept, left): (Vec<_>, Vec<_>) = plan.settings.iter().cloned().partition(may);
    let mut skipped: Vec<String> = Vec::new();
    for setting in left {
        let line = format!("{}: {} (--allow-disruptive toggles it)", setting.knob, setting.risk);
        if !skipped.contains(&line) {
            skipped.push(line);
        }
    }
    (Plan { settings: kept, ..plan.clone() }, skipped)
}

/// Measures what `plan` brings. The host must be as the plan found it, and is so again at the end.
///
/// # Errors
/// Nothing could be measured; the host is as it was, or the error says what is not.
pub fn verify(
    host: &mut dyn Host,
    store: &Store,
    plan: &Plan,
    reach: Reach,
    occasion: &Occasion,
    design: &Design,
    meter: &mut Meter<'_>,
) -> Result<Verified, VerifyError> {
    let (plan, skipped) = toggled(plan, reach);
    if plan.settings.is_empty() {
        return Err(VerifyError::NothingSafe);
    }
    let applied = apply(host, store, &plan, occasion, &mut |_| Ok(()))?;
    let toggles = Toggles::new(&plan, &store.read(applied.id)?.facts);
    let measured = measure(host, &toggles, design, meter);
    let mut writer = store.append(applied.id)?;
    let undone = undo(host, &store.read(applied.id)?, &mut writer)?;
    match measured {
        Ok(rounds) => Ok(Verified { effects: effects(&toggles, &rounds, design), skipped, undone }),
        Err(Stop::Toggle(refusal)) => Err(VerifyError::Toggle { refusal, undone }),
        Err(Stop::Meter(why)) => Err(VerifyError::Meter { why, undone }),
    }
}

/// The settings with both their values, by knob.
struct Toggles {
    settings: Vec<(String, Setting, String)>,
    knobs: Vec<String>,
}

impl Toggles {
    /// What was applied, as the journal tells it: settings that were so already are no difference.
    fn new(plan: &Plan, facts: &[Fact]) -> Toggles {
        let mut settings = Vec::new();
        for fact in facts {
            let Fact::Intent { address, before, .. } = fact else { continue };
            let setting = plan.settings.iter().find(|setting| setting.address == *address);
            settings.extend(setting.map(|setting| (setting.knob.clone(), setting.clone(), before.clone())));
        }
        let mut knobs: Vec<String> = Vec::new();
        for (knob, ..) in &settings {
            if !knobs.contains(knob) {
                knobs.push(knob.clone());
            }
        }
        Toggles { settings, knobs }
    }

    /// None, none again, each knob, and all where there are several.
    fn arms(&self) -> usize {
        2 + self.knobs.len() + usize::from(self.knobs.len() > 1)
    }

    fn is_on(&self, arm: usize, knob: &str) -> bool {
        match arm {
            0 | 1 => false,
            arm => self.knobs.get(arm - 2).is_none_or(|only| only == knob),
        }
    }

    fn name(&self, arm: usize) -> String {
        match arm {
            0 | 1 => "control".into(),
            arm => self.knobs.get(arm - 2).cloned().unwrap_or_else(|| "all".into()),
        }
    }

    /// Brings the host to `arm`: what goes off in reverse, then what goes on.
    fn set(&self, host: &mut dyn Host, arm: usize) -> Result<(), Refusal> {
        let on = |knob: &str| self.is_on(arm, knob);
        for (_, setting, before) in self.settings.iter().rev().filter(|(knob, ..)| !on(knob)) {
            put(host, setting, before)?;
        }
        for (_, setting, _) in self.settings.iter().filter(|(knob, ..)| on(knob)) {
            put(host, setting, &setting.wanted)?;
        }
        Ok(())
    }
}

fn put(host: &mut dyn Host, setting: &Setting, value: &str) -> Result<(), Refusal> {
    let knob = find(&setting.knob).expect("the plan was checked when it was read");
    if knob.form.same(&read_state(host, knob, &setting.address)?, value) {
        return Ok(());
    }
    host.write(&setting.address, value)
}

enum Stop {
    Toggle(Refusal),
    Meter(String),
}

/// Every round: what each arm measured, in the order of the arms.
type Rounds = Vec<Vec<Vec<Figure>>>;

fn measure(
    host: &mut dyn Host,
    toggles: &Toggles,
    design: &Design,
    meter: &mut Meter<'_>,
) -> Result<Rounds, Stop> {
    let mut rng = Rng::new(design.seed);
    let mut rounds = Vec::new();
    for _ in 0..design.rounds {
        let mut figures = vec![Vec::new(); toggles.arms()];
        let mut order: Vec<usize> = (0..toggles.arms()).collect();
        for left in (1..order.len()).rev() {
            order.swap(left, rng.below(left as u64 + 1) as usize);
        }
        for arm in order {
            toggles.set(host, arm).map_err(Stop::Toggle)?;
            figures[arm] = meter().map_err(Stop::Meter)?;
        }
        rounds.push(figures);
    }
    Ok(rounds)
}

fn effects(toggles: &Toggles, rounds: &Rounds, design: &Design) -> Vec<Effect> {
    let mut rng = Rng::new(design.seed);
    let figures = common_figures(rounds);
    // Bonferroni: many verdicts, one chance for all of them together.
    let alpha = design.alpha / ((toggles.arms() - 1) * figures.len()).max(1) as f64;
    let mut effects = Vec::new();
    for arm in 1..toggles.arms() {
        let mut changes = Vec::new();
        let (mut helped, mut hurt) = (false, false);
        for (name, better) in &figures {
            let value = |round: &[Vec<Figure>], arm: usize| {
                let figure = round[arm].iter().find(|figure| figure.name == *name);
                figure.expect("every run has the common ones").value.max(TINY)
            };
            // A ratio's logarithm: twice and half are equally far from nothing.
            let logs: Vec<f64> =
                rounds.iter().map(|round| (value(round, arm) / value(round, 0)).ln()).collect();
            let Some(log) = mean_interval(&logs, alpha, &mut rng) else { continue };
            let share = |log: f64| log.exp() - 1.0;
            let interval = Interval { middle: share(log.middle), low: share(log.low), high: share(log.high) };
            let (up, down) = (interval.is_above(design.least), interval.is_below(-design.least));
            helped |= if *better == Better::More { up } else { down };
            hurt |= if *better == Better::More { down } else { up };
            changes.push((*name, interval));
        }
        let verdict = match (helped, hurt) {
            (_, true) => Verdict::Hurt,
            (true, false) => Verdict::Helped,
            (false, false) => Verdict::NoEffect,
        };
        effects.push(Effect { arm: toggles.name(arm), changes, verdict });
    }
    effects
}

/// Figures that every run gave: a percentile needs enough calls in each.
fn common_figures(rounds: &Rounds) -> Vec<(&'static str, Better)> {
    let Some(first) = rounds.first().and_then(|round| round.first()) else { return Vec::new() };
    let everywhere =
        |name: &str| rounds.iter().flatten().all(|run| run.iter().any(|figure| figure.name == name));
    first.iter().filter(|figure| everywhere(figure.name)).map(|figure| (figure.name, figure.better)).collect()
}

/// `plan` without the knobs that were measured and did not help.
#[must_use]
pub fn ablate(plan: &Plan, verified: &Verified) -> Plan {
    let useless = |setting: &Setting| {
        verified.effects.iter().any(|effect| effect.arm == setting.knob && effect.verdict != Verdict::Helped)
    };
    let settings = plan.settings.iter().filter(|setting| !useless(setting)).cloned().collect();
    Plan { settings, ..plan.clone() }
}

const TINY: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::super::host::Address;
    use super::super::host::recorded::Recorded;
    use super::super::identity::Identity;
    use super::*;

    const TOGGLED: [(&str, &str, &str, &str); 4] = [
        ("offload.gso", "ethtool:e0/features/tx-generic-segmentation", "off", "on"),
        ("tx-queue-len", "rtnl:e0/tx-queue-len", "1000", "2000"),
        ("coalesce.rx-usecs", "ethtool:e0/coalesce/rx-usecs", "0", "50"),
        ("mtu", "rtnl:e0/mtu", "1500", "9000"),
    ];

    fn host_and_plan() -> (Recorded, Plan) {
        let mut host = Recorded::default();
        let mut settings = Vec::new();
        for (knob, address, current, wanted) in TOGGLED {
            host.facts.insert(address.into(), current.into());
            settings.push(Setting {
                knob: knob.into(),
                address: Address::parse(address),
                current: current.into(),
                wanted: wanted.into(),
                why: String::new(),
                risk: "D".into(),
                disruption: String::new(),
            });
        }
        let plan = Plan {
            ringwire_plan: 1,
            profile: "test".into(),
            nic: "e0".into(),
            cores: "0".into(),
            host: Identity::default(),
            settings,
        };
        (host, plan)
    }

    /// What the knobs do.
    #[derive(Clone, Copy, PartialEq)]
    enum World {
        /// GSO makes it a third faster, moderation a fifth slower, the queue nothing.
        Real,
        /// Nothing does anything.
        Indifferent,
    }

    fn run(noise: f64, world: World, seed: u64) -> (Verified, Recorded) {
        let (host, plan) = host_and_plan();
        let folder =
            std::env::temp_dir().join(format!("ringwire-verify-{noise}-{seed}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let store = Store::lock(&folder).expect("writable");
        let shared = std::rc::Rc::new(std::cell::RefCell::new(host));
        let mut seen = Shared(shared.clone());
        let mut rng = Rng::new(seed + 100);
        let mut meter = || {
            let host = shared.borrow();
            let is = |at: usize| world == World::Real && host.facts[TOGGLED[at].1] == TOGGLED[at].3;
            let mut value = 1e6 * (1.0 + noise * (rng.unit() - 0.5));
            value *= if is(0) { 1.33 } else { 1.0 };
            value *= if is(2) { 0.8 } else { 1.0 };
            Ok(vec![Figure { name: "per_s", better: Better::More, value }])
        };
        let occasion = Occasion { boot: "b".into(), at: 0, confirm_until: None };
        let design = Design { rounds: 8, alpha: 0.05, least: 0.02, seed };
        let verified = verify(&mut seen, &store, &plan, Reach::Safe, &occasion, &design, &mut meter);
        let verified = verified.expect("it measures");
        std::fs::remove_dir_all(&folder).expect("ours");
        let host = shared.borrow().clone();
        (verified, host)
    }

    /// One host for the meter and for who toggles.
    struct Shared(std::rc::Rc<std::cell::RefCell<Recorded>>);

    impl Host for Shared {
        fn read(&self, address: &Address) -> Result<String, Refusal> {
            self.0.borrow().read(address)
        }
        fn list(&self, address: &Address) -> Result<Vec<String>, Refusal> {
            self.0.borrow().list(address)
        }
        fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal> {
            self.0.borrow_mut().write(address, value)
        }
        fn read_only(&self, address: &Address) -> Option<Refusal> {
            self.0.borrow().read_only(address)
        }
    }

    #[test]
    fn what_helps_hurts_and_does_nothing_is_told_apart_and_the_host_is_as_it_was() {
        let (verified, host) = run(0.1, World::Real, 5);
        let verdict = |arm: &str| {
            let effect = verified.effects.iter().find(|effect| effect.arm == arm);
            effect.unwrap_or_else(|| panic!("{arm}: {verified:?}")).verdict
        };
        assert_eq!(verdict("offload.gso"), Verdict::Helped);
        assert_eq!(verdict("coalesce.rx-usecs"), Verdict::Hurt);
        assert_eq!(verdict("tx-queue-len"), Verdict::NoEffect);
        assert_eq!(verdict("control"), Verdict::NoEffect);
        assert_eq!(host, host_and_plan().0);
        assert_eq!(verified.skipped.len(), 1, "the MTU is not safe: {:?}", verified.skipped);
        let gso =
            &verified.effects.iter().find(|effect| effect.arm == "offload.gso").expect("above").changes[0].1;
        assert!(gso.low < 0.33 && 0.33 < gso.high, "{gso:?}");
        let kept: Vec<String> =
            ablate(&host_and_plan().1, &verified).settings.into_iter().map(|setting| setting.knob).collect();
        assert_eq!(kept, ["offload.gso", "mtu"], "what was not measured stays");
    }

    #[test]
    fn in_noise_hardly_anything_is_claimed() {
        // At 5 % for all verdicts of a run together, 0.6 of 12 runs claim something.
        let claims = |seed: &u64| {
            let effects = run(0.8, World::Indifferent, *seed).0.effects;
            effects.iter().any(|effect| effect.verdict != Verdict::NoEffect)
        };
        let claiming: Vec<u64> = (1..=12).filter(claims).collect();
        assert!(claiming.len() <= 2, "seeds {claiming:?}");
    }

    #[test]
    fn a_meter_that_fails_leaves_the_host_as_it_was() {
        let (mut host, plan) = host_and_plan();
        let folder = std::env::temp_dir().join(format!("ringwire-verify-fails-{}", std::process::id()));
        let store = Store::lock(&folder).expect("writable");
        let occasion = Occasion { boot: "b".into(), at: 0, confirm_until: None };
        let design = Design { rounds: 2, alpha: 0.05, least: 0.02, seed: 5 };
        let error = verify(&mut host, &store, &plan, Reach::Disruptive, &occasion, &design, &mut || {
            Err("no answer".into())
        });
        assert!(error.expect_err("it fails").to_string().contains("no answer"));
        assert_eq!(host, host_and_plan().0);
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
