//! A client's endpoint with its sessions open: what the thread that calls through handles has of it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, RunError, Shared};
use super::connected::{Balance, CONNECT_TIME_MIN, OUTCOME_GRACE, show_reason};
use super::echo::{METHOD_STATUS, Status, packets_of};
use super::host::{HostError, any_address_for};
use super::line::Line;
use super::quiet::{self, Quiet};
use super::report::{Choice, Packets};
use crate::endpoint::{
    Call, Connect, Endpoint, OpenError, Outcome, Peer, PeerEvent, Sending, WorkerStats, before, block_on,
    block_on_unless,
};
use crate::sys::cores::pin_current;
use crate::sys::process::thread_cpu_seconds;
use crate::time::{Clock, MonotonicClock, Timestamp};
use crate::transport::{Fate, SendError};
use crate::worker::LossCounters;

/// An endpoint of one worker, and its sessions.
pub struct Handled<'a> {
    /// All open.
    pub peers: Vec<Peer>,
    shared: &'a Shared,
    clock: MonotonicClock,
    backend: Choice,
    /// Messages that no session has accepted yet, the oldest first.
    sending: VecDeque<Sending>,
    messages_not_sent: u64,
    /// Both ends' counters before the load, where the server tells them.
    before_load: Option<Quiet>,
    // Last: its drop ends what the handles above are of.
    endpoint: Endpoint,
}

/// Handshakes of one thread that are under way at once.
const HANDSHAKES_MAX: usize = 32;
/// Messages of one thread that no session has accepted yet.
const SENDING_MAX: usize = 64;
/// How often a thread that opens sessions looks whether it should stop.
const OPENING_LOOK: Duration = Duration::from_millis(50);

impl<'a> Handled<'a> {
    /// Starts the endpoint, its worker on the client's core, and opens its share of the sessions. The calling
    /// thread moves to the core it was given.
    pub fn open(client: &Client<'a>) -> Result<Handled<'a>, RunError> {
        if let Some(core) = client.caller_core.filter(|core| !pin_current(*core)) {
            return Err(HostError::Core { core }.into());
        }
        let endpoint = client.host.endpoint(client.place, any_address_for(client.plan.target))?;
        let mut handled = Handled {
            peers: Vec::new(),
            shared: client.shared,
            clock: client.clock,
            backend: Choice::default(),
            sending: VecDeque::new(),
            messages_not_sent: 0,
            endpoint,
            before_load: None,
        };
        handled.connect(client)?;
        handled.before_load = quiet::look(&mut handled, client.plan.deadline).and_then(|look| look.quiet);
        let stats = handled.stats()?;
        handled.backend = Choice {
            name: stats.backend.to_owned(),
            why: handled.endpoint.backend().to_owned(),
            secure: handled.endpoint.public_key().is_some(),
        };
        Ok(handled)
    }

    fn connect(&mut self, client: &Client<'_>) -> Result<(), RunError> {
        let plan = client.plan;
        let within = plan.deadline.max(CONNECT_TIME_MIN);
        let mut left = plan.sessions_of(usize::from(client.place.index), client.workers);
        while left > 0 {
            let handshakes = (0..left.min(HANDSHAKES_MAX)).map(|_| self.handshake(client, within)).collect();
            left -= HANDSHAKES_MAX.min(left);
            let opened = self.unless_stopped(all_of(handshakes))?;
            self.peers.extend(collect(client, within, opened)?);
        }
        for over in self.peers.clone() {
            let lanes = (1..plan.lanes).map(|_| self.endpoint.open_lane(&over)).collect();
            let opened = self.unless_stopped(all_of(lanes))?;
            self.peers.extend(collect(client, within, opened)?);
        }
        Ok(())
    }

    fn handshake(&self, client: &Client<'_>, within: Duration) -> Connect {
        let connect = self.endpoint.connect(client.plan.target).deadline(within);
        match client.host.server_key {
            Some(key) => connect.server_key(key),
            None => connect,
        }
    }

    /// What `future` comes to, with an eye on the interrupt.
    fn unless_stopped<F: Future + Unpin>(&self, mut future: F) -> Result<F::Output, RunError> {
        loop {
            if self.shared.is_stopped() {
                return Err(RunError::Interrupted);
            }
            let look = self.clock.now().after(OPENING_LOOK);
            if let Some(output) = block_on(before(look, &mut future)) {
                return Ok(output);
            }
        }
    }

    fn stats(&self) -> Result<WorkerStats, RunError> {
        self.peers[0].stats().wait().ok_or(RunError::Died)
    }

    /// Asks the server about itself. The answer is awaited later.
    fn ask(&self, session: usize, within: Duration) -> Call {
        self.peers[session].call(METHOD_STATUS, Bytes::new()).deadline(within).start()
    }

    /// Both ends' books at one moment: the server is asked, and answers while the load goes on.
    pub fn open_books(&mut self, within: Duration) -> Books {
        let mut books = self.books(ServerStart::Told(None));
        // After the worker has answered: a full mailbox has room then, and the question is on its way at once.
        books.server = ServerStart::Asked(Box::new(self.ask(0, within)));
        books
    }

    fn books(&self, server: ServerStart) -> Books {
        let stats = self.peers[0].stats().wait();
        Books {
            packets: stats.as_ref().map(|stats| packets_of(&stats.counters)).unwrap_or_default(),
            worker_cpu_s: stats.map_or(0.0, |stats| stats.cpu_s),
            caller_cpu_s: thread_cpu_seconds(),
            server,
        }
    }

    /// The oldest message was accepted by its session, or refused: it is off this thread's hands.
    fn settle_oldest(&mut self, settled: Result<u64, SendError>) {
        self.sending.pop_front();
        self.messages_not_sent += u64::from(settled.is_err());
    }
}

/// All of `futures`, each polled whenever one of them may have got on: they are few.
fn all_of<F>(futures: Vec<F>) -> impl Future<Output = Vec<F::Output>> + Unpin
where
    F: Future<Output: Unpin> + Unpin,
{
    let mut waiting: Vec<Option<F>> = futures.into_iter().map(Some).collect();
    let mut done: Vec<F::Output> = Vec::new();
    poll_fn(move |context| {
        for place in &mut waiting {
            if let Some(future) = place
                && let Poll::Ready(output) = Pin::new(future).poll(context)
            {
                *place = None;
                done.push(output);
            }
        }
        if done.len() == waiting.len() { Poll::Ready(std::mem::take(&mut done)) } else { Poll::Pending }
    })
}

fn collect(
    client: &Client<'_>,
    within: Duration,
    opened: Vec<Result<Peer, OpenError>>,
) -> Result<Vec<Peer>, RunError> {
    let target = client.plan.target;
    let explain = |error| match error {
        OpenError::Local(error) => RunError::Connect(error),
        OpenError::Ended(reason) => RunError::NoAnswer { target, within, why: show_reason(reason) },
        other => RunError::NoAnswer { target, within, why: other.to_string() },
    };
    opened.into_iter().collect::<Result<_, _>>().map_err(explain)
}

/// The counts of both ends at the start of a measurement.
pub struct Books {
    packets: Packets,
    worker_cpu_s: f64,
    caller_cpu_s: f64,
    server: ServerStart,
}

/// The server's account of itself at the start.
enum ServerStart {
    /// Asked for: the answer came while the load went on.
    Asked(Box<Call>),
    /// Given, or not to be had.
    Told(Option<Box<Status>>),
}

impl Line for Handled<'_> {
    type Books = Books;

