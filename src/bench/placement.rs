//! Which core runs which end.

use std::str::FromStr;

use thiserror::Error;

use crate::sys::cores::{Core, spread};

/// A list of cores as people write it: `0`, `1,3`, `2-5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(pub Vec<usize>);

/// Why a list of cores could not be read or used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CoreError {
    /// Not a list.
    #[error("'{text}' is not a list of cores: write for example 0, 1,3 or 2-5")]
    NotAList {
        /// What was given.
        text: String,
    },
    /// A core named twice: two workers would share it.
    #[error("core {core} is named twice: name each worker's core once")]
    Twice {
        /// Which.
        core: usize,
    },
    /// A core that this process may not use.
    #[error("core {core} is not one this process may run on: choose from {allowed}")]
    NotAllowed {
        /// Which.
        core: usize,
        /// Those it may use.
        allowed: CoreList,
    },
}

impl FromStr for CoreList {
    type Err = CoreError;

    fn from_str(text: &str) -> Result<Self, CoreError> {
        let bad = || CoreError::NotAList { text: text.to_owned() };
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|core| *core < CORE_MAX);
        let mut cores = Vec::new();
        for item in text.split(',') {
            let (low, high) = item.split_once('-').unwrap_or((item, item));
            let (low, high) = (number(low).ok_or_else(bad)?, number(high).ok_or_else(bad)?);
            if low > high {
                return Err(bad());
            }
            for core in low..=high {
                if cores.contains(&core) {
                    return Err(CoreError::Twice { core });
                }
                cores.push(core);
            }
        }
        Ok(CoreList(cores))
    }
}

/// Linux runs on at most 8,192 cores (NR_CPUS).
const CORE_MAX: usize = 8_192;

impl std::fmt::Display for CoreList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&names.join(","))
    }
}

/// Where the two ends of a bench run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One worker of this process each.
    pub client: Vec<usize>,
    /// One worker of the server each.
    pub server: Vec<usize>,
    /// True when both ends share a core: spinning would starve the other end.
    pub shared: bool,
}

impl Placement {
    /// Places both ends on `allowed`: as asked for, else one worker each on different physical cores
    /// where there are two, else on different hardware threads, else on one.
    pub fn choose(
        allowed: &[Core],
        client: Option<&CoreList>,
        server: Option<&CoreList>,
    ) -> Result<Placement, CoreError> {
        for list in [client, server].into_iter().flatten() {
            check(allowed, list)?;
        }
        let client = client.map_or_else(|| vec![first_apart(allowed, server)], |list| list.0.clone());
        let server = server.map_or_else(
            || vec![first_apart(allowed, Some(&CoreList(client.clone())))],
            |list| list.0.clone(),
        );
        let shared = client.iter().any(|core| server.contains(core));
        Ok(Placement { client, server, shared })
    }
}

/// Cores for the threads that call through handles, one for each client worker: cores that run no worker as long as
/// there are such, then each its worker's.
#[must_use]
pub fn caller_cores(allowed: &[Core], placement: &Placement) -> Vec<usize> {
    let mut taken = CoreList([&placement.client[..], &placement.server].concat());
    let mut callers = Vec::new();
    for &worker in &placement.client {
        let core = first_apart(allowed, Some(&taken));
        let is_free = !taken.0.contains(&core);
        callers.push(if is_free { core } else { worker });
        if is_free {
            taken.0.push(core);
        }
    }
    callers
}

/// Fails when `list` names a core that is not in `allowed`.
pub fn check(allowed: &[Core], list: &CoreList) -> Result<(), CoreError> {
    let is_allowed = |core: &usize| allowed.iter().any(|one| one.id == *core);
    match list.0.iter().find(|core| !is_allowed(core)) {
        None => Ok(()),
        Some(core) => Err(CoreError::NotAllowed {
            core: *core,
            allowed: CoreList(allowed.iter().map(|one| one.id).collect()),
        }),
    }
}

