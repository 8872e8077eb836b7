//! A plan: every setting that a profile would change on this host, with what it is now. A file that a
//! person reads, edits and applies.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cpus::{Cpus, show_list};
use super::host::{ABSENT, Address, Host, state};
use super::identity::Identity;
use super::knob::{Knob, find};
use super::profile::{self, Entry, ProfileError, When};
use super::scope::Scope;
use super::value::{Form, chosen};
use super::want::{self, Spot, WantError};

/// What would be changed, and on which host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format of this file.
    pub ringwire_plan: u32,
    /// The profile it follows.
    pub profile: String,
    /// The NIC.
    pub nic: String,
    /// The workers' CPUs, as a list.
    pub cores: String,
    /// The host it was made on.
    pub host: Identity,
    /// What changes, in the order in which it is applied.
    #[serde(default, rename = "setting")]
    pub settings: Vec<Setting>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The knob.
    pub knob: String,
    /// Where.
    pub address: Address,
    /// What it is now.
    pub current: String,
    /// What it shall be.
    pub wanted: String,
    /// Why.
    #[serde(default)]
    pub why: String,
    /// What it can harm; for the reader.
    #[serde(default)]
    pub risk: String,
    /// What applying it disturbs; for the reader.
    #[serde(default)]
    pub disruption: String,
}

/// A plan with what it leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What the profile wants and this host does not have or allow, and why.
    pub notes: Vec<String>,
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// It wants what means nothing.
    #[error(transparent)]
    Want(#[from] WantError),
    /// The file cannot be read or written.
    #[error("{path}: {error}: name a file that `ringwire tune plan --output` wrote")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no plan.
    #[error("{path} is no plan: {text}: make one with `ringwire tune plan --output {path}`")]
    Format {
        /// Which.
        path: PathBuf,
        /// What was met.
        text: String,
    },
}

/// What earlier applies asked for and what the driver made of it, by address: a rounded value is not
/// planned again.
pub type Settled = BTreeMap<Address, (String, String)>;

/// Plans `profile` for `scope`.
///
/// # Errors
/// The profile cannot be used.
pub fn make(host: &dyn Host, scope: &Scope, profile: &str, settled: &Settled) -> Result<Planned, PlanError> {
    let entries = profile::resolve(profile, scope.driver.as_deref())?;
    let mut maker = Maker {
        host,
        scope,
        settled,
        rx_queues: scope.rx_queues,
        tx_queues: scope.tx_queues,
        settings: Vec::new(),
        notes: Vec::new(),
    };
    for (knob, entry) in &entries {
        maker.add(knob, entry)?;
    }
    maker.note_interrupts(&entries);
    let workers: Cpus = scope.workers.iter().copied().collect();
    let plan = Plan {
        ringwire_plan: FORMAT,
        profile: profile.to_owned(),
        nic: scope.nic.clone(),
        cores: show_list(&workers),
        host: Identity::of(host, scope),
        settings: maker.settings,
    };
    Ok(Planned { plan, notes: maker.notes })
}

struct Maker<'a> {
    host: &'a dyn Host,
    scope: &'a Scope,
    settled: &'a Settled,
    // As they will be once the channels are set.
    rx_queues: usize,
    tx_queues: usize,
    settings: Vec<Setting>,
    notes: Vec<String>,
}

/// One address of a knob.
struct Place {
    address: Address,
    queue: usize,
    /// The queue is not there yet.
    future: bool,
}

