//! Handshakes' costly steps, run between the calls of others.

use crate::time::{Clock, Timestamp};
use crate::transport::Engine;

/// How much of a worker's time strangers may have.
#[derive(Debug, Default)]
pub(super) struct JobBudget {
    /// No step is run before then, while there is other work.
    rest_until: Timestamp,
}

/// After a step the worker does other things for so many times as long: handshakes take a quarter of a
/// busy worker at most.
const REST: u64 = 3;

impl JobBudget {
    /// Runs the next step, if it is time. True when one was run.
    pub(super) fn run(&mut self, engine: &mut Engine, clock: &dyn Clock, now: Timestamp, busy: bool) -> bool {
        if !self.allows(now, busy) {
            return false;
        }
        let Some(job) = engine.poll_job() else { return false };
        let began = clock.now();
        let done = job.run();
        let ended = clock.now();
        engine.finish_job(ended, done);
        self.spend(began, ended);
        true
    }

    /// A worker without other work gives strangers all its time.
    fn allows(&self, now: Timestamp, busy: bool) -> bool {
        !busy || now >= self.rest_until
    }

    fn spend(&mut self, began: Timestamp, ended: Timestamp) {
        self.rest_until = ended.after_ns(REST * ended.since_ns(began));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_a_quarter_of_a_busy_worker_and_all_of_an_idle_one() {
        const STEP_NS: u64 = 150_000;
        for (busy, share) in [(true, 4), (false, 1)] {
            let mut budget = JobBudget::default();
            let (mut now, mut steps) = (Timestamp(0), 0);
            while now < Timestamp(1_000 * STEP_NS) {
                if budget.allows(now, busy) {
                    budget.spend(now, now.after_ns(STEP_NS));
                    now = now.after_ns(STEP_NS);
                    steps += 1;
                } else {
                    now = now.after_ns(STEP_NS / 10);
                }
            }
            assert_eq!(steps, 1_000 / share, "busy: {busy}");
        }
    }
}
