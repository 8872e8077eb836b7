//! Processor time, from the kernel's own books.

use nix::sys::resource::{Usage, UsageWho, getrusage};

/// Processor seconds of the calling thread, in user and kernel mode.
#[must_use]
pub fn thread_cpu_s() -> Option<f64> {
    getrusage(UsageWho::RUSAGE_THREAD).ok().map(seconds)
}

/// Processor seconds of this process, in user and kernel mode.
#[must_use]
pub fn process_cpu_s() -> Option<f64> {
    getrusage(UsageWho::RUSAGE_SELF).ok().map(seconds)
}

fn seconds(usage: Usage) -> f64 {
    let part = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    part(usage.user_time()) + part(usage.system_time())
}
