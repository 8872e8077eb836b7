//! Where packets go: a trait defined here and implemented by the worker, so that the engine never
//! learns what a train or a backend is.

use bytes::Bytes;

/// Index into the worker's table of paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathIndex(pub u32);

/// Where a packet goes: by which path, and to which of the workers behind that address. The peer's kernel
/// steers a train by its first packet, so packets of different workers do not share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The address.
    pub path: PathIndex,
    /// The low byte of the session id that the packet is for (P-1.5); [`Way::DOOR`] for the handshake's.
    pub worker: u8,
}

impl Way {
    /// No worker: where handshake packets arrive.
    pub const DOOR: u8 = 255;

    /// For a packet of a handshake.
    #[must_use]
    pub fn to_door(path: PathIndex) -> Self {
        Self { path, worker: Self::DOOR }
    }
}

/// How packets of a path leave as far as ECN is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marking {
    /// Not ECN-capable.
    #[default]
    Off,
    /// ECT(0).
    Ect0,
}

/// Takes packets as the engine builds them.
pub trait PacketSink {
    /// True when a packet of up to `size` bytes would get memory now.
    fn has_room(&mut self, way: Way, size: usize) -> bool;

    /// `size` bytes for one packet, which the caller fills whole before it asks for the
    /// next. `None` when there is no memory now: ask again in a later turn.
    fn packet(&mut self, way: Way, size: usize) -> Option<&mut [u8]>;

    /// The bytes from `at` on of the packet asked for last are `bytes`, which stay where they are: they are not
    /// copied into it.
    fn gather(&mut self, at: usize, bytes: Bytes);

    /// What comes next by `way` does not leave in one system call with what was asked for so far: the kernel
    /// refuses both or takes both.
    fn part(&mut self, way: Way);

    /// What was asked for since the last call is whole and may leave.
    fn depart(&mut self);

    /// From here on packets to `path` leave so. A sink that cannot mark leaves them as they are.
    fn mark(&mut self, path: PathIndex, marking: Marking) {
        let _ = (path, marking);
    }
}

/// How much of what waits leaves now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    All,
    /// What the application made ready. Sessions that were only heard wait: their handlers may still answer, and
    /// the answer carries the ack that would leave alone now.
    Answers,
    /// All but units that still have room, because more is about to be said: a train that leaves in the
    /// middle of a turn would carry a last packet of one record, and cost the kernel as much as two.
    FullUnits,
}
