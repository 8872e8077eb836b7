//! What peers' workers told of themselves: once for all sessions with one of them.
//!
//! A worker has one socket, and each of its sessions tells of it. Who adds up what each session was told counts
//! a drop as often as there are sessions.
//!
//! Invariant: a worker is known while a session with it is open, and no longer.

use std::collections::BTreeMap;

use crate::transport::sink::PathIndex;

/// Names a peer's worker to the sessions with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerWorker {
    /// The peer's process. Chosen by the peer, which may claim another's.
    pub(crate) boot: u64,
    /// Where the peer was when the session opened: at another's address it is not heard, whatever it claims.
    pub(crate) path: PathIndex,
    /// Its index there.
    pub(crate) worker: u8,
}

#[derive(Debug, Default)]
struct Known {
    sessions: u32,
    /// The most that a STATS told of. The first one tells where the count stood: only its growth is news.
    socket_drops: Option<u64>,
}

/// The workers that sessions are open with.
#[derive(Debug, Default)]
pub(crate) struct PeerWorkers {
    // A tree, not a hash table: the peer chooses its boot id (S11).
    known: BTreeMap<PeerWorker, Known>,
}

impl PeerWorkers {
    /// One more session with `peer`.
    pub(crate) fn open(&mut self, peer: PeerWorker) {
        self.known.entry(peer).or_default().sessions += 1;
    }

    /// A session with `peer` ended.
    pub(crate) fn close(&mut self, peer: PeerWorker) {
        let Some(known) = self.known.get_mut(&peer) else { return };
        known.sessions -= 1;
        if known.sessions == 0 {
            self.known.remove(&peer);
        }
    }

    /// A STATS of `peer` says that its socket dropped so many packets. Returns how many of them are news.
    pub(crate) fn on_socket_drops(&mut self, peer: PeerWorker, drops: u64) -> u64 {
        self.known.get_mut(&peer).map_or(0, |known| growth(&mut known.socket_drops, drops))
    }
}

/// By how much a count told before has grown. A STATS that a later one overtook tells less, and nothing new.
pub(crate) fn growth(told: &mut Option<u64>, count: u64) -> u64 {
    let before = told.unwrap_or(count);
    *told = Some(before.max(count));
    count.saturating_sub(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(boot: u64, path: u32, worker: u8) -> PeerWorker {
        PeerWorker { boot, path: PathIndex(path), worker }
    }

    #[test]
    fn a_drop_that_each_of_a_worker_s_sessions_is_told_of_is_counted_once() {
        let mut peers = PeerWorkers::default();
        let peer = worker(7, 3, 0);
        (0..10_000).for_each(|_| peers.open(peer));
        let told = |peers: &mut PeerWorkers, drops| -> u64 {
            (0..10_000).map(|_| peers.on_socket_drops(peer, drops)).sum()
        };
        assert_eq!(told(&mut peers, 16), 0, "dropped before anybody asked");
        assert_eq!(told(&mut peers, 800), 784);
        assert_eq!(told(&mut peers, 16), 0, "overtaken on its way");
        assert_eq!(told(&mut peers, 801), 1);
    }

    #[test]
    fn workers_behind_one_address_each_have_a_count_of_their_own() {
        let mut peers = PeerWorkers::default();
        // Beside them a process that came back there, and one at another address that claims the same boot id.
        let all = [worker(7, 3, 0), worker(7, 3, 1), worker(8, 3, 0), worker(7, 4, 0)];
        all.iter().for_each(|peer| peers.open(*peer));
        for peer in all {
            assert_eq!(peers.on_socket_drops(peer, 100), 0);
        }
        for peer in all {
            assert_eq!(peers.on_socket_drops(peer, 105), 5);
        }
    }

    #[test]
    fn a_worker_is_forgotten_with_its_last_session() {
        let mut peers = PeerWorkers::default();
        for boot in 0..1_000 {
            let peer = worker(boot, 3, 0);
            peers.open(peer);
            peers.open(peer);
            peers.on_socket_drops(peer, 5);
            peers.close(peer);
            assert_eq!(peers.on_socket_drops(peer, 6), 1, "one session is left");
            peers.close(peer);
        }
        assert!(peers.known.is_empty());
    }
}
