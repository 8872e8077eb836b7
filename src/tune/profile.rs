//! Profiles: which way to turn which knob, and why. Data that a person reads, `tuning/profiles/*.toml`;
//! the shipped ones are compiled in, and a path names one of the user's own.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use thiserror::Error;

use super::knob::{Knob, find};

/// One profile as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Whom it is for.
    pub about: String,
    /// Profiles that come first; later ones win.
    #[serde(default)]
    pub include: Vec<String>,
    /// Drivers that it amends every profile for.
    #[serde(default)]
    pub drivers: Vec<String>,
    /// What it wants.
    #[serde(default)]
    pub knob: Vec<Entry>,
}

/// What a profile wants of one knob.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The knob.
    pub id: String,
    /// The value, in the words of [`super::want`]; `leave` takes the knob out again.
    pub want: String,
    /// Why.
    pub why: String,
    /// Only on such hosts.
    #[serde(default)]
    pub when: Option<When>,
    /// Not where the value now holds this word.
    #[serde(default)]
    pub unless: Option<String>,
    /// In a driver's profile: only when one of these was asked for.
    #[serde(default)]
    pub profiles: Vec<String>,
}

/// Kinds of host that an entry may be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// The NIC has one receive queue.
    SingleQueue,
    /// It has several.
    MultiQueue,
    /// It has fewer queues than there are workers.
    FewQueues,
    /// There is hardware behind it, or a hypervisor's.
    Physical,
    /// The host has several NUMA nodes.
    SeveralNodes,
}

/// Why a profile cannot be used.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// No such profile.
    #[error("there is no profile {name}: choose from {}, or give the path of a file", names().join(", "))]
    Unknown {
        /// Which was asked for.
        name: String,
    },
    /// A file that cannot be read.
    #[error("profile {name}: {error}: name a file that can be read")]
    File {
        /// Which.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// A file that is no profile.
    #[error("profile {name}: {error}: see tuning/profiles/base.toml for the form")]
    Format {
        /// Which.
        name: String,
        /// What was met.
        error: Box<toml::de::Error>,
    },
    /// A knob that there is not.
    #[error("profile {name} turns {id}, which is no knob: tuning/knobs.toml lists them")]
    NoSuchKnob {
        /// Which profile.
        name: String,
        /// Which knob.
        id: String,
    },
    /// A profile that includes itself.
    #[error("profile {name} includes itself: take the include out")]
    Circle {
        /// Which.
        name: String,
    },
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../tuning/profiles/", $name, ".toml")))),*]
    };
}

/// Profiles that can be asked for.
const SHIPPED: &[(&str, &str)] = shipped!["base", "latency", "throughput", "balanced", "cloud-vm"];

/// Amendments for drivers, taken by themselves.
const DRIVERS: &[(&str, &str)] =
    shipped!["driver-mlx5", "driver-ice", "driver-ena", "driver-gve", "driver-virtio", "driver-veth"];

/// The names of the shipped profiles.
#[must_use]
pub fn names() -> Vec<&'static str> {
    SHIPPED.iter().map(|(name, _)| *name).collect()
}

/// Every shipped profile, drivers' too.
///
/// # Errors
/// One of them is wrong.
pub fn shipped() -> Result<Vec<Profile>, ProfileError> {
    SHIPPED.iter().chain(DRIVERS).map(|(name, text)| read(name, text)).collect()
}

/// What profile `name` wants on a NIC of `driver`, includes and the driver's amendments resolved.
///
/// # Errors
/// There is no such profile, or it is wrong.
pub fn resolve(name: &str, driver: Option<&str>) -> Result<Vec<(&'static Knob, Entry)>, ProfileError> {
    let mut entries: Vec<Entry> = Vec::new();
    let top = load(name)?;
    let mut chain = vec![name.to_owned()];
    for included in &top.include {
        gather(included, &mut chain, &mut entries)?;
    }
    // A driver's amendments come behind what is shipped, and before what the user's own file says.
    let is_own = !names().contains(&name);
    if !is_own {
        top.knob.iter().cloned().for_each(|entry| put(&mut entries, entry));
    }
    amend(driver, &all_names(name, &top), &mut entries)?;
    if is_own {
        top.knob.into_iter().for_each(|entry| put(&mut entries, entry));
    }
    let left = entries.into_iter().filter(|entry| entry.want != LEAVE);
    let mut resolved = Vec::new();
    for entry in left {
        let knob = find(&entry.id).filter(|knob| knob.is_writable());
        let missing = || ProfileError::NoSuchKnob { name: name.into(), id: entry.id.clone() };
        resolved.push((knob.ok_or_else(missing)?, entry));
    }
    resolved.sort_by_key(|(knob, _)| knob.order);
    Ok(resolved)
}

