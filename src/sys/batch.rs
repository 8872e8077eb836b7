//! Many packets in one system call: recvmmsg and sendmmsg with their control messages.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;

use super::address::{RAW_ADDRESS_SIZE, RawAddress};
use super::checked;
use super::control::{CONTROL_SIZE, Control, TrafficClass, error_number, facts};
use crate::bounds::TRAIN_PACKETS_MAX;
use crate::rings::{Direction, PacketMemory};

/// One filled receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// Bytes in the buffer.
    pub length: u32,
    /// Bytes of each packet that the kernel joined; `length` when it joined none.
    pub segment_size: u32,
    /// The sender; `None` when the kernel named none we know.
    pub from: Option<SocketAddr>,
    /// The low two bits of the traffic class.
    pub ecn_bits: u8,
    /// The packet was longer than the buffer and lost its end.
    pub truncated: bool,
}

/// How one packet is received by [`ReceiveArena::receive_plain`].
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// The kernel writes who sent it: to be spared where the socket is connected, and that is known.
    pub named: bool,
    /// The packet stays in the socket, until [`discard`]: the kernel frees its memory then, and not before it is
    /// handed over.
    pub stays: bool,
}

/// `count` receive buffers of `size` bytes and the arrays recvmmsg wants, all made once.
///
/// Buffers are filled from index 0 on, so light traffic touches one buffer's cache lines only.
#[derive(Debug)]
pub struct ReceiveArena {
    bytes: PacketMemory,
    slots: NonNull<[Slot]>,
    headers: NonNull<[libc::mmsghdr]>,
    size: usize,
}

struct Slot {
    name: RawAddress,
    control: Control,
    iovec: libc::iovec,
}

impl ReceiveArena {
    /// Memory for `count` receives of up to `size` bytes. Pages are touched only once used.
    #[must_use]
    pub fn new(count: usize, size: usize) -> Self {
        let mut bytes = PacketMemory::new(count * size, Direction::In);
        let first = bytes.as_mut_ptr();
        let slots: Vec<Slot> = (0..count)
            .map(|index| Slot {
                name: RawAddress::EMPTY,
                control: Control::EMPTY,
                iovec: libc::iovec {
                    // SAFETY: index < count, so the offset stays inside the allocation of count * size.
                    iov_base: unsafe { first.add(index * size) }.cast(),
                    iov_len: size,
                },
            })
            .collect();
        let slots = leak(slots.into_boxed_slice());
        let headers: Vec<libc::mmsghdr> = (0..count)
            .map(|index| {
                // SAFETY: index < count, the number of slots.
                let slot = unsafe { slots.cast::<Slot>().add(index) }.as_ptr();
                // SAFETY: all-zero is a valid mmsghdr, and `slot` points to a live Slot.
                unsafe {
                    let mut header: libc::mmsghdr = std::mem::zeroed();
                    header.msg_hdr.msg_name = (&raw mut (*slot).name).cast();
                    header.msg_hdr.msg_control = (&raw mut (*slot).control).cast();
                    header.msg_hdr.msg_iov = &raw mut (*slot).iovec;
                    header.msg_hdr.msg_iovlen = 1;
                    header
                }
            })
            .collect();
        Self { bytes, slots, headers: leak(headers.into_boxed_slice()), size }
    }

    /// How many buffers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Receives into the first `limit` buffers without waiting; how many were filled. A limit of 1 is
    /// one recvmsg, cheaper than a recvmmsg that must find the queue empty to stop. `stays` as in [`Plain`].
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits; a pending ICMP error of a connected socket.
    pub fn receive(&mut self, socket: impl AsFd, limit: usize, stays: bool) -> io::Result<usize> {
        let (limit, flags) = (limit.min(self.count()), flags(stays));
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: `headers` owns its slice, and &mut self makes this the only reference to it.
        let headers = unsafe { self.headers.as_mut() };
        for header in &mut headers[..limit] {
            header.msg_hdr.msg_namelen = RAW_ADDRESS_SIZE as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_SIZE;
        }
        if limit == 1 {
            // SAFETY: the header's pointers lead to this arena's buffer, name and control memory of
            // exactly the sizes it states; &mut self keeps everyone else out during the call.
            let size = unsafe { libc::recvmsg(fd, &raw mut headers[0].msg_hdr, flags) };
            if size < 0 {
                return Err(io::Error::last_os_error());
            }
            headers[0].msg_len = size as u32;
            return Ok(1);
        }
        // SAFETY: as above, for the `limit` headers passed; a null timeout is allowed.
        let filled = unsafe {
            libc::recvmmsg(fd, headers.as_mut_ptr(), limit as libc::c_uint, flags, std::ptr::null_mut())
        };
        Ok(checked(filled)? as usize)
    }

