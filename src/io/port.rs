//! What every backend with a socket has: the socket, its paths, its bell, and what it reports.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::config::{Config, SOCKET_BUFFER_DEFAULT};
use super::inlet::Inlet;
use super::paths::Paths;
use super::refusal::Refusal;
use super::regular::{Regular, Votes};
use super::report::Report;
use super::{Doorbell, Ecn, PathId};
use crate::sys::probe::{Offloads, probe_offloads, probe_peeks};
use crate::sys::shed::{Kept, shed};
use crate::sys::wait::{Ready, set_timer_slack_min, wait_readable};
use crate::sys::{Bell, Socket, SocketOptions};

/// A bound socket and what belongs to it.
#[derive(Debug)]
pub(super) struct Port {
    pub inlet: Inlet,
    pub paths: Paths,
    pub report: Report,
    pub bell: Bell,
    slack_set: bool,
    /// How a regular's socket is made: as this one was. `None` where there are no regulars.
    alike: Option<SocketOptions>,
    ecn_bits: u8,
    pub votes: Votes,
    regular: Option<Regular>,
    /// What the worker has the kernel drop.
    kept: Option<Kept>,
    /// Packets can be read behind others that stay.
    peeks: bool,
}

impl Port {
    /// Binds the socket and finds out by use which offloads work here; whether GSO does.
    pub fn open(config: &Config) -> io::Result<(Port, bool)> {
        let wanted = config.gso || config.gro;
        let offloads = if wanted { probe_offloads(config.bind.is_ipv6()).ok() } else { None };
        let offloads = offloads.unwrap_or(Offloads { gso: false, gro: false });
        let options = SocketOptions {
            bind: config.bind,
            reuse_port: config.reuse_port,
            buffer_size: config.socket_buffer.unwrap_or(SOCKET_BUFFER_DEFAULT),
            gro: config.gro && offloads.gro,
            errors: true,
        };
        let mut socket = Socket::bind(&options)?;
        if config.ecn.bits() != 0 {
            socket.set_ecn_bits(config.ecn.bits())?;
        }
        if let Some(remote) = config.connect {
            socket.connect(remote)?;
        }
        let port = Port {
            inlet: Inlet::new(socket, config.connect, options.gro),
            paths: Paths::default(),
            report: Report::default(),
            bell: Bell::new()?,
            slack_set: false,
            alike: (config.connect.is_none() && !config.reuse_port).then_some(options),
            ecn_bits: config.ecn.bits(),
            votes: Votes::default(),
            regular: None,
            kept: None,
            peeks: false,
        };
        Ok((port, config.gso && offloads.gso))
    }

    /// What is received here may be read and left in its socket, where the kernel is seen to go on behind it.
    pub fn let_packets_stay(&mut self) {
        self.peeks = probe_peeks(self.inlet.socket.local_addr().is_ipv6()).unwrap_or(false);
        if self.peeks {
            self.inlet.let_packets_stay();
        }
    }

    pub fn register_path(&mut self, path: PathId, remote: SocketAddr) {
        self.votes.forget(path);
        if let Some(regular) = &mut self.regular {
            if regular.inlet.remote == Some(remote) {
                regular.path = path;
            } else if regular.path == path {
                self.regular = None;
            }
        }
        self.paths.register(path, remote, self.inlet.remote);
    }

    /// Marks what leaves on `path`; true when it is marked. A socket that only one path has is marked itself.
    pub fn mark(&mut self, path: PathId, ecn: Ecn) -> bool {
        let ecn = self.paths.mark(path, ecn);
        let bits = self.bits(ecn);
        if let Some(regular) = self.regular.as_ref().filter(|regular| regular.path == path) {
            let _ = regular.inlet.socket.set_ecn_bits(bits);
        } else if self.paths.address(path).is_none() {
            let _ = self.inlet.socket.set_ecn_bits(bits);
        }
        ecn != Ecn::NotEct
    }

    /// The bits of a socket whose path is marked with `ecn`.
    fn bits(&self, ecn: Ecn) -> u8 {
        if ecn == Ecn::NotEct { self.ecn_bits } else { ecn.bits() }
    }

    /// Is there a socket for the path that most packets go to?
    #[inline]
    pub fn has_regular(&self) -> bool {
        self.regular.is_some()
    }

    /// Whom the second socket is connected to.
    #[cfg(test)]
    pub fn regular(&self) -> Option<SocketAddr> {
        self.regular.as_ref().and_then(|regular| regular.inlet.remote)
    }

    /// Does `path` lead to the regular?
    #[inline]
    pub fn is_regular(&self, path: PathId) -> bool {
        self.regular.as_ref().is_some_and(|regular| regular.path == path)
    }

