//! What the wire room promises of every value and of any bytes, tried on random ones: a value encodes
//! and decodes to itself, and no bytes make a decoder panic or lie about an offset. proptest prints the
//! smallest failing input.

use proptest::collection::vec;
use proptest::prelude::*;
use ringwire::bounds::{ACK_RANGES_MAX, HEADER_SIZE, TAG_SIZE};
use ringwire::wire::{
    ACK_FIXED_SIZE, ACK_RANGE_SIZE, Accept, AckHead, BLOB_SIZE_MAX, Bounds, COOKIE_SIZE_MAX, CallId,
    ChannelId, CookieReply, DurableRequest, FragmentHeader, FragmentUnit, Frame, Frames, Header,
    INIT_BODY_SIZE, Init, LeaseGrant, LeaseId, MessageId, MessagesUnit, PacketKind, PacketNumber, Record,
    RecordHeader, Records, Refuse, Reset, ServerKey, SessionId, Stats, UNIT_PART_HEAD_SIZE, UnitNumber,
    UnitPart, VERSION, VERSION_HINT_MAX, VersionHint, Writer, check, encode_ack,
};

const BODY_SIZE_MAX: usize = 2_048;

fn record_header() -> impl Strategy<Value = RecordHeader> {
    prop_oneof![
        Just(RecordHeader::Message),
        (any::<u32>(), any::<u64>())
            .prop_map(|(channel, sequence)| RecordHeader::Ordered { channel: ChannelId(channel), sequence }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(call, method)| RecordHeader::Request { call: CallId(call), method }),
        (any::<u32>(), any::<u8>())
            .prop_map(|(call, status)| RecordHeader::Reply { call: CallId(call), status }),
    ]
}

/// Inclusive (smallest, largest) pairs, newest first, cut where they would run below zero.
fn ranges() -> impl Strategy<Value = Vec<(PacketNumber, PacketNumber)>> {
    let step = || prop_oneof![0_u64..5, 0_u64..1 << 32];
    let first = prop_oneof![0_u64..5, 0_u64..1 << 16];
    (any::<u64>(), first, vec((step(), step()), 0..ACK_RANGES_MAX)).prop_map(|(largest, first, steps)| {
        let mut low = largest.saturating_sub(first);
        let mut ranges = vec![(PacketNumber(low), PacketNumber(largest))];
        for (gap, length) in steps {
            let Some(high) = low.checked_sub(gap + 2) else { break };
            low = high.saturating_sub(length);
            ranges.push((PacketNumber(low), PacketNumber(high)));
        }
        ranges
    })
}

fn ack_head() -> impl Strategy<Value = AckHead> {
    // What short steps tell, and long ones.
    let delay = prop_oneof![
        (0_u32..1 << 15).prop_map(|steps| 16 * steps),
        (128_u32..1 << 15).prop_map(|steps| 4_096 * steps)
    ];
    (any::<u64>(), delay, any::<bool>(), any::<u8>(), any::<bool>()).prop_map(
        |(floor, ack_delay_ns, duplicate_seen, ecn_ce, ecn_intact)| AckHead {
            unit_floor: UnitNumber(floor),
            ack_delay_ns,
            duplicate_seen,
            ecn_ce,
            ecn_intact,
        },
    )
}

/// A frame that carries no bytes of its own.
fn control() -> impl Strategy<Value = Frame<'static>> {
    let message = any::<u64>().prop_map(MessageId);
    let session = || any::<u64>().prop_map(SessionId);
    prop_oneof![
        Just(Frame::Ping),
        Just(Frame::AckRequest),
        any::<u64>().prop_map(|limit| Frame::Credit { limit }),
        (prop::option::of((0..u64::MAX).prop_map(MessageId)), any::<u64>())
            .prop_map(|(message, limit)| Frame::Blocked { message, limit }),
        (message, any::<u64>()).prop_map(|(message, offset)| Frame::Grant { message, offset }),
        (any::<u16>(), 0_usize..=255).prop_map(|(code, size)| Frame::Close { code, reason: &REASON[..size] }),
        (any::<u8>(), session(), any::<[u8; 16]>()).prop_map(|(worker, session, token)| Frame::LaneRequest {
            worker,
            session,
            token
        }),
        (session(), session(), any::<[u8; 16]>()).prop_map(|(session, granted, token)| {
            Frame::LaneGrant { status: 0, session, granted, token }
        }),
        (1..=u8::MAX, session()).prop_map(|(status, session)| {
            Frame::LaneGrant { status, session, granted: SessionId(0), token: [0; 16] }
        }),
        any::<[u64; 4]>().prop_map(|[socket_drops, packets_received, corrupt, duplicate]| {
            Frame::Stats(Stats { socket_drops, packets_received, corrupt, duplicate })
        }),
        any::<u64>().prop_map(|data| Frame::PathChallenge { data }),
        any::<u64>().prop_map(|data| Frame::PathResponse { data }),
    ]
}

