//! A host from a JSON file: what somebody recorded, or what a test invented.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ABSENT, Address, Host, Refusal, Why};

/// A host as data. Writing changes the data and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// True for one that nobody ever ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
    /// What it is, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What an invented one was built from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The format of this file.
    pub ringwire_host: u32,
    /// Values by address. A folder with nothing in it ends in a slash.
    pub facts: BTreeMap<String, String>,
    /// What was refused when it was read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Refused>,
    /// How the driver answers writes that it does not take as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub writes: BTreeMap<String, OnWrite>,
    /// Addresses that nobody can write to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read_only: Vec<String>,
}

/// A refusal in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The kind.
    pub why: Why,
    /// The kernel's words.
    pub text: String,
}

/// What a driver makes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnWrite {
    /// It takes the next power of two.
    PowerOfTwo,
    /// It says yes and does nothing.
    Ignored,
    /// EIO, as a managed interrupt does.
    Fixed,
    /// EINVAL.
    Invalid,
    /// EOPNOTSUPP, as for what a driver shows and does not have.
    Unsupported,
    /// EPERM.
    Denied,
    /// ENODEV: the NIC vanishes, with all that is below it.
    Vanishes,
}

/// Why a file is no host.
#[derive(Debug, Error)]
pub enum RecordedError {
    /// It cannot be read or written.
    #[error("{path}: {error}: name a file that `ringwire tune audit --record` wrote")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is no host.
    #[error("{path} is no recorded host: {text}: write one with `ringwire tune audit --record {path}`")]
    Format {
        /// Which.
        path: PathBuf,
        /// What was met.
        text: String,
    },
}

/// The format that is read and written.
pub const FORMAT: u32 = 1;

impl Recorded {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is no recorded host.
    pub fn load(path: &Path) -> Result<Recorded, RecordedError> {
        let text =
            fs::read_to_string(path).map_err(|error| RecordedError::File { path: path.into(), error })?;
        let bad = |text: String| RecordedError::Format { path: path.into(), text };
        let host: Recorded = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        match host.ringwire_host {
            FORMAT => Ok(host),
            other => Err(bad(format!("format {other}, this build reads {FORMAT}"))),
        }
    }

    /// Writes the file whole, or leaves it as it was.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RecordedError> {
        let text = serde_json::to_string_pretty(self).expect("maps of text are JSON");
        let beside = path.with_extension("json.new");
        let written = fs::write(&beside, text + "\n").and_then(|()| fs::rename(&beside, path));
        written.map_err(|error| RecordedError::File { path: path.into(), error })
    }

    fn refused(&self, address: &Address) -> Refusal {
        match self.refused.get(address.as_str()) {
            Some(refused) => Refusal::new(address, refused.why, refused.text.clone()),
            None => Refusal::new(address, Why::Absent, "there is no such thing on this host"),
        }
    }

    /// Takes everything of a NIC away, as when it is unplugged.
    fn unplug(&mut self, address: &Address) {
        // Any of `file:/sys/class/net/NIC/…`, `ethtool:NIC/…` and `rtnl:NIC/…`.
        let nic = address.rest().trim_start_matches("/sys/class/net/").split('/').next().unwrap_or("");
        let nic = nic.to_owned();
        let folder = format!("file:/sys/class/net/{nic}/");
        let (driver, link) = (format!("ethtool:{nic}/"), format!("rtnl:{nic}/"));
        let is_of_nic = |key: &String| {
            [&folder, &driver, &link].iter().any(|above| key.starts_with(above.as_str()))
                || *key == format!("qdisc:{nic}")
        };
        self.facts.retain(|key, _| !is_of_nic(key));
    }

    /// Queues appear and vanish with the channels.
    fn follow_channels(&mut self, nic: &str) {
        let count = |name: &str| -> usize {
            let key = format!("ethtool:{nic}/channels/{name}");
            self.facts.get(&key).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let queues = [("rx", count("combined") + count("rx")), ("tx", count("combined") + count("tx"))];
        for (way, count) in queues {
            let folder = format!("file:/sys/class/net/{nic}/queues/{way}-");
            let number =
                |key: &str| -> Option<usize> { key.strip_prefix(&folder)?.split('/').next()?.parse().ok() };
            self.facts.retain(|key, _| number(key).is_none_or(|queue| queue < count));
            let names: Vec<String> = self
                .facts
                .keys()
                .filter(|key| number(key) == Some(0))
                .filter_map(|key| key.rsplit('/').next().map(str::to_owned))
                .collect();
            for queue in 0..count {
                for name in &names {
                    // What the kernel gives a new queue: steered nowhere.
                    self.facts.entry(format!("{folder}{queue}/{name}")).or_insert_with(|| "0".into());
                }
            }
        }
        self.spread_table(nic, queues[0].1);
    }

    /// Drivers spread their table anew over the queues there are.
    fn spread_table(&mut self, nic: &str, queues: usize) {
        if let Some(table) = self.facts.get_mut(&format!("ethtool:{nic}/rss/table")) {
            let length = table.split_whitespace().count();
            let spread = (0..length).map(|bucket| (bucket % queues.max(1)).to_string());
            *table = spread.collect::<Vec<_>>().join(" ");
        }
    }
}

