//! How a session ends: flushed and closed, or failed; either way nothing stays silent.

use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::crypto::ResetKey;
use crate::time::Timestamp;
use crate::transport::planted::{self, Fault};
use crate::transport::session::Session;
use crate::transport::session::transmit::encode_header;
use crate::transport::shared::Shared;
use crate::transport::units_out::{Body, Packed};
use crate::transport::{CloseReason, Event, Fate, PacketSink, Way};
use crate::wire::{
    Accept, CallId, INIT_PACKET_SIZE, MESSAGES_HEAD_SIZE, RESET_TOKEN_SIZE, RecordHeader, Records, SessionId,
    Writer, encode_close,
};

/// CLOSE: the peer broke the protocol.
const CLOSE_VIOLATION: u16 = 0xffff;
/// CLOSE: the peer's key may no longer come in.
const CLOSE_EXPELLED: u16 = 0xfffe;
/// CLOSE: the session's keys are used up: open another.
const CLOSE_KEYS: u16 = 0xfffd;
/// A handshake that asks who is there is started again after this long at the earliest.
const SUSPECT_AGAIN_NS: u64 = 1_000_000_000;

/// Larger than the RESET that answers it (P-6.8).
const CLOSE_PACKET_SIZE: usize = 64;
const _: () = assert!(CLOSE_PACKET_SIZE > HEADER_SIZE + RESET_TOKEN_SIZE + TAG_SIZE);

/// A sealed packet with a CLOSE, and all that is kept of its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClosePacket {
    pub(crate) bytes: [u8; CLOSE_PACKET_SIZE],
    pub(crate) way: Way,
    remote: SessionId,
    peer_token: Option<[u8; RESET_TOKEN_SIZE]>,
}

impl ClosePacket {
    /// True when a RESET with this id and token says that the peer has no such session. A token that was never
    /// told cannot be compared: a forger stops the repeats, and the peer hears of the end as it did without them.
    pub(crate) fn is_answered_by(&self, remote: SessionId, token: &[u8; RESET_TOKEN_SIZE]) -> bool {
        self.remote == remote && self.peer_token.as_ref().is_none_or(|told| ResetKey::matches(told, token))
    }
}

/// Who says that a session is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// Nobody: it goes on, or its peer is not there to hear.
    #[default]
    None,
    /// This end, by a CLOSE of this code that is still to be made.
    ToSay(u16),
    /// The peer said it.
    Heard,
}

/// Where in its life a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In use.
    Open,
    /// Closing: takes nothing new, sends what is queued, until all is acknowledged or `until`.
    Flushing { until: Timestamp, code: u16 },
    /// Over. The engine takes it off its table.
    Closed,
}

impl Session {
    /// Starts to close: what was accepted is still delivered.
    pub(crate) fn close(&mut self, now: Timestamp, code: u16) {
        if self.phase == Phase::Open {
            self.phase = Phase::Flushing { until: now.after_ns(self.tuning.drain_timeout_ns), code };
        }
    }

    /// True when nothing accepted is still on its way, in either direction of a call.
    fn is_flushed(&self) -> bool {
        self.queue.is_empty() && self.large.is_all_cut() && self.units.is_empty() && self.calls.waiting() == 0
    }

    pub(super) fn on_flush_timer(&mut self, now: Timestamp, shared: &mut Shared) {
        if let Phase::Flushing { until, .. } = self.phase
            && until <= now
        {
            self.end_flush(now, shared);
        }
    }

    /// After each turn: a flushed session sends its CLOSE and ends.
    pub(crate) fn poll_flushed(&mut self, now: Timestamp, shared: &mut Shared) {
        if matches!(self.phase, Phase::Flushing { .. }) && self.is_flushed() {
            self.end_flush(now, shared);
        }
    }

    fn end_flush(&mut self, now: Timestamp, shared: &mut Shared) {
        self.fail(now, CloseReason::Local, shared);
    }

    /// Ends the session: every call and every unacknowledged message is named, memory goes back, and
    /// then the end itself is reported.
    #[cold]
    pub(crate) fn fail(&mut self, _now: Timestamp, reason: CloseReason, shared: &mut Shared) {
        if self.is_closed() {
            return;
        }
        // What it says arrived is not to be reported as unknown. A lie changes nothing any more.
        let _ = self.read_late_ack(shared);
        self.farewell = match (reason, self.phase) {
            (CloseReason::Local, Phase::Flushing { code, .. }) => Farewell::ToSay(code),
            (CloseReason::Local, _) => Farewell::ToSay(0),
            (CloseReason::Violation(_), _) => Farewell::ToSay(CLOSE_VIOLATION),
            (CloseReason::Expelled, _) => Farewell::ToSay(CLOSE_EXPELLED),
            (CloseReason::KeysUsedUp, _) => Farewell::ToSay(CLOSE_KEYS),
            (CloseReason::Peer(_), _) => Farewell::Heard,
            _ => Farewell::None,
        };
        self.phase = Phase::Closed;
        shared.active_sessions -= u64::from(!self.timers.dormant);
        self.ledger.close(shared);
        self.end_lanes(reason, shared);
        let mut unsent_calls = Vec::new();
        self.fail_unsent(shared, &mut unsent_calls);
        self.fail_sent(shared);
        self.fail_large(shared, &mut unsent_calls);
        let session = self.key;
        let events = &mut shared.events;
        self.calls.fail(|call, token| {
            let fate = if unsent_calls.contains(&call) { Fate::NotSent } else { Fate::Unknown };
            events.push(Event::CallEnded { session, token, fate });
        });
        self.reassemblies.clear(&mut shared.reserve);
        self.clear_parts(shared);
        if let CloseReason::PeerRestarted(_) = reason {
            shared.counters.peer_restarts += 1;
        }
        shared.counters.sessions_closed += 1;
        shared.events.push(Event::Closed { session, reason });
    }

