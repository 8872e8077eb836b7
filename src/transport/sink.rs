//! Where packets go: a trait defined here and implemented by the worker, so that the engine never
//! learns what a train or a backend is.

/// Index into the worker's table of paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathIndex(pub u32);

/// Takes packets as the engine builds them.
pub trait PacketSink {
    /// True when a packet of up to `size` bytes to `path` would get memory now.
    fn has_room(&mut self, path: PathIndex, size: usize) -> bool;

    /// `size` bytes for one packet to `path`, which the caller fills whole before it asks for the
    /// next. `None` when there is no memory now: ask again in a later turn.
    fn packet(&mut self, path: PathIndex, size: usize) -> Option<&mut [u8]>;

    /// What was asked for since the last call is whole and may leave.
    fn depart(&mut self);
}