/// A file that shows all choices moves its brackets: `always [madvise] never`.
fn choose(now: &str, value: &str) -> String {
    let words: Vec<&str> = now.split_whitespace().map(|word| word.trim_matches(['[', ']'])).collect();
    if !now.contains('[') || !words.contains(&value) || words.len() < 2 {
        return value.to_owned();
    }
    let show = |word: &&str| if *word == value { format!("[{word}]") } else { (*word).to_owned() };
    words.iter().map(show).collect::<Vec<_>>().join(" ")
}

/// A recorded host whose changes go into its file at once, as a live one's go into the kernel.
#[derive(Debug)]
pub struct RecordedFile {
    host: Recorded,
    path: PathBuf,
}

impl RecordedFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or is no recorded host.
    pub fn open(path: &Path) -> Result<RecordedFile, RecordedError> {
        Ok(RecordedFile { host: Recorded::load(path)?, path: path.into() })
    }
}

impl Host for RecordedFile {
    fn read(&self, address: &Address) -> Result<String, Refusal> {
        self.host.read(address)
    }

    fn list(&self, address: &Address) -> Result<Vec<String>, Refusal> {
        self.host.list(address)
    }

    fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal> {
        let written = self.host.write(address, value);
        // A NIC that vanished is gone from the file, too.
        let saved = self.host.save(&self.path);
        written?;
        saved.map_err(|error| Refusal::new(address, Why::Other, error.to_string()))
    }

    fn read_only(&self, address: &Address) -> Option<Refusal> {
        self.host.read_only(address)
    }
}

impl Host for Recorded {
    fn read(&self, address: &Address) -> Result<String, Refusal> {
        match self.facts.get(address.as_str()) {
            Some(value) => Ok(value.trim().to_owned()),
            None => Err(self.refused(address)),
        }
    }

    fn list(&self, address: &Address) -> Result<Vec<String>, Refusal> {
        let folder = format!("{address}/");
        // Keys are sorted by text; queue 10 belongs behind queue 9.
        let mut names: Vec<&str> = Vec::new();
        let below = self.facts.range(folder.clone()..).map_while(|(key, _)| key.strip_prefix(&folder));
        for key in below {
            let name = key.split('/').next().unwrap_or(key);
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        let natural = |name: &str| {
            let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
            (name[..digits].to_owned(), name[digits..].parse::<u64>().unwrap_or(0))
        };
        names.sort_by_key(|name| natural(name));
        if names.is_empty() && !self.facts.contains_key(&folder) {
            return Err(self.refused(address));
        }
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn write(&mut self, address: &Address, value: &str) -> Result<(), Refusal> {
        if let Some(refusal) = self.read_only(address) {
            return Err(refusal);
        }
        let can_appear = ["ethtool", "cpuset"].contains(&address.scheme())
            && (address.as_str().contains("/ntuple/") || address.scheme() == "cpuset");
        if !self.facts.contains_key(address.as_str()) && !can_appear {
            return Err(self.refused(address));
        }
        let value = match self.writes.get(address.as_str()) {
            None => value.to_owned(),
            Some(OnWrite::Ignored) => return Ok(()),
            Some(OnWrite::Fixed) => return Err(Refusal::new(address, Why::Fixed, "Input/output error")),
            Some(OnWrite::Invalid) => return Err(Refusal::new(address, Why::Invalid, "Invalid argument")),
            Some(OnWrite::Unsupported) => {
                return Err(Refusal::new(address, Why::Unsupported, "Operation not supported"));
            }
            Some(OnWrite::Denied) => {
                return Err(Refusal::new(address, Why::Denied, "Operation not permitted"));
            }
            Some(OnWrite::Vanishes) => {
                self.unplug(address);
                return Err(Refusal::new(address, Why::Gone, "No such device"));
            }
            Some(OnWrite::PowerOfTwo) => {
                let number: u64 =
                    value.parse().map_err(|_| Refusal::new(address, Why::Invalid, "Invalid argument"))?;
                number.next_power_of_two().to_string()
            }
        };
        let value = self.facts.get(address.as_str()).map_or(value.clone(), |now| choose(now, &value));
        if value == ABSENT {
            self.facts.remove(address.as_str());
        } else {
            self.facts.insert(address.as_str().to_owned(), value);
        }
        if let Some((nic, _)) = address.rest().split_once("/channels/") {
            self.follow_channels(nic);
        }
        Ok(())
    }

    fn read_only(&self, address: &Address) -> Option<Refusal> {
        let listed = self.read_only.iter().any(|one| one == address.as_str());
        listed.then(|| Refusal::new(address, Why::ReadOnly, "nobody may write it on this host"))
    }
}
