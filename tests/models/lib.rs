//! `src/worker/mailbox/sleep.rs` and `waiters.rs` as they are, compiled over loom's atomics instead of the host's.
#![allow(dead_code, missing_docs, reason = "parts of a library, looked at alone")]

/// What the product's `src/sync.rs` takes from std.
pub(crate) mod sync {
    pub(crate) use loom::sync::Mutex;

    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    }
}

/// As much of `io` as a sleeper needs: something to ring.
pub mod io {
    /// Rings a sleeping worker.
    pub struct Doorbell(Box<dyn Fn() + Send + Sync>);

    impl Doorbell {
        pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
            Self(Box::new(ring))
        }

        pub fn ring(&self) {
            (self.0)();
        }
    }

    impl std::fmt::Debug for Doorbell {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Doorbell")
        }
    }
}

#[path = "../../src/worker/mailbox/sleep.rs"]
pub mod sleep;
#[path = "../../src/worker/mailbox/waiters.rs"]
pub mod waiters;
