//! What a session knows of its peer beside the keys: who it is, what it may do, how it proves a reset.

use std::fmt;

use crate::crypto::{PublicKey, ResetKey};
use crate::time::Timestamp;
use crate::transport::CloseReason;
use crate::transport::quota::Allowance;
use crate::transport::rtt::Rtt;
use crate::transport::security::{Admission, Gate};
use crate::transport::session::{LaneOf, LaneRoot, Session};
use crate::transport::shared::Shared;

/// What the handshake told of the peer.
#[derive(Clone, Default)]
pub(crate) struct Trust {
    /// The key it proved to hold.
    pub(crate) peer: Option<PublicKey>,
    /// What the gate lets it do.
    pub(crate) admission: Admission,
    /// What a reset of its must carry.
    pub(crate) peer_token: Option<[u8; 16]>,
    /// Which packet numbers to leave out: nothing the peer may know.
    pub(crate) skip_secret: [u8; 16],
    /// The gate let the peer in, and may be asked again: the handshake was the peer's.
    pub(crate) gated: bool,
    /// What lanes are made from; the session takes it out. `None` for a lane.
    pub(crate) root: Option<LaneRoot>,
    /// Of a lane: which session it was opened over.
    pub(crate) lane_of: Option<LaneOf>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Session {
    /// Whether it is a lane of the peer's incarnation `boot`.
    pub(crate) fn is_lane_with(&self, boot: u64) -> bool {
        self.trust.lane_of.is_some() && self.peer_boot == boot
    }

    pub(crate) fn peer_key(&self) -> Option<&PublicKey> {
        self.trust.peer.as_ref()
    }

    #[inline]
    pub(super) fn may_call(&self, method: u32) -> bool {
        self.trust.admission.allows(method)
    }

    /// Asks the gate again; true when the session was ended. `allow` decides what a quota that the gate
    /// leaves open is. What was granted in the handshake stays granted.
    pub(crate) fn review(
        &mut self,
        now: Timestamp,
        gate: &dyn Gate,
        allow: impl Fn(&Admission) -> Allowance,
        shared: &mut Shared,
    ) -> bool {
        let Some(peer) = self.trust.peer.filter(|_| self.trust.gated) else { return false };
        match gate.admit(&peer) {
            Some(admission) => {
                self.ledger.allow(allow(&admission), shared);
                self.trust.admission = admission;
                false
            }
            None => {
                shared.counters.expelled += 1;
                self.fail(now, CloseReason::Expelled, shared);
                true
            }
        }
    }

    /// Somebody says that the peer does not have this session.
    pub(crate) fn on_reset(&mut self, now: Timestamp, token: &[u8; 16], shared: &mut Shared) {
        match &self.trust.peer_token {
            Some(told) if ResetKey::matches(told, token) => self.fail(now, CloseReason::Reset, shared),
            Some(_) => shared.counters.resets_forged += 1,
            None => self.suspect(now),
        }
    }

    /// The client's first packet, so that the server learns the round trip before it has to guess.
    pub(crate) fn say_hello(&mut self) {
        self.control.ping = true;
    }

    /// The ACCEPT leaves now: what comes first from the peer answers it. Without a `cookie` the client's address is
    /// its word alone: until something authentic comes from there, the ACCEPT is all that this side says.
    ///
    /// L55, RFC 9000 §8.1: "Prior to validating the client address, servers MUST NOT send more than three times as
    /// many bytes as the number of bytes they have received." Here no more than came in (P-13.6): a padded INIT is
    /// larger than its ACCEPT. The client's PING, repeated by its probe timer until it is acknowledged, ends the
    /// wait.
    pub(crate) fn await_client(&mut self, now: Timestamp, cookie: Option<Timestamp>) {
        self.timers.measured_from = Some(now);
        self.timers.unproven = cookie.is_none();
    }

    /// The first packet of the peer's: the handshake's round trip is over (P-6.13).
    #[cold]
    pub(super) fn first_heard(&mut self, now: Timestamp, since: Timestamp) {
        self.timers.measured_from = None;
        if self.rtt.has_sample() {
            return;
        }
        let rtt_ns = now.since_ns(since).max(1);
        self.rtt = Rtt::new(rtt_ns);
        self.follow_rtt();
        self.acks.on_rtt(rtt_ns);
    }
}
