//! The timers of all slots. One that would only find that it is too early is set anew without its session.
//!
//! Where thousands of sessions call at once, the probe timer of each fires before its answer comes, learns from those that
//! were answered that it has to wait (P-13.26), and is set anew. A session's state is a dozen lines of memory that
//! nobody has touched for as long as that took; what the question takes lies here, side by side.

use crate::time::Timestamp;
use crate::transport::due::{Due, ProbeDue};
use crate::transport::path_facts::PathFacts;
use crate::transport::path_rtt::wait_ns;
use crate::transport::sink::PathIndex;
use crate::transport::timer_wheel::TimerWheel;

/// What may hold a slot's timer back.
#[derive(Clone, Copy, Debug)]
struct Patience {
    path: PathIndex,
    since: Timestamp,
    most_ns: u64,
    /// When the slot has something else to do; at once, unless it waits for its probe timer.
    otherwise: Timestamp,
}

/// While batches come back full, probe timers that are due are looked at again after this for each of them: a few in the next
/// turn; of ten thousand, which would take longer than it takes a socket to fill, all after five milliseconds.
const LOOK_AGAIN_NS: u64 = 500;

const NONE: Patience =
    Patience { path: PathIndex(0), since: Timestamp(0), most_ns: 0, otherwise: Timestamp(0) };

/// One timer for each slot.
#[derive(Debug)]
pub(super) struct Timers {
    wheel: TimerWheel,
    patience: Vec<Patience>,
}

impl Timers {
    pub(super) fn new() -> Self {
        Self { wheel: TimerWheel::new(), patience: Vec::new() }
    }

    /// The slot `index` has something to do at `at`.
    pub(super) fn arm(&mut self, index: u32, at: Timestamp) {
        self.note(index, NONE);
        self.wheel.arm(index, at);
    }

    /// The same for an open session.
    #[inline]
    pub(super) fn arm_session(&mut self, index: u32, due: Due) {
        let (at, patience) = match due.probe {
            Some(ProbeDue { at, path, since, most_ns }) if at < due.at => {
                (at, Patience { path, since, most_ns, otherwise: due.at })
            }
            _ => (due.at, NONE),
        };
        self.note(index, patience);
        self.wheel.arm(index, at);
    }

    pub(super) fn cancel(&mut self, index: u32) {
        self.wheel.cancel(index);
    }

    /// The next moment to look at them.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.wheel.next()
    }

    /// Appends every slot whose moment has come to `expired`. Where the receive batch came back full no probe timer fires.
    pub(super) fn expired(
        &mut self,
        now: Timestamp,
        receive_full: bool,
        paths: &PathFacts,
        expired: &mut Vec<u32>,
    ) {
        let from = expired.len();
        self.wheel.expired(now, expired);
        let look_again = now.after_ns((expired.len() - from) as u64 * LOOK_AGAIN_NS);
        let Self { wheel, patience } = self;
        let mut kept = from;
        for at in from..expired.len() {
            let index = expired[at];
            let patience = &patience[index as usize];
            let until = if receive_full && patience.otherwise > now {
                Some(look_again.min(patience.otherwise))
            } else {
                patience.held_until(index, now, paths)
            };
            match until {
                Some(until) => wheel.arm(index, until),
                None => {
                    expired[kept] = index;
                    kept += 1;
                }
            }
        }
        expired.truncate(kept);
    }

    #[inline]
    fn note(&mut self, index: u32, patience: Patience) {
        let index = index as usize;
        if index >= self.patience.len() {
            self.grow(index);
        }
        self.patience[index] = patience;
    }

    #[cold]
    fn grow(&mut self, index: usize) {
        self.patience.resize(index + 1, NONE);
    }
}

impl Patience {
    /// No earlier than then the session `index` would do anything. It asks the same question itself when its timer fires:
    /// one that is held back for too short a time here is held back there.
    fn held_until(&self, index: u32, now: Timestamp, paths: &PathFacts) -> Option<Timestamp> {
        if self.otherwise <= now {
            return None;
        }
        let rtt_ns = paths.get(self.path)?.rtt.of_others(index, self.since)?;
        let until = self.since.after_ns(wait_ns(rtt_ns, self.most_ns)).min(self.otherwise);
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: PathIndex = PathIndex(1);

    fn probe_at(at: u64) -> ProbeDue {
        ProbeDue { at: Timestamp(at), path: PATH, since: Timestamp(1_000_000), most_ns: 500_000_000 }
    }

    /// What fires, of a timer that is set to `due`, once another session measured a round trip of 10 ms at 5 ms.
    fn fires(due: Due, now: u64) -> (bool, Option<Timestamp>) {
        let (mut timers, mut paths) = (Timers::new(), PathFacts::default());
        timers.arm_session(3, due);
        paths.of(PATH).rtt.on_sample(4, Timestamp(5_000_000), 10_000_000);
        let mut expired = Vec::new();
        timers.expired(Timestamp(now), false, &paths, &mut expired);
        (expired == [3], timers.wheel.armed(3))
    }

    #[test]
    fn a_probe_timer_that_others_hold_back_is_set_anew_without_its_session() {
        let due = Due { at: Timestamp(900_000_000), probe: Some(probe_at(6_000_000)) };
        assert_eq!(
            fires(due, 6_000_000),
            (false, Some(Timestamp(21_000_000))),
            "twice the others' round trip"
        );
        assert_eq!(fires(due, 21_000_000), (true, None), "and no longer");
    }

    #[test]
    fn whatever_else_a_session_has_to_do_is_not_held_back() {
        let early = Due { at: Timestamp(8_000_000), probe: Some(probe_at(6_000_000)) };
        assert_eq!(fires(early, 6_000_000), (false, Some(Timestamp(8_000_000))));
        assert_eq!(fires(early, 8_000_000), (true, None));
        let other = Due { at: Timestamp(6_000_000), probe: Some(probe_at(7_000_000)) };
        assert_eq!(fires(other, 6_000_000), (true, None));
        assert_eq!(fires(Due { at: Timestamp(6_000_000), probe: None }, 6_000_000), (true, None));
    }

    #[test]
    fn what_another_slot_waited_for_does_not_hold_its_successor_back() {
        let (mut timers, mut paths) = (Timers::new(), PathFacts::default());
        timers.arm_session(3, Due { at: Timestamp(900_000_000), probe: Some(probe_at(6_000_000)) });
        timers.cancel(3);
        timers.arm(3, Timestamp(6_000_000));
        paths.of(PATH).rtt.on_sample(4, Timestamp(5_000_000), 10_000_000);
        let mut expired = Vec::new();
        timers.expired(Timestamp(6_000_000), false, &paths, &mut expired);
        assert_eq!(expired, [3]);
    }

    #[test]
    fn while_batches_come_back_full_thousands_of_probe_timers_cost_a_look_each_in_milliseconds() {
        let (mut timers, paths) = (Timers::new(), PathFacts::default());
        for index in 0..10_000 {
            timers.arm_session(index, Due { at: Timestamp(900_000_000), probe: Some(probe_at(6_000_000)) });
        }
        let mut expired = Vec::new();
        for at in (6_000_000..10_900_000).step_by(20_000) {
            timers.expired(Timestamp(at), true, &paths, &mut expired);
            assert!(timers.next() >= Some(Timestamp(10_900_000)), "nothing is due in every turn");
        }
        assert!(expired.is_empty());
        timers.expired(Timestamp(11_100_000), false, &paths, &mut expired);
        assert_eq!(expired.len(), 10_000);
    }
}