/// The first core that shares no physical core with `taken`; failing that, no hardware thread.
fn first_apart(allowed: &[Core], taken: Option<&CoreList>) -> usize {
    let taken = taken.map_or(&[][..], |list| &list.0);
    let place = |core: &Core| (core.package, core.physical);
    let is_taken = |id: &usize| taken.contains(id);
    let shares = |id: &usize| {
        let mine = allowed.iter().find(|core| core.id == *id).map(place);
        allowed.iter().any(|core| is_taken(&core.id) && Some(place(core)) == mine)
    };
    let order = spread(allowed);
    let apart = order.iter().find(|id| !shares(id));
    *apart.or_else(|| order.iter().find(|id| !is_taken(id))).or(order.first()).unwrap_or(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(physical: &[usize]) -> Vec<Core> {
        physical.iter().enumerate().map(|(id, &physical)| Core { id, package: 0, physical }).collect()
    }

    fn list(text: &str) -> CoreList {
        text.parse().expect(text)
    }

    #[test]
    fn lists_read_as_people_write_them() {
        assert_eq!(list("0").0, [0]);
        assert_eq!(list("1,3-5").0, [1, 3, 4, 5]);
        assert_eq!(list("1,3-5").to_string(), "1,3,4,5");
        for text in ["", "a", "3-1", "1,,2", "-1", "99999"] {
            assert!(matches!(text.parse::<CoreList>(), Err(CoreError::NotAList { .. })), "{text}");
        }
        assert_eq!("1,0-2".parse::<CoreList>(), Err(CoreError::Twice { core: 1 }));
    }

    #[test]
    fn two_ends_take_different_physical_cores() {
        let chosen = Placement::choose(&cores(&[0, 0, 1, 1]), None, None).expect("there are cores");
        assert_eq!(chosen, Placement { client: vec![0], server: vec![2], shared: false });
    }

    #[test]
    fn two_threads_of_one_core_are_better_than_one_thread() {
        let chosen = Placement::choose(&cores(&[0, 0]), None, None).expect("there are cores");
        assert_eq!(chosen, Placement { client: vec![0], server: vec![1], shared: false });
    }

    #[test]
    fn one_core_is_shared_and_says_so() {
        let chosen = Placement::choose(&cores(&[0]), None, None).expect("there is a core");
        assert_eq!(chosen, Placement { client: vec![0], server: vec![0], shared: true });
    }

    #[test]
    fn what_was_asked_for_is_kept_and_the_other_end_steps_aside() {
        let chosen = Placement::choose(&cores(&[0, 1, 2]), Some(&list("0-1")), None).expect("allowed");
        assert_eq!(chosen, Placement { client: vec![0, 1], server: vec![2], shared: false });
        let chosen = Placement::choose(&cores(&[0, 1]), None, Some(&list("0"))).expect("allowed");
        assert_eq!(chosen, Placement { client: vec![1], server: vec![0], shared: false });
    }

    #[test]
    fn a_calling_thread_has_a_core_of_its_own_where_there_is_one_and_its_workers_else() {
        let placed = |cores: &[Core]| {
            let placement = Placement::choose(cores, None, None).expect("there are cores");
            (caller_cores(cores, &placement), placement.client, placement.server)
        };
        assert_eq!(placed(&cores(&[0, 1, 2])), (vec![2], vec![0], vec![1]));
        assert_eq!(placed(&cores(&[0, 1])), (vec![0], vec![0], vec![1]));
        assert_eq!(placed(&cores(&[0])), (vec![0], vec![0], vec![0]));
        // A hardware thread beside a worker is better than the worker's own.
        assert_eq!(placed(&cores(&[0, 0, 1, 1])), (vec![1], vec![0], vec![2]));
        let two = Placement { client: vec![0, 1], server: vec![2], shared: false };
        assert_eq!(caller_cores(&cores(&[0, 1, 2, 3]), &two), [3, 1]);
    }

    #[test]
    fn a_core_that_is_not_there_is_named_with_those_that_are() {
        let error = Placement::choose(&cores(&[0, 1]), Some(&list("7")), None).expect_err("no core 7");
        assert_eq!(error.to_string(), "core 7 is not one this process may run on: choose from 0,1");
    }
}
