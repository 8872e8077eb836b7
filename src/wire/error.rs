//! What can be wrong with bytes from the network.

/// Why bytes are no packet, frame, record or handshake body. Offsets count from the start of the slice
/// the decoder was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside something.
    #[error(
        "{what} at byte {at} needs {need} bytes, {have} are left: the packet was cut short or is damaged"
    )]
    Truncated {
        /// The thing that did not fit.
        what: &'static str,
        /// Where it starts.
        at: u32,
        /// Bytes it needs.
        need: u32,
        /// Bytes there are.
        have: u32,
    },
    /// The first byte of a packet is none of the packet kinds (P-1.3).
    #[error("packet kind {kind:#04x} is not known: not a ringwire packet, or from a later version")]
    UnknownPacketKind {
        /// The byte found.
        kind: u8,
    },
    /// The header's length is smaller than a header and a tag, or larger than what arrived (P-1.4).
    #[error("the header says {length} bytes, {have} arrived, and no packet is below 32")]
    PacketLength {
        /// What the header says.
        length: u16,
        /// Bytes from the start of the header to the end of the buffer.
        have: u32,
    },
    /// A frame kind below 0x40 that is not known, or an even one from 0x40 on (P-3.2, P-3.3).
    #[error("frame kind {kind:#04x} at byte {at} is not known and must not be skipped")]
    UnknownFrame {
        /// The byte found.
        kind: u8,
        /// Where the frame starts.
        at: u32,
    },
    /// More units in one packet than one, or two FRAGMENTs (P-3.4).
    #[error("one unit too many at byte {at}: a packet carries one at most, or two FRAGMENTs")]
    SurplusUnit {
        /// Where the frame of the one too many starts.
        at: u32,
    },
    /// A record kind that is not known (P-4.1).
    #[error("record kind {kind} at byte {at} is not known")]
    UnknownRecord {
        /// The byte found.
        kind: u8,
        /// Where the record starts.
        at: u32,
    },
    /// A field holds a value that has no meaning, or a reserved byte is not zero (P-1.7).
    #[error("{what} cannot be {value}")]
    Field {
        /// The field.
        what: &'static str,
        /// What it held.
        value: u64,
    },
    /// A handshake body of a version this build does not speak (P-6.2).
    #[error("protocol version {version:#010x} is not spoken here")]
    Version {
        /// The version found.
        version: u32,
    },
    /// Bytes follow where the body should have ended.
    #[error("{left} bytes follow the end of {what}")]
    TrailingBytes {
        /// The body that ended.
        what: &'static str,
        /// How many bytes follow it.
        left: u32,
    },
}

impl DecodeError {
    /// Out of line, so that the hot decoders carry one call and not the arithmetic.
    #[cold]
    pub(super) fn truncated(what: &'static str, at: usize, need: usize, have: usize) -> Self {
        Self::Truncated { what, at: narrow(at), need: narrow(need), have: narrow(have) }
    }
}

/// Errors hold offsets as `u32` to stay small; a slice longer than that is not a packet anyway.
pub(super) fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
