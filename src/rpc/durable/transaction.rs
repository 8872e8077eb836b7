//! What a durable handler reads and writes: the store as it will be, its own writes kept apart until it
//! has succeeded.

use std::collections::BTreeMap;

use super::store::{Entry, Store, StoreError, Writes};

/// Tables whose names begin so are the log's own.
pub(super) const OWN_TABLES: &str = "ringwire.";

/// One handler's view of the store: what was committed, what the calls before it in the batch wrote, and
/// what it wrote itself. What it writes is kept if it succeeds, together with its reply, and otherwise not.
pub struct Transaction<'a> {
    store: &'a dyn Store,
    batch: &'a Writes,
    own: Writes,
}

impl<'a> Transaction<'a> {
    pub(super) fn new(store: &'a dyn Store, batch: &'a Writes) -> Self {
        Self { store, batch, own: Writes::default() }
    }

    pub(super) fn into_writes(self) -> Writes {
        self.own
    }

    /// The value at `key` of `table`.
    ///
    /// # Errors
    /// [`StoreError`]: pass it on, and the call is answered as one that did not run.
    pub fn read(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.own.find(table, key).or_else(|| self.batch.find(table, key)) {
            Some(written) => Ok(written.map(<[u8]>::to_vec)),
            None => self.store.read(table, key),
        }
    }

    /// At most `max` entries of `table` in order of their keys, from `from` on.
    ///
    /// # Errors
    /// As [`Transaction::read`].
    pub fn scan(&self, table: &str, from: &[u8], max: usize) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        let mut from = from.to_vec();
        while found.len() < max {
            let wanted = max - found.len();
            let stored = self.store.scan(table, &from, wanted)?;
            // Beyond the last stored entry of a full page the next page begins.
            let last = (stored.len() == wanted).then(|| stored.last().map(|(key, _)| key.clone())).flatten();
            let mut merged: BTreeMap<_, _> = stored.into_iter().collect();
            for writes in [self.batch, &self.own] {
                overlay(&mut merged, writes, table, &from, last.as_deref());
            }
            found.extend(merged.into_iter().take(wanted));
            let Some(last) = last else { break };
            // The least key above `last`.
            from = [&last[..], &[0]].concat();
        }
        Ok(found)
    }

    /// Puts `value` at `key` of `table`.
    ///
    /// # Panics
    /// When the table's name begins with `ringwire.`: those are the log's own. The call then fails.
    pub fn put(&mut self, table: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        assert!(!table.starts_with(OWN_TABLES), "tables named {OWN_TABLES}… are the reply log's own");
        self.own.put(table, key, value);
    }

    /// Takes `key` out of `table`.
    ///
    /// # Panics
    /// As [`Transaction::put`].
    pub fn remove(&mut self, table: &str, key: impl Into<Vec<u8>>) {
        assert!(!table.starts_with(OWN_TABLES), "tables named {OWN_TABLES}… are the reply log's own");
        self.own.remove(table, key);
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("own", &self.own).finish_non_exhaustive()
    }
}

/// Lays `writes` of `table`, from `from` to `last`, over what was read.
fn overlay(
    merged: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    writes: &Writes,
    table: &str,
    from: &[u8],
    last: Option<&[u8]>,
) {
    for (key, value) in writes.from(table, from) {
        if last.is_some_and(|last| key.as_slice() > last) {
            return;
        }
        match value {
            Some(value) => merged.insert(key.clone(), value.clone()),
            None => merged.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::durable::MemoryStore;

    fn keys(entries: &[Entry]) -> Vec<&[u8]> {
        entries.iter().map(|(key, _)| key.as_slice()).collect()
    }

    #[test]
    fn a_handler_sees_its_batch_and_its_own_writes_over_the_store() {
        let mut store = MemoryStore::default();
        let mut committed = Writes::default();
        for key in ["a", "b", "c", "d", "e"] {
            committed.put("t", key, key);
        }
        committed.put("u", "z", "another table's");
        store.commit(&committed).unwrap();
        let mut batch = Writes::default();
        batch.remove("t", "a");
        batch.put("t", "b", "batch");
        batch.put("t", "bb", "batch");
        let mut tx = Transaction::new(&store, &batch);
        tx.remove("t", "bb");
        tx.remove("t", "c");
        tx.put("t", "ca", "own");
        tx.put("t", "f", "own");
        assert_eq!(tx.read("t", b"a").unwrap(), None);
        assert_eq!(tx.read("t", b"b").unwrap(), Some(b"batch".to_vec()));
        assert_eq!(tx.read("t", b"e").unwrap(), Some(b"e".to_vec()));
        let all: [&[u8]; 5] = [b"b", b"ca", b"d", b"e", b"f"];
        for max in 0..8 {
            let found = tx.scan("t", b"", max).unwrap();
            assert_eq!(keys(&found), all[..max.min(5)], "{max}");
        }
        assert_eq!(keys(&tx.scan("t", b"d", 9).unwrap()), all[2..]);
        assert_eq!(keys(&tx.scan("none", b"", 9).unwrap()), [] as [&[u8]; 0]);
    }
}