    /// The regular's socket, or the port's own.
    #[inline]
    pub fn inlet(&self, regular: bool) -> &Inlet {
        self.regular.as_ref().filter(|_| regular).map_or(&self.inlet, |regular| &regular.inlet)
    }

    /// [`Port::inlet`], to write.
    #[inline]
    pub fn inlet_mut(&mut self, regular: bool) -> &mut Inlet {
        self.regular.as_mut().filter(|_| regular).map_or(&mut self.inlet, |regular| &mut regular.inlet)
    }

    /// Something waited there.
    #[inline]
    pub fn found(&mut self, regular: bool) {
        if let Some(own) = self.regular.as_mut().filter(|_| regular) {
            own.hear();
        }
    }

    /// Nothing waited there.
    #[inline]
    pub fn found_empty(&mut self, regular: bool) {
        match &mut self.regular {
            Some(own) if regular && own.leaves => self.drop_regular(),
            Some(own) if regular => own.inlet.found_empty(),
            _ => self.inlet.found_empty(),
        }
    }

    /// Gives whoever has the majority of what is sent a socket of its own.
    #[inline]
    pub fn elect(&mut self) {
        if let Some(path) = self.votes.winner()
            && !self.is_regular(path)
        {
            self.connect_to(path);
        }
    }

    #[cold]
    fn connect_to(&mut self, path: PathId) {
        let Some(options) = &self.alike else { return };
        // The one before must be empty before it goes.
        if let Some(regular) = &mut self.regular {
            regular.leaves = true;
            return;
        }
        let (remote, joins) = (self.paths.remote(path), options.gro);
        let bits = self.bits(self.paths.ecn(path));
        let made = self.inlet.socket.beside(options, remote).and_then(|socket| {
            if bits != 0 {
                socket.set_ecn_bits(bits)?;
            }
            Ok(socket)
        });
        match made {
            Ok(socket) => {
                let _ = shed(&socket, self.kept);
                let mut regular = Regular::new(socket, path, remote, joins);
                if self.peeks {
                    regular.inlet.let_packets_stay();
                }
                self.regular = Some(regular);
            }
            // No port can be shared here, or no route leads there, or no descriptor is left: one socket does
            // for all, until as many trains have left again.
            Err(_) => self.votes.forget(path),
        }
    }

    /// The regular's socket is of no use any more: the next packets leave by the port's own. What it still
    /// holds is lost, as on the way.
    #[cold]
    pub fn drop_regular(&mut self) {
        if let Some(regular) = self.regular.take() {
            self.votes.forget(regular.path);
        }
    }

    /// Asks the kernel how many packets it dropped here. To be called every 10 ms or so: it is then also seen
    /// whether the regular is still one.
    pub fn look(&mut self) {
        self.inlet.look(&mut self.report);
        if let Some(regular) = &mut self.regular {
            regular.inlet.look(&mut self.report);
            regular.leaves |= self.votes.candidate() != Some(regular.path) || regular.is_silent();
        }
    }

    /// Turns what ICMP said into events. `seen` is what a call just returned: a connected socket
    /// without an error queue says no more than that.
    #[cold]
    pub fn drain_errors(&mut self, seen: Refusal) {
        let Self { report, paths, inlet, regular, .. } = self;
        report.drain_errors(&inlet.socket, paths, inlet.remote, seen);
        if let Some(Regular { inlet, .. }) = regular {
            report.drain_errors(&inlet.socket, paths, inlet.remote, Refusal::Rejected);
        }
    }

    /// See [`Backend::shed`](super::Backend::shed).
    pub fn shed(&mut self, kept: Option<Kept>) -> bool {
        // A sandbox may forbid filters: the flood is then taken as it comes.
        let shed_here = shed(&self.inlet.socket, kept).is_ok();
        self.kept = kept.filter(|_| shed_here);
        if let Some(regular) = &self.regular {
            let _ = shed(&regular.inlet.socket, self.kept);
        }
        shed_here
    }

    pub fn doorbell(&self) -> Doorbell {
        let bell = self.bell.clone();
        Doorbell::new(move || bell.ring())
    }

    /// Sleeps until the socket (bit 0), the bell (bit 1) or the regular's socket (bit 2) has something, or
    /// `timeout` passes.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        self.sharpen_timer();
        let (socket, bell) = (self.inlet.socket.as_fd(), self.bell.as_fd());
        let ready = match &self.regular {
            Some(regular) => wait_readable([socket, bell, regular.inlet.socket.as_fd()], timeout)?,
            None => wait_readable([socket, bell], timeout)?,
        };
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
