//! A client's worker with its sessions open, and the questions it asks the server.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::app::{ClientApp, STATUS_TOKEN};
use super::client::{Client, RunError, START_LOOK};
use super::echo::{METHOD_STATUS, Status, packets_of};
use super::host::any_address_for;
use super::line::Line;
use super::quiet::{self, Quiet};
use super::report::{Choice, Packets};
use crate::io::Config as SocketConfig;
use crate::sys::process::thread_cpu_seconds;
use crate::time::{Clock, Timestamp};
use crate::transport::SendError;
use crate::worker::{CloseReason, Lane, LossCounters, SessionKey, Target, Worker};

/// The worker and its sessions.
pub struct Connected {
    /// Turned by this thread only.
    pub worker: Worker<ClientApp>,
    /// All open.
    pub sessions: Vec<SessionKey>,
    /// What moves the packets.
    pub backend: Choice,
    asked: u64,
    /// Both ends' counters before the load, where the server tells them.
    before_load: Option<Quiet>,
}

/// A handshake has the calls' deadline, and at least this.
pub(super) const CONNECT_TIME_MIN: Duration = Duration::from_secs(1);
/// Sessions are closed in this time, or left to the peer's idle timeout.
const CLOSE_TIME_MAX: Duration = Duration::from_millis(200);
/// Beyond its deadline a call's outcome is told within this; a worker that is later is broken.
pub const OUTCOME_GRACE: Duration = Duration::from_millis(500);

impl Connected {
    /// Makes the worker and opens its share of the sessions.
    pub fn open(client: &Client<'_>) -> Result<Connected, RunError> {
        let clock: Rc<dyn Clock> = Rc::new(client.clock);
        let target = client.plan.target;
        let socket = SocketConfig { connect: Some(target), ..SocketConfig::new(any_address_for(target)) };
        let made = client.host.make(client.place, socket, None, clock, ClientApp::default())?;
        let mut connected = Connected {
            backend: Choice {
                name: made.worker.backend_name().to_owned(),
                why: made.backend_why,
                secure: made.worker.public_key().is_some(),
            },
            worker: made.worker,
            sessions: Vec::new(),
            asked: 0,
            before_load: None,
        };
        let wanted = client.plan.sessions_of(usize::from(client.place.index), client.workers);
        for _ in 0..wanted {
            let target = Target { server_key: client.host.server_key, ..Target::from(target) };
            connected.worker.connect(target)?;
        }
        connected.await_sessions(client, target, wanted)?;
        for over in connected.sessions.clone() {
            for _ in 1..client.plan.lanes {
                connected.worker.open_lane(Lane::over(over))?;
            }
        }
        connected.await_sessions(client, target, wanted * client.plan.lanes)?;
        connected.before_load = quiet::look(&mut connected, client.plan.deadline).and_then(|look| look.quiet);
        Ok(connected)
    }

    fn await_sessions(
        &mut self,
        client: &Client<'_>,
        target: SocketAddr,
        wanted: usize,
    ) -> Result<(), RunError> {
        let within = client.plan.deadline.max(CONNECT_TIME_MIN);
        let mut opened = self.worker.app().opened().len();
        let mut end = self.worker.clock_now().after(within);
        while opened < wanted {
            if let Some((_, reason)) = self.worker.app().closed().first() {
                return Err(RunError::NoAnswer { target, within, why: show_reason(*reason) });
            }
            if self.worker.clock_now() > end {
                return Err(RunError::NoAnswer { target, within, why: "silence".into() });
            }
            if client.shared.is_stopped() {
                return Err(RunError::Interrupted);
            }
            self.turn();
            // A server opens some thousand sessions a second: as long as it does, there is an answer.
            if self.worker.app().opened().len() > opened {
                opened = self.worker.app().opened().len();
                end = self.worker.clock_now().after(within);
            }
        }
        self.sessions = self.worker.app().opened().to_vec();
        Ok(())
    }

    /// One turn, and a wait when it found nothing.
    pub fn turn(&mut self) {
        if let Some(caller) = self.worker.app_mut().caller_mut() {
            caller.begin_turn();
        }
        if self.worker.turn().idle {
            self.worker.idle();
        }
    }

    /// Asks the server about itself, over the session with the given index. The answer comes under
    /// the token returned.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn ask(&mut self, session: usize, within: Duration) -> Result<u64, SendError> {
        let token = STATUS_TOKEN | self.asked;
        let deadline = self.worker.clock_now().after(within);
        self.worker.call(self.sessions[session], METHOD_STATUS, &[], deadline, token)?;
        self.asked += 1;
        Ok(token)
    }

    /// Turns until the answer under `token` is there, or `end`.
    pub fn answer(&mut self, token: u64, end: Timestamp) -> Option<Status> {
        while self.worker.clock_now() < end {
            if let Some(answer) = self.worker.app_mut().take_answer(token) {
                return answer;
            }
            self.turn();
        }
        None
    }

    /// Closes every session, so that the server need not wait for its idle timeout.
    pub fn close(mut self) {
        let end = self.worker.clock_now().after(CLOSE_TIME_MAX);
        for session in std::mem::take(&mut self.sessions) {
            self.worker.close(session, 0);
        }
        let opened = self.worker.app().opened().len();
        while self.worker.app().closed().len() < opened && self.worker.clock_now() < end {
            self.turn();
        }
    }

    /// Both ends' books at one moment: this end's are read now, the server is asked. The load goes
    /// on meanwhile.
    #[must_use]
    pub fn open_books(&mut self, within: Duration) -> Books {
        let server = self.ask(0, within).map_or(ServerStart::Told(None), ServerStart::Asked);
        self.books(server)
    }

    fn books(&mut self, server: ServerStart) -> Books {
        Books { packets: packets_of(&self.worker.counters()), cpu_s: thread_cpu_seconds(), server }
    }
}

