//! What one epoch of one direction seals and opens with: a cipher's key, and the IV that nonces are made of.

use std::fmt;

use ring::aead::{AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::wide::{WIDE_SIZE_MIN, Wide};
use super::{OpenError, Suite};
use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::crypto::Secret;
use crate::crypto::kdf::expand;
use crate::wire::PacketNumber;

/// Seals and opens packets of one epoch, in one direction.
pub(super) struct EpochKey {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The same key once more, for large packets.
    wide: Wide,
}

impl EpochKey {
    /// # Panics
    /// When `suite` is not an AEAD.
    pub(super) fn new(suite: Suite, secret: &Secret) -> Self {
        let (key, wide) = match suite {
            Suite::Aes128Gcm => {
                let key = expand::<16>(&secret.0, "key");
                (UnboundKey::new(&AES_128_GCM, &key), Wide::of(key))
            }
            Suite::ChaCha20Poly1305 => {
                (UnboundKey::new(&CHACHA20_POLY1305, &expand::<32>(&secret.0, "key")), Wide::Never)
            }
            Suite::Insecure => unreachable!("an AEAD protector is made for an AEAD"),
        };
        let key = LessSafeKey::new(key.expect("the key is as long as the cipher wants"));
        Self { key, iv: expand(&secret.0, "iv"), wide }
    }

    /// RFC 9001 §5.3: the IV and the packet number, XORed. All of the number, of which the header tells 32 bits.
    #[inline]
    fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }

    /// Seals `rest`, which is what lies behind `head`, and writes the tag at its end.
    #[inline]
    pub(super) fn seal(&mut self, number: u64, head: &[u8; HEADER_SIZE], rest: &mut [u8]) {
        if rest.len() >= WIDE_SIZE_MIN && self.wide.is_there() {
            return self.seal_wide(number, head, rest);
        }
        let (body, tag) = rest.split_last_chunk_mut::<TAG_SIZE>().expect("a packet built here has a tag");
        let nonce = Nonce::assume_unique_for_key(self.nonce(number));
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(head), body);
        tag.copy_from_slice(sealed.expect("a packet is far below the cipher's limit").as_ref());
    }

    #[inline(never)]
    fn seal_wide(&mut self, number: u64, head: &[u8; HEADER_SIZE], rest: &mut [u8]) {
        let nonce = self.nonce(number);
        let (body, tag) = rest.split_at_mut(rest.len() - TAG_SIZE);
        self.wide.seal(nonce, head, body, &[], tag);
    }

    /// Whether [`EpochKey::seal_around`] saves the copy of what lies elsewhere.
    #[inline]
    pub(super) fn seals_from_elsewhere(&self) -> bool {
        self.wide.is_there()
    }

    /// [`EpochKey::seal`] where the bytes of `rest` from `at` on are `elsewhere`.
    pub(super) fn seal_around(
        &mut self,
        number: u64,
        head: &[u8; HEADER_SIZE],
        rest: &mut [u8],
        at: usize,
        elsewhere: &[u8],
    ) {
        let ends_packet = at + elsewhere.len() + TAG_SIZE == rest.len();
        if ends_packet && elsewhere.len() >= WIDE_SIZE_MIN && self.wide.is_there() {
            let nonce = self.nonce(number);
            let (before, sealed) = rest.split_at_mut(at);
            return self.wide.seal(nonce, head, before, elsewhere, sealed);
        }
        rest[at..at + elsewhere.len()].copy_from_slice(elsewhere);
        self.seal(number, head, rest);
    }

    /// Opens `sealed`, which ends in its tag, in place.
    #[inline]
    pub(super) fn open(
        &mut self,
        number: u64,
        head: &[u8; HEADER_SIZE],
        sealed: &mut [u8],
    ) -> Result<(), OpenError> {
        let nonce = self.nonce(number);
        if sealed.len() >= WIDE_SIZE_MIN && self.wide.is_there() {
            return self.wide.open(nonce, head, sealed);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.open_in_place(nonce, Aad::from(head), sealed).map_err(|_| OpenError::Tag)?;
        Ok(())
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(..)")
    }
}

