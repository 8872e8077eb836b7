//! What a durable call puts at the front of its payload, and what a lease is granted by (P-12.6 to P-12.8).

use super::{DecodeError, Reader, Writer};

/// Bytes of an OPEN.
pub const DURABLE_OPEN_SIZE: usize = 28;
/// Bytes before a durable call's own payload.
pub const DURABLE_CALL_HEAD_SIZE: usize = 36;
/// Bytes of a RENEW.
pub const DURABLE_RENEW_SIZE: usize = 28;
/// Bytes of a RELEASE.
pub const DURABLE_RELEASE_SIZE: usize = 20;
/// Bytes of a grant, the reply to OPEN and RENEW.
pub const LEASE_GRANT_SIZE: usize = 32;

/// Names a lease. `number` is never given again by one store; `check` is drawn at random, so that a lease
/// of a store that was put back to an older copy is not taken for a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    /// Which.
    pub number: u64,
    /// What nobody guesses.
    pub check: u64,
}

/// The payload of a call to a durable method (P-12.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableRequest<'a> {
    /// Asks for a lease. Repeated with the same `client` and `attempt`, it gets the same one.
    Open {
        /// Who asks, where the session does not prove it.
        client: [u8; 16],
        /// A number that the client draws anew for each lease it wants.
        attempt: u64,
    },
    /// A call to run once.
    Call {
        /// Under which lease.
        lease: LeaseId,
        /// Which call of the lease. Counted from 0 by the client.
        sequence: u64,
        /// Of all calls below this one the client knows the end.
        first_incomplete: u64,
        /// The call's own bytes.
        payload: &'a [u8],
    },
    /// Extends a lease and acknowledges replies.
    Renew {
        /// Which.
        lease: LeaseId,
        /// As in a call.
        first_incomplete: u64,
    },
    /// Gives a lease back: nothing of it is needed any more.
    Release {
        /// Which.
        lease: LeaseId,
    },
}

impl<'a> DurableRequest<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// [`DecodeError`]: not the payload of a durable call.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let op = reader.u8("durable operation")?;
        zeros(&mut reader)?;
        let request = match op {
            OPEN => {
                let client = *reader.array("OPEN client")?;
                Self::Open { client, attempt: reader.u64("OPEN attempt")? }
            }
            CALL => {
                let lease = lease_id(&mut reader)?;
                let sequence = reader.u64("CALL sequence")?;
                let first_incomplete = reader.u64("CALL first incomplete")?;
                if first_incomplete > sequence {
                    let what = "the first incomplete call, above the call's own sequence,";
                    return Err(DecodeError::Field { what, value: first_incomplete });
                }
                let payload = reader.bytes(reader.remaining(), "CALL payload")?;
                Self::Call { lease, sequence, first_incomplete, payload }
            }
            RENEW => {
                let lease = lease_id(&mut reader)?;
                Self::Renew { lease, first_incomplete: reader.u64("RENEW first incomplete")? }
            }
            RELEASE => Self::Release { lease: lease_id(&mut reader)? },
            other => {
                return Err(DecodeError::Field { what: "durable operation", value: u64::from(other) });
            }
        };
        reader.finish("durable request")?;
        Ok(request)
    }

    /// Bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Open { .. } => DURABLE_OPEN_SIZE,
            Self::Call { payload, .. } => DURABLE_CALL_HEAD_SIZE + payload.len(),
            Self::Renew { .. } => DURABLE_RENEW_SIZE,
            Self::Release { .. } => DURABLE_RELEASE_SIZE,
        }
    }

    /// Writes it to the front of `out` and gives its size.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(out);
        match *self {
            Self::Open { client, attempt } => {
                writer.put_array([OPEN, 0, 0, 0]);
                writer.put_array(client);
                writer.put_u64(attempt);
            }
            Self::Call { lease, sequence, first_incomplete, payload } => {
                writer.put_array([CALL, 0, 0, 0]);
                put_lease_id(&mut writer, lease);
                writer.put_u64(sequence);
                writer.put_u64(first_incomplete);
                writer.put_bytes(payload);
            }
            Self::Renew { lease, first_incomplete } => {
                writer.put_array([RENEW, 0, 0, 0]);
                put_lease_id(&mut writer, lease);
                writer.put_u64(first_incomplete);
            }
            Self::Release { lease } => {
                writer.put_array([RELEASE, 0, 0, 0]);
                put_lease_id(&mut writer, lease);
            }
        }
        writer.position()
    }

    /// Its bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size()];
        self.encode(&mut bytes);
        bytes
    }
}

/// The reply to OPEN and RENEW (P-12.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The lease.
    pub lease: LeaseId,
    /// How many calls may be incomplete at once: a sequence must be below first incomplete + window.
    pub window: u32,
    /// How long the lease lasts unless it is used, in milliseconds.
    pub term_ms: u64,
}

impl LeaseGrant {
    /// Reads a reply.
    ///
    /// # Errors
    /// [`DecodeError`]: not a grant.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let op = reader.u8("grant")?;
        if op != GRANT {
            return Err(DecodeError::Field { what: "grant", value: u64::from(op) });
        }
        zeros(&mut reader)?;
        let lease = lease_id(&mut reader)?;
        let window = reader.u32("grant window")?;
        let term_ms = reader.u64("grant term")?;
        for (what, value) in [("grant window", u64::from(window)), ("grant term", term_ms)] {
            if value == 0 {
                return Err(DecodeError::Field { what, value });
            }
        }
        reader.finish("grant")?;
        Ok(Self { lease, window, term_ms })
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LEASE_GRANT_SIZE] {
        let mut bytes = [0; LEASE_GRANT_SIZE];
        let mut writer = Writer::new(&mut bytes);
        writer.put_array([GRANT, 0, 0, 0]);
        put_lease_id(&mut writer, self.lease);
        writer.put_u32(self.window);
        writer.put_u64(self.term_ms);
        bytes
    }
}

fn lease_id(reader: &mut Reader<'_>) -> Result<LeaseId, DecodeError> {
    Ok(LeaseId { number: reader.u64("lease number")?, check: reader.u64("lease check")? })
}

fn put_lease_id(writer: &mut Writer<'_>, lease: LeaseId) {
    writer.put_u64(lease.number);
    writer.put_u64(lease.check);
}

fn zeros(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    let [a, b, c] = *reader.array("three zero bytes")?;
    let value = u64::from(a | b | c);
    if value == 0 { Ok(()) } else { Err(DecodeError::Field { what: "three zero bytes", value }) }
}

const OPEN: u8 = 1;
const CALL: u8 = 2;
const RENEW: u8 = 3;
const RELEASE: u8 = 4;
const GRANT: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_the_constants_say() {
        let lease = LeaseId { number: 1, check: 2 };
        let size = |request: DurableRequest<'_>| request.to_vec().len();
        assert_eq!(size(DurableRequest::Open { client: [0; 16], attempt: 0 }), DURABLE_OPEN_SIZE);
        assert_eq!(size(DurableRequest::Renew { lease, first_incomplete: 3 }), DURABLE_RENEW_SIZE);
        assert_eq!(size(DurableRequest::Release { lease }), DURABLE_RELEASE_SIZE);
        let call = DurableRequest::Call { lease, sequence: 9, first_incomplete: 9, payload: b"abc" };
        assert_eq!(size(call), DURABLE_CALL_HEAD_SIZE + 3);
        assert_eq!(DurableRequest::decode(&call.to_vec()), Ok(call));
    }
}
