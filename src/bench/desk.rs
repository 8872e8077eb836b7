//! Calls in flight through handles, from one thread: started ahead, their outcomes taken in the order of the
//! calls.
//!
//! ```text
//!  issue --> [oldest | ... | newest] --> outcome of the oldest, when it is there
//! ```
//!
//! Nothing but what every program has: [`Peer::call`], [`Call::try_start`], and polling or waiting for the
//! future. A reply that came before an older call's is taken, and its time read, after that one's: latency is
//! never told too low.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::caller::{Issue, Order};
use crate::endpoint::{Call, Outcome, Peer, before, block_on, block_on_unless};
use crate::time::Timestamp;
use crate::transport::SendError;
use crate::worker::{self, SessionKey};

/// The calls of one thread.
pub struct Desk {
    peers: Vec<Peer>,
    /// Where a session's handle is among them.
    places: FxHashMap<SessionKey, usize>,
    calls: VecDeque<Started>,
    full: bool,
}

struct Started {
    token: u64,
    call: Call,
}

impl Desk {
    /// A desk for calls on `peers`, all of one worker.
    #[must_use]
    pub fn new(peers: &[Peer]) -> Self {
        let places = peers.iter().enumerate().map(|(place, peer)| (peer.session(), place)).collect();
        Self { peers: peers.to_vec(), places, calls: VecDeque::new(), full: false }
    }

    fn peer(&self, session: SessionKey) -> &Peer {
        // With one session there is nothing to look up.
        if self.peers.len() == 1 { &self.peers[0] } else { &self.peers[self.places[&session]] }
    }

    /// The outcome of the oldest call, if it is there.
    #[inline]
    pub fn next_ready(&mut self) -> Option<(u64, Outcome)> {
        let oldest = self.calls.front_mut()?;
        match Pin::new(&mut oldest.call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some((self.take_oldest(), outcome)),
            Poll::Pending => None,
        }
    }

    /// The outcome of the oldest call: waits for it, asleep, unless `give_up` says so when there is none yet.
    pub fn wait_next(&mut self, give_up: impl FnMut() -> bool) -> Option<(u64, Outcome)> {
        let oldest = self.calls.front_mut()?;
        let outcome = block_on_unless(&mut oldest.call, give_up)?;
        Some((self.take_oldest(), outcome))
    }

    /// The outcome of the oldest call, if it comes before `end`.
    pub fn next_before(&mut self, end: Timestamp) -> Option<(u64, Outcome)> {
        let oldest = self.calls.front_mut()?;
        let outcome = block_on(before(end, &mut oldest.call))?;
        Some((self.take_oldest(), outcome))
    }

    fn take_oldest(&mut self) -> u64 {
        // A call that ended left its place: there is room again.
        self.full = false;
        self.calls.pop_front().expect("its outcome was just taken").token
    }
}

impl Issue for Desk {
    fn issue(&mut self, order: Order<'_>) -> Result<(), SendError> {
        if self.full {
            return Err(SendError::WouldBlock);
        }
        let peer = self.peer(order.session);
        if peer.close_reason().is_some() {
            return Err(SendError::Closed);
        }
        let call = peer.call(order.method, order.payload.clone());
        match call.deadline(Duration::from_nanos(order.limit_ns)).try_start() {
            Ok(call) => self.calls.push_back(Started { token: order.token, call }),
            Err(_) => {
                self.full = true;
                return Err(SendError::WouldBlock);
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.full
    }
}

/// The outcome as a worker's application sees it.
pub fn seen(outcome: &Outcome) -> worker::Outcome<'_> {
    match outcome {
        Outcome::Replied(reply) => worker::Outcome::Replied(reply),
        Outcome::Failed { status, message } => worker::Outcome::Failed { status: *status, message },
        Outcome::TimedOut => worker::Outcome::TimedOut,
        Outcome::Unknown => worker::Outcome::Unknown,
        Outcome::NotSent(_) => worker::Outcome::NotSent,
    }
}
