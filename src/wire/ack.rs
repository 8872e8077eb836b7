//! ACK: which packets arrived, and which units (P-3.9).
//!
//! ```text
//!  0      1      2        3            6           8             10        14
//!  +------+------+--------+------------+-----------+-------------+---------+----------------
//!  | 0x02 | more | ecn_ce | unit_floor | ack_delay | first_range | largest | (gap, length)…
//!  +------+------+--------+------------+-----------+-------------+---------+----------------
//! ```

use super::{DecodeError, PacketNumber, Reader, UnitNumber, Writer, kind};
use crate::bounds::ACK_RANGES_MAX;

/// Bytes of an ACK with one range.
pub const ACK_FIXED_SIZE: usize = 14;
/// Bytes each further range adds.
pub const ACK_RANGE_SIZE: usize = 8;
/// Bytes of the largest ACK.
pub const ACK_SIZE_MAX: usize = ACK_FIXED_SIZE + EXTRA_RANGES_MAX * ACK_RANGE_SIZE;

const EXTRA_RANGES_MAX: usize = ACK_RANGES_MAX - 1;
/// In `more`: the number of further ranges.
const EXTRA: u8 = 0x1f;
const FLAG_DUPLICATE_SEEN: u8 = 0x40;
const FLAG_ECN_INTACT: u8 = 0x80;
const FLAGS: u8 = FLAG_DUPLICATE_SEEN | FLAG_ECN_INTACT;
const _: () = assert!(EXTRA_RANGES_MAX <= EXTRA as usize);

/// What the receiver of packets tells their sender, beside the ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckHead {
    /// Every unit below was received (P-5.4).
    pub unit_floor: UnitNumber,
    /// From the arrival of the largest number to the sending of this ack, in nanoseconds. It travels in steps of 16 ns
    /// below half a millisecond and of 4.1 µs above, rounded down, and is at most 134 ms.
    pub ack_delay_ns: u32,
    /// A unit or packet came twice since the last ack: what was sent again had not been lost.
    pub duplicate_seen: bool,
    /// How many packets came marked CE so far, modulo 256.
    pub ecn_ce: u8,
    /// Every packet since the last ack came with a mark that says it is ECN-capable.
    pub ecn_intact: bool,
}

/// An ACK as it was decoded: the ranges stay in the packet, since nearly every ack has one only and
/// room for 32 would be moved about for nothing. Of its numbers the low bits travel, 32 of packets and 24 of units:
/// [`Ack::near`] tells the rest, and then what its ranges are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// All but the ranges.
    pub head: AckHead,
    /// Which packets were received, newest first; at least one.
    pub ranges: AckRanges<'a>,
}

impl<'a> Ack<'a> {
    /// The largest packet number received.
    #[inline]
    #[must_use]
    pub fn largest(&self) -> PacketNumber {
        self.ranges.largest
    }

    /// The ack with its numbers whole, at an end that sends packet `packet` and unit `unit` next; `None` when a range
    /// begins below zero.
    #[inline(always)]
    #[must_use]
    pub fn near(mut self, packet: u64, unit: u64) -> Option<Self> {
        let ranges = &mut self.ranges;
        ranges.largest = PacketNumber(ranges.largest.near(packet));
        self.head.unit_floor = UnitNumber(self.head.unit_floor.near(unit));
        ranges.are_above_zero().then_some(self)
    }

    /// Reads the frame that starts at the reader's position, its kind byte included.
    #[inline(always)]
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let &[_, more, ecn_ce, floor @ .., d0, d1, f0, f1, l0, l1, l2, l3] =
            reader.array::<ACK_FIXED_SIZE>("ACK")?;
        let extra = usize::from(more & EXTRA);
        if more & !(EXTRA | FLAGS) != 0 || extra > EXTRA_RANGES_MAX {
            return Err(DecodeError::Field { what: "ACK flags", value: u64::from(more) });
        }
        let told = u16::from_le_bytes([d0, d1]);
        let Some(ack_delay_ns) = delay_of(told) else {
            return Err(DecodeError::Field {
                what: "a short ACK delay in long steps",
                value: u64::from(told),
            });
        };
        let largest = PacketNumber(u64::from(u32::from_le_bytes([l0, l1, l2, l3])));
        let first = u16::from_le_bytes([f0, f1]);
        let [u0, u1, u2]: [u8; 3] = floor;
        let unit_floor = UnitNumber(u64::from(u32::from_le_bytes([u0, u1, u2, 0])));
        let bytes = reader.bytes(extra * ACK_RANGE_SIZE, "ACK ranges")?;
        let (steps, _) = bytes.as_chunks::<ACK_RANGE_SIZE>();
        let duplicate_seen = more & FLAG_DUPLICATE_SEEN != 0;
        let ecn_intact = more & FLAG_ECN_INTACT != 0;
        let head = AckHead { unit_floor, ack_delay_ns, duplicate_seen, ecn_ce, ecn_intact };
        Ok(Self { head, ranges: AckRanges { largest, first, steps } })
    }
}

