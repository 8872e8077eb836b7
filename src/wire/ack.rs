//! ACK: which packets arrived, and which units (P-3.9).
//!
//! ```text
//!  0      1       2       3        4             8         16           24            28
//!  +------+-------+-------+--------+-------------+---------+------------+-------------+
//!  | 0x02 | extra | flags | ecn_ce | ack_delay   | largest | unit_floor | first_range | (gap, length)…
//!  +------+-------+-------+--------+-------------+---------+------------+-------------+
//! ```

use super::{DecodeError, PacketNumber, Reader, UnitNumber, Writer, kind};
use crate::bounds::ACK_RANGES_MAX;

/// Bytes of an ACK with one range.
pub const ACK_FIXED_SIZE: usize = 28;
/// Bytes each further range adds.
pub const ACK_RANGE_SIZE: usize = 8;
/// Bytes of the largest ACK.
pub const ACK_SIZE_MAX: usize = ACK_FIXED_SIZE + EXTRA_RANGES_MAX * ACK_RANGE_SIZE;

const EXTRA_RANGES_MAX: usize = ACK_RANGES_MAX - 1;
const FLAG_DUPLICATE_SEEN: u8 = 0x01;

/// What the receiver of packets tells their sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The largest packet number received; the largest of the first range.
    pub largest: PacketNumber,
    /// Every unit below was received (P-5.4).
    pub unit_floor: UnitNumber,
    /// From the arrival of `largest` to the sending of this ack, in nanoseconds.
    pub ack_delay_ns: u32,
    /// A unit or packet came twice since the last ack: what was sent again had not been lost.
    pub duplicate_seen: bool,
    /// How many packets came marked CE so far, modulo 256.
    pub ecn_ce: u8,
    /// Which packets were received, newest first; never empty in an ack that was decoded.
    pub ranges: AckRanges,
}

impl Ack {
    /// Bytes of the encoded frame.
    #[inline]
    #[must_use]
    pub fn encoded_size(&self) -> usize {
        ACK_FIXED_SIZE + self.ranges.len().saturating_sub(1) * ACK_RANGE_SIZE
    }

    /// Writes the frame.
    ///
    /// # Panics
    /// When fewer than [`Ack::encoded_size`] bytes remain. In debug builds also when there is no range
    /// or `largest` is not the first range's.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        debug_assert!(!self.ranges.is_empty(), "an ack names at least one packet");
        debug_assert_eq!(self.largest, self.ranges.largest, "the first range ends at the largest packet");
        let extra = &self.ranges.extra[..self.ranges.len().saturating_sub(1)];
        writer.put_array([kind::ACK, extra.len() as u8, u8::from(self.duplicate_seen), self.ecn_ce]);
        writer.put_u32(self.ack_delay_ns);
        writer.put_u64(self.largest.0);
        writer.put_u64(self.unit_floor.0);
        writer.put_u32(self.ranges.first);
        for step in extra {
            writer.put_u32(step.gap);
            writer.put_u32(step.length);
        }
    }

    /// Reads the frame that starts at the reader's position, its kind byte included.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let below_zero = DecodeError::AckBelowZero { at: super::error::narrow(reader.position()) };
        let [_, extra, flags, ecn_ce] = *reader.array("ACK")?;
        if usize::from(extra) > EXTRA_RANGES_MAX {
            return Err(DecodeError::Field {
                what: "the number of further ACK ranges",
                value: u64::from(extra),
            });
        }
        if flags & !FLAG_DUPLICATE_SEEN != 0 {
            return Err(DecodeError::Field { what: "ACK flags", value: u64::from(flags) });
        }
        let ack_delay_ns = reader.u32("ACK delay")?;
        let largest = PacketNumber(reader.u64("ACK largest")?);
        let unit_floor = UnitNumber(reader.u64("ACK unit floor")?);
        let mut ranges = AckRanges::new();
        ranges.start(largest, reader.u32("ACK first range")?).ok_or(below_zero)?;
        for _ in 0..extra {
            let step = Step { gap: reader.u32("ACK gap")?, length: reader.u32("ACK range")? };
            ranges.extend(step).ok_or(below_zero)?;
        }
        let duplicate_seen = flags & FLAG_DUPLICATE_SEEN != 0;
        Ok(Self { largest, unit_floor, ack_delay_ns, duplicate_seen, ecn_ce, ranges })
    }
}

