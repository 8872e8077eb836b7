//! Sleeping until a descriptor is ready, and being woken from another thread.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd: rung from any thread, it ends the wait of the thread that watches it. A ring before
/// the wait is not lost.
#[derive(Clone, Debug)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Wakes the waiter.
    pub fn ring(&self) {
        // It fails only when 2^64 - 2 rings are already waiting to be heard.
        let _ = self.0.write(1);
    }

    /// Silences the bell; true when it had been rung.
    pub fn hear(&self) -> bool {
        self.0.read().is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which of the watched descriptors ended a wait: bit `i` for the `i`th.
pub type Ready = u32;

/// Sleeps until one of `fds` can be read or reports an error, or `timeout` passes. Returns which; 0 on
/// timeout or signal.
///
/// # Errors
/// What `ppoll` said, other than EINTR.
pub fn wait_readable<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    const { assert!(N <= 32) };
    let mut entries = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let time = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `entries` has N elements and outlives the call; `time` is null or points to the timespec
    // above, which does too; a null signal mask is allowed.
    let ready = unsafe { libc::ppoll(entries.as_mut_ptr(), N as libc::nfds_t, time, std::ptr::null()) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
    }
    Ok(entries
        .iter()
        .enumerate()
        .fold(0, |bits, (index, entry)| bits | u32::from(entry.revents != 0) << index))
}

/// Lets this thread's timed waits end within a nanosecond of their time: the default slack is 50 µs.
pub fn set_timer_slack_min() {
    // SAFETY: no memory is passed. PR_SET_TIMERSLACK takes nanoseconds and concerns this thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_rung_before_the_wait_ends_it_at_once() {
        let bell = Bell::new().unwrap();
        assert_eq!(wait_readable([bell.as_fd()], Some(Duration::ZERO)).unwrap(), 0);
        bell.ring();
        bell.ring();
        assert_eq!(wait_readable([bell.as_fd()], None).unwrap(), 1);
        assert!(bell.hear());
        assert!(!bell.hear());
    }
}
