//! Packets that ask: what a probe timer repeats, and what tries a larger size.

use crate::bounds::{HEADER_SIZE, PACKET_SIZE_MIN, TAG_SIZE};
use crate::time::Timestamp;
use crate::transport::congestion::Controller;
use crate::transport::sent::{NO_UNIT, carried};
use crate::transport::session::transmit::{Pick, Sent, encode_header};
use crate::transport::session::write_unit::unit_size;
use crate::transport::session::{Phase, Session};
use crate::transport::shared::Shared;
use crate::transport::sink::PacketSink;
use crate::wire::{self, Writer};

impl Session {
    /// What a probe carries, outside the window (L11, RFC 9002 §7.5: "Probe packets MUST NOT be blocked by the
    /// congestion controller").
    ///
    /// L10, RFC 9002 §6.2.4: "An endpoint SHOULD include new data in packets that are sent on PTO expiration."
    /// Its ack tells whether anything was lost at all. Of two probes the first repeats the oldest unit
    /// (P-13.5), and so does a lone one that ends what there is to say: that repairs a tail at once. Beside a
    /// large one the second is small (P-8.6).
    pub(super) fn pick_probe(&mut self, now: Timestamp, shared: &mut Shared) -> Pick {
        let is_last = self.loss.probes_due == 1;
        if is_last && self.probes_large() {
            return Pick::Nothing;
        }
        if is_last && let pick @ (Pick::New(..) | Pick::Part(..)) = self.pick_new(now, u64::MAX, shared) {
            return pick;
        }
        let skip = usize::from(is_last && self.probes_twice());
        match self.units.oldest(skip).or_else(|| self.units.oldest(0)) {
            Some((unit, body)) if self.fits(unit_size(body)) => Pick::Again(unit, body),
            Some((unit, body)) => self.probe_part(unit, body),
            None => Pick::Nothing,
        }
    }

    /// True when the oldest unit fills a packet that a path need not carry: then a probe timer sends
    /// something small beside it, whose ack tells a black hole from a path that is down (L53).
    pub(super) fn probes_large(&self) -> bool {
        let oldest = self.units.oldest(0);
        oldest.is_some_and(|(_, body)| {
            let size = unit_size(body);
            self.fits(size) && size + HEADER_SIZE + TAG_SIZE > PACKET_SIZE_MIN
        })
    }

    #[inline]
    pub(super) fn size_probe_wanted(&mut self, now: Timestamp, shared: &mut Shared) -> Option<usize> {
        let open = matches!(self.phase, Phase::Open);
        if open && self.mtu.is_probe_due(now) { self.probe_if_nobody_knows(now, shared) } else { None }
    }

    /// P-13.27: sessions with one remote ask for its packet size one after the other, and take what another found.
    #[cold]
    fn probe_if_nobody_knows(&mut self, now: Timestamp, shared: &mut Shared) -> Option<usize> {
        let path = &mut shared.paths.of(self.path).size;
        if let Some(sizes) = path.found(now) {
            self.mtu.take(now, sizes);
            self.congestion.set_packet_size(self.mtu.size() as u64);
        }
        let size = self.mtu.probe(now)?;
        match path.take_turn(now, self.rtt.smoothed_ns()) {
            None => Some(size),
            Some(until) => {
                self.mtu.wait_until(until);
                None
            }
        }
    }

    /// RFC 8899 §4.1: a PING padded to the size in question.
    pub(super) fn send_size_probe(
        &mut self,
        now: Timestamp,
        size: usize,
        shared: &mut Shared,
        sink: &mut impl PacketSink,
    ) -> Sent {
        let Some(packet) = sink.packet(self.way(), size) else { return Sent::NoMemory };
        let number = self.next_number(now);
        encode_header(packet, (self.remote, self.protector.epoch()), number, size);
        packet[HEADER_SIZE..size - TAG_SIZE].fill(0);
        let mut writer = Writer::new(&mut packet[HEADER_SIZE..]);
        wire::encode_ping(&mut writer);
        wire::encode_ack_request(&mut writer);
        self.protector.seal(packet);
        shared.counters.packets_sent += 1;
        shared.counters.bytes_sent += size as u64;
        self.mtu.on_probe_sent(size);
        self.note_flight(now);
        self.sent.push(now, NO_UNIT, 0, size as u16, carried::SIZE_PROBE);
        self.timers.last_sent = now;
        // The kernel may refuse it for its size, and would refuse what leaves with it.
        sink.part(self.way());
        Sent::Packet
    }
}
