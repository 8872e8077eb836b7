//! What a worker knows of each path, whichever session found it out.

use crate::transport::path_rtt::NewestRtt;
use crate::transport::path_size::PathSize;
use crate::transport::sink::PathIndex;

/// What is known of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) rtt: NewestRtt,
    pub(crate) size: PathSize,
    /// The drops at our socket that one of its sessions told the other end of.
    pub(crate) drops_told: u64,
    /// The largest packet its route carries, in bytes of UDP payload, once that was asked for.
    pub(crate) route_size: Option<usize>,
}

/// The facts of all paths, by their indices.
#[derive(Debug, Default)]
pub(crate) struct PathFacts {
    facts: Vec<Facts>,
}

impl PathFacts {
    /// What is known of `path`, if anything ever was.
    pub(crate) fn get(&self, path: PathIndex) -> Option<&Facts> {
        self.facts.get(path.0 as usize)
    }

    pub(crate) fn route_size(&self, path: PathIndex) -> Option<usize> {
        self.get(path)?.route_size
    }

    #[inline]
    pub(crate) fn of(&mut self, path: PathIndex) -> &mut Facts {
        let index = path.0 as usize;
        if index >= self.facts.len() {
            self.grow(index);
        }
        &mut self.facts[index]
    }

    /// The index belongs to another address from now on.
    pub(crate) fn forget(&mut self, path: PathIndex) {
        if let Some(facts) = self.facts.get_mut(path.0 as usize) {
            *facts = Facts::default();
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, index: usize) {
        self.facts.resize(index + 1, Facts::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_facts_of_its_own_and_none_once_its_index_belongs_to_another_address() {
        let mut facts = PathFacts::default();
        facts.of(PathIndex(7)).route_size = Some(1_472);
        assert_eq!(facts.route_size(PathIndex(7)), Some(1_472));
        assert_eq!((facts.route_size(PathIndex(0)), facts.route_size(PathIndex(9))), (None, None));
        facts.forget(PathIndex(7));
        facts.forget(PathIndex(9));
        assert_eq!(facts.route_size(PathIndex(7)), None);
    }
}
