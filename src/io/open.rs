//! Opening the socket that a backend drives.

use std::io;

use super::config::{Config, SOCKET_BUFFER_DEFAULT};
use crate::sys::probe::{Offloads, probe_offloads};
use crate::sys::{Socket, SocketOptions};

/// A socket, bound and tuned, and what it can do.
#[derive(Debug)]
pub(super) struct Opened {
    pub socket: Socket,
    pub gso: bool,
}

pub(super) fn open(config: &Config) -> io::Result<Opened> {
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
    Ok(Opened { socket, gso: config.gso && offloads.gso })
}
