//! The two units: MESSAGES and FRAGMENT, what is retransmitted whole (P-3.6, P-3.7); and UNIT_PART, how
//! one travels that was cut for larger packets than its path carries now (P-3.18).
//!
//! ```text
//!  0      1        3      6
//!  +------+--------+------+----------
//!  | 0x20 | length | unit | records          MESSAGES
//!  +------+--------+------+----------
//!
//!  0      1        2        4        5     8      16        24       32      40  48  56
//!  +------+--------+--------+--------+-----+------+---------+--------+-------+---+---+------
//!  | 0x21 | record | length | status | 0 0 | unit | message | offset | total | a | b | data
//!  +------+--------+--------+--------+-----+------+---------+--------+-------+---+---+------
//!
//!  0      1       2        4             12       14      16
//!  +------+-------+--------+-------------+--------+-------+----------------------------------
//!  | 0x22 | 0     | length | unit        | offset | total | bytes of the unit       UNIT_PART
//!  +------+-------+--------+-------------+--------+-------+----------------------------------
//! ```

use crate::bounds::PACKET_SIZE_MAX;

use super::{CallId, ChannelId, DecodeError, MessageId, Reader, RecordHeader, UnitNumber, kind};

/// Bytes before the records of a MESSAGES.
pub const MESSAGES_HEAD_SIZE: usize = 6;
/// Bytes before the data of a FRAGMENT.
pub const FRAGMENT_HEAD_SIZE: usize = 56;

/// Bytes before the data of a UNIT_PART.
pub const UNIT_PART_HEAD_SIZE: usize = 16;

/// A MESSAGES frame: whole messages, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagesUnit {
    /// The unit's number, of which 24 bits travel: [`UnitNumber::near`] tells the rest.
    pub unit: UnitNumber,
    /// Where the records start in the slice given to [`Frames::new`](super::Frames::new).
    pub offset: usize,
    /// Bytes of records.
    pub length: usize,
}

/// Which piece of which message a FRAGMENT carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// What the whole message is.
    pub record: RecordHeader,
    /// Names the message among the fragmented ones of this direction.
    pub message: MessageId,
    /// Where this piece starts in the message, in bytes.
    pub offset: u64,
    /// Bytes of the whole message.
    pub total: u64,
}

/// A FRAGMENT frame: one piece of a message that fits no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentUnit {
    /// The unit's number.
    pub unit: UnitNumber,
    /// What it is a piece of. A decoded one ends at or before the message's total.
    pub header: FragmentHeader,
    /// Where the data starts in the slice given to [`Frames::new`](super::Frames::new).
    pub data_offset: usize,
    /// Bytes of data, at least 1.
    pub length: usize,
}

/// A UNIT_PART frame: some bytes of the MESSAGES or FRAGMENT that a unit is, head and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitPart {
    /// The unit's number.
    pub unit: UnitNumber,
    /// Where these bytes start in the unit. A decoded part ends at or before `total`.
    pub offset: u16,
    /// Bytes of the whole unit, its head included: at most what fits a packet.
    pub total: u16,
    /// Where the bytes start in the slice given to [`Frames::new`](super::Frames::new).
    pub data_offset: usize,
    /// How many they are, at least 1.
    pub length: usize,
}

/// Writes the head of a UNIT_PART whose `length` bytes the caller puts behind it.
///
/// # Panics
/// When `out` is shorter than [`UNIT_PART_HEAD_SIZE`].
pub fn encode_unit_part_head(out: &mut [u8], unit: UnitNumber, offset: u16, total: u16, length: u16) {
    let out = out.first_chunk_mut::<UNIT_PART_HEAD_SIZE>().expect("a part is planned with its head");
    out[0] = kind::UNIT_PART;
    out[1] = 0;
    out[2..4].copy_from_slice(&length.to_le_bytes());
    out[4..12].copy_from_slice(&unit.0.to_le_bytes());
    out[12..14].copy_from_slice(&offset.to_le_bytes());
    out[14..16].copy_from_slice(&total.to_le_bytes());
}

/// Writes the head of a MESSAGES whose `length` bytes of records the caller puts behind it.
///
/// # Panics
/// When `out` is shorter than [`MESSAGES_HEAD_SIZE`].
#[inline]
pub fn encode_messages_head(out: &mut [u8], unit: UnitNumber, length: u16) {
    let out = out.first_chunk_mut::<MESSAGES_HEAD_SIZE>().expect("a unit's slot holds at least its head");
    let ([low, high], [a, b, c, ..]) = (length.to_le_bytes(), unit.0.to_le_bytes());
    *out = [kind::MESSAGES, low, high, a, b, c];
}

/// Writes the head of a FRAGMENT whose `length` bytes of data the caller puts behind it.
///
/// # Panics
/// When `out` is shorter than [`FRAGMENT_HEAD_SIZE`].
#[inline]
pub fn encode_fragment_head(out: &mut [u8], header: &FragmentHeader, unit: UnitNumber, length: u16) {
    let out = out.first_chunk_mut::<FRAGMENT_HEAD_SIZE>().expect("a unit's slot holds at least its head");
    let (record, status, a, b) = split(header.record);
    let [low, high] = length.to_le_bytes();
    out[..8].copy_from_slice(&[kind::FRAGMENT, record, low, high, status, 0, 0, 0]);
    out[8..16].copy_from_slice(&unit.0.to_le_bytes());
    out[16..24].copy_from_slice(&header.message.0.to_le_bytes());
    out[24..32].copy_from_slice(&header.offset.to_le_bytes());
    out[32..40].copy_from_slice(&header.total.to_le_bytes());
    out[40..48].copy_from_slice(&a.to_le_bytes());
    out[48..56].copy_from_slice(&b.to_le_bytes());
}

