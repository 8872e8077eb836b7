//! Building packets: [control frames][datagrams][a unit, or two FRAGMENTs, if any][padding].
//!
//! A loop that picks, one function for each part. Control frames are made anew for each packet; only
//! the unit is ever repeated.

use crate::bounds::{HEADER_SIZE, PACKET_SIZE_MAX, TAG_SIZE};
use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::congestion::Controller;
use crate::transport::parts_out::Part;
use crate::transport::planted::{self, Fault};
use crate::transport::sent::{NO_UNIT, carried};
use crate::transport::session::Session;
use crate::transport::session::flown::Flown;
use crate::transport::session::frames::ControlFrames;
use crate::transport::session::pair::units_size;
use crate::transport::session::plain::Plain;
use crate::transport::session::write_unit::{charged, unit_size};
use crate::transport::shared::Shared;
use crate::transport::sink::{Extent, PacketSink};
use crate::transport::units_out::Body;
use crate::wire::{self, Header, PacketKind, PacketNumber, UNIT_PART_HEAD_SIZE, Writer};

/// What the next packet carries beside control frames.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pick {
    /// No unit.
    Nothing,
    /// A unit sent before.
    Again(u64, Body),
    /// A unit sent for the first time, and perhaps another beside it.
    New(Body, Option<Body>),
    /// A part of a unit that no longer fits a packet.
    Part(Part, Body),
}

impl Pick {
    /// The second unit, where there is one.
    fn beside(self) -> Option<Body> {
        match self {
            Pick::New(_, beside) => beside,
            _ => None,
        }
    }
}

/// A packet's parts as they are decided.
pub(super) struct Plan {
    pub(super) pick: Pick,
    pub(super) unit_size: usize,
    /// Padded to this, so that the train goes on; 0 is as it comes.
    pub(super) fill_to: usize,
    pub(super) is_probe: bool,
}

/// Probes are at least this large: a peer that no longer has the session answers with a RESET, which
/// must be smaller than what it answers (P-6.8).
const PROBE_SIZE_MIN: usize = 64;

/// Room for control frames in one packet.
const CONTROL_SIZE_MAX: usize = 1_024;
const _: () = assert!(CONTROL_SIZE_MAX < PACKET_SIZE_MAX);

impl Session {
    /// Builds every packet that may leave now. False when memory ran out, and more remains. The last packet may be left to
    /// be noted by [`Session::note_last`], once it is on its way.
    pub(crate) fn transmit(
        &mut self,
        now: Timestamp,
        extent: Extent,
        shared: &mut Shared,
        sink: &mut impl PacketSink,
    ) -> bool {
        debug_assert!(self.loss.flown.is_none(), "what left was noted");
        self.queue.hold_open(extent == Extent::FullUnits);
        let said = self.transmit_packets(now, shared, sink);
        self.queue.hold_open(false);
        said
    }

    fn transmit_packets(&mut self, now: Timestamp, shared: &mut Shared, sink: &mut impl PacketSink) -> bool {
        if rarely(self.is_closed()) {
            return true;
        }
        if rarely(self.path_change.migration.is_some()) {
            self.transmit_path_frames(now, shared, sink);
        }
        if rarely(self.timers.unproven) {
            return true;
        }
        self.look_after_keys(now, shared);
        self.look_after_marks(sink);
        if rarely(self.is_closed()) {
            return true;
        }
        if rarely(self.resume.is_quiet(now) && self.sent.packets_in_flight() == 0) {
            self.end_quiet(now);
        }
        match self.transmit_small(now, shared, sink) {
            Plain::Done => true,
            Plain::Rest => self.transmit_by_steps(now, shared, sink),
            Plain::NoMemory => {
                shared.counters.train_waits += 1;
                false
            }
        }
    }

    /// Packets of any kind, each put together step by step.
    #[inline(never)]
    fn transmit_by_steps(&mut self, now: Timestamp, shared: &mut Shared, sink: &mut impl PacketSink) -> bool {
        while self.has_more(now) {
            match self.transmit_one(now, shared, sink) {
                Sent::Packet => {}
                Sent::Nothing => {
                    self.note_app_limit(now);
                    return true;
                }
                Sent::NoMemory => {
                    shared.counters.train_waits += 1;
                    return false;
                }
            }
        }
        true
    }

    /// False when there is nothing to say, whatever window, pace and credit would allow: most packets are
    /// the last of their turn, and need no plan for the next.
    #[inline]
    pub(crate) fn has_more(&self, now: Timestamp) -> bool {
        self.acks.due(now) || self.has_more_than_ack(now)
    }

