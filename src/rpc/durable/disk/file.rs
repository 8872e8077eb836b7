//! Opening the file of a store, and making it so that a crash at any instant leaves it whole or absent.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use redb::{Database, DatabaseError, StorageError};

use crate::rpc::durable::store::StoreError;

/// The database in the file at `path`; a new one if there is none.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    if !path.try_exists().map_err(|error| io_error("looking for", path, error))? {
        create(path)?;
    }
    // It asserts what it expects of a file's bytes: one that was cut short makes it panic.
    let opened = catch_unwind(AssertUnwindSafe(|| Database::builder().open(path)));
    let opened = opened.map_err(|_| StoreError::Corrupt {
        path: path.into(),
        what: "its parts contradict each other".into(),
    })?;
    opened.map_err(|error| explain(path, error))
}

/// Makes the file beside its place and then gives it its name: redb leaves a file that it was still making
/// when it died unreadable.
fn create(path: &Path) -> Result<(), StoreError> {
    let beside = beside(path);
    let in_vain = |what, error| io_error(what, &beside, error);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&beside);
    let file = file.map_err(|error| in_vain("making", error))?;
    let busy = |_| StoreError::InUse { path: path.into() };
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(busy)?;
    // What a process that died has left.
    lock.set_len(0).map_err(|error| in_vain("emptying", error))?;
    let file = lock.try_clone().map_err(|error| in_vain("opening", error))?;
    let made = Database::builder().create_with_file_format_v3(true).create_file(file);
    drop(made.map_err(|error| explain(&beside, error))?);
    let named = match fs::hard_link(&beside, path) {
        // Another process was quicker: its file counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    named.and_then(|()| fs::remove_file(&beside)).map_err(|error| in_vain("naming", error))?;
    // The name is durable once the folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| io_error("syncing", folder, error))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

fn explain(path: &Path, error: DatabaseError) -> StoreError {
    let path_buf = path.to_owned();
    let corrupt = |what: String| StoreError::Corrupt { path: path.to_owned(), what };
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path_buf },
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            StoreError::Foreign { path: path_buf }
        }
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            corrupt("it was cut short".into())
        }
        DatabaseError::Storage(StorageError::Io(error)) => io_error("opening", path, error),
        other => corrupt(other.to_string()),
    }
}

fn io_error(what: &str, path: &Path, error: io::Error) -> StoreError {
    StoreError::Io { what: format!("{what} {}", path.display()), error }
}
