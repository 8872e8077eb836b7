//! Where packets come from and go to: an index for each remote address.
//!
//! Anybody can send from any address, so an address nobody has a session with keeps its index only
//! until so many other strangers came.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use rustc_hash::FxHashMap;

use crate::hint::rarely;
use crate::io::{Backend, PathId};
use crate::transport::{Engine, PathIndex};

/// Addresses without a session that are remembered at once.
const STRANGERS_MAX: usize = 256;

/// The worker's table of paths.
#[derive(Debug, Default)]
pub(super) struct PathTable {
    remotes: Vec<SocketAddr>,
    by_remote: FxHashMap<SocketAddr, PathIndex>,
    strangers: VecDeque<PathIndex>,
    /// Those a session was found on when it was their turn to be forgotten.
    friends: VecDeque<PathIndex>,
    last: Option<(SocketAddr, PathIndex)>,
}

impl PathTable {
    /// The index of `remote`, of which `backend` is told when it is new.
    #[inline]
    pub(super) fn path_to(
        &mut self,
        remote: &SocketAddr,
        backend: &mut dyn Backend,
        engine: &mut Engine,
    ) -> PathIndex {
        let register = |path, remote| backend.register_path(path, remote);
        let (path, is_new) = self.index_of(remote, register, |path| engine.is_path_used(path));
        if rarely(is_new) {
            engine.forget_path(path);
        }
        path
    }

    /// The index of `remote`, and whether it is new. A new one is told to `register`; `is_used` says whether a
    /// session lives on an index, so that it may not be given to another address.
    #[inline]
    fn index_of(
        &mut self,
        remote: &SocketAddr,
        register: impl FnOnce(PathId, SocketAddr),
        is_used: impl Fn(PathIndex) -> bool,
    ) -> (PathIndex, bool) {
        if let Some((address, path)) = &self.last
            && address == remote
        {
            return (*path, false);
        }
        let (path, is_new) = match self.by_remote.get(remote) {
            Some(path) => (*path, false),
            None => (self.insert(*remote, register, is_used), true),
        };
        self.last = Some((*remote, path));
        (path, is_new)
    }

    #[cold]
    fn insert(
        &mut self,
        remote: SocketAddr,
        register: impl FnOnce(PathId, SocketAddr),
        is_used: impl Fn(PathIndex) -> bool,
    ) -> PathIndex {
        let recycled = self.recycle(is_used);
        let path = recycled.unwrap_or(PathIndex(self.remotes.len() as u32));
        match self.remotes.get_mut(path.0 as usize) {
            Some(place) => *place = remote,
            None => self.remotes.push(remote),
        }
        self.by_remote.insert(remote, path);
        self.strangers.push_back(path);
        register(PathId(path.0), remote);
        path
    }

    fn recycle(&mut self, is_used: impl Fn(PathIndex) -> bool) -> Option<PathIndex> {
        let path = self.unused_stranger(&is_used).or_else(|| self.former_friend(&is_used))?;
        let old = self.remotes[path.0 as usize];
        self.by_remote.remove(&old);
        self.last = None;
        Some(path)
    }

    fn unused_stranger(&mut self, is_used: impl Fn(PathIndex) -> bool) -> Option<PathIndex> {
        if self.strangers.len() < STRANGERS_MAX {
            return None;
        }
        let path = self.strangers.pop_front()?;
        if is_used(path) {
            self.friends.push_back(path);
            return None;
        }
        Some(path)
    }

    /// One is looked at for each new address, so that those whose sessions ended come back in time.
    fn former_friend(&mut self, is_used: impl Fn(PathIndex) -> bool) -> Option<PathIndex> {
        let path = self.friends.pop_front()?;
        if is_used(path) {
            self.friends.push_back(path);
            return None;
        }
        Some(path)
    }

    pub(super) fn remote(&self, path: PathIndex) -> SocketAddr {
        let nobody = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        self.remotes.get(path.0 as usize).copied().unwrap_or(nobody)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn clients_that_come_and_go_do_not_grow_the_table() {
        let mut table = PathTable::default();
        for round in 0..50_u16 {
            // Each round has a session on each of its 1,000 paths, while it lasts.
            let mine = |port: u16| port / 1_000 == round;
            for port in round * 1_000..(round + 1) * 1_000 {
                let used: Vec<bool> = table.remotes.iter().map(|remote| mine(remote.port())).collect();
                table.index_of(&address(port), |_, _| {}, |path| used[path.0 as usize]);
            }
        }
        assert!(table.remotes.len() <= 2 * 1_000 + STRANGERS_MAX, "{}", table.remotes.len());
    }

    #[test]
    fn an_address_is_not_taken_for_the_one_that_had_its_index_before() {
        let hub = std::rc::Rc::new(std::cell::RefCell::new(crate::io::memory::Switch::default()));
        let mut backend = crate::io::memory::MemoryBackend::new(address(1), hub);
        let mut engine = Engine::new(crate::transport::Config::default(), crate::time::Timestamp(0));
        let mut table = PathTable::default();
        let old = table.path_to(&address(2), &mut backend, &mut engine);
        engine.set_route_size(old, 1_472);
        assert_eq!(table.path_to(&address(2), &mut backend, &mut engine), old);
        assert_eq!(engine.known_route_size(old), Some(1_472));
        let newcomer = (3..u16::MAX)
            .find(|port| table.path_to(&address(*port), &mut backend, &mut engine) == old)
            .expect("the index of a stranger comes round");
        assert_eq!(table.remote(old), address(newcomer));
        assert_eq!(engine.known_route_size(old), None, "its route has to be asked for");
    }

    #[test]
    fn a_flood_of_strangers_does_not_grow_the_table_nor_take_a_used_index() {
        let mut table = PathTable::default();
        let friend = table.index_of(&address(1), |_, _| {}, |_| false).0;
        for port in 2..5_000 {
            table.index_of(&address(port), |_, _| {}, |path| path == friend);
        }
        assert!(table.remotes.len() <= STRANGERS_MAX + 2, "{}", table.remotes.len());
        assert_eq!(table.index_of(&address(1), |_, _| {}, |_| false), (friend, false));
        assert_eq!(table.remote(friend), address(1));
    }
}
