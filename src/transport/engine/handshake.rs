//! What both halves of the handshake share.

use crate::bounds::{HEADER_SIZE, PACKET_SIZE_MIN, TAG_SIZE, UNIT_WINDOW_MAX, UNIT_WINDOW_MIN};
use crate::crypto::Protector;
use crate::time::Timestamp;
use crate::transport::engine::Engine;
use crate::transport::engine::table::Slot;
use crate::transport::quota::Allowance;
use crate::transport::security::Admission;
use crate::transport::{CloseReason, Config, Event, PathIndex};
use crate::wire::{Bounds, Header};

impl Engine {
    /// What this side tells a peer in the handshake that may take `allowance`: never more than that in
    /// one session.
    pub(super) fn bounds(&self, allowance: &Allowance) -> Bounds {
        let config = &self.config;
        Bounds {
            packet_size_max: config.packet_size_max as u32,
            unit_window: config.unit_window,
            call_slots: config.call_slots.min(allowance.calls),
            message_size_max: config.message_size_max.min(allowance.reassembly),
            credit: self.shared.initial_credit(),
            max_ack_delay_ns: config.max_ack_delay.as_nanos() as u32,
            idle_timeout_ms: config.idle_timeout.as_millis() as u32,
            lanes: config.lanes.min(allowance.lanes.saturating_add(1)).max(1),
        }
    }

    /// The body of a handshake packet, if it came undamaged.
    pub(super) fn body<'a>(&mut self, header: &Header, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        self.shared.counters.handshakes_received += 1;
        let packet = &mut packet[..usize::from(header.length)];
        if Protector::handshake().open(packet).is_err() {
            self.shared.counters.corrupt += 1;
            return None;
        }
        let end = packet.len() - TAG_SIZE;
        Some(&packet[HEADER_SIZE..end])
    }

    pub(super) fn route_size(&mut self, path: PathIndex) -> usize {
        match self.shared.paths.route_size(path) {
            Some(size) => size,
            None => {
                self.routes_wanted.push(path);
                PACKET_SIZE_MIN
            }
        }
    }

    /// A session that was asked for will not open.
    pub(super) fn end_unopened(&mut self, index: u32, reason: CloseReason) {
        self.timers.cancel(index);
        if let Some(session) = self.table.remove(index) {
            self.shared.events.push(Event::Closed { session, reason });
        }
    }

    /// The same for one that asks by a handshake of its own.
    pub(super) fn end_connecting(&mut self, now: Timestamp, index: u32, reason: CloseReason) {
        let place = match self.table.slot(index) {
            Slot::Connecting(connecting) if connecting.has_place => Some(connecting.path()),
            _ => None,
        };
        self.end_unopened(index, reason);
        if let Some(path) = place {
            self.give_place(now, path);
        }
    }

    /// A place to ask from on `path` is free: the next in line has it.
    pub(super) fn give_place(&mut self, now: Timestamp, path: PathIndex) {
        while let Some(next) = self.asking.leave(path) {
            if self.begin_asking(now, next) {
                return;
            }
        }
    }
}

/// What a peer may take that the gate gave `own`.
pub(super) fn allowance(config: &Config, own: &Admission) -> Allowance {
    Allowance::decide(&own.quotas, &config.quotas, config.message_size_max)
}

pub(super) fn copy(from: &[u8], to: &mut [u8]) -> usize {
    to[..from.len()].copy_from_slice(from);
    from.len()
}

pub(super) fn is_workable(bounds: &Bounds) -> bool {
    bounds.packet_size_max as usize >= PACKET_SIZE_MIN
        && (UNIT_WINDOW_MIN..=UNIT_WINDOW_MAX).contains(&bounds.unit_window)
        && bounds.unit_window.is_power_of_two()
}
