//! The file that says which keys may come in.
//!
//! ```text
//! # key                                               name      limits
//! rw1AAAA…                                            billing   methods=1,7 sessions=4 lanes=3 calls=1000
//! rw1BBBB…                                            monitor   methods=* reassembly=1MiB unacked=16MiB
//! ```
//!
//! Read again at any time: a file that cannot be read, or holds an error, changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::crypto::{KeyError, PublicKey};
use crate::transport::security::{Admission, Gate};
use crate::units::parse_size;

/// Why a list was not taken. The one in force stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllowError {
    /// The file could not be read.
    #[error("cannot read the list {path}: {error}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// A line's key is none.
    #[error("line {line} of the list: the key: {error}")]
    Key {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        error: KeyError,
    },
    /// A line without a name.
    #[error("line {line} of the list: after the key comes a name for it, such as `billing`")]
    Name {
        /// Which line, from 1.
        line: usize,
    },
    /// A limit that is none.
    #[error(
        "line {line} of the list: `{word}` is no limit: write methods=1,7, methods=*, sessions=4, lanes=16, calls=100, reassembly=64MiB or unacked=64MiB"
    )]
    Limit {
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        word: String,
    },
    /// One key on two lines.
    #[error("line {line} of the list: this key stands on line {first} already")]
    Twice {
        /// Which line, from 1.
        line: usize,
        /// Where it stands, too.
        first: usize,
    },
}

/// What one key may do, and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Its name, for logs.
    pub name: String,
    /// What it may do.
    pub admission: Admission,
}

/// A gate that lets in the keys of a list. Clones of the `Arc` it is kept in share it.
pub struct AllowList {
    keys: RwLock<BTreeMap<PublicKey, Allowed>>,
    generation: AtomicU64,
    path: Option<PathBuf>,
}

impl AllowList {
    /// The list in `path`.
    ///
    /// # Errors
    /// [`AllowError`], with the line.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, AllowError> {
        let path = path.into();
        let keys = read(&path)?;
        Ok(Self { keys: RwLock::new(keys), generation: AtomicU64::new(0), path: Some(path) })
    }

    /// The list that `text` spells out.
    ///
    /// # Errors
    /// [`AllowError`], with the line.
    pub fn parse(text: &str) -> Result<Self, AllowError> {
        Ok(Self { keys: RwLock::new(parse(text)?), generation: AtomicU64::new(0), path: None })
    }

    /// Takes the list of `text` from here on: sessions of keys that are not on it end within a moment.
    ///
    /// # Errors
    /// [`AllowError`]; the list in force stays.
    pub fn replace(&self, text: &str) -> Result<(), AllowError> {
        self.set(parse(text)?);
        Ok(())
    }

    /// Reads the list's file again; how many keys it holds. One that was not read from a file stays as it is.
    ///
    /// # Errors
    /// [`AllowError`]; the list in force stays.
    pub fn reload(&self) -> Result<usize, AllowError> {
        if let Some(path) = &self.path {
            self.set(read(path)?);
        }
        Ok(self.len())
    }

    fn set(&self, keys: BTreeMap<PublicKey, Allowed>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        // Release: who sees the new number sees the new list.
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// What is allowed to `key`.
    #[must_use]
    pub fn get(&self, key: &PublicKey) -> Option<Allowed> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// How many keys it lets in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// True when it lets nobody in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Gate for AllowList {
    fn admit(&self, key: &PublicKey) -> Option<Admission> {
        self.get(key).map(|allowed| allowed.admission)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl fmt::Debug for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllowList").field("keys", &self.len()).field("path", &self.path).finish()
    }
}

fn read(path: &Path) -> Result<BTreeMap<PublicKey, Allowed>, AllowError> {
    let text = std::fs::read_to_string(path);
    parse(&text.map_err(|error| AllowError::Read { path: path.to_owned(), error })?)
}

fn parse(text: &str) -> Result<BTreeMap<PublicKey, Allowed>, AllowError> {
    let mut keys = BTreeMap::new();
    let mut lines: BTreeMap<PublicKey, usize> = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default();
        let mut words = content.split_whitespace();
        let Some(key) = words.next() else { continue };
        let key: PublicKey = key.parse().map_err(|error| AllowError::Key { line, error })?;
        let name = words.next().filter(|name| !name.contains('=')).ok_or(AllowError::Name { line })?;
        let mut admission = Admission::default();
        for word in words {
            let limit = limit(word, &mut admission);
            limit.ok_or_else(|| AllowError::Limit { line, word: word.to_owned() })?;
        }
        if let Some(first) = lines.insert(key, line) {
            return Err(AllowError::Twice { line, first });
        }
        keys.insert(key, Allowed { name: name.to_owned(), admission });
    }
    Ok(keys)
}

fn limit(word: &str, admission: &mut Admission) -> Option<()> {
    let quotas = &mut admission.quotas;
    match word.split_once('=')? {
        ("methods", "*") => admission.methods = None,
        ("methods", list) => {
            let methods: Result<Vec<u32>, _> = list.split(',').map(str::parse).collect();
            admission.methods = Some(methods.ok()?.into());
        }
        ("sessions", count) => quotas.sessions = Some(count.parse().ok()?),
        ("calls", count) => quotas.calls = Some(count.parse().ok()?),
        ("reassembly", size) => quotas.reassembly = Some(parse_size(size).ok()?),
        ("unacked", size) => quotas.unacked = Some(parse_size(size).ok()?),
        ("lanes", count) => quotas.lanes = Some(count.parse().ok()?),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Csprng, Identity};

    fn key(seed: u8) -> PublicKey {
        Identity::generate(&mut Csprng::new([seed; 32])).public_key()
    }

    #[test]
    fn a_list_says_who_may_do_what() {
        let text = format!(
            "# who may come in\n{} billing methods=1,7 sessions=4\n\n  {} monitor # everything\n",
            key(1),
            key(2)
        );
        let list = AllowList::parse(&text).unwrap();
        let billing = list.get(&key(1)).unwrap();
        assert_eq!(billing.name, "billing");
        assert!(billing.admission.allows(7) && !billing.admission.allows(2));
        assert_eq!(billing.admission.quotas.sessions, Some(4));
        assert!(list.admit(&key(2)).unwrap().allows(2));
        assert_eq!(list.admit(&key(3)), None);
    }

    #[test]
    fn a_line_that_is_wrong_is_named_and_the_list_in_force_stays() {
        let list = AllowList::parse(&format!("{} a\n", key(1))).unwrap();
        for (line, says) in [
            (format!("{} b methods=x", key(2)), "methods=1,7"),
            (format!("{} b colour=blue", key(2)), "no limit"),
            (format!("{} sessions=1", key(2)), "a name"),
            (format!("{} b", &key(2).to_string()[..20]), "copy it again"),
            (format!("{} b\n{} c", key(2), key(2)), "stands on line 2"),
        ] {
            let error = list.replace(&format!("# fine\n{line}\n")).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("line "), "{error}");
            assert!(list.get(&key(1)).is_some());
            assert_eq!(list.generation(), 0);
        }
        list.replace("").unwrap();
        assert!(list.is_empty() && list.generation() == 1);
    }

    #[test]
    fn a_list_whose_file_is_gone_stays_in_force() {
        let path = std::env::temp_dir().join(format!("ringwire-allow-{}", std::process::id()));
        std::fs::write(&path, format!("{} a\n", key(1))).unwrap();
        let list = AllowList::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(list.reload(), Err(AllowError::Read { .. })));
        assert_eq!(list.len(), 1);
        assert!(AllowList::open(&path).is_err());
    }
}
