//! The remote that most packets go to, a *regular*, gets a socket of its own, connected to it.
//!
//! A socket that is not connected looks the route up again for every send (`udp_sendmsg`) and writes the
//! sender's address for every receive: some 0.4 µs of a round trip over loopback. A second socket on the
//! same port, connected to the regular, has neither, and the kernel prefers it for the regular's packets:
//!
//! ```text
//!  regular's packets ---> connected socket \
//!                                           worker      (who sends from elsewhere: see Looks)
//!  everybody else's ----> the port's socket /
//! ```
//!
//! Nothing depends on it: a regular that moves is heard on the port's socket, and what the connected one
//! refuses to send leaves by the other. Sockets that share their port are steered by the kernel to
//! one worker each, and have no regulars: a connection would pull all the remote's sessions to one worker.

use std::net::SocketAddr;

use super::PathId;
use super::inlet::Inlet;
use crate::sys::Socket;

/// The path that most trains leave on, found by majority vote (Boyer and Moore, 1981): one counter, whatever
/// the number of paths.
#[derive(Debug, Default)]
pub(super) struct Votes {
    candidate: Option<PathId>,
    lead: u32,
}

/// Trains that the candidate must be ahead of all others together, and the most that it can be.
const LEAD_MIN: u32 = 1_000;

impl Votes {
    /// A train left on `path`.
    #[inline]
    pub fn sent(&mut self, path: PathId) {
        if self.candidate == Some(path) {
            self.lead = (self.lead + 1).min(LEAD_MIN);
        } else if self.lead > 0 {
            self.lead -= 1;
        } else {
            (self.candidate, self.lead) = (Some(path), 1);
        }
    }

    /// The path that is far enough ahead.
    #[inline]
    pub fn winner(&self) -> Option<PathId> {
        self.candidate.filter(|_| self.lead >= LEAD_MIN)
    }

    /// Whoever is ahead, by however little.
    #[inline]
    pub fn candidate(&self) -> Option<PathId> {
        self.candidate
    }

    /// `path` leads elsewhere from now on, or cannot have a socket: its votes are void.
    pub fn forget(&mut self, path: PathId) {
        if self.candidate == Some(path) {
            *self = Self::default();
        }
    }
}

/// A connected socket and whom it is connected to.
#[derive(Debug)]
pub(super) struct Regular {
    pub inlet: Inlet,
    pub path: PathId,
    /// It is one no more: its socket goes once it is empty.
    pub leaves: bool,
    /// Something came in since the last look at its state.
    heard: bool,
    /// Looks since something came in.
    silent_looks: u32,
}

/// A regular that was not heard for so many looks at its state, some 10 ms each, has no socket any more: IPv6
/// goes on sending from an address that is no longer this host's, and no answer comes.
const SILENT_LOOKS_MAX: u32 = 10;

impl Regular {
    /// Of a socket whose kernel joins packets if `joins`.
    pub fn new(socket: Socket, path: PathId, remote: SocketAddr, joins: bool) -> Self {
        let inlet = Inlet::new(socket, Some(remote), joins);
        Self { inlet, path, leaves: false, heard: false, silent_looks: 0 }
    }

    /// Something came in.
    #[inline]
    pub fn hear(&mut self) {
        self.heard = true;
    }

    /// To be asked every 10 ms or so: true when it has been silent for too long.
    pub fn is_silent(&mut self) -> bool {
        self.silent_looks = if std::mem::take(&mut self.heard) { 0 } else { self.silent_looks + 1 };
        self.silent_looks >= SILENT_LOOKS_MAX
    }
}

/// Which of the two sockets is looked at next. A look that finds nothing costs a system call, and the
/// regular is most likely next: so while nobody else is heard, the port's own socket is looked at once in
/// [`LOOKS_A_ROUND`] looks, and earlier when the regular was just answered: its next packet needs a round trip, and
/// that look costs nothing. While somebody else is heard, it is looked at every second time.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Packets that the last look at the port's socket found.
    port: usize,
    /// And the one at the regular's.
    regular: usize,
    /// Looks at the regular's socket since the last one at the port's.
    since: u32,
}

