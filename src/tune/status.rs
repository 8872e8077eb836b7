//! What is applied, and whether it still holds.

use super::host::Host;
use super::journal::{Fact, Journal};
use super::knob::find;
use super::plan::{Settled, read_state};

/// How one setting of an apply stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As applied.
    Holds,
    /// As before the apply.
    Reverted,
    /// Neither.
    Changed(String),
    /// It cannot be read.
    Unreadable(String),
}

/// One setting of an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The knob.
    pub knob: String,
    /// Where.
    pub address: String,
    /// What it was.
    pub before: String,
    /// What it was set to.
    pub after: String,
    /// How it stands.
    pub standing: Standing,
}

/// One apply that is not undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The journal's number.
    pub id: u64,
    /// The NIC.
    pub nic: String,
    /// The profile.
    pub profile: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// Undone unless confirmed until then; `None` when nothing is awaited.
    pub confirm_until: Option<u64>,
    /// It ended in the middle: a crash.
    pub broken_off: bool,
    /// The host was started anew since.
    pub rebooted: bool,
    /// Its settings.
    pub lines: Vec<Line>,
    /// Files that keep it over a reboot.
    pub persisted: Vec<String>,
    /// What of the journal cannot be read.
    pub damage: Vec<String>,
}

/// Every apply that is not undone.
#[must_use]
pub fn reports(host: &dyn Host, journals: &[Journal], boot: &str) -> Vec<Report> {
    journals
        .iter()
        .filter(|journal| !journal.is_closed())
        .map(|journal| report(host, journal, boot))
        .collect()
}

fn report(host: &dyn Host, journal: &Journal, boot: &str) -> Report {
    let (nic, profile, at) = journal.title();
    let boots =
        journal.facts.iter().any(|fact| matches!(fact, Fact::Begin { boot: then, .. } if then != boot));
    Report {
        id: journal.id,
        nic,
        profile,
        at,
        confirm_until: journal.confirm_until().filter(|_| journal.is_unconfirmed()),
        broken_off: !journal.facts.contains(&Fact::Finished),
        rebooted: boots,
        lines: lines(host, journal),
        persisted: journal.persisted().into_iter().map(|(path, _)| path.display().to_string()).collect(),
        damage: journal.damage.clone(),
    }
}

fn lines(host: &dyn Host, journal: &Journal) -> Vec<Line> {
    let done = |wanted_at: &super::host::Address| {
        journal.facts.iter().rev().find_map(|fact| match fact {
            Fact::Done { address, after } if address == wanted_at => Some(after.clone()),
            _ => None,
        })
    };
    let undone =
        |text: &str| journal.facts.iter().any(|fact| matches!(fact, Fact::Undone { what } if what == text));
    let mut lines = Vec::new();
    for fact in &journal.facts {
        let Fact::Intent { knob: id, address, before, wanted, .. } = fact else { continue };
        let Some(knob) = find(id).filter(|_| !undone(address.as_str())) else { continue };
        let after = done(address).unwrap_or_else(|| wanted.clone());
        let standing = match read_state(host, knob, address) {
            Err(refusal) => Standing::Unreadable(refusal.to_string()),
            Ok(now) if knob.form.same(&now, &after) => Standing::Holds,
            Ok(now) if knob.form.same(&now, before) => Standing::Reverted,
            Ok(now) => Standing::Changed(now),
        };
        let (knob, address) = (id.clone(), address.as_str().to_owned());
        lines.push(Line { knob, address, before: before.clone(), after, standing });
    }
    lines
}

/// What open applies asked for and got, for [`super::plan::make`].
#[must_use]
pub fn settled(journals: &[Journal]) -> Settled {
    let mut settled = Settled::new();
    for journal in journals.iter().filter(|journal| !journal.is_closed()) {
        for fact in &journal.facts {
            match fact {
                Fact::Intent { address, wanted, .. } => {
                    settled.insert(address.clone(), (wanted.clone(), String::new()));
                }
                Fact::Done { address, after } => {
                    if let Some((_, got)) = settled.get_mut(address) {
                        got.clone_from(after);
                    }
                }
                _ => {}
            }
        }
    }
    settled
}
