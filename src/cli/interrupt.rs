//! SIGINT and SIGTERM as a flag that loops look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};

/// True once the process was asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Waits for the signals on a thread of its own. Call it before any other thread is started:
    /// those inherit the blocked signals, so that no system call of theirs is broken off. The first
    /// signal raises the flag, and `on_first` runs; the second ends the process at once.
    pub fn install(on_first: impl Fn() + Send + 'static) -> std::io::Result<Interrupt> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        let interrupt = Interrupt::default();
        let raised = interrupt.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            while signals.wait().is_ok() {
                // Relaxed: the flag guards no other memory.
                if raised.0.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                on_first();
            }
        })?;
        Ok(interrupt)
    }

    /// True once a signal came.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises the flag from inside.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
