//! The one switch between the host's atomics and those of a model checker.
//!
//! The lock-free parts (`worker/mailbox/sleep.rs`, `worker/mailbox/waiters.rs`) take their atomics, fences and locks from
//! here. `tests/models` compiles the same files with loom's in this place, and tries every order that the
//! memory model allows.
#![forbid(unsafe_code)]

pub(crate) use std::sync::Mutex;

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}
