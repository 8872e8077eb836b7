//! What happens to sessions, for whoever runs the process: the only place of the datapath that logs.
//!
//! Nothing here is per packet, call or message. What a peer can bring about is at most one line for each
//! session it opens, or for a quota each second.

use crate::crypto::PublicKey;
use crate::transport::{CloseReason, Engine, Event};

/// Tells the log of one event.
#[cold]
pub(super) fn log(engine: &Engine, event: &Event) {
    match *event {
        Event::Opened { session, accepted, peer_boot } => {
            let peer = engine.peer_key(session);
            tracing::debug!(
                session = session.number(),
                accepted,
                peer_boot,
                peer = shown(peer.as_ref()),
                "session opened"
            );
        }
        Event::Closed { session, reason } => {
            let number = session.number();
            match reason {
                CloseReason::Local | CloseReason::Peer(_) => {
                    tracing::debug!(session = number, ?reason, "session closed");
                }
                CloseReason::Violation(what) => {
                    tracing::warn!(session = number, what, "session closed: the peer broke the protocol");
                }
                reason => tracing::info!(session = number, ?reason, "session ended"),
            }
        }
        Event::AddressChanged { session } => {
            tracing::debug!(session = session.number(), "the peer's address changed");
        }
        Event::OverQuota { session, peer, quota } => tracing::warn!(
            session = session.map(|session| session.number()),
            peer = shown(peer.as_ref()),
            quota = quota.name(),
            "a peer is at its quota"
        ),
        Event::CallEnded { .. } | Event::MessageEnded { .. } => {}
    }
}

fn shown(peer: Option<&PublicKey>) -> String {
    peer.map_or_else(|| "unknown".to_owned(), PublicKey::to_string)
}