    /// Receives into buffer `index` without waiting, by the cheapest call there is: recvfrom imports no
    /// message header and writes no control messages, so neither the segment size nor the ECN bits of
    /// what arrives are known.
    ///
    /// `how` spares what is not needed. False when nothing waits, as nearly always: that is no error here, because
    /// making one and looking at it would be a fifth of the look.
    ///
    /// A system call and not libc's function, which is a cancellation point: entering and leaving one is
    /// two locked instructions, paid by every poll that finds nothing.
    ///
    /// # Errors
    /// A pending ICMP error of a connected socket.
    ///
    /// # Panics
    /// There is no buffer `index`.
    #[inline(always)]
    pub fn receive_plain(&mut self, index: usize, socket: impl AsFd, how: Plain) -> io::Result<bool> {
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: `headers` and `slots` own their slices, and &mut self makes these the only references.
        let (header, slot) = unsafe { (&mut self.headers.as_mut()[index], &mut self.slots.as_mut()[index]) };
        let libc::iovec { iov_base: buffer, iov_len: buffer_size } = slot.iovec;
        let mut name_size = RAW_ADDRESS_SIZE as libc::socklen_t;
        let (name, name_size_at) = if how.named {
            (slot.name.as_mut_ptr().cast::<libc::sockaddr>(), &raw mut name_size)
        } else {
            (std::ptr::null_mut(), std::ptr::null_mut())
        };
        let flags = flags(how.stays);
        // SAFETY: the slot's iovec is its buffer in this arena, the name is RAW_ADDRESS_SIZE bytes of its
        // slot or null, which is allowed, and &mut self keeps everyone else out of both during the call.
        let size =
            unsafe { libc::syscall(libc::SYS_recvfrom, fd, buffer, buffer_size, flags, name, name_size_at) };
        if size < 0 {
            let errno = nix::errno::Errno::last_raw();
            return if errno == libc::EAGAIN { Ok(false) } else { Err(io::Error::from_raw_os_error(errno)) };
        }
        header.msg_len = size as u32;
        Ok(true)
    }

    /// What the last [`ReceiveArena::receive`] put into buffer `index`.
    #[must_use]
    pub fn arrived(&self, index: usize) -> Arrived {
        // SAFETY: both slices are owned by self, and &self allows no writer beside this reader.
        let (header, slot) = unsafe { (&self.headers.as_ref()[index], &self.slots.as_ref()[index]) };
        let control = header.msg_hdr.msg_controllen.min(CONTROL_SIZE);
        let facts = facts(&slot.control.0[..control]);
        let length = header.msg_len.min(self.size as u32);
        Arrived {
            length,
            segment_size: if facts.segment_size == 0 { length } else { facts.segment_size },
            from: slot.name.decode(),
            ecn_bits: facts.ecn_bits,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }

    /// What the last [`ReceiveArena::receive_plain`] put into buffer `index`.
    #[inline]
    pub fn plain_mut(&mut self, index: usize) -> &mut [u8] {
        // SAFETY: the slice is owned by self, and &mut self allows no writer beside this reader.
        let length = unsafe { self.headers.as_ref()[index].msg_len } as usize;
        // One that stays tells its whole length, see `flags`.
        let length = length.min(self.size);
        &mut self.buffer_mut(index)[..length]
    }

    /// Who sent what the last receive put into buffer `index`, where the kernel was asked to write that; `None` for
    /// an address of no family that is known here.
    #[must_use]
    pub fn sender(&self, index: usize) -> Option<SocketAddr> {
        // SAFETY: the slice is owned by self, and &self allows no writer beside this reader.
        unsafe { self.slots.as_ref()[index].name.decode() }
    }

    /// Buffer `index`, whole.
    pub fn buffer_mut(&mut self, index: usize) -> &mut [u8] {
        let at = index * self.size;
        &mut self.bytes[at..at + self.size]
    }
}

impl Drop for ReceiveArena {
    fn drop(&mut self) {
        // SAFETY: each pointer came from leak(Box) in `new` and is freed here only.
        unsafe {
            drop(Box::from_raw(self.headers.as_ptr()));
            drop(Box::from_raw(self.slots.as_ptr()));
        }
    }
}

/// A packet that stays is left behind whole, also where the buffer was too small for it.
fn flags(stays: bool) -> libc::c_int {
    libc::MSG_DONTWAIT | if stays { libc::MSG_PEEK | libc::MSG_TRUNC } else { 0 }
}

fn leak<T: ?Sized>(memory: Box<T>) -> NonNull<T> {
    NonNull::from(Box::leak(memory))
}

/// One train on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a, P> {
    /// The packets' bytes, in at most [`PARTS_MAX`] pieces.
    pub parts: P,
    /// Bytes of each packet but the last, when there is more than one.
    pub segment_size: Option<u16>,
    /// Where to; `None` on a connected socket.
    pub to: Option<&'a RawAddress>,
    /// The traffic class, where it is not the socket's own.
    pub class: Option<TrafficClass>,
}

