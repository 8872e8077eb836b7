//! Dropping first messages before they take room in a socket's buffer: a classic BPF filter on the socket.
//!
//! Attached only while there are too many of them, so that it costs nobody anything else.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::checked;
use super::socket::Socket;

/// Which share of the first messages a socket still takes, in parts of [`ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of those without a cookie.
    pub bare: u32,
    /// Of those with one, true or not.
    pub with_cookie: u32,
}

/// Every one.
pub const ALL: u32 = u32::MAX;

/// Takes only `kept` of the first messages that arrive at `socket`, picked at random; `None` takes all.
///
/// # Errors
/// What `setsockopt` said: a sandbox may forbid filters.
pub fn shed(socket: &Socket, kept: Option<Kept>) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let Some(kept) = kept else {
        let nothing: libc::c_int = 0;
        // SAFETY: the kernel reads one c_int, which outlives the call.
        return checked(unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_DETACH_FILTER,
                (&raw const nothing).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        })
        .map(drop);
    };
    let mut program = program(kept);
    let filter = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies `filter` and the `len` instructions it points to within the call, and
    // both outlive it.
    checked(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// A load past the end of the packet returns 0, which drops it: only an INIT gets as far, and one that
/// short is none.
fn program(kept: Kept) -> Vec<libc::sock_filter> {
    let load_byte = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    let load_word = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let above = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
    let leave = (libc::BPF_RET | libc::BPF_K) as u16;
    vec![
        instruction(load_byte, KIND_AT, 0, 0),
        instruction(equal, INIT, 0, 6),
        instruction(load_byte, COOKIE_SIZE_AT, 0, 0),
        instruction(equal, 0, 0, 2),
        instruction(load_word, RANDOM, 0, 0),
        instruction(above, kept.bare, 3, 2),
        instruction(load_word, RANDOM, 0, 0),
        instruction(above, kept.with_cookie, 1, 0),
        instruction(leave, WHOLE, 0, 0),
        instruction(leave, 0, 0, 0),
    ]
}

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// A socket's filter sees the UDP header first.
const UDP_HEADER_SIZE: u32 = 8;
const KIND_AT: u32 = UDP_HEADER_SIZE;
const INIT: u32 = 0x10;
/// P-6.3: header, version, session, boot id, bounds and suite come before the cookie's length.
const COOKIE_SIZE_AT: u32 = UDP_HEADER_SIZE + crate::bounds::HEADER_SIZE as u32 + 4 + 8 + 8 + 40 + 1;
/// linux/filter.h: SKF_AD_OFF + SKF_AD_RANDOM, a number drawn anew by each load.
const RANDOM: u32 = (-0x1000_i32 + 56).cast_unsigned();
/// The packet, however long.
const WHOLE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{ReceiveArena, SocketOptions};

    const PACKETS: usize = 400;

    /// How many of 400 packets of `kind`, with or without a cookie, `socket` takes.
    fn taken(socket: &Socket, kind: u8, cookie: bool) -> usize {
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut packet = [0; 1_200];
        packet[0] = kind;
        packet[COOKIE_SIZE_AT as usize - 8] = u8::from(cookie);
        let mut arena = ReceiveArena::new(16, 2_048);
        let mut taken = 0;
        for _ in 0..PACKETS / 16 {
            for _ in 0..16 {
                sender.send_to(&packet, socket.local_addr()).unwrap();
            }
            while let Ok(filled @ 1..) = arena.receive(socket, 16, false) {
                taken += filled;
            }
        }
        taken
    }

    #[test]
    fn a_share_of_the_first_messages_is_dropped_and_nothing_else() {
        let socket = Socket::bind(&SocketOptions {
            bind: "127.0.0.1:0".parse().unwrap(),
            reuse_port: false,
            buffer_size: 1 << 20,
            gro: false,
            errors: false,
        })
        .unwrap();
        assert_eq!(taken(&socket, 0x10, false), PACKETS);
        shed(&socket, Some(Kept { bare: ALL / 4, with_cookie: ALL })).unwrap();
        let some = taken(&socket, 0x10, false);
        assert!((40..170).contains(&some), "a quarter of {PACKETS}: {some}");
        assert_eq!(taken(&socket, 0x10, true), PACKETS, "with a cookie");
        assert_eq!(taken(&socket, 0x01, false), PACKETS, "of a session");
        shed(&socket, Some(Kept { bare: 0, with_cookie: ALL / 2 })).unwrap();
        assert!(taken(&socket, 0x10, false) <= 1);
        assert!((120..280).contains(&taken(&socket, 0x10, true)));
        shed(&socket, None).unwrap();
        assert_eq!(taken(&socket, 0x10, false), PACKETS);
    }
}
