//! Waiting for a moment in async code, on any executor: one thread for the whole process, started by the
//! first who waits.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::time::{Clock, MonotonicClock, Timestamp};

/// Resolves at a moment of [`MonotonicClock`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Alarm {
    at: Timestamp,
    /// Its place among those that wait, once it does.
    number: Option<u64>,
}

/// Those that wait, by moment and number.
#[derive(Default)]
struct Waiting {
    alarms: BTreeMap<(Timestamp, u64), Waker>,
    next_number: u64,
}

#[derive(Default)]
struct Clockwork {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// Resolves at `at`.
pub fn until(at: Timestamp) -> Alarm {
    Alarm { at, number: None }
}

/// What `future` comes to, unless `at` is earlier.
pub async fn before<F: Future>(at: Timestamp, future: F) -> Option<F::Output> {
    let (mut future, mut alarm) = (pin!(future), pin!(until(at)));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        alarm.as_mut().poll(context).map(|()| None)
    })
    .await
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if MonotonicClock.now() >= self.at {
            return Poll::Ready(());
        }
        if self.at == Timestamp::NEVER {
            return Poll::Pending;
        }
        let clockwork = clockwork();
        let mut waiting = clockwork.waiting();
        let number = *self.number.get_or_insert_with(|| {
            waiting.next_number += 1;
            waiting.next_number
        });
        let place = (self.at, number);
        waiting.alarms.insert(place, context.waker().clone());
        if waiting.alarms.first_key_value().is_some_and(|(first, _)| *first == place) {
            clockwork.changed.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            clockwork().waiting().alarms.remove(&(self.at, number));
        }
    }
}

impl Clockwork {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut waiting = self.waiting();
        loop {
            let now = MonotonicClock.now();
            let mut due = Vec::new();
            while let Some(first) = waiting.alarms.first_entry()
                && first.key().0 <= now
            {
                due.push(first.remove());
            }
            let next = waiting.alarms.first_key_value().map(|((at, _), _)| *at);
            if !due.is_empty() {
                drop(waiting);
                // Outside the lock: a waker may run anything.
                due.into_iter().for_each(Waker::wake);
                waiting = self.waiting();
                continue;
            }
            waiting = match next {
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let slept = self.changed.wait_timeout(waiting, now.until(at));
                    slept.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

fn clockwork() -> &'static Clockwork {
    static CLOCKWORK: OnceLock<&'static Clockwork> = OnceLock::new();
    CLOCKWORK.get_or_init(|| {
        let clockwork: &'static Clockwork = Box::leak(Box::default());
        let thread = std::thread::Builder::new().name("ringwire-alarm".into());
        thread.spawn(|| clockwork.run()).expect("a process that cannot start a thread cannot wait");
        clockwork
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::endpoint::block_on;

    #[test]
    fn what_is_quicker_counts_and_nothing_is_left_of_the_other() {
        let soon = || MonotonicClock.now().after(Duration::from_millis(5));
        let far = MonotonicClock.now().after(Duration::from_secs(3_600));
        assert_eq!(block_on(before(far, async { 7 })), Some(7));
        assert_eq!(block_on(before(soon(), std::future::pending::<u8>())), None);
        let at = soon();
        assert_eq!(block_on(before(far, until(at))), Some(()));
        assert!(MonotonicClock.now() >= at);
        // Others may wait at the same time, but nobody in these tests for that moment.
        assert!(!clockwork().waiting().alarms.keys().any(|(at, _)| *at == far));
    }
}
