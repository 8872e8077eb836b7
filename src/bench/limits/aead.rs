//! What sealing allows: our own packets, sealed by our own code, with nothing around it.

use std::hint::black_box;

use super::Options;
use super::duel::Watch;
use super::sealing::Sealing;
use crate::crypto::Role;

/// Packets of `size` bytes sealed one after the other, in bytes a second.
pub(super) fn seal_byte_s(options: &Options, size: usize) -> f64 {
    let mut closer = Sealing::Sealed.end(Role::Client);
    let mut packet = vec![7u8; size];
    let mut watch = Watch::new(options.duration_each);
    loop {
        for _ in 0..32 {
            closer.close(black_box(&mut packet));
        }
        if !watch.done(32 * size as u64) {
            return watch.per_s().unwrap_or(0.0);
        }
    }
}
