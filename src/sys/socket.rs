//! A UDP socket: made non-blocking and close-on-exec, with the options that the datapath wants.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::address::RawAddress;
use super::checked;
use super::control::{read_option, set_option};

/// How a [`Socket`] is made.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// Where it is bound; port 0 lets the kernel choose.
    pub bind: SocketAddr,
    /// `SO_REUSEPORT`: several sockets share the port.
    pub reuse_port: bool,
    /// `SO_RCVBUF` and `SO_SNDBUF` to ask for, in bytes as the option counts them (the kernel doubles it).
    pub buffer_size: u64,
    /// `UDP_GRO`: the kernel may join packets of one sender.
    pub gro: bool,
    /// `IP_RECVERR`: ICMP errors name the address they are about.
    pub errors: bool,
}

/// A bound UDP socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    local: SocketAddr,
}

impl Socket {
    /// Makes and binds a socket. Path-MTU discovery is PROBE (don't fragment, L54; ignore the cached MTU:
    /// the sender probes for itself) and ECN bits are reported.
    ///
    /// # Errors
    /// What `socket`, `setsockopt` or `bind` said: a port in use, an address that is not here, a
    /// family the host does not have. Options that only tune are tried and may fail silently.
    pub fn bind(options: &SocketOptions) -> io::Result<Socket> {
        let v6 = options.bind.is_ipv6();
        let fd = open(v6)?;
        if v6 {
            set_option(fd.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        }
        if options.reuse_port {
            set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if options.gro {
            set_option(fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1)?;
        }
        tune_ip(fd.as_fd(), v6, options.errors);
        let address = RawAddress::new(options.bind);
        // SAFETY: `address` holds `size()` valid bytes of a sockaddr and outlives the call.
        checked(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), address.size()) })?;
        let local = local_addr(fd.as_fd())?;
        let socket = Socket { fd, local };
        socket.set_buffer_size(options.buffer_size);
        Ok(socket)
    }

    /// Binds the socket to one remote: sends need no address, and only its packets come in.
    ///
    /// # Errors
    /// What `connect` said: no route, or the wrong address family.
    pub fn connect(&mut self, remote: SocketAddr) -> io::Result<()> {
        connect(self.fd.as_fd(), remote)?;
        // A socket bound to the unspecified address learns its own at connect.
        self.local = local_addr(self.fd.as_fd())?;
        Ok(())
    }

    /// A second socket on this one's port, connected to `remote`: the kernel prefers it for what `remote`
    /// sends, and this one goes on taking everybody else's packets. A few of those may have come to the new
    /// one before it was connected.
    ///
    /// # Errors
    /// What the kernel said: no route to `remote`, or a sandbox whose sockets share no ports.
    pub fn beside(&self, options: &SocketOptions, remote: SocketAddr) -> io::Result<Socket> {
        self.share_port(true)?;
        let shared = SocketOptions { bind: self.local, reuse_port: true, ..*options };
        let made = Socket::bind(&shared).and_then(|mut socket| {
            socket.connect(remote)?;
            // Only while the two are bound: later, any process of this user could join them.
            socket.share_port(false)?;
            Ok(socket)
        });
        self.share_port(false)?;
        made
    }

    fn share_port(&self, on: bool) -> io::Result<()> {
        set_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, i32::from(on))
    }

    /// Where it is bound.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Switches `UDP_GRO`.
    ///
    /// # Errors
    /// What `setsockopt` said.
    pub fn set_gro(&self, on: bool) -> io::Result<()> {
        set_option(self.fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, i32::from(on))
    }

    /// Cuts everything this socket sends into packets of `size` bytes (`UDP_SEGMENT`).
    ///
    /// # Errors
    /// What `setsockopt` said.
    pub fn set_segment_size(&self, size: u16) -> io::Result<()> {
        set_option(self.fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, i32::from(size))
    }

    /// One packet to the connected remote, by the plainest call there is.
    ///
    /// # Errors
    /// What `send` said.
    pub fn send(&self, packet: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: the pointer and length are those of `packet`, which outlives the call.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), packet.as_ptr().cast(), packet.len(), flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// One packet, by the plainest call there is; `WouldBlock` when none waits.
    ///
    /// # Errors
    /// What `recv` said.
    pub fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        let (fd, flags) = (self.fd.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: the kernel writes at most `into.len()` bytes to `into`, which outlives the call.
        let received = unsafe { libc::recv(fd, into.as_mut_ptr().cast(), into.len(), flags) };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// A read that leaves its packet in the socket (`MSG_PEEK`) is followed by one of the packet behind it, and the next
    /// begins at the oldest: `SO_PEEK_OFF`, socket(7).
    ///
    /// # Errors
    /// What `setsockopt` said.
    pub fn go_on_behind_peeked(&self) -> io::Result<()> {
        set_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, 0)
    }

    /// Marks what this socket sends with these ECN bits (RFC 3168 §5: 2 is ECT(0), 1 is ECT(1)).
    ///
    /// # Errors
    /// What `setsockopt` said.
    pub fn set_ecn_bits(&self, bits: u8) -> io::Result<()> {
        let (level, name) = if self.local.is_ipv6() {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        set_option(self.fd.as_fd(), level, name, i32::from(bits & 3))
    }

    /// Sends without a UDP checksum, which the kernel will not cut trains for: GSO that fails in use.
    #[cfg(test)]
    pub(crate) fn refuse_gso(&self) {
        set_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).expect("any socket can");
    }

    /// Asks for both buffers, past the host's maximum where this process may.
    pub fn set_buffer_size(&self, size: u64) {
        let size = i32::try_from(size).unwrap_or(i32::MAX);
        for (forced, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            if set_option(self.fd.as_fd(), libc::SOL_SOCKET, forced, size).is_err() {
                // The kernel clamps to rmem_max and wmem_max; what it granted is read back.
                let _ = set_option(self.fd.as_fd(), libc::SOL_SOCKET, plain, size);
            }
        }
    }

    /// The receive buffer granted, in bytes of true size (the kernel charges a packet its whole
    /// allocation, not its payload).
    #[must_use]
    pub fn receive_buffer_size(&self) -> u64 {
        let size = read_option(self.fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF).unwrap_or(0);
        u64::try_from(size).unwrap_or(0)
    }

    /// Packets dropped so far for want of room in the receive buffer: `SK_MEMINFO_DROPS`, which wraps
    /// at 32 bits.
    ///
    /// # Errors
    /// What `getsockopt` said.
    pub fn drops(&self) -> io::Result<u32> {
        let mut info = [0u32; MEMINFO_VARS];
        let mut size = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the kernel writes at most `size` bytes, the whole of `info`, which outlives the call.
        checked(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &raw mut size,
            )
        })?;
        Ok(info[SK_MEMINFO_DROPS])
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) fn open(v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    let fd = checked(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the kernel just made this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Nobody listens at `bind`. To be asked before a group of sockets that share the port is bound: any process
/// of the same user may join such a group, and another server must be found now, not by sessions that go
/// astray.
///
/// # Errors
/// What the kernel said: the address is in use, or not this host's.
pub fn ensure_free(bind: SocketAddr) -> io::Result<()> {
    let alone = SocketOptions { bind, reuse_port: false, buffer_size: 0, gro: false, errors: false };
    Socket::bind(&alone).map(drop)
}

pub(super) fn connect(fd: BorrowedFd<'_>, remote: SocketAddr) -> io::Result<()> {
    let address = RawAddress::new(remote);
    // SAFETY: `address` holds `size()` valid bytes of a sockaddr and outlives the call.
    checked(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), address.size()) }).map(drop)
}

