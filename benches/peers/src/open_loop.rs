//! An open loop: requests leave on a fixed schedule, whatever became of those before, and each is timed
//! from the moment it was due. A closed loop would wait for a slow reply and never see what queues behind it.

use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};

use crate::{Load, Tally};

/// Requests that may be in flight at once; beyond it a due request waits and its time runs on.
pub const FLIGHT_MAX: usize = 65_536;

/// When requests are due.
pub struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    pub fn new(load: Load) -> Self {
        Self { next: Instant::now(), interval: Duration::from_nanos(1_000_000_000 / load.rate) }
    }

    /// The moment the next request was due, once that has come.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next;
        (due <= now).then(|| {
            self.next += self.interval;
            due
        })
    }
}

/// Drives `call`, which answers with the bytes it got back.
pub async fn run<F>(load: Load, call: impl Fn() -> F) -> anyhow::Result<Tally>
where
    F: Future<Output = anyhow::Result<usize>>,
{
    let mut schedule = Schedule::new(load);
    let mut tally = Tally::new(load);
    let mut flying = FuturesUnordered::new();
    loop {
        while flying.len() < FLIGHT_MAX
            && let Some(due) = schedule.due(Instant::now())
        {
            let answer = call();
            flying.push(async move { answer.await.map(|bytes| (due, bytes)) });
        }
        // The client never sleeps: a timer of the runtime is a millisecond late.
        tokio::select! {
            biased;
            Some(answer) = flying.next(), if !flying.is_empty() => {
                let (due, bytes) = answer?;
                if !tally.done(due, bytes) {
                    return Ok(tally);
                }
            }
            () = tokio::task::yield_now() => {}
        }
    }
}
