//! The packet that nearly every other one is: perhaps an ack of one range, and a unit that leaves for the first time.
//!
//! ```text
//! [header][ACK]?[ACK_REQUEST]?[FILL]?[MESSAGES | FRAGMENT][padding][tag]
//! ```
//!
//! All others are put together step by step, each step deciding for all kinds of packets. A round trip of a few
//! microseconds waits for those steps at either end, and on a link of small packets they are what a packet costs. So
//! what has to be asked of this kind stands in a row here, and its frames are written where they leave from. The bytes
//! are those that the steps would have written: where anything else is to be said, or something is in the way, this
//! leaves it to them.

use crate::bounds::{CONTROL_SIZE_RESERVED, HEADER_SIZE, TAG_SIZE};
use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::planted::{self, Fault};
use crate::transport::sent::carried;
use crate::transport::session::Session;
use crate::transport::session::flown::Flown;
use crate::transport::session::frames::ControlFrames;
use crate::transport::session::pair::units_size;
use crate::transport::session::transmit::{Pick, encode_header};
use crate::transport::session::write_unit::{charged, unit_size};
use crate::transport::shared::Shared;
use crate::transport::sink::PacketSink;
use crate::transport::units_out::Body;
use crate::wire::{self, ACK_FIXED_SIZE, ACK_REQUEST_SIZE, Writer};

/// What became of the plain packets.
pub(super) enum Plain {
    /// All there was to say is said; the last packet is to be noted once it is on its way.
    Done,
    /// What is left, if anything, is of another kind, or held back.
    Rest,
    /// Memory ran out.
    NoMemory,
}

impl Session {
    /// [`Session::transmit_plain`] for what is most often its first packet and its last: a unit of small messages, with
    /// no large one beside them. What the compiler would prepare for further ones, a round trip would wait for.
    #[inline(always)]
    pub(super) fn transmit_small(
        &mut self,
        now: Timestamp,
        shared: &mut Shared,
        sink: &mut impl PacketSink,
    ) -> Plain {
        let (Some(packed), true) = (self.queue.peek(), self.large.is_all_cut()) else {
            return self.transmit_plain(now, shared, sink);
        };
        let body = Body::Packed(packed);
        if self.wants_other(now) || by_steps() || !self.may_leave(now, body) {
            return Plain::Rest;
        }
        let Some(flown) = self.build_plain(now, body, shared, sink) else { return Plain::NoMemory };
        if self.queue.is_empty() {
            self.loss.flown = Some(flown);
            return Plain::Done;
        }
        self.note_flown(now, &flown, shared);
        self.transmit_plain(now, shared, sink)
    }

    /// Builds plain packets for as long as nothing else is wanted.
    #[inline(never)]
    fn transmit_plain(&mut self, now: Timestamp, shared: &mut Shared, sink: &mut impl PacketSink) -> Plain {
        while !self.wants_other(now) && !by_steps() {
            let Some(body) = self.next_body() else { return Plain::Rest };
            if !self.may_leave(now, body) {
                return Plain::Rest;
            }
            let Some(flown) = self.build_plain(now, body, shared, sink) else { return Plain::NoMemory };
            if self.queue.is_empty() && self.large.is_all_cut() {
                self.loss.flown = Some(flown);
                return Plain::Done;
            }
            self.note_flown(now, &flown, shared);
        }
        Plain::Rest
    }

    /// Something is to be said beside new units and an ack of one range.
    #[inline(always)]
    fn wants_other(&self, now: Timestamp) -> bool {
        let control = &self.control;
        let speaks = control.wants_packet()
            | control.stats
            | control.ask
            | control.duplicate_seen
            | control.arrivals.untold;
        let repeats = (self.loss.probes_due > 0) | self.units.has_lost();
        let path = self.path_change.parts_out.is_some() | self.mtu.is_probe_due(now);
        speaks | repeats | path | !self.datagrams.is_empty() | self.received.one_range().is_none()
    }