    /// Builds the packet that tells the peer of an end that this side decided; once.
    pub(crate) fn close_packet(&mut self, now: Timestamp) -> Option<ClosePacket> {
        let Farewell::ToSay(code) = std::mem::take(&mut self.farewell) else { return None };
        let mut bytes = [0; CLOSE_PACKET_SIZE];
        let number = self.next_number(now);
        encode_header(&mut bytes, (self.remote, self.protector.epoch()), number, CLOSE_PACKET_SIZE);
        encode_close(&mut Writer::new(&mut bytes[HEADER_SIZE..]), code, "");
        self.protector.seal(&mut bytes);
        Some(ClosePacket { bytes, way: self.way(), remote: self.remote, peer_token: self.trust.peer_token })
    }

    /// True when the peer said that the session is over.
    pub(crate) fn was_told_to_close(&self) -> bool {
        self.farewell == Farewell::Heard
    }

    /// A hint came that the peer may be a new incarnation. Nothing is believed before a handshake has
    /// told; a side that cannot ask waits a shorter time for the peer to prove it is there.
    pub(crate) fn suspect(&mut self, now: Timestamp) {
        match &mut self.origin {
            Some(origin) if self.timers.suspected.is_none_or(|at| at.after_ns(SUSPECT_AGAIN_NS) <= now) => {
                origin.restart(now);
                self.timers.suspected = Some(now);
            }
            Some(_) => {}
            None => {
                self.control.ping = true;
                // A doubt that something heard since has cleared is a new one.
                let doubted = self.timers.suspected.is_some_and(|since| self.timers.last_heard <= since);
                if !doubted {
                    self.timers.suspected = Some(now);
                }
            }
        }
    }

    /// The peer may be gone, and is asked whether it is.
    #[inline]
    pub(crate) fn is_suspected(&self) -> bool {
        self.timers.suspected.is_some()
    }

    /// Sends the INIT by which this side asks who is there.
    #[inline(never)]
    pub(crate) fn transmit_origin(&mut self, now: Timestamp, sink: &mut impl PacketSink) -> bool {
        let (Some(_), Some(origin)) = (self.timers.suspected, &mut self.origin) else { return false };
        if !origin.is_due(now) {
            return false;
        }
        let Some(packet) = sink.packet(Way::to_door(self.path), INIT_PACKET_SIZE) else { return false };
        origin.write(now, packet);
        true
    }

    /// An ACCEPT for a session that is open: true when it shows that the peer does not have this
    /// session any more, and the session has failed. Either a new incarnation sent it, or the same one
    /// had ended the session without our hearing of it and took our INIT for a new one.
    pub(crate) fn on_accept_again(
        &mut self,
        now: Timestamp,
        accept: &Accept<'_>,
        shared: &mut Shared,
    ) -> bool {
        if self.timers.suspected.take().is_none() {
            return false;
        }
        if accept.boot != self.peer_boot {
            self.fail(now, CloseReason::PeerRestarted(accept.boot), shared);
        } else if accept.session != self.remote {
            self.fail(now, CloseReason::Forgotten, shared);
        }
        self.is_closed()
    }

    fn fail_unsent(&mut self, shared: &mut Shared, unsent_calls: &mut Vec<CallId>) {
        while let Some(packed) = self.queue.pop() {
            self.name_records(packed, Fate::NotSent, shared, unsent_calls);
            shared.slab.put(packed.slot);
        }
    }

    fn fail_sent(&mut self, shared: &mut Shared) {
        let bodies: Vec<Body> = self.units.drain().collect();
        for body in bodies {
            if let Body::Packed(packed) = body {
                #[cfg(feature = "planted-faults")]
                self.plant_calls(packed, shared);
                let fate =
                    if planted::is(Fault::SentReportedNotSent) { Fate::NotSent } else { Fate::Unknown };
                // A call whose request was sent is Unknown whatever else is known: no list of them.
                self.name_records(packed, fate, shared, &mut Vec::new());
                shared.slab.put(packed.slot);
            }
        }
    }

    fn fail_large(&mut self, shared: &mut Shared, unsent_calls: &mut Vec<CallId>) {
        let session = self.key;
        for message in self.large.drain() {
            if let (RecordHeader::Request { call, .. }, false) = (message.header, message.started()) {
                unsent_calls.push(call);
            }
            if let Some(ordinal) = message.ordinal
                && !planted::is(Fault::LargeMessageNotReported)
            {
                let fate = if message.started() { Fate::Unknown } else { Fate::NotSent };
                shared.events.push(Event::MessageEnded { session, ordinal, fate });
            }
        }
    }

    /// Reads a unit's records back: bookkeeping is per unit, so this is where messages get names.
    fn name_records(&self, packed: Packed, fate: Fate, shared: &mut Shared, calls: &mut Vec<CallId>) {
        let session = self.key;
        let Shared { slab, events, .. } = shared;
        let end = MESSAGES_HEAD_SIZE + usize::from(packed.size);
        let records = &slab.bytes(packed.slot)[MESSAGES_HEAD_SIZE..end];
        let mut ordinal = packed.first_ordinal;
        for record in Records::new(records).flatten() {
            match record.header {
                RecordHeader::Message | RecordHeader::Ordered { .. } => {
                    events.push(Event::MessageEnded { session, ordinal, fate });
                    ordinal += 1;
                }
                RecordHeader::Request { call, .. } => calls.push(call),
                RecordHeader::Reply { .. } => {}
            }
        }
    }
}
