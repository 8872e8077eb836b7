//! One session for many callers: opened by one of them while the others wait, and not again at once when
//! that failed.
//!
//! ```text
//!  Open --session ended--> Shut --a caller--> Opening --ok--> Open
//!                            ^                   |
//!                            +---- rest, twice as long each time, by chance <-- failed
//! ```
//!
//! A server that comes back after an outage finds one handshake of each client, at moments of their own, and
//! not all their callers at once.

use std::future::{Future, poll_fn};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::endpoint::{OpenError, Peer, before};
use crate::rng::Rng;
use crate::time::{Clock, MonotonicClock, Timestamp, saturating_ns};
use crate::transport::CloseReason;
use crate::worker::mailbox::Waiters;

/// See the module.
#[derive(Debug)]
pub(super) struct Door {
    inside: Mutex<Inside>,
    waiters: Waiters,
}

#[derive(Debug)]
struct Inside {
    session: Option<Opened>,
    is_opening: bool,
    rest: Rest,
    /// Why the last attempt failed, for those who come while it rests.
    failed: OpenError,
}

#[derive(Debug)]
struct Opened {
    peer: Peer,
    at: Timestamp,
}

/// How long to leave a peer alone that could not be reached.
#[derive(Debug)]
struct Rest {
    failures: u32,
    until: Timestamp,
    rng: Rng,
}

/// The first rest is at most this long, each next twice that…
const REST_MIN: Duration = Duration::from_millis(50);
/// …and at most this.
const REST_MAX: Duration = Duration::from_secs(5);
/// Why who waited for another's attempt got nothing.
const LATE: OpenError = OpenError::Ended(CloseReason::Unreachable);
/// A session that ended sooner counts as an attempt that failed: a server that crashes as soon as it is
/// called is not called all day.
const LIVED_MIN: Duration = Duration::from_millis(100);

impl Rest {
    fn on_failure(&mut self, now: Timestamp) {
        let longest = saturating_ns(REST_MIN) << self.failures.min(16);
        let longest = longest.min(saturating_ns(REST_MAX));
        self.failures += 1;
        // "Equal jitter": half of it certain, so that there is a rest, half by chance, so that clients that
        // lost their server together do not come back together.
        self.until = now.after_ns(longest / 2 + self.rng.below(longest / 2 + 1));
    }

    fn on_success(&mut self) {
        self.failures = 0;
        self.until = Timestamp(0);
    }
}

/// What a caller finds.
enum Found {
    Session(Peer),
    Failed(OpenError),
    /// It is this caller's to open.
    Mine,
    Wait,
}

impl Door {
    /// `seed` is the client's own: clients with the same would rest alike.
    pub(super) fn new(seed: u64) -> Self {
        let rest = Rest { failures: 0, until: Timestamp(0), rng: Rng::new(seed) };
        let inside = Inside { session: None, is_opening: false, rest, failed: OpenError::Stopped };
        Self { inside: Mutex::new(inside), waiters: Waiters::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session; opened by `open` if there is none and it is this caller's turn. Who waits for another's
    /// attempt waits until `end`.
    pub(super) async fn enter<O>(&self, end: Timestamp, open: impl Fn() -> O) -> Result<Peer, OpenError>
    where
        O: Future<Output = Result<Peer, OpenError>>,
    {
        let found = poll_fn(|context| {
            let found = self.lock().look(MonotonicClock.now());
            if !matches!(found, Found::Wait) {
                return Poll::Ready(found);
            }
            self.waiters.register(context.waker());
            // Once more: it may have been opened in between.
            match self.lock().look(MonotonicClock.now()) {
                Found::Wait => Poll::Pending,
                found => Poll::Ready(found),
            }
        });
        match before(end, found).await.unwrap_or(Found::Failed(LATE)) {
            Found::Session(peer) => Ok(peer),
            Found::Failed(error) => Err(error),
            Found::Mine => {
                let turn = Turn { door: self };
                let opened = open().await;
                turn.end(opened)
            }
            Found::Wait => unreachable!("who waits is pending"),
        }
    }

    /// Gives up `peer`, if it is the session in use.
    pub(super) fn forget(&self, peer: &Peer) {
        let mut inside = self.lock();
        let given_up = inside.session.take_if(|opened| opened.peer == *peer);
        drop(inside);
        // Outside the lock: its drop may close it.
        drop(given_up);
    }
}

impl Inside {
    fn look(&mut self, now: Timestamp) -> Found {
        if let Some(opened) = &self.session {
            let Some(reason) = opened.peer.close_reason() else { return Found::Session(opened.peer.clone()) };
            if now.since_ns(opened.at) < saturating_ns(LIVED_MIN) {
                self.rest.on_failure(now);
                self.failed = OpenError::Ended(reason);
            } else {
                self.rest.on_success();
            }
            self.session = None;
        }
        if self.is_opening {
            Found::Wait
        } else if now < self.rest.until {
            Found::Failed(self.failed)
        } else {
            self.is_opening = true;
            Found::Mine
        }
    }
}

/// The caller whose turn it is to open; one that gives up leaves it to the next.
struct Turn<'a> {
    door: &'a Door,
}

impl Turn<'_> {
    fn end(self, opened: Result<Peer, OpenError>) -> Result<Peer, OpenError> {
        let now = MonotonicClock.now();
        let mut inside = self.door.lock();
        match &opened {
            Ok(peer) => inside.session = Some(Opened { peer: peer.clone(), at: now }),
            Err(error) => {
                inside.failed = *error;
                inside.rest.on_failure(now);
            }
        }
        drop(inside);
        opened
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.door.lock().is_opening = false;
        self.door.waiters.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_differ_from_client_to_client_and_end_with_success() {
        let rest = |seed| Rest { failures: 0, until: Timestamp(0), rng: Rng::new(seed) };
        let (mut a, mut b) = (rest(1), rest(2));
        let mut differ = 0;
        for attempt in 0..20u32 {
            let now = Timestamp(1_000);
            a.on_failure(now);
            b.on_failure(now);
            let longest = (saturating_ns(REST_MIN) << attempt.min(16)).min(saturating_ns(REST_MAX));
            for rest in [&a, &b] {
                let ns = rest.until.since_ns(now);
                assert!((longest / 2..=longest).contains(&ns), "attempt {attempt}: {ns} of {longest}");
            }
            differ += u32::from(a.until != b.until);
        }
        assert!(differ >= 18, "by chance: {differ} of 20");
        a.on_success();
        assert_eq!((a.failures, a.until), (0, Timestamp(0)));
    }
}
