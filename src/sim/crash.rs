//! Where a process dies: at a named point of the protocol, in the middle of a turn.
//!
//! ```text
//! run arms (endpoint, point) --> the application reaches it, or packets leave --> the fuse blows:
//!      nothing more leaves that endpoint, its application sees nothing more --> after the turn it is gone
//! ```
//!
//! What a death at a point means to the rest of the world is which packets had left: so the fuse
//! stands between the endpoint and the network.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::rng::Rng;

/// A moment in the life of a session at which its process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CrashPoint {
    /// Between two turns, with whatever waits unread.
    BetweenTurns,
    /// In a turn, after some of its packets left: in the middle of a train, as often as not.
    MidTrain,
    /// A request's handler ran, and neither its reply nor its ack left.
    InHandler,
    /// A message was taken by the application and not acknowledged.
    MessageTaken,
    /// A session was accepted; its ACCEPT may not have left.
    Accepted,
    /// A session was opened, and the other end may not have heard.
    Opened,
    /// A call's outcome was told, and the reply not acknowledged.
    OutcomeTold,
    /// A session ended, and the other end may not have heard.
    Closed,
}

impl CrashPoint {
    /// Every point there is.
    pub const ALL: [CrashPoint; 8] = [
        CrashPoint::BetweenTurns,
        CrashPoint::MidTrain,
        CrashPoint::InHandler,
        CrashPoint::MessageTaken,
        CrashPoint::Accepted,
        CrashPoint::Opened,
        CrashPoint::OutcomeTold,
        CrashPoint::Closed,
    ];

    /// One of them, the plainest more often.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        if rng.chance(0.2) {
            Self::BetweenTurns
        } else {
            Self::ALL[rng.below(Self::ALL.len() as u64) as usize]
        }
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CrashPoint::BetweenTurns => "crashes between two turns",
            CrashPoint::MidTrain => "crashes in the middle of a train",
            CrashPoint::InHandler => "crashes in a handler",
            CrashPoint::MessageTaken => "crashes with a message taken",
            CrashPoint::Accepted => "crashes as a session was accepted",
            CrashPoint::Opened => "crashes as a session opened",
            CrashPoint::OutcomeTold => "crashes as an outcome was told",
            CrashPoint::Closed => "crashes as a session ended",
        }
    }
}

/// How often processes died at each point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crashes([u64; CrashPoint::ALL.len()]);

impl Crashes {
    /// One more at `point`.
    pub fn count(&mut self, point: CrashPoint) {
        self.0[point as usize] += 1;
    }

    /// How many at `point`.
    #[must_use]
    pub fn at(&self, point: CrashPoint) -> u64 {
        self.0[point as usize]
    }
}

impl std::ops::AddAssign for Crashes {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

/// The end of one endpoint, armed and perhaps blown. Its clones are one fuse.
#[derive(Clone, Debug, Default)]
pub struct Fuse(Rc<Cell<State>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Off,
    /// Blows when `at` reaches `point` for the `left`-th time from here on.
    Armed {
        at: SocketAddr,
        point: CrashPoint,
        left: u64,
    },
    Blown {
        at: SocketAddr,
        point: CrashPoint,
    },
}

impl Fuse {
    /// Ends the process at `at` when it reaches `point` for the `nth` time; for [`CrashPoint::MidTrain`],
    /// when so many more of its packets have left.
    pub fn arm(&self, at: SocketAddr, point: CrashPoint, nth: u64) {
        self.0.set(State::Armed { at, point, left: nth.max(1) });
    }

    /// Takes the fuse out, blown or not.
    pub fn disarm(&self) {
        self.0.set(State::Off);
    }

    /// True while it is armed and has not blown.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        matches!(self.0.get(), State::Armed { .. })
    }

    /// Whose process is dead, and where it died.
    #[must_use]
    pub fn blown(&self) -> Option<(SocketAddr, CrashPoint)> {
        match self.0.get() {
            State::Blown { at, point } => Some((at, point)),
            _ => None,
        }
    }

    /// The application at `who` reached `point`: true when it does not live past it, or did not live
    /// to reach it.
    pub fn reach(&self, who: SocketAddr, point: CrashPoint) -> bool {
        match self.0.get() {
            State::Armed { at, point: armed, left } if at == who && armed == point => {
                self.burn(at, point, left);
                self.is_dead(who)
            }
            _ => self.is_dead(who),
        }
    }

    /// True when `who` died within this turn: it does nothing more.
    #[must_use]
    pub fn is_dead(&self, who: SocketAddr) -> bool {
        matches!(self.0.get(), State::Blown { at, .. } if at == who)
    }

    /// A packet is to leave `who`: false when its process died before it could.
    pub fn lets_out(&self, who: SocketAddr) -> bool {
        if self.is_dead(who) {
            return false;
        }
        if let State::Armed { at, point: CrashPoint::MidTrain, left } = self.0.get()
            && at == who
        {
            self.burn(at, CrashPoint::MidTrain, left);
        }
        true
    }

    fn burn(&self, at: SocketAddr, point: CrashPoint, left: u64) {
        let next = match left {
            1 => State::Blown { at, point },
            _ => State::Armed { at, point, left: left - 1 },
        };
        self.0.set(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_process_dies_at_its_point_and_nothing_leaves_it_after() {
        let fuse = Fuse::default();
        fuse.arm(addr(1), CrashPoint::InHandler, 2);
        assert!(!fuse.reach(addr(2), CrashPoint::InHandler), "another's handler");
        assert!(!fuse.reach(addr(1), CrashPoint::Opened), "another point");
        assert!(!fuse.reach(addr(1), CrashPoint::InHandler), "the first time");
        assert!(fuse.lets_out(addr(1)));
        assert!(fuse.reach(addr(1), CrashPoint::InHandler));
        assert!(!fuse.lets_out(addr(1)));
        assert!(fuse.lets_out(addr(2)));
        assert!(fuse.reach(addr(1), CrashPoint::Opened), "it reaches nothing any more");
        assert_eq!(fuse.blown(), Some((addr(1), CrashPoint::InHandler)));
        fuse.disarm();
        assert!(fuse.lets_out(addr(1)));
    }

    #[test]
    fn in_the_middle_of_a_train_so_many_packets_leave_and_no_more() {
        let fuse = Fuse::default();
        fuse.arm(addr(1), CrashPoint::MidTrain, 3);
        let out: Vec<bool> = (0..5).map(|_| fuse.lets_out(addr(1))).collect();
        assert_eq!(out, [true, true, true, false, false]);
    }
}