/// Pieces of one train: [`TRAIN_PACKETS_MAX`] packets with bytes elsewhere in each, and what lies around them.
pub const PARTS_MAX: usize = 2 * TRAIN_PACKETS_MAX + 1;

/// The arrays sendmmsg wants, made once.
pub struct SendBatch {
    headers: Box<[libc::mmsghdr]>,
    iovecs: Box<[libc::iovec]>,
    controls: Box<[Control]>,
}

impl SendBatch {
    /// Room for `count` trains a call, fewer when they come in many pieces.
    #[must_use]
    pub fn new(count: usize) -> Self {
        // SAFETY: all-zero is a valid mmsghdr and a valid iovec.
        let (header, iovec) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            headers: vec![header; count].into_boxed_slice(),
            iovecs: vec![iovec; count.max(PARTS_MAX)].into_boxed_slice(),
            controls: vec![Control::EMPTY; count].into_boxed_slice(),
        }
    }

    /// Hands trains to the kernel in one call, as many as fit the batch; how many it took.
    ///
    /// # Errors
    /// What the kernel said about the *first* train: a later one's error shows when it is sent again.
    ///
    /// # Panics
    /// When a train comes in more than [`PARTS_MAX`] pieces.
    pub fn send<'a, P: IntoIterator<Item = &'a [u8]>>(
        &mut self,
        socket: impl AsFd,
        trains: impl Iterator<Item = Outgoing<'a, P>>,
    ) -> io::Result<usize> {
        let (mut count, mut used) = (0, 0);
        for train in trains.take(self.headers.len()) {
            let first = used;
            let Some(end) = self.point_at(first, train.parts) else {
                assert!(count > 0, "a train in more than {PARTS_MAX} pieces");
                break;
            };
            used = end;
            let control = &mut self.controls[count];
            let control_size = control.write(train.segment_size, train.class);
            let header = &mut self.headers[count].msg_hdr;
            header.msg_iov = self.iovecs[first..used].as_mut_ptr();
            header.msg_iovlen = used - first;
            header.msg_control =
                if control_size == 0 { std::ptr::null_mut() } else { control.0.as_mut_ptr().cast() };
            header.msg_controllen = control_size;
            (header.msg_name, header.msg_namelen) = match train.to {
                Some(to) => (to.as_ptr().cast_mut(), to.size()),
                None => (std::ptr::null_mut(), 0),
            };
            count += 1;
        }
        self.call(socket.as_fd(), count)
    }

    /// Points the entries from `first` on at `parts`; the entry behind them, or nothing when they are too many.
    #[inline]
    fn point_at<'a>(&mut self, first: usize, parts: impl IntoIterator<Item = &'a [u8]>) -> Option<usize> {
        let mut end = first;
        for part in parts {
            let iovec = self.iovecs.get_mut(end)?;
            iovec.iov_base = part.as_ptr().cast_mut().cast();
            iovec.iov_len = part.len();
            end += 1;
        }
        Some(end)
    }

    fn call(&mut self, fd: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        let fd = fd.as_raw_fd();
        let is_plain = |header: &libc::msghdr| header.msg_controllen == 0 && header.msg_iovlen == 1;
        match count {
            0 => Ok(0),
            1 if is_plain(&self.headers[0].msg_hdr) => {
                let header = &self.headers[0].msg_hdr;
                // SAFETY: `send` just pointed the iovec at the caller's bytes and the name at its address,
                // or at nothing with size 0; both are borrowed until `send` returns, and only read.
                unsafe { sendto(fd, self.iovecs[0], header.msg_name, header.msg_namelen) }.map(|()| 1)
            }
            1 => {
                // SAFETY: `send` just pointed the header at this batch's iovecs and control and at the
                // caller's bytes and address, which its iterator items borrow until `send` returns. The
                // kernel only reads through them.
                let sent =
                    unsafe { libc::sendmsg(fd, &raw const self.headers[0].msg_hdr, libc::MSG_DONTWAIT) };
                if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(1) }
            }
            _ => {
                // SAFETY: as above, for `count` headers.
                let sent = unsafe {
                    libc::sendmmsg(fd, self.headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT)
                };
                Ok(checked(sent)? as usize)
            }
        }
    }
}