static REASON: [u8; 255] = [b'r'; 255];

fn fragment() -> impl Strategy<Value = (RecordHeader, u64, u64, u64, u64, Vec<u8>)> {
    let unit_and_message = (any::<u64>(), any::<u64>());
    (record_header(), unit_and_message, any::<u32>(), any::<u32>(), vec(any::<u8>(), 1..600)).prop_map(
        |(record, (unit, message), offset, after, data)| {
            let offset = u64::from(offset);
            (record, unit, message, offset, offset + data.len() as u64 + u64::from(after), data)
        },
    )
}

/// A part of a unit: the unit's number, where its bytes start, how many follow behind, its bytes.
fn part() -> impl Strategy<Value = (u64, u16, u16, Vec<u8>)> {
    (any::<u64>(), 0_u16..7_000, 12_u16..7_000, vec(any::<u8>(), 1..600))
}

fn part_frame((unit, offset, after, data): &(u64, u16, u16, Vec<u8>)) -> (UnitPart, Vec<u8>) {
    let (offset, length) = (*offset, data.len());
    let total = offset + length as u16 + after;
    let part = UnitPart { unit: UnitNumber(*unit), offset, total, data_offset: 0, length };
    let mut bytes = vec![0; length + UNIT_PART_HEAD_SIZE];
    check::encode(&Frame::Part(part), data, &mut Writer::new(&mut bytes));
    (UnitPart { data_offset: UNIT_PART_HEAD_SIZE, ..part }, bytes)
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let sizes = (1_200_u32.., 64_u32..=65_536, 0_u32..=65_536);
    (sizes, any::<u64>(), any::<u64>(), any::<[u32; 3]>()).prop_map(
        |((packet_size_max, unit_window, call_slots), message_size_max, credit, rest)| Bounds {
            packet_size_max,
            unit_window,
            call_slots,
            message_size_max,
            credit,
            max_ack_delay_ns: rest[0],
            idle_timeout_ms: rest[1],
            lanes: rest[2],
        },
    )
}

/// A packet's worth of frames: control, datagrams, at most one unit or two fragments, padding.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let unit = prop_oneof![
        Just(Vec::new()),
        vec((record_header(), vec(any::<u8>(), 0..80)), 0..8).prop_map(|records| messages_frame(7, &records)),
        fragment().prop_map(|fragment| fragment_frame(&fragment)),
        (fragment(), fragment())
            .prop_map(|(one, other)| [fragment_frame(&one), fragment_frame(&other)].concat()),
        part().prop_map(|part| part_frame(&part).1),
    ];
    let datagrams = vec(vec(any::<u8>(), 0..100), 0..3);
    (vec(control(), 0..6), datagrams, unit, 0_usize..40).prop_map(|(controls, datagrams, unit, padding)| {
        let mut bytes = vec![0; 8_192];
        let mut writer = Writer::new(&mut bytes);
        controls.iter().for_each(|frame| check::encode(frame, &[], &mut writer));
        datagrams.iter().for_each(|datagram| ringwire::wire::encode_datagram(&mut writer, datagram));
        writer.put_bytes(&unit);
        writer.put_zeros(padding);
        let size = writer.position();
        bytes.truncate(size);
        bytes
    })
}

