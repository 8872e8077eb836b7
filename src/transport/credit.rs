//! Session credit: bytes a sender may have under way so that the receiver's buffers never overflow.
//!
//! Cumulative, like a sequence number: the receiver names the total it will take in the session's
//! life, the sender counts what it sent, each unit once. A lost CREDIT thus costs time, never truth.
//!
//! ```text
//! receiver   0 ......... consumed ......... charged ......... limit = consumed + share
//! sender     0 ............................ taken ........... limit it was told
//! ```

use crate::bounds::{PACKET_SIZE_MAX, UNIT_CREDIT_OVERHEAD};

/// What a unit of `bytes` costs: the kernel charges a packet its true size, so every unit pays for
/// that beside its bytes. Empty messages cost, too.
#[must_use]
pub fn cost(bytes: usize) -> u64 {
    bytes as u64 + UNIT_CREDIT_OVERHEAD
}

/// The credit of one of `active` sessions on a socket whose receive buffer holds `buffer_size` bytes
/// of true size: they share a quarter of it (L51), and each has at least two packets' worth.
///
/// The buffer has to hold what arrives while the worker is away, not what is under way: over a round
/// trip longer than `AWAY_NS` credit is spent spread out, so the share grows with the round trip,
/// to `SPREAD_MAX` times (P-7.4). Otherwise a small buffer would hold a long path to a few packets a
/// round trip, whatever the path carries.
#[must_use]
pub fn session_share(buffer_size: u64, active: u64, rtt_ns: u64) -> u64 {
    // L51, RFC 9000 §21.7: a sender may be "causing the receiver to commit resources for the unsent data": what is
    // promised to all together is there.
    let spread = (rtt_ns / AWAY_NS).clamp(1, SPREAD_MAX);
    (buffer_size / 4 / active.max(1)).max(2 * IDLE_SHARE) * spread
}

/// The peer sent more than it was allowed: the session closes (L49).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent {charged} bytes of credit, and was given {limit}")]
pub struct CreditExceeded {
    /// What it sent, in credit.
    pub charged: u64,
    /// What it was allowed.
    pub limit: u64,
}

/// The receiving side's account.
#[derive(Clone, Debug)]
pub struct CreditIn {
    charged: u64,
    consumed: u64,
    share: u64,
    /// Bytes the application keeps though they count as consumed.
    kept: u64,
    /// The limit the peer was last told.
    advertised: u64,
    /// The peer waits, or its last CREDIT may be lost.
    urgent: bool,
}

impl CreditIn {
    /// An account whose peer was told `initial` in the handshake.
    #[must_use]
    pub fn new(initial: u64) -> Self {
        Self { charged: 0, consumed: 0, share: initial, kept: 0, advertised: initial, urgent: false }
    }

    /// A unit that was not seen before arrived and cost `cost`.
    ///
    /// # Errors
    /// [`CreditExceeded`]; the unit must not be delivered.
    pub fn charge(&mut self, cost: u64) -> Result<(), CreditExceeded> {
        // L49, RFC 9000 §4.1: "A receiver MUST close the connection with an error of type FLOW_CONTROL_ERROR if the
        // sender violates" its limits.
        let charged = self.charged.saturating_add(cost);
        if charged > self.advertised {
            return Err(CreditExceeded { charged, limit: self.advertised });
        }
        self.charged = charged;
        Ok(())
    }

    /// The application took what had cost `cost`.
    pub fn consume(&mut self, cost: u64) {
        self.consumed += cost;
        debug_assert!(self.consumed <= self.charged);
    }

    /// The application keeps `bytes` of what was consumed.
    pub fn hold(&mut self, bytes: u64) {
        self.kept += bytes;
    }