    /// Whether window, credit and pace let a new unit go, and there is room beside it.
    #[inline(always)]
    fn may_leave(&mut self, now: Timestamp, body: Body) -> bool {
        let unit_size = unit_size(body);
        let numbers = self.units.next() - self.units.floor() < u64::from(self.peer.unit_window);
        // L40, RFC 9002 §7: "An endpoint MUST NOT send a packet if it would cause bytes_in_flight" to exceed the
        // window.
        let in_window = self.sent.bytes_in_flight() + unit_size as u64 <= self.window_now()
            || self.sent.packets_in_flight() == 0;
        let credit = charged(body).is_none_or(|cost| self.credit_out.available() >= cost);
        let room_beside = self.mtu.size() - HEADER_SIZE - TAG_SIZE >= unit_size + CONTROL_SIZE_RESERVED;
        let room = self.fits(unit_size) && (room_beside || !self.acks.wanted());
        numbers && in_window && credit && room && self.pace(now).is_none()
    }

    /// Builds the packet around `body`, which is to be noted; `None`, and nothing has happened, without memory for it.
    #[inline(always)]
    fn build_plain(
        &mut self,
        now: Timestamp,
        body: Body,
        shared: &mut Shared,
        sink: &mut impl PacketSink,
    ) -> Option<Flown> {
        let beside = self.beside(body, || self.window_now().saturating_sub(self.sent.bytes_in_flight()));
        let unit_size = units_size(body, beside);
        let fill_to = self.fill_to(self.more_after(body, beside), unit_size);
        let acks = self.acks.wanted();
        let asks = fill_to == 0 && self.queue.full_units() == 0 && self.ends_burst(shared);
        let control_size = ACK_FIXED_SIZE * usize::from(acks) + ACK_REQUEST_SIZE * usize::from(asks);
        let exact = HEADER_SIZE + control_size + unit_size + TAG_SIZE;
        let size = self.mtu.padded(exact.max(fill_to));
        let packet = sink.packet(self.way(), size)?;

        let number = self.next_number(now);
        encode_header(packet, (self.remote, self.protector.epoch()), number, size);
        let (control, rest) = packet[HEADER_SIZE..size - TAG_SIZE].split_at_mut(control_size);
        let mut writer = Writer::new(control);
        let mut frames = ControlFrames::default();
        if acks {
            self.write_ack(now, &mut writer, &mut frames);
        }
        if asks {
            wire::encode_ack_request(&mut writer);
        }
        let fill = self.fill_before(beside.unwrap_or(body), rest.len() - unit_size);
        if rarely(fill > 0) {
            wire::encode_fill(&mut rest[..fill]);
        }
        let (unit_out, padding) = rest[fill..].split_at_mut(unit_size);
        let (unit, elsewhere) = self.write_pick(Pick::New(body, beside), number, unit_out, shared);
        if !padding.is_empty() {
            padding.fill(0);
        }
        match elsewhere {
            None => self.protector.seal(packet),
            Some(bytes) => {
                let at = HEADER_SIZE + control_size + fill + unit_size - bytes.len();
                self.protector.seal_around(packet, at, &bytes);
                if self.protector.leaves_bytes() {
                    sink.gather(at, bytes);
                }
            }
        }
        let carries = if beside.is_some() { carried::PAIR } else { 0 };
        if planted::is(Fault::SlotReusedBeforeAck) {
            self.plant_slot_reuse(Pick::New(body, beside), shared);
        }
        Some(Flown { number, unit, size, ack_largest: frames.ack_largest, carries })
    }
}

#[cfg(test)]
thread_local! {
    /// For a test of the simulator's: every packet is put together step by step.
    pub(crate) static BY_STEPS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
fn by_steps() -> bool {
    BY_STEPS.get()
}

#[cfg(not(test))]
const fn by_steps() -> bool {
    false
}
