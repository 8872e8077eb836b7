//! The undo journal: what every setting was before it was touched. A line is on the disk before its
//! write is made, so that whatever dies, whenever, the way back is written down.
//!
//! ```text
//! begin ─> (intent ─> write ─> done)* ─> finished | unwound
//! ```
//!
//! One file per apply, one line per fact: a digest, a blank, the fact as JSON. A last line cut short is
//! an intent whose write never began; a line whose digest is wrong is told and left out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::host::Address;
use super::identity::digest;
use super::plan::{Plan, PlanError};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "kebab-case")]
pub enum Fact {
    /// An apply began.
    Begin {
        /// The NIC.
        nic: String,
        /// The profile.
        profile: String,
        /// The life of the host it began in.
        boot: String,
        /// When, in seconds since 1970.
        at: u64,
        /// Undone unless confirmed until then, in seconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_until: Option<u64>,
    },
    /// A setting is about to be written.
    Intent {
        /// The knob.
        knob: String,
        /// Where.
        address: Address,
        /// What it reads now.
        before: String,
        /// What is written.
        wanted: String,
        /// What else the driver may reset, with what it reads now.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        disturbs: Vec<(Address, String)>,
    },
    /// It was written, and read back.
    Done {
        /// Where.
        address: Address,
        /// What it reads now.
        after: String,
    },
    /// Every setting was written.
    Finished,
    /// Somebody said that the host is still reachable.
    Confirmed,
    /// A file that `persist` wrote, and the digest of what it wrote.
    Persisted {
        /// Where.
        path: PathBuf,
        /// Of what.
        digest: String,
    },
    /// A setting is about to be put back.
    Undoing {
        /// Where.
        address: Address,
    },
    /// A setting is back, or was left alone; or a file was removed.
    Undone {
        /// What.
        what: String,
    },
    /// All is undone.
    Closed,
}

/// Why the journal cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file system says no.
    #[error("{path}: {error}: give a folder that you may write to with --state DIR")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another apply or undo runs now.
    #[error("another ringwire tune runs on {path}: wait for its end")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// An apply waits to be confirmed.
    #[error(
        "apply {id} is not confirmed yet: `ringwire tune apply --confirm {id}` keeps it, `ringwire tune undo --id {id}` takes it back"
    )]
    Unconfirmed {
        /// Which.
        id: u64,
    },
    /// No such apply.
    #[error("there is no apply {id}: `ringwire tune status` lists them")]
    NoSuch {
        /// Which.
        id: u64,
    },
    /// Nothing to undo.
    #[error("nothing is applied here")]
    Nothing,
}

/// The folder of the journals, locked.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    // Held for its end, which unlocks.
    _lock: Option<Flock<File>>,
}

/// One journal as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Its number.
    pub id: u64,
    /// Its lines.
    pub facts: Vec<Fact>,
    /// What could not be read, in words.
    pub damage: Vec<String>,
}

/// A journal that is written to.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
}

impl Store {
    /// The journals in `folder`, for one who changes something: nobody else may until this is dropped.
    ///
    /// # Errors
    /// The folder cannot be used, or somebody else is at it.
    pub fn lock(folder: &Path) -> Result<Store, JournalError> {
        let file_error = |error| JournalError::File { path: folder.into(), error };
        make_folder(folder).map_err(file_error)?;
        let lock = OpenOptions::new().create(true).append(true).open(folder.join("lock"));
        let lock = Flock::lock(lock.map_err(file_error)?, FlockArg::LockExclusiveNonblock);
        let lock = lock.map_err(|_| JournalError::Busy { path: folder.into() })?;
        Ok(Store { folder: folder.into(), _lock: Some(lock) })
    }

    /// The journals in `folder`, for one who only looks.
    #[must_use]
    pub fn look(folder: &Path) -> Store {
        Store { folder: folder.into(), _lock: None }
    }

