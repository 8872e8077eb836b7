//! Small calls packed into packets of 8 KiB, or of what the path carries, that leave 16 KiB at a time, and bulk in full trains, copied once
//! on either side, sealed or not: the bound on what any protocol over UDP can do here. Nothing is acknowledged.
//!
//! ```text
//! packet: [24 bytes as a header][id u64, length u32, body]...[16 bytes as a tag]
//! ```

use super::Options;
use super::duel::{Stop, duel};
use super::path::Path;
use super::sealing::{Closer, Sealing};
use crate::crypto::Role;
use crate::rings::{Direction, PacketMemory, copy};
use crate::sys::batch::discard;
use crate::sys::{Outgoing, ReceiveArena, SendBatch, Socket};

/// Calls of 64 bytes echoed a second with `window` in flight.
pub(super) fn calls_per_s(options: &Options, path: &Path, window: usize, sealing: Sealing) -> Option<f64> {
    let (here, there) = path.udp_pair(true).ok()?;
    let size = path.packet_size();
    duel(
        options,
        |stop| echo(&there, size, sealing, stop),
        |watch| {
            let mut packer = Packer::new(size, calls_train(size), sealing.end(Role::Client));
            let mut unpacker = Unpacker::new(sealing.end(Role::Client));
            let body = [7; BODY];
            let (mut next, mut in_flight) = (0u64, 0usize);
            let mut heard = watch.now();
            loop {
                if in_flight < window {
                    while in_flight < window {
                        packer.push(&here, next, &body);
                        next += 1;
                        in_flight += 1;
                    }
                    packer.flush(&here);
                }
                let mut back = 0;
                unpacker.receive(&here, |_, _| back += 1);
                let now = watch.now();
                if back > 0 {
                    in_flight -= back.min(in_flight);
                    heard = now;
                } else if now.since_ns(heard) > LOST_AFTER_NS {
                    // The path loses under want of memory only; a lost train must not end the run.
                    (in_flight, heard) = (0, now);
                }
                if !watch.done_at(now, back as u64) {
                    return watch.per_s();
                }
            }
        },
    )
}

fn echo(socket: &Socket, size: usize, sealing: Sealing, stop: &Stop) {
    let mut packer = Packer::new(size, calls_train(size), sealing.end(Role::Server));
    let mut unpacker = Unpacker::new(sealing.end(Role::Server));
    while !stop.is_set() {
        if unpacker.receive(socket, |id, body| packer.push(socket, id, body)) {
            packer.flush(socket);
        }
    }
}

/// Payload bits a second, one way.
pub(super) fn bulk_bit_s(options: &Options, path: &Path, sealing: Sealing) -> Option<f64> {
    let (there, here) = path.udp_pair(true).ok()?;
    let size = path.packet_size();
    // The receiver holds the watch: only what arrived counts.
    duel(
        options,
        |stop| flood(&here, size, sealing, stop),
        |watch| {
            let mut unpacker = Unpacker::new(sealing.end(Role::Server));
            unpacker.lets_stay = there.go_on_behind_peeked().is_ok();
            let mut application = vec![0u8; size];
            loop {
                let mut bytes = 0;
                unpacker.packets(&there, |plain| {
                    copy(&mut application[..plain.len()], plain);
                    bytes += plain.len();
                });
                if (bytes > 0 || there_is_time_to_look(&mut unpacker.idle)) && !watch.done(bytes as u64) {
                    return watch.per_s().map(|bytes| bytes * 8.0);
                }
            }
        },
    )
}

/// Packets after which calls leave: two, or more where packets are small.
fn calls_train(size: usize) -> usize {
    (CALLS_TRAIN_SIZE / size).max(2)
}

/// Reads the clock only now and then while nothing comes.
fn there_is_time_to_look(idle: &mut u32) -> bool {
    *idle = idle.wrapping_add(1);
    idle.is_multiple_of(64)
}

fn flood(socket: &Socket, size: usize, sealing: Sealing, stop: &Stop) {
    let mut packer = Packer::new(size, TRAIN_SIZE / size, sealing.end(Role::Client));
    let source = vec![7u8; 4 << 20];
    let mut at = 0;
    while !stop.is_set() {
        packer.fill(socket, &source[at..at + size - HEADER - TAG]);
        at = (at + size) % (source.len() - size);
    }
}

/// Packs records into packets and packets into trains.
struct Packer {
    train: PacketMemory,
    closer: Closer,
    batch: SendBatch,
    /// Bytes of a full packet, and packets after which a train leaves.
    size: usize,
    packets: usize,
    /// Where the open packet begins, and where its next record goes.
    start: usize,
    cursor: usize,
}

