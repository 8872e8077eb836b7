//! What is remembered of a packet that left: the last one of a turn once it is on its way.

use crate::time::Timestamp;
use crate::transport::congestion::Controller;
use crate::transport::session::Session;
use crate::transport::shared::Shared;

/// What is noted of a packet whose ack is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flown {
    pub(super) number: u64,
    pub(super) unit: u64,
    pub(super) size: usize,
    pub(super) ack_largest: u64,
    pub(super) carries: u16,
}

impl Session {
    /// A packet of `size` bytes leaves.
    #[inline]
    pub(super) fn count_sent(&mut self, now: Timestamp, size: usize, shared: &mut Shared) {
        shared.counters.packets_sent += 1;
        shared.counters.bytes_sent += size as u64;
        self.timers.last_sent = now;
        self.wake(shared);
    }

    /// Notes the packet that was not noted before it was on its way, if any.
    #[inline]
    pub(crate) fn note_last(&mut self, now: Timestamp, shared: &mut Shared) {
        if let Some(flown) = self.loss.flown.take() {
            self.note_flown(now, &flown, shared);
        }
    }

    /// A packet leaves whose ack is waited for.
    #[inline(never)]
    pub(super) fn note_flown(&mut self, now: Timestamp, packet: &Flown, shared: &mut Shared) {
        let Flown { number, unit, size, ack_largest, carries } = *packet;
        self.count_sent(now, size, shared);
        self.note_flight(now);
        self.sent.push(now, unit, ack_largest, size as u16, carries);
        let flight = self.sent.bytes_in_flight();
        self.congestion.on_sent(now, size as u64, flight);
        self.rate.iter_mut().for_each(|rate| rate.on_sent(number, now, size as u64, flight));
        self.pacer.on_sent(now, size as u64, self.congestion.pace(&self.rtt));
    }
}
