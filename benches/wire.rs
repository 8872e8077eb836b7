//! What does it cost to read and write one record, one header, one packet's frames?
//!
//! Expected, from a back-of-envelope sum: a record's head is one 4-byte load, two compares for room, one
//! branch on the kind and one or two more loads: about 10 instructions, so 2 to 4 ns at 3 GHz with
//! well-predicted branches, which is 2 to 4 % of a core at ten million a second. Writing one is a store
//! of 8 or 12 bytes: below 2 ns. A header is 20 bytes and three compares: 2 ns. An ack of 32 ranges is
//! 31 steps of two loads and three checks, plus 300 bytes moved: 50 to 100 ns, once a packet at most.
//!
//! Criterion reports the distribution; the records' figures are per element.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringwire::bounds::{HEADER_SIZE, TAG_SIZE};
use ringwire::wire::{
    ACK_SIZE_MAX, AckHead, CallId, Frame, Frames, Header, MESSAGES_HEAD_SIZE, PacketKind, PacketNumber,
    RecordHeader, Records, SessionId, UnitNumber, Writer, encode_ack, encode_messages_head,
};

/// Records in one 8 KiB unit of 64-byte payloads.
const RECORDS: u64 = 100;
const PAYLOAD_SIZE: usize = 64;
const RANGES_FEW: u64 = 1;
const RANGES_MANY: u64 = 32;

fn header_of(kind: usize, index: u64) -> RecordHeader {
    let call = CallId::new(index as u16, 1);
    match kind {
        0 => RecordHeader::Request { call, method: 0 },
        1 => RecordHeader::Reply { call, status: 0 },
        _ => RecordHeader::Message,
    }
}

fn records(kinds: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in 0..RECORDS {
        let header = header_of(index as usize * 7 % kinds, index);
        let start = bytes.len();
        bytes.resize(start + header.size() + PAYLOAD_SIZE, 0x5a);
        header.encode(PAYLOAD_SIZE as u16, &mut bytes[start..]);
    }
    bytes
}

const HEAD: AckHead = AckHead {
    unit_floor: UnitNumber(900_000),
    ack_delay_ns: 1_000,
    duplicate_seen: false,
    ecn_ce: 0,
    ecn_intact: false,
};

fn ranges(count: u64) -> impl Iterator<Item = (PacketNumber, PacketNumber)> {
    (0..count).map(|index| 1_000_000 - index * 10).map(|high| (PacketNumber(high - 5), PacketNumber(high)))
}

/// An ack and a unit of records, as a busy session sends them.
fn frames(ranges_count: u64) -> Vec<u8> {
    let records = records(1);
    let mut bytes = vec![0; ACK_SIZE_MAX + MESSAGES_HEAD_SIZE + records.len()];
    let mut writer = Writer::new(&mut bytes);
    encode_ack(&mut writer, &HEAD, ranges(ranges_count));
    encode_messages_head(writer.take(MESSAGES_HEAD_SIZE), UnitNumber(901_000), records.len() as u16);
    writer.put_bytes(&records);
    let size = writer.position();
    bytes.truncate(size);
    bytes
}

/// Everything a delivery would take from the records.
fn sum_of_records(bytes: &[u8]) -> usize {
    let mut sum = 0;
    for record in Records::new(bytes) {
        let record = record.expect("encoded by this bench");
        sum += record.offset + record.length;
        if let RecordHeader::Request { call, .. } | RecordHeader::Reply { call, .. } = record.header {
            sum += usize::from(call.slot());
        }
    }
    sum
}

fn bench_records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    group.throughput(Throughput::Elements(RECORDS));
    for (name, kinds) in [("decode/requests", 1), ("decode/mixed", 3)] {
        let bytes = records(kinds);
        group.bench_function(name, |bencher| bencher.iter(|| sum_of_records(black_box(&bytes))));
    }
    let mut out = records(1);
    group.bench_function("encode/requests", |bencher| {
        bencher.iter(|| {
            let mut at = 0;
            for index in 0..RECORDS {
                let header = header_of(0, index);
                header.encode(PAYLOAD_SIZE as u16, &mut out[at..]);
                at += header.size() + PAYLOAD_SIZE;
            }
            black_box(&mut out);
        });
    });
    group.finish();
}

fn bench_packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    let length = (HEADER_SIZE + TAG_SIZE) as u16;
    let header =
        Header { kind: PacketKind::Data, epoch: 0, length, session: SessionId(7), number: PacketNumber(9) };
    let mut bytes = [0; HEADER_SIZE + TAG_SIZE];
    header.encode(&mut bytes);
    group.bench_function("header/decode", |bencher| bencher.iter(|| Header::decode(black_box(&bytes))));
    group.bench_function("header/encode", |bencher| {
        bencher.iter(|| black_box(&header).encode(black_box(&mut bytes)));
    });
    for count in [RANGES_FEW, RANGES_MANY] {
        let bytes = frames(count);
        group.bench_function(format!("frames/ack-of-{count}-and-unit"), |bencher| {
            bencher.iter(|| {
                let mut sum = 0;
                for frame in Frames::new(black_box(&bytes)) {
                    sum += match frame.expect("encoded by this bench") {
                        Frame::Ack(ack) => ack.largest().0 as usize + ack.ranges.len(),
                        Frame::Messages(unit) => unit.length,
                        _ => 0,
                    };
                }
                sum
            });
        });
        let mut out = [0; 512];
        group.bench_function(format!("ack-of-{count}/encode"), |bencher| {
            let mut one =
                || encode_ack(&mut Writer::new(black_box(&mut out)), black_box(&HEAD), ranges(count));
            bencher.iter(|| black_box(one()));
        });
    }
    group.finish();
}

criterion_group!(benches, bench_records, bench_packets);
criterion_main!(benches);
