//! One client thread: a worker of its own, or handles to one, that connects, runs its share of the load, and
//! follows every call to its outcome.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use thiserror::Error;

use super::caller::{Answer, Caller, CallerConfig, Pace};
use super::connected::{Balance, Connected, OUTCOME_GRACE};
use super::flight::Flight;
use super::handle_client;
use super::host::{Host, HostError, Place};
use super::line::Line;
use super::one_way;
use super::plan::{Entry, Over, Plan, Scenario};
use super::recorder::{Keep, Recorder, Window};
use super::report::Choice;
use super::schedule::Schedule;
use crate::time::{MonotonicClock, Timestamp, saturating_ns};
use crate::worker::SessionKey;

/// What all client threads of a run share with the thread that started them.
#[derive(Debug, Default)]
pub struct Shared {
    /// Set once every thread is connected: the load begins.
    pub window: OnceLock<Window>,
    /// Ends the run early.
    stop: AtomicBool,
    /// Calls or messages completed, for the progress line.
    pub completed: AtomicU64,
    /// Threads that sleep while they wait for an outcome: they are to hear of the end.
    asleep: Mutex<Vec<Thread>>,
}

impl Shared {
    /// True once the run is to end early.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        // Relaxed: the flag guards no other memory.
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the run: also for threads that sleep.
    pub fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // The lock comes after the flag here, and before the first look at it there: a thread that is not listed
        // yet sees the flag.
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Thread::unpark);
    }

    /// The calling thread may sleep from now on.
    pub fn wakes_me(&self) {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner).push(std::thread::current());
    }
}

/// What a client thread tells while it runs.
#[derive(Debug)]
pub enum Note {
    /// All its sessions are open.
    Connected,
    /// It could not set up or connect.
    Failed(RunError),
    /// It is done.
    Done(Box<Measured>),
}

/// Why a run came to nothing.
#[derive(Debug, Error)]
pub enum RunError {
    /// This end could not be set up.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The server did not answer.
    #[error("no answer from {target} within {within:?} ({why}): is `ringwire serve` running there?")]
    NoAnswer {
        /// Who was called.
        target: SocketAddr,
        /// How long it had.
        within: Duration,
        /// What is known.
        why: String,
    },
    /// Too many sessions for one worker.
    #[error("cannot connect: {0}")]
    Connect(#[from] crate::transport::ConnectError),
    /// A client thread ended before it was done.
    #[error("a client thread ended before it was done: see the lines above")]
    Died,
    /// It was stopped before the load began.
    #[error("interrupted before the load began")]
    Interrupted,
}

/// What one thread measured.
#[derive(Debug)]
pub struct Measured {
    /// Counts and times.
    pub recorder: Recorder,
    /// Sends that an open loop meant and never made.
    pub skipped: Option<u64>,
    /// What both ends spent over the window and its drain.
    pub balance: Balance,
    /// Bytes and seconds of one-way messages, by the receiver's account.
    pub delivered: Option<one_way::Delivered>,
    /// What moves the packets.
    pub backend: Choice,
    /// Bytes of a full packet.
    pub packet_size: Option<usize>,
    /// Why the load ended before its time.
    pub cut_short: Option<String>,
}

/// One client thread, before it runs.
pub struct Client<'a> {
    /// The load of the whole run.
    pub plan: &'a Plan,
    /// How this end is run.
    pub host: &'a Host,
    /// Which worker this is.
    pub place: Place,
    /// Where the thread runs that calls through handles; `None` leaves that to the kernel.
    pub caller_core: Option<usize>,
    /// Of how many.
    pub workers: usize,
    /// The clock all threads share.
    pub clock: MonotonicClock,
    /// What the threads share.
    pub shared: &'a Shared,
}

/// A server that answers nothing for a deadline and this has stopped answering.
const SILENCE_GRACE_NS: u64 = 100_000_000;
/// The rare things are looked at this often.
pub(super) const LOOK_INTERVAL_NS: u64 = 10_000_000;
/// How often a thread that is connected looks whether the load begins: often within the notice it gets.
pub(super) const START_LOOK: Duration = Duration::from_micros(100);

