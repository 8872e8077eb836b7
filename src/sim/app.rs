//! The application that runs on each simulated worker: it tells the checker everything it sees.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::sim::checker::{Answer, Checker, Ended, Ending, Life, Told};
use crate::sim::clock::HostClock;
use crate::sim::contents::{Purpose, contents};
use crate::sim::crash::{CrashPoint, Fuse};
use crate::sim::plan::{address, node_of};
use crate::time::Timestamp;
use crate::transport::Fate;
use crate::worker::{
    App, CallToken, CloseReason, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey,
};

/// Facts that all endpoints and the run share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The judge.
    pub checker: Checker,
    /// The current life of each endpoint; `None` while it is dead.
    pub alive: Vec<Option<Life>>,
    /// Pairs of lives between which somebody closed a session.
    pub closed: Vec<(Life, Life)>,
    /// Pairs of endpoints, from and to, that were parted for long enough that sessions may have died of it.
    pub severed: Vec<(u32, u32)>,
    /// The end of whoever is doomed.
    pub fuse: Fuse,
    /// Every k-th call is answered later, by its token.
    pub defer_every: u64,
    /// How long an answer is deferred.
    pub defer_ns: u64,
}

/// A session as its application knows it.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Its key.
    pub key: SessionKey,
    /// Its number: never used again in this life.
    pub number: u64,
    /// Whose life is at the other end.
    pub peer: Life,
    /// Something came from there: the other end knows the session too. A handshake repeated by the
    /// network can leave one end with a session that the other end never had.
    heard: bool,
}

/// The application of one life.
pub struct SimApp {
    life: Life,
    shared: Rc<RefCell<Shared>>,
    clock: HostClock,
    sessions: Vec<Opened>,
    sessions_seen: u64,
    /// Asked for and not yet opened, with the endpoint asked.
    connecting: Vec<(SessionKey, u32)>,
    messages: BTreeMap<(SessionKey, u64), u64>,
    deferred: Vec<(Timestamp, CallToken, u64, Answer)>,
}

impl SimApp {
    /// The application of `life`.
    #[must_use]
    pub fn new(life: Life, shared: Rc<RefCell<Shared>>, clock: HostClock) -> Self {
        Self {
            life,
            shared,
            clock,
            sessions: Vec::new(),
            sessions_seen: 0,
            connecting: Vec::new(),
            messages: BTreeMap::new(),
            deferred: Vec::new(),
        }
    }

    /// Whose application it is.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// The moment of the world at which this life's clock reads `reading`.
    #[must_use]
    pub fn moment(&self, reading: Timestamp) -> Timestamp {
        self.clock.when(reading)
    }

    /// The world's time, which the checker judges by.
    fn world_now(&self) -> Timestamp {
        self.clock.world_now()
    }

    /// True when this life ends here, or ended within this turn: it sees and does nothing more.
    fn ends_at(&self, point: CrashPoint) -> bool {
        self.shared.borrow().fuse.reach(address(self.life.node as usize), point)
    }

    fn is_dead(&self) -> bool {
        self.shared.borrow().fuse.is_dead(address(self.life.node as usize))
    }

    /// The sessions that are open now.
    #[must_use]
    pub fn sessions(&self) -> &[Opened] {
        &self.sessions
    }

    /// True when a session with endpoint `node` is open or asked for.
    #[must_use]
    pub fn has_session_with(&self, node: u32) -> bool {
        self.sessions.iter().any(|session| session.peer.node == node)
            || self.connecting.iter().any(|&(_, asked)| asked == node)
    }

    /// How many lanes with endpoint `node` this end opened or asked for, of which sessions `is_lane` knows.
    #[must_use]
    pub fn lanes_with(&self, node: u32, is_lane: impl Fn(SessionKey) -> bool) -> usize {
        let open = self.sessions.iter().filter(|session| session.peer.node == node && is_lane(session.key));
        open.count() + self.connecting.iter().filter(|&&(_, asked)| asked == node).count()
    }

    /// The worker asked endpoint `node` for session `key`.
    pub fn on_connecting(&mut self, key: SessionKey, node: u32) {
        self.connecting.push((key, node));
    }

    /// Message `id` was accepted on `key` under `ordinal`.
    pub fn on_accepted(&mut self, key: SessionKey, ordinal: u64, id: u64) {
        self.messages.insert((key, ordinal), id);
    }

    /// When the first deferred answer is due.
    #[must_use]
    pub fn next_deferred(&self) -> Option<Timestamp> {
        self.deferred.iter().map(|deferred| deferred.0).min()
    }

    /// Takes out the deferred answers that are due: token, call and what to answer.
    pub fn take_deferred(&mut self, now: Timestamp) -> Vec<(CallToken, u64, Answer)> {
        let (due, later) = std::mem::take(&mut self.deferred).into_iter().partition(|&(at, ..)| at <= now);
        self.deferred = later;
        let due: Vec<(Timestamp, CallToken, u64, Answer)> = due;
        due.into_iter().map(|(_, token, id, answer)| (token, id, answer)).collect()
    }

    /// Call `id` is answered at `due`, by its token.
    pub fn defer(&mut self, due: Timestamp, token: CallToken, id: u64, answer: Answer) {
        self.deferred.push((due, token, id, answer));
    }

    fn on_opened(&mut self, key: SessionKey, accepted: bool, peer_boot: u64) {
        if !accepted {
            self.connecting.retain(|&(asked, _)| asked != key);
        }
        let peer = life_of(peer_boot);
        self.sessions_seen += 1;
        self.sessions.push(Opened { key, number: self.sessions_seen, peer, heard: !accepted });
    }

