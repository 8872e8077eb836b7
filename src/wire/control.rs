//! The control frames: small, fixed, made afresh whenever they are needed (P-5.5).

use super::{DecodeError, Frame, MessageId, RESET_TOKEN_SIZE, Reader, SessionId, Writer, kind};

/// Bytes of a PING.
pub const PING_SIZE: usize = 1;
/// Bytes of an ACK_REQUEST.
pub const ACK_REQUEST_SIZE: usize = 1;
/// Bytes of a CREDIT.
pub const CREDIT_SIZE: usize = 9;
/// Bytes of a BLOCKED.
pub const BLOCKED_SIZE: usize = 17;
/// Bytes of a GRANT.
pub const GRANT_SIZE: usize = 17;
/// Bytes of a CLOSE without its reason.
pub const CLOSE_FIXED_SIZE: usize = 4;
/// Bytes of the largest CLOSE.
pub const CLOSE_SIZE_MAX: usize = CLOSE_FIXED_SIZE + REASON_SIZE_MAX;
/// Bytes of a LANE_REQUEST.
pub const LANE_REQUEST_SIZE: usize = 10 + RESET_TOKEN_SIZE;
/// Bytes of a LANE_GRANT.
pub const LANE_GRANT_SIZE: usize = 18 + RESET_TOKEN_SIZE;
/// Bytes of a STATS.
pub const STATS_SIZE: usize = 34;
/// Bytes of a PATH_CHALLENGE.
pub const PATH_CHALLENGE_SIZE: usize = 9;
/// Bytes of a PATH_RESPONSE.
pub const PATH_RESPONSE_SIZE: usize = 9;
/// Bytes of the longest reason in a CLOSE or REFUSE.
pub const REASON_SIZE_MAX: usize = 255;

/// In BLOCKED: the session's own credit is exhausted, not one message's (P-3.11).
const BLOCKED_SESSION: u64 = u64::MAX;

/// What one end counted on its side of the session, since it opened (P-3.16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets the kernel dropped for want of room in the socket's buffer; shared by all its sessions.
    pub socket_drops: u64,
    /// Packets received that opened.
    pub packets_received: u64,
    /// Packets received whose tag was wrong.
    pub corrupt: u64,
    /// Units or packets received more than once.
    pub duplicate: u64,
}

impl Stats {
    /// Writes a STATS frame, [`STATS_SIZE`] bytes, which must fit.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.put_array([kind::STATS, 0]);
        writer.put_u64(self.socket_drops);
        writer.put_u64(self.packets_received);
        writer.put_u64(self.corrupt);
        writer.put_u64(self.duplicate);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [_, flags] = *reader.array("STATS")?;
        if flags != 0 {
            return Err(DecodeError::Field { what: "STATS flags", value: u64::from(flags) });
        }
        Ok(Self {
            socket_drops: reader.u64("STATS socket drops")?,
            packets_received: reader.u64("STATS packets received")?,
            corrupt: reader.u64("STATS corrupt")?,
            duplicate: reader.u64("STATS duplicate")?,
        })
    }
}

/// Writes a PING: [`PING_SIZE`] bytes, which must fit.
#[inline]
pub fn encode_ping(writer: &mut Writer<'_>) {
    writer.put_u8(kind::PING);
}

/// Writes an ACK_REQUEST: [`ACK_REQUEST_SIZE`] bytes, which must fit.
#[inline]
pub fn encode_ack_request(writer: &mut Writer<'_>) {
    writer.put_u8(kind::ACK_REQUEST);
}

/// The least that a FILL takes, in bytes.
pub const FILL_SIZE_MIN: usize = 4;

/// Makes all of `out` one FILL (P-3.20), which stands before a unit as PADDING stands behind it.
///
/// # Panics
/// When `out` is shorter than [`FILL_SIZE_MIN`] or longer than a packet.
pub fn encode_fill(out: &mut [u8]) {
    let (head, bytes) = out.split_first_chunk_mut().expect("who fills knows the least there is to fill");
    let [low, high] = u16::try_from(bytes.len()).expect("a packet is shorter than 64 KiB").to_le_bytes();
    *head = [kind::FILL, 0, low, high];
    bytes.fill(0);
}

