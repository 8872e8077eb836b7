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
        if busy && now < self.rest_until {
            return false;
        }
        let Some(job) = engine.poll_job() else { return false };
        let began = clock.now();
        let done = job.run();
        let ended = clock.now();
        engine.finish_job(ended, done);
        self.rest_until = ended.after_ns(REST * ended.since_ns(began));
        true
    }
}