impl Packer {
    fn new(size: usize, packets: usize, closer: Closer) -> Self {
        let train = PacketMemory::new(size * (packets + 1), Direction::Out);
        Self { train, closer, batch: SendBatch::new(1), size, packets, start: 0, cursor: HEADER }
    }

    fn push(&mut self, socket: &Socket, id: u64, body: &[u8]) {
        if self.cursor + RECORD + body.len() + TAG > self.start + self.size {
            self.close_full(socket);
        }
        let record = &mut self.train[self.cursor..self.cursor + RECORD + body.len()];
        record[..8].copy_from_slice(&id.to_le_bytes());
        record[8..RECORD].copy_from_slice(&(body.len() as u32).to_le_bytes());
        record[RECORD..].copy_from_slice(body);
        self.cursor += RECORD + body.len();
    }

    /// One packet full of bulk.
    fn fill(&mut self, socket: &Socket, body: &[u8]) {
        copy(&mut self.train[self.cursor..self.cursor + body.len()], body);
        self.cursor += body.len();
        self.close_full(socket);
    }

    /// Pads the open packet, which others follow.
    fn close_full(&mut self, socket: &Socket) {
        let end = self.start + self.size;
        self.train[self.cursor..end].fill(0);
        self.closer.close(&mut self.train[self.start..end]);
        self.start = end;
        self.cursor = end + HEADER;
        if self.start == self.packets * self.size {
            self.flush(socket);
        }
    }

    fn flush(&mut self, socket: &Socket) {
        let mut length = self.start;
        if self.cursor > self.start + HEADER {
            length = self.cursor + TAG;
            self.closer.close(&mut self.train[self.start..length]);
        }
        if length == 0 {
            return;
        }
        let segment_size = (length > self.size).then_some(self.size as u16);
        let train = Outgoing { parts: [&self.train[..length]], segment_size, to: None, class: None };
        let _ = self.batch.send(socket, std::iter::once(train));
        (self.start, self.cursor) = (0, HEADER);
    }
}

struct Unpacker {
    arena: ReceiveArena,
    closer: Closer,
    idle: u32,
    /// Trains stay in the socket until they are [`STAYING`], as large ones do with the `mmsg` backend: the kernel then
    /// does not lend the sender what the receiver's core has just read.
    lets_stay: bool,
    staying: usize,
}

impl Unpacker {
    fn new(closer: Closer) -> Self {
        Self { arena: ReceiveArena::new(1, 64 * 1024), closer, idle: 0, lets_stay: false, staying: 0 }
    }

    /// Hands each record of what has arrived to `each`; false when nothing has.
    fn receive(&mut self, socket: &Socket, mut each: impl FnMut(u64, &[u8])) -> bool {
        self.packets(socket, |mut records| {
            while let Some((head, rest)) = records.split_first_chunk::<RECORD>() {
                let (id, length) = head.split_first_chunk().expect("a record's head is longer");
                let length = u32::from_le_bytes(*length.first_chunk().expect("4 bytes are left"));
                let length = length as usize;
                if length == 0 || length > rest.len() {
                    break;
                }
                each(u64::from_le_bytes(*id), &rest[..length]);
                records = &rest[length..];
            }
        })
    }

    fn packets(&mut self, socket: &Socket, mut each: impl FnMut(&[u8])) -> bool {
        if self.arena.receive(socket, 1, self.lets_stay).is_err() {
            return false;
        }
        if self.lets_stay {
            self.staying += 1;
            if self.staying >= STAYING {
                self.staying -= discard(socket, STAYING).unwrap_or(0);
            }
        }
        let arrived = self.arena.arrived(0);
        let train = &mut self.arena.buffer_mut(0)[..arrived.length as usize];
        for packet in train.chunks_mut(arrived.segment_size.max(1) as usize) {
            if packet.len() >= HEADER + TAG && self.closer.open(packet) {
                each(&packet[HEADER..packet.len() - TAG]);
            }
        }
        true
    }
}

const STAYING: usize = 24;
const HEADER: usize = 24;
const TAG: usize = 16;
const RECORD: usize = 12;
const BODY: usize = 64;
/// Bytes after which calls leave: waiting for more would make the two ends take turns.
const CALLS_TRAIN_SIZE: usize = 16_384;
const TRAIN_SIZE: usize = 64_000;
const LOST_AFTER_NS: u64 = 20_000_000;