/// An ACK taken out of its packet, to be read when the packet's memory has gone back.
#[derive(Clone, Debug)]
pub struct AckCopy {
    head: AckHead,
    largest: PacketNumber,
    first: u16,
    len: usize,
    steps: [[u8; ACK_RANGE_SIZE]; EXTRA_RANGES_MAX],
}

impl Default for AckCopy {
    fn default() -> Self {
        let head = AckHead {
            unit_floor: UnitNumber(0),
            ack_delay_ns: 0,
            duplicate_seen: false,
            ecn_ce: 0,
            ecn_intact: false,
        };
        let steps = [[0; ACK_RANGE_SIZE]; EXTRA_RANGES_MAX];
        Self { head, largest: PacketNumber(0), first: 0, len: 0, steps }
    }
}

impl AckCopy {
    /// Takes `ack` over, in place of what was here.
    #[inline(always)]
    pub fn set(&mut self, ack: &Ack<'_>) {
        let AckRanges { largest, first, steps } = ack.ranges;
        (self.head, self.largest, self.first, self.len) = (ack.head, largest, first, steps.len());
        // `decode` let in no more than there is room for. Nearly always there are none.
        if !steps.is_empty() {
            self.steps[..steps.len()].copy_from_slice(steps);
        }
    }

    /// See [`Ack::largest`].
    #[inline]
    #[must_use]
    pub fn largest(&self) -> PacketNumber {
        self.largest
    }

    /// The ack as it was decoded.
    #[inline]
    #[must_use]
    pub fn ack(&self) -> Ack<'_> {
        let ranges = AckRanges { largest: self.largest, first: self.first, steps: &self.steps[..self.len] };
        Ack { head: self.head, ranges }
    }
}

/// Writes an ACK of as many of `ranges` as fit: inclusive (smallest, largest) pairs, newest first,
/// that neither overlap nor touch. Returns the largest packet number; `None`, and nothing written,
/// when there is no range or less than [`ACK_FIXED_SIZE`] bytes of room.
///
/// The first range, if it is of more than 2^16 packets, keeps its newest 2^16: the rest was acknowledged long ago.
/// Ranges from the first that the wire cannot say on (2^32 packets missing before it, or the 33rd)
/// are left out.
pub fn encode_ack(
    writer: &mut Writer<'_>,
    head: &AckHead,
    mut ranges: impl Iterator<Item = (PacketNumber, PacketNumber)>,
) -> Option<PacketNumber> {
    let room = writer.remaining().checked_sub(ACK_FIXED_SIZE)? / ACK_RANGE_SIZE;
    let (smallest, largest) = ranges.next()?;
    let first = u16::try_from(largest.0.checked_sub(smallest.0)?).unwrap_or(u16::MAX);
    let mut steps = Steps::default();
    let mut lowest = largest.0 - u64::from(first);
    for (smallest, largest) in ranges.take(room.min(EXTRA_RANGES_MAX)) {
        let Some(step) = Step::to(lowest, smallest.0, largest.0) else { break };
        lowest = largest.0 - u64::from(step.length);
        steps.push(step);
    }
    writer.put_array(fixed_part(head, largest, first, steps.len as u8));
    for step in &steps.bytes[..steps.len] {
        writer.put_array(*step);
    }
    Some(largest)
}

/// [`encode_ack`] of a single range, `smallest` to `largest`.
#[inline(always)]
pub fn encode_ack_of_one(
    writer: &mut Writer<'_>,
    head: &AckHead,
    smallest: PacketNumber,
    largest: PacketNumber,
) -> Option<PacketNumber> {
    let first = u16::try_from(largest.0.checked_sub(smallest.0)?).unwrap_or(u16::MAX);
    if writer.remaining() < ACK_FIXED_SIZE {
        return None;
    }
    writer.put_array(fixed_part(head, largest, first, 0));
    Some(largest)
}