/// At most [`ACK_RANGES_MAX`] runs of packet numbers, newest first, that neither overlap nor touch.
/// Held as the wire holds them, which is half the size of pairs of packet numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AckRanges {
    largest: PacketNumber,
    /// The smallest number of the oldest range.
    smallest: PacketNumber,
    /// Packets below `largest` in the first range.
    first: u32,
    len: u8,
    extra: [Step; EXTRA_RANGES_MAX],
}

/// RFC 9000 §19.3.1: the next range's largest is the smallest before it, less `gap`, less 2; the range
/// holds `length` + 1 packets.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Step {
    gap: u32,
    length: u32,
}

impl AckRanges {
    /// No ranges.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            largest: PacketNumber(0),
            smallest: PacketNumber(0),
            first: 0,
            len: 0,
            extra: [Step { gap: 0, length: 0 }; EXTRA_RANGES_MAX],
        }
    }

    /// How many ranges there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// True when there is no range.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the packets `smallest..=largest`, which must lie below all that was added and not touch it.
    /// A range of more than 2^32 packets keeps its newest 2^32: the rest was acknowledged long ago.
    /// False, and nothing added, when the range is not of that form, does not fit the wire (2^32
    /// packets missing before it), or [`ACK_RANGES_MAX`] were added.
    #[must_use]
    pub fn push(&mut self, smallest: PacketNumber, largest: PacketNumber) -> bool {
        let Some(below) = largest.0.checked_sub(smallest.0) else { return false };
        let length = u32::try_from(below).unwrap_or(u32::MAX);
        if self.is_empty() {
            return self.start(largest, length).is_some();
        }
        let gap = self.smallest.0.checked_sub(largest.0).and_then(|distance| distance.checked_sub(2));
        match gap.map(u32::try_from) {
            Some(Ok(gap)) => self.extend(Step { gap, length }).is_some(),
            _ => false,
        }
    }

    /// The ranges as inclusive (smallest, largest) pairs, newest first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (PacketNumber, PacketNumber)> + '_ {
        let first_smallest = self.largest.0 - u64::from(self.first);
        let first = (!self.is_empty()).then_some((PacketNumber(first_smallest), self.largest));
        let steps = &self.extra[..self.len().saturating_sub(1)];
        // `extend` let in only steps that stay above zero, so this cannot wrap.
        let rest = steps.iter().scan(first_smallest, |smallest, step| {
            let largest = *smallest - u64::from(step.gap) - 2;
            *smallest = largest - u64::from(step.length);
            Some((PacketNumber(*smallest), PacketNumber(largest)))
        });
        first.into_iter().chain(rest)
    }

    /// True when some range holds `number`.
    #[must_use]
    pub fn contains(&self, number: PacketNumber) -> bool {
        self.iter().find(|range| range.0 <= number).is_some_and(|range| number <= range.1)
    }

    fn start(&mut self, largest: PacketNumber, first: u32) -> Option<()> {
        self.smallest = PacketNumber(largest.0.checked_sub(u64::from(first))?);
        self.largest = largest;
        self.first = first;
        self.len = 1;
        Some(())
    }

    fn extend(&mut self, step: Step) -> Option<()> {
        let slot = self.extra.get_mut(usize::from(self.len) - 1)?;
        let largest = self.smallest.0.checked_sub(u64::from(step.gap))?.checked_sub(2)?;
        self.smallest = PacketNumber(largest.checked_sub(u64::from(step.length))?);
        *slot = step;
        self.len += 1;
        Some(())
    }
}

