//! Receive buffers the kernel picks from: a provided-buffer ring in memory of our own.
//!
//! ```text
//! buffer:  [recvmsg_out 16][sender 32][control 64][payload ...]   the payload where Direction::In wants it
//! ```

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::rings::Direction;
use crate::sys::address;
use crate::sys::batch::Arrived;
use crate::sys::control::facts;

pub(super) const NAME_SIZE: usize = 32;
pub(super) const CONTROL_SIZE: usize = 64;
const PREFIX_SIZE: usize = 16;
const HEAD_SIZE: usize = PREFIX_SIZE + NAME_SIZE + CONTROL_SIZE;
/// Bytes in front of the first buffer, so that payloads begin where [`Direction::In`] says.
const LEAD_SIZE: usize = (64 + Direction::In.offset() - HEAD_SIZE % 64) % 64;
const PAGE: usize = 4096;

/// The buffers and the ring that lends them.
pub(super) struct ProvidedBuffers {
    entries: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    count: u16,
    size: usize,
    tail: u16,
    /// Bytes the kernel wrote to each buffer; `None` while the kernel holds it.
    filled: Box<[Option<u32>]>,
    leaked: bool,
}

impl ProvidedBuffers {
    /// `count` buffers (a power of two) for payloads of up to `size` bytes, all lent to the kernel.
    pub fn new(count: u16, size: usize) -> Self {
        assert!(count.is_power_of_two());
        let entries = allocate(Self::entries_layout(count)).cast();
        let bytes = allocate(Self::bytes_layout(count, size));
        let filled = vec![Some(0); usize::from(count)].into_boxed_slice();
        let mut buffers = Self { entries, bytes, count, size, tail: 0, filled, leaked: false };
        buffers.give_back(0..count);
        buffers
    }

    pub fn address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    pub fn count(&self) -> u16 {
        self.count
    }

    /// The kernel is done with `buffer` and wrote `result` bytes to it.
    ///
    /// # Safety
    /// A completion just named `buffer`, so that the kernel holds no reference to it any more.
    pub unsafe fn on_filled(&mut self, buffer: u16, result: i32) {
        let filled = &mut self.filled[usize::from(buffer)];
        debug_assert!(filled.is_none(), "the kernel filled a buffer it was not lent");
        *filled = Some(u32::try_from(result).unwrap_or(0));
    }

    pub fn arrived(&self, buffer: u16) -> Arrived {
        let written = self.written(buffer);
        let at = self.at(buffer);
        // SAFETY: `written` is set, so the buffer is ours and not the kernel's, and it lies whole within
        // the allocation. &self keeps writers out.
        let bytes = unsafe { std::slice::from_raw_parts(at.as_ptr(), HEAD_SIZE) };
        let word =
            |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().expect("the head is longer than this"));
        let (name_size, control_size, payload_size, flags) = (word(0), word(4), word(8), word(12));
        let length = payload_size.min(written.saturating_sub(HEAD_SIZE as u32));
        let name = &bytes[PREFIX_SIZE..][..NAME_SIZE.min(name_size as usize)];
        let control = &bytes[PREFIX_SIZE + NAME_SIZE..][..CONTROL_SIZE.min(control_size as usize)];
        let facts = facts(control);
        Arrived {
            length,
            segment_size: if facts.segment_size == 0 { length } else { facts.segment_size },
            from: address::decode(name),
            ecn_bits: facts.ecn_bits,
            truncated: flags & libc::MSG_TRUNC as u32 != 0,
        }
    }

    pub fn payload_mut(&mut self, buffer: u16) -> &mut [u8] {
        self.written(buffer);
        let at = self.at(buffer);
        // SAFETY: as in `arrived`; &mut self makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(at.add(HEAD_SIZE).as_ptr(), self.size) }
    }

    /// Lends `buffers` to the kernel, which sees them at one store of the tail.
    pub fn give_back(&mut self, buffers: impl Iterator<Item = u16>) {
        for buffer in buffers {
            let lent = self.filled[usize::from(buffer)].take();
            assert!(lent.is_some(), "a buffer goes back once");
            let at = self.at(buffer).as_ptr() as u64;
            let index = usize::from(self.tail & (self.count - 1));
            // SAFETY: index < count, and the kernel reads entries below the tail only: this one is
            // above it until the store below. There are as many entries as buffers, so it is free.
            let entry = unsafe { self.entries.add(index).as_mut() };
            entry.set_addr(at);
            entry.set_len((HEAD_SIZE + self.size) as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the entries are zeroed or written above and live as long as self.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: the tail is a u16 inside our allocation that only this thread writes; the kernel reads
        // it with acquire, hence atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel's acquire of the tail must see the entries written above.
        tail.store(self.tail, Ordering::Release);
    }

    /// Never frees the memory: the kernel may still write to it.
    pub fn leak(&mut self) {
        self.leaked = true;
    }

    fn written(&self, buffer: u16) -> u32 {
        self.filled[usize::from(buffer)].expect("only buffers that were received are looked at")
    }

    fn at(&self, buffer: u16) -> NonNull<u8> {
        debug_assert!(buffer < self.count);
        // SAFETY: buffer < count, so the offset stays inside the allocation of a lead and count strides.
        unsafe { self.bytes.add(LEAD_SIZE + usize::from(buffer) * stride(self.size)) }
    }

    fn entries_layout(count: u16) -> Layout {
        let size = usize::from(count) * size_of::<BufRingEntry>();
        Layout::from_size_align(size.next_multiple_of(PAGE), PAGE).expect("a few pages")
    }

    fn bytes_layout(count: u16, size: usize) -> Layout {
        Layout::from_size_align(LEAD_SIZE + usize::from(count) * stride(size), PAGE).expect("a few megabytes")
    }
}

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: both were allocated in `new` with these layouts. The io_uring that knew them is gone:
        // Ring::drop frees it before its fields drop, or calls `leak`.
        unsafe {
            dealloc(self.entries.cast().as_ptr(), Self::entries_layout(self.count));
            dealloc(self.bytes.as_ptr(), Self::bytes_layout(self.count, self.size));
        }
    }
}

fn stride(size: usize) -> usize {
    // Rounded up to a page and one line more: buffers a power of two apart would share cache sets.
    (HEAD_SIZE + size).next_multiple_of(PAGE) + 2 * 64
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: no layout here has size zero: there is at least one buffer with a head.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_provided_buffer_has_its_payload_where_the_kernel_copies_slowly() {
        let mut buffers = ProvidedBuffers::new(8, 64 * 1024);
        for buffer in 0..buffers.count() {
            // SAFETY: no kernel was told of these buffers.
            unsafe { buffers.on_filled(buffer, HEAD_SIZE as i32) };
            let at = buffers.payload_mut(buffer).as_ptr().addr();
            assert_eq!(at % 64, Direction::In.offset(), "buffer {buffer}");
        }
    }
}
