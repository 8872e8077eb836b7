//! Ends that are said until they are heard (P-9.3): a CLOSE that a full buffer dropped would leave a peer with
//! calls waiting to its keep-alive.
//!
//! ```text
//!  Slot::Open -- fails --> CLOSE leaves --> Slot::Closing -- RESET, or a second is over --> free
//!                                             |        ^
//!                                             +-- CLOSE again, after one, two, four ... probe timeouts,
//!                                                 and where the peer is still heard
//! ```
//!
//! The same bytes leave each time (RFC 9000 §10.2.1 allows it): no key is kept, and nothing is read.

use crate::time::Timestamp;
use crate::transport::PacketSink;
use crate::transport::engine::{Engine, Meta, Slot};
use crate::transport::session::ClosePacket;
use crate::wire::{Header, SessionId};

/// How long a CLOSE is repeated: from then on a peer with calls has asked by a PING of its own (P-9.1).
const LINGER_NS: u64 = 1_000_000_000;
/// Ends that are remembered at once; others are said once.
const CLOSINGS_MAX: usize = 1_024;

/// A session that is over and whose peer may not know.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) packet: ClosePacket,
    pub(super) listed: bool,
    interval_ns: u64,
    due: Timestamp,
    until: Timestamp,
    /// Packets of the peer's that came since the session ended, and at how many it is answered next.
    heard: u32,
    answered_at: u32,
}

impl Closing {
    fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now
    }

    fn said(&mut self, now: Timestamp) {
        self.due = now.after_ns(self.interval_ns);
        self.interval_ns *= 2;
    }

    /// RFC 9000 §10.2.1: an endpoint "SHOULD limit the rate at which it generates packets in the closing state", as
    /// by "progressively increasing the number of received packets" it takes. Two ends that close at once answer
    /// each other a few times only.
    fn hear(&mut self, now: Timestamp) -> bool {
        self.heard += 1;
        if self.heard < self.answered_at {
            return false;
        }
        self.answered_at = self.answered_at.saturating_mul(2);
        self.heard = 0;
        self.due = now;
        true
    }
}

impl Engine {
    /// A session has ended: its peer is told, and its place is free as soon as the peer has heard.
    pub(super) fn end_session(&mut self, now: Timestamp, index: u32, sink: &mut impl PacketSink) {
        let Slot::Open(session) = self.table.slot_mut(index) else { return };
        let probe_timeout_ns = session.probe_timeout_ns();
        // Nobody has been heard from at an unproven address: it gets no packet that answers none.
        let may_linger = !session.is_half_open();
        let told = session.close_packet(now);
        if let Some(packet) = &told {
            self.send_close(packet, sink);
        }
        match told {
            Some(packet) if may_linger && self.closings < CLOSINGS_MAX => {
                let due = now.after_ns(probe_timeout_ns);
                let closing = Closing {
                    packet,
                    listed: false,
                    interval_ns: probe_timeout_ns.saturating_mul(2),
                    due,
                    until: now.after_ns(LINGER_NS),
                    heard: 0,
                    answered_at: 1,
                };
                self.forget_origin(index);
                self.closings += 1;
                self.table.fill(index, Slot::Closing(Box::new(closing)));
                self.timers.arm(index, due);
            }
            _ => self.remove(index),
        }
    }

    fn send_close(&mut self, close: &ClosePacket, sink: &mut impl PacketSink) -> bool {
        let Some(packet) = sink.packet(close.way, close.bytes.len()) else { return false };
        packet.copy_from_slice(&close.bytes);
        self.shared.counters.packets_sent += 1;
        self.shared.counters.bytes_sent += close.bytes.len() as u64;
        true
    }

    pub(super) fn transmit_closing(&mut self, now: Timestamp, index: u32, sink: &mut impl PacketSink) {
        let Slot::Closing(closing) = self.table.slot_mut(index) else { return };
        closing.listed = false;
        if !closing.is_due(now) {
            return;
        }
        let packet = closing.packet;
        closing.said(now);
        let at = closing.due.min(closing.until);
        self.timers.arm(index, at);
        // Without memory now it is said at the next expiry.
        self.send_close(&packet, sink);
    }

    pub(super) fn on_closing_timer(&mut self, now: Timestamp, index: u32) {
        let Slot::Closing(closing) = self.table.slot(index) else { return };
        if closing.until <= now {
            self.remove(index);
        } else {
            self.touch(index);
        }
    }

    /// A packet for a session that has ended here: its sender may not know, or has closed it too and says so. A
    /// CLOSE is for the one and a RESET for the other, as nobody here can tell which it is.
    #[cold]
    pub(super) fn on_data_late(
        &mut self,
        now: Timestamp,
        meta: &Meta,
        header: &Header,
        index: u32,
        size: usize,
    ) {
        let Slot::Closing(closing) = self.table.slot_mut(index) else { return };
        if closing.packet.way.path == meta.path && closing.hear(now) {
            self.touch(index);
        }
        self.answer_unknown(now, meta, header, size);
    }

    /// The peer does not know the session, or not any more. True when it was one that has ended here.
    pub(super) fn on_close_heard(&mut self, meta: &Meta, remote: SessionId, token: &[u8; 16]) -> bool {
        let heard = (0..self.table.len()).find(|&index| match self.table.slot(index) {
            Slot::Closing(closing) => {
                closing.packet.way.path == meta.path && closing.packet.is_answered_by(remote, token)
            }
            _ => false,
        });
        heard.map(|index| self.remove(index)).is_some()
    }

    /// The peer ended the session that `header` names: said at once, so that it need not say so again. An answer
    /// that is lost or held back is given to its next CLOSE.
    pub(super) fn acknowledge_close(&mut self, now: Timestamp, meta: &Meta, header: &Header, size: usize) {
        let Some((_, session)) = self.table.by_id(header.session) else { return };
        if session.was_told_to_close() {
            self.answer_unknown(now, meta, header, size);
        }
    }
}
