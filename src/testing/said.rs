//! What must hold whatever a peer that was let in says. The fuzz target `sealed` and the replay of its
//! committed seeds both run [`said`].
//!
//! ```text
//!  bytes = packet, packet, …      packet = head (2 bytes) and frames
//!  head  = | length 11 | pause 3 | next keys 1 | skip 1 |
//! ```

use super::bare::BareServer;
use crate::time::saturating_ns;
use crate::transport::Config;
use crate::transport::security::OpenGate;
use crate::worker::{App, CloseReason, Cx, Event, Outcome, ReplyWriter, Request};

/// Echoes, and remembers how sessions ended.
#[derive(Default)]
struct Desk {
    ran: usize,
    closed: Vec<CloseReason>,
}

impl App for Desk {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        self.ran += 1;
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        panic!("nobody called, and call {token} ended as {outcome:?}");
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        if let Event::Closed { reason, .. } = event {
            self.closed.push(reason);
        }
    }
}

/// Opens a session with a worker, says `bytes` to it packet by packet under the session's keys, and
/// returns how many packets were taken while the session lived.
///
/// # Panics
/// When a promise is broken: an invariant of the engine, the worker's other peer no longer served, memory
/// kept for a session that ended, or an end that nothing the peer said explains.
#[must_use]
pub fn said(bytes: &[u8]) -> usize {
    let mut server = BareServer::new(Config::default(), OpenGate, Desk::default());
    let mut peer = server.connect(1, 1).expect("everyone is let in");
    let mut rest = bytes;
    let mut taken = 0;
    while let Some((head, more)) = rest.split_first_chunk::<2>() {
        let head = u16::from_le_bytes(*head);
        let (frames, more) = more.split_at(more.len().min(usize::from(head & 0x7ff)));
        rest = more;
        if head >> 14 & 1 != 0 {
            peer.update_keys();
        }
        if head >> 15 != 0 {
            peer.skip(1 + u64::from(head & 0xff));
        }
        let packet = peer.say_bytes(frames);
        server.hear(&peer, packet);
        server.run(PAUSES_NS[usize::from(head >> 11 & 7)]);
        server.worker().engine().check();
        server.said_to(&mut peer);
        if !server.worker().app().closed.is_empty() {
            break;
        }
        taken += 1;
    }
    let closed = std::mem::take(&mut server.worker().app_mut().closed);
    match closed[..] {
        [] => {}
        [CloseReason::Violation(_) | CloseReason::Peer(_) | CloseReason::TimedOut] => {
            // Lanes that it asked for outlive the session, and die of the peer's silence.
            for _ in 0..4 {
                server.run(saturating_ns(Config::default().idle_timeout) / 2);
            }
            assert_eq!(server.worker().engine().reserved(), 0, "memory of a session that ended");
            assert_eq!(server.worker().engine().sessions(), 0, "sessions of a peer that says nothing");
        }
        ref other => panic!("the session ended as {other:?}"),
    }
    assert!(server.connect(2, 1).is_some(), "another peer is not served any more");
    taken
}

/// What a packet may wait before the next, in nanoseconds: none, to beyond every timer but the idle one.
const PAUSES_NS: [u64; 8] = [0, 1_000, 30_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
