//! Two pinned threads against each other, for a set time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::Options;
use crate::sys::cores;
use crate::time::{Clock, MonotonicClock, Timestamp, saturating_ns};

/// Runs `server` on the second core until `client`, on the first, has returned. `None` where there is
/// only one core: two spinning threads on it would measure the scheduler.
pub(super) fn duel<R: Send>(
    options: &Options,
    server: impl FnOnce(&Stop) + Send,
    client: impl FnOnce(&mut Watch) -> Option<R> + Send,
) -> Option<R> {
    let [first, second] = options.cores?;
    let stop = Stop(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            cores::pin_current(second);
            server(&stop);
        });
        // A thread of its own: the caller's stays free to run anywhere.
        let client = scope.spawn(|| {
            cores::pin_current(first);
            client(&mut Watch::new(options.duration_each))
        });
        let result = client.join();
        stop.set();
        let served = serving.join();
        result.ok().flatten().filter(|_| served.is_ok())
    })
}

/// Tells the server that the run is over.
#[derive(Debug)]
pub(super) struct Stop(AtomicBool);

impl Stop {
    pub fn set(&self) {
        // Relaxed, as below: it guards no other memory; join orders the rest.
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The time of a run: a fifth of it warms up, the rest counts. A run in which almost nothing was done, since other work
/// had the cores, goes on until there is something to tell, ten times as long at most.
#[derive(Debug)]
pub(super) struct Watch {
    clock: MonotonicClock,
    counting_from: Timestamp,
    end: Timestamp,
    patience_end: Timestamp,
    count: u64,
    last: Timestamp,
}

impl Watch {
    pub fn new(duration: Duration) -> Self {
        let clock = MonotonicClock;
        let start = clock.now();
        let warm_up_ns = saturating_ns(duration) / 5;
        let counting_from = start.after_ns(warm_up_ns);
        let end = counting_from.after_ns(saturating_ns(duration) - warm_up_ns);
        let patience_end = start.after_ns(saturating_ns(duration).saturating_mul(PATIENCE));
        Self { clock, counting_from, end, patience_end, count: 0, last: start }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Counts `amount` of work finished by `now`; false when the time is up.
    pub fn done_at(&mut self, now: Timestamp, amount: u64) -> bool {
        if now >= self.counting_from {
            self.count += amount;
        }
        self.last = now;
        now < self.end || self.count < COUNT_MIN && now < self.patience_end
    }

    /// The same at this moment.
    pub fn done(&mut self, amount: u64) -> bool {
        self.done_at(self.now(), amount)
    }

    pub fn counts(&self, now: Timestamp) -> bool {
        now >= self.counting_from
    }

    /// Work a second since the warm-up.
    pub fn per_s(&self) -> Option<f64> {
        let ns = self.last.since_ns(self.counting_from);
        (ns > 0 && self.count > 0).then(|| self.count as f64 * 1e9 / ns as f64)
    }

    /// Nanoseconds each.
    pub fn ns_each(&self) -> Option<f64> {
        self.per_s().map(|per_s| 1e9 / per_s)
    }
}

/// As much work as a median needs: see [`Times::of`].
const COUNT_MIN: u64 = 20;
/// How many times its length a starved run may take.
const PATIENCE: u64 = 10;

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub p99_9: Option<f64>,
}

impl Times {
    pub fn of(histogram: &Histogram<u64>) -> Times {
        // Fewer than ten samples above it say nothing about a percentile.
        let at = |quantile: f64| {
            let above = histogram.len() as f64 * (1.0 - quantile);
            (above >= 10.0).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
        };
        Times { p50: at(0.5), p99: at(0.99), p99_9: at(0.999) }
    }

    /// p50, p99, p99.9.
    pub fn all(self) -> [Option<f64>; 3] {
        [self.p50, self.p99, self.p99_9]
    }
}

/// Nanoseconds up to a minute, to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid")
}
