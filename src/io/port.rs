//! What every backend with a socket has: the socket, its paths, its bell, and what it reports.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::config::{Config, SOCKET_BUFFER_DEFAULT};
use super::paths::Paths;
use super::refusal::Refusal;
use super::report::Report;
use super::{Doorbell, PathId};
use crate::sys::probe::{Offloads, probe_offloads};
use crate::sys::shed::{Kept, shed};
use crate::sys::wait::{Ready, set_timer_slack_min, wait_readable};
use crate::sys::{Bell, Socket, SocketOptions};

/// A bound socket and what belongs to it.
#[derive(Debug)]
pub(super) struct Port {
    pub socket: Socket,
    pub paths: Paths,
    pub report: Report,
    pub bell: Bell,
    connected: Option<SocketAddr>,
    slack_set: bool,
}

impl Port {
    /// Binds the socket and finds out by use which offloads work here; whether GSO does.
    pub fn open(config: &Config) -> io::Result<(Port, bool)> {
        let wanted = config.gso || config.gro;
        let offloads = if wanted { probe_offloads(config.bind.is_ipv6()).ok() } else { None };
        let offloads = offloads.unwrap_or(Offloads { gso: false, gro: false });
        let mut socket = Socket::bind(&SocketOptions {
            bind: config.bind,
            reuse_port: config.reuse_port,
            buffer_size: config.socket_buffer.unwrap_or(SOCKET_BUFFER_DEFAULT),
            gro: config.gro && offloads.gro,
            errors: true,
        })?;
        if config.ecn.bits() != 0 {
            socket.set_ecn_bits(config.ecn.bits())?;
        }
        if let Some(remote) = config.connect {
            socket.connect(remote)?;
        }
        let port = Port {
            socket,
            paths: Paths::default(),
            report: Report::default(),
            bell: Bell::new()?,
            connected: config.connect,
            slack_set: false,
        };
        Ok((port, config.gso && offloads.gso))
    }

    pub fn register_path(&mut self, path: PathId, remote: SocketAddr) {
        self.paths.register(path, remote, self.connected);
    }

    /// Turns what ICMP said into events. `seen` is what a call just returned: a connected socket
    /// without an error queue says no more than that.
    #[cold]
    pub fn drain_errors(&mut self, seen: Refusal) {
        self.report.drain_errors(&self.socket, &self.paths, self.connected, seen);
    }

    /// See [`Backend::shed`](super::Backend::shed).
    pub fn shed(&self, kept: Option<Kept>) -> bool {
        // A sandbox may forbid filters: the flood is then taken as it comes.
        shed(&self.socket, kept).is_ok()
    }

    pub fn doorbell(&self) -> Doorbell {
        let bell = self.bell.clone();
        Doorbell::new(move || bell.ring())
    }

    /// Sleeps until the socket (bit 0) or the bell (bit 1) has something, or `timeout` passes.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        self.sharpen_timer();
        let ready = wait_readable([self.socket.as_fd(), self.bell.as_fd()], timeout)?;
        if ready & 2 != 0 {
            self.bell.hear();
        }
        Ok(ready)
    }

    /// Lets this thread's waits end on time. Set at the first wait: it is the thread's, not the
    /// socket's, and the thread that waits may not be the one that opened.
    pub fn sharpen_timer(&mut self) {
        if !std::mem::replace(&mut self.slack_set, true) {
            set_timer_slack_min();
        }
    }
}