    fn sessions(&self) -> usize {
        self.peers.len()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn broken(&self) -> Option<String> {
        let reason = self.peers.iter().find_map(Peer::close_reason)?;
        Some(format!("a session ended: {}", show_reason(reason)))
    }

    fn send(&mut self, session: usize, payload: Bytes) -> Result<(), SendError> {
        if self.sending.len() == SENDING_MAX {
            return Err(SendError::WouldBlock);
        }
        if self.peers[session].close_reason().is_some() {
            return Err(SendError::Closed);
        }
        let mut sending = self.peers[session].send(None, payload);
        // The first poll starts it; its end is taken in turn.
        match Pin::new(&mut sending).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) => Ok(()),
            Poll::Pending => {
                self.sending.push_back(sending);
                Ok(())
            }
        }
    }

    fn step(&mut self) {
        let Some(oldest) = self.sending.front_mut() else { return };
        let Some(settled) = block_on_unless(oldest, || self.shared.is_stopped()) else { return };
        self.settle_oldest(settled);
        while let Some(oldest) = self.sending.front_mut()
            && let Poll::Ready(settled) = Pin::new(oldest).poll(&mut Context::from_waker(Waker::noop()))
        {
            self.settle_oldest(settled);
        }
    }

    fn pause(&mut self, time: Duration) {
        // The worker is another thread, which goes on.
        std::thread::park_timeout(time);
    }

    fn counts(&mut self) -> Option<(Packets, LossCounters)> {
        let stats = self.peers[0].stats().wait()?;
        Some((packets_of(&stats.counters), stats.losses))
    }

    fn messages_not_sent(&mut self) -> u64 {
        let events = self.endpoint.events();
        while let Some(event) = events.try_next() {
            let never_left = matches!(event, PeerEvent::MessageEnded { fate: Fate::NotSent, .. });
            self.messages_not_sent += u64::from(never_left);
        }
        self.messages_not_sent
    }

    fn ask_and_wait(&mut self, session: usize, within: Duration) -> Option<Status> {
        while !self.sending.is_empty() && !self.shared.is_stopped() {
            self.step();
        }
        answer(self.ask(session, within), self.clock.now().after(within).after(OUTCOME_GRACE))
    }

    fn open_books_with(&mut self, answer: Option<Status>) -> Books {
        self.books(ServerStart::Told(answer.map(Box::new)))
    }

    fn close_books(&mut self, books: Books, within: Duration) -> Balance {
        let start = match books.server {
            ServerStart::Asked(call) => answer(*call, self.clock.now()),
            ServerStart::Told(answer) => answer.map(|answer| *answer),
        };
        let caller_cpu_s = thread_cpu_seconds() - books.caller_cpu_s;
        let mut balance = Balance { cpu_s: caller_cpu_s, ..Balance::default() };
        if let Some(stats) = self.peers[0].stats().wait() {
            balance.worker_cpu_s = stats.cpu_s - books.worker_cpu_s;
            balance.cpu_s += balance.worker_cpu_s;
        }
        if let Some(look) = quiet::look(self, within) {
            balance.packets = look.packets.since(books.packets);
            balance.losses = self.before_load.zip(look.quiet);
            balance.server = start.map(|start| (start, look.status));
        }
        balance
    }

    fn backend(&self) -> Choice {
        self.backend.clone()
    }

    fn packet_size(&mut self) -> Option<usize> {
        self.peers[0].stats().wait()?.packet_size
    }
}

/// What the server told, if it does until `end`.
fn answer(call: Call, end: Timestamp) -> Option<Status> {
    match block_on(before(end, call))? {
        Outcome::Replied(bytes) => Status::parse(&bytes),
        _ => None,
    }
}