impl Client<'_> {
    /// Connects, waits for the common start, runs the load and drains it. Notes go to `notes`.
    pub fn run(&self, notes: &Sender<Note>) {
        let note = self.measured(notes).map_or_else(Note::Failed, |measured| Note::Done(Box::new(measured)));
        // The receiver is gone only when the run was given up.
        let _ = notes.send(note);
    }

    fn measured(&self, notes: &Sender<Note>) -> Result<Measured, RunError> {
        if self.plan.entry == Entry::Handles {
            return handle_client::measure(self, notes);
        }
        let mut connected = Connected::open(self)?;
        notes.send(Note::Connected).map_err(|_| RunError::Interrupted)?;
        let window = self.await_window(|| {
            // Not `connected.turn()`: nothing on a socket tells of the window, and a parked worker would sleep
            // through its beginning, or through all of it.
            if connected.worker.turn().idle {
                connected.worker.wait(START_LOOK);
            }
        })?;
        let measured = match self.plan.over {
            Over::Call => self.measure_calls(&mut connected, window),
            Over::Message => one_way::measure(self, &mut connected, window),
        };
        connected.close();
        Ok(measured)
    }

    /// The common start, once it is told.
    pub(super) fn await_window(&self, mut meanwhile: impl FnMut()) -> Result<Window, RunError> {
        loop {
            if self.shared.is_stopped() {
                return Err(RunError::Interrupted);
            }
            if let Some(window) = self.shared.window.get() {
                return Ok(*window);
            }
            meanwhile();
        }
    }

    fn measure_calls(&self, connected: &mut Connected, window: Window) -> Measured {
        let caller = self.caller(connected.sessions.clone(), window);
        connected.worker.app_mut().employ(caller);
        let mut cut_short = self.load_until(connected, window.start);
        let books = connected.open_books(self.plan.deadline);
        if cut_short.is_none() {
            cut_short = self.load_until(connected, window.end);
        }
        let ended = connected.worker.clock_now().min(window.end);
        self.drain(connected);
        let caller = connected.worker.app_mut().take_caller().expect("it was put to work above");
        let finished = caller.finish(ended);
        let without = (finished.without_outcome > 0)
            .then(|| format!("{} calls never got an outcome", finished.without_outcome));
        Measured {
            recorder: finished.recorder,
            skipped: finished.skipped,
            balance: books.close(connected, self.plan.deadline),
            delivered: None,
            backend: connected.backend.clone(),
            packet_size: connected.worker.engine().packet_size(connected.sessions[0]),
            cut_short: cut_short.or(without),
        }
    }

    /// Calls over `sessions`, as planned.
    pub(super) fn caller(&self, sessions: Vec<SessionKey>, window: Window) -> Caller {
        let plan = self.plan;
        let config = CallerConfig {
            size: plan.size,
            answer: if plan.scenario == Scenario::Bulk { Answer::Empty } else { Answer::Echo },
            verify: plan.verify,
            seed: self.seed(),
            deadline_ns: saturating_ns(plan.deadline),
            clock: Rc::new(self.clock),
        };
        let (pace, keep) = match plan.rate {
            Some(rate) if plan.scenario == Scenario::Load => {
                let begin = Timestamp(window.start.0.saturating_sub(saturating_ns(plan.warmup)));
                let share = rate * sessions.len() as f64 / (plan.sessions * plan.lanes) as f64;
                let schedule = Schedule::new(begin, share, plan.arrivals, config.seed);
                (Pace::Open(schedule), Keep::LatencyAndService)
            }
            _ => (Pace::Closed, Keep::Latency),
        };
        let flight = Flight::new(sessions.len(), plan.window);
        Caller::new(config, sessions, flight, pace, Recorder::new(window, keep))
    }

    /// Each thread has contents and gaps of its own.
    pub(super) fn seed(&self) -> u64 {
        self.plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(self.place.index))
    }

    /// Issues and turns until `end`. Says why when the load broke off before.
    fn load_until(&self, connected: &mut Connected, end: Timestamp) -> Option<String> {
        let (mut looked, mut watch) = (Timestamp(0), SilenceWatch::default());
        loop {
            let worker = &mut connected.worker;
            let mut caller = worker.app_mut().take_caller().expect("a caller is at work");
            caller.issue_due(worker);
            caller.begin_turn();
            let refused = caller.refused();
            worker.app_mut().put_caller(caller);
            let idle = worker.turn().idle;
            let now = worker.now();
            if let Some(error) = refused {
                return Some(connected.broken().unwrap_or_else(|| error.to_string()));
            }
            if now >= end {
                return None;
            }
            if now.since_ns(looked) >= LOOK_INTERVAL_NS {
                looked = now;
                if let Some(why) = self.look_around(connected, &mut watch) {
                    return Some(why);
                }
            } else if idle {
                self.idle(connected);
            }
        }
    }

    /// An open loop must not sleep past its next send.
    fn idle(&self, connected: &mut Connected) {
        match self.plan.scenario {
            Scenario::Load => std::hint::spin_loop(),
            _ => connected.worker.idle(),
        }
    }

    /// The rare things. Says why when the load is to break off.
    #[cold]
    fn look_around(&self, connected: &mut Connected, watch: &mut SilenceWatch) -> Option<String> {
        if self.shared.is_stopped() {
            return Some("interrupted".into());
        }
        if let Some(why) = connected.broken() {
            return Some(why);
        }
        let now = connected.worker.now();
        let caller = connected.worker.app_mut().caller_mut().expect("a caller is at work");
        watch.look(self, caller, now)
    }

    /// Turns until every call has its outcome: at the latest when the last one's deadline is over.
    fn drain(&self, connected: &mut Connected) {
        let end = connected.worker.clock_now().after(self.plan.deadline).after(OUTCOME_GRACE);
        loop {
            let caller = connected.worker.app_mut().caller_mut().expect("a caller is at work");
            caller.stop();
            if caller.has_landed() || connected.worker.clock_now() >= end {
                return;
            }
            connected.turn();
        }
    }
}

/// Tells the progress line how far a caller is, and when its server stopped answering.
#[derive(Debug, Default)]
pub(super) struct SilenceWatch {
    told: u64,
}

impl SilenceWatch {
    /// Looks at `caller`. Says why when its load is to break off.
    pub(super) fn look(&mut self, client: &Client<'_>, caller: &Caller, now: Timestamp) -> Option<String> {
        let tally = caller.recorder().tally();
        client.shared.completed.fetch_add(tally.completed - self.told, Ordering::Relaxed);
        self.told = tally.completed;
        let patience_ns = saturating_ns(client.plan.deadline).saturating_add(SILENCE_GRACE_NS);
        let silent = now.since_ns(caller.last_completed()) > patience_ns;
        (silent && tally.timed_out > 0).then(|| "the server stopped answering".into())
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
