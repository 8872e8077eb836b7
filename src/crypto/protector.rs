//! Packet protection: the 16-byte tag that closes each packet, over everything before it.
//!
//! An enum, not a trait object: dispatched once a packet, and sizes do not differ between kinds.

use crc_fast::crc32_iscsi;

use super::{Keys, equal_in_constant_time};
use crate::bounds::{HEADER_SIZE, TAG_SIZE};

/// Which end of a session this is: each direction has its own secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that sent INIT.
    Client,
    /// The end that accepted it.
    Server,
}

/// Why a packet was not opened. Counted, dropped, never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than a header and a tag.
    #[error("a packet of {size} bytes is too short for a header and a tag")]
    TooShort {
        /// Its size, in bytes.
        size: usize,
    },
    /// The tag does not belong to these bytes on this session: damaged on the way, or not the peer's.
    #[error("the packet's tag does not match: it was damaged on the way or is another session's")]
    Tag,
}

/// Seals and opens the packets of one session.
#[derive(Clone, Debug)]
pub enum Protector {
    /// `--insecure`: CRC-32C against damage, nothing against an attacker.
    Crc(CrcProtector),
}

impl Protector {
    /// What protects a session's packets once the handshake gave `keys`.
    #[must_use]
    pub fn new(keys: &Keys, role: Role) -> Self {
        Self::Crc(CrcProtector::new(keys, role))
    }

    /// What protects the handshake's own packets, before there are keys: damage is found, nothing is
    /// hidden or proven.
    #[must_use]
    pub fn handshake() -> Self {
        Self::Crc(CrcProtector { send: Salt([0; 16]), receive: Salt([0; 16]) })
    }

    /// Writes the tag into the last [`TAG_SIZE`] bytes of `packet`, over all bytes before it. The
    /// packet number, which an AEAD takes as its nonce, is read from the header.
    ///
    /// # Panics
    /// When `packet` is shorter than a header and a tag: such a packet was never built.
    #[inline]
    pub fn seal(&self, packet: &mut [u8]) {
        match self {
            Self::Crc(crc) => crc.seal(packet),
        }
    }

    /// Checks the tag of `packet` and opens it in place: the frames lie between header and tag.
    /// `packet` is exactly one packet, as long as its header says.
    ///
    /// # Errors
    /// [`OpenError`]; the packet must then be dropped and counted.
    #[inline]
    pub fn open(&self, packet: &mut [u8]) -> Result<(), OpenError> {
        match self {
            Self::Crc(crc) => crc.open(packet),
        }
    }
}

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

    #[inline]
    fn seal(&self, packet: &mut [u8]) {
        let (body, tag) = packet.split_last_chunk_mut::<TAG_SIZE>().expect("a packet built here has a tag");
        assert!(body.len() >= HEADER_SIZE, "a packet built here has a header");
        *tag = self.send.tag(body);
    }

    #[inline]
    fn open(&self, packet: &[u8]) -> Result<(), OpenError> {
        let size = packet.len();
        match packet.split_last_chunk::<TAG_SIZE>() {
            Some((body, _)) if body.len() < HEADER_SIZE => Err(OpenError::TooShort { size }),
            None => Err(OpenError::TooShort { size }),
            Some((body, tag)) if equal_in_constant_time(&self.receive.tag(body), tag) => Ok(()),
            Some(_) => Err(OpenError::Tag),
        }
    }
}

/// What one direction's tags are made from, beside the checksum.
#[derive(Clone, Debug)]
struct Salt([u8; TAG_SIZE]);

impl Salt {
    #[inline]
    fn tag(&self, body: &[u8]) -> [u8; TAG_SIZE] {
        (u128::from_le_bytes(self.0) ^ u128::from(crc32_iscsi(body))).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Handshake, NullHandshake};
    use super::*;
    use crate::rng::Rng;

    fn pair(prologue: &[u8]) -> (Protector, Protector) {
        let (initiator, blob) = NullHandshake.initiate(prologue, b"");
        let response = NullHandshake.respond(prologue, &blob, b"accept", b"").expect("null always responds");
        let finished = initiator.finish(b"accept", &response.blob).expect("null always finishes");
        (Protector::new(&finished.keys, Role::Client), Protector::new(&response.keys, Role::Server))
    }

    fn packet(rng: &mut Rng, size: usize) -> Vec<u8> {
        let mut packet = vec![0; size];
        rng.fill(&mut packet);
        packet
    }

    #[test]
    fn what_one_end_seals_the_other_opens() {
        let (client, server) = pair(b"prologue");
        let mut rng = Rng::new(1);
        for size in [36, 37, 64, 100, 1_400, 8_900, 16_384] {
            let mut sealed = packet(&mut rng, size);
            client.seal(&mut sealed);
            assert_eq!(server.open(&mut sealed), Ok(()));
            server.seal(&mut sealed);
            assert_eq!(client.open(&mut sealed), Ok(()));
        }
    }

    #[test]
    fn a_change_of_any_one_bit_is_found() {
        let (client, server) = pair(b"prologue");
        let mut sealed = packet(&mut Rng::new(2), 300);
        client.seal(&mut sealed);
        for bit in 0..300 * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(server.open(&mut damaged), Err(OpenError::Tag), "bit {bit}");
        }
    }

    #[test]
    fn a_packet_cut_short_or_too_short_is_not_opened() {
        let (client, server) = pair(b"prologue");
        let mut sealed = packet(&mut Rng::new(3), 200);
        client.seal(&mut sealed);
        for size in 0..200 {
            let expected = if size < 36 { OpenError::TooShort { size } } else { OpenError::Tag };
            assert_eq!(server.open(&mut sealed[..size].to_vec()), Err(expected));
        }
    }

    #[test]
    fn a_packet_reflected_to_its_sender_is_not_opened() {
        let (client, _) = pair(b"prologue");
        let mut sealed = packet(&mut Rng::new(4), 100);
        client.seal(&mut sealed);
        assert_eq!(client.open(&mut sealed), Err(OpenError::Tag));
    }

    #[test]
    fn a_packet_of_an_earlier_session_is_not_opened() {
        let (client, _) = pair(b"boot 1");
        let (_, server) = pair(b"boot 2");
        let mut sealed = packet(&mut Rng::new(5), 100);
        client.seal(&mut sealed);
        assert_eq!(server.open(&mut sealed), Err(OpenError::Tag));
    }

    #[test]
    fn the_handshake_protector_opens_what_it_sealed_and_nothing_of_a_session() {
        let mut sealed = packet(&mut Rng::new(6), 1_200);
        Protector::handshake().seal(&mut sealed);
        assert_eq!(Protector::handshake().open(&mut sealed), Ok(()));
        assert_eq!(pair(b"prologue").0.open(&mut sealed), Err(OpenError::Tag));
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // RFC 3720 §B.4: 32 bytes of zeros give 8a9136aa.
        assert_eq!(crc32_iscsi(&[0; 32]), 0x8a91_36aa);
    }
}
