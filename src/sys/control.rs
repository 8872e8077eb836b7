//! Control messages (cmsg): what rides beside a packet into and out of the kernel.

use crate::sys::checked;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Room for the control messages of one receive: GRO size, traffic class, and one to spare.
pub(super) const CONTROL_SIZE: usize = 96;

/// Control-message memory, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub [u8; CONTROL_SIZE]);

/// The traffic class of what leaves, by the family it leaves as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficClass {
    /// `IP_TOS`; IPv4 on an IPv6 socket, too.
    V4(u8),
    /// `IPV6_TCLASS`.
    V6(u8),
}

impl Control {
    pub const EMPTY: Control = Control([0; CONTROL_SIZE]);

    /// Writes what a send wants said beside its bytes and returns how many bytes that takes.
    pub fn write(&mut self, segment_size: Option<u16>, class: Option<TrafficClass>) -> usize {
        let size = segment_size.map_or(0, |size| self.write_segment(size));
        class.map_or(size, |class| self.write_class(size, class))
    }

    /// Appends one `IP_TOS` or `IPV6_TCLASS` at `at`, both an int; the end of it.
    fn write_class(&mut self, at: usize, class: TrafficClass) -> usize {
        let (level, kind, value) = match class {
            TrafficClass::V4(value) => (libc::IPPROTO_IP, libc::IP_TOS, value),
            TrafficClass::V6(value) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, value),
        };
        let length = HEADER + size_of::<i32>();
        let place = &mut self.0[at..at + length];
        place[..8].copy_from_slice(&length.to_ne_bytes());
        place[8..12].copy_from_slice(&level.to_ne_bytes());
        place[12..16].copy_from_slice(&kind.to_ne_bytes());
        place[16..].copy_from_slice(&i32::from(value).to_ne_bytes());
        at + aligned(length)
    }

    /// Writes one `UDP_SEGMENT` message and returns how many bytes it takes.
    pub fn write_segment(&mut self, segment_size: u16) -> usize {
        let length = HEADER + size_of::<u16>();
        self.0[..8].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        self.0[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        self.0[16..18].copy_from_slice(&segment_size.to_ne_bytes());
        aligned(length)
    }
}

/// One control message: level, type, bytes.
pub(super) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from_ne_bytes(*self.rest.first_chunk()?);
        let level = i32::from_ne_bytes(*self.rest.get(8..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*self.rest.get(12..)?.first_chunk()?);
        let data = self.rest.get(HEADER..length)?;
        self.rest = self.rest.get(aligned(length)..).unwrap_or(&[]);
        Some((level, kind, data))
    }
}

/// What a receive's control messages said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `UDP_GRO`: bytes of each joined packet; 0 when the kernel joined nothing.
    pub segment_size: u32,
    /// The low two bits of the traffic class (RFC 3168 §5).
    pub ecn_bits: u8,
}

pub(super) fn facts(control: &[u8]) -> Facts {
    let mut facts = Facts::default();
    for (level, kind, data) in Messages::new(control) {
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => facts.segment_size = integer(data),
            // The kernel writes IP_TOS as one byte and IPV6_TCLASS as an int.
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                facts.ecn_bits = (integer(data) & 3) as u8;
            }
            _ => {}
        }
    }
    facts
}

fn integer(data: &[u8]) -> u32 {
    match data {
        [a, b, c, d, ..] => u32::from_ne_bytes([*a, *b, *c, *d]),
        [byte, ..] => u32::from(*byte),
        [] => 0,
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(size_of::<usize>())
}

/// An ICMP error or a local refusal, read from the socket's error queue (`IP_RECVERR`).
pub(super) fn error_number(control: &[u8]) -> Option<i32> {
    Messages::new(control).find_map(|(level, kind, data)| {
        let ours = matches!(
            (level, kind),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        ours.then(|| integer(data) as i32)
    })
}

/// Sets an integer socket option.
pub(super) fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` lives on this frame for the whole call and `size` is exactly its size.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), size) })
        .map(drop)
}

/// Reads an integer socket option.
pub(super) fn read_option(fd: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0i32;
    let mut size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes, the size of `value`, which outlives the call.
    checked(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut size)
    })?;
    Ok(value)
}

const HEADER: usize = size_of::<libc::cmsghdr>();

const _: () = {
    assert!(HEADER == 16, "both supported architectures are 64-bit");
    assert!(std::mem::offset_of!(libc::cmsghdr, cmsg_level) == 8);
    assert!(std::mem::offset_of!(libc::cmsghdr, cmsg_type) == 12);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_segment_size_reads_back() {
        let mut control = Control::EMPTY;
        let size = control.write_segment(1_400);
        let (level, kind, data) = Messages::new(&control.0[..size]).next().unwrap();
        assert_eq!((level, kind), (libc::SOL_UDP, libc::UDP_SEGMENT));
        assert_eq!(data, 1_400u16.to_ne_bytes());
    }

    #[test]
    fn a_traffic_class_follows_the_segment_size_and_both_read_back() {
        // L42
        let mut control = Control::EMPTY;
        let size = control.write(Some(1_400), Some(TrafficClass::V6(2)));
        let told = facts(&control.0[..size]);
        assert_eq!((Messages::new(&control.0[..size]).count(), told.ecn_bits), (2, 2));
        let size = control.write(None, Some(TrafficClass::V4(3)));
        assert_eq!(facts(&control.0[..size]).ecn_bits, 3);
        assert_eq!(control.write(None, None), 0);
    }

    #[test]
    fn torn_control_messages_end_the_list() {
        let mut control = Control::EMPTY;
        let size = control.write_segment(9);
        assert_eq!(Messages::new(&control.0[..size - 7]).count(), 0);
        control.0[..8].copy_from_slice(&3usize.to_ne_bytes());
        assert_eq!(Messages::new(&control.0).count(), 0);
    }
}
