//! The socket by which handshakes reach an endpoint of several workers.
//!
//! It has its own small buffer, so that a flood of handshakes fills that and not the sessions', and
//! its own thread, which hands each packet to the worker that it is for. Answers leave from the
//! workers' sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::link::Hub;
use crate::bounds::PACKET_SIZE_MAX;
use crate::io::Ecn;
use crate::sys::steer::{Group, steer_by_session};
use crate::sys::wait::wait_readable;
use crate::sys::{Bell, ReceiveArena, Socket, SocketOptions};

/// Asked for, in bytes: some hundred INITs in the kernel's count.
const BUFFER_SIZE: u64 = 256 * 1024;
/// Packets received at once.
const BATCH_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct FrontDoor {
    socket: Socket,
    bell: Bell,
}

impl FrontDoor {
    /// Binds the first socket of the port's group.
    pub(super) fn open(bind: SocketAddr) -> io::Result<Self> {
        let options =
            SocketOptions { bind, reuse_port: true, buffer_size: BUFFER_SIZE, gro: false, errors: false };
        Ok(Self { socket: Socket::bind(&options)?, bell: Bell::new()? })
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    /// Ends [`FrontDoor::run`] when rung.
    pub(super) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Tells the kernel which socket takes what. Called once all workers have bound theirs. Where a
    /// sandbox forbids it the kernel spreads by address, and the workers sort it out.
    pub(super) fn steer(&self) -> bool {
        steer_by_session(&self.socket, Group::FrontDoorAndWorkers).is_ok()
    }

    /// Hands packets over until the bell rings.
    pub(super) fn run(self, hub: &Arc<Hub>) {
        let mut arena = ReceiveArena::new(BATCH_MAX, PACKET_SIZE_MAX);
        while let Ok(ready) = wait_readable([self.socket.as_fd(), self.bell.as_fd()], None) {
            if ready & 2 != 0 {
                return;
            }
            // An error here is of one packet; the next wait tells whether the socket itself is gone.
            let filled = arena.receive(&self.socket, BATCH_MAX).unwrap_or(0);
            for index in 0..filled {
                let arrived = arena.arrived(index);
                let (Some(from), false) = (arrived.from, arrived.truncated) else { continue };
                let packet = &arena.buffer_mut(index)[..arrived.length as usize];
                hub.exchange.admit(from, Ecn::from_bits(arrived.ecn_bits), packet);
            }
        }
    }
}
