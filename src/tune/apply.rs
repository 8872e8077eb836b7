//! Applies a plan, one setting after the other: what it was goes to the journal, the new value to the
//! host, and is read back. Whatever goes wrong, what was done so far is undone.

use thiserror::Error;

use super::host::{ABSENT, Address, Host, Refusal, state};
use super::journal::{Fact, JournalError, Store, Writer};
use super::knob::{Knob, find};
use super::plan::{Plan, Setting, read_state};
use super::undo::{Undone, undo};

/// How an apply is noted.
#[derive(Clone, Debug)]
pub struct Occasion {
    /// This life of the host.
    pub boot: String,
    /// Now, in seconds since 1970.
    pub at: u64,
    /// Undone unless confirmed until then, in seconds since 1970.
    pub confirm_until: Option<u64>,
}

/// What was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The journal's number.
    pub id: u64,
    /// Settings that were written.
    pub written: usize,
    /// Those that were so already.
    pub kept: usize,
    /// Those that the driver rounded, in words.
    pub rounded: Vec<String>,
}

/// Why a plan was not applied.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// No journal, no change.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The dead man's switch could not be set, and nothing was touched.
    #[error("nothing was touched: {0}")]
    Watch(String),
    /// A setting failed, and what was done before it is undone.
    #[error("{cause}; {undone}")]
    Failed {
        /// What.
        cause: Box<Cause>,
        /// What came of undoing the rest.
        undone: Undone,
    },
}

/// What a setting failed by.
#[derive(Debug, Error)]
pub enum Cause {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It was accepted, and something else is there.
    #[error(
        "{address}: {wanted} was accepted, and {got} is there: the driver does not take it, leave it out of the plan"
    )]
    NotTaken {
        /// Where.
        address: Address,
        /// What was written.
        wanted: String,
        /// What is read back.
        got: String,
    },
    /// It could not be noted, so it was not touched.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Applies `plan`, which was checked by [`super::guard`]. `watch` is told the journal's number before the
/// first write: it sets the dead man's switch.
///
/// # Errors
/// What failed; the host is as it was, or the error says what is not.
pub fn apply(
    host: &mut dyn Host,
    store: &Store,
    plan: &Plan,
    occasion: &Occasion,
    watch: &mut dyn FnMut(u64) -> Result<(), String>,
) -> Result<Applied, ApplyError> {
    let begin = Fact::Begin {
        nic: plan.nic.clone(),
        profile: plan.profile.clone(),
        boot: occasion.boot.clone(),
        at: occasion.at,
        confirm_until: occasion.confirm_until,
    };
    let (id, mut writer) = store.begin(&begin, plan)?;
    if let Err(why) = watch(id) {
        writer.write(&Fact::Closed)?;
        return Err(ApplyError::Watch(why));
    }
    let mut applied = Applied { id, written: 0, kept: 0, rounded: Vec::new() };
    for setting in in_order(plan) {
        if let Err(cause) = set(host, &mut writer, plan, setting, &mut applied) {
            let undone = undo(host, &store.read(id)?, &mut writer)?;
            return Err(ApplyError::Failed { cause: Box::new(cause), undone });
        }
    }
    writer.write(&Fact::Finished)?;
    Ok(applied)
}

/// The settings by class, in the order of the file within each.
fn in_order(plan: &Plan) -> Vec<&Setting> {
    let mut settings: Vec<&Setting> = plan.settings.iter().collect();
    settings.sort_by_key(|setting| knob_of(setting).order);
    settings
}

fn knob_of(setting: &Setting) -> &'static Knob {
    find(&setting.knob).expect("the plan was checked when it was read")
}

fn set(
    host: &mut dyn Host,
    writer: &mut Writer,
    plan: &Plan,
    setting: &Setting,
    applied: &mut Applied,
) -> Result<(), Cause> {
    let knob = knob_of(setting);
    let Setting { address, wanted, .. } = setting;
    let before = read_state(host, knob, address)?;
    if knob.form.same(&before, wanted) {
        applied.kept += 1;
        return Ok(());
    }
    writer.write(&Fact::Intent {
        knob: knob.id.clone(),
        address: address.clone(),
        before,
        wanted: wanted.clone(),
        disturbs: disturbed(host, knob, &plan.nic),
    })?;
    host.write(address, wanted)?;
    let after = read_state(host, knob, address)?;
    if !knob.form.same(&after, wanted) {
        if !(knob.rounds && is_rounding(wanted, &after)) {
            return Err(Cause::NotTaken { address: address.clone(), wanted: wanted.clone(), got: after });
        }
        applied.rounded.push(format!("{address}: {wanted} was asked for, the driver made it {after}"));
    }
    writer.write(&Fact::Done { address: address.clone(), after })?;
    applied.written += 1;
    Ok(())
}

/// A driver rounds to a step of its own; what is off by more than twice is no rounding.
fn is_rounding(wanted: &str, got: &str) -> bool {
    let (Ok(wanted), Ok(got)) = (wanted.parse::<u64>(), got.parse::<u64>()) else { return false };
    got <= wanted.saturating_mul(2) && wanted <= got.saturating_mul(2)
}

/// What the driver may reset when `knob` is turned, as it is now.
fn disturbed(host: &dyn Host, knob: &Knob, nic: &str) -> Vec<(Address, String)> {
    let queues = host.list(&Address::file(format!("/sys/class/net/{nic}/queues"))).unwrap_or_default();
    let numbers = |prefix: &str| -> Vec<String> {
        queues.iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
    };
    let mut found = Vec::new();
    for template in &knob.disturbs {
        let template = template.replace("{nic}", nic);
        let addresses: Vec<String> = match ["{rx}", "{tx}"].iter().find(|name| template.contains(**name)) {
            Some(name) => {
                let prefix = format!("{}-", name.trim_matches(['{', '}']));
                numbers(&prefix).iter().map(|number| template.replace(name, number)).collect()
            }
            None => vec![template],
        };
        for address in addresses.iter().map(|text| Address::parse(text)) {
            found.extend(state(host, &address).ok().filter(|now| now != ABSENT).map(|now| (address, now)));
        }
    }
    found
}