/// Writes a CREDIT: [`CREDIT_SIZE`] bytes, which must fit.
pub fn encode_credit(writer: &mut Writer<'_>, limit: u64) {
    writer.put_u8(kind::CREDIT);
    writer.put_u64(limit);
}

/// Writes a BLOCKED: [`BLOCKED_SIZE`] bytes, which must fit. `None` is the session's own credit.
pub fn encode_blocked(writer: &mut Writer<'_>, message: Option<MessageId>, limit: u64) {
    writer.put_u8(kind::BLOCKED);
    writer.put_u64(message.map_or(BLOCKED_SESSION, |message| message.0));
    writer.put_u64(limit);
}

/// Writes a GRANT: [`GRANT_SIZE`] bytes, which must fit.
pub fn encode_grant(writer: &mut Writer<'_>, message: MessageId, offset: u64) {
    writer.put_u8(kind::GRANT);
    writer.put_u64(message.0);
    writer.put_u64(offset);
}

/// Writes a CLOSE: [`CLOSE_FIXED_SIZE`] bytes and the reason's, which must fit. Of a reason longer than
/// [`REASON_SIZE_MAX`] the front is sent.
pub fn encode_close(writer: &mut Writer<'_>, code: u16, reason: &str) {
    encode_close_bytes(writer, code, reason.as_bytes());
}

/// Writes a LANE_REQUEST: [`LANE_REQUEST_SIZE`] bytes, which must fit.
pub fn encode_lane_request(
    writer: &mut Writer<'_>,
    worker: u8,
    session: SessionId,
    token: &[u8; RESET_TOKEN_SIZE],
) {
    writer.put_array([kind::LANE_REQUEST, worker]);
    writer.put_u64(session.0);
    writer.put_bytes(token);
}

/// Writes a LANE_GRANT that grants: [`LANE_GRANT_SIZE`] bytes, which must fit.
pub fn encode_lane_grant(
    writer: &mut Writer<'_>,
    session: SessionId,
    granted: SessionId,
    token: &[u8; RESET_TOKEN_SIZE],
) {
    writer.put_array([kind::LANE_GRANT, 0]);
    writer.put_u64(session.0);
    writer.put_u64(granted.0);
    writer.put_bytes(token);
}

/// Writes a LANE_GRANT that refuses, for the reason `status`, which is not 0: [`LANE_GRANT_SIZE`] bytes,
/// which must fit.
pub fn encode_lane_refusal(writer: &mut Writer<'_>, status: u8, session: SessionId) {
    debug_assert_ne!(status, 0, "0 grants");
    writer.put_array([kind::LANE_GRANT, status]);
    writer.put_u64(session.0);
    writer.put_zeros(8 + RESET_TOKEN_SIZE);
}

