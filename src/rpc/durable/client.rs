//! A client whose calls run once, whatever becomes of sessions and servers meanwhile.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::lane::{Lane, Place};
use super::outcome::{Attempt, NotRun, Outcome};
use crate::crypto::Csprng;
use crate::endpoint::{before, until};
use crate::rpc::{MethodId, Service, status};
use crate::sys::process::random_bytes;
use crate::time::{Clock, MonotonicClock, Timestamp, saturating_ns};
use crate::wire::{DurableRequest, LeaseGrant};

/// Calls durable methods of a [`Service`], each again and again until its end is known: its reply, its
/// failure, `Stale`, or the deadline. Clones share the session and the lease.
///
/// The server knows it by the key of its endpoint where sessions are sealed; else by a number that is
/// drawn when it is made. A client that dies takes with it what it knew of its calls: the server forgets
/// them when the lease ends.
#[derive(Clone)]
pub struct Client {
    service: Service,
    shared: Arc<Shared>,
}

struct Shared {
    id: [u8; 16],
    state: Mutex<State>,
}

struct State {
    /// The lease in use.
    lane: Option<Arc<Lane>>,
    /// Names the lease that is wanted: everyone who asks for it gets the same.
    attempt: u64,
    chance: Csprng,
}

/// An attempt's time: the first, and the longest; each is twice the one before. A session whose attempt
/// took longer is given up for a new one, which a server that is merely slow can bear.
const ATTEMPT_NS: (u64, u64) = (1_000_000_000, 8_000_000_000);
/// Between two attempts: the first pause, and the longest; half of each is chance, so that clients of a
/// server that comes back do not come in step.
const PAUSE_NS: (u64, u64) = (1_000_000, 250_000_000);

impl Client {
    /// A client of `service`. Nothing is opened yet.
    ///
    /// # Errors
    /// The kernel has no randomness to give.
    pub fn new(service: Service) -> io::Result<Self> {
        let mut seed = [0; 32];
        random_bytes(&mut seed)?;
        let mut chance = Csprng::new(seed);
        let (id, attempt) = (chance.bytes(), chance.u64());
        let state = Mutex::new(State { lane: None, attempt, chance });
        Ok(Self { service, shared: Arc::new(Shared { id, state }) })
    }

    /// Calls `method`, which must be durable, once: whatever happens to sessions and servers meanwhile, it
    /// takes effect at most once, and exactly once if it replied. Dropped before its end, it may or may not
    /// take effect, as with [`Outcome::TimedOut`].
    pub async fn call(&self, method: MethodId, payload: impl AsRef<[u8]>, limit: Duration) -> Outcome {
        let mut pursuit = Pursuit::new(self, method, limit);
        loop {
            let place = match pursuit.place().await {
                Ok(place) => place,
                Err(outcome) => return outcome,
            };
            match pursuit.call(&place, payload.as_ref()).await {
                Some(outcome) => return outcome,
                // The lease was over before the call came under it: under another it is as good.
                None => self.forget(&place.lane),
            }
            pursuit.rest().await;
        }
    }

    /// Extends the lease, so that it outlasts a pause, and tells the server which replies have arrived.
    /// Calls do both in passing. `method` is any durable one. `Replied` if it was done, `Stale` if the lease
    /// was over: then the next call asks for another.
    pub async fn renew(&self, method: MethodId, limit: Duration) -> Outcome {
        let Some(lane) = self.state().lane.clone() else { return Outcome::Stale };
        let mut pursuit = Pursuit::new(self, method, limit);
        let (lease, first_incomplete) = (lane.lease, lane.first_incomplete());
        let outcome =
            pursuit.until_ended(|| DurableRequest::Renew { lease, first_incomplete }.to_vec()).await;
        if outcome == Outcome::Stale {
            self.forget(&lane);
        }
        outcome
    }

    /// Gives the lease back, so that the server need not keep its replies until it ends. To be called
    /// last: what is still under way under it ends [`Outcome::Stale`].
    pub async fn release(&self, method: MethodId, limit: Duration) -> Outcome {
        let Some(lane) = self.state().lane.take() else { return Outcome::Stale };
        let mut pursuit = Pursuit::new(self, method, limit);
        let lease = lane.lease;
        pursuit.until_ended(|| DurableRequest::Release { lease }.to_vec()).await
    }

    fn forget(&self, lane: &Arc<Lane>) {
        let mut state = self.state();
        if state.lane.as_ref().is_some_and(|known| Arc::ptr_eq(known, lane)) {
            state.lane = None;
            state.attempt = state.chance.u64();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("service", &self.service).finish_non_exhaustive()
    }
}

/// One call, or one request for a lease, from its first attempt to its last.
struct Pursuit<'a> {
    client: &'a Client,
    method: MethodId,
    deadline: Timestamp,
    attempt_ns: u64,
    pause_ns: u64,
    /// An earlier attempt may have run.
    doubtful: bool,
    why_not: NotRun,
}

