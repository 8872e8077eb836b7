//! Control frames that wait for a packet. They are not repeated: each is made anew from what is true
//! when the next packet leaves (RFC 9000 §13.3).

use crate::time::Timestamp;
use crate::wire::MessageId;

/// What the next packets should say beside acks and units.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Something ack-eliciting is wanted, and nothing else may be there to carry it.
    pub(super) ping: bool,
    /// The next packet asks for an ack at once.
    pub(super) ask: bool,
    /// CREDIT is due.
    pub(super) credit: bool,
    /// BLOCKED is due.
    pub(super) blocked: bool,
    /// The message and limit its BLOCKED was last said at.
    pub(super) message_blocked_at: Option<(MessageId, u64)>,
    /// GRANTs due, newest value of each message.
    pub(super) grants: Vec<(MessageId, u64)>,
    /// GRANTs sent and not known to have arrived, regenerated when a packet with grants is lost.
    pub(super) granted: Vec<(MessageId, u64)>,
    /// STATS is due.
    pub(super) stats: bool,
    /// And at once, if nothing else leaves.
    pub(super) stats_alone: bool,
    /// What it tells.
    pub(super) arrivals: Arrivals,
    /// A duplicate was seen since the last ack.
    pub(super) duplicate_seen: bool,
    /// Lanes are to be asked for, or granted.
    pub(super) lanes: bool,
}

/// What arrived on this session: what STATS tells (P-3.16).
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) opened: u64,
    pub(super) duplicate: u64,
    pub(super) corrupt: u64,
    /// Damage that the peer was not told of.
    pub(super) untold: bool,
    /// When it was last told.
    pub(super) told_at: Timestamp,
}

impl Control {
    /// True when a packet is wanted for control's own sake.
    #[inline]
    pub(super) fn wants_packet(&self) -> bool {
        // Nearly always false: one test of all is less than six in turn.
        self.ping | self.credit | self.blocked | self.stats_alone | self.lanes | !self.grants.is_empty()
    }

    /// Message `id` may be sent up to `offset`.
    pub(super) fn grant(&mut self, id: MessageId, offset: u64) {
        for list in [&mut self.grants, &mut self.granted] {
            match list.iter_mut().find(|(m, _)| *m == id) {
                Some(entry) => entry.1 = entry.1.max(offset),
                None => list.push((id, offset)),
            }
        }
    }

    /// A packet with grants was lost: say those that still matter again.
    pub(super) fn regrant(&mut self) {
        for i in 0..self.granted.len() {
            let (id, offset) = self.granted[i];
            self.grant(id, offset);
        }
    }

    /// Gives the memory back, for a session that goes idle.
    pub(super) fn release(&mut self) {
        for list in [&mut self.grants, &mut self.granted] {
            list.shrink_to_fit();
        }
    }

    /// Message `id` has arrived whole: its grants no longer matter.
    pub(super) fn forget_grant(&mut self, id: MessageId) {
        self.grants.retain(|(m, _)| *m != id);
        self.granted.retain(|(m, _)| *m != id);
    }
}