    /// Every journal, the oldest first.
    ///
    /// # Errors
    /// The folder cannot be read; one that is not there has none.
    pub fn journals(&self) -> Result<Vec<Journal>, JournalError> {
        let file_error = |error| JournalError::File { path: self.folder.clone(), error };
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(file_error)?,
        };
        let mut journals = Vec::new();
        for entry in entries {
            let name = entry.map_err(file_error)?.file_name().into_string().unwrap_or_default();
            let id = name.strip_suffix(".journal").and_then(|id| id.parse().ok());
            if let Some(id) = id {
                journals.push(self.read(id)?);
            }
        }
        journals.sort_by_key(|journal| journal.id);
        Ok(journals)
    }

    /// One journal.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn read(&self, id: u64) -> Result<Journal, JournalError> {
        let path = self.path(id);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => JournalError::NoSuch { id },
            _ => JournalError::File { path, error },
        })?;
        Ok(parse(id, &String::from_utf8_lossy(&text)))
    }

    /// Fails while an apply waits to be confirmed.
    ///
    /// # Errors
    /// One does, or the folder cannot be read.
    pub fn is_free(&self) -> Result<(), JournalError> {
        match self.journals()?.iter().find(|journal| journal.is_unconfirmed()) {
            Some(open) => Err(JournalError::Unconfirmed { id: open.id }),
            None => Ok(()),
        }
    }

    /// The plan that apply `id` followed.
    ///
    /// # Errors
    /// It is not there, or is none any more.
    pub fn plan(&self, id: u64) -> Result<Plan, PlanError> {
        Plan::load(&self.folder.join(format!("{id}.plan.toml")))
    }

    /// Begins a journal for `plan`, unless an apply waits to be confirmed.
    ///
    /// # Errors
    /// One does, or the folder cannot be written to.
    pub fn begin(&self, begin: &Fact, plan: &Plan) -> Result<(u64, Writer), JournalError> {
        self.is_free()?;
        let id = self.journals()?.last().map_or(1, |last| last.id + 1);
        let path = self.folder.join(format!("{id}.plan.toml"));
        fs::write(&path, plan.to_text()).map_err(|error| JournalError::File { path, error })?;
        let mut writer = self.append(id)?;
        writer.write(begin)?;
        // The name must be on the disk before the first write is made.
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| JournalError::File { path: self.folder.clone(), error })?;
        Ok((id, writer))
    }

    /// Opens a journal to write on.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn append(&self, id: u64) -> Result<Writer, JournalError> {
        let path = self.path(id);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = opened.map_err(|error| JournalError::File { path: path.clone(), error })?;
        // A line cut short by a crash must not swallow the next one.
        let cut = fs::read(&path).is_ok_and(|bytes| bytes.last().is_some_and(|&byte| byte != b'\n'));
        if cut {
            file.write_all(b"\n").map_err(|error| JournalError::File { path: path.clone(), error })?;
        }
        Ok(Writer { path, file })
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id}.journal"))
    }
}

impl Writer {
    /// Puts a fact on the disk: it is there when this returns.
    ///
    /// # Errors
    /// It is not.
    pub fn write(&mut self, fact: &Fact) -> Result<(), JournalError> {
        let json = serde_json::to_string(fact).expect("text and numbers are JSON");
        let line = format!("{} {json}\n", digest(json.as_bytes()));
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| JournalError::File { path: self.path.clone(), error })
    }
}

