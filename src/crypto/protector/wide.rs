//! AES-128-GCM for large packets, where the CPU does it 512 bits at a time.
//!
//! `ring`'s takes 256 bits at a time; that of `aws-lc` takes 512 and, unlike `ring`'s, reads one buffer while it
//! writes another, so that a message's bytes need not be copied into their packet first. It takes longer to begin and,
//! without AVX-512, longer for each byte, so it is for large packets on CPUs that have it, and `ring`'s is for all
//! others. One cipher, one key: either opens what the other sealed.
//!
//! Nanoseconds a packet on Zen 4, copy included (in brackets: in place, nothing to copy):
//!
//! ```text
//! size, bytes   ring            aws-lc
//!       1,400    286  (254)      284  (263)
//!       4,096    598  (491)      495  (468)
//!       8,192  1,088  (904)      818  (788)
//!      16,384  2,040 (1,730)   1,480 (1,449)
//! ```

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::OpenError;
use crate::bounds::HEADER_SIZE;

/// Packets below this are quicker with `ring`, bytes: see above.
pub(super) const WIDE_SIZE_MIN: usize = 4_096;

/// A key's second form. Most sessions never send a large packet, and this takes time and memory: it is made by the
/// first.
pub(super) enum Wide {
    /// Another cipher, or another CPU.
    Never,
    /// What it is made of.
    Later(Zeroizing<[u8; 16]>),
    /// Made.
    Now(LessSafeKey),
}

impl Wide {
    /// The second form of `key`, where this CPU is quick at it.
    pub(super) fn of(key: [u8; 16]) -> Self {
        if is_quick() { Self::on_any_cpu(key) } else { Self::Never }
    }

    /// The second form of `key`, quick or not.
    pub(super) fn on_any_cpu(key: [u8; 16]) -> Self {
        Self::Later(Zeroizing::new(key))
    }

    #[inline]
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Never)
    }

    /// Seals `before` in place and `elsewhere` to behind it: to the start of `out`, which has room for the tag more.
    pub(super) fn seal(
        &mut self,
        nonce: [u8; NONCE_LEN],
        head: &[u8; HEADER_SIZE],
        before: &mut [u8],
        elsewhere: &[u8],
        out: &mut [u8],
    ) {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.key().seal_in_place_scatter(nonce, Aad::from(head), before, elsewhere, out);
        sealed.expect("a packet is far below the cipher's limit");
    }

    /// Opens `sealed`, which ends in its tag, in place.
    pub(super) fn open(
        &mut self,
        nonce: [u8; NONCE_LEN],
        head: &[u8; HEADER_SIZE],
        sealed: &mut [u8],
    ) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key().open_in_place(nonce, Aad::from(head), sealed).map_err(|_| OpenError::Tag)?;
        Ok(())
    }

    fn key(&mut self) -> &LessSafeKey {
        if let Self::Later(key) = self {
            let key = UnboundKey::new(&AES_128_GCM, &**key).expect("the key is as long as the cipher wants");
            *self = Self::Now(LessSafeKey::new(key));
        }
        match self {
            Self::Now(key) => key,
            _ => unreachable!("asked whether it is there"),
        }
    }
}

/// What aws-lc asks for before it takes 512 bits at a time.
fn is_quick() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("vaes")
        && has!("vpclmulqdq")
        && has!("avx512f")
        && has!("avx512bw")
        && has!("avx512dq")
        && has!("avx512vl")
}
