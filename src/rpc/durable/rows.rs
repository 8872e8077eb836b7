//! The log's own tables: how a lease, a reply and the log's clock lie in the store.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::store::StoreError;
use crate::crypto::PublicKey;

/// Leases: number to [`LeaseRow`].
pub(super) const LEASES: &str = "ringwire.leases";
/// Replies: lease number and sequence, big-endian so that they lie in order, to [`ReplyRow`].
pub(super) const REPLIES: &str = "ringwire.replies";
/// One row for the log itself: [`LogRow`], at key [`LOG_KEY`].
pub(super) const LOG: &str = "ringwire.log";
/// See [`LOG`].
pub(super) const LOG_KEY: &[u8] = b"log";
/// How the rows are laid out. Another number is another layout.
pub(super) const FORMAT: u32 = 1;

/// Who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientName {
    /// It proved to hold the private half of this key.
    Key([u8; 32]),
    /// It says so, over a session that proves nothing.
    Claimed([u8; 16]),
}

impl From<PublicKey> for ClientName {
    fn from(key: PublicKey) -> Self {
        Self::Key(*key.as_bytes())
    }
}

/// A lease as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseRow {
    pub(super) owner: ClientName,
    pub(super) check: u64,
    pub(super) attempt: u64,
    pub(super) first_incomplete: u64,
    pub(super) expires_ns: u64,
}

/// Little-endian: check u64, attempt u64, first_incomplete u64, expires_ns u64, kind u8, owner 32 bytes.
const LEASE_ROW_SIZE: usize = 65;

impl LeaseRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEASE_ROW_SIZE);
        for number in [self.check, self.attempt, self.first_incomplete, self.expires_ns] {
            bytes.extend(number.to_le_bytes());
        }
        let (kind, owner): (u8, &[u8]) = match &self.owner {
            ClientName::Key(key) => (0, key),
            ClientName::Claimed(id) => (1, id),
        };
        bytes.push(kind);
        bytes.extend(owner);
        bytes.resize(LEASE_ROW_SIZE, 0);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = StoreError::Row { table: LEASES };
        let Ok(bytes) = <&[u8; LEASE_ROW_SIZE]>::try_from(bytes) else { return Err(damaged) };
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 of 65 bytes"));
        let owner: [u8; 32] = bytes[33..].try_into().expect("32 of 65 bytes");
        let owner = match bytes[32] {
            0 => ClientName::Key(owner),
            1 => ClientName::Claimed(owner[..16].try_into().expect("16 of 32 bytes")),
            _ => return Err(damaged),
        };
        let [check, attempt, first_incomplete, expires_ns] = [number(0), number(8), number(16), number(24)];
        Ok(Self { owner, check, attempt, first_incomplete, expires_ns })
    }
}

/// A reply as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyRow {
    pub(super) call: Fingerprint,
    pub(super) status: u8,
    pub(super) payload: Vec<u8>,
}

/// What tells a call from another one made under the same number by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) fn of(method: u32, payload: &[u8]) -> Self {
        // Against mistakes, not against a client that wants to fool itself: no secret.
        let mut hasher = SipHasher13::new();
        hasher.write_u32(method);
        hasher.write(payload);
        Self(hasher.finish())
    }
}

/// Little-endian: fingerprint u64, status u8; the payload follows.
const REPLY_HEAD_SIZE: usize = 9;

impl ReplyRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.call.0.to_le_bytes()[..], &[self.status], &self.payload].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (head, payload) =
            bytes.split_first_chunk::<REPLY_HEAD_SIZE>().ok_or(StoreError::Row { table: REPLIES })?;
        let call = u64::from_le_bytes(head[..8].try_into().expect("8 of 9 bytes"));
        Ok(Self { call: Fingerprint(call), status: head[8], payload: payload.to_vec() })
    }

    /// Bytes of payload in a row of `size` bytes.
    pub(super) fn payload_size(size: usize) -> usize {
        size.saturating_sub(REPLY_HEAD_SIZE)
    }
}

/// What the log remembers of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogRow {
    /// The next lease's number.
    pub(super) next_number: u64,
    /// The lease clock when this was written…
    pub(super) lease_ns: u64,
    /// …and the wall clock.
    pub(super) wall_ns: u64,
}

impl LogRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let numbers = [self.next_number, self.lease_ns, self.wall_ns].map(u64::to_le_bytes);
        [&FORMAT.to_le_bytes()[..], numbers.as_flattened()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Row { table: LOG };
        let (format, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let found = u32::from_le_bytes(*format);
        if found != FORMAT {
            return Err(StoreError::Format { found, known: FORMAT });
        }
        let rest: &[u8; 24] = rest.try_into().map_err(|_| damaged())?;
        let number = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().expect("8 of 24 bytes"));
        Ok(Self { next_number: number(0), lease_ns: number(8), wall_ns: number(16) })
    }
}

/// The key of lease `number`.
pub(super) fn lease_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The key of the reply to call `sequence` of lease `number`.
pub(super) fn reply_key(number: u64, sequence: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key[8..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// The lease's number that a lease's key is.
pub(super) fn parse_lease_key(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Row { table: LEASES })
}

/// The lease's number and the sequence that a reply's key is.
pub(super) fn parse_reply_key(key: &[u8]) -> Result<(u64, u64), StoreError> {
    let (number, sequence) = key.split_first_chunk::<8>().ok_or(StoreError::Row { table: REPLIES })?;
    let sequence = sequence.try_into().map_err(|_| StoreError::Row { table: REPLIES })?;
    Ok((u64::from_be_bytes(*number), u64::from_be_bytes(sequence)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_put_and_nothing_else_is_a_row() {
        for owner in [ClientName::Key([7; 32]), ClientName::Claimed([9; 16])] {
            let row = LeaseRow { owner, check: 1, attempt: 2, first_incomplete: 3, expires_ns: 4 };
            assert_eq!(LeaseRow::decode(&row.encode()).unwrap(), row);
            assert!(LeaseRow::decode(&row.encode()[1..]).is_err());
        }
        let row = ReplyRow { call: Fingerprint::of(1, b"x"), status: 16, payload: b"no".to_vec() };
        assert_eq!(ReplyRow::decode(&row.encode()).unwrap(), row);
        assert_eq!(ReplyRow::payload_size(row.encode().len()), 2);
        assert!(ReplyRow::decode(&[0; 8]).is_err());
        let row = LogRow { next_number: 1, lease_ns: 2, wall_ns: 3 };
        assert_eq!(LogRow::decode(&row.encode()).unwrap(), row);
        let mut other = row.encode();
        other[0] = 2;
        assert!(matches!(LogRow::decode(&other), Err(StoreError::Format { found: 2, known: 1 })));
        assert!(LogRow::decode(&row.encode()[..27]).is_err());
        assert_eq!(parse_reply_key(&reply_key(5, 6)).unwrap(), (5, 6));
        assert!(parse_reply_key(&[0; 15]).is_err() && parse_lease_key(&[0; 9]).is_err());
    }

    #[test]
    fn another_method_or_payload_is_another_call() {
        let call = Fingerprint::of(1, b"a");
        assert_ne!(call, Fingerprint::of(2, b"a"));
        assert_ne!(call, Fingerprint::of(1, b"b"));
    }
}
