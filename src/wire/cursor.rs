//! A reader and a writer over a slice that never step outside it.

use super::DecodeError;
use super::error::narrow;

/// Takes fixed-width little-endian values from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    size: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first byte.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, size: bytes.len() }
    }

    /// Bytes taken so far.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.size - self.rest.len()
    }

    /// Bytes left.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes left, which stay.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `N` bytes. `what` names them in the error.
    #[inline]
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.truncated(what, N)),
        }
    }

    /// The next `size` bytes.
    #[inline]
    pub fn bytes(&mut self, size: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(size) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.truncated(what, size)),
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|bytes| bytes[0])
    }

    /// Two bytes.
    #[inline]
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(|bytes| u16::from_le_bytes(*bytes))
    }

    /// Four bytes.
    #[inline]
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Eight bytes.
    #[inline]
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// `Ok` when every byte was taken.
    pub fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes { what, left: narrow(left) }),
        }
    }

    #[cold]
    fn truncated(&self, what: &'static str, need: usize) -> DecodeError {
        DecodeError::truncated(what, self.position(), need, self.rest.len())
    }
}

/// Puts fixed-width little-endian values at the front of a slice. What is put must fit: ask
/// [`Writer::remaining`] first; a `put_` that does not fit panics, for that is our mistake and never
/// the peer's.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the first byte.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes written so far.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that still fit.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What was written.
    #[inline]
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// The next `size` bytes, to be written in place; the writer stands behind them.
    ///
    /// # Panics
    /// When fewer remain.
    #[inline]
    pub fn take(&mut self, size: usize) -> &mut [u8] {
        let start = self.at;
        self.at += size;
        &mut self.bytes[start..start + size]
    }

    /// The next `N` bytes become `array`.
    ///
    /// # Panics
    /// When fewer remain.
    #[inline]
    pub fn put_array<const N: usize>(&mut self, array: [u8; N]) {
        self.take(N).copy_from_slice(&array);
    }

    /// The next bytes become `bytes`.
    ///
    /// # Panics
    /// When fewer remain.
    #[inline]
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.take(bytes.len()).copy_from_slice(bytes);
    }

    /// One byte. Panics when none remains.
    #[inline]
    pub fn put_u8(&mut self, value: u8) {
        self.put_array([value]);
    }

    /// Two bytes. Panics when fewer remain.
    #[inline]
    pub fn put_u16(&mut self, value: u16) {
        self.put_array(value.to_le_bytes());
    }

    /// Four bytes. Panics when fewer remain.
    #[inline]
    pub fn put_u32(&mut self, value: u32) {
        self.put_array(value.to_le_bytes());
    }

    /// Eight bytes. Panics when fewer remain.
    #[inline]
    pub fn put_u64(&mut self, value: u64) {
        self.put_array(value.to_le_bytes());
    }

    /// Zeroes the next `size` bytes: at the end of a packet that is PADDING (P-3.5).
    ///
    /// # Panics
    /// When fewer remain.
    #[inline]
    pub fn put_zeros(&mut self, size: usize) {
        self.take(size).fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_refused_stays_where_it_was() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u8("one"), Ok(1));
        let refused = reader.u32("four");
        assert_eq!(refused, Err(DecodeError::Truncated { what: "four", at: 1, need: 4, have: 2 }));
        assert_eq!(reader.u16("two"), Ok(0x0302));
        assert_eq!(reader.finish("all"), Ok(()));
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn a_writer_never_writes_beyond_its_slice() {
        Writer::new(&mut [0; 3]).put_u32(1);
    }
}
