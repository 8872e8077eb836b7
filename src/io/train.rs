//! Trains: packets that leave in one system call, and the memory they are sealed into.
//!
//! Some of a train's bytes may lie elsewhere: in the message that they are a fragment of, which stays where its
//! sender put it. Their place in the buffer is kept free, so that offsets mean the same everywhere, and the kernel
//! gathers them:
//!
//! ```text
//! buffer   [head |            | tag][head |            | tag]
//! message         \ bytes 0.. /           \ ..bytes n  /
//! ```

use std::ops::Range;

use bytes::Bytes;

use super::PathId;
use crate::bounds::TRAIN_BUFFER_SIZE;
use crate::rings::{Direction, PacketMemory, copy};

/// Memory the backend lent for one train: [`TRAIN_BUFFER_SIZE`] bytes at a stable address.
#[derive(Debug)]
pub struct TrainBuffer {
    memory: PacketMemory,
    /// What lies elsewhere, in rising order.
    gathered: Vec<Gathered>,
}

/// Bytes of a train that lie elsewhere.
#[derive(Debug)]
struct Gathered {
    /// Their place in the train.
    at: usize,
    bytes: Bytes,
}

impl TrainBuffer {
    /// A zeroed buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::from_memory(PacketMemory::new(TRAIN_BUFFER_SIZE, Direction::Out))
    }

    /// The memory itself, for a backend that hands its ownership to the kernel. What lies elsewhere is copied
    /// into it first.
    pub(crate) fn into_memory(mut self) -> PacketMemory {
        self.fill();
        self.memory
    }

    pub(crate) fn from_memory(memory: PacketMemory) -> Self {
        debug_assert_eq!(memory.len(), TRAIN_BUFFER_SIZE);
        Self { memory, gathered: Vec::new() }
    }

    /// The bytes, to read. Those that lie elsewhere are not in it before [`TrainBuffer::fill`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// The train's bytes from `at` on are `bytes`, which lie elsewhere: behind those that were told before.
    ///
    /// # Panics
    /// They do not fit, or overlap those told before.
    pub fn gather(&mut self, at: usize, bytes: Bytes) {
        let free = self.gathered.last().map_or(0, |last| last.at + last.bytes.len());
        assert!(free <= at && at + bytes.len() <= self.memory.len(), "bytes gathered out of order");
        self.gathered.push(Gathered { at, bytes });
    }

    /// Copies what lies elsewhere to its place and lets go of it: for whoever wants the train in one piece.
    pub fn fill(&mut self) {
        for Gathered { at, bytes } in self.gathered.drain(..) {
            copy(&mut self.memory[at..at + bytes.len()], &bytes);
        }
    }

    /// Lets go of what lies elsewhere: the train has left.
    #[inline]
    pub(super) fn forget(&mut self) {
        if !self.gathered.is_empty() {
            self.gathered.clear();
        }
    }

    /// True when nothing of it lies elsewhere.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.gathered.is_empty()
    }

    /// The bytes in `range`, wherever they lie.
    #[inline]
    pub(super) fn parts(&self, range: Range<usize>) -> Parts<'_> {
        let before = self.gathered.iter().take_while(|next| next.at < range.start).count();
        Parts { memory: &self.memory, gathered: &self.gathered[before..], rest: range }
    }
}

impl Default for TrainBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes of a train, piece by piece.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    memory: &'a [u8],
    gathered: &'a [Gathered],
    rest: Range<usize>,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let next = self.gathered.first().filter(|next| next.at < self.rest.end);
        let Some(Gathered { at, bytes }) = next else {
            let rest = std::mem::take(&mut self.rest);
            return Some(&self.memory[rest]);
        };
        if *at > self.rest.start {
            let own = self.rest.start..*at;
            self.rest.start = *at;
            return Some(&self.memory[own]);
        }
        self.gathered = &self.gathered[1..];
        self.rest.start += bytes.len();
        Some(bytes)
    }
}

/// Packets for one path that leave in one system call: all of `segment_size` bytes but the last.
#[derive(Debug)]
pub struct Train {
    /// The sealed packets, end to end.
    pub buffer: TrainBuffer,
    /// Bytes used of `buffer`.
    pub length: usize,
    /// Bytes of each packet but the last; equal to `length` for a single packet.
    pub segment_size: usize,
    /// Where they go.
    pub path: PathId,
}

impl Train {
    /// How many packets the train holds.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.length.div_ceil(self.segment_size.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three packets of 100 bytes, of which the first and the last have 50 bytes elsewhere.
    fn train() -> TrainBuffer {
        let mut buffer = TrainBuffer::new();
        buffer.bytes_mut()[..300].fill(1);
        buffer.gather(30, vec![2; 50].into());
        buffer.gather(230, vec![3; 50].into());
        buffer
    }

    fn whole() -> Vec<u8> {
        let mut whole = vec![1; 300];
        whole[30..80].fill(2);
        whole[230..280].fill(3);
        whole
    }

    #[test]
    fn what_lies_elsewhere_is_gathered_at_its_place_also_of_single_packets() {
        let buffer = train();
        for range in [0..300, 0..100, 100..200, 200..300, 0..0] {
            let bytes: Vec<u8> = buffer.parts(range.clone()).flatten().copied().collect();
            assert_eq!(bytes, whole()[range]);
        }
        assert_eq!(buffer.parts(0..300).count(), 5);
        assert_eq!(buffer.parts(100..200).count(), 1);
    }

    #[test]
    fn a_filled_train_is_in_one_piece_and_holds_nothing_of_others() {
        let mut buffer = train();
        let message = Bytes::from(vec![4; 10]);
        buffer.gather(290, message.clone());
        assert!(!message.is_unique());
        buffer.fill();
        assert!(message.is_unique());
        assert_eq!(buffer.bytes()[..290], whole()[..290]);
        assert_eq!(buffer.bytes()[290..300], [4; 10]);
        assert_eq!(buffer.parts(0..300).count(), 1);
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn bytes_are_gathered_in_order() {
        train().gather(100, vec![5; 10].into());
    }
}