    /// The end that asked speaks first, from within the event, so that the other end hears it.
    fn greet(&mut self, cx: &mut Cx<'_>, key: SessionKey) {
        let Some(&Opened { number, peer, .. }) = self.sessions.iter().find(|session| session.key == key)
        else {
            return;
        };
        let mut shared = self.shared.borrow_mut();
        let id = shared.checker.fresh_id();
        if let Ok(ordinal) = cx.send(key, None, &contents(id, Purpose::Message, GREETING_SIZE)) {
            self.messages.insert((key, ordinal), id);
            shared.checker.message_accepted(id, (self.life, number), peer, None, GREETING_SIZE);
        }
    }

    fn hear(&mut self, key: SessionKey) {
        let session = self.sessions.iter_mut().find(|session| session.key == key);
        session.into_iter().for_each(|session| session.heard = true);
    }

    fn on_closed(&mut self, key: SessionKey, reason: CloseReason) {
        self.connecting.retain(|&(asked, _)| asked != key);
        let Some(at) = self.sessions.iter().position(|session| session.key == key) else { return };
        let Opened { number, peer, heard, .. } = self.sessions.swap_remove(at);
        let mut shared = self.shared.borrow_mut();
        let died = shared.alive.get(peer.node as usize).copied().flatten() != Some(peer);
        let closed = shared.closed.contains(&(self.life, peer)) || shared.closed.contains(&(peer, self.life));
        let (here, there) = (self.life.node, peer.node);
        let severed = shared.severed.contains(&(here, there)) || shared.severed.contains(&(there, here));
        let ending = match reason {
            CloseReason::Violation(_) => Ending::Accused,
            // The code an engine sends when it found the protocol broken: nobody here closes with it.
            CloseReason::Peer(code) if code != CLOSE_CODE => Ending::Accused,
            _ if died || closed || severed || !heard => Ending::Explained,
            _ => Ending::Unexplained,
        };
        if let CloseReason::PeerRestarted(boot) = reason {
            shared.checker.restart_named(self.world_now(), self.life, peer, life_of(boot));
        }
        shared.checker.session_ended(self.world_now(), self.life, number, ending, &format!("{reason:?}"));
    }
}

impl App for SimApp {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        if self.is_dead() {
            return;
        }
        self.hear(request.session);
        let now = self.world_now();
        let ran = self.shared.borrow_mut().checker.call_runs(now, self.life, request.payload);
        let Some((id, answer)) = ran else {
            return reply.fail(UNKNOWN_CALL, b"no such call");
        };
        if self.ends_at(CrashPoint::InHandler) {
            return;
        }
        let shared = self.shared.borrow();
        if shared.defer_every > 0 && id.is_multiple_of(shared.defer_every) {
            let due = now.after_ns(shared.defer_ns);
            self.deferred.push((due, reply.defer(), id, answer));
            return;
        }
        match answer {
            Answer::Reply(size) => {
                let bytes = contents(id, Purpose::Reply, size);
                // Both ways to answer must work.
                if id.is_multiple_of(2) { reply.send(&bytes) } else { reply.send_owned(bytes.into()) }
            }
            Answer::Fail(code) => reply.fail(code, b"as asked"),
        }
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        let ended = match outcome {
            Outcome::Replied(bytes) => Ended::Replied(bytes),
            Outcome::Failed { status, .. } => Ended::Failed(status),
            Outcome::TimedOut => Ended::TimedOut,
            Outcome::Unknown => Ended::Unknown,
            Outcome::NotSent => Ended::NotSent,
        };
        if self.is_dead() {
            return;
        }
        self.shared.borrow_mut().checker.call_ended(self.world_now(), self.life, token, ended);
        self.ends_at(CrashPoint::OutcomeTold);
    }

    fn on_message(&mut self, _cx: &mut Cx<'_>, message: Message<'_>) {
        if self.is_dead() {
            return;
        }
        self.hear(message.session);
        let channel = message.channel.map(|channel| channel.0);
        let now = self.world_now();
        self.shared.borrow_mut().checker.message_delivered(now, self.life, channel, message.payload);
        self.ends_at(CrashPoint::MessageTaken);
    }

    fn on_datagram(&mut self, _cx: &mut Cx<'_>, message: Message<'_>) {
        if self.is_dead() {
            return;
        }
        let mut shared = self.shared.borrow_mut();
        shared.checker.datagram_delivered(self.world_now(), self.life, message.payload);
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        if self.is_dead() {
            return;
        }
        match event {
            Event::Opened { session, accepted, peer_boot } => {
                self.on_opened(session, accepted, peer_boot);
                let point = if accepted { CrashPoint::Accepted } else { CrashPoint::Opened };
                if !self.ends_at(point) && !accepted {
                    self.greet(cx, session);
                }
            }
            Event::Closed { session, reason } => {
                self.on_closed(session, reason);
                self.ends_at(CrashPoint::Closed);
            }
            Event::MessageEnded { session, ordinal, fate } => {
                let told = if fate == Fate::NotSent { Told::NotSent } else { Told::Unknown };
                let id = self.messages.get(&(session, ordinal)).copied().unwrap_or(0);
                self.shared.borrow_mut().checker.message_told(self.world_now(), id, told);
            }
            Event::OverQuota { .. } => {}
        }
    }
}

/// Whose boot id it is.
fn life_of(boot: u64) -> Life {
    Life { node: node_of(boot), incarnation: boot as u32 }
}

/// The code that every session is closed with.
pub const CLOSE_CODE: u16 = 7;
const GREETING_SIZE: u32 = 24;
/// The failure code for a request that no caller made.
const UNKNOWN_CALL: u8 = 255;
