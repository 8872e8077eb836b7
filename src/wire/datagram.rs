//! DATAGRAM: bytes that are sealed and sent once (P-3.8).

use super::{DecodeError, Reader, Writer, kind};

/// Bytes before a datagram's own.
pub const DATAGRAM_HEAD_SIZE: usize = 4;

/// Writes a DATAGRAM: [`DATAGRAM_HEAD_SIZE`] bytes and `bytes`, which must fit.
///
/// # Panics
/// When they do not fit, or `bytes` is longer than 65,535.
#[inline]
pub fn encode_datagram(writer: &mut Writer<'_>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("a datagram fits a packet, whose length is 16 bits");
    encode_datagram_head(writer, length);
    writer.put_bytes(bytes);
}

/// Writes the head of a DATAGRAM whose `length` bytes the caller puts behind it.
#[inline]
pub fn encode_datagram_head(writer: &mut Writer<'_>, length: u16) {
    let [low, high] = length.to_le_bytes();
    writer.put_array([kind::DATAGRAM, 0, low, high]);
}

/// Reads a frame of kind, zero, length, bytes; gives where the bytes lie and how many they are.
#[inline]
pub(super) fn decode(reader: &mut Reader<'_>) -> Result<(usize, usize), DecodeError> {
    let [_, flags, low, high] = *reader.array("DATAGRAM")?;
    if flags != 0 {
        return Err(DecodeError::Field { what: "DATAGRAM flags", value: u64::from(flags) });
    }
    let length = usize::from(u16::from_le_bytes([low, high]));
    let offset = reader.position();
    reader.bytes(length, "DATAGRAM bytes")?;
    Ok((offset, length))
}
