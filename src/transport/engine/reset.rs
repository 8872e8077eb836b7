//! Answers that keep no state: cookies, refusals, version hints, resets. Never larger than what they
//! answer, limited in number, never an answer to an answer (S01, S02).

use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::crypto::Protector;
use crate::time::Timestamp;
use crate::transport::engine::{Engine, Meta, Slot};
use crate::transport::{PacketSink, PathIndex, Way};
use crate::wire::{Header, PacketKind, PacketNumber, RESET_TOKEN_SIZE, Reset, SessionId};

/// One packet that waits for memory.
#[derive(Debug)]
pub(super) struct Stateless {
    path: PathIndex,
    bytes: [u8; STATELESS_SIZE_MAX],
    size: usize,
}

/// The largest stateless packet: a REFUSE with a short reason, or an ACCEPT.
const STATELESS_SIZE_MAX: usize = 320;
/// Stateless packets that wait at once; more are dropped, as a flood's should be.
const STATELESS_QUEUED_MAX: usize = 64;
/// At most one reset in this time.
const RESET_INTERVAL_NS: u64 = 200_000;
const RESET_SIZE: usize = HEADER_SIZE + RESET_TOKEN_SIZE + TAG_SIZE;

impl Engine {
    /// Queues a stateless packet whose body `write` puts down, returning its size.
    pub(super) fn answer(
        &mut self,
        path: PathIndex,
        kind: PacketKind,
        session: SessionId,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        if self.stateless.len() >= STATELESS_QUEUED_MAX {
            self.shared.counters.handshakes_refused += 1;
            return;
        }
        let mut bytes = [0; STATELESS_SIZE_MAX];
        let body = write(&mut bytes[HEADER_SIZE..STATELESS_SIZE_MAX - TAG_SIZE]);
        let size = HEADER_SIZE + body + TAG_SIZE;
        let header = Header { kind, epoch: 0, length: size as u16, session, number: PacketNumber(0) };
        header.encode(&mut bytes);
        Protector::handshake().seal(&mut bytes[..size]);
        self.stateless.push_back(Stateless { path, bytes, size });
    }

    #[cold]
    pub(super) fn transmit_stateless(&mut self, sink: &mut impl PacketSink) {
        while let Some(answer) = self.stateless.front() {
            let Some(packet) = sink.packet(Way::to_door(answer.path), answer.size) else { return };
            packet.copy_from_slice(&answer.bytes[..answer.size]);
            self.shared.counters.packets_sent += 1;
            self.shared.counters.bytes_sent += answer.size as u64;
            self.stateless.pop_front();
        }
    }

    /// A packet for a session that is not here: perhaps this is a new incarnation, and the sender
    /// should hear of it. Where sessions are sealed the answer proves that this end once had it.
    pub(super) fn answer_unknown(&mut self, now: Timestamp, meta: &Meta, header: &Header, size: usize) {
        // L58, RFC 9000 §10.3.3: an endpoint "MUST ensure that every Stateless Reset that it sends is smaller than the
        // packet that triggered it".
        let too_soon = now.since_ns(self.last_reset) < RESET_INTERVAL_NS;
        if size <= RESET_SIZE || too_soon {
            return;
        }
        self.last_reset = now;
        self.shared.counters.resets_sent += 1;
        let security = &self.config.security;
        let token = if security.provider.is_secure() {
            security.reset_key.token(header.session.0)
        } else {
            [0; RESET_TOKEN_SIZE]
        };
        self.answer(meta.path, PacketKind::Reset, header.session, |out| Reset { token }.encode(out));
    }

    /// The peer says it does not know the session. With the token it told in the handshake, that is the
    /// end. Where there are none nothing proves it, so nothing is believed: the side that opened the
    /// session asks by a handshake which incarnation is there.
    pub(super) fn on_reset(&mut self, now: Timestamp, meta: &Meta, header: &Header, packet: &mut [u8]) {
        let Some(reset) = self.body(header, packet).and_then(|body| Reset::decode(body).ok()) else {
            return;
        };
        for index in 0..self.table.len() {
            if let Slot::Open(session) = self.table.slot_mut(index)
                && session.path == meta.path
                && session.is_remote(header.session)
            {
                session.on_reset(now, &reset.token, &mut self.shared);
                self.touch(index);
                return;
            }
        }
        if self.closings > 0 {
            self.on_close_heard(meta, header.session, &reset.token);
        }
    }
}
