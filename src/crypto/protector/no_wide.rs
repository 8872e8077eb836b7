//! No second form of a key: what there is to gain from one is known of x86-64 alone.

use ring::aead::NONCE_LEN;

use super::OpenError;
use crate::bounds::HEADER_SIZE;

/// No packet is so large.
pub(super) const WIDE_SIZE_MIN: usize = usize::MAX;

/// A key's second form, which there is none of.
pub(super) enum Wide {
    Never,
}

impl Wide {
    pub(super) fn of(_key: [u8; 16]) -> Self {
        Self::Never
    }

    #[inline]
    pub(super) fn is_there(&self) -> bool {
        false
    }

    pub(super) fn seal(
        &mut self,
        _nonce: [u8; NONCE_LEN],
        _head: &[u8; HEADER_SIZE],
        _before: &mut [u8],
        _elsewhere: &[u8],
        _out: &mut [u8],
    ) {
        unreachable!("asked whether it is there")
    }

    pub(super) fn open(
        &mut self,
        _nonce: [u8; NONCE_LEN],
        _head: &[u8; HEADER_SIZE],
        _sealed: &mut [u8],
    ) -> Result<(), OpenError> {
        unreachable!("asked whether it is there")
    }
}
