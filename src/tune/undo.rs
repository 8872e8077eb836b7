//! Takes an apply back: each setting in reverse, unless somebody else changed it since.

use std::fmt;
use std::fs;
use std::path::Path;

use super::host::{ABSENT, Address, Host, Refusal, Why};
use super::identity::digest;
use super::journal::{Fact, Journal, JournalError, Store, Writer};
use super::knob::{Knob, find};
use super::plan::read_state;
use super::value::Form;

/// What came of an undo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Settings that are as they were.
    pub restored: usize,
    /// Files that were removed.
    pub removed: usize,
    /// What somebody else changed since, and is left alone, in words.
    pub left: Vec<String>,
    /// What could not be restored.
    pub failed: Vec<Refusal>,
}

impl Undone {
    /// True if nothing failed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} settings are as they were", self.restored)?;
        if self.removed > 0 {
            write!(f, ", {} files removed", self.removed)?;
        }
        for left in &self.left {
            write!(f, "\n  left alone: {left}")?;
        }
        for refusal in &self.failed {
            write!(f, "\n  NOT RESTORED: {refusal}")?;
        }
        Ok(())
    }
}

/// One change to take back.
struct Change<'a> {
    knob: &'static Knob,
    address: &'a Address,
    before: &'a str,
    wanted: &'a str,
    after: Option<&'a str>,
    disturbs: &'a [(Address, String)],
    /// An undo that died was at it.
    begun: bool,
}

/// Undoes what `journal` tells.
///
/// # Errors
/// The journal cannot be written to. What the host refuses is in the outcome.
pub fn undo(host: &mut dyn Host, journal: &Journal, writer: &mut Writer) -> Result<Undone, JournalError> {
    let mut undone = Undone::default();
    let nic_name = journal.title().0;
    let nic = Address::file(format!("/sys/class/net/{nic_name}/mtu"));
    for change in changes(journal, &nic_name, &mut undone).iter().rev() {
        restore(host, change, &nic, writer, &mut undone)?;
    }
    for (path, sum) in journal.persisted() {
        let shown = path.display().to_string();
        match fs::read(&path) {
            Err(_) => {}
            Ok(bytes) if digest(&bytes) != sum => {
                undone.left.push(format!("{shown} was edited since it was written"));
                continue;
            }
            Ok(_) => match fs::remove_file(&path) {
                Ok(()) => undone.removed += 1 + disable(&path),
                Err(error) => {
                    undone.failed.push(Refusal::from_io(&Address::file(&shown), &error));
                    continue;
                }
            },
        }
        writer.write(&Fact::Undone { what: shown })?;
    }
    if undone.is_whole() {
        writer.write(&Fact::Closed)?;
    }
    Ok(undone)
}

/// Takes away the link that `systemctl enable` made to the unit at `path`, which is gone: a boot would complain of it.
/// How many there were.
fn disable(path: &Path) -> usize {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return 0 };
    let link = folder.join("multi-user.target.wants").join(name);
    let leads_there = fs::read_link(&link).is_ok_and(|target| target.file_name() == Some(name));
    usize::from(leads_there && fs::remove_file(&link).is_ok())
}

/// Closes what was applied to `nic` before the boot named `boot`: the kernel has forgotten it. The files
/// that keep it are noted in the next apply's journal, once there is one.
///
/// # Errors
/// The journals cannot be used.
pub fn take_over(store: &Store, nic: &str, boot: &str) -> Result<Vec<Fact>, JournalError> {
    let mut kept = Vec::new();
    for journal in store.journals()?.iter().filter(|journal| !journal.is_closed()) {
        let old = |fact: &Fact| matches!(fact, Fact::Begin { nic: then, boot: begun, .. } if then == nic && begun != boot);
        if !journal.facts.iter().any(old) {
            continue;
        }
        let files = journal.persisted().into_iter();
        kept.extend(files.map(|(path, digest)| Fact::Persisted { path, digest }));
        store.append(journal.id)?.write(&Fact::Closed)?;
    }
    Ok(kept)
}

