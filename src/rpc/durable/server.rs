//! A reply log on a thread of its own: takes calls from an endpoint's queue, all that wait at once, commits
//! them together, and answers.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bytes::Bytes;
use thiserror::Error;

use super::clock::Moment;
use super::log::{Answer, Arrived, Call, ReplyLog};
use super::store::{Store, StoreError};
use super::transaction::Transaction;
use super::{Bounds, Failure};
use crate::bounds::{DURABLE_BATCH_BYTES_MAX, DURABLE_BATCH_CALLS_MAX};
use crate::endpoint::{IncomingCall, Requests, before, block_on_unless};
use crate::rpc::{DuplicateMethod, status};
use crate::sys::process::random_bytes;
use crate::time::{Clock, MonotonicClock, Timestamp, wall_at_zero_ns};

/// Serves durable methods: see [the module](super). It ends when it is dropped, or with its endpoint.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Why a server of durable calls could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Two methods with one number.
    #[error(transparent)]
    Method(#[from] DuplicateMethod),
    /// The kernel has no randomness for leases, or no thread.
    #[error("cannot start the thread of durable calls: {0}")]
    Host(#[from] std::io::Error),
}

/// Settings of a [`Server`], and its methods.
#[must_use = "nothing is served before it is started"]
pub struct Builder {
    log: Result<ReplyLog, StartError>,
    otherwise: Box<dyn FnMut(IncomingCall) + Send>,
}

impl Server {
    /// A server over `store` with the default bounds.
    pub fn builder(store: impl Store + 'static) -> Builder {
        Self::bounded(store, Bounds::default())
    }

    /// A server over `store`.
    pub fn bounded(store: impl Store + 'static, bounds: Bounds) -> Builder {
        let open = || {
            let mut seed = [0; 32];
            random_bytes(&mut seed)?;
            Ok(ReplyLog::open(store, bounds, seed, moment())?)
        };
        let refuse = |call: IncomingCall| call.fail(status::NO_SUCH_METHOD, &b"no such durable method"[..]);
        Builder { log: open(), otherwise: Box::new(refuse) }
    }

    /// Whether its thread runs: false once its endpoint has ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Builder {
    /// Serves method `name`, which the endpoint must leave to its queue
    /// ([`Router::queue`](crate::rpc::Router::queue)).
    pub fn serve(
        mut self,
        name: &str,
        handler: impl FnMut(Call<'_>, &mut Transaction<'_>) -> Result<Bytes, Failure> + Send + 'static,
    ) -> Self {
        if let Ok(log) = &mut self.log
            && let Err(error) = log.serve(name, handler)
        {
            self.log = Err(error.into());
        }
        self
    }

    /// What to do with a queued call of any other method. It runs on this server's thread: hand the call
    /// on, and do not answer here what takes long. Unless set, such a call fails.
    pub fn otherwise(mut self, hand_on: impl FnMut(IncomingCall) + Send + 'static) -> Self {
        self.otherwise = Box::new(hand_on);
        self
    }

    /// Starts the thread. It reads all of `requests`: nobody else should.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(self, requests: Requests) -> Result<Server, StartError> {
        let log = self.log?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut drive = Drive { log, requests, otherwise: self.otherwise, stop: stop.clone() };
        let thread = std::thread::Builder::new().name("ringwire-durable".into());
        let thread = thread.spawn(move || drive.run())?;
        Ok(Server { stop, thread: Some(thread) })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `Drive::stopped`.
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Its panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Drive {
    log: ReplyLog,
    requests: Requests,
    otherwise: Box<dyn FnMut(IncomingCall) + Send>,
    stop: Arc<AtomicBool>,
}

impl Drive {
    fn run(&mut self) {
        while !self.stopped() {
            let wake = self.log.next_expiry();
            let next = self.requests.next();
            match block_on_unless(before(wake, next), || self.stopped()) {
                Some(Some(Some(first))) => self.batch(first),
                // A lease ends.
                Some(None) => drop(self.log.run(moment(), &[])),
                // The endpoint has ended, or the server is dropped.
                Some(Some(None)) | None => return,
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Runs `first` and all that came while the last commit took its time: the longer the disk takes, the
    /// more calls share its next answer.
    fn batch(&mut self, first: IncomingCall) {
        let (mut calls, mut size) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(call) = next {
            if self.log.serves(call.method) {
                size += call.payload.len();
                calls.push(call);
            } else {
                (self.otherwise)(call);
            }
            let is_full = calls.len() >= DURABLE_BATCH_CALLS_MAX || size >= DURABLE_BATCH_BYTES_MAX;
            next = if is_full { None } else { self.requests.try_next() };
        }
        let arrived: Vec<Arrived<'_>> = calls.iter().map(arrived).collect();
        let ran = catch_unwind(AssertUnwindSafe(|| self.log.run(moment(), &arrived)));
        // Without answers the calls fail as dropped ones, and their clients ask again; the log reads its
        // store anew before it runs another.
        let Ok(answers) = ran else { return };
        for (call, Answer { status, payload }) in calls.into_iter().zip(answers) {
            match status {
                status::OK => call.reply(payload),
                _ => call.fail(status, payload),
            }
        }
    }
}

fn arrived(call: &IncomingCall) -> Arrived<'_> {
    Arrived { method: call.method, client: call.peer().public_key(), payload: &call.payload }
}

/// This moment by the host's clocks.
#[must_use]
pub fn moment() -> Moment {
    let now: Timestamp = MonotonicClock.now();
    Moment { now, wall_ns: wall_at_zero_ns().wrapping_add(now.0) }
}
