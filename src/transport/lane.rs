//! What the engines of one endpoint's workers tell each other about lanes: a session's other ends may be
//! any two workers, so whoever asks, whoever speaks with the peer and whoever grants may be three.
//!
//! ```text
//!  asks: worker a          speaks: worker p        peer's p'              grants: worker g
//!    open_lane --Ask--------> session ==LANE_REQUEST==> session --Grant------> reserves, derives, opens
//!    opens  <------Answered-- session <===LANE_GRANT=== session <--Granted---- its id, its token
//! ```

use crate::crypto::{LaneSecret, PublicKey, Role, Suite};
use crate::transport::security::Admission;
use crate::transport::{CloseReason, PathIndex, SessionKey};
use crate::wire::{Bounds, RESET_TOKEN_SIZE, SessionId};

/// In a LANE_REQUEST: any worker will do (P-3.14).
pub(crate) const ANY_WORKER: u8 = 255;

/// What a reset of a session's must carry.
pub(crate) type Token = [u8; RESET_TOKEN_SIZE];

/// Why a lane was refused: the status of its LANE_GRANT (P-3.15). The first are REFUSE's codes (P-6.7).
pub(crate) mod refusal {
    /// The worker holds as many sessions as it may.
    pub(crate) const FULL: u8 = 1;
    /// The key is not allowed any more.
    pub(crate) const KEY: u8 = 5;
    /// The key holds as many sessions or lanes as it may.
    pub(crate) const QUOTA: u8 = 6;
    /// There is no such worker.
    pub(crate) const WORKER: u8 = 7;
    /// The session has as many lanes as the bounds say.
    pub(crate) const LANES: u8 = 8;
    /// Asked on a lane, or on a session that is closing.
    pub(crate) const HERE: u8 = 9;
}

/// Which session a lane was opened over: by its worker and its key there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneParent {
    /// The worker that has the session.
    pub worker: u8,
    /// Its key on that worker.
    pub session: SessionKey,
}

/// A word from one worker's engine to another's of the same endpoint. Whoever carries it exchanges the
/// path: an index means nothing to another worker.
#[derive(Debug)]
pub struct LaneNote {
    /// Which worker it is for; 255: any.
    pub to: u8,
    /// The way to the peer, as the one who reads it calls it, where that needs one.
    pub path: Option<PathIndex>,
    pub(crate) says: Says,
}

#[derive(Debug)]
pub(crate) enum Says {
    /// Ask the peer for a lane over `parent`.
    Ask { parent: SessionKey, lane: SessionId, token: Token, wanted: u8 },
    /// Nobody waits for it any more.
    Unask { parent: SessionKey, lane: SessionId },
    /// What the peer said to it, or why it cannot be asked.
    Answered { lane: SessionId, answer: Result<Box<Terms>, CloseReason> },
    /// The peer asks for a lane here.
    Grant { parent: LaneParent, lane: SessionId, terms: Box<Terms> },
    /// What came of that: this end's id and token of it, or the status that refuses.
    Granted { parent: SessionKey, lane: SessionId, answer: Result<(SessionId, Token), u8> },
    /// A lane that was granted has ended.
    Ended { parent: SessionKey, lane: SessionId },
    /// The peer whose boot id was `old` has the boot id `new` now.
    Restarted { old: u64, new: u64 },
}

/// All that a lane takes over from the session it is opened over.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The session.
    pub(crate) parent: LaneParent,
    pub(crate) secret: LaneSecret,
    pub(crate) suite: Suite,
    /// Which end of the handshake asks.
    pub(crate) asker: Role,
    /// What the peer calls the lane.
    pub(crate) remote: SessionId,
    pub(crate) peer_token: Option<Token>,
    pub(crate) peer: Option<PublicKey>,
    pub(crate) admission: Admission,
    /// The peer was let in by this end's gate.
    pub(crate) gated: bool,
    pub(crate) peer_boot: u64,
    /// What the peer told in the handshake…
    pub(crate) bounds: Bounds,
    /// …and what this end told it.
    pub(crate) own: Bounds,
    pub(crate) rtt_ns: u64,
}
