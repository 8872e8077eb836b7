//! SIGINT, SIGTERM and SIGHUP as flags.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// What asked this process to stop.
#[derive(Debug)]
pub struct StopFlags {
    interrupted: &'static AtomicBool,
    terminated: &'static AtomicBool,
}

impl StopFlags {
    /// Catches SIGINT and SIGTERM from here on, once each: a second one ends the process at once, so
    /// that one that hangs can still be stopped from the keyboard.
    ///
    /// # Errors
    /// What `sigaction` said.
    pub fn install() -> io::Result<StopFlags> {
        let handler = SigHandler::Handler(on_signal);
        let action = SigAction::new(handler, SaFlags::SA_RESETHAND, SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            // SAFETY: the handler only stores to a static atomic, which is async-signal-safe.
            unsafe { sigaction(signal, &action) }?;
        }
        Ok(StopFlags { interrupted: &INTERRUPTED, terminated: &TERMINATED })
    }

    /// SIGINT came: print what there is and exit with 130.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        // Relaxed: the flag guards no other memory.
        self.interrupted.load(Ordering::Relaxed)
    }

    /// SIGINT or SIGTERM came.
    #[must_use]
    pub fn stop(&self) -> bool {
        self.interrupted() || self.terminated.load(Ordering::Relaxed)
    }
}

/// Catches SIGHUP, by which operators ask a server to read its files again. True once for each time it
/// came since the last question.
#[derive(Debug)]
pub struct ReloadFlag(());

impl ReloadFlag {
    /// Catches SIGHUP from here on, each time it comes.
    ///
    /// # Errors
    /// What `sigaction` said.
    pub fn install() -> io::Result<ReloadFlag> {
        let action = SigAction::new(SigHandler::Handler(on_hangup), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler only stores to a static atomic, which is async-signal-safe.
        unsafe { sigaction(Signal::SIGHUP, &action) }?;
        Ok(ReloadFlag(()))
    }

    /// Whether it came since the last question.
    #[must_use]
    pub fn take(&self) -> bool {
        // Relaxed: the flag guards no other memory.
        HUNG_UP.swap(false, Ordering::Relaxed)
    }
}

extern "C" fn on_hangup(_number: libc::c_int) {
    // Relaxed: as above.
    HUNG_UP.store(true, Ordering::Relaxed);
}

extern "C" fn on_signal(number: libc::c_int) {
    let flag = if number == libc::SIGINT { &INTERRUPTED } else { &TERMINATED };
    // Relaxed: as above.
    flag.store(true, Ordering::Relaxed);
}

static HUNG_UP: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static TERMINATED: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_signal_sets_the_flag_and_ends_nothing() {
        let flags = StopFlags::install().unwrap();
        assert!(!flags.stop());
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert!(flags.stop());
        assert!(!flags.interrupted());
    }

    #[test]
    fn a_hangup_is_told_once_and_ends_nothing() {
        let flag = ReloadFlag::install().unwrap();
        assert!(!flag.take());
        for _ in 0..2 {
            nix::sys::signal::raise(Signal::SIGHUP).unwrap();
            assert!(flag.take());
            assert!(!flag.take());
        }
    }
}
