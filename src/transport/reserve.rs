//! The memory that one worker sets aside for large messages: counted here, held by the messages themselves.

use super::buffer::{Buffer, BufferPool};
use crate::bounds::REASSEMBLY_BYTES_MAX;
use crate::rings::{copied, copy};

/// The memory one worker sets aside for large messages of all its sessions.
#[derive(Debug)]
pub struct Reserve {
    available: u64,
    size: u64,
    pool: BufferPool,
}

impl Default for Reserve {
    fn default() -> Self {
        Self::new(REASSEMBLY_BYTES_MAX)
    }
}

impl Reserve {
    /// A reserve of `bytes`: at least the largest message that any session may receive, which could
    /// never begin otherwise.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { available: bytes, size: bytes, pool: BufferPool::default() }
    }

    /// Bytes not set aside.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.available
    }

    /// Bytes set aside.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.size - self.available
    }

    /// Takes back what a complete message had reserved, once its buffer is recycled or gone.
    pub fn give_back(&mut self, bytes: u64) {
        self.available += bytes;
    }

    /// Takes a buffer back for messages to come.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.pool.put(buffer);
    }

    /// `size` bytes, of which those of an earlier message may stay: the caller writes all of them before it
    /// shows them to anyone.
    pub(super) fn buffer(&mut self, size: usize) -> Buffer {
        self.pool.take(size).unwrap_or_else(|| Buffer::zeroed(size))
    }

    /// A copy of `bytes`.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Buffer {
        match self.pool.take(bytes.len()) {
            Some(mut buffer) => {
                copy(&mut buffer, bytes);
                buffer
            }
            None => Buffer::from(copied(bytes)),
        }
    }

    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.available;
        if fits {
            self.available -= bytes;
        }
        fits
    }

    /// Sets aside what a message lacks beside the `head` bytes it has. A part is left for the heads of
    /// others, unless nothing but this message is in the way of its own end.
    pub(super) fn take_rest(&mut self, head: u64, bytes: u64) -> bool {
        let alone = self.available + head >= self.size;
        let leaves_heads = self.available >= bytes.saturating_add(self.size / HEADS_PART);
        (alone || leaves_heads) && self.take(bytes)
    }
}

/// One part in so many of a [`Reserve`] is for the first 64 KiB of messages alone.
const HEADS_PART: u64 = 16;

const _: () = assert!(crate::bounds::MESSAGE_SIZE_DEFAULT <= REASSEMBLY_BYTES_MAX);
