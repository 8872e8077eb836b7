//! Whether a path carries ECN marks truly (RFC 9000 §13.4.2, L42).
//!
//! ```text
//!   testing --acks say all marks arrived--> capable --a mark missing, or more CE than packets--> failed
//!      |                                                                                           ^
//!      +---- everything marked was lost, or a mark is missing -------------------------------------+
//! ```
//!
//! A session marks what it sends ECT(0) once it has heard its peer. An ACK tells how many packets came with CE,
//! and whether any came with its mark gone. A path that failed is not marked again
//! (§13.4.2.2: "the endpoint MUST disable ECN"), and a count from it cuts no window.

use crate::hint::rarely;

/// How a packet came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Without a mark, or the socket does not show it.
    #[default]
    None,
    /// ECN-capable, and no queue on the way was long.
    Capable,
    /// Congestion experienced.
    Experienced,
}

/// What one ACK frame says about marks.
#[derive(Clone, Copy, Debug)]
pub struct EcnNews {
    /// Packets it newly acknowledged.
    pub newly_acked: u64,
    /// The smallest number among them.
    pub smallest: u64,
    /// Its count of packets that came with CE, modulo 256.
    pub ce: u8,
    /// No packet since the ack before came without a mark.
    pub intact: bool,
    /// It acknowledges the largest number yet.
    pub in_order: bool,
}

/// The validation of one session's path.
#[derive(Clone, Copy, Debug)]
pub struct EcnPath {
    state: State,
    /// The first packet number that left marked.
    from: u64,
    /// The CE count last believed.
    ce: u8,
    /// Packets acknowledged, and packets that came with CE, in all.
    acked: u64,
    marked: u64,
    lost: u32,
    /// The backend was not told of the state yet.
    news: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Testing,
    Capable,
    Failed,
}

impl EcnPath {
    /// A path on which nothing is marked yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Idle, from: 0, ce: 0, acked: 0, marked: 0, lost: 0, news: false }
    }

    /// The peer was heard: from packet `number` on all leave marked. Never an answer to a handshake: on a path
    /// that drops what is marked nobody would ever get one.
    #[inline]
    pub fn start(&mut self, number: u64) {
        if rarely(self.state == State::Idle) {
            (self.state, self.from, self.news) = (State::Testing, number, true);
        }
    }

    /// Whether packets leave marked.
    #[must_use]
    pub fn marks(&self) -> bool {
        matches!(self.state, State::Testing | State::Capable)
    }

    /// True once after [`EcnPath::marks`] changed.
    #[must_use]
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Takes an ACK frame; how many packets newly came with CE, as far as that can be believed.
    pub fn on_ack(&mut self, news: &EcnNews) -> u8 {
        if !self.marks() {
            return 0;
        }
        self.acked += news.newly_acked;
        // What left before says nothing of how marks fare, and RFC 9000 §13.4.2.1: "an endpoint MUST NOT fail
        // ECN validation as a result of processing an ACK frame that does not increase the largest acknowledged
        // packet number".
        if !news.in_order || news.newly_acked == 0 || news.smallest < self.from {
            return 0;
        }
        // L42, RFC 9000 §13.4.2.1: "validation also fails if the sum of the increase in ECT(0) and ECN-CE counts is
        // less than the number of newly acknowledged packets that were originally sent with an ECT(0) marking".
        if !news.intact {
            self.fail();
            return 0;
        }
        let more = news.ce.wrapping_sub(self.ce);
        self.ce = news.ce;
        self.marked += u64::from(more);
        // More marks than packets: a lie, or a count that ran backwards.
        if self.marked > self.acked + REORDERED_MAX {
            self.fail();
            return 0;
        }
        self.state = State::Capable;
        more
    }

    /// Packets were declared lost (RFC 9000 §13.4.2: "whether all packets sent with an ECT codepoint are
    /// eventually deemed lost, indicating that ECN validation has failed").
    pub fn on_lost(&mut self, packets: u32) {
        if self.state == State::Testing {
            self.lost += packets;
            if self.lost >= TESTING_LOST_MAX && self.acked == 0 {
                self.fail();
            }
        }
    }

    /// The probe timer fired for the `count`-th time in a row (RFC 9000 §A.4 tests for three).
    pub fn on_probe_timeout(&mut self, count: u32) {
        if self.state == State::Testing && count >= TESTING_TIMEOUTS_MAX {
            self.fail();
        }
    }

    fn fail(&mut self) {
        self.state = State::Failed;
        self.news = true;
    }
}

