//! Steering packets to the worker that owns their session, in the kernel: a classic BPF program on a
//! `SO_REUSEPORT` group.
//!
//! The group's sockets are numbered in the order they were bound. The program sees the UDP payload,
//! and a result that names no socket falls back to the kernel's hash of the addresses.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::checked;
use super::socket::Socket;

/// What the group's sockets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Socket `i` is worker `i`'s.
    Workers,
    /// Socket 0 takes the handshake packets, socket `1 + i` is worker `i`'s.
    FrontDoorAndWorkers,
}

/// Steers every packet of the group that `socket` belongs to. Attach once, after all sockets are bound;
/// closing one renumbers the rest.
///
/// # Errors
/// What `setsockopt` said: the socket shares no port, or a sandbox forbids filters.
pub fn steer_by_session(socket: &Socket, group: Group) -> io::Result<()> {
    let mut program = program(group);
    let filter = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies `filter` and the `len` instructions it points to within the call, and
    // both outlive it.
    checked(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// A load past the end of the packet returns 0: a runt goes to socket 0, which drops it.
fn program(group: Group) -> Vec<libc::sock_filter> {
    let load_byte = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    let owner = instruction(load_byte, SESSION_LOW_BYTE_AT, 0, 0);
    let return_accumulator = instruction((libc::BPF_RET | libc::BPF_A) as u16, 0, 0, 0);
    match group {
        Group::Workers => vec![owner, return_accumulator],
        Group::FrontDoorAndWorkers => vec![
            instruction(load_byte, KIND_AT, 0, 0),
            instruction((libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16, HANDSHAKE_KIND_MIN, 3, 0),
            owner,
            instruction((libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K) as u16, 1, 0, 0),
            return_accumulator,
            instruction((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
        ],
    }
}

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

const KIND_AT: u32 = 0;
/// The session id is little-endian at offset 4; its low byte is the owning worker's index.
const SESSION_LOW_BYTE_AT: u32 = 4;
const HANDSHAKE_KIND_MIN: u32 = 0x10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::SocketOptions;
    use crate::sys::wait::wait_readable;

    #[test]
    fn packets_reach_the_worker_their_session_names_and_handshakes_the_front_door() {
        let mut options = SocketOptions {
            bind: "127.0.0.1:0".parse().unwrap(),
            reuse_port: true,
            buffer_size: 1 << 16,
            gro: false,
            errors: false,
        };
        let front_door = Socket::bind(&options).unwrap();
        options.bind = front_door.local_addr();
        let workers = [Socket::bind(&options).unwrap(), Socket::bind(&options).unwrap()];
        steer_by_session(&front_door, Group::FrontDoorAndWorkers).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let takes = |kind: u8, owner: u8| {
            let mut packet = [0u8; 36];
            (packet[0], packet[4]) = (kind, owner);
            sender.send_to(&packet, options.bind).unwrap();
            let fds = [front_door.as_fd(), workers[0].as_fd(), workers[1].as_fd()];
            let ready = wait_readable(fds, Some(Duration::from_secs(5))).unwrap();
            for socket in [&front_door, &workers[0], &workers[1]] {
                let _ = crate::sys::ReceiveArena::new(1, 64).receive(socket, 1, false);
            }
            ready
        };
        assert_eq!(takes(0x10, 1), 0b001);
        assert_eq!(takes(0x15, 0), 0b001);
        assert_eq!(takes(0x01, 0), 0b010);
        assert_eq!(takes(0x01, 1), 0b100);
        assert_eq!(takes(0x01, 77).count_ones(), 1, "an unknown worker's packet goes somewhere");
    }
}
