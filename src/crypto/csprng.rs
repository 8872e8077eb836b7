//! Unpredictable bytes from one draw of the kernel's: session ids, cookies' secrets, ephemeral keys.
//!
//! Seeded, so that a simulated run is its seed; a real endpoint's seed comes from the kernel.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// ChaCha20 as a generator.
#[derive(Clone)]
pub struct Csprng(ChaCha20Rng);

impl Csprng {
    /// The generator whose whole future is `seed`: as secret as what is made from it.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// 64 unpredictable bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `N` unpredictable bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

impl std::fmt::Debug for Csprng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Csprng(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_its_whole_future_and_does_not_show() {
        let (mut a, mut b) = (Csprng::new([1; 32]), Csprng::new([1; 32]));
        assert_eq!(a.bytes::<40>(), b.bytes::<40>());
        assert_ne!(a.u64(), Csprng::new([2; 32]).u64());
        assert_eq!(format!("{a:?}"), "Csprng(..)");
    }
}
