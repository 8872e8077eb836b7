//! Making a ring: the flags worth having, less those that this kernel refuses.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::{IoUring, Submitter, opcode};
use thiserror::Error;

use super::buffers::ProvidedBuffers;
use super::{BUFFER_GROUP, RingOptions};
use crate::sys::{Bell, Socket};

/// A step of the set-up that the kernel or a sandbox refused.
#[derive(Debug, Error)]
pub enum SetupError {
    /// `io_uring_setup`: blocked, missing, or out of locked memory.
    #[error("io_uring unavailable: {0}{hint}", hint = setup_hint(.0))]
    Setup(io::Error),
    /// The ring cannot wait with a timeout (before Linux 5.11).
    #[error("io_uring here has no timed wait (IORING_FEAT_EXT_ARG, Linux 5.11)")]
    NoTimedWait,
    /// The descriptors could not be registered.
    #[error("io_uring takes no registered descriptors: {0}")]
    Files(io::Error),
    /// No provided-buffer ring (before Linux 5.19).
    #[error("io_uring has no provided-buffer ring (Linux 5.19): {0}")]
    Buffers(io::Error),
}

fn setup_hint(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => match std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
            Ok(value) if value.trim() != "0" => {
                format!(" (kernel.io_uring_disabled={})", value.trim())
            }
            _ => " (blocked by seccomp)".to_owned(),
        },
        Some(libc::ENOSYS) => " (not in this kernel, or hidden by seccomp)".to_owned(),
        Some(libc::ENOMEM) => " (raise the locked-memory limit, ulimit -l)".to_owned(),
        _ => String::new(),
    }
}

/// A ring with the best flags this kernel takes. SINGLE_ISSUER with DEFER_TASKRUN (6.1) keeps the
/// kernel from interrupting this thread; TASKRUN_FLAG shows in shared memory when there is work.
pub(super) fn build(options: RingOptions) -> Result<IoUring, SetupError> {
    let requests = u32::from(options.sends) + SPARE_REQUESTS;
    let completions = (requests + u32::from(options.buffers)).next_power_of_two() * 2;
    let mut refused = None;
    for attempt in [Flags::NoArray, Flags::Deferred, Flags::Cooperative, Flags::Plain] {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(completions).setup_clamp();
        match attempt {
            Flags::NoArray => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
                builder.setup_submit_all().setup_no_sqarray()
            }
            Flags::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
                builder.setup_submit_all()
            }
            Flags::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag(),
            Flags::Plain => &mut builder,
        };
        match builder.build(requests.next_power_of_two()) {
            Ok(ring) if ring.params().is_feature_ext_arg() => return Ok(ring),
            Ok(_) => return Err(SetupError::NoTimedWait),
            // An unknown flag is EINVAL; anything else would meet every attempt alike.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(SetupError::Setup(error)),
        }
    }
    Err(SetupError::Setup(refused.expect("every attempt ended in EINVAL")))
}

#[derive(Clone, Copy)]
enum Flags {
    NoArray,
    Deferred,
    Cooperative,
    Plain,
}

/// Registers the descriptors, the ring itself and the receive buffers.
pub(super) fn register(
    submitter: &mut Submitter<'_>,
    buffers: &ProvidedBuffers,
    socket: &Socket,
    bell: &Bell,
) -> Result<(), SetupError> {
    let files = [socket.as_fd().as_raw_fd(), bell.as_fd().as_raw_fd()];
    submitter.register_files(&files).map_err(SetupError::Files)?;
    // SAFETY: the ring of entries is owned by the same Ring as the io_uring, and its Drop frees it only
    // once the io_uring is gone or leaks it.
    unsafe { submitter.register_buf_ring_with_flags(buffers.address(), buffers.count(), BUFFER_GROUP, 0) }
        .map_err(SetupError::Buffers)?;
    // Saves a look-up of the descriptor per enter; not having it (before 5.18) costs only that.
    let _ = submitter.register_ring_fd();
    Ok(())
}

/// A ring that carries nothing: what does io_uring's bare mechanism cost here?
pub struct NopRing {
    ring: IoUring,
    batch: usize,
}

impl NopRing {
    /// A ring for `batch` empty requests at a time.
    ///
    /// # Errors
    /// The step that was refused.
    pub fn new(batch: u16) -> Result<NopRing, SetupError> {
        let ring = build(RingOptions { buffers: 8, buffer_size: 0, sends: batch })?;
        Ok(NopRing { ring, batch: usize::from(batch) })
    }

    /// Passes a batch through in one enter; how many completed.
    ///
    /// # Errors
    /// What `io_uring_enter` said.
    pub fn round(&mut self) -> io::Result<usize> {
        let nop = opcode::Nop::new().build();
        for _ in 0..self.batch {
            // SAFETY: a NOP points to no memory.
            let pushed = unsafe { self.ring.submission().push(&nop) };
            pushed.expect("the queue holds a batch, and the last one was taken whole");
        }
        self.ring.submit_and_wait(self.batch)?;
        Ok(self.ring.completion().count())
    }
}

/// Requests beside the sends: the receive, the bell, a cancel.
const SPARE_REQUESTS: u32 = 4;