/// The changes of a journal in the order they were made, without those undone before. A journal is a
/// file, too: what is not one of its knob's places is never written.
fn changes<'a>(journal: &'a Journal, nic: &str, undone: &mut Undone) -> Vec<Change<'a>> {
    let mut changes: Vec<Change<'_>> = Vec::new();
    for fact in &journal.facts {
        match fact {
            Fact::Intent { knob, address, before, wanted, disturbs } => {
                let ours = find(knob).filter(|known| {
                    known.owns(address, nic) && disturbs.iter().all(|(at, _)| known.may_disturb(at, nic))
                });
                let Some(knob) = ours else {
                    undone.left.push(format!("{address} is no place of {knob}: set it to {before} by hand"));
                    continue;
                };
                let after = None;
                changes.push(Change { knob, address, before, wanted, after, disturbs, begun: false });
            }
            Fact::Done { address, after } => {
                if let Some(change) = changes.iter_mut().rev().find(|change| change.address == address) {
                    change.after = Some(after);
                }
            }
            Fact::Undoing { address } => {
                changes.iter_mut().filter(|change| change.address == address).for_each(|c| c.begun = true);
            }
            Fact::Undone { what } => changes.retain(|change| change.address.as_str() != what),
            _ => {}
        }
    }
    changes
}

fn restore(
    host: &mut dyn Host,
    change: &Change<'_>,
    nic: &Address,
    writer: &mut Writer,
    undone: &mut Undone,
) -> Result<(), JournalError> {
    let now = match read_state(host, change.knob, change.address) {
        Ok(now) => now,
        Err(refusal) => {
            undone.failed.push(refusal);
            return Ok(());
        }
    };
    if now == ABSENT && change.before != ABSENT && host.value(nic).is_none() {
        // Nobody changed it: it went with its NIC, and may come back with it.
        undone.failed.push(Refusal::new(change.address, Why::Gone, "No such device"));
        return Ok(());
    }
    let mut wrote = change.begun;
    if change.is_before(&now) {
        undone.restored += 1;
    } else if change.is_ours(&now) {
        writer.write(&Fact::Undoing { address: change.address.clone() })?;
        wrote = true;
        if let Err(refusal) = put_back(host, change) {
            undone.failed.push(refusal);
            return Ok(());
        }
        undone.restored += 1;
    } else {
        undone.left.push(format!("{} is {now}: somebody changed it since", change.address));
    }
    if wrote {
        put_back_disturbed(host, change, undone);
    }
    writer.write(&Fact::Undone { what: change.address.as_str().to_owned() })
}

impl Change<'_> {
    fn is_before(&self, now: &str) -> bool {
        now == self.before || (now != ABSENT && self.knob.form.same(now, self.before))
    }

    /// True if `now` is what the apply left. One that died in mid-write may have left a rounded value, or what lies
    /// between two steps: a rule that is taken away before the new one is put in, a cpuset without its CPUs.
    fn is_ours(&self, now: &str) -> bool {
        if now == ABSENT && self.knob.form != Form::Queue && self.knob.form != Form::Partition {
            return false;
        }
        let form = self.knob.form;
        match self.after {
            Some(after) => form.same(now, after),
            None => {
                let is_between = form == Form::Partition || form == Form::Queue && now == ABSENT;
                form.same(now, self.wanted) || self.knob.rounds || form == Form::Switch || is_between
            }
        }
    }
}

fn put_back(host: &mut dyn Host, change: &Change<'_>) -> Result<(), Refusal> {
    host.write(change.address, change.before)?;
    let now = read_state(host, change.knob, change.address)?;
    if change.is_before(&now) {
        return Ok(());
    }
    let text = format!("{} was written back, and {now} is there", change.before);
    Err(Refusal::new(change.address, Why::Other, text))
}

/// Values that the driver reset on the way.
fn put_back_disturbed(host: &mut dyn Host, change: &Change<'_>, undone: &mut Undone) {
    for (address, before) in change.disturbs {
        let Ok(now) = host.read(address) else { continue };
        let same = now == *before || Form::Mask.same(&now, before) || Form::Numbers.same(&now, before);
        if same {
            continue;
        }
        match host.write(address, before) {
            Ok(()) => undone.restored += 1,
            Err(refusal) => undone.failed.push(refusal),
        }
    }
}
