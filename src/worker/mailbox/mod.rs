//! How other threads reach a worker: commands in, packets steered to the wrong socket across, and a
//! bell that is rung once per sleep.
//!
//! Not for what a command means: its executor is the endpoint's. Not for results: they come back by
//! the token that the command carries.
//!
//! ```text
//!  any thread --Command--> Mailbox --drain--> worker's thread
//!  worker A, front door --Packet--> Handover --> worker B's next receive
//! ```
//!
//! Invariant: whoever puts something in rings the bell of a worker that sleeps, and of no other.

mod command;
mod handover;
mod mail;
mod sleep;
mod waiters;

pub use command::{Command, INLINE_SIZE_MAX, Op, Urgent};
pub use handover::{Exchange, Handover, HandoverCounters, SteeredBackend};
pub use mail::{Mailbox, Refused};
pub use sleep::Sleep;
pub use waiters::Waiters;
