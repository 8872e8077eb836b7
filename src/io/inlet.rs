//! A socket that packets come in by, and what is known of it.

use std::io;
use std::net::SocketAddr;

use super::held::Held;
use super::joining::Joining;
use super::report::Report;
use crate::hint::rarely;
use crate::sys::Socket;
use crate::sys::batch::{Plain, discard};

/// A bound socket, connected or not.
#[derive(Debug)]
pub(super) struct Inlet {
    pub socket: Socket,
    /// Whom it is connected to.
    pub remote: Option<SocketAddr>,
    /// Between its binding and its connecting anybody's packets may have come to it. False once it was
    /// found empty since: from then on whatever comes is its remote's.
    may_hold_strays: bool,
    /// What was read and is still in the socket.
    pub held: Held,
    joining: Joining,
    /// The kernel's count of packets it dropped at the socket, as last read.
    drops_seen: u32,
}

impl Inlet {
    /// Around `socket`, whose kernel joins packets if `joins`.
    pub fn new(socket: Socket, remote: Option<SocketAddr>, joins: bool) -> Self {
        let (held, joining) = (Held::new(0), Joining::new(joins));
        Self { socket, remote, may_hold_strays: true, held, joining, drops_seen: 0 }
    }

    /// A look found one buffer of `length` bytes, in packets of `segment_size`.
    #[inline]
    pub fn came_alone(&mut self, length: u32, segment_size: u32) {
        if let Some(on) = self.joining.came_alone(length, length == segment_size) {
            self.join(on);
        }
    }

    /// A look found several.
    #[inline]
    pub fn came_together(&mut self) {
        if let Some(on) = self.joining.came_together() {
            self.join(on);
        }
    }

    #[cold]
    fn join(&mut self, on: bool) {
        let took = self.socket.set_gro(on).is_ok();
        self.joining.told(on, took);
    }

    /// Large packets may stay in the socket for a while, see [`held`](super::held).
    pub fn let_packets_stay(&mut self) {
        if self.socket.go_on_behind_peeked().is_ok() {
            self.held = Held::new(self.socket.receive_buffer_size());
        }
    }

    /// Who sent what comes in, if that is known without the kernel's word.
    #[inline]
    pub fn sender(&self) -> Option<&SocketAddr> {
        self.remote.as_ref().filter(|_| !self.may_hold_strays)
    }

    /// How packets are received here one by one; `stays` when what is found is left in the socket.
    #[inline]
    pub fn plain(&self, stays: bool) -> Plain {
        Plain { named: self.sender().is_none(), stays }
    }

    /// Takes the `count` oldest of the packets that stay out of the socket.
    ///
    /// # Errors
    /// An ICMP error that came meanwhile: it is told first, and packets are still there.
    pub fn take_out(&mut self, count: usize) -> io::Result<()> {
        let mut left = count.min(self.held.count());
        while left > 0 {
            let taken = discard(&self.socket, left)?;
            self.held.taken_out(taken);
            left -= taken;
            if rarely(taken == 0) {
                // There are fewer than were read: whatever comes next is read from its beginning.
                self.held.taken_out(usize::MAX);
                return self.socket.go_on_behind_peeked();
            }
        }
        Ok(())
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
