//! When what waits is worth a train before the turn ends.

use crate::bounds::{TRAIN_PACKETS_EARLY, TRAIN_SIZE_EARLY, TRAIN_SIZE_MAX};

/// True when `units` full units of `packet_size` bytes fill a train of `train_size`: by their bytes, by as many
/// small packets, or because no train has room for one more.
#[inline]
#[must_use]
pub(crate) fn is_full(units: usize, packet_size: usize, train_size: usize) -> bool {
    let is_many = units >= TRAIN_PACKETS_EARLY * train_size / TRAIN_SIZE_EARLY;
    // A quarter of a packet short of it is near enough.
    let is_large = units * packet_size + packet_size / 4 >= train_size;
    let has_no_room = (units + 1) * packet_size > TRAIN_SIZE_MAX;
    units > 0 && (is_many || is_large || has_no_room)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units that fill a train of `train_size`.
    fn units_of(packet_size: usize, train_size: usize) -> usize {
        (0..100).find(|units| is_full(*units, packet_size, train_size)).expect("it fills")
    }

    #[test]
    fn a_train_does_not_wait_for_a_unit_that_it_could_not_carry() {
        // Of 8,972 bytes it waited for the eighth, and a train carries seven.
        for (packet_size, units) in [(1_472, 31), (8_972, 7), (16_368, 4)] {
            assert_eq!(units_of(packet_size, TRAIN_SIZE_MAX), units, "of {packet_size} bytes");
            assert!(units * packet_size <= TRAIN_SIZE_MAX, "{units} of {packet_size} bytes are one train");
        }
    }

    #[test]
    fn where_little_comes_at_once_little_leaves_at_once() {
        for (packet_size, units) in [(1_472, 8), (8_972, 2), (16_368, 1)] {
            assert_eq!(units_of(packet_size, TRAIN_SIZE_EARLY), units, "of {packet_size} bytes");
        }
    }
}
