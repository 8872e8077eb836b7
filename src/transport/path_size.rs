//! What sessions with one remote learn of its packet size from each other (RFC 9040 §7: the path MTU is shared).
//!
//! ```text
//!  first session:  probe ---------- acked: 16,368 pass
//!  the others:       due? wait        due? take 16,368, no probe of their own
//! ```
//!
//! They leave from one socket for one address, so that what carried one session's packet carries the others'. Ten
//! thousand of them that each asked for itself sent half a gigabyte of padding when they opened. Each still watches
//! its own packets for a black hole (L53), and what one found is forgotten as soon as one fell.

use crate::time::Timestamp;

/// So long is believed what was found: RFC 8899 §5.1.1, PMTU_RAISE_TIMER, after which a path is asked anew anyway.
const BELIEVED_NS: u64 = 600_000_000_000;
/// The others wait for the one that asks for two of their round trips and this.
const TURN_NS: u64 = 1_000_000;
const TURN_RTTS: u64 = 2;

/// Between which sizes the largest packet of a path lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Bytes of UDP payload that passed.
    pub(crate) pass: usize,
    /// The smallest known not to; `usize::MAX` for none.
    pub(crate) fail: usize,
    /// The size that is to be tried next, and what was lost of it: what [`PathMtu`] counts.
    ///
    /// [`PathMtu`]: super::path_mtu::PathMtu
    pub(crate) tried: usize,
    pub(crate) attempts: u8,
}

/// What the sessions of one path found out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PathSize {
    found: Option<(Timestamp, Sizes)>,
    /// A session's probe is under way, and the others wait for it until then.
    asked_until: Timestamp,
}

impl PathSize {
    /// What is known of the path, however it was found out.
    pub(crate) fn found(&self, now: Timestamp) -> Option<Sizes> {
        self.found.filter(|(at, _)| now.since_ns(*at) < BELIEVED_NS).map(|(_, sizes)| sizes)
    }

    /// A session with a round trip of `rtt_ns` is about to probe. `None`: it may; until when it waits, otherwise.
    pub(crate) fn take_turn(&mut self, now: Timestamp, rtt_ns: u64) -> Option<Timestamp> {
        if now < self.asked_until {
            return Some(now.after_ns(turn_ns(rtt_ns)).min(self.asked_until));
        }
        self.asked_until = now.after_ns(turn_ns(rtt_ns));
        None
    }

    /// Nobody asks before then.
    pub(crate) fn wait_until(&mut self, until: Timestamp) {
        self.asked_until = until;
    }

    /// A session's probe was answered, or lost.
    pub(crate) fn note(&mut self, now: Timestamp, sizes: Sizes) {
        self.asked_until = Timestamp(0);
        self.found = Some(match self.found {
            // It cannot use more: whether the path still carries what others found it was not told.
            Some((at, found)) if sizes.pass < found.pass && sizes.fail > found.pass => (at, found),
            Some((_, found)) if found.fail > sizes.pass => {
                (now, Sizes { fail: sizes.fail.min(found.fail), ..sizes })
            }
            _ => (now, sizes),
        });
    }

    /// Packets of `size` pass no longer.
    pub(crate) fn on_fell(&mut self, size: usize) {
        if self.found.is_some_and(|(_, sizes)| sizes.pass >= size) {
            *self = Self::default();
        }
    }
}

fn turn_ns(rtt_ns: u64) -> u64 {
    rtt_ns.saturating_mul(TURN_RTTS).saturating_add(TURN_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { pass: 8_952, fail: 8_972, tried: 0, attempts: 0 };

    #[test]
    fn one_asks_and_the_others_wait_for_what_it_finds_and_no_longer_than_two_round_trips() {
        let mut size = PathSize::default();
        let rtt_ns = 50_000;
        assert_eq!(size.take_turn(Timestamp(10), rtt_ns), None);
        assert_eq!(size.take_turn(Timestamp(11), rtt_ns), Some(Timestamp(10 + 1_100_000)));
        assert_eq!(size.take_turn(Timestamp(12), 0), Some(Timestamp(12 + 1_000_000)));
        assert_eq!(size.take_turn(Timestamp(10 + 1_100_000), rtt_ns), None, "the first was not answered");
        assert_eq!(size.found(Timestamp(11)), None);
        size.note(Timestamp(1_200_000), SIZES);
        assert_eq!(size.found(Timestamp(1_200_000)), Some(SIZES));
        assert_eq!(size.take_turn(Timestamp(1_200_001), rtt_ns), None, "nobody asks any more");
    }

    #[test]
    fn a_session_that_cannot_use_as_much_leaves_what_others_found() {
        let mut size = PathSize::default();
        size.note(Timestamp(5), SIZES);
        size.note(Timestamp(900), Sizes { pass: 1_472, fail: usize::MAX, ..SIZES });
        assert_eq!(size.found(Timestamp(900)), Some(SIZES));
        assert_eq!(size.found(Timestamp(5 + BELIEVED_NS)), None, "nor does it make it any newer");
        let less = Sizes { pass: 1_472, fail: 8_952, ..SIZES };
        size.note(Timestamp(901), less);
        assert_eq!(size.found(Timestamp(901)), Some(less), "what passed does so no longer");
    }

    #[test]
    fn what_does_not_pass_is_known_to_all_until_it_does() {
        let mut size = PathSize::default();
        size.note(Timestamp(5), SIZES);
        size.note(Timestamp(6), Sizes { pass: 8_960, fail: usize::MAX, ..SIZES });
        assert_eq!(size.found(Timestamp(6)), Some(Sizes { pass: 8_960, ..SIZES }));
        let more = Sizes { pass: 8_972, fail: usize::MAX, ..SIZES };
        size.note(Timestamp(7), more);
        assert_eq!(size.found(Timestamp(7)), Some(more));
    }

    #[test]
    fn what_was_found_is_believed_until_it_is_old_or_a_packet_of_its_size_fell() {
        let mut size = PathSize::default();
        size.note(Timestamp(5), SIZES);
        assert_eq!(size.found(Timestamp(5 + BELIEVED_NS - 1)), Some(SIZES));
        assert_eq!(size.found(Timestamp(5 + BELIEVED_NS)), None);
        size.on_fell(16_368);
        assert_eq!(size.found(Timestamp(6)), Some(SIZES), "a larger one fell");
        size.on_fell(8_952);
        assert_eq!(size.found(Timestamp(6)), None);
    }
}
