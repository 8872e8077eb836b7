//! Taking packets apart: one function for each kind of frame.
//!
//! Order of events for one packet: opened (tag), not a replay, frames handled, deliveries queued, and
//! only then its number counts as received (RFC 9000 §13.1: no ack before processing).

use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::ack_tracker::Arrival;
use crate::transport::buffer::Buffer;
use crate::transport::congestion::Controller;
use crate::transport::delivery::{Deliveries, DeliveryKind};
use crate::transport::ecn::Mark;
use crate::transport::peer_workers::growth;
use crate::transport::planted::{self, Fault};
use crate::transport::received::{Order, Verdict};
use crate::transport::session::Session;
use crate::transport::session::records_in::OrderedBody;
use crate::transport::session::write_unit::fragment_cost;
use crate::transport::shared::Shared;
use crate::transport::unit_window::UnitVerdict;
use crate::transport::{CloseReason, Event};
use crate::wire::{FragmentUnit, Frame, Frames, Header, MessageId, RecordHeader};

/// What is wrong with a packet whose frames are none.
const UNREADABLE: &str = "a frame that cannot be read";

/// What a packet held, for the ack tracker.
#[derive(Default)]
pub(super) struct Seen {
    eliciting: bool,
    asked: bool,
    /// Its unit was refused for want of room: the packet counts as lost, so that the unit comes again.
    pub(super) refused: bool,
}

