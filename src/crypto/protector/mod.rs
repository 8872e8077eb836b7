//! Packet protection: the 16-byte tag that closes each packet, over everything before it.
//!
//! An enum, not a trait object: dispatched once a packet, and sizes do not differ between kinds.

mod aead;
mod crc;
mod epoch_key;
#[cfg(not(target_arch = "x86_64"))]
mod no_wide;
#[cfg(target_arch = "x86_64")]
mod wide;

use super::Keys;
#[cfg(not(target_arch = "x86_64"))]
use no_wide as wide;

pub use aead::{AeadProtector, AeadUsage, DormantAead};
pub use crc::CrcProtector;

/// Which end of a session this is: each direction has its own secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that sent INIT.
    Client,
    /// The end that accepted it.
    Server,
}

/// What seals a session's packets, as the handshake names it (P-6.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// CRC-32C: damage is found, nothing is hidden.
    Insecure = 0,
    /// AES-128-GCM (RFC 5116).
    Aes128Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439), for CPUs without AES.
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// The suite with this byte.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Insecure),
            1 => Some(Self::Aes128Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Which AEAD this CPU is quick at.
    #[must_use]
    pub fn preferred() -> Self {
        #[cfg(target_arch = "x86_64")]
        let aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let aes = std::arch::is_aarch64_feature_detected!("aes");
        if aes { Self::Aes128Gcm } else { Self::ChaCha20Poly1305 }
    }

    /// True for what hides and proves.
    #[must_use]
    pub fn is_secure(self) -> bool {
        self != Self::Insecure
    }
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
    /// Sealed with keys that are not held: too old, or too far ahead.
    #[error("the packet is of key epoch {epoch}, whose keys are not held")]
    Epoch {
        /// What its header names.
        epoch: u8,
    },
}

/// Seals and opens the packets of one session.
#[derive(Debug)]
pub enum Protector {
    /// `--insecure`: CRC-32C against damage, nothing against an attacker.
    Crc(CrcProtector),
    /// Sealed: nothing of a packet behind its header can be read or changed.
    Aead(Box<AeadProtector>),
    /// Sealed, and without its expanded keys: the session is idle.
    Dormant(Box<DormantAead>),
}

impl Protector {
    /// What protects a session's packets once the handshake agreed on `suite` and gave `keys`.
    #[must_use]
    pub fn new(suite: Suite, keys: &Keys, role: Role) -> Self {
        match suite {
            Suite::Insecure => Self::Crc(CrcProtector::new(keys, role)),
            sealed => Self::Aead(Box::new(AeadProtector::new(sealed, keys, role))),
        }
    }

    /// What protects the handshake's own packets, before there are keys: damage is found, nothing is
    /// hidden or proven.
    #[must_use]
    pub fn handshake() -> Self {
        Self::Crc(CrcProtector::handshake())
    }