/// A LANE_GRANT behind its kind.
#[cold]
pub(super) fn decode_lane_grant(reader: &mut Reader<'_>) -> Result<Frame<'static>, DecodeError> {
    let status = reader.u8("LANE_GRANT status")?;
    let session = SessionId(reader.u64("LANE_GRANT session")?);
    let granted = SessionId(reader.u64("LANE_GRANT granted")?);
    let token = *reader.array("LANE_GRANT token")?;
    if status != 0 && (granted.0 != 0 || token != [0; RESET_TOKEN_SIZE]) {
        // P-1.7: what has no meaning is zero.
        return Err(DecodeError::Field { what: "LANE_GRANT status", value: u64::from(status) });
    }
    Ok(Frame::LaneGrant { status, session, granted, token })
}

/// Writes a PATH_CHALLENGE: [`PATH_CHALLENGE_SIZE`] bytes, which must fit.
pub fn encode_path_challenge(writer: &mut Writer<'_>, data: u64) {
    writer.put_u8(kind::PATH_CHALLENGE);
    writer.put_u64(data);
}

/// Writes a PATH_RESPONSE: [`PATH_RESPONSE_SIZE`] bytes, which must fit.
pub fn encode_path_response(writer: &mut Writer<'_>, data: u64) {
    writer.put_u8(kind::PATH_RESPONSE);
    writer.put_u64(data);
}

pub(super) fn encode_close_bytes(writer: &mut Writer<'_>, code: u16, reason: &[u8]) {
    writer.put_u8(kind::CLOSE);
    writer.put_u16(code);
    put_reason(writer, reason);
}

pub(super) fn blocked_message(value: u64) -> Option<MessageId> {
    (value != BLOCKED_SESSION).then_some(MessageId(value))
}

/// A length byte and at most 255 bytes of reason.
pub(super) fn put_reason(writer: &mut Writer<'_>, reason: &[u8]) {
    let reason = &reason[..reason.len().min(REASON_SIZE_MAX)];
    writer.put_u8(reason.len() as u8);
    writer.put_bytes(reason);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frames;

    #[test]
    fn every_control_frame_has_the_size_its_constant_says() {
        let size = |encode: &dyn Fn(&mut Writer<'_>)| {
            let mut bytes = [0; 512];
            let mut writer = Writer::new(&mut bytes);
            encode(&mut writer);
            writer.position()
        };
        let session = SessionId(1);
        assert_eq!(size(&|w| encode_ping(w)), PING_SIZE);
        assert_eq!(size(&|w| encode_ack_request(w)), ACK_REQUEST_SIZE);
        assert_eq!(size(&|w| encode_credit(w, 1)), CREDIT_SIZE);
        assert_eq!(size(&|w| encode_blocked(w, None, 1)), BLOCKED_SIZE);
        assert_eq!(size(&|w| encode_grant(w, MessageId(1), 1)), GRANT_SIZE);
        assert_eq!(size(&|w| encode_close(w, 1, "")), CLOSE_FIXED_SIZE);
        assert_eq!(size(&|w| encode_close(w, 1, &"x".repeat(999))), CLOSE_SIZE_MAX);
        assert_eq!(size(&|w| encode_lane_request(w, 1, session, &[1; 16])), LANE_REQUEST_SIZE);
        assert_eq!(size(&|w| encode_lane_grant(w, session, session, &[1; 16])), LANE_GRANT_SIZE);
        assert_eq!(size(&|w| encode_lane_refusal(w, 1, session)), LANE_GRANT_SIZE);
        assert_eq!(size(&|w| Stats::default().encode(w)), STATS_SIZE);
        assert_eq!(size(&|w| encode_path_challenge(w, 1)), PATH_CHALLENGE_SIZE);
        assert_eq!(size(&|w| encode_path_response(w, 1)), PATH_RESPONSE_SIZE);
    }

    #[test]
    fn a_fill_of_any_size_is_stepped_over_to_the_byte() {
        for size in FILL_SIZE_MIN..400 {
            let mut bytes = vec![0xa5; size + 1];
            encode_fill(&mut bytes[..size]);
            bytes[size] = kind::PING;
            assert_eq!(Frames::new(&bytes).collect::<Vec<_>>(), [Ok(Frame::Ping)], "{size}");
        }
    }

    #[test]
    fn a_reason_cut_inside_a_character_still_decodes() {
        // 128 characters of two bytes are 256: the cut at 255 falls inside the last.
        let mut bytes = [0; CLOSE_SIZE_MAX];
        encode_close(&mut Writer::new(&mut bytes), 1, &"é".repeat(128));
        let Some(Ok(Frame::Close { reason, .. })) = Frames::new(&bytes).next() else { panic!("a CLOSE") };
        assert_eq!(reason.len(), REASON_SIZE_MAX);
        assert!(String::from_utf8_lossy(reason).ends_with('\u{fffd}'));
    }
}