#[inline(always)]
pub(super) fn decode_messages(reader: &mut Reader<'_>) -> Result<MessagesUnit, DecodeError> {
    let [_, low, high, a, b, c] = *reader.array("MESSAGES")?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let unit = UnitNumber(u64::from(u32::from_le_bytes([a, b, c, 0])));
    let offset = reader.position();
    reader.bytes(length, "MESSAGES records")?;
    Ok(MessagesUnit { unit, offset, length })
}

pub(super) fn decode_fragment(reader: &mut Reader<'_>) -> Result<FragmentUnit, DecodeError> {
    let [_, record, low, high, status, reserved @ ..] = *reader.array::<8>("FRAGMENT")?;
    if reserved != [0; 3] {
        let value = u64::from(u32::from_le_bytes([reserved[0], reserved[1], reserved[2], 0]));
        return Err(DecodeError::Field { what: "FRAGMENT reserved bytes", value });
    }
    let unit = UnitNumber(reader.u64("FRAGMENT unit")?);
    let message = MessageId(reader.u64("FRAGMENT message")?);
    let offset = reader.u64("FRAGMENT offset")?;
    let total = reader.u64("FRAGMENT total")?;
    let record = join(record, status, reader.u64("FRAGMENT a")?, reader.u64("FRAGMENT b")?)?;
    let length = usize::from(u16::from_le_bytes([low, high]));
    if length == 0 {
        return Err(DecodeError::Field { what: "FRAGMENT length", value: 0 });
    }
    // P-3.7: a piece lies inside its message, so that nobody reserves or copies beyond the total.
    if total.checked_sub(offset).is_none_or(|left| left < length as u64) {
        return Err(DecodeError::Field { what: "FRAGMENT offset past its message's end", value: offset });
    }
    let data_offset = reader.position();
    reader.bytes(length, "FRAGMENT data")?;
    Ok(FragmentUnit { unit, header: FragmentHeader { record, message, offset, total }, data_offset, length })
}

#[cold]
pub(super) fn decode_part(reader: &mut Reader<'_>) -> Result<UnitPart, DecodeError> {
    let [_, flags, low, high] = *reader.array("UNIT_PART")?;
    if flags != 0 {
        return Err(DecodeError::Field { what: "UNIT_PART flags", value: u64::from(flags) });
    }
    let length = usize::from(u16::from_le_bytes([low, high]));
    let unit = UnitNumber(reader.u64("UNIT_PART unit")?);
    let offset = reader.u16("UNIT_PART offset")?;
    let total = reader.u16("UNIT_PART total")?;
    if length == 0 {
        return Err(DecodeError::Field { what: "UNIT_PART length", value: 0 });
    }
    // No unit is smaller than the head of one, nor larger than a packet.
    if !(MESSAGES_HEAD_SIZE..=PACKET_SIZE_MAX).contains(&usize::from(total)) {
        return Err(DecodeError::Field { what: "UNIT_PART total", value: u64::from(total) });
    }
    // P-3.18: a part lies inside its unit.
    if usize::from(offset) + length > usize::from(total) {
        return Err(DecodeError::Field {
            what: "UNIT_PART offset past its unit's end",
            value: u64::from(offset),
        });
    }
    let data_offset = reader.position();
    reader.bytes(length, "UNIT_PART bytes")?;
    Ok(UnitPart { unit, offset, total, data_offset, length })
}

/// The record's kind, status, `a` and `b` as FRAGMENT carries them.
fn split(record: RecordHeader) -> (u8, u8, u64, u64) {
    match record {
        RecordHeader::Message => (kind::RECORD_MESSAGE, 0, 0, 0),
        RecordHeader::Ordered { channel, sequence } => {
            (kind::RECORD_ORDERED, 0, u64::from(channel.0), sequence)
        }
        RecordHeader::Request { call, method } => {
            (kind::RECORD_REQUEST, 0, u64::from(call.0), u64::from(method))
        }
        RecordHeader::Reply { call, status } => (kind::RECORD_REPLY, status, u64::from(call.0), 0),
    }
}

fn join(record: u8, status: u8, a: u64, b: u64) -> Result<RecordHeader, DecodeError> {
    if record != kind::RECORD_REPLY && status != 0 {
        return Err(DecodeError::Field {
            what: "the status of a FRAGMENT of no reply",
            value: u64::from(status),
        });
    }
    Ok(match record {
        kind::RECORD_MESSAGE => {
            zero("FRAGMENT a of a message", a)?;
            zero("FRAGMENT b of a message", b)?;
            RecordHeader::Message
        }
        kind::RECORD_ORDERED => {
            RecordHeader::Ordered { channel: ChannelId(narrow("FRAGMENT channel", a)?), sequence: b }
        }
        kind::RECORD_REQUEST => RecordHeader::Request {
            call: CallId(narrow("FRAGMENT call", a)?),
            method: narrow("FRAGMENT method", b)?,
        },
        kind::RECORD_REPLY => {
            zero("FRAGMENT b of a reply", b)?;
            RecordHeader::Reply { call: CallId(narrow("FRAGMENT call", a)?), status }
        }
        _ => return Err(DecodeError::Field { what: "FRAGMENT record kind", value: u64::from(record) }),
    })
}

fn zero(what: &'static str, value: u64) -> Result<(), DecodeError> {
    if value == 0 { Ok(()) } else { Err(DecodeError::Field { what, value }) }
}

fn narrow(what: &'static str, value: u64) -> Result<u32, DecodeError> {
    u32::try_from(value).map_err(|_| DecodeError::Field { what, value })
}
