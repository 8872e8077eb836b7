//! Where each path leads, encoded for the kernel.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::PathId;
use crate::sys::RawAddress;

/// The remote addresses of a backend's paths.
#[derive(Debug, Default)]
pub(super) struct Paths {
    entries: Vec<Entry>,
    by_remote: FxHashMap<SocketAddr, PathId>,
}

#[derive(Debug)]
struct Entry {
    raw: RawAddress,
    remote: SocketAddr,
    /// The socket is connected to this remote.
    connected: bool,
}

impl Paths {
    /// Points `path` at `remote`; `connected` is what the socket is connected to.
    pub fn register(&mut self, path: PathId, remote: SocketAddr, connected: Option<SocketAddr>) {
        let entry = Entry { raw: RawAddress::new(remote), remote, connected: connected == Some(remote) };
        let index = path.0 as usize;
        if index < self.entries.len() {
            let old = std::mem::replace(&mut self.entries[index], entry);
            if self.by_remote.get(&old.remote) == Some(&path) {
                self.by_remote.remove(&old.remote);
            }
        } else {
            assert_eq!(index, self.entries.len(), "path ids come in order");
            self.entries.push(entry);
        }
        self.by_remote.insert(remote, path);
    }

    /// The address to send to; `None` when the socket is connected to it.
    pub fn address(&self, path: PathId) -> Option<&RawAddress> {
        let entry = &self.entries[path.0 as usize];
        (!entry.connected).then_some(&entry.raw)
    }

    /// The path that leads to `remote`.
    pub fn find(&self, remote: SocketAddr) -> Option<PathId> {
        self.by_remote.get(&remote).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repointed_path_is_found_at_its_new_remote_only() {
        let (old, new) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let mut paths = Paths::default();
        paths.register(PathId(0), old, Some(new));
        assert!(paths.address(PathId(0)).is_some());
        paths.register(PathId(0), new, Some(new));
        assert_eq!((paths.find(old), paths.find(new)), (None, Some(PathId(0))));
        assert!(paths.address(PathId(0)).is_none(), "a connected socket needs no address");
    }
}
