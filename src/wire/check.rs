//! What must hold for any bytes whatever. The fuzz targets, the property tests and the replay of the
//! committed seeds all run these functions, so that they cannot drift apart.
//!
//! Each takes arbitrary bytes, panics when a promise of this room is broken, and returns how many
//! things it decoded, so that a caller can see that its input was not all refused.

use super::{
    ACK_FIXED_SIZE, ACK_RANGE_SIZE, Accept, CookieReply, DecodeError, DurableRequest, Frame, Frames, Header,
    Init, LeaseGrant, PacketNumber, Record, Records, Refuse, Reset, ServerKey, VersionHint, Writer, control,
    encode_ack, encode_ack_request, encode_blocked, encode_credit, encode_datagram, encode_fragment_head,
    encode_grant, encode_lane_grant, encode_lane_refusal, encode_lane_request, encode_messages_head,
    encode_path_challenge, encode_path_response, encode_ping, encode_unit_part_head, unit,
};
use crate::bounds::{ACK_RANGES_MAX, HEADER_SIZE, TAG_SIZE};

/// A header that decodes names a packet inside the bytes, and encodes to the same 16.
pub fn header(bytes: &[u8]) -> usize {
    let header = match Header::decode(bytes) {
        Ok(header) => header,
        Err(error) => return refused(&error),
    };
    let length = usize::from(header.length);
    assert!(length >= HEADER_SIZE + TAG_SIZE);
    assert!(length <= bytes.len());
    let mut again = [0xa5; HEADER_SIZE];
    header.encode(&mut again);
    assert_eq!(again, bytes[..HEADER_SIZE]);
    1
}

/// Every frame that decodes encodes to the bytes it came from; after an error nothing follows; at
/// most one is a unit, or two are FRAGMENTs; and the records inside are held to [`records`].
pub fn frames(bytes: &[u8]) -> usize {
    let mut frames = Frames::new(bytes);
    let mut again = vec![0xa5; bytes.len()];
    let (mut count, mut units, mut fragments) = (0, 0, 0);
    while let Some(frame) = frames.next() {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                assert!(frames.next().is_none(), "nothing follows an error");
                return count + refused(&error);
            }
        };
        count += 1;
        let end = frames.position();
        let mut writer = Writer::new(&mut again);
        encode(&whole(frame), bytes, &mut writer);
        let size = writer.position();
        assert_eq!(again[..size], bytes[end - size..end], "{frame:?} encodes to the bytes it came from");
        match frame {
            Frame::Messages(unit) => {
                units += 1;
                records(&bytes[unit.offset..unit.offset + unit.length]);
            }
            Frame::Part(part) => {
                units += 1;
                assert!(usize::from(part.offset) + part.length <= usize::from(part.total));
            }
            Frame::Fragment(fragment) => {
                fragments += 1;
                assert!(fragment.header.offset + fragment.length as u64 <= fragment.header.total);
            }
            _ => {}
        }
    }
    assert!(units + fragments <= 1 || (units, fragments) == (0, 2));
    assert!(frames.next().is_none(), "an exhausted iterator stays exhausted");
    count
}

/// An end that stands there knows packets and units enough for any ack.
const ANY_NUMBER: u64 = 1 << 60;

