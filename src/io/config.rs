//! What every socket backend is made from.

use std::net::SocketAddr;

use super::Ecn;

/// How a socket backend is opened.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where the socket is bound; port 0 lets the kernel choose.
    pub bind: SocketAddr,
    /// The only remote there will be: the socket is connected to it, its sends need no address, and
    /// the kernel drops what others send.
    pub connect: Option<SocketAddr>,
    /// `SO_RCVBUF` and `SO_SNDBUF` to ask for, in bytes; `None` asks for [`SOCKET_BUFFER_DEFAULT`].
    pub socket_buffer: Option<u64>,
    /// Send trains with `UDP_SEGMENT` where a probe shows that it works.
    pub gso: bool,
    /// Take joined packets with `UDP_GRO` where a probe shows that it works.
    pub gro: bool,
    /// Share the port with other sockets (`SO_REUSEPORT`): one per worker.
    pub reuse_port: bool,
    /// The ECN bits this socket's packets carry. Marks on what arrives are surely seen only with bits of
    /// its own: a socket without takes lone packets by a call that does not tell.
    pub ecn: Ecn,
}

impl Config {
    /// A socket at `bind` with everything that makes it fast.
    #[must_use]
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            connect: None,
            socket_buffer: None,
            gso: true,
            gro: true,
            reuse_port: false,
            ecn: Ecn::NotEct,
        }
    }
}

/// Bytes asked for each socket buffer unless configured. The kernel grants what it allows
/// (`net.core.rmem_max`, unless the process may go past it) and the backend reads back what it got.
pub const SOCKET_BUFFER_DEFAULT: u64 = 8 << 20;

impl Ecn {
    /// The codepoint of the low two bits of a traffic class (RFC 3168 §5).
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    /// The two bits of this codepoint.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Ecn::NotEct => 0,
            Ecn::Ect1 => 1,
            Ecn::Ect0 => 2,
            Ecn::Ce => 3,
        }
    }
}
