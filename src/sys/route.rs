//! What the kernel knows of the way to a remote address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::control::read_option;
use super::socket;

/// The way to one remote address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The MTU of the first link, or what path-MTU discovery has cached, in bytes of IP packet.
    pub mtu: usize,
    /// How far away it is.
    pub reach: Reach,
}

impl Route {
    /// Bytes of UDP payload one packet carries on this route.
    #[must_use]
    pub fn payload_size(&self, remote: SocketAddr) -> usize {
        let headers = if remote.is_ipv6() { 40 + 8 } else { 20 + 8 };
        self.mtu.saturating_sub(headers)
    }
}

/// How far away a remote address is, as far as its numbers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This host.
    Loopback,
    /// A link-local, RFC 1918 or unique-local address: one administration's network.
    Private,
    /// Anything else.
    Global,
}

/// Asks the kernel for the route to `remote`: connects a scratch socket, which sends nothing, and
/// reads `IP_MTU` or `IPV6_MTU`.
///
/// # Errors
/// There is no route, or the host lacks the address family.
pub fn route(remote: SocketAddr) -> io::Result<Route> {
    let scratch = socket::open(remote.is_ipv6())?;
    socket::connect(scratch.as_fd(), remote)?;
    let (level, name) = if remote.is_ipv6() {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU)
    };
    let mtu = read_option(scratch.as_fd(), level, name)?;
    Ok(Route { mtu: usize::try_from(mtu).unwrap_or(0), reach: reach(remote.ip()) })
}

/// How far away `ip` is.
#[must_use]
pub fn reach(ip: IpAddr) -> Reach {
    let (loopback, private) = match ip {
        IpAddr::V4(v4) => (v4.is_loopback(), v4.is_private() || v4.is_link_local()),
        IpAddr::V6(v6) => (v6.is_loopback(), v6.is_unique_local() || v6.is_unicast_link_local()),
    };
    match (loopback, private) {
        (true, _) => Reach::Loopback,
        (false, true) => Reach::Private,
        (false, false) => Reach::Global,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_a_large_mtu_and_is_named() {
        let route = route("127.0.0.1:9".parse().unwrap()).unwrap();
        assert_eq!(route.reach, Reach::Loopback);
        assert!(route.mtu >= 1_280, "mtu {}", route.mtu);
        assert_eq!(route.payload_size("127.0.0.1:9".parse().unwrap()), route.mtu - 28);
    }

    #[test]
    fn addresses_tell_how_far_they_are() {
        let reach = |text: &str| reach(text.parse().unwrap());
        assert_eq!(reach("10.1.2.3"), Reach::Private);
        assert_eq!(reach("169.254.0.9"), Reach::Private);
        assert_eq!(reach("fd00::1"), Reach::Private);
        assert_eq!(reach("::1"), Reach::Loopback);
        assert_eq!(reach("1.1.1.1"), Reach::Global);
    }
}