/// All but the further ranges.
#[inline(always)]
fn fixed_part(head: &AckHead, largest: PacketNumber, first: u16, extra: u8) -> [u8; ACK_FIXED_SIZE] {
    let duplicate = FLAG_DUPLICATE_SEEN * u8::from(head.duplicate_seen);
    let more = extra | duplicate | (FLAG_ECN_INTACT * u8::from(head.ecn_intact));
    let [u0, u1, u2, ..] = head.unit_floor.0.to_le_bytes();
    let ([d0, d1], [f0, f1]) = (told_delay(head.ack_delay_ns).to_le_bytes(), first.to_le_bytes());
    let [l0, l1, l2, l3] = (largest.0 as u32).to_le_bytes();
    [kind::ACK, more, head.ecn_ce, u0, u1, u2, d0, d1, f0, f1, l0, l1, l2, l3]
}

/// A delay as 16 bits tell it: below [`LONG_STEPS`] in short steps, the others in long ones.
#[inline(always)]
fn told_delay(ns: u32) -> u16 {
    match u16::try_from(ns / SHORT_STEP_NS) {
        Ok(steps) if steps < LONG_STEPS => steps,
        _ => LONG_STEPS | u16::try_from(ns / LONG_STEP_NS).unwrap_or(u16::MAX).min(LONG_STEPS - 1),
    }
}

/// The delay that was told; `None` for one in long steps that short ones can tell.
#[inline(always)]
fn delay_of(told: u16) -> Option<u32> {
    if told < LONG_STEPS {
        return Some(u32::from(told) * SHORT_STEP_NS);
    }
    let ns = u32::from(told - LONG_STEPS) * LONG_STEP_NS;
    (ns >= u32::from(LONG_STEPS) * SHORT_STEP_NS).then_some(ns)
}

const SHORT_STEP_NS: u32 = 16;
const LONG_STEP_NS: u32 = 4_096;
const LONG_STEPS: u16 = 0x8000;

/// Steps on their way to the wire.
struct Steps {
    len: usize,
    bytes: [[u8; ACK_RANGE_SIZE]; EXTRA_RANGES_MAX],
}

impl Default for Steps {
    fn default() -> Self {
        Self { len: 0, bytes: [[0; ACK_RANGE_SIZE]; EXTRA_RANGES_MAX] }
    }
}

impl Steps {
    fn push(&mut self, step: Step) {
        self.bytes[self.len] = step.encode();
        self.len += 1;
    }
}

/// RFC 9000 §19.3.1: the next range's largest is the smallest before it, less `gap`, less 2; the range
/// holds `length` + 1 packets.
#[derive(Clone, Copy)]
struct Step {
    gap: u32,
    length: u32,
}

impl Step {
    #[inline]
    fn decode(bytes: &[u8; ACK_RANGE_SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h] = *bytes;
        Self { gap: u32::from_le_bytes([a, b, c, d]), length: u32::from_le_bytes([e, f, g, h]) }
    }

    fn encode(self) -> [u8; ACK_RANGE_SIZE] {
        let ([a, b, c, d], [e, f, g, h]) = (self.gap.to_le_bytes(), self.length.to_le_bytes());
        [a, b, c, d, e, f, g, h]
    }

    /// The step from a range whose smallest number is `before` to `smallest..=largest`; `None` when they
    /// touch or overlap, or the wire cannot say it.
    fn to(before: u64, smallest: u64, largest: u64) -> Option<Self> {
        let gap = u32::try_from(before.checked_sub(largest)?.checked_sub(2)?).ok()?;
        Some(Self { gap, length: u32::try_from(largest.checked_sub(smallest)?).unwrap_or(u32::MAX) })
    }

    /// The range that lies one step below `before`: (smallest, largest); `None` below zero.
    #[inline]
    fn below(self, before: u64) -> Option<(u64, u64)> {
        let largest = before.checked_sub(u64::from(self.gap))?.checked_sub(2)?;
        Some((largest.checked_sub(u64::from(self.length))?, largest))
    }
}