/// Makes a folder and those above it, each name on the disk: a journal in a folder that a crash takes is none.
fn make_folder(folder: &Path) -> io::Result<()> {
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    if folder.is_dir() {
        return Ok(());
    }
    above.map_or(Ok(()), make_folder)?;
    fs::create_dir_all(folder)?;
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

fn parse(id: u64, text: &str) -> Journal {
    let mut journal = Journal { id, facts: Vec::new(), damage: Vec::new() };
    let whole = text.ends_with('\n');
    let count = text.lines().count();
    for (index, line) in text.lines().enumerate() {
        let fact = line.split_once(' ').and_then(|(sum, json)| {
            (sum == digest(json.as_bytes())).then(|| serde_json::from_str(json).ok()).flatten()
        });
        match fact {
            Some(fact) => journal.facts.push(fact),
            None if index + 1 == count && !whole => {
                journal.damage.push("the last line was cut short by a crash, before its write began".into());
            }
            None if line.trim().is_empty() => {}
            None => journal.damage.push(format!("line {} cannot be read and is left out", index + 1)),
        }
    }
    journal
}

impl Journal {
    /// True once everything is undone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.facts.contains(&Fact::Closed)
    }

    /// True while a confirmation is awaited.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        self.confirm_until().is_some() && !self.is_closed() && !self.facts.contains(&Fact::Confirmed)
    }

    /// Undone unless confirmed until then, in seconds since 1970.
    #[must_use]
    pub fn confirm_until(&self) -> Option<u64> {
        self.facts.iter().find_map(|fact| match fact {
            Fact::Begin { confirm_until, .. } => *confirm_until,
            _ => None,
        })
    }

    /// The NIC, the profile and when it began.
    #[must_use]
    pub fn title(&self) -> (String, String, u64) {
        let begin = self.facts.iter().find_map(|fact| match fact {
            Fact::Begin { nic, profile, at, .. } => Some((nic.clone(), profile.clone(), *at)),
            _ => None,
        });
        begin.unwrap_or_default()
    }

    /// Files that `persist` wrote and that were not removed again, with their digests.
    #[must_use]
    pub fn persisted(&self) -> Vec<(PathBuf, String)> {
        let removed = |path: &Path| {
            let text = path.display().to_string();
            self.facts.iter().any(|fact| matches!(fact, Fact::Undone { what } if *what == text))
        };
        let mut files: Vec<(PathBuf, String)> = Vec::new();
        for fact in &self.facts {
            if let Fact::Persisted { path, digest } = fact {
                files.retain(|(known, _)| known != path);
                files.push((path.clone(), digest.clone()));
            }
        }
        files.retain(|(path, _)| !removed(path));
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ringwire-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn begin(confirm_until: Option<u64>) -> Fact {
        let text = || "x".to_owned();
        Fact::Begin { nic: text(), profile: text(), boot: text(), at: 0, confirm_until }
    }

    fn plan() -> Plan {
        Plan::parse("ringwire_plan = 1\nprofile = \"p\"\nnic = \"eth0\"\ncores = \"0\"\n[host]\nname = \"\"\nmachine = \"\"\ndriver = \"\"\nmac = \"\"\n")
            .expect("a plan of nothing")
    }

    #[test]
    fn a_line_cut_short_is_left_out_and_the_next_one_is_whole() {
        let folder = folder("cut");
        let store = Store::lock(&folder).expect("writable");
        let (id, mut writer) = store.begin(&begin(None), &plan()).expect("the first");
        writer.write(&Fact::Finished).expect("room");
        let path = folder.join("1.journal");
        let text = fs::read_to_string(&path).expect("written");
        // Without its line's end the last fact is whole, and counts.
        for length in text.find('\n').expect("two lines") + 2..text.len() - 1 {
            fs::write(&path, &text[..length]).expect("ours");
            let journal = store.read(id).expect("there");
            assert_eq!(journal.facts, [begin(None)], "{length}");
            assert_eq!(journal.damage.len(), 1, "{length}");
            store.append(id).expect("ours").write(&Fact::Closed).expect("room");
            assert!(store.read(id).expect("there").is_closed(), "{length}");
        }
        fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn a_line_that_was_tampered_with_is_told() {
        let folder = folder("tampered");
        let store = Store::lock(&folder).expect("writable");
        let (id, mut writer) = store.begin(&begin(None), &plan()).expect("the first");
        writer.write(&Fact::Finished).expect("room");
        let path = folder.join("1.journal");
        let text = fs::read_to_string(&path).expect("written").replace("\"x\"", "\"y\"");
        fs::write(&path, text).expect("ours");
        let journal = store.read(id).expect("there");
        assert_eq!((journal.facts, journal.damage.len()), (vec![Fact::Finished], 1));
        fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn one_at_a_time_and_none_while_one_is_unconfirmed() {
        let folder = folder("busy");
        let store = Store::lock(&folder).expect("writable");
        assert!(matches!(Store::lock(&folder), Err(JournalError::Busy { .. })));
        let (id, mut writer) = store.begin(&begin(Some(7)), &plan()).expect("the first");
        assert!(matches!(store.begin(&begin(None), &plan()), Err(JournalError::Unconfirmed { id: 1 })));
        writer.write(&Fact::Confirmed).expect("room");
        assert_eq!(store.begin(&begin(None), &plan()).expect("the second").0, id + 1);
        drop(store);
        assert!(Store::lock(&folder).is_ok());
        fs::remove_dir_all(&folder).expect("ours");
    }
}
