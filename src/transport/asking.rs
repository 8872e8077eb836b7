//! How many sessions ask to be opened at once on a path. The others wait in line (P-13.25).
//!
//! A first message is 1,200 bytes, and nobody has given credit for it: a client that comes back after an outage
//! and asks for all its sessions in one turn would flood the server's socket, and lose most of them.
//!
//! ```text
//!  connect --> [in line] --a place--> asks --open, or asked in vain for long, or gives up--> place goes to the next
//! ```

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::bounds::ASKING_MAX;
use crate::time::Timestamp;
use crate::transport::{PathIndex, SessionKey};

/// The places of each path, and who waits for one.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    paths: FxHashMap<PathIndex, Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// Places taken.
    taken: usize,
    /// When somebody who asked was last answered.
    answered_at: Option<Timestamp>,
    waiting: VecDeque<SessionKey>,
}

impl Asking {
    /// `key` wants to ask on `path`. True: it has a place. False: it is in line, and [`Asking::leave`] will
    /// name it.
    pub(crate) fn enter(&mut self, path: PathIndex, key: SessionKey) -> bool {
        let line = self.paths.entry(path).or_default();
        let free = line.taken < ASKING_MAX;
        if free {
            line.taken += 1;
        } else {
            line.waiting.push_back(key);
        }
        free
    }

    /// Somebody who asks on `path` was answered.
    pub(crate) fn on_answer(&mut self, now: Timestamp, path: PathIndex) {
        if let Some(line) = self.paths.get_mut(&path) {
            line.answered_at = Some(now);
        }
    }

    /// True when somebody was answered of late: who is not has only to wait.
    pub(crate) fn answers(&self, now: Timestamp, path: PathIndex) -> bool {
        let answered_at = self.paths.get(&path).and_then(|line| line.answered_at);
        answered_at.is_some_and(|at| now.since_ns(at) <= ANSWERS_FOR_NS)
    }

    /// A place on `path` becomes free: who has it now, if anybody waits. One that has given up meanwhile
    /// leaves at once.
    pub(crate) fn leave(&mut self, path: PathIndex) -> Option<SessionKey> {
        let line = self.paths.get_mut(&path)?;
        let next = line.waiting.pop_front();
        if next.is_none() {
            line.taken -= 1;
            if line.taken == 0 {
                self.paths.remove(&path);
            }
        }
        next
    }
}

/// A server that was heard within this time is there.
const ANSWERS_FOR_NS: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: usize) -> SessionKey {
        SessionKey { index: index as u32, tag: 0 }
    }

    #[test]
    fn a_place_goes_to_who_waited_longest_and_each_path_has_its_own() {
        let mut asking = Asking::default();
        let (near, far) = (PathIndex(0), PathIndex(1));
        let entered = (0..ASKING_MAX + 2).filter(|n| asking.enter(near, key(*n))).count();
        assert_eq!(entered, ASKING_MAX);
        assert!(asking.enter(far, key(9)));
        assert_eq!(asking.leave(near), Some(key(ASKING_MAX)));
        assert_eq!(asking.leave(near), Some(key(ASKING_MAX + 1)));
        assert_eq!(asking.leave(near), None);
        assert!(asking.enter(near, key(1)), "the place that nobody waited for");
    }

    #[test]
    fn nothing_is_kept_of_a_path_on_which_nobody_asks() {
        let mut asking = Asking::default();
        (0..3).for_each(|n| assert!(asking.enter(PathIndex(0), key(n))));
        (0..3).for_each(|_| assert_eq!(asking.leave(PathIndex(0)), None));
        assert!(asking.paths.is_empty());
        assert_eq!(asking.leave(PathIndex(0)), None);
    }
}