impl Maker<'_> {
    fn add(&mut self, knob: &Knob, entry: &Entry) -> Result<(), PlanError> {
        if !entry.when.is_none_or(|when| self.holds(when)) {
            return Ok(());
        }
        let limit = knob.limit.as_ref().map(|limit| self.limit(limit));
        if limit == Some(Some(0)) {
            // Such as receive channels where queues come in pairs.
            return Ok(());
        }
        let mut missing = 0;
        let places = self.places(knob);
        let count = places.len();
        for place in places {
            missing += self.add_at(knob, entry, &place, limit.flatten())?;
        }
        if count > 0 && missing == count {
            self.note(knob, knob.absent.as_deref().unwrap_or("this host does not have it"));
        }
        Ok(())
    }

    /// Adds the setting at one place; 1 if there is no such thing here.
    fn add_at(
        &mut self,
        knob: &Knob,
        entry: &Entry,
        place: &Place,
        limit: Option<u64>,
    ) -> Result<usize, PlanError> {
        let current = if place.future {
            ABSENT.to_owned()
        } else {
            match read_state(self.host, knob, &place.address) {
                Ok(current) => current,
                Err(refusal) if refusal.why == super::host::Why::Unsupported => return Ok(1),
                Err(refusal) => {
                    self.note(knob, &refusal.to_string());
                    return Ok(0);
                }
            }
        };
        let appears = matches!(knob.form, Form::Queue | Form::Partition);
        if current == ABSENT && !appears && !place.future {
            return Ok(1);
        }
        if entry.unless.as_ref().is_some_and(|word| current.contains(word.as_str())) {
            return Ok(0);
        }
        if let Some(fixed) = current.strip_suffix(" [fixed]") {
            if !knob.form.same(fixed, &entry.want) {
                self.note(knob, &format!("the driver keeps it {fixed}"));
            }
            return Ok(0);
        }
        // A queue that appears is steered nowhere.
        let reads = if place.future { "0" } else { &current };
        let spot = Spot { queue: place.queue, limit, queues: self.rx_queues };
        let Some(wanted) = want::resolve(knob, &entry.want, self.scope, &spot, reads)? else { return Ok(0) };
        if self.settled.get(&place.address) == Some(&(wanted.clone(), current.clone())) {
            return Ok(0);
        }
        if let Some(refusal) = self.host.read_only(&place.address) {
            self.note(knob, &refusal.to_string());
            return Ok(0);
        }
        self.follow_channels(knob, &wanted);
        self.settings.push(Setting {
            knob: knob.id.clone(),
            address: place.address.clone(),
            current,
            wanted,
            why: entry.why.clone(),
            risk: format!("{}: {}", knob.risk.letter(), knob.risk.words()),
            disruption: knob.disruption.clone(),
        });
        Ok(0)
    }

    fn limit(&self, template: &str) -> Option<u64> {
        self.host.number(&Address::parse(&template.replace("{nic}", &self.scope.nic)))
    }

    fn follow_channels(&mut self, knob: &Knob, wanted: &str) {
        let Ok(count) = wanted.parse::<usize>() else { return };
        match knob.id.as_str() {
            "channels.combined" => (self.rx_queues, self.tx_queues) = (count, count),
            "channels.rx" => self.rx_queues = count,
            "channels.tx" => self.tx_queues = count,
            _ => {}
        }
    }

    fn holds(&self, when: When) -> bool {
        match when {
            When::SingleQueue => self.rx_queues <= 1,
            When::MultiQueue => self.rx_queues > 1,
            When::FewQueues => self.rx_queues < self.scope.workers.len().max(2),
            When::Physical => self.scope.physical,
            When::SeveralNodes => self.scope.nodes > 1,
        }
    }

    /// Every address of `knob` here.
    fn places(&self, knob: &Knob) -> Vec<Place> {
        let scope = self.scope;
        let template = knob.address.replace("{nic}", &scope.nic);
        let place = |name: &str, number: usize, queue: usize, future: bool| Place {
            address: Address::parse(&template.replace(name, &number.to_string())),
            queue,
            future,
        };
        let queues = |name: &'static str, wanted: usize, now: usize| {
            (0..wanted).map(|queue| place(name, queue, queue, queue >= now)).collect()
        };
        if template.contains("{rx}") {
            queues("{rx}", self.rx_queues, scope.rx_queues)
        } else if template.contains("{tx}") {
            queues("{tx}", self.tx_queues, scope.tx_queues)
        } else if template.contains("{irq}") {
            let of =
                |irq: &super::interrupts::Interrupt| place("{irq}", irq.number as usize, irq.queue, false);
            scope.interrupts.iter().map(of).collect()
        } else if template.contains("{napi}") {
            let of = |(at, id): (usize, &u32)| place("{napi}", *id as usize, at, false);
            scope.napis.iter().enumerate().map(of).collect()
        } else if template.contains("{worker}") {
            scope.workers.iter().map(|&cpu| place("{worker}", cpu, 0, false)).collect()
        } else if template.contains("{node}") {
            // A guest's NIC is on no node, and a guest mostly has one.
            vec![place("{node}", scope.node.unwrap_or(0), 0, false)]
        } else if template.contains("{port}") {
            scope.port.into_iter().map(|port| place("{port}", usize::from(port), 0, false)).collect()
        } else {
            vec![Place { address: Address::parse(&template), queue: 0, future: false }]
        }
    }

    fn note(&mut self, knob: &Knob, text: &str) {
        self.notes.push(format!("{}: {text}", knob.id));
    }

    fn note_interrupts(&mut self, entries: &[(&Knob, Entry)]) {
        let places = entries.iter().any(|(knob, _)| knob.id == "irq.affinity");
        if places && self.rx_queues > self.scope.rx_queues {
            self.notes.push(
                "irq.affinity: new queues bring new interrupts: plan once more after applying this".into(),
            );
        }
    }
}

