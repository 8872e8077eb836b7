//! The socket by which handshakes reach an endpoint of several workers. A single worker has its own way with
//! a flood of them: see `shedding`.
//!
//! It has its own small buffer, so that a flood of handshakes fills that and not the sessions', and its own
//! thread, which hands each packet to the worker that it is for, and takes its time: what a flood brings
//! beyond that the kernel drops, which costs the workers nothing. Answers leave from the workers' sockets.
//!
//! ```text
//!  INIT, RESET, … --> socket 0 --> front door --Exchange--> worker's next receive
//!  DATA ------------> socket 1 + i ----------------------> worker i
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::mailbox::Exchange;
use crate::bounds::PACKET_SIZE_MAX;
use crate::io::Ecn;
use crate::sys::socket::ensure_free;
use crate::sys::steer::{Group, steer_by_session};
use crate::sys::wait::wait_readable;
use crate::sys::{Bell, ReceiveArena, Socket, SocketOptions};

/// Asked for, in bytes: some hundred INITs in the kernel's count.
const BUFFER_SIZE: u64 = 256 * 1024;
/// Packets received at once.
const BATCH_MAX: usize = 32;
/// After a batch that came back full the workers are left alone for so long: 128,000 packets a second.
const PAUSE: Duration = Duration::from_micros(250);

/// The first socket of a port's group.
#[derive(Debug)]
pub struct FrontDoor {
    socket: Socket,
    bell: Bell,
}

/// A front door whose thread runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Doorkeeper {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl FrontDoor {
    /// Binds the first socket of the port's group. The workers bind theirs next, in the order of their
    /// indices.
    ///
    /// # Errors
    /// What the kernel said: the port is in use.
    pub fn open(bind: SocketAddr) -> io::Result<Self> {
        let options =
            SocketOptions { bind, reuse_port: true, buffer_size: BUFFER_SIZE, gro: false, errors: false };
        ensure_free(bind)?;
        Ok(Self { socket: Socket::bind(&options)?, bell: Bell::new()? })
    }

    /// Where it is bound, and the workers should be.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    /// Tells the kernel which socket takes what, and starts handing over. Once all workers have bound
    /// theirs. Where a sandbox forbids the filter the kernel spreads by address, and the workers sort it
    /// out.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(self, exchange: Arc<Exchange>) -> io::Result<Doorkeeper> {
        let _ = steer_by_session(&self.socket, Group::FrontDoorAndWorkers);
        let bell = self.bell.clone();
        let thread = Builder::new().name("ringwire-door".into()).spawn(move || self.run(&exchange))?;
        Ok(Doorkeeper { bell, thread: Some(thread) })
    }

    fn run(self, exchange: &Exchange) {
        let mut arena = ReceiveArena::new(BATCH_MAX, PACKET_SIZE_MAX);
        while let Ok(ready) = wait_readable([self.socket.as_fd(), self.bell.as_fd()], None) {
            if ready & 2 != 0 {
                return;
            }
            // An error here is of one packet; the next wait tells whether the socket itself is gone.
            let filled = arena.receive(&self.socket, BATCH_MAX, false).unwrap_or(0);
            for index in 0..filled {
                let arrived = arena.arrived(index);
                let (Some(from), false) = (arrived.from, arrived.truncated) else { continue };
                let packet = &arena.buffer_mut(index)[..arrived.length as usize];
                exchange.admit(from, Ecn::from_bits(arrived.ecn_bits), packet);
            }
            // A bell that rings meanwhile ends the pause.
            if filled == BATCH_MAX && wait_readable([self.bell.as_fd()], Some(PAUSE)).is_err() {
                return;
            }
        }
    }
}

impl Drop for Doorkeeper {
    fn drop(&mut self) {
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            // It said why on stderr itself.
            let _ = thread.join();
        }
    }
}