/// Hands one packet to the kernel by the cheapest call there is: sendto imports no message header. Its address is
/// `to`, or whom the socket is connected to.
///
/// # Errors
/// What the kernel said about it, or about an earlier one.
#[inline]
pub fn send_plain(socket: impl AsFd, packet: &[u8], to: Option<&RawAddress>) -> io::Result<()> {
    let (name, name_size) = to.map_or((std::ptr::null(), 0), |to| (to.as_ptr(), to.size()));
    let packet = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
    // SAFETY: the packet and the address are borrowed during the call; no address of size 0 is allowed.
    unsafe { sendto(socket.as_fd().as_raw_fd(), packet, name, name_size) }
}

/// Takes the packets that wait longest out of the socket, unread, up to `count` and to [`DISCARD_MAX`]; how many
/// there were.
///
/// # Errors
/// A pending ICMP error of a connected socket: the packets are still there.
pub fn discard(socket: impl AsFd, count: usize) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    // All of a packet goes, and a read that goes on behind others goes back by all of it.
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    let taken = if count == 1 {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: no byte is written where there is room for none, and no address where none is asked for.
        let size = unsafe { libc::syscall(libc::SYS_recvfrom, fd, nothing, 0, flags, nothing, nothing) };
        libc::c_int::from(size >= 0)
    } else {
        // SAFETY: all-zero is a valid mmsghdr, with room for nothing.
        let mut headers: [libc::mmsghdr; DISCARD_MAX] = unsafe { std::mem::zeroed() };
        let count = count.min(DISCARD_MAX) as libc::c_uint;
        // SAFETY: there are `count` headers, which live on this frame; a null timeout is allowed.
        unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags, std::ptr::null_mut()) }
    };
    if taken > 0 {
        return Ok(taken as usize);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) }
}

/// Packets that one [`discard`] takes at most.
pub const DISCARD_MAX: usize = 32;

/// The system call and not libc's function: see [`ReceiveArena::receive_plain`].
///
/// # Safety
/// `packet` and `name` lead to as many bytes as they say, to be read during the call.
#[inline]
unsafe fn sendto(
    fd: libc::c_int,
    packet: libc::iovec,
    name: *const libc::c_void,
    name_size: libc::socklen_t,
) -> io::Result<()> {
    let libc::iovec { iov_base: bytes, iov_len: size } = packet;
    // SAFETY: the caller vouches for both; the kernel only reads them.
    let sent =
        unsafe { libc::syscall(libc::SYS_sendto, fd, bytes, size, libc::MSG_DONTWAIT, name, name_size) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl std::fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendBatch({})", self.headers.len())
    }
}

/// One entry of a socket's error queue (`IP_RECVERR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuedError {
    /// errno: ECONNREFUSED, EHOSTUNREACH, EMSGSIZE...
    pub errno: i32,
    /// Where the packet it is about was going.
    pub to: Option<SocketAddr>,
}

/// Takes one entry off the error queue without waiting; `None` when it is empty.
pub fn take_error(socket: impl AsFd) -> Option<QueuedError> {
    let mut name = RawAddress::EMPTY;
    let mut control = [Control::EMPTY; 2];
    // SAFETY: all-zero is a valid msghdr: no iovec, no name, no control.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr();
    header.msg_namelen = RAW_ADDRESS_SIZE as libc::socklen_t;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: name and control live on this frame, with the sizes stated, and outlive the call.
    let size = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    if size < 0 {
        return None;
    }
    let length = header.msg_controllen.min(size_of_val(&control));
    let bytes: [u8; 2 * CONTROL_SIZE] = {
        let mut bytes = [0; 2 * CONTROL_SIZE];
        bytes[..CONTROL_SIZE].copy_from_slice(&control[0].0);
        bytes[CONTROL_SIZE..].copy_from_slice(&control[1].0);
        bytes
    };
    Some(QueuedError { errno: error_number(&bytes[..length]).unwrap_or(0), to: name.decode() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_receive_buffer_lies_where_the_kernel_copies_slowly() {
        for size in [2_048, 64 * 1024] {
            let mut arena = ReceiveArena::new(5, size);
            for index in 0..arena.count() {
                let at = arena.buffer_mut(index).as_ptr().addr();
                assert_eq!(at % 64, Direction::In.offset(), "buffer {index} of {size} bytes");
            }
        }
    }
}
