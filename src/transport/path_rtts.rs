//! What sessions with one remote learn of its round trip from each other (RFC 9040 §6: "ensemble sharing").
//!
//! Ten thousand sessions that call at once wait behind each other: a round trip of microseconds has become one of a
//! hundred milliseconds, and each of them would probe several times before its first answer could tell. Those that are
//! answered tell the others.

use crate::time::Timestamp;
use crate::transport::sink::PathIndex;

/// The newest sample of each path.
#[derive(Debug, Default)]
pub(crate) struct PathRtts {
    newest: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// The session that took it.
    session: u32,
    at: Timestamp,
    rtt_ns: u64,
}

impl PathRtts {
    /// A session measured a round trip on `path`.
    #[inline]
    pub(crate) fn on_sample(&mut self, path: PathIndex, session: u32, at: Timestamp, rtt_ns: u64) {
        let sample = Sample { session, at, rtt_ns };
        match self.newest.get_mut(path.0 as usize) {
            Some(newest) => *newest = sample,
            None => self.grow(path, sample),
        }
    }

    /// The newest round trip that a session other than `session` measured on `path`, if that was at `since` or later.
    pub(crate) fn of_others(&self, path: PathIndex, session: u32, since: Timestamp) -> Option<u64> {
        let newest = self.newest.get(path.0 as usize)?;
        (newest.session != session && newest.at >= since && newest.rtt_ns > 0).then_some(newest.rtt_ns)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, path: PathIndex, sample: Sample) {
        self.newest.resize(path.0 as usize + 1, Sample::default());
        self.newest[path.0 as usize] = sample;
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
        let mut rtts = PathRtts::default();
        let (near, far) = (PathIndex(0), PathIndex(7));
        assert_eq!(rtts.of_others(far, 1, Timestamp(0)), None);
        rtts.on_sample(far, 2, Timestamp(50), 40);
        assert_eq!(rtts.of_others(far, 1, Timestamp(50)), Some(40));
        assert_eq!(rtts.of_others(far, 2, Timestamp(50)), None, "it is its own");
        assert_eq!(rtts.of_others(far, 1, Timestamp(51)), None, "it is older");
        assert_eq!(rtts.of_others(near, 1, Timestamp(0)), None, "it is of another path");
    }

    #[test]
    fn others_hold_a_probe_back_for_two_of_their_round_trips_and_never_beyond_the_bound() {
        assert_eq!(wait_ns(40, 1_000), 80);
        assert_eq!(wait_ns(600, 1_000), 1_000);
        assert_eq!(wait_ns(u64::MAX, 1_000), 1_000);
    }
}