/// At 0.2 to 0.4 µs a look, others wait one or two microseconds longer on average.
const LOOKS_A_ROUND: u32 = 8;
/// Looks after which the next one that found the regular's packets is followed by one at the port's.
const LOOKS_BETWEEN: u32 = 3;

impl Looks {
    /// True when the regular's socket is next.
    #[inline]
    pub fn next_is_regular(&mut self) -> bool {
        let looks_max = match (self.port, self.regular) {
            (0, 0) => LOOKS_A_ROUND - 1,
            (0, _) => LOOKS_BETWEEN,
            _ => 1,
        };
        let regular = self.since < looks_max;
        self.since = if regular { self.since + 1 } else { 0 };
        regular
    }

    /// The next look is at the regular's socket, or at the port's.
    pub fn start_with(&mut self, regular: bool) {
        self.since = if regular { 0 } else { LOOKS_A_ROUND };
    }

    /// What the look found.
    #[inline]
    pub fn found(&mut self, regular: bool, packets: usize) {
        *(if regular { &mut self.regular } else { &mut self.port }) = packets;
    }

    /// How many packets the last look at that socket found: if any, more may wait there.
    #[inline]
    pub fn last(&self, regular: bool) -> usize {
        if regular { self.regular } else { self.port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_majority_gets_a_socket() {
        let mut votes = Votes::default();
        for i in 0..30_000 {
            votes.sent(PathId(i % 3));
        }
        assert_eq!(votes.winner(), None);
        for i in 0..10_000 {
            votes.sent(PathId(if i % 5 >= 2 { 7 } else { i }));
        }
        assert_eq!(votes.winner(), Some(PathId(7)));
        votes.forget(PathId(7));
        assert_eq!((votes.winner(), votes.candidate()), (None, None));
    }

    #[test]
    fn who_had_the_majority_loses_it_within_as_many_trains_as_it_was_ahead() {
        let mut votes = Votes::default();
        (0..1_000_000).for_each(|_| votes.sent(PathId(1)));
        (0..LEAD_MIN).for_each(|_| votes.sent(PathId(2)));
        assert_eq!(votes.winner(), None);
        (0..=LEAD_MIN).for_each(|_| votes.sent(PathId(2)));
        assert_eq!(votes.winner(), Some(PathId(2)));
    }

    #[test]
    fn everybody_else_is_looked_at_in_every_round_and_every_second_time_while_heard() {
        let mut looks = Looks::default();
        let order = |looks: &mut Looks| -> Vec<bool> { (0..8).map(|_| looks.next_is_regular()).collect() };
        assert_eq!(order(&mut looks), [true, true, true, true, true, true, true, false]);
        looks.found(false, 2);
        assert_eq!(order(&mut looks), [true, false, true, false, true, false, true, false]);
        assert_eq!((looks.last(false), looks.last(true)), (2, 0));
    }

    #[test]
    fn while_the_regulars_next_packet_cannot_be_there_everybody_else_is_looked_at() {
        let mut looks = Looks::default();
        for _ in 0..10 {
            // Its packet comes with the fifth look after the one before was answered.
            let order: Vec<bool> = (0..6)
                .map(|look| {
                    let regular = looks.next_is_regular();
                    looks.found(regular, usize::from(look == 5));
                    regular
                })
                .collect();
            assert_eq!(order[1..], [true; 5], "none of those that its packet waits for");
        }
        // Packets that come without a pause do not keep the others waiting.
        let order: Vec<bool> = (0..9)
            .map(|_| {
                let regular = looks.next_is_regular();
                looks.found(regular, usize::from(regular));
                regular
            })
            .collect();
        assert_eq!(order[1..], [true, true, true, false, true, true, true, false]);
    }
}
