//! Whether a peer receives at an address (RFC 9000 §8.2): what was asked, and whether an answer is one.
//!
//! ```text
//!  a packet from elsewhere --> Asking --answer--> proven
//!                                |
//!                                +-- twelve challenges, or three seconds --> Over
//! ```
//!
//! Until it is proven an address is sent no more bytes than authentic packets brought from there (S01, L55;
//! RFC 9000 §8.1 allows three times as many).

use std::net::IpAddr;

use crate::bounds::{HEADER_SIZE, PACKET_SIZE_MIN, TAG_SIZE};
use crate::time::Timestamp;
use crate::transport::PathIndex;
use crate::wire::PATH_CHALLENGE_SIZE;

/// Challenges sent to one address.
pub const CHALLENGES_MAX: usize = 12;
/// The first is repeated after this long at the earliest, and then at intervals that double.
const REPEAT_NS_MIN: u64 = 1_000_000;
/// RFC 9000 §8.2.4: three probe timeouts of a path whose round trip is not known.
const GIVE_UP_NS: u64 = 3_000_000_000;
/// The smallest packet that asks.
const PACKET_SIZE_ASKING: usize = HEADER_SIZE + PATH_CHALLENGE_SIZE + TAG_SIZE;

/// An address at which a peer may be reached, and has not proven to be.
#[derive(Debug)]
pub struct Candidate {
    /// Where packets to it go.
    pub path: PathIndex,
    /// Its host.
    pub host: IpAddr,
    received: u64,
    sent: u64,
    /// What was asked, and when.
    asked: Vec<(u64, Timestamp)>,
    next_at: Timestamp,
    interval_ns: u64,
    gives_up_at: Timestamp,
    over: bool,
}

impl Candidate {
    /// `path` is to be asked from `now` on; `pto_ns` is the present path's probe timeout.
    #[must_use]
    pub fn new(now: Timestamp, path: PathIndex, host: IpAddr, pto_ns: u64) -> Self {
        Self {
            path,
            host,
            received: 0,
            sent: 0,
            asked: Vec::new(),
            next_at: now,
            interval_ns: pto_ns.max(REPEAT_NS_MIN),
            gives_up_at: now.after_ns(GIVE_UP_NS),
            over: false,
        }
    }

    /// An authentic packet of `size` bytes came from there.
    pub fn on_received(&mut self, size: u64) {
        self.received += size;
    }

    /// True while an answer would count.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        !self.over
    }

    /// The address is not the peer's, or no longer of interest.
    pub fn end(&mut self) {
        self.over = true;
    }

    /// The size of the packet that asks now, if it is time: what the path must carry to be used, or as
    /// much of that as what came from there allows.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<usize> {
        let size = self.allowance()?;
        (now >= self.next_at).then_some(size)
    }

    fn allowance(&self) -> Option<usize> {
        let left = (self.received - self.sent).min(PACKET_SIZE_MIN as u64) as usize;
        let may = !self.over && self.asked.len() < CHALLENGES_MAX && left >= PACKET_SIZE_ASKING;
        may.then_some(left)
    }

    /// A packet of `size` bytes asked by `data`.
    pub fn on_sent(&mut self, now: Timestamp, data: u64, size: usize) {
        self.sent += size as u64;
        self.asked.push((data, now));
        self.next_at = now.after_ns(self.interval_ns);
        self.interval_ns *= 2;
    }

    /// When what answers `data` was asked; `None` when it answers nothing.
    #[must_use]
    pub fn answers(&self, data: u64) -> Option<Timestamp> {
        let asked = self.asked.iter().find(|(asked, _)| *asked == data);
        asked.filter(|_| !self.over).map(|(_, at)| *at)
    }

    /// When there is something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        if self.over {
            return None;
        }
        let repeat = self.allowance().map_or(Timestamp::NEVER, |_| self.next_at);
        Some(repeat.min(self.gives_up_at))
    }

    /// True once when nobody proved anything for too long.
    #[must_use]
    pub fn gives_up(&mut self, now: Timestamp) -> bool {
        let late = !self.over && now >= self.gives_up_at;
        self.over |= late;
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn candidate() -> Candidate {
        Candidate::new(NOW, PathIndex(3), [10, 0, 0, 1].into(), 100_000)
    }

    #[test]
    fn an_address_is_sent_no_more_than_came_from_there() {
        // S01, L55, RFC 9000 §8.1: three times as much would be allowed.
        let mut candidate = candidate();
        assert_eq!(candidate.due(NOW), None);
        candidate.on_received(40);
        assert_eq!(candidate.due(NOW), None, "41 bytes ask");
        assert_eq!(candidate.next_timeout(), Some(NOW.after_ns(GIVE_UP_NS)), "no timer spins on it");
        candidate.on_received(20);
        assert_eq!(candidate.due(NOW), Some(60));
        candidate.on_sent(NOW, 1, 60);
        let later = NOW.after_ns(GIVE_UP_NS / 2);
        assert_eq!(candidate.due(later), None);
        candidate.on_received(5_000);
        assert_eq!(candidate.due(later), Some(1_200), "what every path must carry, and no more");
    }

    #[test]
    fn it_is_asked_twelve_times_at_growing_intervals_and_then_given_up() {
        let mut candidate = candidate();
        candidate.on_received(1 << 20);
        let mut times = Vec::new();
        let mut now = NOW;
        while !candidate.gives_up(now) {
            if let Some(size) = candidate.due(now) {
                candidate.on_sent(now, times.len() as u64, size);
                times.push(now.since_ns(NOW) / REPEAT_NS_MIN);
            }
            now = candidate.next_timeout().expect("it asks");
        }
        assert_eq!(times, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 1_023, 2_047]);
        assert_eq!(now.since_ns(NOW), GIVE_UP_NS);
        assert_eq!(candidate.answers(0), None, "too late");
        assert_eq!(candidate.next_timeout(), None);
    }

    #[test]
    fn only_what_was_asked_is_an_answer() {
        let mut candidate = candidate();
        candidate.on_received(1_000);
        candidate.on_sent(NOW, 77, 500);
        candidate.on_sent(NOW.after_ns(5), 78, 500);
        assert_eq!(candidate.answers(76), None);
        assert_eq!(candidate.answers(77), Some(NOW));
        assert_eq!(candidate.answers(78), Some(NOW.after_ns(5)));
        candidate.end();
        assert_eq!(candidate.answers(77), None);
    }
}