impl Default for EcnPath {
    fn default() -> Self {
        Self::new()
    }
}

/// Packets counted with CE whose acks were lost or came out of order.
const REORDERED_MAX: u64 = 64;
/// RFC 9000 §A.4: the testing period is ten packets…
const TESTING_LOST_MAX: u32 = 10;
/// …or three probe timeouts.
const TESTING_TIMEOUTS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(newly_acked: u64, ce: u8) -> EcnNews {
        EcnNews { newly_acked, smallest: 100, ce, intact: true, in_order: true }
    }

    fn started() -> EcnPath {
        let mut path = EcnPath::new();
        assert!(!path.marks(), "a handshake is not marked");
        path.start(100);
        path
    }

    #[test]
    fn what_left_before_the_first_mark_is_no_sign_of_bleaching() {
        // L42
        let mut path = started();
        path.on_ack(&EcnNews { smallest: 99, intact: false, ..ack(3, 0) });
        assert!(path.marks());
        path.on_ack(&EcnNews { intact: false, ..ack(3, 0) });
        assert!(!path.marks());
    }

    #[test]
    fn marks_are_believed_once_an_ack_shows_that_they_arrive() {
        // L42
        let mut path = started();
        assert!(path.marks());
        assert_eq!(path.on_ack(&ack(10, 0)), 0);
        assert_eq!(path.on_ack(&ack(10, 3)), 3);
        assert_eq!(path.on_ack(&ack(10, 3)), 0, "the same three");
        assert!(path.marks());
    }

    #[test]
    fn a_path_that_bleaches_is_not_marked_again() {
        // L42, RFC 9000 §13.4.2.1
        let mut path = started();
        assert!(path.take_news());
        path.on_ack(&ack(1, 0));
        assert!(path.marks(), "a mark that arrives is no sign of bleaching");
        assert_eq!(path.on_ack(&EcnNews { intact: false, ..ack(5, 2) }), 0);
        assert!(!path.marks());
        assert!(path.take_news());
        assert!(!path.take_news());
        assert_eq!(path.on_ack(&ack(100, 50)), 0, "and its counts cut no window");
    }

    #[test]
    fn more_marks_than_packets_are_a_lie() {
        // L42
        let mut path = started();
        let mut ce = 0u8;
        for _ in 0..10 {
            ce = ce.wrapping_add(200);
            path.on_ack(&ack(2, ce));
        }
        assert!(!path.marks());
    }

    #[test]
    fn an_ack_that_came_out_of_order_tells_nothing_about_marks() {
        // L42, RFC 9000 §13.4.2.1
        let mut path = started();
        path.on_ack(&ack(10, 5));
        assert_eq!(path.on_ack(&EcnNews { in_order: false, ..ack(1, 4) }), 0);
        assert_eq!(path.on_ack(&ack(1, 6)), 1);
        assert!(path.marks());
    }

    #[test]
    fn a_path_that_drops_what_is_marked_is_found_by_loss_or_by_silence() {
        // L42, RFC 9000 §A.4
        let mut path = started();
        path.on_lost(9);
        assert!(path.marks());
        path.on_lost(1);
        assert!(!path.marks());
        let mut path = started();
        (1..3).for_each(|count| path.on_probe_timeout(count));
        assert!(path.marks());
        path.on_probe_timeout(3);
        assert!(!path.marks());
        let mut path = started();
        path.on_ack(&ack(1, 0));
        path.on_probe_timeout(9);
        assert!(path.marks(), "an outage later is no proof");
    }
}
