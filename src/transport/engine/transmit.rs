//! Letting sessions speak: whose turn it is, how much leaves, and what is done while it is on its way.

use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::engine::Engine;
use crate::transport::engine::table::Slot;
use crate::transport::sink::{Extent, PacketSink};

/// A session that was let speak.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoke {
    index: u32,
    /// Memory ran out before it had said everything.
    more: bool,
}

impl Engine {
    /// True when a session has something to say, so that [`Engine::poll_transmit`] is worth a call.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        !self.ready.is_empty() || !self.heard.is_empty() || !self.stateless.is_empty()
    }

    /// Builds every packet that may leave now and has `sink` send them. What those packets did not need
    /// is done while they are on their way: the last ack is read, and timers are set.
    pub fn poll_transmit(&mut self, now: Timestamp, extent: Extent, sink: &mut impl PacketSink) {
        if rarely(!self.stateless.is_empty()) {
            self.transmit_stateless(sink);
        }
        if extent == Extent::All {
            self.list_heard();
        }
        loop {
            self.transmit_ready(now, extent, sink);
            sink.depart();
            (0..self.spoke.len()).for_each(|i| self.note_flown(now, i));
            if !self.shared.late_ack.is_waiting() {
                break;
            }
            self.settle_ack(now);
            if self.ready.is_empty() {
                break;
            }
        }
        for i in 0..self.spoke.len() {
            let Spoke { index, more } = self.spoke[i];
            self.settle_slot(now, index, sink);
            if more {
                self.touch(index);
            }
        }
        self.spoke.clear();
        sink.depart();
    }

    /// Notes the packet that the `i`-th session left unnoted while it was not on its way.
    #[inline]
    fn note_flown(&mut self, now: Timestamp, i: usize) {
        if let Slot::Open(session) = self.table.slot_mut(self.spoke[i].index) {
            session.note_last(now, &mut self.shared);
        }
    }

    /// Sessions that a packet came for since everything last left, and that said nothing then; one that is heard again once it
    /// has spoken counts again.
    #[must_use]
    pub fn heard(&self) -> usize {
        self.heard.len()
    }

    /// Nothing more is to come of what was heard: those sessions say what they have to, be it an ack alone.
    #[inline]
    fn list_heard(&mut self) {
        // In the order in which they were heard, before those that were only touched since.
        while let Some(index) = self.heard.pop() {
            // The session may have ended, and another may have its slot.
            if let Slot::Open(session) = self.table.slot_mut(index)
                && std::mem::take(&mut session.listed.heard)
                && !std::mem::replace(&mut session.listed.ready, true)
            {
                self.ready.push_front(index);
            }
        }
    }

    /// Lets every listed slot say what it has to. One whose open unit stays back is listed again.
    #[inline(always)]
    fn transmit_ready(&mut self, now: Timestamp, extent: Extent, sink: &mut impl PacketSink) {
        let mut turns = if extent == Extent::FullUnits { self.ready.len() } else { usize::MAX };
        while turns > 0
            && let Some(index) = self.ready.pop_front()
        {
            turns -= 1;
            let Slot::Open(session) = self.table.slot_mut(index) else {
                self.transmit_unopened(now, index, sink);
                continue;
            };
            session.listed.ready = false;
            // It says now what it owes for what it heard.
            session.listed.heard = false;
            if rarely(session.is_suspected()) && session.transmit_origin(now, sink) {
                self.shared.counters.handshakes_sent += 1;
            }
            let more = !session.transmit(now, extent, &mut self.shared, sink);
            if extent == Extent::FullUnits && session.has_more(now) {
                session.listed.ready = true;
                self.ready.push_back(index);
            }
            self.spoke.push(Spoke { index, more });
        }
    }

    /// [`Engine::transmit_ready`] for a slot without an open session.
    #[cold]
    fn transmit_unopened(&mut self, now: Timestamp, index: u32, sink: &mut impl PacketSink) {
        if let Slot::Connecting(_) = self.table.slot_mut(index) {
            self.transmit_connecting(now, index, sink);
        } else {
            self.transmit_closing(now, index, sink);
        }
    }

    /// What remains to be done for a session that spoke: its timer, or its end.
    fn settle_slot(&mut self, now: Timestamp, index: u32, sink: &mut impl PacketSink) {
        let Slot::Open(session) = self.table.slot_mut(index) else { return };
        session.settle(&mut self.shared);
        session.arm_blocked_probe(now);
        session.poll_flushed(now, &mut self.shared);
        if rarely(session.is_closed()) {
            return self.end_session(now, index, sink);
        }
        if let Some(due) = session.due() {
            self.timers.arm_session(index, due);
        }
    }

    /// Reads the ack that waits, which may let its session send more.
    pub(super) fn settle_ack(&mut self, now: Timestamp) {
        let Some(index) = self.shared.late_ack.session() else { return };
        if let Slot::Open(session) = self.table.slot_mut(index) {
            session.settle_ack(now, &mut self.shared);
            // The ack that it owes itself waits with it among those that were heard.
            if session.has_more_than_ack(now) {
                self.touch(index);
            }
        }
    }
}
