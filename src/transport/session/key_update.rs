//! When a session's keys are exchanged for the next (P-11.5), and which packet numbers it leaves out.

use siphasher::sip::SipHasher24;

use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::CloseReason;
use crate::transport::config::Config;
use crate::transport::planted::{self, Fault};
use crate::transport::session::Session;
use crate::transport::shared::Shared;

/// The sending direction's key, and what is known of the peer's having it.
#[derive(Debug)]
pub(super) struct KeyUse {
    packets_max: u64,
    interval_ns: u64,
    began: Timestamp,
    /// The first packet number of this epoch; acknowledged, the peer holds its keys.
    first_number: u64,
    confirmed: bool,
}

/// RFC 9001 §B.1.1: AES-128-GCM seals at most 2^23 packets of this size with one key. The default limit
/// is half of it, so this is reached only by a peer that acknowledges nothing.
const SEALED_MAX: u64 = 1 << 23;

impl KeyUse {
    pub(super) fn new(config: &Config, now: Timestamp) -> Self {
        Self {
            packets_max: config.key_update_packets.clamp(1, SEALED_MAX / 2),
            interval_ns: config.key_update_interval.as_nanos() as u64,
            began: now,
            first_number: 0,
            confirmed: false,
        }
    }

    /// The peer has packet `largest`.
    #[inline]
    pub(super) fn on_acked(&mut self, largest: u64) {
        self.confirmed |= largest >= self.first_number;
    }
}

/// Packet numbers that are never used, so that acks of packets nobody sent show (S07, RFC 9000 §21.4). Each
/// is told by the one before and a secret: gaps that a peer has seen tell it nothing of the next.
#[derive(Debug)]
pub(super) struct Skips {
    secret: SipHasher24,
    next: u64,
}

/// A number is left out about once in this many packets.
const SKIP_EVERY: u64 = 512;

impl Skips {
    pub(super) fn new(secret: &[u8; 16]) -> Self {
        let mut skips = Self { secret: SipHasher24::new_with_key(secret), next: 0 };
        skips.next = 1 + skips.gap(0);
        skips
    }

    fn gap(&self, number: u64) -> u64 {
        self.secret.hash(&number.to_le_bytes()) % (2 * SKIP_EVERY)
    }

    #[cold]
    #[inline(never)]
    fn choose(&mut self, number: u64) {
        self.next = number + 2 + self.gap(number);
    }

    /// True when `number` is to be left out.
    #[inline]
    pub(super) fn is_skipped(&mut self, number: u64) -> bool {
        if number < self.next {
            return false;
        }
        self.choose(number);
        true
    }
}

impl Session {
    /// Before packets are built: goes on with the next keys when it is time, or ends a session whose keys
    /// are worn out.
    #[inline]
    pub(super) fn look_after_keys(&mut self, now: Timestamp, shared: &mut Shared) {
        let Some(usage) = self.protector.usage() else { return };
        let due = usage.sealed >= self.key_use.packets_max
            || now.since_ns(self.key_use.began) >= self.key_use.interval_ns;
        if rarely(due || usage.is_used_up() || usage.sealed >= SEALED_MAX) {
            self.change_keys(now, due, shared);
        }
    }

    #[cold]
    #[inline(never)]
    fn change_keys(&mut self, now: Timestamp, due: bool, shared: &mut Shared) {
        let Some(usage) = self.protector.usage() else { return };
        let confirmed = self.key_use.confirmed || planted::is(Fault::KeyUpdateUnconfirmed);
        if usage.is_used_up() || usage.sealed >= SEALED_MAX {
            self.fail(now, CloseReason::KeysUsedUp, shared);
        } else if due && confirmed && usage.sealed > 0 {
            shared.counters.key_updates += 1;
            self.protector.update();
            self.key_use.began = now;
            self.key_use.first_number = self.sent.next();
            self.key_use.confirmed = false;
        }
    }

    /// The next packet's number. Now and then one is left out.
    #[inline(always)]
    pub(super) fn next_number(&mut self, now: Timestamp) -> u64 {
        if rarely(self.skips.is_some()) {
            self.skip_now_and_then(now);
        }
        self.sent.next()
    }

    #[inline(never)]
    fn skip_now_and_then(&mut self, now: Timestamp) {
        if self.skips.as_mut().is_some_and(|skips| skips.is_skipped(self.sent.next())) {
            self.sent.push_skipped(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_number_in_512_is_left_out_and_never_two_in_a_row() {
        let mut skips = Skips::new(&[7; 16]);
        let skipped: Vec<u64> = (0..512_000).filter(|number| skips.is_skipped(*number)).collect();
        assert!((800..1_200).contains(&skipped.len()), "{}", skipped.len());
        assert!(skipped.windows(2).all(|pair| pair[1] > pair[0] + 1));
    }
}
