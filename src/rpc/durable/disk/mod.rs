//! The store on disk: one file, by `redb`. Behind the feature `durable`.
#![expect(clippy::result_large_err, reason = "redb's own error; an fsync is dearer than moving it")]

mod file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, Durability, StorageError, TableDefinition, TableError};

use super::store::{Entry, Store, StoreError, Writes};

/// A store in one file, which it locks. A commit is one transaction with one fsync at its end.
///
/// After a crash the next opening checks the file, which takes the longer the larger it is.
pub struct DiskStore {
    shared: Arc<Shared>,
}

/// Reads what a [`DiskStore`] has committed, from any thread, while it is in use. Clones are the same.
#[derive(Clone, Debug)]
pub struct DiskView {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` after an error, until the file could be opened again.
    database: RwLock<Option<Database>>,
    reopen: Reopen,
}

type Reopen = Box<dyn Fn() -> Result<Database, StoreError> + Send + Sync>;

impl DiskStore {
    /// The store in the file at `path`, which is made if it is not there. Its folder must be.
    ///
    /// # Errors
    /// [`StoreError`]: says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        Self::by(Box::new(move || file::open(&path)))
    }

    fn by(reopen: Reopen) -> Result<Self, StoreError> {
        let database = RwLock::new(Some(reopen()?));
        Ok(Self { shared: Arc::new(Shared { database, reopen }) })
    }

    /// A view for other threads.
    #[must_use]
    pub fn view(&self) -> DiskView {
        DiskView { shared: self.shared.clone() }
    }
}

impl Store for DiskStore {
    fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.read(table, key)
    }

    fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError> {
        self.shared.scan(table, from, max)
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        self.shared.with("committing durable calls", |database| commit(database, writes))
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closed before it is opened again: its lock would be in the way.
        *database = None;
        *database = Some((self.shared.reopen)()?);
        Ok(())
    }
}

impl DiskView {
    /// As [`Store::read`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.read(table, key)
    }

    /// As [`Store::scan`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError> {
        self.shared.scan(table, from, max)
    }
}

impl Shared {
    fn with<T>(
        &self,
        what: &str,
        use_it: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed =
            || StoreError::Refused { what: what.into(), error: "the store is closed after an error".into() };
        use_it(database.as_ref().ok_or_else(closed)?).map_err(|error| match error {
            redb::Error::Io(error) => StoreError::Io { what: what.into(), error },
            other => StoreError::Refused { what: what.into(), error: other.to_string() },
        })
    }

    fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with("reading the store of durable calls", |database| {
            let Some(table) = open(database, table)? else { return Ok(None) };
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError> {
        self.with("reading the store of durable calls", |database| {
            let Some(table) = open(database, table)? else { return Ok(Vec::new()) };
            let copied = table.range(from..)?.take(max).map(|entry| {
                let (key, value) = entry?;
                Ok((key.value().to_vec(), value.value().to_vec()))
            });
            copied.collect()
        })
    }
}

type Bytes = &'static [u8];

/// A table as last committed; `None` if nothing was ever written to it.
fn open(database: &Database, name: &str) -> Result<Option<redb::ReadOnlyTable<Bytes, Bytes>>, redb::Error> {
    let definition: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new(name);
    match database.begin_read()?.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn commit(database: &Database, writes: &Writes) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate);
    for (name, entries) in writes.tables() {
        let definition: TableDefinition<'_, Bytes, Bytes> = TableDefinition::new(name);
        let mut table = transaction.open_table(definition)?;
        for (key, value) in entries {
            let written: Result<(), StorageError> = match value {
                Some(value) => table.insert(key, value).map(drop),
                None => table.remove(key).map(drop),
            };
            written?;
        }
    }
    Ok(transaction.commit()?)
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
