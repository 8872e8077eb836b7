//! Against damage only: CRC-32C, padded to the size of an AEAD's tag.

use super::{OpenError, Role};
use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::crypto::crc32c::{crc32c, crc32c_of};
use crate::crypto::{Keys, equal_in_constant_time};
use crate::hint::rarely;

/// CRC-32C of header and frames, masked and followed by bytes that only this session's packets in
/// this direction carry.
///
/// The CRC finds damage that the 16-bit UDP checksum misses (L56). The salt keeps packets of an
/// earlier incarnation, of the other direction, or of a session that had the same id apart.
#[derive(Clone, Debug)]
pub struct CrcProtector {
    send: Salt,
    receive: Salt,
}

impl CrcProtector {
    /// The salts of a session's two directions, taken from its secrets.
    #[must_use]
    pub fn new(keys: &Keys, role: Role) -> Self {
        let client = Salt(keys.client_to_server.first_half());
        let server = Salt(keys.server_to_client.first_half());
        match role {
            Role::Client => Self { send: client, receive: server },
            Role::Server => Self { send: server, receive: client },
        }
    }

    pub(super) fn handshake() -> Self {
        Self { send: Salt([0; TAG_SIZE]), receive: Salt([0; TAG_SIZE]) }
    }

    #[inline(always)]
    pub(super) fn seal(&self, packet: &mut [u8]) {
        let (body, tag) = packet.split_last_chunk_mut::<TAG_SIZE>().expect("a packet built here has a tag");
        assert!(body.len() >= HEADER_SIZE, "a packet built here has a header");
        *tag = self.send.tag(body);
    }

    /// [`CrcProtector::seal`] for a packet whose bytes from `at` on are `elsewhere`.
    pub(super) fn seal_around(&self, packet: &mut [u8], at: usize, elsewhere: &[u8]) {
        let (body, tag) = packet.split_last_chunk_mut::<TAG_SIZE>().expect("a packet built here has a tag");
        assert!(at >= HEADER_SIZE, "a packet built here has a header");
        *tag = self.send.tag_of(crc32c_of(&[&body[..at], elsewhere, &body[at + elsewhere.len()..]]));
    }

    /// L56, RFC 8085 §3.4: developers "SHOULD implement additional checks where data integrity is important".
    #[inline]
    pub(super) fn open(&self, packet: &[u8]) -> Result<(), OpenError> {
        if rarely(packet.len() < HEADER_SIZE + TAG_SIZE) {
            return Err(OpenError::TooShort { size: packet.len() });
        }
        match packet.split_last_chunk::<TAG_SIZE>() {
            Some((body, tag)) if equal_in_constant_time(&self.receive.tag(body), tag) => Ok(()),
            _ => Err(OpenError::Tag),
        }
    }
}

/// What one direction's tags are made from, beside the checksum.
#[derive(Clone, Debug)]
struct Salt([u8; TAG_SIZE]);

impl Salt {
    #[inline]
    fn tag(&self, body: &[u8]) -> [u8; TAG_SIZE] {
        self.tag_of(crc32c(body))
    }

    #[inline]
    fn tag_of(&self, checksum: u32) -> [u8; TAG_SIZE] {
        (u128::from_le_bytes(self.0) ^ u128::from(checksum)).to_le_bytes()
    }
}
