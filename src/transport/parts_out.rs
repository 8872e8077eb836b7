//! Units on their way in parts: cut for larger packets than their path carries now (P-5.9).
//!
//! ```text
//!  unit 44, 8,840 bytes     [ acked ][ in flight ][ lost ][ not cut yet            ]
//!                            0        1,052        2,104   3,156                 8,840
//! ```
//!
//! Invariant: every byte of a unit is acknowledged, in flight, lost, or behind `cut`.

use std::collections::VecDeque;

use super::cover::Cover;
use super::units_out::Body;

/// One part to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which unit.
    pub unit: u64,
    /// Its first byte.
    pub start: u16,
    /// Behind its last.
    pub end: u16,
    /// Bytes of the unit.
    pub total: u16,
}

impl Part {
    /// Its bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        usize::from(self.end - self.start)
    }
}

/// The units of one session that travel in parts, in the order of their numbers.
#[derive(Debug, Default)]
pub struct PartsOut {
    units: VecDeque<Parted>,
}

#[derive(Debug)]
struct Parted {
    unit: u64,
    body: Body,
    total: u16,
    cut: u16,
    acked: Cover,
    in_flight: Vec<Sent>,
    /// Declared lost; an ack may yet say otherwise.
    lost: Vec<Sent>,
}

/// A part that left in packet `number`.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    start: u16,
    end: u16,
}

impl Parted {
    fn part(&self, (start, end): (u16, u16)) -> Part {
        Part { unit: self.unit, start, end, total: self.total }
    }

    /// Whether a part under way holds byte `at`.
    fn flies(&self, at: u16) -> bool {
        self.in_flight.iter().any(|sent| (sent.start..sent.end).contains(&at))
    }

    /// What is to be sent, lost bytes first, at most `size_max` of them.
    fn next(&self, size_max: usize) -> Option<Part> {
        let size_max = u16::try_from(size_max).unwrap_or(u16::MAX);
        for lost in &self.lost {
            let mut from = lost.start;
            while from < lost.end {
                let Some((start, end)) = self.acked.missing(from, lost.end) else { break };
                if !self.flies(start) {
                    return Some(self.part((start, end.min(start.saturating_add(size_max)))));
                }
                let over = self.in_flight.iter().filter(|sent| sent.start <= start && start < sent.end);
                from = over.map(|sent| sent.end).max().unwrap_or(end);
            }
        }
        let rest = (self.cut, self.total.min(self.cut.saturating_add(size_max)));
        (rest.0 < rest.1).then(|| self.part(rest))
    }
}

impl PartsOut {
    /// `unit`, of `total` bytes with its head, goes on in parts.
    pub fn begin(&mut self, unit: u64, body: Body, total: u16) {
        let at = self.units.partition_point(|parted| parted.unit < unit);
        if self.units.get(at).is_some_and(|parted| parted.unit == unit) {
            return;
        }
        let (acked, in_flight, lost) = (Cover::default(), Vec::new(), Vec::new());
        self.units.insert(at, Parted { unit, body, total, cut: 0, acked, in_flight, lost });
    }

    /// The next part to send, of at most `size_max` bytes, and the unit it is of: the lowest that lacks one.
    #[must_use]
    pub fn peek(&self, size_max: usize) -> Option<(Part, Body)> {
        self.units.iter().find_map(|parted| Some((parted.next(size_max)?, parted.body)))
    }

    /// What a probe of `unit` carries: what is to be sent anyway, or the first bytes not acknowledged.
    #[must_use]
    pub fn probe(&self, unit: u64, size_max: usize) -> Option<(Part, Body)> {
        let parted = &self.units[self.find(unit)?];
        let first = || {
            let (start, end) = parted.acked.missing(0, parted.total)?;
            let size_max = u16::try_from(size_max).unwrap_or(u16::MAX);
            Some(parted.part((start, end.min(start.saturating_add(size_max)))))
        };
        Some((parted.next(size_max).or_else(first)?, parted.body))
    }

    /// `part` leaves in packet `number`.
    pub fn on_sent(&mut self, part: &Part, number: u64) {
        let Some(at) = self.find(part.unit) else { return };
        let parted = &mut self.units[at];
        parted.in_flight.push(Sent { number, start: part.start, end: part.end });
        parted.cut = parted.cut.max(part.end);
    }

    /// Packet `number`, which carried a part of `unit`, was acknowledged. True when that was the last the
    /// unit lacked: it is forgotten here.
    pub fn on_acked(&mut self, unit: u64, number: u64) -> bool {
        let Some(at) = self.find(unit) else { return false };
        let parted = &mut self.units[at];
        for list in [&mut parted.in_flight, &mut parted.lost] {
            if let Some(place) = list.iter().position(|sent| sent.number == number) {
                let Sent { start, end, .. } = list.swap_remove(place);
                parted.acked.add(start, end);
                break;
            }
        }
        let whole = parted.acked.is_whole(parted.total);
        if whole {
            self.units.remove(at);
        }
        whole
    }

    /// Packet `number`, which carried a part of `unit`, was declared lost.
    pub fn on_lost(&mut self, unit: u64, number: u64) {
        let Some(at) = self.find(unit) else { return };
        let parted = &mut self.units[at];
        let Some(place) = parted.in_flight.iter().position(|sent| sent.number == number) else { return };
        let sent = parted.in_flight.swap_remove(place);
        // What was sent again since needs no second entry: each would be looked through at every send.
        parted.lost.retain(|old| old.start < sent.start || old.end > sent.end);
        parted.lost.push(sent);
    }

