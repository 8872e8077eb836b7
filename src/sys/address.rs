//! Socket addresses as the kernel writes them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A `sockaddr_in` or `sockaddr_in6`, encoded once per path so that a send copies nothing.
#[derive(Clone, Copy)]
#[repr(C, align(4))]
pub struct RawAddress {
    bytes: [u8; RAW_ADDRESS_SIZE],
    length: u32,
}

impl RawAddress {
    /// An address the kernel will fill in.
    pub(super) const EMPTY: RawAddress = RawAddress { bytes: [0; RAW_ADDRESS_SIZE], length: 0 };

    /// `address` in the kernel's layout.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        match address {
            SocketAddr::V4(v4) => {
                raw.bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                raw.bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
                raw.bytes[4..8].copy_from_slice(&v4.ip().octets());
                raw.length = size_of::<libc::sockaddr_in>() as u32;
            }
            SocketAddr::V6(v6) => {
                raw.bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                raw.bytes[2..4].copy_from_slice(&v6.port().to_be_bytes());
                raw.bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                raw.bytes[8..24].copy_from_slice(&v6.ip().octets());
                raw.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.length = size_of::<libc::sockaddr_in6>() as u32;
            }
        }
        raw
    }

    /// The address again; `None` when the kernel left another family, or nothing.
    #[must_use]
    pub fn decode(&self) -> Option<SocketAddr> {
        decode(&self.bytes)
    }

    pub(super) fn as_ptr(&self) -> *const libc::c_void {
        self.bytes.as_ptr().cast()
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    /// Bytes of the address in use.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.length
    }
}

impl fmt::Debug for RawAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawAddress({:?})", self.decode())
    }
}

/// Reads a `sockaddr` of either family.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
        }
        libc::AF_INET6 => decode_v6(bytes, port),
        _ => None,
    }
}

#[inline(never)]
fn decode_v6(bytes: &[u8], port: u16) -> Option<SocketAddr> {
    let flow = u32::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
    let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
    Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
}

/// Room for the larger of the two families.
pub(super) const RAW_ADDRESS_SIZE: usize = size_of::<libc::sockaddr_in6>();

const _: () = {
    assert!(RAW_ADDRESS_SIZE >= size_of::<libc::sockaddr_in>());
    assert!(align_of::<RawAddress>() >= align_of::<libc::sockaddr_in6>());
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24);
    assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_addr) == 8);
    assert!(std::mem::offset_of!(libc::sockaddr_in, sin_addr) == 4);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernels_layout() {
        for text in ["127.0.0.1:9", "255.1.2.3:65535", "[::1]:7", "[fe80::1%3]:7411"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::new(address).decode(), Some(address));
        }
        assert_eq!(RawAddress::EMPTY.decode(), None);
    }
}
