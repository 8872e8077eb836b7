//! Key derivation: HKDF-Expand (RFC 5869 §2.3) with SHA-256, one label a purpose.

use ring::hkdf::{HKDF_SHA256, KeyType, Prk};

struct Size(usize);

impl KeyType for Size {
    fn len(&self) -> usize {
        self.0
    }
}

/// `N` bytes for the purpose `label`, from a `secret` that is uniformly random: the extract step would
/// add nothing (RFC 5869 §3.3). `N` is at most 8,160.
#[must_use]
pub fn expand<const N: usize>(secret: &[u8; 32], label: &str) -> [u8; N] {
    expand_with(secret, label, &[])
}

/// [`expand`] for one of several things of one purpose, which `context` tells apart: of one length for each
/// label, or empty.
#[must_use]
pub fn expand_with<const N: usize>(secret: &[u8; 32], label: &str, context: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let info = [b"ringwire ".as_slice(), label.as_bytes(), context];
    let prk = Prk::new_less_safe(HKDF_SHA256, secret);
    let okm = prk.expand(&info, Size(N)).expect("the output is far below 255 hashes");
    okm.fill(&mut out).expect("the output is as long as was asked for");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_secrets_give_unrelated_bytes() {
        let a: [u8; 32] = expand(&[1; 32], "key");
        assert_eq!(a, expand(&[1; 32], "key"));
        assert_ne!(a, expand::<32>(&[1; 32], "iv"));
        assert_ne!(a, expand::<32>(&[2; 32], "key"));
        // HKDF's output for a shorter length is a prefix of that for a longer one.
        assert_eq!(a[..16], expand::<16>(&[1; 32], "key"));
    }
}
