//! What a bad network does to packets, as one seeded model for real sockets and simulated ones.
//!
//! Not for queues or bytes: the model only decides. Whoever asks (the tap on a real backend, a link
//! of the simulator) holds the packet until its due time and applies the corruption.
//!
//! ```text
//! "loss=1%,delay=1ms" --parse--> ImpairSpec --> Impairment::decide(now, size) --> 0..2 deliveries
//! ```
//!
//! Invariant: the fate of the n-th packet depends on the spec, the direction, the packets before it
//! and the times it was told, and on nothing else.

mod model;
mod spec;

pub use model::{Corruption, Delivery, Direction, Fate, ImpairCounters, Impairment};
pub use spec::{ImpairError, ImpairSpec, Probability};