/// One to [`ACK_RANGES_MAX`] runs of packet numbers, newest first, that neither overlap nor touch, as
/// they lie in a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AckRanges<'a> {
    largest: PacketNumber,
    /// Packets below `largest` in the first range.
    first: u16,
    steps: &'a [[u8; ACK_RANGE_SIZE]],
}

impl<'a> AckRanges<'a> {
    /// How many ranges there are.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        1 + self.steps.len()
    }

    /// None begins below packet 0.
    #[inline(always)]
    fn are_above_zero(&self) -> bool {
        let Some(mut smallest) = self.largest.0.checked_sub(u64::from(self.first)) else { return false };
        for step in self.steps {
            let Some((below, _)) = Step::decode(step).below(smallest) else { return false };
            smallest = below;
        }
        true
    }

    /// The ranges as inclusive (smallest, largest) pairs, newest first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (PacketNumber, PacketNumber)> + use<'a> {
        // `near` let through only what stays above zero: neither this nor a step below wraps or ends early.
        let smallest = self.largest.0.saturating_sub(u64::from(self.first));
        let rest = self.steps.iter().scan(smallest, |before, step| {
            let (smallest, largest) = Step::decode(step).below(*before)?;
            *before = smallest;
            Some((PacketNumber(smallest), PacketNumber(largest)))
        });
        std::iter::once((PacketNumber(smallest), self.largest)).chain(rest)
    }

    /// True when some range holds `number`.
    #[must_use]
    pub fn contains(&self, number: PacketNumber) -> bool {
        self.iter().find(|range| range.0 <= number).is_some_and(|range| number <= range.1)
    }
}

