//! How large the packets of a joined buffer are, without the kernel's word.
//!
//! UDP_GRO joins packets of one sender and of equal size but the last, and each says in its header how long
//! it is (P-1.4). A sender that lies spoils its own packets only. One that was damaged on the way must not
//! spoil those behind it: the header that should follow has to say the same, or the packets are searched for.

use std::ops::Range;

use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::wire::{Header, PacketKind};

/// Bytes of each packet in `buffer` but the last; of a packet that came alone, all there are.
#[inline]
pub(super) fn segment_size(buffer: &[u8]) -> usize {
    let told = length_at(buffer, 0);
    let alone = told == buffer.len();
    if alone || is_size(buffer, told) && length_at(buffer, told) == told.min(buffer.len() - told) {
        return told;
    }
    search(buffer, told)
}

/// What stands where the header of a packet at `at` has its length.
#[inline]
fn length_at(buffer: &[u8], at: usize) -> usize {
    let length = buffer.get(at + 2..at + 4).and_then(|bytes| bytes.first_chunk::<2>());
    length.map_or(0, |bytes| usize::from(u16::from_le_bytes(*bytes)))
}

/// Can `size` be that of the first of several packets?
#[inline]
fn is_size(buffer: &[u8], size: usize) -> bool {
    (PACKET_OVERHEAD..buffer.len()).contains(&size)
}

/// The size that the first packet's header tells, if any packet behind it agrees; else one that a packet of the
/// same session behind it agrees with, wherever that begins. One pass over the buffer's bytes at most: what costs
/// the receiver more than an honest packet would be a weapon.
#[cold]
fn search(buffer: &[u8], told: usize) -> usize {
    let told = Some(told).filter(|told| is_size(buffer, *told));
    if let Some(told) = told
        && (told..buffer.len()).step_by(told).any(|at| agrees(buffer, at, told))
    {
        return told;
    }
    let found = (PACKET_OVERHEAD..buffer.len()).find(|size| agrees(buffer, *size, *size));
    found.or(told).unwrap_or(buffer.len())
}

/// Does a packet at `at` say that packets are of `size`, and is it of the first packet's session?
fn agrees(buffer: &[u8], at: usize, size: usize) -> bool {
    let length = size.min(buffer.len() - at);
    let header = Header::decode(&buffer[at..]).ok();
    header.is_some_and(|header| header.kind == PacketKind::Data && usize::from(header.length) == length)
        && buffer[at..][HALF_NAME] == buffer[HALF_NAME]
}

/// The half of the session's name that a burst of damage to the length does not reach: random bytes look like
/// another header in one buffer of some hundred, but not like this session's.
const HALF_NAME: Range<usize> = 8..12;

/// The smallest packet there is: a header and a tag.
const PACKET_OVERHEAD: usize = HEADER_SIZE + TAG_SIZE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::{PacketNumber, SessionId};

    /// Packets of these lengths, end to end, with random bytes behind their headers.
    fn joined(rng: &mut Rng, lengths: &[usize]) -> Vec<u8> {
        let mut buffer = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let header = Header {
                kind: PacketKind::Data,
                epoch: 0,
                length: *length as u16,
                session: SessionId(0x0123_4567_89ab_cd00),
                number: PacketNumber(number as u64),
            };
            let at = buffer.len();
            buffer.resize_with(at + length, || rng.u64() as u8);
            header.encode(&mut buffer[at..]);
        }
        buffer
    }

    #[test]
    fn packets_are_told_apart_by_their_headers() {
        let mut rng = Rng::new(1);
        for lengths in [&[36][..], &[700], &[700, 700], &[700, 36], &[700, 700, 699], &[36; 64]] {
            assert_eq!(segment_size(&joined(&mut rng, lengths)), lengths[0], "{lengths:?}");
        }
    }

    #[test]
    fn a_damaged_header_does_not_spoil_the_packets_behind_it() {
        let seed = 2;
        println!("seed {seed}; replay: cargo test --lib a_damaged_header_does_not_spoil");
        let mut rng = Rng::new(seed);
        let mut missed = 0;
        let rounds = 3_000;
        for _ in 0..rounds {
            let size = 36 + rng.below(1_400) as usize;
            let count = 2 + rng.below(40) as usize;
            let last = 36 + rng.below(size as u64 - 35) as usize;
            let mut lengths = vec![size; count];
            lengths[count - 1] = last;
            let mut buffer = joined(&mut rng, &lengths);
            // One packet's header, more often the first's, is overwritten from its kind to its session.
            let damaged = if rng.below(2) == 0 { 0 } else { rng.below(count as u64) as usize };
            for byte in &mut buffer[damaged * size..][..8] {
                *byte = rng.u64() as u8;
            }
            missed += u32::from(segment_size(&buffer) != size);
        }
        assert_eq!(missed, 0, "of {rounds} taken for another size");
    }

    #[test]
    fn what_is_no_packet_at_all_is_left_whole_or_cut_into_packets() {
        let seed = 3;
        println!("seed {seed}; replay: cargo test --lib what_is_no_packet_at_all");
        let mut rng = Rng::new(seed);
        for _ in 0..2_000 {
            let length = rng.below(3_000) as usize;
            let buffer: Vec<u8> = (0..length).map(|_| rng.u64() as u8).collect();
            let size = segment_size(&buffer);
            assert!(size == length || (PACKET_OVERHEAD..length).contains(&size), "{size} of {length}");
        }
    }
}
