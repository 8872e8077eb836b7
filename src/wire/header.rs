//! The clear header every packet opens with (P-1.2): 16 bytes, one block of a cipher.
//!
//! ```text
//!  0      1       2        4                 12       16
//!  +------+-------+--------+-----------------+--------+
//!  | kind | epoch | length | session         | number |
//!  +------+-------+--------+-----------------+--------+
//! ```

use super::error::narrow;
use super::{DecodeError, PacketNumber, SessionId};
use crate::bounds::{HEADER_SIZE, TAG_SIZE};

/// What a packet is: its first byte (P-1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketKind {
    /// Frames of a session.
    Data = 0x01,
    /// A client asks for a session.
    Init = 0x10,
    /// The server asks the client to show that it receives at its address.
    Cookie = 0x11,
    /// The server opens the session.
    Accept = 0x12,
    /// The server declines.
    Refuse = 0x13,
    /// The server names the versions it speaks.
    VersionHint = 0x14,
    /// The receiver of a packet knows no such session.
    Reset = 0x15,
    /// The server tells a client on the same host its public key.
    ServerKey = 0x16,
}

impl PacketKind {
    /// The kind with this byte.
    #[inline]
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::Data,
            0x10 => Self::Init,
            0x11 => Self::Cookie,
            0x12 => Self::Accept,
            0x13 => Self::Refuse,
            0x14 => Self::VersionHint,
            0x15 => Self::Reset,
            0x16 => Self::ServerKey,
            _ => return None,
        })
    }
}

/// The first [`HEADER_SIZE`] bytes of a packet: clear, and bound to the rest by the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is.
    pub kind: PacketKind,
    /// Which keys seal it; 0 in handshake packets.
    pub epoch: u8,
    /// Bytes of the whole packet, header and tag included.
    pub length: u16,
    /// The session, by the name its receiver chose; 0 in an INIT.
    pub session: SessionId,
    /// The packet's number; 0 in handshake packets. Its low 32 bits travel, and a decoded header has no more:
    /// [`PacketNumber::near`] tells the rest.
    pub number: PacketNumber,
}

impl Header {
    /// Reads the header of the packet at the front of `bytes`. What it returns names a packet that lies
    /// wholly inside `bytes` and has room for a tag; more packets may follow it (P-1.4).
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some(head) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(DecodeError::truncated("packet header", 0, HEADER_SIZE, bytes.len()));
        };
        let [kind, epoch, l0, l1, s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = *head;
        let Some(kind) = PacketKind::from_byte(kind) else {
            return Err(DecodeError::UnknownPacketKind { kind });
        };
        let length = u16::from_le_bytes([l0, l1]);
        if usize::from(length) < HEADER_SIZE + TAG_SIZE || usize::from(length) > bytes.len() {
            return Err(DecodeError::PacketLength { length, have: narrow(bytes.len()) });
        }
        let session = SessionId(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]));
        let number = PacketNumber(u64::from(u32::from_le_bytes([n0, n1, n2, n3])));
        Ok(Self { kind, epoch, length, session, number })
    }

    /// Writes the header into the first [`HEADER_SIZE`] bytes of `out`.
    ///
    /// # Panics
    /// When `out` is shorter.
    #[inline]
    pub fn encode(&self, out: &mut [u8]) {
        let out = out.first_chunk_mut::<HEADER_SIZE>().expect("a packet buffer holds at least a header");
        out[0] = self.kind as u8;
        out[1] = self.epoch;
        out[2..4].copy_from_slice(&self.length.to_le_bytes());
        out[4..12].copy_from_slice(&self.session.0.to_le_bytes());
        out[12..16].copy_from_slice(&(self.number.0 as u32).to_le_bytes());
    }
}
