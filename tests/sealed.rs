//! A peer that was let in says packets of every kind, most of them slightly wrong, under valid keys: no
//! panic, no invariant broken, no memory kept, and the next peer is served.
//!
//! `RINGWIRE_SAID=1000000 cargo test --release --test sealed -- --nocapture` says more of them;
//! `RINGWIRE_SEED` chooses others. `fuzz/fuzz_targets/sealed.rs` looks for more by coverage.

mod wire_support;

use ringwire::rng::Rng;
use ringwire::testing::said::said;
use ringwire::wire::{
    ACK_FIXED_SIZE, AckHead, CallId, ChannelId, FRAGMENT_HEAD_SIZE, FragmentHeader, MESSAGES_HEAD_SIZE,
    MessageId, PacketNumber, RecordHeader, UNIT_PART_HEAD_SIZE, UnitNumber, Writer, encode_ack,
    encode_fragment_head, encode_messages_head, encode_unit_part_head,
};
use wire_support::vectors;

/// Sessions in a plain test run.
const SESSIONS: u64 = 3_000;

#[test]
fn whatever_a_peer_that_was_let_in_says_others_are_served() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("RINGWIRE_SEED").unwrap_or(1);
    let sessions = number("RINGWIRE_SAID").unwrap_or(SESSIONS);
    let frames: Vec<Vec<u8>> =
        vectors().into_iter().filter(|vector| vector.decoder == "frames").map(|v| v.bytes).collect();
    let (mut packets, mut taken, mut longest) = (0, 0, 0);
    for seed in first..first + sessions {
        let mut rng = Rng::new(seed);
        let bytes = talk(&mut rng, &frames, &mut packets);
        let said = std::panic::catch_unwind(|| said(&bytes)).unwrap_or_else(|panic| {
            eprintln!("RINGWIRE_SEED={seed} RINGWIRE_SAID=1 cargo test --test sealed");
            std::panic::resume_unwind(panic)
        });
        taken += said;
        longest = longest.max(said);
    }
    println!("sessions {sessions}, packets {packets}, taken {taken}, longest {longest}, panics 0");
    assert!(taken as u64 > sessions, "most was refused at once: nothing was tried");
    assert!(longest > 20, "no session lived long enough to get anywhere");
}

/// What a peer knows of its own session while it makes things up.
#[derive(Default)]
struct Teller {
    unit: u64,
    message: u64,
    sequence: u64,
    slot: u16,
    /// A unit that is being said in parts.
    parted: Option<Vec<u8>>,
}

fn talk(rng: &mut Rng, vectors: &[Vec<u8>], packets: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut teller = Teller::default();
    // Some never err, so that what only long sessions reach is reached.
    let errs = rng.below(4) != 0;
    for _ in 0..1 + rng.below(64) {
        *packets += 1;
        let mut frames = match rng.below(16) {
            0 if errs => vectors[rng.below(vectors.len() as u64) as usize].clone(),
            1..=3 => teller.fragment(rng),
            4..=6 => ack(rng, if errs { 40 } else { 1 }),
            7 | 8 => teller.part(rng),
            _ => teller.records(rng),
        };
        if errs && rng.below(8) == 0 {
            damage(rng, &mut frames);
        }
        frames.truncate(2_047);
        let pause = if rng.below(4) == 0 { rng.below(8) as u16 } else { rng.below(3) as u16 };
        let updates = u16::from(errs && rng.below(64) == 0);
        let skips = u16::from(rng.below(64) == 0);
        let head = skips << 15 | updates << 14 | pause << 11 | frames.len() as u16;
        bytes.extend_from_slice(&head.to_le_bytes());
        bytes.extend_from_slice(&frames);
    }
    bytes
}

impl Teller {
    /// The next unit, or now and then one that was said, or that leaves a gap.
    fn unit(&mut self, rng: &mut Rng) -> UnitNumber {
        let unit = match rng.below(24) {
            0 => rng.below(self.unit + 1),
            1 => self.unit + rng.below(5_000),
            _ => self.unit,
        };
        self.unit = self.unit.max(unit + 1);
        UnitNumber(unit)
    }

