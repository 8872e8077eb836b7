//! The processor's own CRC-32C instruction (SSE4.2), for packets that are too short for anything quicker.
//!
//! A library for all sizes first finds out which of its ways is best and then takes what is left one by one: for a packet
//! of 100 bytes that is half of the work, and a round trip has four of them.

/// The CRC-32C (RFC 3720 App. B.4) of `bytes`, 8 of them in three cycles; `None` where the processor has no such
/// instruction.
#[inline]
#[must_use]
pub fn crc32c(bytes: &[u8]) -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return Some(unsafe { by_instruction(bytes) });
    }
    let _ = bytes;
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn by_instruction(bytes: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u16, _mm_crc32_u32, _mm_crc32_u64};

    let (words, mut rest) = bytes.as_chunks::<8>();
    let wide =
        words.iter().fold(u64::from(u32::MAX), |crc, word| _mm_crc32_u64(crc, u64::from_le_bytes(*word)));
    let mut crc = wide as u32;
    if let Some((four, behind)) = rest.split_first_chunk::<4>() {
        crc = _mm_crc32_u32(crc, u32::from_le_bytes(*four));
        rest = behind;
    }
    if let Some((two, behind)) = rest.split_first_chunk::<2>() {
        crc = _mm_crc32_u16(crc, u16::from_le_bytes(*two));
        rest = behind;
    }
    if let [last] = *rest {
        crc = _mm_crc32_u8(crc, last);
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_size_has_the_librarys_checksum() {
        let bytes: Vec<u8> = (0..600_u32).map(|i| (i.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
        for size in 0..bytes.len() {
            let expected = crc_turbo::crc32_iscsi(&bytes[..size]);
            assert_eq!(crc32c(&bytes[..size]).unwrap_or(expected), expected, "{size} bytes");
        }
    }
}