    /// [`Session::has_more`], an ack aside.
    #[inline]
    pub(crate) fn has_more_than_ack(&self, now: Timestamp) -> bool {
        self.queue.peek().is_some()
            || self.control.wants_packet()
            || self.units.has_lost()
            || self.loss.probes_due > 0
            || !self.large.is_all_cut()
            || !self.datagrams.is_empty()
            || self.mtu.probe(now).is_some()
            || self.path_change.parts_out.is_some()
    }

    fn transmit_one(&mut self, now: Timestamp, shared: &mut Shared, sink: &mut impl PacketSink) -> Sent {
        if let Some(size) = self.size_probe_wanted(now, shared) {
            return self.send_size_probe(now, size, shared, sink);
        }
        let mut plan = self.plan(now, shared);
        if self.speaks_alone(now, &plan) {
            plan = Plan { pick: Pick::Nothing, unit_size: 0, fill_to: 0, is_probe: false };
        }
        let wanted = !matches!(plan.pick, Pick::Nothing)
            || self.control.wants_packet()
            || self.may_send_datagram()
            || self.acks.due(now);
        if !wanted {
            return Sent::Nothing;
        }
        if !sink.has_room(self.way(), self.mtu.size()) {
            return Sent::NoMemory;
        }
        self.build(now, &plan, shared, sink)
    }

    fn plan(&mut self, now: Timestamp, shared: &mut Shared) -> Plan {
        // L11, RFC 9002 §7.5: "Probe packets MUST NOT be blocked by the congestion controller."
        let is_probe = self.loss.probes_due > 0;
        let pick = self.pick(now, is_probe, shared);
        let (more, unit_size) = match pick {
            Pick::Nothing => {
                if is_probe {
                    self.control.ping = true;
                    self.control.ask = true;
                }
                return Plan { pick, unit_size: 0, fill_to: 0, is_probe };
            }
            Pick::Part(part, _) => {
                let goes_on = part.end < part.total && part.size() == self.part_size_max();
                let fill_to = if goes_on { self.mtu.filled_size() } else { 0 };
                return Plan { pick, unit_size: UNIT_PART_HEAD_SIZE + part.size(), fill_to, is_probe };
            }
            Pick::New(body, beside) => (self.more_after(body, beside), units_size(body, beside)),
            Pick::Again(_, body) => {
                (self.queue.full_units() > 1 || self.large.peek().is_some(), unit_size(body))
            }
        };
        let fill_to = self.fill_to(more || self.units.has_lost(), unit_size);
        Plan { pick, unit_size, fill_to, is_probe }
    }

    /// The size that a packet with `unit_size` bytes of units is padded to, so that its train goes on where `more` follow;
    /// 0: it is as it comes.
    #[inline(always)]
    pub(super) fn fill_to(&self, more: bool, unit_size: usize) -> usize {
        if more { self.full_packet_size(unit_size) } else { 0 }
    }

    fn pick(&mut self, now: Timestamp, is_probe: bool, shared: &mut Shared) -> Pick {
        if is_probe {
            return self.pick_probe(now, shared);
        }
        let budget = self.window_now().saturating_sub(self.sent.bytes_in_flight());
        if self.path_change.parts_out.is_some()
            && let Some(pick) = self.pick_part(budget)
        {
            return pick;
        }
        if let Some((unit, body)) = self.units.peek_lost() {
            if !self.fits(unit_size(body)) {
                self.cut_unit(unit, body);
                return self.pick_part(budget).unwrap_or(Pick::Nothing);
            }
            // RFC 9002 §7: retransmissions are governed by the window like anything else.
            let fits = (unit_size(body) as u64) < budget || self.sent.packets_in_flight() == 0;
            // L41: and paced like anything else.
            return if fits && self.pace(now).is_none() { Pick::Again(unit, body) } else { Pick::Nothing };
        }
        self.pick_new(now, budget, shared)
    }

    /// The controller's window, or less after silence.
    #[inline(always)]
    pub(super) fn window_now(&self) -> u64 {
        self.resume.window(self.congestion.window())
    }

