//! Lanes: sessions opened over another one, without a handshake. Who asks, who speaks with the peer and
//! who grants may be three workers of an endpoint; they talk by [`LaneNote`]s, which the worker carries.

use crate::crypto::{Protector, Role};
use crate::time::Timestamp;
use crate::transport::engine::handshake::allowance;
use crate::transport::engine::{Engine, SessionKey, Slot};
use crate::transport::lane::{ANY_WORKER, LaneNote, LaneParent, Says, Terms, Token, refusal};
use crate::transport::quota::Quota;
use crate::transport::security::Admission;
use crate::transport::session::{LaneOf, Opening, Session, Trust};
use crate::transport::{CloseReason, ConnectError, PathIndex};
use crate::wire::{PacketKind, RESET_TOKEN_SIZE, Reset, SessionId};

/// A lane that was asked for and is not granted yet.
#[derive(Debug)]
pub(super) struct Joining {
    parent: LaneParent,
    give_up_at: Timestamp,
}

/// A lane that nobody granted for this long has failed, as a handshake has.
const GIVE_UP_NS: u64 = 5_000_000_000;

impl Engine {
    /// The endpoint has so many workers, that carry each other's notes.
    pub fn set_workers(&mut self, workers: usize) {
        self.workers = workers;
    }

    /// Asks the peer of the open session `parent` for one more session with it, that ends at this engine
    /// and at the peer's worker `wanted`, or any. It can be used after its `Opened` event; refused, it
    /// ends with the peer's code.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn open_lane(
        &mut self,
        now: Timestamp,
        parent: LaneParent,
        wanted: Option<u8>,
    ) -> Result<SessionKey, ConnectError> {
        if parent.worker == self.config.worker_index {
            let session = self.table.open(parent.session).ok_or(ConnectError::NoSession)?;
            if !session.may_ask_lanes() {
                return Err(ConnectError::NoLanes);
            }
        } else if usize::from(parent.worker) >= self.workers {
            return Err(ConnectError::NoSession);
        }
        let key = self.table.reserve(&mut self.random)?;
        let lane = key.id(self.config.worker_index);
        let give_up_at = now.after_ns(GIVE_UP_NS);
        self.table.fill(key.index, Slot::Joining(Box::new(Joining { parent, give_up_at })));
        self.timers.arm(key.index, give_up_at);
        let (token, wanted) = (self.token_of(lane), wanted.unwrap_or(ANY_WORKER));
        self.tell(parent.worker, None, Says::Ask { parent: parent.session, lane, token, wanted });
        Ok(key)
    }

    /// The index of the worker whose engine this is.
    #[must_use]
    pub fn worker_index(&self) -> u8 {
        self.config.worker_index
    }

    /// True when [`Engine::exchange_lanes`] has something to do.
    #[must_use]
    pub fn has_lane_notes(&self) -> bool {
        !self.shared.lane_notes.is_empty()
    }

    /// The session that an open one is a lane of; `None` for one that a handshake opened.
    #[must_use]
    pub fn lane_of(&self, key: SessionKey) -> Option<LaneParent> {
        self.table.open(key).and_then(Session::lane_of)
    }

    /// What a reset of this end's for `session` must carry.
    fn token_of(&self, session: SessionId) -> Token {
        let security = &self.config.security;
        if security.provider.is_secure() {
            security.reset_key.token(session.0)
        } else {
            [0; RESET_TOKEN_SIZE]
        }
    }

    fn tell(&mut self, to: u8, path: Option<PathIndex>, says: Says) {
        self.shared.lane_notes.push_back(LaneNote { to, path, says });
    }

    /// Acts on what was said to this worker, and appends what is for others to `out`. Once a turn.
    pub fn exchange_lanes(&mut self, now: Timestamp, out: &mut Vec<LaneNote>) {
        // In the order they were said: a lane is asked for before it is given up.
        while let Some(mut note) = self.shared.lane_notes.pop_front() {
            if let Says::Grant { parent, lane, .. } = &note.says {
                let (parent, lane) = (*parent, *lane);
                match self.granter(note.to) {
                    Some(worker) => note.to = worker,
                    None => {
                        let answer = Err(refusal::WORKER);
                        let says = Says::Granted { parent: parent.session, lane, answer };
                        note = LaneNote { to: parent.worker, path: note.path, says };
                    }
                }
            }
            if note.to == self.config.worker_index {
                self.on_lane_note(now, note);
            } else if usize::from(note.to) < self.workers {
                out.push(note);
            }
        }
    }

    /// The worker that grants a lane to who wants `wanted`.
    fn granter(&mut self, wanted: u8) -> Option<u8> {
        let own = self.config.worker_index;
        match wanted {
            // Each in turn, the one after this first: that one has the session over which it is asked.
            ANY_WORKER if self.workers > 0 => {
                self.next_granter = (self.next_granter + 1) % self.workers;
                Some(((usize::from(own) + self.next_granter) % self.workers) as u8)
            }
            ANY_WORKER => Some(own),
            worker if worker == own || usize::from(worker) < self.workers => Some(worker),
            _ => None,
        }
    }

    /// Acts on what another worker says.
    pub fn on_lane_note(&mut self, now: Timestamp, note: LaneNote) {
        // Who names a lane's other end says by which way it is reached.
        let path = note.path.unwrap_or(PathIndex(0));
        match note.says {
            Says::Ask { parent, lane, token, wanted } => self.ask_for(now, parent, lane, token, wanted),
            Says::Unask { parent, lane } => {
                if let Ok((session, _)) = self.parts(parent) {
                    session.unask_lane(lane);
                }
            }
            Says::Answered { lane, answer } => self.on_lane_answered(now, path, lane, answer),
            Says::Grant { parent, lane, terms } => {
                let answer = self.grant_lane(now, path, lane, *terms);
                self.tell(parent.worker, None, Says::Granted { parent: parent.session, lane, answer });
            }
            Says::Granted { parent, lane, answer } => {
                if let Ok((session, shared)) = self.parts(parent) {
                    session.answer_lane(lane, answer, shared);
                    self.touch(parent.index);
                }
            }
            Says::Ended { parent, lane } => {
                if let Ok((session, _)) = self.parts(parent) {
                    session.lane_ended(lane);
                }
            }
            Says::Restarted { old, new } => self.end_lanes_with(now, path, old, new),
        }
    }

    /// Has the session `parent` ask its peer.
    fn ask_for(&mut self, now: Timestamp, parent: SessionKey, lane: SessionId, token: Token, wanted: u8) {
        let asked = match self.parts(parent) {
            Ok((session, _)) => session.ask_lane(now, lane, token, wanted),
            Err(_) => Err(CloseReason::Local),
        };
        match asked {
            Ok(()) => self.touch(parent.index),
            Err(reason) => self.tell(lane.0 as u8, None, Says::Answered { lane, answer: Err(reason) }),
        }
    }

    /// The peer's answer to a lane that this engine asked for.
    fn on_lane_answered(
        &mut self,
        now: Timestamp,
        path: PathIndex,
        lane: SessionId,
        answer: Result<Box<Terms>, CloseReason>,
    ) {
        let index = self.table.index_of(lane);
        match (index, answer) {
            (Some(index), Err(reason)) if matches!(self.table.slot(index), Slot::Joining(_)) => {
                self.end_unopened(index, reason);
            }
            (Some(index), Ok(terms)) if matches!(self.table.slot(index), Slot::Joining(_)) => {
                let key = self.table.key_at(index).expect("the index came from the table");
                let keys = terms.secret.keys(terms.asker, lane.0, terms.remote.0);
                let protector = Protector::new(terms.suite, &keys, Role::Client);
                self.shared.counters.lanes_opened += 1;
                let of = LaneOf { parent: terms.parent, granted: None };
                self.fill_lane(now, path, (key, lane), *terms, (protector, of));
            }
            // Given up meanwhile: the peer should not wait for its idle timeout.
            (None, Ok(_)) => {
                let token = self.token_of(lane);
                self.shared.counters.resets_sent += 1;
                self.answer(path, PacketKind::Reset, lane, |out| Reset { token }.encode(out));
            }
            _ => {}
        }
    }

    /// Opens the lane that the peer asked for and calls `lane`.
    fn grant_lane(
        &mut self,
        now: Timestamp,
        path: PathIndex,
        lane: SessionId,
        mut terms: Terms,
    ) -> Result<(SessionId, Token), u8> {
        terms.admission = self.admit_lane(now, &terms)?;
        let key = self.table.reserve(&mut self.random).map_err(|_| refusal::FULL)?;
        let granted = key.id(self.config.worker_index);
        let keys = terms.secret.keys(terms.asker, lane.0, granted.0);
        let protector = Protector::new(terms.suite, &keys, Role::Server);
        self.shared.counters.lanes_granted += 1;
        let of = LaneOf { parent: terms.parent, granted: Some(lane) };
        self.fill_lane(now, path, (key, granted), terms, (protector, of));
        Ok((granted, self.token_of(granted)))
    }

    /// Whether the peer may have one more session here.
    fn admit_lane(&mut self, now: Timestamp, terms: &Terms) -> Result<Admission, u8> {
        let Some(peer) = &terms.peer else { return Ok(terms.admission.clone()) };
        let admission = if terms.gated {
            self.config.security.gate.admit(peer).ok_or(refusal::KEY)?
        } else {
            terms.admission.clone()
        };
        let allowance = allowance(&self.config, &admission);
        let over = if self.shared.accounts.lanes_of(peer) >= allowance.lanes {
            self.shared.counters.over_lanes += 1;
            Quota::Lanes
        } else if self.shared.accounts.accepted_from(peer) >= allowance.sessions {
            self.shared.counters.over_sessions += 1;
            Quota::Sessions
        } else {
            return Ok(admission);
        };
        self.shared.tell_over_sessions(now, peer, over);
        Err(refusal::QUOTA)
    }

    fn fill_lane(
        &mut self,
        now: Timestamp,
        path: PathIndex,
        (key, local): (SessionKey, SessionId),
        terms: Terms,
        (protector, of): (Protector, LaneOf),
    ) {
        let asked = of.granted.is_none();
        let route_size_max = self.route_size(path);
        let opening = Opening {
            config: &self.config,
            key,
            local,
            remote: terms.remote,
            path,
            route_size_max,
            peer: terms.bounds,
            own: terms.own,
            allowance: allowance(&self.config, &terms.admission),
            peer_boot: terms.peer_boot,
            handshake_rtt_ns: terms.rtt_ns,
            now,
            accepted: !asked,
        };
        let trust = Trust {
            peer: terms.peer,
            admission: terms.admission,
            peer_token: terms.peer_token,
            skip_secret: self.random.bytes(),
            gated: terms.gated,
            root: None,
            lane_of: Some(of),
        };
        let mut session = Session::open(&opening, protector, trust, &mut self.shared);
        if asked {
            // The granter hears that its answer arrived, and what the round trip is between these two.
            session.say_hello();
        }
        session.announce(&mut self.shared);
        self.timers.cancel(key.index);
        self.table.fill(key.index, Slot::Open(Box::new(session)));
        self.touch(key.index);
    }

    pub(super) fn on_joining_timer(&mut self, now: Timestamp, index: u32) {
        let Slot::Joining(joining) = self.table.slot(index) else { return };
        if joining.give_up_at <= now {
            self.abandon_joining(index, CloseReason::Unreachable);
        }
    }

    /// Nobody waits for the lane any more.
    pub(super) fn abandon_joining(&mut self, index: u32, reason: CloseReason) {
        let Slot::Joining(joining) = self.table.slot(index) else { return };
        let LaneParent { worker, session } = joining.parent;
        let key = self.table.key_at(index).expect("the index came from the table");
        let lane = key.id(self.config.worker_index);
        self.tell(worker, None, Says::Unask { parent: session, lane });
        self.end_unopened(index, reason);
    }

    /// The incarnation that a lane's other end belongs to is gone, as a handshake over the same path showed.
    pub(super) fn on_peer_restarted(&mut self, now: Timestamp, path: PathIndex, old: u64, new: u64) {
        self.end_lanes_with(now, path, old, new);
        let own = self.config.worker_index;
        for worker in (0..self.workers as u8).filter(|worker| *worker != own) {
            self.tell(worker, Some(path), Says::Restarted { old, new });
        }
    }

    fn end_lanes_with(&mut self, now: Timestamp, path: PathIndex, old: u64, new: u64) {
        for index in 0..self.table.len() {
            if let Slot::Open(session) = self.table.slot_mut(index)
                && session.path == path
                && session.is_lane_with(old)
            {
                session.fail(now, CloseReason::PeerRestarted(new), &mut self.shared);
                self.touch(index);
            }
        }
    }
}