impl Default for AckRanges {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for AckRanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|(smallest, largest)| smallest.0..=largest.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(pairs: &[(u64, u64)]) -> AckRanges {
        let mut ranges = AckRanges::new();
        for &(smallest, largest) in pairs {
            assert!(push(&mut ranges, smallest, largest), "{smallest}..={largest}");
        }
        ranges
    }

    fn push(ranges: &mut AckRanges, smallest: u64, largest: u64) -> bool {
        ranges.push(PacketNumber(smallest), PacketNumber(largest))
    }

    fn ack_of(ranges: AckRanges) -> Ack {
        let unit_floor = UnitNumber(0);
        Ack { largest: ranges.largest, unit_floor, ack_delay_ns: 0, duplicate_seen: false, ecn_ce: 0, ranges }
    }

    #[test]
    fn ranges_come_back_newest_first_as_they_were_pushed() {
        let ranges = pushed(&[(95, 100), (93, 93), (0, 91)]);
        let pairs: Vec<_> = ranges.iter().map(|(smallest, largest)| (smallest.0, largest.0)).collect();
        assert_eq!(pairs, [(95, 100), (93, 93), (0, 91)]);
        assert_eq!(ranges.len(), 3);
        assert!([100, 95, 93, 91, 0].into_iter().all(|number| ranges.contains(PacketNumber(number))));
        assert!([101, 94, 92].into_iter().all(|number| !ranges.contains(PacketNumber(number))));
    }

    #[test]
    fn no_ranges_hold_no_packet() {
        let ranges = AckRanges::new();
        assert!(ranges.is_empty());
        assert_eq!(ranges.iter().count(), 0);
        assert!(!ranges.contains(PacketNumber(0)));
    }

    #[test]
    fn a_range_that_touches_overlaps_or_runs_backwards_is_not_added() {
        let before = pushed(&[(95, 100)]);
        let mut ranges = before;
        assert!(!push(&mut ranges, 90, 94), "touches");
        assert!(!push(&mut ranges, 90, 97), "overlaps");
        assert!(!push(&mut ranges, 102, 103), "is newer");
        assert!(!push(&mut ranges, 80, 70), "runs backwards");
        assert_eq!(ranges, before);
        assert!(push(&mut ranges, 90, 93));
    }

    #[test]
    fn the_33rd_range_is_not_added_and_the_largest_ack_has_the_size_it_says() {
        let mut ranges = AckRanges::new();
        for index in 0..ACK_RANGES_MAX as u64 {
            assert!(push(&mut ranges, 1_000 - 2 * index, 1_000 - 2 * index));
        }
        assert!(!push(&mut ranges, 0, 0));
        assert_eq!(ranges.len(), ACK_RANGES_MAX);
        let ack = ack_of(ranges);
        let mut bytes = [0; ACK_SIZE_MAX];
        let mut writer = Writer::new(&mut bytes);
        ack.encode(&mut writer);
        assert_eq!(writer.remaining(), 0);
        assert_eq!(ack.encoded_size(), ACK_SIZE_MAX);
        assert_eq!(Ack::decode(&mut Reader::new(&bytes)), Ok(ack));
    }

    #[test]
    fn a_range_of_more_than_2_to_the_32_packets_keeps_its_newest() {
        // P-3.9: a session that lost nothing for an hour has such a range.
        let mut ranges = pushed(&[(0, (1 << 32) + 9)]);
        assert_eq!(ranges.iter().next(), Some((PacketNumber(10), PacketNumber((1 << 32) + 9))));
        assert!(push(&mut ranges, 0, 8));
        assert!(!ranges.contains(PacketNumber(9)));
    }

    #[test]
    fn a_range_too_far_below_the_others_is_not_added() {
        let top = 1 << 40;
        let mut ranges = pushed(&[(top, top)]);
        let farthest = top - u64::from(u32::MAX) - 2;
        assert!(!push(&mut ranges, 0, farthest - 1));
        assert!(push(&mut ranges, 0, farthest));
    }
}