    pub(super) fn pick_new(&mut self, now: Timestamp, budget: u64, shared: &mut Shared) -> Pick {
        let Some(body) = self.next_body() else {
            self.note_grant_wait(shared);
            return Pick::Nothing;
        };
        let full = self.units.next() - self.units.floor() >= u64::from(self.peer.unit_window);
        if full && !planted::is(Fault::WindowIgnored) {
            shared.counters.window_full += 1;
            return Pick::Nothing;
        }
        let size = unit_size(body) as u64;
        // L40, RFC 9002 §7: "An endpoint MUST NOT send a packet if it would cause bytes_in_flight" to exceed the
        // window.
        if size > budget && self.sent.packets_in_flight() > 0 {
            shared.counters.congestion_limited += 1;
            return Pick::Nothing;
        }
        if self.pace(now).is_some() {
            return Pick::Nothing;
        }
        if !self.within_credit(body, shared) {
            return Pick::Nothing;
        }
        if !self.fits(unit_size(body)) {
            let unit = self.number_unit(body, self.sent.next());
            self.cut_unit(unit, body);
            return self.pick_part(budget).unwrap_or(Pick::Nothing);
        }
        Pick::New(body, self.beside(body, || budget))
    }

    /// What a new unit would carry: small records and fragments take turns by bytes.
    #[inline(always)]
    pub(super) fn next_body(&self) -> Option<Body> {
        match (self.queue.peek(), self.large.peek()) {
            (Some(packed), None) => Some(Body::Packed(packed)),
            (Some(packed), Some(_)) if self.turns.small <= self.turns.large => Some(Body::Packed(packed)),
            (_, Some((index, offset, allowance))) => {
                let size = allowance.min(self.fragment_size() as u64) as u16;
                Some(Body::Fragment { large: index, offset, size })
            }
            (None, None) => None,
        }
    }

    /// False while the peer's credit does not cover a new unit; says BLOCKED once per limit.
    fn within_credit(&mut self, body: Body, shared: &mut Shared) -> bool {
        let Some(cost) = charged(body) else { return true };
        if self.credit_out.available() >= cost {
            return true;
        }
        if self.credit_out.block().is_some() {
            self.control.blocked = true;
            shared.counters.blocked += 1;
        }
        false
    }

    fn note_grant_wait(&mut self, shared: &mut Shared) {
        let Some((message, limit)) = self.large.blocked() else { return };
        if self.control.message_blocked_at != Some((message, limit)) {
            self.control.message_blocked_at = Some((message, limit));
            shared.counters.grant_waits += 1;
        }
    }

    fn build(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        shared: &mut Shared,
        sink: &mut impl PacketSink,
    ) -> Sent {
        let mut scratch = std::mem::take(&mut shared.control_scratch);
        scratch.resize(CONTROL_SIZE_MAX, 0);
        let sent = self.build_with(now, plan, &mut scratch, shared, sink);
        shared.control_scratch = scratch;
        sent
    }

    /// `scratch` holds the control frames until the packet's size, and so its memory, is known.
    fn build_with(
        &mut self,
        now: Timestamp,
        plan: &Plan,
        scratch: &mut [u8],
        shared: &mut Shared,
        sink: &mut impl PacketSink,
    ) -> Sent {
        let room = (self.mtu.size() - HEADER_SIZE - TAG_SIZE - plan.unit_size).min(scratch.len());
        let mut writer = Writer::new(&mut scratch[..room]);
        let mut frames = self.write_control(now, &mut writer, plan, shared);
        let control_size = writer.position();
        let datagram = self.datagram_that_fits(room_left(self.mtu.size(), plan.unit_size, control_size));
        let datagram_size = datagram.map_or(0, |size| size + wire::DATAGRAM_HEAD_SIZE);
        let exact = HEADER_SIZE + control_size + datagram_size + plan.unit_size + TAG_SIZE;
        let least = if plan.is_probe { PROBE_SIZE_MIN } else { 0 };
        let size = exact.max(plan.fill_to).max(least);
        // Little is sealed of what holds no unit.
        let size = if plan.unit_size > 0 { self.mtu.padded(size) } else { size };
        let Some(packet) = sink.packet(self.way(), size) else { return Sent::NoMemory };

        let number = self.next_number(now);
        encode_header(packet, (self.remote, self.protector.epoch()), number, size);
        let mut at = HEADER_SIZE;
        packet[at..at + control_size].copy_from_slice(&scratch[..control_size]);
        at += control_size;
        if datagram.is_some() {
            frames.add(carried::DATAGRAM);
            at += self.take_datagram(&mut packet[at..], shared);
        }
        if let Pick::Again(_, body) | Pick::New(body, _) = plan.pick {
            let last = plan.pick.beside().unwrap_or(body);
            let fill = self.fill_before(last, size - TAG_SIZE - at - plan.unit_size);
            if fill > 0 {
                wire::encode_fill(&mut packet[at..at + fill]);
                at += fill;
            }
        }
        let (unit, elsewhere) =
            self.write_pick(plan.pick, number, &mut packet[at..at + plan.unit_size], shared);
        at += plan.unit_size;
        packet[at..size - TAG_SIZE].fill(0);
        match elsewhere {
            None => self.protector.seal(packet),
            Some(bytes) => {
                let at = at - bytes.len();
                self.protector.seal_around(packet, at, &bytes);
                if self.protector.leaves_bytes() {
                    sink.gather(at, bytes);
                }
            }
        }
        self.note_sent(now, number, unit, size, plan, &frames, shared);
        if planted::is(Fault::SlotReusedBeforeAck) {
            self.plant_slot_reuse(plan.pick, shared);
        }
        Sent::Packet
    }

