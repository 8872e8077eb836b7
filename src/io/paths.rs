//! Where each path leads, encoded for the kernel.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::{Ecn, PathId};
use crate::sys::{RawAddress, TrafficClass};

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
    /// What its packets are marked with, beyond what the socket does.
    ecn: Ecn,
}

impl Paths {
    /// Points `path` at `remote`; `connected` is what the socket is connected to.
    pub fn register(&mut self, path: PathId, remote: SocketAddr, connected: Option<SocketAddr>) {
        let connected = connected == Some(remote);
        let entry = Entry { raw: RawAddress::new(remote), remote, connected, ecn: Ecn::NotEct };
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

    /// Where `path` leads.
    pub fn remote(&self, path: PathId) -> SocketAddr {
        self.entries[path.0 as usize].remote
    }

    /// Marks what leaves on `path`, unless it stays on this host. Returns what it is marked with.
    pub fn mark(&mut self, path: PathId, ecn: Ecn) -> Ecn {
        let entry = &mut self.entries[path.0 as usize];
        entry.ecn = if entry.remote.ip().to_canonical().is_loopback() { Ecn::NotEct } else { ecn };
        entry.ecn
    }

    /// What leaves on `path` is marked with this, beyond what the socket does.
    pub fn ecn(&self, path: PathId) -> Ecn {
        self.entries[path.0 as usize].ecn
    }

    /// The traffic class of what leaves on `path`; `None`: the socket's own, which on a connected one is the
    /// path's. A control message with each train makes the kernel look the route up again (`udp_sendmsg`).
    pub fn traffic_class(&self, path: PathId) -> Option<TrafficClass> {
        let entry = &self.entries[path.0 as usize];
        if entry.ecn == Ecn::NotEct || entry.connected {
            return None;
        }
        let bits = entry.ecn.bits();
        let is_ipv4 = entry.remote.ip().to_canonical().is_ipv4();
        Some(if is_ipv4 { TrafficClass::V4(bits) } else { TrafficClass::V6(bits) })
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
    fn what_stays_on_this_host_is_not_marked() {
        let remotes =
            ["10.0.0.1:1", "[2001:db8::1]:1", "[::ffff:10.0.0.2]:1", "127.0.0.1:1", "[::ffff:127.0.0.1]:1"];
        let mut paths = Paths::default();
        let told = (0..).map(PathId).zip(remotes).map(|(path, remote)| {
            paths.register(path, remote.parse().unwrap(), None);
            paths.mark(path, Ecn::Ect0);
            paths.traffic_class(path)
        });
        let told: Vec<_> = told.collect();
        let (v4, v6) = (Some(TrafficClass::V4(2)), Some(TrafficClass::V6(2)));
        assert_eq!(told, [v4, v6, v4, None, None]);
    }

    #[test]
    fn a_connected_socket_is_marked_itself() {
        let remote = "10.0.0.1:1".parse().unwrap();
        let mut paths = Paths::default();
        paths.register(PathId(0), remote, Some(remote));
        assert_eq!(paths.mark(PathId(0), Ecn::Ect0), Ecn::Ect0);
        assert_eq!((paths.ecn(PathId(0)), paths.traffic_class(PathId(0))), (Ecn::Ect0, None));
    }

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
