//! One direction of the tap: packets that wait for their due time, and the rule by which those that
//! travel on together are joined.

use std::collections::BinaryHeap;

use crate::bounds::{TRAIN_PACKETS_MAX, TRAIN_SIZE_MAX};
use crate::time::Timestamp;
use crate::worker::impair::Impairment;

/// One direction: its model, and the packets that are on their way.
pub(super) struct Lane<K> {
    pub(super) model: Impairment,
    held: BinaryHeap<Held<K>>,
    /// Packets so far: packets due at one moment leave in the order they came.
    order: u64,
    spare: Vec<Vec<u8>>,
    pub(super) dropped: u64,
}

impl<K: Copy + PartialEq> Lane<K> {
    pub(super) fn new(model: Impairment) -> Self {
        Self { model, held: BinaryHeap::new(), order: 0, spare: Vec::new(), dropped: 0 }
    }

    pub(super) fn push(&mut self, now: Timestamp, key: K, packet: &[u8]) {
        for delivery in self.model.decide(now, packet.len()) {
            if self.held.len() == HELD_PACKETS_MAX {
                self.dropped += 1;
                continue;
            }
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            bytes.extend_from_slice(packet);
            if let Some(corruption) = delivery.corruption {
                corruption.apply(&mut bytes);
            }
            self.order += 1;
            // A packet cut down to nothing is no packet: no train can hold it.
            if !bytes.is_empty() {
                self.held.push(Held { due: delivery.due, order: self.order, key, bytes });
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.held.peek().map(|held| held.due)
    }

    /// The key of the first packet, if that is due.
    pub(super) fn due_key(&self, now: Timestamp) -> Option<K> {
        self.held.peek().filter(|held| held.due <= now).map(|held| held.key)
    }

    /// The next packet, if it is due and may stand behind `joined`.
    pub(super) fn pop_joining(&mut self, now: Timestamp, key: K, joined: Joined) -> Option<Vec<u8>> {
        let next = self.held.peek()?;
        let fits = next.due <= now && next.key == key && joined.takes(next.bytes.len());
        fits.then(|| self.held.pop().expect("it was looked at above").bytes)
    }

    pub(super) fn recycle(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE_PACKETS_MAX {
            self.spare.push(bytes);
        }
    }
}

/// A packet on its way. The earliest is the greatest: the heap hands out its greatest first.
struct Held<K> {
    due: Timestamp,
    order: u64,
    key: K,
    bytes: Vec<u8>,
}

impl<K> Ord for Held<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl<K> PartialOrd for Held<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> PartialEq for Held<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K> Eq for Held<K> {}

/// The shape of packets joined so far: all of one size, only the last may be shorter.
#[derive(Clone, Copy, Default)]
pub(super) struct Joined {
    packets: usize,
    pub(super) length: usize,
    pub(super) segment_size: usize,
}

impl Joined {
    fn takes(self, size: usize) -> bool {
        if self.packets == 0 {
            return true;
        }
        let last_was_whole = self.length == self.packets * self.segment_size;
        let has_room = self.packets < TRAIN_PACKETS_MAX && self.length + size <= TRAIN_SIZE_MAX;
        last_was_whole && has_room && size <= self.segment_size
    }

    pub(super) fn add(&mut self, size: usize) {
        if self.packets == 0 {
            self.segment_size = size;
        }
        self.packets += 1;
        self.length += size;
    }
}

/// Packets one direction holds back; more are dropped and counted. At 16 KiB each it is 256 MiB.
const HELD_PACKETS_MAX: usize = 16 * 1024;
/// Packet buffers kept for the next packets.
const SPARE_PACKETS_MAX: usize = 1_024;