/// `frame`, with numbers of which a packet tells the low bits made whole.
fn whole(frame: Frame<'_>) -> Frame<'_> {
    match frame {
        Frame::Ack(ack) => Frame::Ack(ack.near(ANY_NUMBER, ANY_NUMBER).expect("no range is that long")),
        frame => frame,
    }
}

/// Records that decode lie end to end, fill the bytes, and encode to the same heads.
pub fn records(bytes: &[u8]) -> usize {
    let mut records = Records::new(bytes);
    let (mut at, mut count) = (0, 0);
    while let Some(record) = records.next() {
        let Record { header, offset, length } = match record {
            Ok(record) => record,
            Err(error) => {
                assert!(records.next().is_none(), "nothing follows an error");
                return count + refused(&error);
            }
        };
        assert_eq!(offset, at + header.size(), "no bytes between two records");
        let mut head = [0xa5; super::RECORD_HEAD_SIZE_MAX];
        let payload_length = u16::try_from(length).expect("a record's length is 16 bits on the wire");
        header.encode(payload_length, &mut head);
        assert_eq!(head[..header.size()], bytes[at..offset], "{header:?} encodes to the bytes it came from");
        at = offset + length;
        count += 1;
    }
    assert_eq!(at, bytes.len(), "records without an error fill their bytes");
    count
}

/// The ranges of an ack are ordered, apart, above zero, and the same when built by `push`.
pub fn ack(bytes: &[u8]) -> usize {
    frames(bytes);
    let mut frames = Frames::new(bytes);
    let Some(Ok(Frame::Ack(ack))) = frames.next() else { return 0 };
    // Not at the front when a frame was skipped before it.
    let end = frames.position();
    let ack = ack.near(ANY_NUMBER, ANY_NUMBER).expect("no range is that long");
    let (largest, ranges) = (ack.largest(), ack.ranges);
    assert!((1..=ACK_RANGES_MAX).contains(&ranges.len()));
    assert_eq!(ranges.iter().count(), ranges.len());
    let mut before: Option<PacketNumber> = None;
    for (low, high) in ranges.iter() {
        assert!(low <= high);
        assert!(before.map_or(high == largest, |before| high.0 + 1 < before.0));
        assert!(ranges.contains(low));
        assert!(ranges.contains(high));
        assert!(low.0.checked_sub(1).is_none_or(|below| !ranges.contains(PacketNumber(below))));
        before = Some(low);
    }
    let mut again = vec![0; bytes.len()];
    let mut writer = Writer::new(&mut again);
    assert_eq!(encode_ack(&mut writer, &ack.head, ranges.iter()), Some(largest));
    let said = &bytes[end - writer.position()..end];
    assert_eq!(writer.written(), said, "what was decoded is said again alike");
    1
}

/// Every handshake body that decodes encodes to the same bytes.
pub fn handshake(bytes: &[u8]) -> usize {
    let mut again = vec![0xa5; bytes.len()];
    let mut count = 0;
    let mut same = |name: &str, encode: &dyn Fn(&mut [u8]) -> usize| {
        let size = encode(&mut again);
        assert_eq!(again[..size], *bytes, "{name} encodes to the bytes it came from");
        count += 1;
    };
    let _ = Init::decode(bytes).map(|body| same("INIT", &|out| body.encode(out)));
    let _ = CookieReply::decode(bytes).map(|body| same("COOKIE", &|out| body.encode(out)));
    let _ = Accept::decode(bytes).map(|body| same("ACCEPT", &|out| body.encode(out)));
    let _ = Refuse::decode(bytes).map(|body| same("REFUSE", &|out| body.encode(out)));
    let _ = VersionHint::decode(bytes).map(|body| same("VERSION_HINT", &|out| body.encode(out)));
    let _ = Reset::decode(bytes).map(|body| same("RESET", &|out| body.encode(out)));
    let _ = ServerKey::decode(bytes).map(|body| same("SERVER_KEY", &|out| body.encode(out)));
    count
}

/// A durable call's payload and a lease's grant encode to the bytes they came from.
pub fn durable(bytes: &[u8]) -> usize {
    let mut count = 0;
    match DurableRequest::decode(bytes) {
        Ok(request) => {
            assert_eq!(request.to_vec(), bytes, "{request:?} encodes to the bytes it came from");
            if let DurableRequest::Call { sequence, first_incomplete, .. } = request {
                assert!(first_incomplete <= sequence);
            }
            count += 1;
        }
        Err(error) => count += refused(&error),
    }
    if let Ok(grant) = LeaseGrant::decode(bytes) {
        assert_eq!(grant.encode(), *bytes);
        assert!(grant.window > 0);
        count += 1;
    }
    count
}

/// Writes `frame`, whose offsets count into `source`.
pub fn encode(frame: &Frame<'_>, source: &[u8], writer: &mut Writer<'_>) {
    match *frame {
        Frame::Ping => encode_ping(writer),
        Frame::AckRequest => encode_ack_request(writer),
        Frame::Ack(ack) => {
            let start = writer.position();
            assert!(encode_ack(writer, &ack.head, ack.ranges.iter()).is_some());
            assert_eq!(writer.position() - start, ACK_FIXED_SIZE + (ack.ranges.len() - 1) * ACK_RANGE_SIZE);
        }
        Frame::Credit { limit } => encode_credit(writer, limit),
        Frame::Blocked { message, limit } => encode_blocked(writer, message, limit),
        Frame::Grant { message, offset } => encode_grant(writer, message, offset),
        Frame::Close { code, reason } => control::encode_close_bytes(writer, code, reason),
        Frame::LaneRequest { worker, session, token } => encode_lane_request(writer, worker, session, &token),
        Frame::LaneGrant { status, session, granted, token } => match status {
            0 => encode_lane_grant(writer, session, granted, &token),
            status => encode_lane_refusal(writer, status, session),
        },
        Frame::Stats(stats) => stats.encode(writer),
        Frame::Messages(unit) => {
            let length = unit.length as u16;
            encode_messages_head(writer.take(unit::MESSAGES_HEAD_SIZE), unit.unit, length);
            writer.put_bytes(&source[unit.offset..unit.offset + unit.length]);
        }
        Frame::Fragment(unit) => {
            let length = unit.length as u16;
            encode_fragment_head(writer.take(unit::FRAGMENT_HEAD_SIZE), &unit.header, unit.unit, length);
            writer.put_bytes(&source[unit.data_offset..unit.data_offset + unit.length]);
        }
        Frame::Part(part) => {
            let head = writer.take(unit::UNIT_PART_HEAD_SIZE);
            encode_unit_part_head(head, part.unit, part.offset, part.total, part.length as u16);
            writer.put_bytes(&source[part.data_offset..part.data_offset + part.length]);
        }
        Frame::PathChallenge { data } => encode_path_challenge(writer, data),
        Frame::PathResponse { data } => encode_path_response(writer, data),
        Frame::Datagram { offset, length } => encode_datagram(writer, &source[offset..offset + length]),
    }
}

/// An error can always be shown.
fn refused(error: &DecodeError) -> usize {
    assert!(!error.to_string().is_empty());
    0
}