impl Session {
    /// Handles one DATA packet of this session, header included. True when it was authentic, new, and
    /// nothing was wrong with it.
    #[inline(always)]
    pub(crate) fn handle_packet(
        &mut self,
        now: Timestamp,
        mark: Mark,
        header: &Header,
        packet: &mut [u8],
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> bool {
        let packet = &mut packet[..usize::from(header.length)];
        if planted::is(Fault::KeyUpdateNotFollowed) && header.epoch > 0 {
            return false;
        }
        // L28, RFC 9000 §13.1: "A packet MUST NOT be acknowledged until packet protection has been successfully
        // removed and all frames contained in the packet have been processed."
        if rarely(self.protector.open(packet).is_err() && !planted::is(Fault::ChecksumNotVerified)) {
            self.note_corrupt(shared);
            return false;
        }
        self.control.arrivals.opened += 1;
        let number = header.number.near(self.received.expected());
        let is_new = self.received.check(number) == Verdict::New || planted::is(Fault::ReplayWindowOff);
        if rarely(!is_new) {
            shared.counters.duplicate_packets += 1;
            self.control.arrivals.duplicate += 1;
            self.control.duplicate_seen = true;
            return false;
        }
        if rarely(self.is_closed()) {
            return false;
        }
        self.timers.last_heard = now;
        // A packet from elsewhere proves nothing of the address that the client asked from (L55).
        self.timers.unproven &= self.path_change.elsewhere.is_some();
        if let Some(since) = self.timers.measured_from {
            self.first_heard(now, since);
        }
        self.wake(shared);
        let frames = &packet[HEADER_SIZE..packet.len() - TAG_SIZE];
        let handled = self.handle_frames(now, frames, shared, deliveries);
        self.settle_packet(now, shared);
        let Some(seen) = handled else { return false };
        // L25, RFC 9002 §4.4: "QUIC does not allow a packet acknowledgment to be reneged": what cannot be kept is
        // not acknowledged.
        if seen.refused {
            return false;
        }
        let order = self.received.insert(number);
        let out_of_order = !matches!(order, Order::Next);
        let (eliciting, asked) = (seen.eliciting, seen.asked);
        let marked = mark == Mark::Experienced;
        // Only what its sender will see acknowledged: more marks than packets would be a lie (L42).
        self.marks.ce = self.marks.ce.wrapping_add(u8::from(marked && eliciting));
        self.marks.bleached |= mark == Mark::None;
        self.acks.on_packet(&Arrival { at: now, number, eliciting, asked, out_of_order, marked });
        true
    }

    /// What most packets hold, and no more, is handled here in a row: an ack, and a unit of small messages that was not seen
    /// before. A round trip waits for it; what anything else has to be asked would stand between.
    #[inline(always)]
    fn handle_frames(
        &mut self,
        now: Timestamp,
        frames: &[u8],
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Option<Seen> {
        let mut seen = Seen::default();
        let mut rest = Frames::new(frames);
        if let Some(ack) = rest.next_ack() {
            let handled = match &ack {
                Ok(ack) => self.on_ack_frame(now, ack, shared),
                Err(_) => Err(UNREADABLE),
            };
            if let Err(what) = handled {
                self.violation(now, what, shared);
                return None;
            }
        }
        if rest.next_ack_request() {
            (seen.eliciting, seen.asked) = (true, true);
        }
        if let Some(unit) = rest.next_messages() {
            seen.eliciting = true;
            let handled = match &unit {
                Ok(unit) => self.on_messages_frame(unit, frames, &mut seen, shared, deliveries),
                Err(_) => Err(UNREADABLE),
            };
            if let Err(what) = handled {
                self.violation(now, what, shared);
                return None;
            }
        }
        if rarely(!rest.is_over()) {
            return self.handle_rest(now, frames, rest, seen, shared, deliveries);
        }
        Some(seen)
    }

    /// Whatever frames there are, in whatever order. `seen` is what came before them in their packet.
    #[inline(never)]
    fn handle_rest(
        &mut self,
        now: Timestamp,
        frames: &[u8],
        rest: Frames<'_>,
        mut seen: Seen,
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Option<Seen> {
        for frame in rest {
            let Ok(frame) = frame else {
                self.violation(now, UNREADABLE, shared);
                return None;
            };
            seen.eliciting |= frame.is_ack_eliciting();
            let handled = match frame {
                Frame::AckRequest => {
                    seen.asked = true;
                    Ok(())
                }
                Frame::Ack(ack) => self.on_ack_frame(now, &ack, shared),
                Frame::Credit { limit } => self.on_credit(limit),
                Frame::Close { code, .. } => {
                    self.fail(now, CloseReason::Peer(code), shared);
                    return None;
                }
                Frame::LaneRequest { .. } | Frame::LaneGrant { .. } => self.on_lane_frame(&frame, shared),
                Frame::Messages(unit) => self.on_messages_frame(&unit, frames, &mut seen, shared, deliveries),
                Frame::Fragment(unit) => {
                    seen.refused |= self.refuses_unit(unit.unit.0, false, shared);
                    if seen.refused { Ok(()) } else { self.on_fragment(&unit, frames, shared, deliveries) }
                }
                Frame::Part(part) => {
                    let handled = self.on_part(&part, frames, shared, deliveries);
                    handled.map(|refused| seen.refused |= refused)
                }
                Frame::Datagram { offset, length } => {
                    shared.counters.datagrams_received += 1;
                    deliveries.push(self.key.index, DeliveryKind::Datagram, HEADER_SIZE + offset, length);
                    Ok(())
                }
                other => {
                    self.on_control(now, &other, shared);
                    Ok(())
                }
            };
            if let Err(what) = handled {
                self.violation(now, what, shared);
                return None;
            }
        }
        Some(seen)
    }

    /// The control frames that are rare, and can only be right.
    fn on_control(&mut self, now: Timestamp, frame: &Frame<'_>, shared: &mut Shared) {
        match *frame {
            Frame::Blocked { message, limit } => self.on_blocked(message, limit, shared),
            Frame::Grant { message, offset } => {
                self.large.on_grant(message, offset);
            }
            Frame::Stats(stats) => self.on_stats(now, &stats, shared),
            Frame::PathChallenge { data } => self.on_path_challenge(data),
            Frame::PathResponse { data } => self.on_path_response(now, data, shared),
            // A PING asks by being there.
            _ => {}
        }
    }

    fn on_credit(&mut self, limit: u64) -> Result<(), &'static str> {
        if self.credit_out.on_limit(limit) {
            self.timers.blocked_probe = None;
            self.timers.blocked_probe_count = 0;
        }
        Ok(())
    }

    /// The peer waits for credit: tell it what it has, even if nothing changed.
    fn on_blocked(&mut self, message: Option<MessageId>, limit: u64, shared: &mut Shared) {
        let Some(message) = message else {
            self.credit_in.on_blocked(limit);
            self.control.credit |= self.credit_in.update_due().is_some();
            return;
        };
        // Memory may have come back from another session since: ask again before answering.
        self.reassemblies.reconsider();
        self.issue_grants(shared);
        if let Some(offset) = self.reassemblies.granted(message).filter(|offset| *offset > limit) {
            self.control.grant(message, offset);
        }
    }

    fn on_stats(&mut self, now: Timestamp, stats: &crate::wire::Stats, shared: &mut Shared) {
        self.ledger.note_peer_drops(stats.socket_drops, shared);
        // To the controller it is news once in each session: each of them helped to fill that buffer.
        let more = growth(&mut self.timers.peer_socket_drops, stats.socket_drops);
        if more > 0 {
            self.congestion.on_peer_drops(now, more);
        }
        // A STATS that a later one overtook tells less.
        let corrupt = stats.corrupt.saturating_sub(self.timers.peer_corrupt);
        shared.counters.peer_corrupt = shared.counters.peer_corrupt.saturating_add(corrupt);
        self.timers.peer_corrupt = self.timers.peer_corrupt.max(stats.corrupt);
    }

    /// True when a unit can neither be delivered nor counted as received: beyond the window, or, for
    /// messages, while those held behind gaps have filled their bound. The lowest missing unit is always
    /// taken: it is the one that can close the gap.
    #[inline(never)]
    pub(super) fn refuses_unit(&self, unit: u64, has_records: bool, shared: &mut Shared) -> bool {
        match self.window.check(unit) {
            UnitVerdict::Beyond => {
                shared.counters.beyond_window += 1;
                true
            }
            UnitVerdict::New => {
                has_records && !self.channels_in.has_room_for_unit() && unit != self.window.floor()
            }
            UnitVerdict::Duplicate => false,
        }
    }

    /// True the first time a unit comes; counts it out when it came before.
    #[inline(never)]
    pub(super) fn admit_unit(&mut self, unit: u64, shared: &mut Shared) -> bool {
        if matches!(self.window.check(unit), UnitVerdict::New) {
            return true;
        }
        shared.counters.duplicate_units += 1;
        self.control.duplicate_seen = true;
        planted::is(Fault::NoDuplicateSuppression)
    }

    pub(super) fn mark_unit(&mut self, unit: u64, shared: &mut Shared) {
        if matches!(self.window.check(unit), UnitVerdict::New) {
            self.mark_new_unit(unit, shared);
        } else if self.path_change.parts_in.is_some() {
            self.forget_parts_in(unit, shared);
        }
    }

    /// [`Session::mark_unit`] for one that the window called new.
    #[inline(always)]
    pub(super) fn mark_new_unit(&mut self, unit: u64, shared: &mut Shared) {
        if rarely(self.path_change.parts_in.is_some()) {
            self.forget_parts_in(unit, shared);
        }
        self.window.insert(unit);
    }

    pub(super) fn on_fragment(
        &mut self,
        unit: &FragmentUnit,
        frames: &[u8],
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        if !self.admit_unit(unit.unit.0, shared) {
            return Ok(());
        }
        let cost = fragment_cost(unit.header.offset, unit.length);
        if let Some(cost) = cost {
            self.charge(cost)?;
        }
        let data = &frames[unit.data_offset..unit.data_offset + unit.length];
        let progress = self
            .reassemblies
            .on_fragment(&unit.header, data, cost.unwrap_or(0), &mut shared.reserve)
            .map_err(|_| "fragments that do not make a message")?;
        self.mark_unit(unit.unit.0, shared);
        self.consumed(progress.credit, shared);
        if let Some(complete) = progress.complete {
            shared.reserve.give_back(complete.reserved);
            self.consumed(complete.credit, shared);
            self.control.forget_grant(complete.message);
            self.deliver_large(&complete.record, complete.buffer, shared, deliveries)?;
        }
        self.issue_grants(shared);
        Ok(())
    }

    fn deliver_large(
        &mut self,
        record: &RecordHeader,
        bytes: Buffer,
        shared: &mut Shared,
        deliveries: &mut Deliveries,
    ) -> Result<(), &'static str> {
        if let RecordHeader::Ordered { channel, sequence } = *record {
            return self.on_ordered(channel, sequence, OrderedBody::Owned(bytes), shared, deliveries);
        }
        if let Some(kind) = self.kind_of(record, shared)? {
            shared.counters.payload_delivered += bytes.len() as u64;
            deliveries.push_owned(self.key.index, kind, bytes);
        }
        Ok(())
    }

    /// Grants what the budget allows to large messages in reassembly, shortest remaining first.
    pub(crate) fn issue_grants(&mut self, shared: &mut Shared) {
        let share = shared.credit_share(self.rtt.min_ns());
        let mut grants = std::mem::take(&mut shared.grants);
        let freed = self.reassemblies.next_grants(share, &mut shared.reserve, &mut grants);
        for grant in grants.drain(..) {
            self.control.grant(grant.message, grant.offset);
        }
        shared.grants = grants;
        self.consumed(freed, shared);
    }

    /// The application has what `cost` was charged for: its credit goes back.
    #[inline(always)]
    pub(super) fn consumed(&mut self, cost: u64, shared: &Shared) {
        self.credit_in.consume(cost);
        self.credit_in.set_share(shared.credit_share(self.rtt.min_ns()));
        self.control.credit |= self.credit_in.update_due().is_some();
    }

    pub(super) fn charge(&mut self, cost: u64) -> Result<(), &'static str> {
        self.credit_in.charge(cost).map_err(|_| "more bytes than the session's credit")
    }

    /// Reports the session as usable.
    pub(crate) fn announce(&self, shared: &mut Shared) {
        shared.counters.sessions_opened += 1;
        let (session, accepted, peer_boot) = (self.key, self.accepted, self.peer_boot);
        shared.events.push(Event::Opened { session, accepted, peer_boot });
    }
}
