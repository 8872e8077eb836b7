//! Lanes between the workers of an endpoint: their engines' notes are carried from one to the other.

use std::sync::Arc;

use super::mailbox::Exchange;
use super::{App, Cx, Worker};
use crate::transport::{ConnectError, LaneParent, SessionKey};

/// Which lane to open: one more session with the peer of one that is open, without a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The session it is opened over.
    pub over: SessionKey,
    /// This endpoint's worker that has that session; `None`: the one that opens the lane.
    pub at: Option<u8>,
    /// The peer's worker that it should end at; `None`: any.
    pub to: Option<u8>,
}

impl Lane {
    /// Over `session`, to any of the peer's workers.
    #[must_use]
    pub fn over(session: SessionKey) -> Self {
        Self { over: session, at: None, to: None }
    }

    /// To the peer's worker `worker`.
    #[must_use]
    pub fn to_worker(self, worker: u8) -> Self {
        Self { to: Some(worker), ..self }
    }

    /// The session is worker `worker`'s, another one of this endpoint.
    #[must_use]
    pub fn of_worker(self, worker: u8) -> Self {
        Self { at: Some(worker), ..self }
    }

    fn parent(self, own: u8) -> LaneParent {
        LaneParent { worker: self.at.unwrap_or(own), session: self.over }
    }
}

impl<A: App> Worker<A> {
    /// The worker is one of an endpoint's, that share a port and `exchange`: lanes may end at any of them.
    pub fn join(&mut self, exchange: Arc<Exchange>) {
        self.engine.set_workers(exchange.workers());
        self.exchange = Some(exchange);
    }

    /// Asks the peer of an open session for one more session with it, which ends at this worker: a core
    /// more at each end, and no handshake. It can be used after its [`Event::Opened`](super::Event::Opened);
    /// one that is refused ends with [`CloseReason::Refused`](crate::transport::CloseReason::Refused). From
    /// then on neither needs the other: each is closed by itself.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn open_lane(&mut self, lane: Lane) -> Result<SessionKey, ConnectError> {
        self.now = self.clock.now();
        let parent = lane.parent(self.engine.worker_index());
        self.engine.open_lane(self.now, parent, lane.to)
    }

    /// The session that an open one was opened over; `None` for one that a handshake opened.
    #[must_use]
    pub fn lane_of(&self, session: SessionKey) -> Option<LaneParent> {
        self.engine.lane_of(session)
    }

    /// Takes what other workers said, and tells them what this one has to say.
    #[inline(never)]
    pub(super) fn exchange_lanes(&mut self) {
        let own = self.engine.worker_index();
        while let Some((remote, mut note)) = self.exchange.as_ref().and_then(|others| others.take_note(own)) {
            note.path = remote.map(|remote| self.path_to(remote));
            self.engine.on_lane_note(self.now, note);
        }
        if !self.engine.has_lane_notes() {
            return;
        }
        self.engine.exchange_lanes(self.now, &mut self.lane_notes);
        for note in self.lane_notes.drain(..) {
            let remote = note.path.map(|path| self.paths.remote(path));
            if let Some(exchange) = &self.exchange {
                exchange.post_note(remote, note);
            }
        }
    }
}

impl Cx<'_> {
    /// As [`Worker::open_lane`]: either end may open lanes, whoever opened the session.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn open_lane(&mut self, lane: Lane) -> Result<SessionKey, ConnectError> {
        let parent = lane.parent(self.engine.worker_index());
        self.engine.open_lane(self.now, parent, lane.to)
    }

    /// As [`Worker::lane_of`].
    #[must_use]
    pub fn lane_of(&self, session: SessionKey) -> Option<LaneParent> {
        self.engine.lane_of(session)
    }
}