impl Line for Connected {
    type Books = Books;

    fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn now(&self) -> Timestamp {
        self.worker.clock_now()
    }

    fn broken(&self) -> Option<String> {
        let (_, reason) = self.worker.app().closed().first()?;
        Some(format!("a session ended: {}", show_reason(*reason)))
    }

    fn send(&mut self, session: usize, payload: Bytes) -> Result<(), SendError> {
        self.worker.send_owned(self.sessions[session], None, payload).map(|_| ())
    }

    fn step(&mut self) {
        self.turn();
    }

    fn pause(&mut self, time: Duration) {
        let end = self.worker.clock_now().after(time);
        while self.worker.clock_now() < end {
            // Not `turn()`: a parked worker would sleep beyond the end.
            if self.worker.turn().idle {
                self.worker.wait(START_LOOK);
            }
        }
    }

    fn counts(&mut self) -> Option<(Packets, LossCounters)> {
        Some((packets_of(&self.worker.counters()), self.worker.loss_counters()))
    }

    fn messages_not_sent(&mut self) -> u64 {
        self.worker.app().messages_not_sent()
    }

    fn ask_and_wait(&mut self, session: usize, within: Duration) -> Option<Status> {
        let end = self.worker.clock_now().after(within).after(OUTCOME_GRACE);
        let token = loop {
            match self.ask(session, within) {
                Ok(token) => break token,
                Err(SendError::WouldBlock) if self.worker.clock_now() < end => self.turn(),
                Err(_) => return None,
            }
        };
        self.answer(token, end)
    }

    fn open_books_with(&mut self, answer: Option<Status>) -> Books {
        self.books(ServerStart::Told(answer.map(Box::new)))
    }

    fn close_books(&mut self, books: Books, within: Duration) -> Balance {
        books.close(self, within)
    }

    fn backend(&self) -> Choice {
        self.backend.clone()
    }

    fn packet_size(&mut self) -> Option<usize> {
        self.worker.engine().packet_size(self.sessions[0])
    }
}

/// The counts of both ends at the start of a measurement.
#[derive(Clone, Debug)]
pub struct Books {
    packets: Packets,
    cpu_s: f64,
    server: ServerStart,
}

/// The server's account of itself at the start.
#[derive(Clone, Debug)]
enum ServerStart {
    /// Asked for under this token; the answer comes while the load goes on.
    Asked(u64),
    /// Given, or not to be had.
    Told(Option<Box<Status>>),
}

/// What both ends spent between the opening and the closing of the books.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    /// This end's packets.
    pub packets: Packets,
    /// What both ends had counted once the sessions were open, and at the end; `None` where the server does not tell.
    pub losses: Option<(Quiet, Quiet)>,
    /// Processor seconds of the worker's thread, and of the thread that calls where that is another.
    pub cpu_s: f64,
    /// Of these, the worker's.
    pub worker_cpu_s: f64,
    /// The server's account of itself at the start and the end.
    pub server: Option<(Status, Status)>,
}

impl Books {
    /// Closes the books: nothing is in flight any more.
    #[must_use]
    pub fn close(self, connected: &mut Connected, within: Duration) -> Balance {
        let start = match self.server {
            ServerStart::Asked(token) => connected.worker.app_mut().take_answer(token).flatten(),
            ServerStart::Told(answer) => answer.map(|answer| *answer),
        };
        let cpu_s = thread_cpu_seconds() - self.cpu_s;
        let mut balance = Balance { cpu_s, worker_cpu_s: cpu_s, ..Balance::default() };
        if let Some(look) = quiet::look(connected, within) {
            balance.packets = look.packets.since(self.packets);
            balance.losses = connected.before_load.zip(look.quiet);
            balance.server = start.map(|start| (start, look.status));
        }
        balance
    }
}

pub(super) fn show_reason(reason: CloseReason) -> String {
    match reason {
        CloseReason::Local => "closed here".into(),
        CloseReason::Peer(code) => format!("the server closed it, code {code}"),
        CloseReason::TimedOut => "the server fell silent".into(),
        CloseReason::PathDead => "the server is heard and acknowledges nothing: the way to it is dead".into(),
        CloseReason::Forgotten => "the server ended the session and its goodbye was lost".to_owned(),
        CloseReason::PeerRestarted(boot) => format!("the server was started anew, boot id {boot:016x}"),
        CloseReason::Violation(rule) => format!("the server broke the protocol: {rule}"),
        CloseReason::Refused(code) => refusal(code),
        CloseReason::Reset => "the server lost the session: it was started anew".into(),
        CloseReason::Expelled => "this key may no longer come in".into(),
        CloseReason::KeysUsedUp => "the session's keys are used up".into(),
        CloseReason::Unreachable => "silence".into(),
        CloseReason::Version => "the server speaks another version".into(),
    }
}

/// What a REFUSE's code says (P-6.7).
fn refusal(code: u16) -> String {
    match code {
        1 => "the server holds as many sessions as it may".into(),
        3 => "one end is --insecure and the other is not: give both the flag, or neither".into(),
        4 => "an insecure server takes other hosts only with --insecure=anywhere".into(),
        5 => "the server does not allow this key: have it added to the server's --allow file".into(),
        6 => "this key holds as many sessions, or lanes, as it may".into(),
        8 => "the server grants fewer lanes to a session: lower --lanes".into(),
        code => format!("the server refused, code {code}"),
    }
}
