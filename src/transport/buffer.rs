//! The memory of one large message, and the pool it comes from and goes back to.

use std::ops::{Deref, DerefMut, Range};

use bytes::{Bytes, BytesMut};

/// Bytes of one message, in memory that may be longer. The rest was written for an earlier message and is
/// not shown; shortened to fit, it would have to be zeroed when a longer message takes the memory next.
#[derive(Debug, Default)]
pub struct Buffer {
    memory: BytesMut,
    size: usize,
}

impl Buffer {
    /// `size` zeroed bytes of fresh memory. Pages from the kernel are zero: they cost nothing until written.
    #[must_use]
    pub fn zeroed(size: usize) -> Self {
        Self { memory: BytesMut::zeroed(size), size }
    }

    /// Bytes that may be shown without another allocation.
    #[must_use]
    pub fn room(&self) -> usize {
        self.memory.len()
    }

    /// Shows `size` bytes; what was not written since the memory was taken is of an earlier message.
    ///
    /// # Panics
    /// When `size` is more than the [room](Self::room).
    pub fn show(&mut self, size: usize) {
        assert!(size <= self.memory.len(), "{size} bytes of {}", self.memory.len());
        self.size = size;
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(memory: Vec<u8>) -> Self {
        let size = memory.len();
        // No copy: nobody else holds them.
        Self { memory: BytesMut::from(Bytes::from(memory)), size }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.size]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.size]
    }
}

/// The bytes of one large message, to be read by several where they are: by the kernel, which gathers packets
/// from them, and by the application, which may keep what it was handed.
#[derive(Clone, Debug)]
pub struct SharedBuffer {
    memory: Bytes,
    size: usize,
}

impl SharedBuffer {
    /// The bytes in `range`, which hold on to the memory.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Bytes {
        assert!(range.end <= self.size, "{range:?} of {} bytes", self.size);
        self.memory.slice(range)
    }

    /// The memory, to be written again; `None` while anybody else still reads it.
    #[must_use]
    pub fn reclaim(self) -> Option<Buffer> {
        let memory = self.memory.try_into_mut().ok()?;
        Some(Buffer { size: memory.len(), memory })
    }
}

impl From<Buffer> for SharedBuffer {
    fn from(buffer: Buffer) -> Self {
        Self { size: buffer.size, memory: buffer.memory.freeze() }
    }
}

impl From<Bytes> for SharedBuffer {
    fn from(memory: Bytes) -> Self {
        Self { size: memory.len(), memory }
    }
}

impl Deref for SharedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.size]
    }
}

/// Memory kept for messages to come.
#[derive(Debug, Default)]
pub struct BufferPool {
    kept: Vec<Buffer>,
}

impl BufferPool {
    /// The smallest kept memory of at least `size` bytes, showing so many; none of more than twice that: a
    /// message must not hold much more than what is counted for it, or a peer's many small ones would hold the
    /// memory of as many large ones.
    #[must_use]
    pub fn take(&mut self, size: usize) -> Option<Buffer> {
        let fits = size..=size.saturating_mul(2);
        // Of equal ones the last that came back: its bytes may still be in this core's cache.
        let fitting = self.kept.iter().enumerate().rev().filter(|(_, buffer)| fits.contains(&buffer.room()));
        let (at, _) = fitting.min_by_key(|(_, buffer)| buffer.room())?;
        let mut buffer = self.kept.swap_remove(at);
        buffer.show(size);
        Some(buffer)
    }

    /// Keeps the memory, if it is worth it: the larger of two when there are too many.
    pub fn put(&mut self, buffer: Buffer) {
        if !(POOLED_SIZE_MIN..=POOLED_SIZE_MAX).contains(&buffer.room()) {
            return;
        }
        if self.kept.len() < POOLED_MAX {
            self.kept.push(buffer);
        } else if let Some(least) = self.kept.iter_mut().min_by_key(|kept| kept.room())
            && least.room() < buffer.room()
        {
            *least = buffer;
        }
    }
}

/// Buffers kept for messages to come: as many as one session's calls at a common window.
const POOLED_MAX: usize = 32;
/// Smaller ones cost an allocator little.
const POOLED_SIZE_MIN: usize = 8 << 10;
/// The largest worth keeping: a pool never holds more than 32 MiB.
const POOLED_SIZE_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_memory_that_fits_is_taken_and_shows_what_was_asked_for() {
        let mut pool = BufferPool::default();
        for room in [100_000, 20_000, 60_000] {
            pool.put(Buffer::zeroed(room));
        }
        let buffer = pool.take(40_000).unwrap();
        assert_eq!((buffer.room(), buffer.len()), (60_000, 40_000));
        let buffer = pool.take(70_000).unwrap();
        assert_eq!((buffer.room(), buffer.len()), (100_000, 70_000));
        assert!(pool.take(40_000).is_none());
    }

    #[test]
    fn shared_memory_comes_back_where_it_was_once_nobody_else_reads_it() {
        let mut buffer = Buffer::zeroed(100_000);
        let at = buffer.as_ptr();
        buffer.show(60_000);
        let shared = SharedBuffer::from(buffer);
        let reader = shared.part(10..20);
        assert!(shared.clone().reclaim().is_none());
        drop(reader);
        let back = shared.reclaim().unwrap();
        assert_eq!((back.room(), back.as_ptr()), (100_000, at));
    }

    #[test]
    fn of_equal_memory_what_came_back_last_is_lent_first() {
        let mut pool = BufferPool::default();
        let buffers = [60_000, 60_000, 60_000].map(Buffer::zeroed);
        let places = buffers.each_ref().map(|buffer| buffer.as_ptr());
        buffers.into_iter().for_each(|buffer| pool.put(buffer));
        let lent = [(); 3].map(|()| pool.take(60_000).unwrap());
        assert_eq!(lent.each_ref().map(|buffer| buffer.as_ptr()), [places[2], places[1], places[0]]);
    }

    #[test]
    fn a_shown_part_does_not_shorten_the_memory() {
        let mut pool = BufferPool::default();
        pool.put(Buffer::zeroed(100_000));
        for size in [70_000, 100_000, 50_000, 100_000] {
            let buffer = pool.take(size).unwrap();
            assert_eq!(buffer.len(), size);
            pool.put(buffer);
        }
    }

    #[test]
    fn a_full_pool_keeps_the_larger_and_nothing_that_is_too_small_or_too_large() {
        let mut pool = BufferPool::default();
        pool.put(Buffer::zeroed(POOLED_SIZE_MIN - 1));
        pool.put(Buffer::zeroed(POOLED_SIZE_MAX + 1));
        assert!(pool.kept.is_empty());
        (0..POOLED_MAX).for_each(|_| pool.put(Buffer::zeroed(10_000)));
        pool.put(Buffer::zeroed(9_000));
        pool.put(Buffer::zeroed(50_000));
        assert_eq!(pool.kept.len(), POOLED_MAX);
        assert!(pool.take(50_000).is_some());
        assert!(pool.kept.iter().all(|buffer| buffer.room() == 10_000));
    }
}