impl<'a> Pursuit<'a> {
    fn new(client: &'a Client, method: MethodId, limit: Duration) -> Self {
        let deadline = MonotonicClock.now().after_ns(saturating_ns(limit));
        let (attempt_ns, pause_ns) = (ATTEMPT_NS.0, PAUSE_NS.0);
        Self { client, method, deadline, attempt_ns, pause_ns, doubtful: false, why_not: NotRun::NoTime }
    }

    /// A place in the lane in use; of a new lease if there is none.
    async fn place(&mut self) -> Result<Place, Outcome> {
        let lane = self.lane().await?;
        let room = std::future::poll_fn(|context| {
            if let Some(place) = lane.take() {
                return std::task::Poll::Ready(place);
            }
            lane.wait_for_room(context.waker());
            lane.take().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        });
        before(self.deadline, room).await.ok_or(Outcome::NotRun(NotRun::NoTime))
    }

    async fn lane(&mut self) -> Result<Arc<Lane>, Outcome> {
        loop {
            let attempt = {
                let state = self.client.state();
                match &state.lane {
                    Some(lane) => return Ok(lane.clone()),
                    None => state.attempt,
                }
            };
            let client = self.client.shared.id;
            let open = || DurableRequest::Open { client, attempt }.to_vec();
            let outcome = self.until_ended(open).await;
            // Asking for a lease runs nothing: whatever came of it, the call did not run.
            self.doubtful = false;
            match outcome {
                Outcome::Replied(reply) => {
                    let Ok(grant) = LeaseGrant::decode(&reply) else {
                        let message = Bytes::from_static(b"the server's reply is no lease");
                        return Err(Outcome::Failed { status: status::MALFORMED, message });
                    };
                    let mut state = self.client.state();
                    // Another call may have been quicker: its lease is this one, or a later one.
                    if state.attempt == attempt && state.lane.is_none() {
                        state.lane = Some(Arc::new(Lane::new(&grant)));
                    }
                }
                Outcome::TimedOut | Outcome::Stale => return Err(Outcome::NotRun(NotRun::NoTime)),
                other => return Err(other),
            }
        }
    }

    /// The call under its number until its end; `None` when it did not run because the lease was over.
    async fn call(&mut self, place: &Place, payload: &[u8]) -> Option<Outcome> {
        let Place { lane, sequence } = place;
        let (lease, sequence) = (lane.lease, *sequence);
        let request = || {
            let first_incomplete = lane.first_incomplete().min(sequence);
            DurableRequest::Call { lease, sequence, first_incomplete, payload }.to_vec()
        };
        let outcome = self.until_ended(request).await;
        (outcome != Outcome::Stale || self.doubtful).then_some(outcome)
    }

    /// Attempt after attempt.
    async fn until_ended(&mut self, request: impl Fn() -> Vec<u8>) -> Outcome {
        loop {
            match self.attempt(request()).await {
                Attempt::Ended(Outcome::NotRun(_)) if self.doubtful => return Outcome::TimedOut,
                Attempt::Ended(outcome) => return outcome,
                Attempt::Stale => return Outcome::Stale,
                Attempt::NotRun(why) => self.why_not = why,
                Attempt::Doubtful => self.doubtful = true,
            }
            self.rest().await;
            if MonotonicClock.now() >= self.deadline {
                return self.out_of_time();
            }
        }
    }

    /// A pause before the next attempt, at most to the deadline.
    async fn rest(&mut self) {
        let pause = self.pause();
        until(MonotonicClock.now().after_ns(pause).min(self.deadline)).await;
    }

    async fn attempt(&mut self, request: Vec<u8>) -> Attempt {
        let peer = match before(self.deadline, self.client.service.peer()).await {
            Some(Ok(peer)) => peer,
            Some(Err(error)) => return Attempt::NotRun(NotRun::NoSession(error)),
            None => return Attempt::Ended(self.out_of_time()),
        };
        let left = self.deadline.since_ns(MonotonicClock.now());
        let limit = Duration::from_nanos(left.min(self.attempt_ns));
        let outcome = peer.call(self.method, request).deadline(limit).await;
        if outcome == crate::endpoint::Outcome::TimedOut {
            // Slow or gone, nobody knows: the next attempt asks on a session that proves itself.
            self.client.service.forget(&peer);
            self.attempt_ns = self.attempt_ns.saturating_mul(2).min(ATTEMPT_NS.1);
        }
        outcome.into()
    }

    fn out_of_time(&self) -> Outcome {
        if self.doubtful { Outcome::TimedOut } else { Outcome::NotRun(self.why_not.clone()) }
    }

    fn pause(&mut self) -> u64 {
        let pause = self.pause_ns;
        self.pause_ns = pause.saturating_mul(2).min(PAUSE_NS.1);
        pause / 2 + self.client.state().chance.u64() % (pause / 2)
    }
}
