//! A pair of virtual Ethernet links between two network namespaces, made over rtnetlink: include/uapi/linux/rtnetlink.h,
//! if_link.h, if_addr.h and veth.h of Linux, which have the numbers below.
//!
//! ```text
//! [header][ifinfomsg][NAME][MTU][LINKINFO [KIND veth][DATA [PEER [ifinfomsg][NAME][MTU][NET_NS_FD]]]]
//! ```

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Makes `name` in the calling thread's namespace, with `mtu`, and the other end, by the same name, in `peer`.
///
/// # Errors
/// `EOPNOTSUPP`: the kernel has no veth; `EPERM`: the namespace is another user's.
pub fn add_pair(name: &str, mtu: u32, peer: impl AsFd) -> io::Result<()> {
    let mut message = Message::new(NEW_LINK, CREATE | EXCLUSIVE);
    message.link(0, 0);
    message.text(NAME, name);
    message.u32(MTU, mtu);
    message.nest(LINK_INFO, |info| {
        info.text(KIND, "veth");
        info.nest(DATA, |data| {
            data.nest(PEER, |other| {
                other.link(0, 0);
                other.text(NAME, name);
                other.u32(MTU, mtu);
                other.u32(NET_NS_FD, peer.as_fd().as_raw_fd().cast_unsigned());
            });
        });
    });
    message.tell()
}

/// Gives `name`, in the calling thread's namespace, an address in a network of `prefix` bits, and switches it on.
///
/// # Errors
/// What the kernel said.
pub fn bring_up(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let index = if_nametoindex(name)?;
    let mut message = Message::new(NEW_ADDRESS, CREATE | EXCLUSIVE);
    message.bytes(&[libc::AF_INET as u8, prefix, 0, 0]);
    message.bytes(&index.to_ne_bytes());
    message.attribute(LOCAL, &address.octets());
    message.tell()?;
    let mut message = Message::new(NEW_LINK, 0);
    message.link(index, libc::IFF_UP.cast_unsigned());
    message.tell()
}

/// One request.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Message {
        let mut message = Message(vec![0; HEADER_SIZE]);
        message.0[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.0[6..8].copy_from_slice(&(flags | REQUEST | ACK).to_ne_bytes());
        message
    }

    /// `struct ifinfomsg`: `flags` are set, others left as they are.
    fn link(&mut self, index: u32, flags: u32) {
        self.bytes(&[0; 4]);
        for word in [index, flags, flags] {
            self.bytes(&word.to_ne_bytes());
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |message| message.bytes(value));
    }

    fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.nest(kind, |message| {
            message.bytes(text.as_bytes());
            message.bytes(&[0]);
        });
    }

    /// An attribute that holds what `fill` adds; its length counts its head and not what pads it.
    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) {
        let start = self.0.len();
        self.bytes(&[0; 2]);
        self.bytes(&kind.to_ne_bytes());
        fill(self);
        let size = u16::try_from(self.0.len() - start).expect("a request is short");
        self.0[start..start + 2].copy_from_slice(&size.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Sends it and waits for the kernel's word.
    fn tell(mut self) -> io::Result<()> {
        let size = u32::try_from(self.0.len()).expect("a request is short");
        self.0[..4].copy_from_slice(&size.to_ne_bytes());
        let socket: OwnedFd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        send(socket.as_raw_fd(), &self.0, MsgFlags::empty())?;
        let mut answer = [0; 4_096];
        let size = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        read_ack(&answer[..size])
    }
}

/// `struct nlmsgerr` behind its header: 0, or an error's number made negative.
fn read_ack(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let error =
        answer.get(HEADER_SIZE..).and_then(|rest| rest.first_chunk()).map(|word| i32::from_ne_bytes(*word));
    match (kind, error) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::Error::other("the kernel answered with something else than an acknowledgement")),
    }
}

const HEADER_SIZE: usize = 16;
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
/// IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_NET_NS_FD.
const NAME: u16 = 3;
const MTU: u16 = 4;
const LINK_INFO: u16 = 18;
const NET_NS_FD: u16 = 28;
/// IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER: inside of IFLA_LINKINFO.
const KIND: u16 = 1;
const DATA: u16 = 2;
const PEER: u16 = 1;
/// IFA_LOCAL.
const LOCAL: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_count_their_heads_and_are_padded_inside_of_what_holds_them() {
        let mut message = Message::new(NEW_LINK, CREATE);
        message.nest(LINK_INFO, |info| info.text(KIND, "veth"));
        let tail = &message.0[HEADER_SIZE..];
        // 4 + (4 + 5 + 3): the inner one is 9 bytes long, padded to 12.
        let words: Vec<u16> = tail[..8].chunks(2).map(|two| u16::from_ne_bytes([two[0], two[1]])).collect();
        assert_eq!(words, [16, LINK_INFO, 9, KIND]);
        assert_eq!(&tail[8..], b"veth\0\0\0\0");
    }

    #[test]
    fn an_acknowledgement_is_told_from_an_error_and_from_anything_else() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = vec![0; HEADER_SIZE];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&error.to_ne_bytes());
            bytes
        };
        assert!(read_ack(&answer(ERROR, 0)).is_ok());
        let refused = read_ack(&answer(ERROR, -libc::EPERM)).expect_err("an error");
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(read_ack(&answer(NEW_LINK, 0)).is_err());
        assert!(read_ack(&[]).is_err());
    }

    #[test]
    fn what_is_not_there_cannot_be_brought_up() {
        assert!(bring_up("no-such0", Ipv4Addr::LOCALHOST, 8).is_err());
    }
}
