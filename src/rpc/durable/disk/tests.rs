//! The file of a store: what it survives, and what it says where it does not.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;

use super::*;
use crate::rpc::durable::{Answer, Arrived, Bounds, Moment, ReplyLog};
use crate::rpc::{method_id, status};
use crate::time::Timestamp;
use crate::wire::{DurableRequest, LeaseGrant};

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringwire-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn one(key: &str, value: &str) -> Writes {
    let mut writes = Writes::default();
    writes.put("t", key, value);
    writes
}

#[test]
fn what_was_committed_is_there_after_reopening_and_reads_in_order() {
    let folder = Folder::new("reopen");
    let mut store = DiskStore::open(folder.file()).unwrap();
    assert_eq!(store.read("t", b"a").unwrap(), None, "a table that nothing was written to is empty");
    assert_eq!(store.scan("t", b"", 9).unwrap(), []);
    for key in ["b", "a", "c"] {
        store.commit(&one(key, "v")).unwrap();
    }
    let mut writes = one("d", "w");
    writes.remove("t", "b");
    store.commit(&writes).unwrap();
    let view = store.view();
    drop(view);
    drop(store);
    let store = DiskStore::open(folder.file()).unwrap();
    let keys: Vec<_> = store.scan("t", b"a", 2).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"a", b"c"]);
    assert_eq!(store.view().read("t", b"d").unwrap().as_deref(), Some(&b"w"[..]));
    let mut names = std::fs::read_dir(&folder.0).unwrap();
    assert_eq!(names.next().unwrap().unwrap().file_name(), "store");
    assert!(names.next().is_none(), "nothing is left beside it");
}

#[test]
fn a_second_opening_is_refused_and_says_by_whom() {
    let folder = Folder::new("in-use");
    let first = DiskStore::open(folder.file()).unwrap();
    let error = DiskStore::open(folder.file()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("open in another process: stop that one"), "{error}");
    drop(first);
    DiskStore::open(folder.file()).unwrap();
}

#[test]
fn a_file_of_something_else_is_refused_and_left_as_it_is() {
    let folder = Folder::new("foreign");
    for text in [&b"something the user wrote"[..], b"x", b""] {
        std::fs::write(folder.file(), text).unwrap();
        let error = DiskStore::open(folder.file()).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains("name another file"), "{error}");
        assert_eq!(std::fs::read(folder.file()).unwrap(), text);
    }
}

#[test]
fn a_damaged_file_is_refused_and_says_what_to_do() {
    let folder = Folder::new("damaged");
    let mut store = DiskStore::open(folder.file()).unwrap();
    store.commit(&one("a", "v")).unwrap();
    drop(store);
    let whole = std::fs::read(folder.file()).unwrap();
    // Cut short, and with a head that is not what it says.
    let mut head = whole.clone();
    head[12..320].fill(0xff);
    for damaged in [whole[..whole.len() / 2].to_vec(), whole[..20].to_vec(), head] {
        std::fs::write(folder.file(), &damaged).unwrap();
        let error = DiskStore::open(folder.file()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("put back a copy"), "{error}");
    }
}

#[test]
fn a_crash_while_the_file_was_made_leaves_nothing_in_the_way() {
    let folder = Folder::new("half-made");
    for half in [&b""[..], &[0; 5_000]] {
        std::fs::write(file_beside(&folder), half).unwrap();
        let mut store = DiskStore::open(folder.file()).unwrap();
        store.commit(&one("a", "v")).unwrap();
        drop(store);
        assert!(!file_beside(&folder).exists());
        std::fs::remove_file(folder.file()).unwrap();
    }
}

fn file_beside(folder: &Folder) -> PathBuf {
    folder.0.join("store.new")
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = Folder::new("no-folder");
    let error = DiskStore::open(folder.0.join("none/store")).unwrap_err();
    assert!(error.to_string().contains("make the folder first"), "{error}");
}

/// A disk in memory with so many bytes of room, and a head that may fail.
#[derive(Default, Debug)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    room: AtomicU64,
}

#[derive(Debug)]
struct Head(Arc<Disk>);

impl StorageBackend for Head {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, io::Error> {
        let at = offset as usize;
        Ok(self.0.bytes.lock().unwrap()[at..at + len].to_vec())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self, _: bool) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let left = self.0.room.load(Ordering::Relaxed).checked_sub(data.len() as u64);
        let left = left.ok_or(io::ErrorKind::StorageFull)?;
        self.0.room.store(left, Ordering::Relaxed);
        let at = offset as usize;
        self.0.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn counting_log(disk: &Arc<Disk>) -> ReplyLog {
    let head = disk.clone();
    let reopen = move || {
        Database::builder().create_with_backend(Head(head.clone())).map_err(|error| StoreError::Refused {
            what: "opening the disk".into(),
            error: error.to_string(),
        })
    };
    let store = DiskStore::by(Box::new(reopen)).unwrap();
    let mut log = ReplyLog::open(store, Bounds::default(), [7; 32], AT).unwrap();
    let count = |_call: crate::rpc::durable::Call<'_>, tx: &mut crate::rpc::durable::Transaction<'_>| {
        let count = tx.read("t", b"count")?.map_or(0, |count| count[0]) + 1;
        tx.put("t", "count", [count]);
        Ok(vec![count].into())
    };
    log.serve("Count", count).unwrap();
    log
}

const AT: Moment = Moment { now: Timestamp(1), wall_ns: 1 };

fn ask(log: &mut ReplyLog, request: &DurableRequest<'_>) -> Answer {
    let payload = request.to_vec();
    let arrived = Arrived { method: method_id("Count"), client: None, payload: &payload };
    log.run(AT, &[arrived]).remove(0)
}

/// At every byte where the disk can fill up: the call is answered by a failure, never by a reply that is
/// then lost, and once there is room its retry runs it once, if it was not run before.
#[test]
fn a_full_disk_is_a_failure_and_never_a_false_success() {
    let (mut failures, mut kept_all_the_same) = (0, 0);
    for room in (0..60_000).step_by(1_999) {
        let disk = Arc::new(Disk { room: AtomicU64::new(u64::MAX), ..Disk::default() });
        let mut log = counting_log(&disk);
        let opened = ask(&mut log, &DurableRequest::Open { client: [1; 16], attempt: 1 });
        let lease = LeaseGrant::decode(&opened.payload).unwrap().lease;
        let call = |sequence| DurableRequest::Call { lease, sequence, first_incomplete: 0, payload: b"" };
        assert_eq!(ask(&mut log, &call(0)).payload, vec![1]);
        disk.room.store(room, Ordering::Relaxed);
        let answer = ask(&mut log, &call(1));
        if answer.status == status::OK {
            assert_eq!(answer.payload, vec![2]);
        } else {
            failures += 1;
            assert_eq!(answer.status, status::STORE_FAILED);
            let said = String::from_utf8_lossy(&answer.payload);
            assert!(said.contains("make room, calls go on by themselves"), "{said}");
        }
        disk.room.store(u64::MAX, Ordering::Relaxed);
        // Whether it was kept or not, it is once now.
        assert_eq!(ask(&mut log, &call(1)).payload, vec![2], "room for {room} bytes");
        assert_eq!(ask(&mut log, &call(2)).payload, vec![3]);
        kept_all_the_same += u32::from(answer.status == status::OK);
    }
    assert!(failures > 3 && kept_all_the_same > 0, "{failures} {kept_all_the_same}");
}