    /// The application is done with `bytes` it kept.
    pub fn release(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.kept);
        self.kept = self.kept.saturating_sub(bytes);
    }

    /// Sets the credit the session may hold: its share while active, [`IDLE_SHARE`] while idle. What
    /// was advertised is never taken back (L49); a smaller share counts as it is used up.
    pub fn set_share(&mut self, bytes: u64) {
        self.share = bytes.max(IDLE_SHARE);
    }

    /// The peer says it is blocked at `limit` (L50). It is answered even when nothing moved since the
    /// last CREDIT, which may be lost.
    pub fn on_blocked(&mut self, limit: u64) {
        // L50, RFC 9000 §4.1: a sender "SHOULD send a STREAM_DATA_BLOCKED or DATA_BLOCKED frame to indicate to the
        // receiver that it has data to write but is blocked by flow control limits."
        self.urgent |= limit < self.limit();
    }

    /// The packet that carried the last CREDIT was lost.
    pub fn on_credit_lost(&mut self) {
        self.urgent = true;
    }

    /// The limit to send now, when it moved by a quarter of the share or the peer waits for it.
    #[inline(always)]
    #[must_use]
    pub fn update_due(&self) -> Option<u64> {
        let limit = self.limit();
        let moved = limit - self.advertised;
        (self.urgent || (moved > 0 && moved >= self.share / 4)).then_some(limit)
    }

    /// A CREDIT with `limit` leaves.
    pub fn on_advertised(&mut self, limit: u64) {
        debug_assert!(limit >= self.advertised);
        self.advertised = limit;
        self.urgent = false;
    }

    /// Whether the peer has credit left for a packet.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.advertised - self.charged >= IDLE_SHARE
    }

    /// What could be advertised now: never less than before.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.consumed.saturating_add(self.share).saturating_sub(self.kept).max(self.advertised)
    }

    /// Credit of what arrived and is not yet taken.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.charged - self.consumed
    }
}

/// The sending side's account.
#[derive(Clone, Debug)]
pub struct CreditOut {
    taken: u64,
    limit: u64,
    /// The limit that a BLOCKED was last sent for.
    blocked_at: Option<u64>,
}

impl CreditOut {
    /// An account with the limit that the peer gave in the handshake.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { taken: 0, limit, blocked_at: None }
    }

    /// Credit left.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.limit - self.taken
    }

    /// Takes `cost` for a unit that is sent for the first time; false, and nothing taken, when there
    /// is not enough. A retransmission costs nothing.
    #[must_use]
    pub fn take(&mut self, cost: u64) -> bool {
        if cost > self.available() {
            return false;
        }
        self.taken += cost;
        true
    }

    /// The peer allows `limit` in all. Reordered or repeated, a smaller one changes nothing (L49).
    /// True when there is more than before.
    pub fn on_limit(&mut self, limit: u64) -> bool {
        let raised = limit > self.limit;
        if raised {
            self.limit = limit;
            self.blocked_at = None;
        }
        raised
    }

    /// The sender has something to send and not the credit. The limit to report in a BLOCKED, once
    /// for each limit; the probe timer reports it again by [`CreditOut::limit`] (L50).
    #[must_use]
    pub fn block(&mut self) -> Option<u64> {
        let news = self.blocked_at != Some(self.limit);
        self.blocked_at = Some(self.limit);
        news.then_some(self.limit)
    }

    /// Whether a BLOCKED was reported and nothing came of it yet: the probe timer must run.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked_at.is_some()
    }

    /// The limit the peer last gave.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