    fn records(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut frames = vec![0; MESSAGES_HEAD_SIZE];
        for _ in 0..1 + rng.below(8) {
            let header = match rng.below(8) {
                0 => RecordHeader::Message,
                1 => {
                    self.sequence += 1 + rng.below(2) * rng.below(2);
                    RecordHeader::Ordered { channel: ChannelId(rng.below(3) as u32), sequence: self.sequence }
                }
                2 => RecordHeader::Reply { call: CallId::new(rng.below(4) as u16, 0), status: 0 },
                _ => {
                    self.slot += 1;
                    RecordHeader::Request { call: CallId::new(self.slot, 0), method: rng.below(4) as u32 }
                }
            };
            // A reply answers nothing here: it is a lie, and a rare one.
            let header = match header {
                RecordHeader::Reply { .. } if rng.below(16) != 0 => RecordHeader::Message,
                header => header,
            };
            let size = rng.below(200) as usize;
            let start = frames.len();
            frames.resize(start + header.size() + size, 0x77);
            header.encode(size as u16, &mut frames[start..]);
        }
        let size = frames.len() - MESSAGES_HEAD_SIZE;
        let unit = self.unit(rng);
        encode_messages_head(&mut frames, unit, size as u16);
        frames
    }

    /// Of a message that is begun, gone on with, or contradicted.
    fn fragment(&mut self, rng: &mut Rng) -> Vec<u8> {
        if rng.below(3) == 0 {
            self.message += 1;
        }
        let total = [1_000, 70_000, 1 << 20, 64 << 20][self.message as usize % 4];
        let offset = [0, 1_000, 64_000, total / 2][rng.below(4) as usize];
        let size = rng.below(1_000).clamp(1, total - offset.min(total - 1)) as u16;
        let header = FragmentHeader {
            record: RecordHeader::Message,
            message: MessageId(self.message),
            offset: offset.min(total - u64::from(size)),
            total,
        };
        let mut frames = vec![0x33; FRAGMENT_HEAD_SIZE + usize::from(size)];
        let unit = self.unit(rng);
        encode_fragment_head(&mut frames, &header, unit, size);
        frames
    }
}

impl Teller {
    /// A part of the next unit, or one more of the unit that was begun in parts.
    fn part(&mut self, rng: &mut Rng) -> Vec<u8> {
        let begun = self.parted.take().filter(|_| rng.below(6) != 0);
        let whole =
            begun.unwrap_or_else(|| if rng.below(3) == 0 { self.fragment(rng) } else { self.records(rng) });
        let at = if whole[0] == 0x21 { 8 } else { 4 };
        let number = whole[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let total = whole.len();
        let start = [0, total / 2, rng.below(total as u64) as usize][rng.below(3) as usize];
        let longest = (total - start).min(2_000);
        let size = if rng.below(2) == 0 { longest } else { 1 + rng.below(longest as u64) as usize };
        let mut frames = vec![0; UNIT_PART_HEAD_SIZE];
        let (offset, length) = (start as u16, size as u16);
        encode_unit_part_head(&mut frames, UnitNumber(number), offset, total as u16, length);
        frames.extend_from_slice(&whole[start..start + size]);
        self.parted = Some(whole);
        frames
    }
}

fn ack(rng: &mut Rng, beyond: u64) -> Vec<u8> {
    let mut frames = vec![0; ACK_FIXED_SIZE];
    let mut writer = Writer::new(&mut frames);
    let largest = rng.below(beyond);
    let head = AckHead {
        duplicate_seen: rng.below(2) == 0,
        ecn_ce: rng.below(3) as u8,
        ecn_intact: rng.below(2) == 0,
        ack_delay_ns: rng.below(1 << 20) as u32,
        unit_floor: UnitNumber(rng.below(beyond)),
    };
    let smallest = largest - rng.below(largest + 1);
    encode_ack(&mut writer, &head, std::iter::once((PacketNumber(smallest), PacketNumber(largest))));
    frames
}

fn damage(rng: &mut Rng, frames: &mut Vec<u8>) {
    match rng.below(4) {
        0 => frames.truncate(rng.below(frames.len() as u64 + 1) as usize),
        1 => frames.extend_from_slice(&rng.u64().to_le_bytes()),
        _ if frames.is_empty() => {}
        _ => {
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(frames.len() as u64) as usize;
                frames[at] = [0, 0xff, frames[at] ^ 1, rng.u64() as u8][rng.below(4) as usize];
            }
        }
    }
}
