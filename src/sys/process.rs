//! Facts about processes, and what they inherit.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU seconds, user and system, that this process has used.
#[must_use]
pub fn cpu_seconds() -> f64 {
    usage(UsageWho::RUSAGE_SELF)
}

/// CPU seconds that the calling thread has used.
#[must_use]
pub fn thread_cpu_seconds() -> f64 {
    usage(UsageWho::RUSAGE_THREAD)
}

fn usage(who: UsageWho) -> f64 {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    getrusage(who).map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Fills `bytes` from the kernel's generator: for keys and for ids that nobody may guess.
///
/// # Errors
/// The kernel has no randomness to give.
pub fn random_bytes(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

/// Has the kernel send SIGTERM to the process that `command` starts when the *thread* that starts it
/// ends: a server started for a benchmark never outlives it, however it dies.
pub fn dies_with_this_thread(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    // SAFETY: the closure runs in the forked child before exec, where only async-signal-safe calls are
    // allowed: prctl, getppid and _exit are, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            super::checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM))?;
            // The parent may have died between fork and prctl; then the signal never comes.
            if libc::getppid() as u32 != parent {
                libc::_exit(1);
            }
            Ok(())
        })
    }
}

/// Asks process `id` to end (SIGTERM).
///
/// # Errors
/// There is no such process, or it is not ours.
pub fn terminate(id: u32) -> io::Result<()> {
    signal(id, nix::sys::signal::Signal::SIGTERM)
}

/// Stops process `id` in its tracks (SIGSTOP), as a host that hangs would; [`resume`] undoes it.
///
/// # Errors
/// There is no such process, or it is not ours.
pub fn pause(id: u32) -> io::Result<()> {
    signal(id, nix::sys::signal::Signal::SIGSTOP)
}

/// Lets a process go on that [`pause`] stopped.
///
/// # Errors
/// There is no such process, or it is not ours.
pub fn resume(id: u32) -> io::Result<()> {
    signal(id, nix::sys::signal::Signal::SIGCONT)
}

fn signal(id: u32, signal: nix::sys::signal::Signal) -> io::Result<()> {
    // 0 and negative numbers name groups of processes.
    let id = i32::try_from(id).ok().filter(|id| *id > 0).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_cpu_seconds() {
        let before = thread_cpu_seconds();
        let mut sum = 0u64;
        while thread_cpu_seconds() - before < 0.005 {
            (0..100_000u64).for_each(|n| sum = sum.wrapping_mul(31).wrapping_add(std::hint::black_box(n)));
        }
        std::hint::black_box(sum);
        assert!(cpu_seconds() >= thread_cpu_seconds() - before);
    }

    #[test]
    fn a_child_ends_with_the_thread_that_started_it() {
        let mut child = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            dies_with_this_thread(command.arg("60")).spawn().unwrap()
        })
        .join()
        .unwrap();
        assert!(!child.wait().unwrap().success(), "SIGTERM ended it");
    }

    #[test]
    fn two_draws_of_random_bytes_differ() {
        let (mut a, mut b) = ([0; 16], [0; 16]);
        random_bytes(&mut a).unwrap();
        random_bytes(&mut b).unwrap();
        assert_ne!(a, b);
    }
}