fn amend(driver: Option<&str>, asked: &[String], entries: &mut Vec<Entry>) -> Result<(), ProfileError> {
    for (file, text) in DRIVERS {
        let amendment = read(file, text)?;
        if driver.is_some_and(|driver| amendment.drivers.iter().any(|one| one == driver)) {
            let is_asked = |entry: &Entry| {
                entry.profiles.is_empty() || entry.profiles.iter().any(|profile| asked.contains(profile))
            };
            amendment.knob.into_iter().filter(is_asked).for_each(|entry| put(entries, entry));
        }
    }
    Ok(())
}

/// The profile and those it includes by name: an own one that includes `latency` is amended as that is.
fn all_names(name: &str, profile: &Profile) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(profile.include.iter().cloned()).collect()
}

fn gather(name: &str, above: &mut Vec<String>, entries: &mut Vec<Entry>) -> Result<(), ProfileError> {
    if above.iter().any(|one| one == name) {
        return Err(ProfileError::Circle { name: name.into() });
    }
    let profile = load(name)?;
    above.push(name.to_owned());
    for included in &profile.include {
        gather(included, above, entries)?;
    }
    above.pop();
    profile.knob.into_iter().for_each(|entry| put(entries, entry));
    Ok(())
}

/// The last word about a knob on one kind of host counts.
fn put(entries: &mut Vec<Entry>, entry: Entry) {
    match entry.want.as_str() {
        LEAVE => entries.retain(|other| other.id != entry.id),
        _ => {
            entries.retain(|other| other.id != entry.id || (other.when != entry.when && entry.when.is_some()))
        }
    }
    entries.push(entry);
}

fn load(name: &str) -> Result<Profile, ProfileError> {
    if let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) {
        return read(name, text);
    }
    if !name.contains('/') && Path::new(name).extension().is_none() {
        return Err(ProfileError::Unknown { name: name.into() });
    }
    let text = fs::read_to_string(name).map_err(|error| ProfileError::File { name: name.into(), error })?;
    read(name, &text)
}

fn read(name: &str, text: &str) -> Result<Profile, ProfileError> {
    toml::from_str(text).map_err(|error| ProfileError::Format { name: name.into(), error: Box::new(error) })
}

/// Takes a knob out of what was included.
const LEAVE: &str = "leave";

#[cfg(test)]
mod tests {
    use super::super::scope::Scope;
    use super::super::want::{self, Spot};
    use super::*;

    #[test]
    fn every_shipped_profile_resolves_and_says_why() {
        for profile in shipped().expect("they are compiled in") {
            assert!(!profile.about.is_empty(), "{}", profile.name);
            for entry in &profile.knob {
                let knob = find(&entry.id).unwrap_or_else(|| panic!("{}: {}", profile.name, entry.id));
                assert!(!entry.why.is_empty(), "{}: {}", profile.name, entry.id);
                if entry.want != LEAVE {
                    let scope = Scope { workers: vec![0], cpus: [0].into(), ..Scope::default() };
                    let spot = Spot { limit: Some(1 << 20), ..Spot::default() };
                    want::resolve(knob, &entry.want, &scope, &spot, "0").unwrap_or_else(|e| panic!("{e}"));
                }
            }
        }
        for name in names() {
            assert!(resolve(name, None).is_ok_and(|entries| entries.len() > 3), "{name}");
        }
    }

    #[test]
    fn a_later_word_wins_and_leave_takes_a_knob_out() {
        let wants = |name: &str, driver: Option<&str>, id: &str| -> Vec<String> {
            let entries = resolve(name, driver).expect(name);
            entries.into_iter().filter(|(knob, _)| knob.id == id).map(|(_, entry)| entry.want).collect()
        };
        assert_eq!(wants("latency", None, "offload.lro"), ["off"], "from base");
        assert_eq!(wants("latency", None, "coalesce.rx-usecs"), ["0"]);
        assert_eq!(wants("latency", Some("ena"), "coalesce.adaptive-tx"), [""; 0]);
        let own = std::env::temp_dir().join(format!("ringwire-profile-{}.toml", std::process::id()));
        let text = "name = \"o\"\nabout = \"o\"\ninclude = [\"latency\"]\n[[knob]]\nid = \"coalesce.adaptive-tx\"\nwant = \"1\"\nwhy = \"o\"\n";
        std::fs::write(&own, text).expect("writable");
        let own_name = own.to_str().expect("plain");
        assert_eq!(wants(own_name, Some("ena"), "coalesce.adaptive-tx"), ["1"], "the user has the last word");
        std::fs::write(&own, text.replace("latency", own_name)).expect("writable");
        assert!(matches!(resolve(own_name, None), Err(ProfileError::Circle { .. })));
        std::fs::remove_file(&own).expect("ours");
    }

    #[test]
    fn a_profile_that_is_not_there_is_told_with_those_that_are() {
        let error = resolve("speed", None).expect_err("no such").to_string();
        assert!(error.contains("latency") && error.contains("cloud-vm"), "{error}");
        assert!(resolve("./no-such.toml", None).expect_err("no file").to_string().contains("no-such"));
    }
}
