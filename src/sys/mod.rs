//! The kernel made safe: sockets, control messages, batches, waiting, cores, signals; and one instruction.
//!
//! Not for policy: nothing here retries, remembers a peer or decides what an error means. Each
//! function is one kernel facility with a safe face.
//!
//! ```text
//! io::mmsg ---> ReceiveArena / SendBatch ---> recvmmsg, sendmmsg
//! io::*    ---> Socket, Bell, wait, route ---> socket, eventfd, ppoll
//! ```
//!
//! Invariant: no raw pointer leaves this room, and every pointer handed to the kernel is into memory
//! that the value it was made from owns, for at least as long as the kernel may use it.
#![allow(unsafe_code)]

pub mod address;
pub mod batch;
pub mod control;
pub mod cores;
pub mod crc32c;
pub mod ethtool;
pub mod netns;
pub mod probe;
pub mod process;
pub mod route;
pub mod shed;
pub mod signal;
pub mod socket;
pub mod steer;
pub mod uring;
pub mod veth;
pub mod wait;

pub use address::RawAddress;
pub use batch::{Arrived, Outgoing, ReceiveArena, SendBatch, send_plain};
pub use control::TrafficClass;
pub use socket::{Socket, SocketOptions};
pub use wait::Bell;

/// The result of a C call that reports failure as -1 and errno.
fn checked(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