    /// True when packets are hidden and proven.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Aead(_) | Self::Dormant(_))
    }

    /// The key epoch that the header of the next packet must name.
    #[inline]
    #[must_use]
    pub fn epoch(&self) -> u8 {
        match self {
            Self::Crc(_) => 0,
            Self::Aead(aead) => aead.epoch(),
            Self::Dormant(dormant) => dormant.epoch(),
        }
    }

    /// Seals `packet` in place and writes the tag into its last [`TAG_SIZE`](crate::bounds::TAG_SIZE)
    /// bytes. The packet number, which an AEAD takes as its nonce, is read from the header, which stays
    /// clear and is bound.
    ///
    /// # Panics
    /// When `packet` is shorter than a header and a tag, or a packet number does not rise: a nonce
    /// used twice would give the key away.
    #[inline(always)]
    pub fn seal(&mut self, packet: &mut [u8]) {
        match self {
            Self::Crc(crc) => crc.seal(packet),
            Self::Aead(aead) => aead.seal(packet),
            Self::Dormant(_) => self.awake().seal(packet),
        }
    }

    /// True when a packet's bytes leave as they are, so that they may lie elsewhere: see
    /// [`Protector::seal_around`].
    #[inline]
    #[must_use]
    pub fn leaves_bytes(&self) -> bool {
        matches!(self, Self::Crc(_))
    }

    /// True when [`Protector::seal_around`] reads a large piece where it lies as it seals it into the packet, if it is
    /// the packet's last.
    #[inline]
    #[must_use]
    pub fn seals_from_elsewhere(&self) -> bool {
        matches!(self, Self::Aead(aead) if aead.seals_from_elsewhere())
    }

    /// [`Protector::seal`] for a packet whose bytes from `at` on are `elsewhere`. Where bytes leave as they are
    /// (see [`Protector::leaves_bytes`]) they stay there; a cipher takes them in.
    ///
    /// # Panics
    /// As [`Protector::seal`], or when they do not lie between header and tag.
    pub fn seal_around(&mut self, packet: &mut [u8], at: usize, elsewhere: &[u8]) {
        match self {
            Self::Crc(crc) => crc.seal_around(packet, at, elsewhere),
            Self::Aead(aead) => aead.seal_around(packet, at, elsewhere),
            Self::Dormant(_) => self.awake().seal_around(packet, at, elsewhere),
        }
    }

    /// Checks the tag of `packet` and opens it in place: the frames lie between header and tag.
    /// `packet` is exactly one packet, as long as its header says. Where it does not match, what lies
    /// behind the header is unspecified.
    ///
    /// # Errors
    /// [`OpenError`]; the packet must then be dropped and counted.
    #[inline(always)]
    pub fn open(&mut self, packet: &mut [u8]) -> Result<(), OpenError> {
        match self {
            Self::Crc(crc) => crc.open(packet),
            Self::Aead(aead) => aead.open(packet),
            Self::Dormant(_) => self.open_dormant(packet),
        }
    }

    /// Goes on with new keys for what is sent. The caller sees to it that the peer has opened a packet
    /// of the epoch before (P-11.5).
    pub fn update(&mut self) {
        if self.is_secure() {
            self.awake().update();
        }
    }

    /// The session goes idle: expanded keys go, and come back with the first packet.
    pub fn rest(&mut self) {
        if let Self::Aead(aead) = self {
            *self = Self::Dormant(Box::new(aead.rest()));
        }
    }

    /// Keys to seal with.
    ///
    /// # Panics
    /// When there are none.
    #[cold]
    fn awake(&mut self) -> &mut AeadProtector {
        if let Self::Dormant(dormant) = self {
            *self = Self::Aead(Box::new(dormant.awake()));
        }
        let Self::Aead(aead) = self else { unreachable!("only what is sealed has keys") };
        aead
    }

    /// What does not open wakes nobody.
    #[cold]
    fn open_dormant(&mut self, packet: &mut [u8]) -> Result<(), OpenError> {
        if let Self::Dormant(dormant) = self {
            *self = Self::Aead(Box::new(dormant.open(packet)?));
        }
        Ok(())
    }

    /// How far the keys are used up; `None` where there are none.
    #[must_use]
    pub fn usage(&self) -> Option<AeadUsage> {
        match self {
            Self::Crc(_) => None,
            Self::Aead(aead) => Some(aead.usage()),
            Self::Dormant(dormant) => Some(dormant.usage()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Handshake, NullHandshake};
    use super::*;
    use crate::bounds::{HEADER_SIZE, TAG_SIZE};
    use crate::rng::Rng;
    use crate::wire::{Header, PacketKind, PacketNumber, SessionId};

    const SUITES: [Suite; 3] = [Suite::Insecure, Suite::Aes128Gcm, Suite::ChaCha20Poly1305];

    fn keys(prologue: &[u8]) -> Keys {
        let (_, blob) = NullHandshake.initiate(None, prologue, b"", [0; 32]).expect("null always initiates");
        let opened = NullHandshake.open(prologue, &blob, [0; 32]).expect("null always opens");
        opened.responder.answer(b"accept", b"").expect("null always answers").keys
    }

    fn pair(suite: Suite, prologue: &[u8]) -> (Protector, Protector) {
        let keys = keys(prologue);
        (Protector::new(suite, &keys, Role::Client), Protector::new(suite, &keys, Role::Server))
    }

    /// A packet of random bytes behind a header that fits the sealer.
    fn packet(rng: &mut Rng, size: usize, number: u64, sealer: &Protector) -> Vec<u8> {
        let mut packet = vec![0; size];
        rng.fill(&mut packet);
        let header = Header {
            kind: PacketKind::Data,
            epoch: sealer.epoch(),
            length: size as u16,
            session: SessionId(7),
            number: PacketNumber(number),
        };
        header.encode(&mut packet);
        packet
    }

    fn sealed(sealer: &mut Protector, rng: &mut Rng, size: usize, number: u64) -> Vec<u8> {
        let mut packet = packet(rng, size, number, sealer);
        sealer.seal(&mut packet);
        packet
    }

    #[test]
    fn what_one_end_seals_the_other_opens() {
        for suite in SUITES {
            let (mut client, mut server) = pair(suite, b"prologue");
            let mut rng = Rng::new(1);
            for (number, size) in (0..).zip([36, 37, 64, 100, 1_400, 8_900, 16_384]) {
                let plain = packet(&mut rng, size, number, &client);
                let mut sealed = plain.clone();
                client.seal(&mut sealed);
                assert_eq!(sealed[..HEADER_SIZE], plain[..HEADER_SIZE]);
                let hidden = size < 64 || sealed[HEADER_SIZE..size - 16] != plain[HEADER_SIZE..size - 16];
                assert_eq!(hidden, suite.is_secure() || size < 64);
                assert_eq!(server.open(&mut sealed), Ok(()));
                assert_eq!(sealed[..size - 16], plain[..size - 16]);
                server.seal(&mut sealed);
                assert_eq!(client.open(&mut sealed), Ok(()));
            }
        }
    }

    #[test]
    fn a_packet_with_bytes_elsewhere_has_the_tag_of_the_whole() {
        for suite in SUITES {
            let mut rng = Rng::new(9);
            for (number, (size, at, length)) in (0..).zip([
                (100, 20, 64),
                (100, 30, 20),
                (9_000, 70, 8_900),
                (9_000, 84, 8_900),
                (16_368, 60, 16_000),
                (16_368, 352, 16_000),
                (36, 20, 0),
            ]) {
                let (mut whole, mut server) = pair(suite, b"prologue");
                let mut parted = pair(suite, b"prologue").0;
                let plain = packet(&mut rng, size, number, &whole);
                let mut expected = plain.clone();
                whole.seal(&mut expected);
                let mut sealed = plain.clone();
                sealed[at..at + length].fill(0);
                parted.seal_around(&mut sealed, at, &plain[at..at + length]);
                if parted.leaves_bytes() {
                    sealed[at..at + length].copy_from_slice(&plain[at..at + length]);
                }
                assert_eq!(sealed, expected, "{suite:?} {size}");
                assert_eq!(server.open(&mut sealed), Ok(()));
            }
        }
    }

    #[test]
    fn a_change_of_any_one_bit_is_found() {
        // L56.
        for suite in SUITES {
            let (mut client, mut server) = pair(suite, b"prologue");
            let sealed = sealed(&mut client, &mut Rng::new(2), 300, 1);
            for bit in 0..300 * 8 {
                let mut damaged = sealed.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(server.open(&mut damaged).is_err(), "{suite:?} bit {bit}");
            }
            assert_eq!(server.open(&mut sealed.clone()), Ok(()));
        }
    }

    #[test]
    fn a_packet_cut_short_or_too_short_is_not_opened() {
        for suite in SUITES {
            let (mut client, mut server) = pair(suite, b"prologue");
            let sealed = sealed(&mut client, &mut Rng::new(3), 200, 1);
            for size in 0..200 {
                let expected =
                    if size < HEADER_SIZE + TAG_SIZE { OpenError::TooShort { size } } else { OpenError::Tag };
                assert_eq!(server.open(&mut sealed[..size].to_vec()), Err(expected));
            }
        }
    }

    #[test]
    fn halves_of_two_valid_packets_spliced_together_are_not_opened() {
        for suite in SUITES {
            let (mut client, mut server) = pair(suite, b"prologue");
            let mut rng = Rng::new(8);
            let (a, b) = (sealed(&mut client, &mut rng, 200, 1), sealed(&mut client, &mut rng, 200, 2));
            for cut in 1..200 {
                let mut spliced = [&a[..cut], &b[cut..]].concat();
                if spliced != a && spliced != b {
                    assert!(server.open(&mut spliced).is_err(), "{suite:?} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn a_packet_reflected_to_its_sender_is_not_opened() {
        for suite in SUITES {
            let (mut client, _) = pair(suite, b"prologue");
            let mut sealed = sealed(&mut client, &mut Rng::new(4), 100, 1);
            assert_eq!(client.open(&mut sealed), Err(OpenError::Tag));
        }
    }

    #[test]
    fn a_packet_of_an_earlier_session_is_not_opened() {
        for suite in SUITES {
            let (mut client, _) = pair(suite, b"boot 1");
            let (_, mut server) = pair(suite, b"boot 2");
            let mut sealed = sealed(&mut client, &mut Rng::new(5), 100, 1);
            assert_eq!(server.open(&mut sealed), Err(OpenError::Tag));
        }
    }

    #[test]
    fn the_handshake_protector_opens_what_it_sealed_and_nothing_of_a_session() {
        let sealed = sealed(&mut Protector::handshake(), &mut Rng::new(6), 1_200, 0);
        assert_eq!(Protector::handshake().open(&mut sealed.clone()), Ok(()));
        for suite in SUITES {
            assert_eq!(pair(suite, b"prologue").0.open(&mut sealed.clone()), Err(OpenError::Tag));
        }
    }
}
