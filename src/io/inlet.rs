//! A socket that packets come in by, and what is known of it.

use std::net::SocketAddr;

use super::report::Report;
use crate::sys::Socket;
use crate::sys::batch::Plain;

/// A bound socket, connected or not.
#[derive(Debug)]
pub(super) struct Inlet {
    pub socket: Socket,
    /// Whom it is connected to.
    pub remote: Option<SocketAddr>,
    /// Between its binding and its connecting anybody's packets may have come to it. False once it was
    /// found empty since: from then on whatever comes is its remote's.
    may_hold_strays: bool,
    /// The packet that was received last is still in the socket.
    stays: bool,
    /// The kernel's count of packets it dropped at the socket, as last read.
    drops_seen: u32,
}

impl Inlet {
    pub fn new(socket: Socket, remote: Option<SocketAddr>) -> Self {
        Self { socket, remote, may_hold_strays: true, stays: false, drops_seen: 0 }
    }

    /// Who sent what comes in, if that is known without the kernel's word.
    #[inline]
    pub fn sender(&self) -> Option<&SocketAddr> {
        self.remote.as_ref().filter(|_| !self.may_hold_strays)
    }

    /// How packets are received here one by one. `alone`: one is expected, and the next not before it is
    /// answered.
    #[inline]
    pub fn plain(&self, alone: bool) -> Plain {
        Plain { named: self.sender().is_none(), stays: alone }
    }

    /// A packet was received that stays in the socket.
    #[inline]
    pub fn stays(&mut self) {
        self.stays = true;
    }

    /// Whether a packet that was received is still there, from now on no more.
    #[inline]
    pub fn take_staying(&mut self) -> bool {
        std::mem::take(&mut self.stays)
    }

    /// Nothing waited.
    #[inline]
    pub fn found_empty(&mut self) {
        self.may_hold_strays = false;
    }

    /// Asks the kernel how many packets it dropped for want of room in the socket's buffer.
    pub fn look(&mut self, report: &mut Report) {
        report.look(&self.socket, &mut self.drops_seen);
    }
}