/// Options that only tune: a kernel without one still carries packets.
///
/// L54, RFC 8085 §3.2: "an application SHOULD NOT send UDP datagrams that result in IP packets that exceed the Maximum
/// Transmission Unit (MTU) along the path to the destination": the kernel sets DF, and never cuts a packet up.
fn tune_ip(fd: BorrowedFd<'_>, v6: bool, errors: bool) {
    let options = if v6 {
        [
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, i32::from(errors)),
        ]
    } else {
        [
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
            (libc::IPPROTO_IP, libc::IP_RECVTOS, 1),
            (libc::IPPROTO_IP, libc::IP_RECVERR, i32::from(errors)),
        ]
    };
    for (level, name, value) in options {
        let _ = set_option(fd, level, name, value);
    }
}

fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut raw = RawAddress::EMPTY;
    let mut size = super::address::RAW_ADDRESS_SIZE as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes, all of `raw`'s storage, which outlives the call.
    checked(unsafe { libc::getsockname(fd.as_raw_fd(), raw.as_mut_ptr().cast(), &raw mut size) })?;
    raw.decode().ok_or_else(|| io::Error::other("the kernel bound an address that is not IP"))
}

// include/uapi/asm-generic/socket.h and include/uapi/linux/sock_diag.h; the libc crate has neither.
const SO_MEMINFO: libc::c_int = 55;
const SK_MEMINFO_DROPS: usize = 8;
const MEMINFO_VARS: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::ASKING_MAX;
    use crate::wire::INIT_PACKET_SIZE;

    fn options(bind: &str) -> SocketOptions {
        let bind = bind.parse().unwrap();
        SocketOptions { bind, reuse_port: false, buffer_size: 1 << 20, gro: false, errors: true }
    }

    #[test]
    fn a_bound_socket_knows_its_port_and_its_buffer() {
        let socket = Socket::bind(&options("127.0.0.1:0")).unwrap();
        assert_ne!(socket.local_addr().port(), 0);
        assert!(socket.receive_buffer_size() >= 100_000);
        assert_eq!(socket.drops().unwrap(), 0);
    }

    #[test]
    fn a_taken_port_is_refused_unless_shared() {
        let mut shared = options("127.0.0.1:0");
        shared.reuse_port = true;
        let first = Socket::bind(&shared).unwrap();
        shared.bind = first.local_addr();
        assert!(Socket::bind(&shared).is_ok());
        shared.reuse_port = false;
        assert_eq!(Socket::bind(&shared).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_first_messages_that_one_client_sends_at_once_fit_the_smallest_socket_buffer() {
        // P-13.25. The kernel doubles what is asked for: 208 KiB is what net.core.rmem_default grants.
        let small = SocketOptions { buffer_size: 104 << 10, ..options("127.0.0.1:0") };
        let (server, mut client) =
            (Socket::bind(&small).unwrap(), Socket::bind(&options("127.0.0.1:0")).unwrap());
        assert_eq!(server.receive_buffer_size(), 208 << 10);
        client.connect(server.local_addr()).unwrap();
        for _ in 0..ASKING_MAX {
            client.send(&[0; INIT_PACKET_SIZE]).unwrap();
        }
        assert_eq!(server.drops().unwrap(), 0);
    }

    #[test]
    fn the_kernel_is_told_never_to_cut_a_packet_into_ip_fragments() {
        // L54.
        let socket = Socket::bind(&options("127.0.0.1:0")).unwrap();
        let mode = read_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER).unwrap();
        assert_eq!(mode, libc::IP_PMTUDISC_PROBE);
    }
}
