//! Network namespaces: networks of this process's own, which end with it and never touch the host's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, kept as long as this value or a socket in it.
#[derive(Debug)]
pub struct NetNs(File);

impl NetNs {
    /// Makes one and moves the calling thread there; threads that it starts from then on begin there, other threads
    /// stay where they are. Where only a user's own namespace may hold one, the thread moves to a user namespace
    /// too, and can never go back: for a command that ends with it, and has no other thread left.
    ///
    /// # Errors
    /// `EPERM`; `ENOSPC`: a sysctl forbids it; `EINVAL`: a user namespace is needed, and another thread is left.
    pub fn enter_new() -> io::Result<NetNs> {
        unshare_network()?;
        NetNs::current()
    }

    /// The one that the calling thread is in.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> io::Result<NetNs> {
        File::open("/proc/thread-self/ns/net").map(NetNs)
    }

    /// Moves the calling thread there.
    ///
    /// # Errors
    /// `EPERM`: it belongs to another user namespace.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.0, CloneFlags::CLONE_NEWNET)?)
    }

    /// Whether [`NetNs::enter_new`] would be allowed here, tried by a child that ends at once.
    ///
    /// # Errors
    /// As there.
    pub fn probe() -> io::Result<()> {
        let mut command = Command::new("/proc/self/exe");
        // SAFETY: the closure runs in the forked child before exec, where only async-signal-safe calls are allowed:
        // it makes one system call, at most twice, and allocates nothing: both errors are numbers.
        unsafe {
            command.pre_exec(|| {
                unshare_network()?;
                // What the parent is told instead of running anything.
                Err(Errno::ECANCELED.into())
            });
        }
        match command.spawn() {
            Err(error) if error.raw_os_error() == Some(Errno::ECANCELED as i32) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::other("a child that was to end has not")),
        }
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn unshare_network() -> nix::Result<()> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_tries_leaves_this_thread_where_it_was() {
        let id = || std::fs::read_link("/proc/thread-self/ns/net").expect("procfs is mounted");
        let before = id();
        // Allowed or not: this process is asked nothing.
        let _ = NetNs::probe();
        assert_eq!(id(), before);
    }
}