/// The packet number of which a header ends in 32 bits, where `expected` is next.
#[inline]
pub(super) fn number_of(head: &[u8; HEADER_SIZE], expected: u64) -> u64 {
    let low = u32::from_le_bytes(*head.last_chunk().expect("a header ends in the packet number"));
    PacketNumber(u64::from(low)).near(expected)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The same key, with and without its second form, whatever this CPU is quick at.
    fn pair() -> (EpochKey, EpochKey) {
        let secret = Secret([7; 32]);
        let with = |wide| EpochKey { wide, ..EpochKey::new(Suite::Aes128Gcm, &secret) };
        (with(Wide::Never), with(Wide::on_any_cpu(expand(&secret.0, "key"))))
    }

    fn random(rng: &mut Rng, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        rng.fill(&mut bytes);
        bytes
    }

    fn head(number: u64) -> [u8; HEADER_SIZE] {
        let mut head = [5; HEADER_SIZE];
        *head.last_chunk_mut().unwrap() = (number as u32).to_le_bytes();
        head
    }

    #[test]
    fn a_large_packet_is_the_same_by_either_form_of_its_key() {
        let (mut narrow, mut wide) = pair();
        let mut rng = Rng::new(11);
        let sizes = [4_095, 4_096, 4_097, 4_111, 4_112, 8_936, 16_348, 65_471];
        for (number, size) in (0..).zip(sizes) {
            let (head, plain) = (head(number), random(&mut rng, size));
            let (mut one, mut other) = (plain.clone(), plain.clone());
            narrow.seal(number, &head, &mut one);
            wide.seal(number, &head, &mut other);
            assert_eq!(one, other, "{size}");
            assert_eq!(wide.open(number, &head, &mut one), Ok(()));
            assert_eq!(narrow.open(number, &head, &mut other), Ok(()));
            assert_eq!(one[..size - TAG_SIZE], plain[..size - TAG_SIZE]);
            assert_eq!(other[..size - TAG_SIZE], plain[..size - TAG_SIZE]);
        }
        assert!(matches!((narrow.wide, wide.wide), (Wide::Never, Wide::Now(_))));
    }

    #[test]
    fn bytes_sealed_from_elsewhere_are_those_that_were_copied_first() {
        let mut rng = Rng::new(12);
        // The last ends before its packet does: it is copied.
        let cases = [
            (0, 4_096, 0),
            (56, 4_096, 0),
            (60, 4_100, 0),
            (157, 13_108, 0),
            (56, 60_000, 0),
            (56, 9_000, 3),
        ];
        for (number, (at, length, behind)) in (0..).zip(cases) {
            let (mut narrow, mut wide) = pair();
            let (head, elsewhere) = (head(number), random(&mut rng, length));
            let mut parted = random(&mut rng, at + length + behind + TAG_SIZE);
            let mut whole = parted.clone();
            whole[at..at + length].copy_from_slice(&elsewhere);
            narrow.seal(number, &head, &mut whole);
            wide.seal_around(number, &head, &mut parted, at, &elsewhere);
            assert_eq!(parted, whole, "{at} {length} {behind}");
        }
    }

    #[test]
    fn no_change_of_a_large_packet_opens_by_either_form_of_its_key() {
        let (narrow, wide) = pair();
        let number = 1;
        let (head, mut sealed) = (head(number), random(&mut Rng::new(13), 5_000));
        let mut keys = [narrow, wide];
        keys[1].seal(number, &head, &mut sealed);
        for key in &mut keys {
            for bit in (0..sealed.len() * 8).step_by(97).chain(sealed.len() * 8 - 128..sealed.len() * 8) {
                let mut damaged = sealed.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(number, &head, &mut damaged), Err(OpenError::Tag), "bit {bit}");
            }
            for bit in 0..HEADER_SIZE * 8 {
                let mut other = head;
                other[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    key.open(number, &other, &mut sealed.clone()),
                    Err(OpenError::Tag),
                    "header bit {bit}"
                );
            }
            assert_eq!(key.open(number, &head, &mut sealed[..4_999].to_vec()), Err(OpenError::Tag));
            assert_eq!(key.open(number, &head, &mut sealed.clone()), Ok(()));
        }
    }

    #[test]
    fn a_session_without_large_packets_never_makes_the_second_form() {
        let (_, mut wide) = pair();
        let number = 1;
        let (head, mut packet) = (head(number), vec![0; WIDE_SIZE_MIN - 1]);
        wide.seal(number, &head, &mut packet);
        assert_eq!(wide.open(number, &head, &mut packet), Ok(()));
        assert!(matches!(wide.wide, Wide::Later(_)));
    }
}
