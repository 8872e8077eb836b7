//! After silence a window is old news: what the path and the peer could take was true before. Sending
//! begins again with the window a session begins with, and doubles back, whoever fell silent: this end,
//! the peer, or the path between.
//!
//! RFC 9002 §7.8 and RFC 5681 §4.1 say so of an idle sender. A process that was stopped, or whose peer was,
//! is the same case with packets in flight: the acks of a whole window come at once, and would let another
//! leave in one burst.

use crate::time::Timestamp;

/// The window a session may use after silence, until it has grown back.
#[derive(Debug)]
pub(crate) struct Resume {
    /// The window that the session began with, in bytes.
    initial: u64,
    /// When something sent was last acknowledged, or was sent with nothing in flight.
    active_at: Timestamp,
    /// The window, and the first packet sent under it.
    limit: Option<(u64, u64)>,
}

/// Silence shorter than this is none, whatever the probe timeout: a busy host's scheduler.
const SILENCE_NS_MIN: u64 = 10_000_000;
/// Silence is this many probe timeouts, backed off to none.
const SILENCE_PROBES: u64 = 4;

impl Resume {
    pub(crate) fn new(initial: u64, now: Timestamp) -> Self {
        Self { initial, active_at: now, limit: None }
    }

    /// True when it has been quiet for so long that the probe timeout must be asked whether that is silence.
    #[inline]
    pub(crate) fn is_quiet(&self, now: Timestamp) -> bool {
        now.since_ns(self.active_at) > SILENCE_NS_MIN
    }

    /// It was quiet until now; `next` is the number of the next packet.
    #[cold]
    pub(crate) fn on_quiet(&mut self, now: Timestamp, pto_ns: u64, next: u64) {
        if now.since_ns(self.active_at) > SILENCE_PROBES * pto_ns {
            self.limit = Some((self.initial, next));
        }
        self.active_at = now;
    }

    /// `bytes` were acknowledged, by an ack whose largest packet is `largest`; `window` is the controller's.
    #[inline]
    pub(crate) fn on_acked(&mut self, now: Timestamp, largest: u64, bytes: u64, window: u64) {
        self.active_at = now;
        if let Some((limit, first)) = &mut self.limit
            && largest >= *first
        {
            // As in slow start: what arrived may leave twice.
            *limit = limit.saturating_add(bytes);
            if *limit >= window {
                self.limit = None;
            }
        }
    }

    /// What of `window`, the congestion controller's, may be used now.
    #[inline]
    pub(crate) fn window(&self, window: u64) -> u64 {
        self.limit.map_or(window, |(limit, _)| limit.min(window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: u64 = 100;
    const WINDOW: u64 = 1_000;
    const PTO_NS: u64 = 100_000;
    const SECOND_NS: u64 = 1_000_000_000;

    /// As the session does it: an ack of `bytes` at `at`.
    fn ack(resume: &mut Resume, at: u64, pto_ns: u64, (largest, next): (u64, u64), bytes: u64) -> u64 {
        let at = Timestamp(at);
        if resume.is_quiet(at) {
            resume.on_quiet(at, pto_ns, next);
        }
        resume.on_acked(at, largest, bytes, WINDOW);
        resume.window(WINDOW)
    }

    #[test]
    fn acks_of_a_whole_window_after_silence_let_the_first_window_leave_and_no_more() {
        let mut resume = Resume::new(INITIAL, Timestamp(0));
        assert_eq!(ack(&mut resume, 1_000, PTO_NS, (5, 10), 50), WINDOW, "no silence");
        assert_eq!(ack(&mut resume, SECOND_NS, PTO_NS, (9, 10), WINDOW), INITIAL);
        let old = ack(&mut resume, SECOND_NS + 1_000, PTO_NS, (9, 12), 500);
        assert_eq!(old, INITIAL, "of packets from before the silence");
        // From there it doubles with each round trip, and ends where the controller's begins.
        let mut window = INITIAL;
        while window < WINDOW {
            let grown = ack(&mut resume, SECOND_NS + 2_000, PTO_NS, (12, 20), window);
            window *= 2;
            assert_eq!(grown, window.min(WINDOW));
        }
        assert_eq!(resume.window(2 * WINDOW), 2 * WINDOW, "grown back");
    }

    #[test]
    fn over_a_long_path_silence_is_longer() {
        let mut resume = Resume::new(INITIAL, Timestamp(0));
        assert_eq!(ack(&mut resume, SECOND_NS, 300_000_000, (1, 2), 10), WINDOW);
        assert_eq!(ack(&mut resume, 3 * SECOND_NS, 300_000_000, (1, 2), 10), INITIAL);
    }
}
