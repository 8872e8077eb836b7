//! Two pieces of large messages in one packet: the last of one, and the first of the next (P-3.4).
//!
//! ```text
//!  message 7                                         message 8
//!  [16,276][16,276][16,276][16,276][432]             [15,788][16,276] ...
//!                                  `---- one packet ----'
//! ```
//!
//! A message's last piece leaves most of a packet empty. Alone it would end its train, and 64 KiB, which are 29 bytes
//! more than a train carries, would take a second system call at either end for each message. Each piece is a unit of its
//! own: repeated, each goes alone.

use super::write_unit::{charged, unit_size};
use crate::transport::large_out::Piece;
use crate::transport::session::Session;
use crate::transport::units_out::Body;

/// A first piece of less is not worth a second unit: then the packet is padded instead, as a rule.
const PIECE_SIZE_MIN: usize = 128;

impl Session {
    /// What may share the packet of `body`, a new unit, within `budget` bytes of the congestion window.
    // Asked for the budget only where there may be a second: a small unit's packet does not wait for it.
    #[inline(always)]
    pub(super) fn beside(&self, body: Body, budget: impl FnOnce() -> u64) -> Option<Body> {
        match body {
            Body::Packed(_) => None,
            Body::Fragment { .. } => self.piece_beside(body, budget()),
        }
    }

    #[inline(never)]
    fn piece_beside(&self, body: Body, budget: u64) -> Option<Body> {
        let Body::Fragment { large, offset, size } = body else { return None };
        let is_last = offset + u64::from(size) == self.large.total(large);
        // Small messages that wait take their turn first.
        if !is_last || self.queue.peek().is_some() {
            return None;
        }
        let room = self.fragment_size().checked_sub(unit_size(body))?;
        if room < PIECE_SIZE_MIN {
            return None;
        }
        let (index, offset, allowance) = self.large.peek_after(&[piece(large, size)])?;
        let size = allowance.min(room as u64) as u16;
        let second = Body::Fragment { large: index, offset, size };
        let numbers = self.units.next() + 1 - self.units.floor() < u64::from(self.peer.unit_window);
        let in_window = (unit_size(body) + unit_size(second)) as u64 <= budget;
        let cost = charged(body).unwrap_or(0) + charged(second).unwrap_or(0);
        (numbers && in_window && cost <= self.credit_out.available()).then_some(second)
    }

    /// Whether packets of new units follow those with `body` and with `beside`: a smaller last one travels in their train.
    #[inline(always)]
    pub(super) fn more_after(&self, body: Body, beside: Option<Body>) -> bool {
        let large_after = match (body, beside) {
            (Body::Packed(_), _) => self.large.peek().is_some(),
            (Body::Fragment { large, size, .. }, None) => self.large.has_more_after(&[piece(large, size)]),
            (Body::Fragment { large, size, .. }, Some(second)) => {
                self.has_more_after_pair((large, size), second)
            }
        };
        large_after || self.queue.has_second()
    }

    #[inline(never)]
    fn has_more_after_pair(&self, (large, size): (u32, u16), second: Body) -> bool {
        let Body::Fragment { large: next, size: next_size, .. } = second else { return false };
        self.large.has_more_after(&[piece(large, size), piece(next, next_size)])
    }
}

/// Bytes of two units with their heads; of one, where there is no second.
#[inline(always)]
pub(super) fn units_size(body: Body, beside: Option<Body>) -> usize {
    unit_size(body) + beside.map_or(0, unit_size)
}

fn piece(message: u32, size: u16) -> Piece {
    Piece { message, size: u64::from(size) }
}
