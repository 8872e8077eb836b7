//! What simulated payloads hold: bytes that only one id, one purpose and one size have, so that a
//! payload that arrives tells where it came from and whether it is whole.

/// What bytes are for: the same id has other contents for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A one-way message.
    Message,
    /// A call's request.
    Request,
    /// A call's reply. It carries no id: the caller knows which call it made.
    Reply,
    /// A datagram.
    Datagram,
}

/// The bytes for `id`: the id itself first, except in a reply, then a stream that only this id, this
/// purpose and this size have.
#[must_use]
pub fn contents(id: u64, purpose: Purpose, size: u32) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    let head = if purpose == Purpose::Reply { 0 } else { ID_SIZE.min(bytes.len()) };
    let (head, body) = bytes.split_at_mut(head);
    head.copy_from_slice(&id.to_le_bytes()[..head.len()]);
    let mut stream = Stream::new(id, purpose, size as usize);
    let (blocks, rest) = body.as_chunks_mut::<BLOCK_SIZE>();
    blocks.iter_mut().for_each(|block| *block = stream.next_block());
    rest.copy_from_slice(&stream.next_block()[..rest.len()]);
    bytes
}

/// True when `bytes` are exactly those of `id`.
#[must_use]
pub fn is_contents(id: u64, purpose: Purpose, size: u32, bytes: &[u8]) -> bool {
    if bytes.len() != size as usize {
        return false;
    }
    let head = if purpose == Purpose::Reply { 0 } else { ID_SIZE.min(bytes.len()) };
    let (head, body) = bytes.split_at(head);
    let mut stream = Stream::new(id, purpose, bytes.len());
    let (blocks, rest) = body.as_chunks::<BLOCK_SIZE>();
    head == &id.to_le_bytes()[..head.len()]
        && blocks.iter().all(|block| *block == stream.next_block())
        && rest == &stream.next_block()[..rest.len()]
}

/// The stream behind the id, a block at a time.
struct Stream(u64);

const BLOCK_SIZE: usize = 64;

impl Stream {
    fn new(id: u64, purpose: Purpose, size: usize) -> Self {
        Self(id ^ (purpose as u64 + 1) << 56 ^ (size as u64) << 32)
    }

    /// One step in a row of the generator for each block; what its eight words are made of hangs on no other.
    #[inline]
    fn next_block(&mut self) -> [u8; BLOCK_SIZE] {
        self.0 = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        self.0 ^= self.0 >> 29;
        let mut block = [0; BLOCK_SIZE];
        for (word, rotation) in block.as_chunks_mut::<8>().0.iter_mut().zip([0, 17, 31, 47, 5, 11, 23, 41]) {
            *word = self.0.rotate_left(rotation).to_le_bytes();
        }
        block
    }
}

/// The id at the front of a payload.
#[must_use]
pub fn id_of(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|id| u64::from_le_bytes(*id))
}

/// Bytes of an id at the front of a payload: the least a payload holds.
pub const ID_SIZE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_differ_by_id_purpose_and_size() {
        let base = contents(1, Purpose::Message, 40);
        assert!(is_contents(1, Purpose::Message, 40, &base));
        assert_eq!(id_of(&base), Some(1));
        assert!(!is_contents(2, Purpose::Message, 40, &base));
        assert!(!is_contents(1, Purpose::Request, 40, &base));
        assert_ne!(base[8..39], contents(1, Purpose::Message, 39)[8..]);
    }

    #[test]
    fn swapped_stretches_are_noticed() {
        let mut bytes = contents(9, Purpose::Message, 100_000);
        let (a, b) = bytes.split_at_mut(50_000);
        a[16..1_016].swap_with_slice(&mut b[..1_000]);
        assert!(!is_contents(9, Purpose::Message, 100_000, &bytes));
    }

    #[test]
    fn short_payloads_hold_what_fits() {
        assert_eq!(contents(1, Purpose::Reply, 0), [] as [u8; 0]);
        assert_eq!(id_of(&contents(0x0102, Purpose::Message, 4)), None);
    }
}
