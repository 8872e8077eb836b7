//! Memory that packets are sent from and received into, and how bytes are copied in and out of it.
//!
//! # Why its address matters
//! Kernel and C library copy with `rep movsb` where the processor says that it is fast (ERMS, FSRM; glibc above
//! 2,112 bytes with FSRM). On AMD Zen 3 and Zen 4 it is 25 times slower when the destination lies 1 to 31 bytes behind the
//! source within a page: (destination − source) mod 4096 in 1..=31. 1.9 instead of 50 GB/s were measured on
//! Zen 3, and 1.6 instead of 16 GB/s for `recvmsg`; glibc bug 30994 has more. Memory from an allocator begins
//! 16 bytes into a page when it is large, and the kernel's pages begin at 0: the worst case is the usual one.
//!
//! - The kernel's side of a copy: a page's start (fragments of a train), or 42 to 46 or 62 to 64 bytes behind a
//!   multiple of 64 (the headers of a lone packet: Ethernet's room, IPv4 or IPv6, UDP). [`Direction`] is chosen so
//!   that our side is not in reach of any of these.
//! - Our own copies lie as the packet format has it, so [`copy`] keeps to strides below `rep movsb`.

/// Where in a line of 64 bytes the memory begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// At its start: packets that the kernel copies from.
    Out,
    /// In its middle: packets that the kernel copies to.
    In,
}

impl Direction {
    /// Bytes from a page's start.
    #[must_use]
    pub const fn offset(self) -> usize {
        match self {
            Direction::Out => 0,
            Direction::In => 32,
        }
    }
}

/// Zeroed bytes at a stable address that stands well to the kernel's. Pages are touched only once used.
#[derive(Debug)]
pub struct PacketMemory {
    // Longer than what is shown, so that some place in it has the address wanted; a `Vec`, because a `Box`
    // that moves would claim to be the only one to know its bytes while the kernel reads them.
    memory: Vec<u8>,
    start: usize,
    size: usize,
}

impl PacketMemory {
    /// `size` bytes.
    #[must_use]
    pub fn new(size: usize, direction: Direction) -> Self {
        let memory = vec![0; size + 2 * PAGE];
        let page = memory.as_ptr().addr().next_multiple_of(PAGE) - memory.as_ptr().addr();
        Self { memory, start: page + direction.offset(), size }
    }
}

impl std::ops::Deref for PacketMemory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: as `new` has chosen them, `start + size` bytes lie within the memory, which is never resized.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(self.start), self.size) }
    }
}

impl std::ops::DerefMut for PacketMemory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and &mut self allows no other reference.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().add(self.start), self.size) }
    }
}

/// Copies `from` into `to`, however they lie.
///
/// # Panics
/// When they differ in length.
#[inline(always)]
pub fn copy(to: &mut [u8], from: &[u8]) {
    if from.len() <= STRIDE { to.copy_from_slice(from) } else { copy_by_strides(to, from) }
}

#[inline(never)]
fn copy_by_strides(to: &mut [u8], from: &[u8]) {
    assert_eq!(to.len(), from.len(), "a copy is as long as what it is made from");
    for (to, from) in to.chunks_mut(STRIDE).zip(from.chunks(STRIDE)) {
        to.copy_from_slice(from);
    }
}

/// A copy of `from`.
#[must_use]
pub fn copied(from: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(from.len());
    from.chunks(STRIDE).for_each(|stride| copy.extend_from_slice(stride));
    copy
}

const PAGE: usize = 4096;

/// Bytes copied at a time: no more than the 2,112 above which glibc takes `rep movsb` where there is FSRM.
const STRIDE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_begins_where_its_phase_says_and_keeps_its_address_when_moved() {
        for direction in [Direction::Out, Direction::In] {
            // Miri takes minutes for a mebibyte.
            for size in
                [1, 700, if cfg!(miri) { 8192 } else { 65_536 }, if cfg!(miri) { 8193 } else { 1 << 20 }]
            {
                let mut memory = PacketMemory::new(size, direction);
                assert_eq!(memory.len(), size);
                assert!(memory.iter().all(|&byte| byte == 0));
                let at = memory.as_ptr().addr();
                assert_eq!(at % PAGE, direction.offset(), "{direction:?} {size}");
                memory[size - 1] = 7;
                let moved = Box::new(memory);
                assert_eq!(moved.as_ptr().addr(), at);
                assert_eq!(moved[size - 1], 7);
            }
        }
    }

    /// Where the kernel's side of a copy begins, modulo 64: pages, and lone packets behind their headers.
    #[test]
    fn no_phase_is_in_slow_reach_of_the_kernels_side() {
        let slow = |to: usize, from: usize| (1..32).contains(&((64 + to - from % 64) % 64));
        for kernel in [0, 42, 44, 46, 62, 64] {
            assert!(!slow(Direction::In.offset(), kernel), "receiving from {kernel}");
        }
        for kernel in [0, 44, 64] {
            assert!(!slow(kernel, Direction::Out.offset()), "sending to {kernel}");
        }
    }

    #[test]
    fn a_copy_holds_the_same_bytes_at_every_length_around_its_strides() {
        let from: Vec<u8> = (0..3 * STRIDE + 5).map(|at| (at * 31 % 251) as u8).collect();
        for size in [0, 1, STRIDE - 1, STRIDE, STRIDE + 1, 2 * STRIDE, 3 * STRIDE + 5] {
            let mut to = vec![0; size];
            copy(&mut to, &from[..size]);
            assert_eq!(to, from[..size]);
            assert_eq!(copied(&from[..size]), to);
        }
    }

    #[test]
    #[should_panic(expected = "a copy is as long as what it is made from")]
    fn a_copy_of_another_length_is_refused() {
        copy(&mut [0; 2 * STRIDE], &[0; 2 * STRIDE + 1]);
    }
}
