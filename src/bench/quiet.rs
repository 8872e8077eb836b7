//! Both ends' loss counters at a moment at which nothing is under way: only then what is missing is lost.

use std::time::Duration;

use super::echo::Status;
use super::line::Line;
use super::report::Packets;
use crate::worker::{Ledger, LossCounters};

/// A worker looks at its socket's drops every ten milliseconds, and posts what it saw a millisecond later.
pub const LOOK_TIME: Duration = Duration::from_millis(12);

/// Packets that wait in a full socket are taken in within so many looks; a server that others use, too, is never quiet.
const LOOKS_MAX: usize = 12;

/// What both ends had counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quiet {
    /// This end.
    pub own: LossCounters,
    /// The server.
    pub server: LossCounters,
}

impl Quiet {
    /// Packets that were sent and not taken in. An end that was there before has counted others'.
    fn missing(&self) -> i128 {
        [self.own, self.server].iter().map(|end| i128::from(end.sent) - i128::from(end.taken_in)).sum()
    }
}

/// What both ends said at the first look, and what they had counted as lost at the last.
#[derive(Clone, Debug)]
pub struct Look {
    /// The server's account of itself.
    pub status: Status,
    /// This end's packets.
    pub packets: Packets,
    /// `None` from a server that does not tell.
    pub quiet: Option<Quiet>,
}

/// The ledger of threads that each looked before the load and behind it; all of one server.
#[must_use]
pub fn ledger(looks: &[(Quiet, Quiet)]) -> Ledger {
    let own = looks.iter().map(|(before, behind)| behind.own.since(before.own));
    // Of the server's counts the last on each side: what other threads did until then is in theirs.
    let last = |server: fn(&(Quiet, Quiet)) -> LossCounters| {
        looks.iter().map(server).max_by_key(|count| count.taken_in)
    };
    let server = last(|(_, behind)| behind.server).zip(last(|(before, _)| before.server));
    Ledger::of(own.chain(server.map(|(behind, before)| behind.since(before))))
}

/// Looks until as many packets are missing as at the look before, or `within` is over. `None` from a server that does
/// not answer.
pub fn look(line: &mut impl Line, within: Duration) -> Option<Look> {
    let end = line.now().after(within);
    let mut look = look_once(line, within)?;
    for _ in 1..LOOKS_MAX {
        let Some(last) = look.quiet.filter(|_| line.now() < end) else { break };
        let Some(again) = look_once(line, within) else { break };
        look.quiet = again.quiet;
        if again.quiet.is_some_and(|again| again.missing() == last.missing()) {
            break;
        }
    }
    Some(look)
}

fn look_once(line: &mut impl Line, within: Duration) -> Option<Look> {
    line.pause(LOOK_TIME);
    // Read before the server is asked: so neither end's counters have the question, nor the answer or its ack.
    let (packets, own) = line.counts()?;
    let status = line.ask_and_wait(0, within)?;
    let quiet = status.losses.map(|server| Quiet { own, server });
    Some(Look { status, packets, quiet })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::connected::Balance;
    use super::super::report::Choice;
    use super::*;
    use crate::time::Timestamp;
    use crate::transport::SendError;

    /// A client that has sent 100 packets, to a server that has taken so many of them in at each look.
    struct Waiting {
        taken_in: Vec<u64>,
        asked: usize,
    }

    impl Line for Waiting {
        type Books = ();

        fn sessions(&self) -> usize {
            1
        }
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
        fn broken(&self) -> Option<String> {
            None
        }
        fn send(&mut self, _: usize, _: Bytes) -> Result<(), SendError> {
            Err(SendError::Closed)
        }
        fn step(&mut self) {}
        fn pause(&mut self, _: Duration) {}
        /// Each question is a packet, and each answer.
        fn counts(&mut self) -> Option<(Packets, LossCounters)> {
            let asked = self.asked as u64;
            let losses = LossCounters { sent: 100 + asked, taken_in: asked, ..LossCounters::default() };
            Some((Packets { sent: Some(asked), ..Packets::default() }, losses))
        }
        fn messages_not_sent(&mut self) -> u64 {
            0
        }
        fn ask_and_wait(&mut self, _: usize, _: Duration) -> Option<Status> {
            let (asked, taken_in) = (self.asked as u64, *self.taken_in.get(self.asked)?);
            self.asked += 1;
            let losses = LossCounters { sent: asked, taken_in: taken_in + asked, ..LossCounters::default() };
            Some(Status { losses: Some(losses), now_ns: asked, ..Status::default() })
        }
        fn open_books_with(&mut self, _: Option<Status>) {}
        fn close_books(&mut self, (): (), _: Duration) -> Balance {
            Balance::default()
        }
        fn backend(&self) -> Choice {
            Choice::default()
        }
        fn packet_size(&mut self) -> Option<usize> {
            None
        }
    }

    fn lost(taken_in: &[u64]) -> (u64, usize) {
        let mut line = Waiting { taken_in: taken_in.to_vec(), asked: 0 };
        let look = look(&mut line, Duration::from_secs(1)).expect("it answers");
        assert_eq!(
            (look.status.now_ns, look.packets.sent),
            (0, Some(0)),
            "both accounts are of the first look"
        );
        (ledger(&[(Quiet::default(), look.quiet.expect("it tells"))]).lost(), line.asked)
    }

    #[test]
    fn packets_that_wait_in_a_socket_are_not_named_lost() {
        assert_eq!(lost(&[60, 97, 100, 100]), (0, 4));
        assert_eq!(lost(&[100, 100]), (0, 2));
    }

    #[test]
    fn packets_that_never_come_are() {
        assert_eq!(lost(&[60, 93, 93]), (7, 3));
    }

    #[test]
    fn a_server_that_others_use_too_is_looked_at_so_often_only() {
        let taken_in: Vec<u64> = (0..20).collect();
        assert_eq!(lost(&taken_in).1, LOOKS_MAX);
    }

    #[test]
    fn what_a_thread_did_before_the_next_was_ready_is_not_of_the_load() {
        let count = |sent, taken_in| LossCounters { sent, taken_in, ..LossCounters::default() };
        let quiet = |own, server| Quiet { own, server };
        let first = (quiet(count(5, 5), count(5, 5)), quiet(count(105, 105), count(309, 308)));
        // It was opened after the first had looked.
        let second = (quiet(count(4, 4), count(9, 9)), quiet(count(204, 203), count(309, 309)));
        assert_eq!(ledger(&[first, second]).lost(), 1);
    }
}
