//! Packet memory and lock-free rings: who holds which bytes, and how they change hands.
//!
//! Not for sockets or policy. Invariant: a slot is lent to one holder at a time, and comes back once.
#![allow(unsafe_code)]

mod memory;
mod slab;

pub use memory::{Direction, PacketMemory, copied, copy};
pub use slab::{Slab, SlotId};