/// The profiles that can be asked for by name.
#[must_use]
pub fn every_profile() -> Vec<&'static str> {
    profile::names()
}

/// What `address` reads as plans write it: one chosen word where the file shows all.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_state(host: &dyn Host, knob: &Knob, address: &Address) -> Result<String, super::host::Refusal> {
    let text = state(host, address)?;
    Ok(if knob.form == Form::Word { chosen(&text).to_owned() } else { text })
}

impl Plan {
    /// Reads a plan and holds it against the catalogue.
    ///
    /// # Errors
    /// It cannot be read, or is no plan; what is wrong is named with its line where that is known.
    pub fn load(path: &Path) -> Result<Plan, PlanError> {
        let text = fs::read_to_string(path).map_err(|error| PlanError::File { path: path.into(), error })?;
        Plan::parse(&text).map_err(|text| PlanError::Format { path: path.into(), text })
    }

    /// Reads a plan's text; otherwise what is wrong with it.
    pub fn parse(text: &str) -> Result<Plan, String> {
        let plan: Plan = toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
        if plan.ringwire_plan != FORMAT {
            return Err(format!("format {}, this build reads {FORMAT}", plan.ringwire_plan));
        }
        plan.settings.iter().try_for_each(|setting| check(&plan, setting))?;
        Ok(plan)
    }

    /// As a file that a person reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let body = toml::to_string(self).expect("text and numbers are TOML");
        format!(
            "# A plan of `ringwire tune plan`: nothing here is applied yet. Take a setting out, or change what is\n\
             # wanted, and run `ringwire tune apply` on this file.\n{body}"
        )
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), PlanError> {
        fs::write(path, self.to_text()).map_err(|error| PlanError::File { path: path.into(), error })
    }
}

/// A plan may have been edited: each setting must still be one of its knob's.
fn check(plan: &Plan, setting: &Setting) -> Result<(), String> {
    let Setting { knob: id, address, wanted, .. } = setting;
    let knob = find(id).filter(|knob| knob.is_writable());
    let knob = knob.ok_or_else(|| format!("{id} is no knob: tuning/knobs.toml lists them"))?;
    if !knob.owns(address, &plan.nic) {
        return Err(format!(
            "{address} does not belong to {id} of {}: its place is {}",
            plan.nic, knob.address
        ));
    }
    if knob.form.canonical(wanted).is_none() {
        return Err(format!("{id} cannot be '{wanted}' at {address}: it is a {:?}", knob.form).to_lowercase());
    }
    let twice = plan.settings.iter().filter(|other| other.address == *address).count() > 1;
    if twice { Err(format!("{address} is set twice: leave one of them")) } else { Ok(()) }
}

/// The format that is read and written.
const FORMAT: u32 = 1;
