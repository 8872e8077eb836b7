//! Where effects and replies are kept: the one thing a store must do is commit both or neither.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::PathBuf;

use thiserror::Error;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Tables of bytes by bytes, in the order of their keys. [`ReplyLog`](super::ReplyLog) is its only writer.
///
/// What a store owes: a commit that returned `Ok` is there after the process or the host died, whole; one
/// that did not return, or returned an error, is there whole or not at all.
pub trait Store: Send {
    /// The value at `key` of `table`, as last committed. A table that nothing was written to is empty.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `max` entries of `table` in order of their keys, from `from` on, as last committed.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError>;

    /// Makes all of `writes` durable, or none.
    ///
    /// # Errors
    /// [`StoreError`]: whether they were kept shows only after [`Store::recover`].
    fn commit(&mut self, writes: &Writes) -> Result<(), StoreError>;

    /// After an error: goes back to what really was committed.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be used yet. Asked again later.
    fn recover(&mut self) -> Result<(), StoreError>;
}

/// Why a store cannot be opened or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("{path} is open in another process: stop that one, or give this one a file of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{path} is no store of ringwire's: name another file; this one was not changed")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "{path} is damaged ({what}): put back a copy, or move it away to begin anew, without the calls it remembers"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The store was written by a version of ringwire that keeps things otherwise.
    #[error(
        "the store is of format {found}, this version of ringwire reads {known}: use the version that wrote it"
    )]
    Format {
        /// What the store says.
        found: u32,
        /// What this build reads.
        known: u32,
    },
    /// A row of the store's own tables cannot be read.
    #[error("a row of table {table} cannot be read: the store is damaged, put back a copy")]
    Row {
        /// Which table.
        table: &'static str,
    },
    /// The kernel refused.
    #[error("{what}: {error}{}", advice(.error))]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The store refused.
    #[error("{what}: {error}")]
    Refused {
        /// What was tried.
        what: String,
        /// What the store said.
        error: String,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ": make room, calls go on by themselves"
        }
        io::ErrorKind::PermissionDenied => ": let this user write the file and its folder",
        io::ErrorKind::NotFound => ": make the folder first",
        _ => "",
    }
}

/// Writes that belong together: the last one to a key counts.
#[derive(Clone, Default)]
pub struct Writes {
    tables: BTreeMap<String, Table>,
}

type Table = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Writes {
    /// Puts `value` at `key` of `table`.
    pub fn put(&mut self, table: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.table(table).insert(key.into(), Some(value.into()));
    }

    /// Takes `key` out of `table`.
    pub fn remove(&mut self, table: &str, key: impl Into<Vec<u8>>) {
        self.table(table).insert(key.into(), None);
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Each table, with its writes in the order of their keys; `None` takes the key out.
    pub fn tables(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (&[u8], Option<&[u8]>)>)> {
        self.tables.iter().map(|(name, table)| {
            (name.as_str(), table.iter().map(|(key, value)| (key.as_slice(), value.as_deref())))
        })
    }

    /// What is written to `key`, if anything: a value, or that it is taken out.
    pub(super) fn find(&self, table: &str, key: &[u8]) -> Option<Option<&[u8]>> {
        self.tables.get(table)?.get(key).map(Option::as_deref)
    }

    /// Writes to `table` from `key` on.
    pub(super) fn from(&self, table: &str, key: &[u8]) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        let range = (Bound::Included(key), Bound::Unbounded);
        self.tables.get(table).into_iter().flat_map(move |table| table.range::<[u8], _>(range))
    }

    /// Takes over all of `later`.
    pub(super) fn extend(&mut self, later: Writes) {
        for (name, table) in later.tables {
            self.tables.entry(name).or_default().extend(table);
        }
    }

    /// Takes over all of `later`, and forgets what that takes out.
    pub(super) fn apply(&mut self, later: &Writes) {
        for (name, table) in &later.tables {
            let own = self.table(name);
            for (key, value) in table {
                match value {
                    Some(_) => own.insert(key.clone(), value.clone()),
                    None => own.remove(key),
                };
            }
        }
    }

    fn table(&mut self, name: &str) -> &mut Table {
        // Not `entry`: the name is copied once a table, not once a write.
        if !self.tables.contains_key(name) {
            self.tables.insert(name.to_owned(), Table::new());
        }
        self.tables.get_mut(name).expect("it was put in just above")
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.tables.iter().map(|(name, table)| (name, table.len()));
        f.debug_map().entries(counts).finish()
    }
}