/// The credit of an idle session: one packet of the largest size.
pub const IDLE_SHARE: u64 = PACKET_SIZE_MAX as u64 + UNIT_CREDIT_OVERHEAD;
/// How long a worker may be away from its socket before the buffer is counted on to be read: handlers
/// that overrun, a core lost to another process.
const AWAY_NS: u64 = 5_000_000;
/// The most that a long round trip multiplies a share by.
const SPREAD_MAX: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_unit_costs_its_bytes_and_what_the_kernel_charges() {
        assert_eq!(cost(0), UNIT_CREDIT_OVERHEAD);
        assert_eq!(cost(1_000), 1_000 + UNIT_CREDIT_OVERHEAD);
    }

    #[test]
    fn active_sessions_share_a_quarter_of_the_buffer() {
        // L51.
        assert_eq!(session_share(16 << 20, 4, 50_000), 1 << 20);
        assert_eq!(session_share(16 << 20, 0, 50_000), 4 << 20);
        // The 208 KiB of an unprivileged user.
        assert_eq!(session_share(212_992, 1, 50_000), 53_248);
        assert_eq!(session_share(212_992, 1_000, 50_000), 2 * IDLE_SHARE);
    }

    #[test]
    fn a_long_round_trip_with_a_small_buffer_is_not_held_to_two_packets_each() {
        let near = session_share(212_992, 3, 1_000_000);
        assert_eq!(session_share(212_992, 3, 9_999_999), near);
        assert_eq!(session_share(212_992, 3, 74_000_000), 14 * near);
        assert_eq!(session_share(212_992, 3, u64::MAX), 16 * near);
    }

    #[test]
    fn credit_is_updated_when_a_quarter_of_the_share_moved() {
        let mut credit = CreditIn::new(100_000);
        credit.charge(50_000).unwrap();
        credit.consume(24_999);
        assert_eq!(credit.update_due(), None);
        credit.consume(1);
        assert_eq!(credit.update_due(), Some(125_000));
        credit.on_advertised(125_000);
        assert_eq!(credit.update_due(), None);
        assert_eq!(credit.held(), 25_000);
    }

    #[test]
    fn a_peer_that_exceeds_its_credit_is_found_out() {
        // L49.
        let mut credit = CreditIn::new(20_000);
        assert_eq!(credit.charge(20_000), Ok(()));
        assert_eq!(credit.charge(1), Err(CreditExceeded { charged: 20_001, limit: 20_000 }));
        assert!(credit.charge(u64::MAX).is_err());
    }

    #[test]
    fn credit_never_shrinks() {
        // L49.
        let mut credit = CreditIn::new(1_000_000);
        credit.set_share(20_000);
        assert_eq!(credit.limit(), 1_000_000);
        credit.charge(990_000).unwrap();
        credit.consume(990_000);
        assert_eq!(credit.update_due(), Some(1_010_000));
        let mut sender = CreditOut::new(1_000);
        assert!(!sender.on_limit(999));
        assert_eq!(sender.available(), 1_000);
    }

    #[test]
    fn a_blocked_peer_is_answered_though_little_moved() {
        // L50: 10 bytes moved; and again though nothing moved, if the CREDIT was lost.
        let mut credit = CreditIn::new(100_000);
        credit.charge(100_000).unwrap();
        credit.on_blocked(100_000);
        assert_eq!(credit.update_due(), None);
        credit.consume(10);
        credit.on_blocked(100_000);
        assert_eq!(credit.update_due(), Some(100_010));
        credit.on_advertised(100_010);
        credit.on_blocked(100_000);
        assert_eq!(credit.update_due(), Some(100_010));
    }

    #[test]
    fn bytes_the_application_keeps_come_back_as_credit_when_it_is_done() {
        let mut credit = CreditIn::new(100_000);
        credit.charge(80_000).unwrap();
        credit.consume(80_000);
        credit.hold(80_000);
        assert_eq!(credit.update_due(), None);
        credit.release(50_000);
        assert_eq!(credit.update_due(), Some(150_000));
        credit.on_advertised(150_000);
        credit.hold(1_000_000);
        assert_eq!(credit.limit(), 150_000, "what was given is never taken back");
    }

    #[test]
    fn a_lost_credit_is_sent_again() {
        let mut credit = CreditIn::new(100_000);
        credit.on_credit_lost();
        assert_eq!(credit.update_due(), Some(100_000));
    }

    #[test]
    fn a_blocked_sender_says_so_once_for_each_limit() {
        let mut credit = CreditOut::new(1_000);
        assert!(credit.take(900));
        assert!(!credit.take(101));
        assert_eq!(credit.block(), Some(1_000));
        assert_eq!(credit.block(), None);
        assert!(credit.is_blocked());
        assert!(credit.on_limit(1_001));
        assert!(!credit.is_blocked());
        assert!(credit.take(101));
        assert_eq!(credit.available(), 0);
        assert_eq!(credit.block(), Some(1_001));
    }

    #[test]
    fn both_ends_agree_whatever_is_lost_and_the_buffer_never_overflows() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let share = IDLE_SHARE + rng.below(100_000);
            let (mut sender, mut receiver) = (CreditOut::new(share), CreditIn::new(share));
            let (mut held, mut sent) = (Vec::new(), 0);
            for _ in 0..5_000 {
                let unit = cost(rng.below(16_000) as usize);
                if sender.take(unit) {
                    sent += 1;
                    assert_eq!(receiver.charge(unit), Ok(()), "seed {seed}");
                    held.push(unit);
                } else if sender.block().is_some() || rng.chance(0.2) {
                    receiver.on_blocked(sender.limit());
                }
                assert!(held.iter().sum::<u64>() <= share, "seed {seed}");
                if rng.chance(0.5) {
                    held.drain(..).for_each(|unit| receiver.consume(unit));
                }
                if let Some(limit) = receiver.update_due() {
                    receiver.on_advertised(limit);
                    if rng.chance(0.6) {
                        sender.on_limit(limit);
                    }
                }
            }
            assert!(sent > 1_000, "seed {seed}: {sent} units passed");
        }
    }
}
