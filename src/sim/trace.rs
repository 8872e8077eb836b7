//! A hash over all that entered the network: two runs of one seed leave the same one.

use std::net::SocketAddr;

use crate::time::Timestamp;

/// See the module. Words are folded in as FNV-1a folds bytes in, with a turn, so that order counts.
#[derive(Clone, Copy, Debug)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(START)
    }
}

impl Trace {
    /// The hash so far.
    #[must_use]
    pub fn hash(self) -> u64 {
        self.0
    }

    /// A packet entered at `now`.
    pub fn packet(&mut self, now: Timestamp, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        self.fold(now.0);
        self.fold(u64::from(from.port()) << 32 | u64::from(to.port()));
        self.fold(packet.len() as u64);
        let (words, rest) = packet.as_chunks();
        words.iter().for_each(|word| self.fold(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn fold(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(FACTOR).rotate_left(29);
    }
}

/// The offset basis and prime of FNV-1a.
const START: u64 = 0xcbf2_9ce4_8422_2325;
const FACTOR: u64 = 0x0000_0100_0000_01b3;
