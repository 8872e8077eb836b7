//! A store that keeps nothing beyond its process: for tests and for trying things out.

use std::sync::{Arc, Mutex, PoisonError};

use super::store::{Entry, Store, StoreError, Writes};

/// Tables in memory. Clones are the same tables, so that a test can end one server and begin another on
/// what the first had committed.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    committed: Arc<Mutex<Writes>>,
}

impl MemoryStore {
    fn with<T>(&self, use_it: impl FnOnce(&mut Writes) -> T) -> T {
        use_it(&mut self.committed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for MemoryStore {
    fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.with(|tables| tables.find(table, key).flatten().map(<[u8]>::to_vec)))
    }

    fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(self.with(|tables| {
            let present =
                tables.from(table, from).filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
            present.take(max).collect()
        }))
    }

    fn commit(&mut self, writes: &Writes) -> Result<(), StoreError> {
        self.with(|tables| tables.apply(writes));
        Ok(())
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