fn records_bytes(records: &[(RecordHeader, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (header, payload) in records {
        let mut head = [0; 16];
        header.encode(payload.len() as u16, &mut head);
        bytes.extend_from_slice(&head[..header.size()]);
        bytes.extend_from_slice(payload);
    }
    bytes
}

fn messages_frame(unit: u64, records: &[(RecordHeader, Vec<u8>)]) -> Vec<u8> {
    let records = records_bytes(records);
    let mut bytes = vec![0; records.len() + 12];
    let mut writer = Writer::new(&mut bytes);
    let unit = MessagesUnit { unit: UnitNumber(unit), offset: 0, length: records.len() };
    check::encode(&Frame::Messages(unit), &records, &mut writer);
    bytes
}

fn fragment_frame(
    (record, unit, message, offset, total, data): &(RecordHeader, u64, u64, u64, u64, Vec<u8>),
) -> Vec<u8> {
    let header =
        FragmentHeader { record: *record, message: MessageId(*message), offset: *offset, total: *total };
    let unit = FragmentUnit { unit: UnitNumber(*unit), header, data_offset: 0, length: data.len() };
    let mut bytes = vec![0; data.len() + 56];
    check::encode(&Frame::Fragment(unit), data, &mut Writer::new(&mut bytes));
    bytes
}

proptest! {
    #[test]
    fn a_header_decodes_to_itself(
        kind in prop::sample::select(vec![0x01_u8, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15]),
        epoch: u8, length in 32_u16..2_000, session: u64, number: u32,
    ) {
        let kind = PacketKind::from_byte(kind).expect("one of the kinds");
        let header =
            Header { kind, epoch, length, session: SessionId(session), number: PacketNumber(number.into()) };
        let mut bytes = [0; 2_000];
        header.encode(&mut bytes);
        prop_assert_eq!(Header::decode(&bytes), Ok(header));
        prop_assert!(Header::decode(&bytes[..usize::from(length) - 1]).is_err());
        prop_assert!(Header::decode(&bytes[..HEADER_SIZE]).is_err());
    }

    #[test]
    fn a_control_frame_decodes_to_itself_and_leaves_the_next_alone(frame in control()) {
        let mut bytes = [0xff; 600];
        let mut writer = Writer::new(&mut bytes);
        check::encode(&frame, &[], &mut writer);
        check::encode(&Frame::Ping, &[], &mut writer);
        let size = writer.position();
        let decoded: Vec<_> = Frames::new(&bytes[..size]).collect();
        prop_assert_eq!(decoded, vec![Ok(frame), Ok(Frame::Ping)]);
    }

    #[test]
    fn an_ack_decodes_to_what_was_said_and_leaves_the_next_frame_alone(head in ack_head(), ranges in ranges()) {
        let mut bytes = [0; 400];
        let mut writer = Writer::new(&mut bytes);
        prop_assert_eq!(encode_ack(&mut writer, &head, ranges.iter().copied()), Some(ranges[0].1));
        prop_assert_eq!(writer.position(), ACK_FIXED_SIZE + (ranges.len() - 1) * ACK_RANGE_SIZE);
        check::encode(&Frame::Ping, &[], &mut writer);
        let size = writer.position();
        prop_assert_eq!(check::ack(&bytes[..size]), 1);
        let mut frames = Frames::new(&bytes[..size]);
        let Some(Ok(Frame::Ack(ack))) = frames.next() else { panic!("no ack came back") };
        // P-1.9: the low bits are told.
        let ack = ack.near(ranges[0].1.0, head.unit_floor.0).expect("no range is below zero");
        prop_assert_eq!(ack.head, head);
        prop_assert_eq!(ack.ranges.iter().collect::<Vec<_>>(), ranges);
        prop_assert_eq!(frames.next(), Some(Ok(Frame::Ping)));
        prop_assert_eq!(frames.next(), None);
    }

    #[test]
    fn a_fragment_decodes_to_itself(fragment in fragment()) {
        let bytes = fragment_frame(&fragment);
        let (record, unit, message, offset, total, data) = fragment;
        let header = FragmentHeader { record, message: MessageId(message), offset, total };
        let unit = FragmentUnit { unit: UnitNumber(unit), header, data_offset: 56, length: data.len() };
        let decoded: Vec<_> = Frames::new(&bytes).collect();
        prop_assert_eq!(decoded, vec![Ok(Frame::Fragment(unit))]);
        prop_assert_eq!(&bytes[56..], &data[..]);
    }

    #[test]
    fn a_part_of_a_unit_decodes_to_itself(said in part()) {
        let (part, bytes) = part_frame(&said);
        let decoded: Vec<_> = Frames::new(&bytes).collect();
        prop_assert_eq!(decoded, vec![Ok(Frame::Part(part))]);
        prop_assert_eq!(&bytes[UNIT_PART_HEAD_SIZE..], &said.3[..]);
    }

    #[test]
    fn records_decode_to_themselves(records in vec((record_header(), vec(any::<u8>(), 0..300)), 0..20)) {
        let bytes = records_bytes(&records);
        let decoded: Result<Vec<Record>, _> = Records::new(&bytes).collect();
        let decoded = decoded.expect("what was encoded decodes");
        prop_assert_eq!(decoded.len(), records.len());
        for (found, (header, payload)) in decoded.iter().zip(&records) {
            prop_assert_eq!(&found.header, header);
            prop_assert_eq!(&bytes[found.offset..found.offset + found.length], &payload[..]);
        }
    }

    #[test]
    fn an_init_decodes_to_itself(
        session: u64, boot: u64, bounds in bounds(), suite: u8,
        cookie in vec(any::<u8>(), 0..=COOKIE_SIZE_MAX), blob in vec(any::<u8>(), 0..=BLOB_SIZE_MAX),
    ) {
        let init = Init {
            version: VERSION, session: SessionId(session), boot, bounds, suite, cookie: &cookie, blob: &blob,
        };
        let mut bytes = [0xff; BODY_SIZE_MAX];
        let size = init.encode(&mut bytes);
        prop_assert_eq!(size, INIT_BODY_SIZE);
        prop_assert_eq!(Init::decode(&bytes[..size]), Ok(init));
    }

    #[test]
    fn every_other_handshake_body_decodes_to_itself(
        session in any::<u64>().prop_map(SessionId), boot: u64, bounds in bounds(), suite: u8,
        code: u16,
        cookie in vec(any::<u8>(), 0..=COOKIE_SIZE_MAX), blob in vec(any::<u8>(), 0..=BLOB_SIZE_MAX),
        reason in vec(any::<u8>(), 0..=255), versions in vec(any::<u32>(), 0..=VERSION_HINT_MAX), token: [u8; 16],
    ) {
        let mut bytes = [0xff; BODY_SIZE_MAX];
        let reply = CookieReply { version: VERSION, session, cookie: &cookie };
        let size = reply.encode(&mut bytes);
        prop_assert_eq!(CookieReply::decode(&bytes[..size]), Ok(reply));
        let accept = Accept { version: VERSION, session, boot, bounds, suite, blob: &blob };
        let size = accept.encode(&mut bytes);
        prop_assert_eq!(Accept::decode(&bytes[..size]), Ok(accept));
        let refuse = Refuse { version: VERSION, code, reason: &reason };
        let size = refuse.encode(&mut bytes);
        prop_assert_eq!(Refuse::decode(&bytes[..size]), Ok(refuse));
        let hint = VersionHint::new(&versions);
        let size = hint.encode(&mut bytes);
        prop_assert_eq!(hint.packet_size(), HEADER_SIZE + TAG_SIZE + size);
        prop_assert_eq!(VersionHint::decode(&bytes[..size]), Ok(hint));
        prop_assert_eq!(hint.versions(), &versions[..]);
        let known = ServerKey { version: VERSION, key: [code as u8; 32] };
        let size = known.encode(&mut bytes);
        prop_assert_eq!(ServerKey::decode(&bytes[..size]), Ok(known));
        let reset = Reset { token };
        let size = reset.encode(&mut bytes);
        prop_assert_eq!(Reset::decode(&bytes[..size]), Ok(reset));
    }

    #[test]
    fn a_durable_request_and_a_grant_encode_and_decode_to_themselves(
        names in any::<[u64; 4]>(), client in any::<[u8; 16]>(), window in 1_u32.., payload in vec(any::<u8>(), 0..200),
    ) {
        let [number, check, a, b] = names;
        let lease = LeaseId { number, check };
        let (first_incomplete, sequence) = (a.min(b), a.max(b));
        for request in [
            DurableRequest::Open { client, attempt: a },
            DurableRequest::Call { lease, sequence, first_incomplete, payload: &payload },
            DurableRequest::Renew { lease, first_incomplete },
            DurableRequest::Release { lease },
        ] {
            let bytes = request.to_vec();
            prop_assert_eq!(DurableRequest::decode(&bytes), Ok(request));
            prop_assert_eq!(check::durable(&bytes), 1);
        }
        let grant = LeaseGrant { lease, window, term_ms: a.max(1) };
        prop_assert_eq!(LeaseGrant::decode(&grant.encode()), Ok(grant));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        check::header(&bytes);
        check::frames(&bytes);
        check::ack(&bytes);
        check::records(&bytes);
        check::handshake(&bytes);
        check::durable(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_likely_first_byte_never_panic(
        kind in prop::sample::select(vec![1_u8, 2, 3, 4, 5, 6, 8, 9, 0x0a, 0x0b, 0x20, 0x21, 0x30, 0x40, 0x41]),
        bytes in vec(prop_oneof![Just(0_u8), 0_u8..4, any::<u8>()], 0..200),
    ) {
        let bytes = [&[kind], &bytes[..]].concat();
        check::durable(&bytes);
        check::frames(&bytes);
        check::ack(&bytes);
        check::records(&bytes);
    }

    #[test]
    fn a_packet_of_frames_survives_every_cut_and_a_changed_byte(bytes in packet(), at: u16, value: u8) {
        let whole = check::frames(&bytes);
        prop_assert!(Frames::new(&bytes).all(|frame| frame.is_ok()));
        for end in 0..bytes.len() {
            prop_assert!(check::frames(&bytes[..end]) <= whole, "a cut packet holds no more frames");
        }
        let mut changed = bytes;
        if let Some(at) = usize::from(at).checked_rem(changed.len()) {
            changed[at] = value;
            check::frames(&changed);
        }
    }
}
