//! What may befall a packet beside its link's impairment: its sender died within the turn, the network is
//! parted, or a thousand later packets overtake it.

use std::net::SocketAddr;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::sim::crash::Fuse;
use crate::sim::overtaking::{Holding, OvertakingCounters};
use crate::sim::swarm::Overtaking;
use crate::time::Timestamp;

/// The hazards of one network. The default has none.
#[derive(Debug, Default)]
pub struct Hazards {
    fuse: Fuse,
    /// Directed links that nothing enters.
    cut: FxHashSet<(SocketAddr, SocketAddr)>,
    parted: u64,
    holdings: FxHashMap<(SocketAddr, SocketAddr), Holding>,
}

impl Hazards {
    /// The fuse by which a process dies in the middle of a turn.
    #[must_use]
    pub fn fuse(&self) -> Fuse {
        self.fuse.clone()
    }

    /// From here on exactly these directed links are cut.
    pub fn set_cut(&mut self, cut: impl IntoIterator<Item = (SocketAddr, SocketAddr)>) {
        self.cut.clear();
        self.cut.extend(cut);
    }

    /// From here on the link holds packets back as `spec` says; the first time with chances from `seed`.
    pub fn set_overtaking(&mut self, from: SocketAddr, to: SocketAddr, spec: Overtaking, seed: u64) {
        if let Some(holding) = self.holdings.get_mut(&(from, to)) {
            holding.set_spec(spec);
        } else if spec.share > 0 {
            self.holdings.insert((from, to), Holding::new(spec, seed));
        }
    }

    /// False for a packet that never enters the network.
    pub(super) fn lets_in(&mut self, from: SocketAddr, to: SocketAddr) -> bool {
        if !self.fuse.lets_out(from) {
            return false;
        }
        let cut = !self.cut.is_empty() && self.cut.contains(&(from, to));
        self.parted += u64::from(cut);
        !cut
    }

    /// A packet's number on its link, and for how long it is held; zeros where no link holds anything.
    pub(super) fn hold(&mut self, now: Timestamp, from: SocketAddr, to: SocketAddr) -> (u64, u64) {
        self.holdings.get_mut(&(from, to)).map_or((0, 0), |holding| holding.enter(now))
    }

    /// The packet with this number on its link arrived.
    pub(super) fn arrive(&mut self, from: SocketAddr, to: SocketAddr, number: u64) {
        if number > 0
            && let Some(holding) = self.holdings.get_mut(&(from, to))
        {
            holding.arrive(number);
        }
    }

    /// Packets that met a partition.
    #[must_use]
    pub fn parted(&self) -> u64 {
        self.parted
    }

    /// How far packets were overtaken, over all links.
    #[must_use]
    pub fn overtaken(&self) -> OvertakingCounters {
        let mut sum = OvertakingCounters::default();
        self.holdings.values().for_each(|holding| sum += holding.counters());
        sum
    }
}