impl std::fmt::Debug for AckRanges<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|(smallest, largest)| smallest.0..=largest.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: AckHead = AckHead {
        unit_floor: UnitNumber(7),
        ack_delay_ns: 96,
        duplicate_seen: true,
        ecn_ce: 3,
        ecn_intact: true,
    };

    /// The frame that says `pairs`, as far as the wire can.
    fn encoded(pairs: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = [0; ACK_SIZE_MAX];
        let mut writer = Writer::new(&mut bytes);
        let pairs = pairs.iter().map(|&(low, high)| (PacketNumber(low), PacketNumber(high)));
        encode_ack(&mut writer, &HEAD, pairs).expect("a range, and room for it");
        writer.written().to_vec()
    }

    fn pairs(ack: &Ack<'_>) -> Vec<(u64, u64)> {
        ack.ranges.iter().map(|(smallest, largest)| (smallest.0, largest.0)).collect()
    }

    fn said(given: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let bytes = encoded(given);
        let ack = Ack::decode(&mut Reader::new(&bytes)).expect("what was encoded decodes");
        let ack = ack.near(given[0].1 + 1, 0).expect("no range is below zero");
        assert_eq!((ack.head, ack.largest().0), (HEAD, given[0].1));
        assert_eq!(ack.ranges.len(), pairs(&ack).len());
        pairs(&ack)
    }

    #[test]
    fn ranges_come_back_newest_first_as_they_were_given() {
        let bytes = encoded(&[(95, 100), (93, 93), (0, 91)]);
        let ack = Ack::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(pairs(&ack), [(95, 100), (93, 93), (0, 91)]);
        assert!([100, 95, 93, 91, 0].into_iter().all(|number| ack.ranges.contains(PacketNumber(number))));
        assert!([101, 94, 92].into_iter().all(|number| !ack.ranges.contains(PacketNumber(number))));
    }

    #[test]
    fn a_copy_says_what_the_ack_said_whatever_it_held_before() {
        let many: Vec<_> = (0..40).map(|index| (1_000 - 2 * index, 1_000 - 2 * index)).collect();
        let mut copy = AckCopy::default();
        for given in [&many[..], &[(95, 100), (93, 93)], &[(0, 7)]] {
            let bytes = encoded(given);
            let ack = Ack::decode(&mut Reader::new(&bytes)).unwrap();
            copy.set(&ack);
            assert_eq!(copy.ack(), ack);
        }
    }

    #[test]
    fn without_a_range_or_room_for_one_nothing_is_written() {
        let mut bytes = [0; ACK_SIZE_MAX];
        let mut writer = Writer::new(&mut bytes);
        assert_eq!(encode_ack(&mut writer, &HEAD, std::iter::empty()), None);
        let mut short = Writer::new(&mut bytes[..ACK_FIXED_SIZE - 1]);
        assert_eq!(encode_ack(&mut short, &HEAD, [(PacketNumber(1), PacketNumber(1))].into_iter()), None);
        assert_eq!(short.position(), 0);
    }

    #[test]
    fn an_ack_with_little_room_says_its_newest_ranges() {
        let mut bytes = [0; ACK_FIXED_SIZE + ACK_RANGE_SIZE + 7];
        let mut writer = Writer::new(&mut bytes);
        let given = [(9, 9), (6, 7), (0, 3)].map(|(low, high)| (PacketNumber(low), PacketNumber(high)));
        assert_eq!(encode_ack(&mut writer, &HEAD, given.into_iter()), Some(PacketNumber(9)));
        let written = writer.written().to_vec();
        assert_eq!(pairs(&Ack::decode(&mut Reader::new(&written)).unwrap()), [(9, 9), (6, 7)]);
    }

    #[test]
    fn from_a_range_that_touches_overlaps_or_runs_backwards_on_nothing_is_said() {
        for wrong in [(90, 94), (90, 97), (102, 103), (80, 70)] {
            assert_eq!(said(&[(95, 100), wrong, (1, 2)]), [(95, 100)], "{wrong:?}");
        }
        assert_eq!(said(&[(95, 100), (90, 93)]), [(95, 100), (90, 93)]);
    }

    #[test]
    fn the_33rd_range_is_left_out_and_the_largest_ack_has_the_size_it_says() {
        let given: Vec<_> = (0..40).map(|index| (1_000 - 2 * index, 1_000 - 2 * index)).collect();
        assert_eq!(said(&given), given[..ACK_RANGES_MAX]);
        assert_eq!(encoded(&given).len(), ACK_SIZE_MAX);
    }

    #[test]
    fn a_range_of_more_packets_than_the_wire_can_say_keeps_its_newest() {
        // P-3.9: a session that lost nothing for an hour has such a range.
        let largest = (1 << 32) + 9;
        assert_eq!(said(&[(0, largest)]), [(largest - 65_535, largest)]);
        assert_eq!(
            said(&[(largest + 2, largest + 3), (0, largest)]),
            [(largest + 2, largest + 3), (10, largest)]
        );
    }

    #[test]
    fn a_range_below_zero_is_one_whatever_the_low_bits_say() {
        // P-1.9, P-3.9: packets 0 to 4 exist, and five below the largest are claimed.
        let near = |bytes: &[u8], next| {
            Ack::decode(&mut Reader::new(bytes)).expect("it can be read").near(next, 0).map(|ack| pairs(&ack))
        };
        let first = [2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 4, 0, 0, 0];
        assert_eq!(near(&first, 5), None);
        assert_eq!(near(&first, 1 << 32), Some(vec![((1 << 32) - 1, (1 << 32) + 4)]), "they lie below it");
        let gap = [&[2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 4, 0, 0, 0][..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(near(&gap, 5), None, "2 - 1 - 2 is below zero");
        let length = [&[2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 4, 0, 0, 0][..], &[0, 0, 0, 0, 1, 0, 0, 0]].concat();
        assert_eq!(near(&length, 5), None, "0, and one below it");
    }

    #[test]
    fn a_delay_is_told_to_within_16_ns_and_then_to_within_4_us() {
        for (ns, told) in [(0, 0), (15, 0), (16, 16), (5_000, 4_992), (524_287, 524_272), (524_288, 524_288)]
        {
            assert_eq!(delay_of(told_delay(ns)), Some(told), "{ns}");
        }
        for (ns, told) in [(1_000_000, 999_424), (25_000_000, 24_997_888), (u32::MAX, 134_213_632)] {
            assert_eq!(delay_of(told_delay(ns)), Some(told), "{ns}");
        }
        assert_eq!(delay_of(LONG_STEPS | 127), None, "there is one way to tell each");
    }

    #[test]
    fn a_range_too_far_below_the_others_is_left_out() {
        let top = 1 << 40;
        let farthest = top - u64::from(u32::MAX) - 2;
        assert_eq!(said(&[(top, top), (farthest - 1, farthest - 1)]), [(top, top)]);
        assert_eq!(said(&[(top, top), (farthest, farthest)]), [(top, top), (farthest, farthest)]);
    }
}
