//! What sessions with one remote learn of its round trip from each other (RFC 9040 §7: "ensemble sharing").
//!
//! Ten thousand sessions that call at once wait behind each other: a round trip of microseconds has become one of a
//! hundred milliseconds, and each of them would probe several times before its first answer could tell. Those that are
//! answered tell the others.

use crate::time::Timestamp;

/// The newest sample of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewestRtt {
    /// The session that took it.
    session: u32,
    at: Timestamp,
    rtt_ns: u64,
}

impl NewestRtt {
    /// `session` measured a round trip.
    #[inline]
    pub(crate) fn on_sample(&mut self, session: u32, at: Timestamp, rtt_ns: u64) {
        *self = Self { session, at, rtt_ns };
    }

    /// The newest round trip, if a session other than `session` measured it, at `since` or later.
    pub(crate) fn of_others(&self, session: u32, since: Timestamp) -> Option<u64> {
        (self.session != session && self.at >= since && self.rtt_ns > 0).then_some(self.rtt_ns)
    }
}

/// How long a session waits before it probes, where others measured `rtt_ns` in the meantime: at most `most_ns`.
pub(crate) fn wait_ns(rtt_ns: u64, most_ns: u64) -> u64 {
    rtt_ns.saturating_mul(OTHERS_RTTS).min(most_ns)
}

/// Round trips that others measure which a session waits.
const OTHERS_RTTS: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_learns_from_others_on_its_path_and_from_nothing_older_than_what_it_waits_for() {
        let mut newest = NewestRtt::default();
        assert_eq!(newest.of_others(1, Timestamp(0)), None);
        newest.on_sample(2, Timestamp(50), 40);
        assert_eq!(newest.of_others(1, Timestamp(50)), Some(40));
        assert_eq!(newest.of_others(2, Timestamp(50)), None, "it is its own");
        assert_eq!(newest.of_others(1, Timestamp(51)), None, "it is older");
    }

    #[test]
    fn others_hold_a_probe_back_for_two_of_their_round_trips_and_never_beyond_the_bound() {
        assert_eq!(wait_ns(40, 1_000), 80);
        assert_eq!(wait_ns(600, 1_000), 1_000);
        assert_eq!(wait_ns(u64::MAX, 1_000), 1_000);
    }
}
