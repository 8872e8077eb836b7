//! Which cores this process may use, which of them share a physical core, and pinning to one.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// One logical CPU of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// The number the kernel pins by.
    pub id: usize,
    /// The socket it sits in.
    pub package: usize,
    /// The physical core within the package: two CPUs that share it are SMT siblings.
    pub physical: usize,
}

/// The CPUs this thread may run on, by number. Cgroups and `taskset` narrow it.
#[must_use]
pub fn allowed() -> Vec<usize> {
    match sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => (0..CpuSet::count()).filter(|id| set.is_set(*id).unwrap_or(false)).collect(),
        // More CPUs than a cpu_set_t counts: let the pinning library's own list stand in.
        Err(_) => core_affinity::get_core_ids()
            .map(|ids| ids.into_iter().map(|core| core.id).collect())
            .unwrap_or_default(),
    }
}

/// The allowed CPUs with where they sit, as sysfs tells; each its own physical core where it does not.
#[must_use]
pub fn topology() -> Vec<Core> {
    allowed()
        .into_iter()
        .map(|id| Core {
            id,
            package: read_number(id, "physical_package_id").unwrap_or(0),
            physical: read_number(id, "core_id").unwrap_or(id),
        })
        .collect()
}

/// `cores` in the order to hand out: one CPU of every physical core first, then their siblings.
#[must_use]
pub fn spread(cores: &[Core]) -> Vec<usize> {
    let place = |core: &Core| (core.package, core.physical);
    let (first, siblings): (Vec<_>, Vec<_>) = cores
        .iter()
        .enumerate()
        .partition(|(at, core)| !cores[..*at].iter().any(|other| place(other) == place(core)));
    first.into_iter().chain(siblings).map(|(_, core)| core.id).collect()
}

/// Keeps the calling thread on one CPU; false when the kernel refuses it.
pub fn pin_current(id: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id })
}

fn read_number(id: usize, name: &str) -> Option<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{id}/topology/{name}");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_handed_out_last() {
        let core = |id, physical| Core { id, package: 0, physical };
        assert_eq!(spread(&[core(0, 0), core(1, 0), core(2, 1), core(3, 1)]), [0, 2, 1, 3]);
    }

    #[test]
    fn a_thread_can_be_pinned_to_each_allowed_core() {
        let cores = topology();
        assert!(!cores.is_empty());
        for core in cores {
            let pinned = std::thread::spawn(move || (pin_current(core.id), allowed())).join().unwrap();
            assert_eq!(pinned, (true, vec![core.id]));
        }
    }
}
