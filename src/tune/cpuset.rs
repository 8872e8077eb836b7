//! CPUs of their own, without a reboot: a cgroup v2 cpuset whose partition is `isolated`.
//!
//! As one value: `absent`, or the CPUs and the partition's state, such as `2-3 isolated`. The folder is
//! made and removed with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::host::ABSENT;

/// Where systemd mounts the unified hierarchy.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The state of cpuset `name`.
///
/// # Errors
/// `EOPNOTSUPP` where no unified hierarchy with cpusets is mounted.
pub fn read(name: &str) -> io::Result<String> {
    read_under(Path::new(CGROUP_ROOT), name)
}

/// Makes, changes or removes cpuset `name`.
///
/// # Errors
/// `EINVAL` when the kernel accepts the CPUs but does not isolate them: another cpuset has them.
pub fn write(name: &str, value: &str) -> io::Result<()> {
    write_under(Path::new(CGROUP_ROOT), name, value)
}

fn read_under(root: &Path, name: &str) -> io::Result<String> {
    let folder = folder(root, name)?;
    if !folder.is_dir() {
        return Ok(ABSENT.into());
    }
    let line = |file: &str| fs::read_to_string(folder.join(file)).map(|text| text.trim().to_owned());
    Ok(format!("{} {}", line("cpuset.cpus")?, line("cpuset.cpus.partition")?))
}

fn write_under(root: &Path, name: &str, value: &str) -> io::Result<()> {
    let folder = folder(root, name)?;
    if value == ABSENT {
        return if folder.is_dir() { fs::remove_dir(folder) } else { Ok(()) };
    }
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let (cpus, partition) = value.split_once(' ').ok_or_else(invalid)?;
    if !folder.is_dir() {
        fs::write(root.join("cgroup.subtree_control"), "+cpuset")?;
        fs::create_dir(&folder)?;
    }
    fs::write(folder.join("cpuset.cpus"), cpus)?;
    fs::write(folder.join("cpuset.cpus.partition"), partition)?;
    // The kernel notes a refusal in the file instead of refusing the write.
    let state = fs::read_to_string(folder.join("cpuset.cpus.partition"))?;
    if state.trim() == partition { Ok(()) } else { Err(invalid()) }
}

fn folder(root: &Path, name: &str) -> io::Result<PathBuf> {
    let controllers = fs::read_to_string(root.join("cgroup.controllers"))
        .map_err(|_| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?;
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_plain || !controllers.split_whitespace().any(|controller| controller == "cpuset") {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    Ok(root.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpuset_is_made_read_and_removed_as_one_value() {
        let root = std::env::temp_dir().join(format!("ringwire-cpuset-{}", std::process::id()));
        fs::create_dir_all(&root).expect("writable");
        assert!(read_under(&root, "ringwire").is_err(), "no unified hierarchy");
        fs::write(root.join("cgroup.controllers"), "cpuset cpu io\n").expect("writable");
        assert_eq!(read_under(&root, "ringwire").expect("a hierarchy"), ABSENT);
        write_under(&root, "ringwire", "2-3 isolated").expect("room for it");
        assert_eq!(read_under(&root, "ringwire").expect("made"), "2-3 isolated");
        assert!(write_under(&root, "../up", "2-3 isolated").is_err());
        // A real cgroup's files go with its folder.
        for file in ["cpuset.cpus", "cpuset.cpus.partition"] {
            fs::remove_file(root.join("ringwire").join(file)).expect("ours");
        }
        write_under(&root, "ringwire", ABSENT).expect("empty");
        assert!(!root.join("ringwire").exists());
        fs::remove_dir_all(&root).expect("ours");
    }
}