    /// The peer has `unit`, however it came by it.
    pub fn forget(&mut self, unit: u64) {
        if let Some(at) = self.find(unit) {
            self.units.remove(at);
        }
    }

    /// True when no unit travels in parts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    fn find(&self, unit: u64) -> Option<usize> {
        let at = self.units.partition_point(|parted| parted.unit < unit);
        (self.units.get(at)?.unit == unit).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const BODY: Body = Body::Fragment { large: 0, offset: 0, size: 1 };

    fn send(parts: &mut PartsOut, size_max: usize, number: u64) -> Option<(u16, u16)> {
        let (part, _) = parts.peek(size_max)?;
        parts.on_sent(&part, number);
        Some((part.start, part.end))
    }

    #[test]
    fn a_unit_is_cut_in_order_and_is_done_when_each_part_is_acknowledged() {
        let mut parts = PartsOut::default();
        parts.begin(7, BODY, 2_500);
        let cut: Vec<_> = (0..4).filter_map(|number| send(&mut parts, 1_000, number)).collect();
        assert_eq!(cut, [(0, 1_000), (1_000, 2_000), (2_000, 2_500)]);
        assert!(!parts.on_acked(7, 2));
        assert!(!parts.on_acked(7, 0));
        assert!(!parts.on_acked(7, 0), "an ack that comes twice adds nothing");
        assert!(parts.on_acked(7, 1));
        assert!(parts.is_empty());
    }

    #[test]
    fn a_lost_part_is_cut_anew_for_the_size_of_the_day() {
        let mut parts = PartsOut::default();
        parts.begin(7, BODY, 2_000);
        send(&mut parts, 1_300, 0);
        parts.on_lost(7, 0);
        assert_eq!(send(&mut parts, 1_000, 1), Some((0, 1_000)));
        assert_eq!(send(&mut parts, 1_000, 2), Some((1_000, 1_300)));
        assert_eq!(send(&mut parts, 1_000, 3), Some((1_300, 2_000)));
        assert_eq!(send(&mut parts, 1_000, 4), None);
        assert!(!parts.on_acked(7, 0), "it was not lost after all: two parts of it need not be waited for");
        parts.on_lost(7, 1);
        parts.on_lost(7, 2);
        assert_eq!(send(&mut parts, 1_000, 5), None);
        assert!(parts.on_acked(7, 3));
    }

    #[test]
    fn units_go_in_the_order_of_their_numbers_and_a_probe_repeats_the_first_byte_that_lacks() {
        let mut parts = PartsOut::default();
        parts.begin(9, BODY, 1_500);
        parts.begin(7, BODY, 1_500);
        parts.begin(7, BODY, 1_500);
        let units: Vec<u64> = (0..4)
            .map(|number| {
                let (part, _) = parts.peek(1_000).expect("four parts are to be sent");
                parts.on_sent(&part, number);
                part.unit
            })
            .collect();
        assert_eq!(units, [7, 7, 9, 9]);
        assert!(parts.peek(1_000).is_none());
        parts.on_acked(7, 0);
        let probe = parts.probe(7, 1_000).map(|(part, _)| (part.start, part.end));
        assert_eq!(probe, Some((1_000, 1_500)));
        parts.forget(7);
        assert!(parts.probe(7, 1_000).is_none());
    }

    #[test]
    fn every_unit_arrives_whole_whatever_is_lost_and_however_often_the_size_changes() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut parts = PartsOut::default();
            let totals: Vec<u16> = (0..4).map(|_| 12 + rng.below(16_000) as u16).collect();
            let mut arrived: Vec<Vec<bool>> = totals.iter().map(|&t| vec![false; usize::from(t)]).collect();
            for (unit, &total) in totals.iter().enumerate() {
                parts.begin(unit as u64, BODY, total);
            }
            let (mut flying, mut number) = (Vec::new(), 0);
            let mut steps = 0;
            while !parts.is_empty() {
                steps += 1;
                assert!(steps < 100_000, "seed {seed}: {parts:?}");
                let size_max = 200 + rng.below(3_000) as usize;
                if let Some((part, _)) = parts.peek(size_max) {
                    assert!(part.size() <= size_max);
                    parts.on_sent(&part, number);
                    flying.push((number, part));
                    number += 1;
                }
                if flying.is_empty() || rng.chance(0.5) {
                    continue;
                }
                let (number, part) = flying.swap_remove(rng.below(flying.len() as u64) as usize);
                let arrives = rng.chance(0.6);
                if arrives {
                    let unit = &mut arrived[part.unit as usize];
                    unit[usize::from(part.start)..usize::from(part.end)].fill(true);
                }
                // Some are declared lost that arrived; the ack of some comes later than that, or never.
                let acked = arrives && rng.chance(0.9);
                if !acked || rng.chance(0.2) {
                    parts.on_lost(part.unit, number);
                }
                if acked && parts.on_acked(part.unit, number) {
                    assert!(arrived[part.unit as usize].iter().all(|&there| there), "seed {seed}");
                }
            }
        }
    }
}
