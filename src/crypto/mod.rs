//! Handshake, packet protection, cookies and reset tokens: what makes a packet worth believing.
//!
//! Not for input or output, time or chance: secrets, random bytes and the clock's reading are
//! arguments. Not for policy: when to demand a cookie or answer with a reset is the caller's.
//!
//! ```text
//! client                                      server
//! initiate(prologue) -- INIT, blob -->        open(prologue, blob) -> who is it
//! finish(accept, blob) <-- ACCEPT, blob --    answer(accept) -> Keys
//!        Keys                                      |
//!          +--> Protector::seal / open, per packet +
//! ```
//!
//! Invariant: a packet that [`Protector::open`] did not accept changed nothing, here or above.
#![forbid(unsafe_code)]

mod cookie;
mod crc32c;
mod csprng;
mod handshake;
mod kdf;
mod keys;
mod lane;
mod noise;
mod protector;
mod reset;

pub use cookie::{COOKIE_SIZE, CookieError, CookieHolder, CookieJar};
pub(crate) use crc32c::crc32c;
pub use csprng::Csprng;
pub use handshake::{
    Answered, Finished, Handshake, HandshakeError, Initiator, Keys, NullHandshake, Opened, Responder,
    SECRET_SIZE, Secret,
};
pub use keys::{Identity, KEY_SIZE, KeyError, PresharedKey, PublicKey};
pub use lane::LaneSecret;
pub use noise::NoiseHandshake;
pub use protector::{CrcProtector, OpenError, Protector, Role, Suite};
pub use reset::ResetKey;

/// Whether two tags are the same, in a time that does not tell where they differ.
#[inline]
#[must_use]
pub fn equal_in_constant_time(a: &[u8; 16], b: &[u8; 16]) -> bool {
    // One wide XOR and one test: no byte is looked at before another.
    std::hint::black_box(u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_equal_only_when_every_bit_is() {
        let tag = [0x5a; 16];
        assert!(equal_in_constant_time(&tag, &tag));
        for bit in 0..128 {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!equal_in_constant_time(&tag, &other), "bit {bit}");
        }
    }
}
