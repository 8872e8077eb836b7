//! The lanes of a session: those this end asked its peer for, and what it answered to the peer's requests.
//!
//! A request is repeated until it is answered; an answer is remembered, so that a request repeated gets the
//! same. Only a session that a handshake opened has lanes. Its end ends none of them.

use std::collections::VecDeque;

use crate::crypto::{Keys, LaneSecret, Role, Suite};
use crate::time::Timestamp;
use crate::transport::CloseReason;
use crate::transport::lane::{LaneNote, LaneParent, Says, Terms, Token, refusal};
use crate::transport::session::{Phase, Session};
use crate::transport::shared::Shared;
use crate::wire::{self, Bounds, Frame, SessionId, Writer};

/// What lanes are made from.
#[derive(Clone, Debug)]
pub(crate) struct LaneRoot {
    pub(crate) secret: LaneSecret,
    pub(crate) suite: Suite,
}

impl LaneRoot {
    /// Of the session whose handshake gave `keys`.
    pub(crate) fn new(keys: &Keys, suite: Suite) -> Self {
        Self { secret: LaneSecret::new(keys), suite }
    }
}

/// Who a lane belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneOf {
    pub(crate) parent: LaneParent,
    /// What the asker calls it, on the side that granted it.
    pub(crate) granted: Option<SessionId>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    root: Option<LaneRoot>,
    own: Bounds,
    asked: Vec<Asked>,
    /// Asked for, and given up before they were answered: what is granted still is ended at once.
    given_up: VecDeque<SessionId>,
    answers: VecDeque<Answer>,
    /// Of the answers, those whose lanes live or are being opened.
    alive: usize,
    /// When a request is said again.
    repeat_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Asked {
    lane: SessionId,
    token: Token,
    wanted: u8,
    due: bool,
    at: Timestamp,
    interval_ns: u64,
    /// When the packet left that last said it.
    said_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Answer {
    lane: SessionId,
    state: State,
    due: bool,
    /// When the packet left that last said it.
    said_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A worker is asked for it.
    Open,
    /// It lives.
    Granted(SessionId, Token),
    /// It lived.
    Ended(SessionId, Token),
    Refused(u8),
}

impl State {
    fn is_alive(self) -> bool {
        matches!(self, State::Open | State::Granted(..))
    }
}

/// A request is repeated after two probe timeouts, and at least this, doubling…
const REPEAT_NS_MIN: u64 = 1_000_000;
/// …to this.
const REPEAT_NS_MAX: u64 = 1_000_000_000;
/// Answers to requests whose lanes have ended, or were refused, that are remembered: a request that the
/// network held back for longer than so many others opens a lane that ends by itself.
const ANSWERS_KEPT: usize = 32;

impl Lanes {
    pub(super) fn new(root: Option<LaneRoot>, own: Bounds) -> Self {
        Self {
            root,
            own,
            asked: Vec::new(),
            given_up: VecDeque::new(),
            answers: VecDeque::new(),
            alive: 0,
            repeat_at: None,
        }
    }

    pub(super) fn repeat_at(&self) -> Option<Timestamp> {
        self.repeat_at
    }

    fn remember(&mut self, lane: SessionId, state: State, due: bool) {
        if self.answers.len() >= self.alive + ANSWERS_KEPT
            && let Some(oldest) = self.answers.iter().position(|answer| !answer.state.is_alive())
        {
            self.answers.remove(oldest);
        }
        self.alive += usize::from(state.is_alive());
        self.answers.push_back(Answer { lane, state, due, said_at: None });
    }

    /// What became of the lane `lane`, if it is in the state `from` says.
    fn change(&mut self, lane: SessionId, change: impl FnOnce(State) -> Option<(State, bool)>) -> bool {
        let Some(answer) = self.answers.iter_mut().find(|answer| answer.lane == lane) else { return false };
        let Some((state, due)) = change(answer.state) else { return false };
        self.alive -= usize::from(answer.state.is_alive());
        self.alive += usize::from(state.is_alive());
        (answer.state, answer.due) = (state, answer.due | due);
        true
    }

    /// The earliest moment at which a request that was said is said again.
    fn rearm(&mut self) {
        self.repeat_at = self.asked.iter().filter(|asked| !asked.due).map(|asked| asked.at).min();
    }

    /// True when something waits to be said.
    fn is_due(&self) -> bool {
        self.asked.iter().any(|asked| asked.due) || self.answers.iter().any(|answer| answer.due)
    }
}

impl Session {
    /// Asks the peer for a lane that this end calls `lane`.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(crate) fn ask_lane(
        &mut self,
        now: Timestamp,
        lane: SessionId,
        token: Token,
        wanted: u8,
    ) -> Result<(), CloseReason> {
        if self.phase != Phase::Open {
            return Err(CloseReason::Local);
        }
        if !self.may_ask_lanes() {
            return Err(CloseReason::Refused(u16::from(refusal::HERE)));
        }
        let interval_ns = (2 * self.pto_ns()).max(REPEAT_NS_MIN);
        self.lanes.asked.push(Asked { lane, token, wanted, due: true, at: now, interval_ns, said_at: None });
        self.control.lanes = true;
        Ok(())
    }

    /// True when the peer grants lanes over this session.
    pub(crate) fn may_ask_lanes(&self) -> bool {
        self.lanes.root.is_some() && self.peer.lanes > 1
    }

    /// Nobody waits for the lane any more.
    pub(crate) fn unask_lane(&mut self, lane: SessionId) {
        let Some(at) = self.lanes.asked.iter().position(|asked| asked.lane == lane) else { return };
        self.lanes.asked.swap_remove(at);
        self.lanes.rearm();
        if self.lanes.given_up.len() >= ANSWERS_KEPT {
            self.lanes.given_up.pop_front();
        }
        self.lanes.given_up.push_back(lane);
    }

    /// Which session it is a lane of.
    pub(crate) fn lane_of(&self) -> Option<LaneParent> {
        self.trust.lane_of.map(|lane| lane.parent)
    }

    /// What a lane over this session takes over from it, where the end `asker` asks.
    fn terms(&self, remote: SessionId, token: Token, asker: Role, worker: u8) -> Option<Box<Terms>> {
        let LaneRoot { secret, suite } = self.lanes.root.clone()?;
        Some(Box::new(Terms {
            parent: LaneParent { worker, session: self.key },
            secret,
            suite,
            asker,
            remote,
            peer_token: suite.is_secure().then_some(token),
            peer: self.trust.peer,
            admission: self.trust.admission.clone(),
            gated: self.trust.gated,
            peer_boot: self.peer_boot,
            bounds: self.peer,
            own: self.lanes.own,
            rtt_ns: self.rtt.smoothed_ns(),
        }))
    }

    fn role(&self) -> Role {
        if self.accepted { Role::Server } else { Role::Client }
    }

    fn peer_role(&self) -> Role {
        if self.accepted { Role::Client } else { Role::Server }
    }

    /// LANE_REQUEST and LANE_GRANT.
    #[cold]
    pub(super) fn on_lane_frame(
        &mut self,
        frame: &Frame<'_>,
        shared: &mut Shared,
    ) -> Result<(), &'static str> {
        let (Frame::LaneRequest { token, .. } | Frame::LaneGrant { token, .. }) = frame else {
            return Ok(());
        };
        if !self.protector.is_secure() && *token != Token::default() {
            // P-1.7: what has no meaning is zero.
            return Err("a reset token where nothing is sealed");
        }
        match *frame {
            Frame::LaneRequest { worker, session, token } => {
                self.on_lane_request(worker, session, token, shared);
            }
            Frame::LaneGrant { status, session, granted, token } => {
                self.on_lane_grant(status, session, (granted, token), shared);
            }
            _ => {}
        }
        Ok(())
    }

    /// LANE_REQUEST: the answer it got before, or a worker is asked.
    fn on_lane_request(&mut self, worker: u8, lane: SessionId, token: Token, shared: &mut Shared) {
        if let Some(answer) = self.lanes.answers.iter_mut().find(|answer| answer.lane == lane) {
            answer.due = answer.state != State::Open;
            self.control.lanes |= answer.due;
            return;
        }
        let own = self.local.0 as u8;
        let terms = self.terms(lane, token, self.peer_role(), own);
        let refused = match &terms {
            None => Some(refusal::HERE),
            Some(_) if self.phase != Phase::Open => Some(refusal::HERE),
            // L45, RFC 8085 §3.1: what uses multiple sockets "SHOULD perform congestion control over the aggregate
            // traffic". We do not (P-13.22), and bound instead how many shares one handshake comes to.
            Some(_) if self.lanes.alive + 1 >= self.lanes.own.lanes as usize => {
                shared.counters.over_lanes += 1;
                Some(refusal::LANES)
            }
            Some(_) => None,
        };
        match (refused, terms) {
            (None, Some(terms)) => {
                self.lanes.remember(lane, State::Open, false);
                let says = Says::Grant { parent: terms.parent, lane, terms };
                shared.lane_notes.push_back(LaneNote { to: worker, path: Some(self.path), says });
            }
            (status, _) => {
                self.lanes.remember(lane, State::Refused(status.unwrap_or(refusal::HERE)), true);
                shared.counters.lanes_refused += 1;
                self.control.lanes = true;
            }
        }
    }

    /// What became of a lane that the peer asked for.
    pub(crate) fn answer_lane(
        &mut self,
        lane: SessionId,
        granted: Result<(SessionId, Token), u8>,
        shared: &mut Shared,
    ) {
        let state = match granted {
            Ok((id, token)) => State::Granted(id, token),
            Err(status) => {
                shared.counters.lanes_refused += 1;
                State::Refused(status)
            }
        };
        self.control.lanes |=
            self.lanes.change(lane, |before| (before == State::Open).then_some((state, true)));
    }

    /// A lane that this end granted over the session has ended.
    pub(crate) fn lane_ended(&mut self, lane: SessionId) {
        self.lanes.change(lane, |before| match before {
            State::Granted(id, token) => Some((State::Ended(id, token), false)),
            _ => None,
        });
    }

    /// LANE_GRANT: who asked hears of it, once. One that nobody waits for is a repeated one.
    fn on_lane_grant(
        &mut self,
        status: u8,
        lane: SessionId,
        granted: (SessionId, Token),
        shared: &mut Shared,
    ) {
        if let Some(at) = self.lanes.asked.iter().position(|asked| asked.lane == lane) {
            self.lanes.asked.swap_remove(at);
            self.lanes.rearm();
        } else if let Some(at) = self.lanes.given_up.iter().position(|given_up| *given_up == lane) {
            self.lanes.given_up.remove(at);
        } else {
            return;
        }
        let own = self.local.0 as u8;
        let terms = self.terms(granted.0, granted.1, self.role(), own);
        let answer = match (status, terms) {
            (0, Some(terms)) => Ok(terms),
            (status, _) => Err(CloseReason::Refused(u16::from(status))),
        };
        self.tell_asker(lane, answer, shared);
    }

    fn tell_asker(&self, lane: SessionId, answer: Result<Box<Terms>, CloseReason>, shared: &mut Shared) {
        // The id says which worker of this end chose it (P-1.5).
        let says = Says::Answered { lane, answer };
        shared.lane_notes.push_back(LaneNote { to: lane.0 as u8, path: Some(self.path), says });
    }

    /// The session ended: whoever waits for a lane over it gets none; the lanes there are go on.
    pub(super) fn end_lanes(&mut self, reason: CloseReason, shared: &mut Shared) {
        for asked in std::mem::take(&mut self.lanes.asked) {
            self.tell_asker(asked.lane, Err(reason), shared);
        }
        self.lanes.root = None;
        if let Some(LaneOf { parent, granted: Some(lane) }) = self.trust.lane_of {
            let says = Says::Ended { parent: parent.session, lane };
            shared.lane_notes.push_back(LaneNote { to: parent.worker, path: Some(self.path), says });
        }
    }

    /// A packet with lane frames, which left at `sent`, was lost: what it said is said again. Who asked would
    /// ask again for a lost answer, but after twice a probe timeout that may be of the time before the first
    /// sample, and the lane's granter may wait with messages meanwhile.
    pub(super) fn on_lanes_lost(&mut self, sent: Timestamp) {
        for answer in self.lanes.answers.iter_mut().filter(|answer| answer.said_at == Some(sent)) {
            answer.due = answer.state != State::Open;
        }
        for asked in self.lanes.asked.iter_mut().filter(|asked| asked.said_at == Some(sent)) {
            asked.due = true;
        }
        self.control.lanes |= self.lanes.is_due();
        self.lanes.rearm();
    }

    /// Requests that were not answered in their time are said again.
    pub(super) fn on_lane_timer(&mut self, now: Timestamp) {
        if self.lanes.repeat_at.is_none_or(|at| at > now) {
            return;
        }
        for asked in self.lanes.asked.iter_mut().filter(|asked| asked.at <= now) {
            asked.due = true;
            self.control.lanes = true;
        }
        self.lanes.rearm();
    }

    /// Writes the lane frames that are due and fit; true when there was one.
    pub(super) fn write_lanes(&mut self, now: Timestamp, writer: &mut Writer<'_>) -> bool {
        if !self.control.lanes {
            return false;
        }
        let start = writer.position();
        for asked in self.lanes.asked.iter_mut().filter(|asked| asked.due) {
            if writer.remaining() < wire::LANE_REQUEST_SIZE {
                break;
            }
            wire::encode_lane_request(writer, asked.wanted, asked.lane, &asked.token);
            asked.due = false;
            asked.said_at = Some(now);
            asked.at = now.after_ns(asked.interval_ns);
            asked.interval_ns = (asked.interval_ns * 2).min(REPEAT_NS_MAX);
        }
        for answer in self.lanes.answers.iter_mut().filter(|answer| answer.due) {
            if writer.remaining() < wire::LANE_GRANT_SIZE {
                break;
            }
            match answer.state {
                State::Open => {}
                State::Granted(id, token) | State::Ended(id, token) => {
                    wire::encode_lane_grant(writer, answer.lane, id, &token);
                }
                State::Refused(status) => wire::encode_lane_refusal(writer, status, answer.lane),
            }
            answer.due = false;
            answer.said_at = Some(now);
        }
        self.lanes.rearm();
        self.control.lanes = self.lanes.is_due();
        writer.position() > start
    }
}
