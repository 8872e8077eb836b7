//! What the two ends of a limit talk over: loopback, or a veth pair between two network namespaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use crate::sys::netns::NetNs;
use crate::sys::{Socket, SocketOptions, veth};
use crate::time::{Clock, MonotonicClock};

/// A path between two ends on this host.
#[derive(Debug)]
pub(super) enum Path {
    Loopback,
    Veth(Veth),
}

/// Which end. The calling thread is at the near one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Near,
    Far,
}

impl Path {
    /// Two UDP sockets connected to each other, with large buffers: one at the near end, one at the far end.
    pub fn udp_pair(&self, gro: bool) -> io::Result<(Socket, Socket)> {
        let socket = |end| {
            let bind = SocketAddr::new(self.address(end), 0);
            let options =
                SocketOptions { bind, reuse_port: false, buffer_size: 16 << 20, gro, errors: false };
            self.at(end, || Socket::bind(&options))
        };
        let (mut near, mut far) = (socket(End::Near)?, socket(End::Far)?);
        near.connect(far.local_addr())?;
        far.connect(near.local_addr())?;
        Ok((near, far))
    }

    /// Two ends of one TCP connection, as [`Path::udp_pair`].
    pub fn tcp_pair(&self) -> io::Result<(TcpStream, TcpStream)> {
        let listener = self.at(End::Far, || TcpListener::bind((self.address(End::Far), 0)))?;
        let near = TcpStream::connect(listener.local_addr()?)?;
        let (far, _) = listener.accept()?;
        Ok((near, far))
    }

    /// Bytes of a packed peer's packet. On loopback more does not help it; elsewhere the most that is carried whole.
    pub fn packet_size(&self) -> usize {
        match self {
            Path::Loopback => 8_192,
            Path::Veth(veth) => veth.mtu as usize - HEADERS_SIZE,
        }
    }

    /// Bytes of a packet of kernel-cut trains: what Ethernet carries, on any path.
    pub fn segment_size(&self) -> u16 {
        SEGMENT_SIZE.min(u16::try_from(self.packet_size()).unwrap_or(u16::MAX))
    }

    fn address(&self, end: End) -> IpAddr {
        match (self, end) {
            (Path::Loopback, _) => Ipv4Addr::LOCALHOST.into(),
            (Path::Veth(_), End::Near) => NEAR.into(),
            (Path::Veth(_), End::Far) => FAR.into(),
        }
    }

    /// Does `what` in the namespace of `end`: a socket stays in the one it was opened in.
    fn at<T>(&self, end: End, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match (self, end) {
            (Path::Veth(veth), End::Far) => veth.at_far_end(what),
            _ => what(),
        }
    }
}

/// A veth pair and the two namespaces it joins. Both end with the last thread and socket in them.
#[derive(Debug)]
pub(super) struct Veth {
    near: NetNs,
    far: NetNs,
    mtu: u32,
}

impl Veth {
    /// Makes it, and moves the calling thread to its near end.
    ///
    /// # Errors
    /// [`VethError`]: the host does not let this process.
    pub fn new(mtu: u32) -> Result<Veth, VethError> {
        let near = enter_alone().map_err(VethError::Namespace)?;
        let far = NetNs::enter_new().map_err(VethError::Namespace)?;
        near.enter().map_err(VethError::Namespace)?;
        let veth = Veth { near, far, mtu };
        veth::add_pair(LINK, mtu, &veth.far).map_err(VethError::Link)?;
        veth::bring_up(LINK, NEAR, PREFIX).map_err(VethError::Link)?;
        veth.at_far_end(|| veth::bring_up(LINK, FAR, PREFIX)).map_err(VethError::Link)?;
        Ok(veth)
    }

    fn at_far_end<T>(&self, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.far.enter()?;
        let done = what();
        self.near.enter()?;
        done
    }
}

/// Enters a new namespace once no other thread is left: one that was joined stays on the kernel's list for a moment.
fn enter_alone() -> io::Result<NetNs> {
    let deadline = MonotonicClock.now().after_ns(THREADS_GONE_NS);
    loop {
        match NetNs::enter_new() {
            Err(error) if is_crowded(&error) && MonotonicClock.now() < deadline => std::thread::yield_now(),
            done => return done,
        }
    }
}

fn is_crowded(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// Why there is no veth pair to measure over.
#[derive(Debug, thiserror::Error)]
pub enum VethError {
    /// This process may make no network namespace.
    #[error("no network namespace may be made here ({0}): {advice}", advice = advice(.0))]
    Namespace(#[source] io::Error),
    /// The namespaces are there, the link is not.
    #[error("no veth pair can be made here ({0}): the kernel needs CONFIG_VETH, as a module: modprobe veth")]
    Link(#[source] io::Error),
}

/// What to do where namespaces are refused.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // user.max_user_namespaces and user.max_net_namespaces of this user namespace or one above it.
        Some(libc::ENOSPC) => "sysctl -w user.max_net_namespaces=1024 user.max_user_namespaces=1024",
        Some(libc::EINVAL | libc::ENOSYS) => "the kernel needs CONFIG_NET_NS and CONFIG_USER_NS",
        _ => {
            "run it as root, or let users make namespaces (sysctl -w kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0), in a container with CAP_SYS_ADMIN"
        }
    }
}

/// Whether a veth pair may be made, without making one.
///
/// # Errors
/// [`VethError::Namespace`]: this process may make no namespaces.
pub fn veth_allowed() -> Result<(), VethError> {
    NetNs::probe().map_err(VethError::Namespace)
}

const THREADS_GONE_NS: u64 = 1_000_000_000;
const LINK: &str = "limits0";
/// RFC 5737 §3: addresses for documentation, in a network that has nobody else.
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const PREFIX: u8 = 24;
/// IPv4 and UDP.
const HEADERS_SIZE: usize = 28;
const SEGMENT_SIZE: u16 = 1_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        for (error, wanted) in [
            (libc::EPERM, "kernel.unprivileged_userns_clone=1"),
            (libc::ENOSPC, "user.max_net_namespaces"),
            (libc::EINVAL, "CONFIG_USER_NS"),
        ] {
            let text = VethError::Namespace(io::Error::from_raw_os_error(error)).to_string();
            assert!(text.contains(wanted), "{text}");
        }
        assert!(
            VethError::Link(io::Error::from_raw_os_error(libc::EOPNOTSUPP)).to_string().contains("modprobe")
        );
    }

    #[test]
    fn packets_of_loopback_do_not_depend_on_an_mtu() {
        assert_eq!((Path::Loopback.packet_size(), Path::Loopback.segment_size()), (8_192, 1_400));
    }
}
