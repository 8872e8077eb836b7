//! Records: the messages inside a MESSAGES unit, end to end (P-4).
//!
//! ```text
//!  0      1        2        4
//!  +------+--------+--------+---------------------------------------------+---------
//!  | kind | status | length | MESSAGE  nothing                            | payload
//!  |      |        |        | ORDERED  channel u32, sequence u64          |
//!  |      |        |        | REQUEST  call u32, method u32               |
//!  |      |        |        | REPLY    call u32                           |
//!  +------+--------+--------+---------------------------------------------+---------
//! ```
//!
//! Ten million of these pass a second: no allocation, and one length check per head and payload.

use super::error::narrow;
use super::{CallId, ChannelId, DecodeError, kind};

/// Bytes before the payload of a MESSAGE.
pub const MESSAGE_HEAD_SIZE: usize = 4;
/// Bytes before the payload of an ORDERED.
pub const ORDERED_HEAD_SIZE: usize = 16;
/// Bytes before the payload of a REQUEST.
pub const REQUEST_HEAD_SIZE: usize = 12;
/// Bytes before the payload of a REPLY.
pub const REPLY_HEAD_SIZE: usize = 8;
/// Bytes of the largest record head.
pub const RECORD_HEAD_SIZE_MAX: usize = ORDERED_HEAD_SIZE;

/// What a message is, and the names it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordHeader {
    /// A message of its own.
    Message,
    /// A message of an ordered channel.
    Ordered {
        /// The channel.
        channel: ChannelId,
        /// Its place in the channel, from 0.
        sequence: u64,
    },
    /// A call's arguments.
    Request {
        /// Names the call in its reply.
        call: CallId,
        /// What is called.
        method: u32,
    },
    /// A call's outcome.
    Reply {
        /// The call answered.
        call: CallId,
        /// 0 is success; anything else is an error code.
        status: u8,
    },
}

impl RecordHeader {
    /// Bytes before the payload.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Message => MESSAGE_HEAD_SIZE,
            Self::Ordered { .. } => ORDERED_HEAD_SIZE,
            Self::Request { .. } => REQUEST_HEAD_SIZE,
            Self::Reply { .. } => REPLY_HEAD_SIZE,
        }
    }

    /// Writes the head of a record of `payload_length` bytes into the front of `out`.
    ///
    /// # Panics
    /// When `out` is shorter than [`RecordHeader::size`].
    #[inline(always)]
    pub fn encode(&self, payload_length: u16, out: &mut [u8]) {
        let head = |kind: u8, status: u8| {
            (u32::from(payload_length) << 16 | u32::from(status) << 8 | u32::from(kind)).to_le_bytes()
        };
        match *self {
            Self::Message => put(out, head(kind::RECORD_MESSAGE, 0)),
            Self::Ordered { channel, sequence } => {
                let mut bytes = [0; ORDERED_HEAD_SIZE];
                bytes[..4].copy_from_slice(&head(kind::RECORD_ORDERED, 0));
                bytes[4..8].copy_from_slice(&channel.0.to_le_bytes());
                bytes[8..].copy_from_slice(&sequence.to_le_bytes());
                put(out, bytes);
            }
            Self::Request { call, method } => {
                let mut bytes = [0; REQUEST_HEAD_SIZE];
                bytes[..4].copy_from_slice(&head(kind::RECORD_REQUEST, 0));
                bytes[4..8].copy_from_slice(&call.0.to_le_bytes());
                bytes[8..].copy_from_slice(&method.to_le_bytes());
                put(out, bytes);
            }
            Self::Reply { call, status } => {
                let mut bytes = [0; REPLY_HEAD_SIZE];
                bytes[..4].copy_from_slice(&head(kind::RECORD_REPLY, status));
                bytes[4..].copy_from_slice(&call.0.to_le_bytes());
                put(out, bytes);
            }
        }
    }
}

/// One bounds check and one copy of a size the compiler knows.
#[inline(always)]
fn put<const N: usize>(out: &mut [u8], head: [u8; N]) {
    *out.first_chunk_mut::<N>().expect("the caller left room for the record's head") = head;
}

/// One record, found in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub header: RecordHeader,
    /// Where its payload starts in the slice given to [`Records::new`].
    pub offset: usize,
    /// Bytes of payload.
    pub length: usize,
}

/// The records that fill a slice. After an error it yields nothing more.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    size: usize,
}

impl<'a> Records<'a> {
    /// The records of a MESSAGES unit: `records` is all of its bytes and nothing else.
    #[inline]
    #[must_use]
    pub fn new(records: &'a [u8]) -> Self {
        Self { rest: records, size: records.len() }
    }

    /// True when nothing is left to read.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Steps over `N` bytes of head and `length` of payload.
    #[inline(always)]
    fn step<const N: usize>(
        &mut self,
        length: usize,
        header: impl FnOnce(&[u8; N]) -> RecordHeader,
    ) -> Option<Result<Record, DecodeError>> {
        let offset = self.size - self.rest.len() + N;
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else { return self.truncated(N) };
        let Some((_, rest)) = rest.split_at_checked(length) else { return self.truncated(N + length) };
        self.rest = rest;
        Some(Ok(Record { header: header(head), offset, length }))
    }

    #[cold]
    fn truncated(&mut self, need: usize) -> Option<Result<Record, DecodeError>> {
        if self.rest.is_empty() {
            return None;
        }
        let have = self.rest.len();
        let error = DecodeError::truncated("record", self.size - have, need, have);
        self.rest = &[];
        Some(Err(error))
    }

    #[cold]
    fn unknown(&mut self, kind: u8, status: u8) -> Option<Result<Record, DecodeError>> {
        let at = narrow(self.size - self.rest.len());
        let error = if (kind::RECORD_MESSAGE..=kind::RECORD_REPLY).contains(&kind) {
            DecodeError::Field { what: "the status of a record that is no reply", value: u64::from(status) }
        } else {
            DecodeError::UnknownRecord { kind, at }
        };
        self.rest = &[];
        Some(Err(error))
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, DecodeError>;

    // Handed back through memory, a record would be read before its parts are written whole.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let Some(&[kind, status, low, high]) = self.rest.first_chunk::<4>() else {
            return self.truncated(MESSAGE_HEAD_SIZE);
        };
        let length = usize::from(u16::from_le_bytes([low, high]));
        match (kind, status) {
            (kind::RECORD_REPLY, status) => {
                self.step(length, |&[_, _, _, _, a, b, c, d]: &[u8; REPLY_HEAD_SIZE]| RecordHeader::Reply {
                    call: CallId(u32::from_le_bytes([a, b, c, d])),
                    status,
                })
            }
            (kind::RECORD_REQUEST, 0) => {
                self.step(length, |&[_, _, _, _, a, b, c, d, e, f, g, h]: &[u8; REQUEST_HEAD_SIZE]| {
                    RecordHeader::Request {
                        call: CallId(u32::from_le_bytes([a, b, c, d])),
                        method: u32::from_le_bytes([e, f, g, h]),
                    }
                })
            }
            (kind::RECORD_MESSAGE, 0) => {
                self.step(length, |_: &[u8; MESSAGE_HEAD_SIZE]| RecordHeader::Message)
            }
            (kind::RECORD_ORDERED, 0) => {
                self.step(length, |&[_, _, _, _, a, b, c, d, sequence @ ..]: &[u8; ORDERED_HEAD_SIZE]| {
                    RecordHeader::Ordered {
                        channel: ChannelId(u32::from_le_bytes([a, b, c, d])),
                        sequence: u64::from_le_bytes(sequence),
                    }
                })
            }
            (kind, status) => self.unknown(kind, status),
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}