    /// Planted: the slot goes back to the slab while the unit may still have to be sent again.
    #[cold]
    pub(super) fn plant_slot_reuse(&mut self, pick: Pick, shared: &mut Shared) {
        if let Pick::New(Body::Packed(packed), _) = pick {
            shared.slab.put(packed.slot);
        }
    }

    #[inline(always)]
    pub(super) fn number_unit(&mut self, body: Body, number: u64) -> u64 {
        debug_assert!(
            self.units.next() - self.units.floor() < u64::from(self.peer.unit_window)
                || planted::is(Fault::WindowIgnored),
            "a unit is picked only within the peer's window"
        );
        if let Some(cost) = charged(body) {
            let taken = self.credit_out.take(cost);
            debug_assert!(taken, "a unit is picked only within credit");
        }
        match body {
            Body::Packed(packed) => {
                self.queue.pop();
                self.turns.small += u64::from(packed.size);
            }
            Body::Fragment { large, size, .. } => {
                self.large.cut(large, u64::from(size));
                self.turns.large += u64::from(size);
            }
        }
        if self.queue.is_empty() || self.large.is_all_cut() {
            (self.turns.small, self.turns.large) = (0, 0);
        }
        self.units.push(body, number)
    }

    /// A datagram waits, and the congestion window lets it go: it is not repeated, but it is congestion.
    fn may_send_datagram(&self) -> bool {
        !self.datagrams.is_empty() && self.sent.bytes_in_flight() < self.window_now()
    }

    fn datagram_that_fits(&self, room: usize) -> Option<usize> {
        if !self.may_send_datagram() {
            return None;
        }
        let size = self.datagrams.front()?.len();
        (size + wire::DATAGRAM_HEAD_SIZE <= room).then_some(size)
    }

    fn take_datagram(&mut self, out: &mut [u8], shared: &mut Shared) -> usize {
        let Some(bytes) = self.datagrams.pop_front() else { return 0 };
        let mut writer = Writer::new(out);
        wire::encode_datagram(&mut writer, &bytes);
        shared.counters.datagrams_sent += 1;
        writer.position()
    }

    #[expect(clippy::too_many_arguments, reason = "the facts of one packet, all decided by the caller")]
    fn note_sent(
        &mut self,
        now: Timestamp,
        number: u64,
        unit: u64,
        size: usize,
        plan: &Plan,
        frames: &ControlFrames,
        shared: &mut Shared,
    ) {
        let mut carries = frames.carried;
        if let Pick::Again(unit, _) = plan.pick {
            if let Some(before) = self.units.on_resent(unit, number) {
                self.sent.on_repeated(before);
            }
            shared.counters.retransmitted += 1;
            shared.counters.bytes_retransmitted += size as u64;
            carries |= carried::REPEAT;
        }
        if let Pick::Part(part, _) = plan.pick {
            self.note_part_sent(&part, number, shared);
            carries |= carried::PART;
        }
        if plan.pick.beside().is_some() {
            carries |= carried::PAIR;
        }
        let eliciting = unit != NO_UNIT || frames.eliciting;
        if !eliciting {
            self.count_sent(now, size, shared);
            shared.counters.acks_alone += 1;
            self.sent.push_ack_only(now, size as u16);
            return;
        }
        if plan.is_probe {
            self.loss.probes_due -= 1;
            carries |= carried::PROBE;
        }
        self.note_flown(now, &Flown { number, unit, size, ack_largest: frames.ack_largest, carries }, shared);
    }
}

pub(super) enum Sent {
    Packet,
    Nothing,
    NoMemory,
}

fn room_left(packet_size: usize, unit_size: usize, control_size: usize) -> usize {
    packet_size - HEADER_SIZE - TAG_SIZE - unit_size - control_size
}

#[inline(always)]
pub(super) fn encode_header(
    packet: &mut [u8],
    (session, epoch): (wire::SessionId, u8),
    number: u64,
    size: usize,
) {
    let header =
        Header { kind: PacketKind::Data, epoch, length: size as u16, session, number: PacketNumber(number) };
    header.encode(packet);
}
