//! What must hold whatever happens to fragments, to acks and between two peers. The fuzz targets `pieces`,
//! `acked` and `peers` and the replay of their committed seeds run these functions.
//!
//! Each reads its bytes as a script, plays it against the product's own parts and an oracle that is too
//! simple to be wrong, panics when they differ, and returns how many steps did something.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::bounds::{ACK_RANGES_MAX, UNGRANTED_SIZE_MAX};
use crate::sim::contents::{Purpose, contents, id_of, is_contents};
use crate::testing::{Pair, pair};
use crate::time::Timestamp;
use crate::transport::reassembly::{Reassemblies, ReassemblyError, Reserve};
use crate::transport::received::{Received, Verdict};
use crate::transport::sent::{Acked, NO_UNIT, SentPackets, Thresholds};
use crate::wire::{FragmentHeader, MessageId, RecordHeader};
use crate::worker::impair::{ImpairSpec, Probability};
use crate::worker::{App, Cx, Event, Message, Outcome, ReplyWriter, Request};

/// Fragments in any order and of any shape, eight bytes each: message, flags, offset, length, total. A
/// message comes out once, when its last byte came, with each byte in its place; a fragment that does not
/// fit is refused, and for the reason that is true; memory set aside is some message's.
///
/// # Panics
/// When one of these does not hold.
#[must_use]
pub fn pieces(bytes: &[u8]) -> usize {
    let mut play = Pieces {
        reassemblies: Reassemblies::new(PIECES_SIZE_MAX),
        reserve: Reserve::new(2 * PIECES_SIZE_MAX),
        begun: BTreeMap::new(),
        done: 0,
    };
    for step in bytes.chunks_exact(8) {
        let word = |at: usize| u64::from(u16::from_le_bytes([step[at], step[at + 1]]));
        let message = u64::from(step[0] & 7) + 8 * play.done;
        let (offset, length, total) = (word(2) * 4, word(4) & 0x3fff, word(6) * 4 + 1);
        let total = play
            .begun
            .get(&message)
            .map_or(total, |begun| if step[1] & 4 != 0 { total } else { begun.total });
        let offset = if step[1] & 2 != 0 { offset } else { play.first_gap(message).min(total) };
        let length = if step[1] & 8 != 0 { length } else { length.min(total.saturating_sub(offset)) };
        if !play.fragment(message, offset, length, total) {
            break;
        }
        if step[1] & 1 != 0 {
            play.grant(word(4) * 16);
        }
    }
    play.reassemblies.clear(&mut play.reserve);
    assert_eq!(play.reserve.taken(), 0, "memory of messages that are gone");
    play.done as usize + play.begun.len()
}

/// The largest message of [`pieces`].
const PIECES_SIZE_MAX: u64 = 200_000;

struct Pieces {
    reassemblies: Reassemblies,
    reserve: Reserve,
    begun: BTreeMap<u64, Begun>,
    done: u64,
}

/// The oracle of one message: every byte by itself.
struct Begun {
    total: u64,
    granted: u64,
    came: Vec<bool>,
}

fn byte(message: u64, at: u64) -> u8 {
    ((at ^ message << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Pieces {
    fn first_gap(&self, message: u64) -> u64 {
        let gap = |begun: &Begun| begun.came.iter().position(|came| !came).unwrap_or(0) as u64;
        self.begun.get(&message).map_or(0, gap)
    }

    /// False when the fragment was refused: a session would end.
    fn fragment(&mut self, message: u64, offset: u64, length: u64, total: u64) -> bool {
        let end = offset + length;
        let data: Vec<u8> = (offset..end).map(|at| byte(message, at)).collect();
        let header =
            FragmentHeader { record: RecordHeader::Message, message: MessageId(message), offset, total };
        let progress = match self.reassemblies.on_fragment(&header, &data, 1, &mut self.reserve) {
            Ok(progress) => progress,
            Err(error) => {
                assert!(self.explains(&error, message, (offset, end), total), "{error} is not true");
                return false;
            }
        };
        let begun = self.begun.entry(message).or_insert_with(|| Begun {
            total,
            granted: total.min(UNGRANTED_SIZE_MAX),
            came: vec![false; total as usize],
        });
        assert!(total == begun.total && end <= begun.granted && length > 0, "what does not fit was taken");
        for came in &mut begun.came[offset as usize..end as usize] {
            assert!(!std::mem::replace(came, true), "a byte was taken twice");
        }
        let whole = begun.came.iter().all(|came| *came);
        assert_eq!(progress.complete.is_some(), whole, "it comes out with its last byte");
        if let Some(complete) = progress.complete {
            let right = (0..total).all(|at| complete.buffer[at as usize] == byte(message, at));
            assert!(complete.buffer.len() as u64 == total && right, "each byte in its place");
            self.reserve.give_back(complete.reserved);
            self.reserve.recycle(complete.buffer);
            self.begun.remove(&message);
            self.done += 1;
        }
        assert_eq!(self.reserve.taken(), self.reassemblies.reserved_size());
        true
    }

    fn explains(&self, error: &ReassemblyError, message: u64, (offset, end): (u64, u64), total: u64) -> bool {
        let begun = self.begun.get(&message);
        match error {
            ReassemblyError::TooLarge { .. } => total > PIECES_SIZE_MAX,
            ReassemblyError::Empty { .. } => offset == end,
            ReassemblyError::PastEnd { .. } => end > total,
            ReassemblyError::PastGrant { .. } => {
                end > begun.map_or(total.min(UNGRANTED_SIZE_MAX), |begun| begun.granted)
            }
            ReassemblyError::Changed { .. } => begun.is_some_and(|begun| begun.total != total),
            ReassemblyError::Overlap { .. } => {
                let twice = |begun: &Begun| begun.came[offset as usize..end as usize].contains(&true);
                begun.is_some_and(twice)
            }
            ReassemblyError::TooManyGaps { .. } | ReassemblyError::TooMany => begun
                .is_none_or(|begun| begun.came.windows(2).filter(|pair| pair[0] != pair[1]).count() > 1_000),
        }
    }

    fn grant(&mut self, share: u64) {
        let mut grants = Vec::new();
        self.reassemblies.next_grants(share, &mut self.reserve, &mut grants);
        for grant in grants {
            let begun = self.begun.get_mut(&grant.message.0).expect("a grant is for a message in pieces");
            assert!(grant.offset > begun.granted && grant.offset <= begun.total, "grants only grow");
            begun.granted = grant.offset;
        }
        assert_eq!(self.reserve.taken(), self.reassemblies.reserved_size());
    }
}

/// Packets sent, lost, doubled and late, and acks of them that are lost themselves, two bytes a step. An ack
/// names nothing that did not come, a packet is told acknowledged once, what is in flight is what was sent
/// and neither, and the window that drops replays knows each number it was given.
///
/// # Panics
/// When one of these does not hold.
#[must_use]
pub fn acked(bytes: &[u8]) -> usize {
    let mut play = Acks::default();
    for step in bytes.chunks_exact(2) {
        let far = u64::from(step[1]);
        match step[0] & 7 {
            0..=2 => play.send(far),
            3 => play.arrive(play.sent.next().saturating_sub(1 + far)),
            4 | 5 => play.ack(step[0] & 8 != 0),
            6 => play.lose(1 + far % 8),
            _ => play.now = play.now.after_ns(far * far * 10),
        }
        play.check();
    }
    play.steps
}

#[derive(Default)]
struct Acks {
    now: Timestamp,
    sent: SentPackets,
    received: Received,
    came: BTreeSet<u64>,
    in_flight: BTreeMap<u64, u64>,
    lost: BTreeSet<u64>,
    told: BTreeSet<u64>,
    largest_acked: Option<u64>,
    steps: usize,
}

impl Acks {
    /// Sends a packet; it arrives now unless `how` says otherwise.
    fn send(&mut self, how: u64) {
        let size = 100 + how;
        let number = self.sent.push(self.now, NO_UNIT, 0, size as u16, 0);
        self.in_flight.insert(number, size);
        if !how.is_multiple_of(4) {
            self.arrive(number);
        }
    }

    fn arrive(&mut self, number: u64) {
        if number >= self.sent.next() {
            return;
        }
        let far = self.received.largest().is_some_and(|largest| largest.saturating_sub(number) >= REPLAYED);
        let verdict = self.received.check(number);
        match verdict {
            Verdict::New => assert!(self.came.insert(number), "{number} came before and is called new"),
            Verdict::Duplicate => return assert!(self.came.contains(&number), "{number} never came"),
            Verdict::TooOld => return assert!(far, "{number} is near enough to be known"),
        }
        let _ = self.received.insert(number);
        self.steps += 1;
    }

    /// The receiver acknowledges, and the ack arrives unless it is lost.
    fn ack(&mut self, is_lost: bool) {
        let ranges: Vec<(u64, u64)> = self.received.ranges().collect();
        assert!(ranges.len() <= ACK_RANGES_MAX);
        assert!(ranges.windows(2).all(|pair| pair[1].1 + 1 < pair[0].0), "newest first, and apart");
        for &(low, high) in &ranges {
            assert!((low..=high).all(|number| self.came.contains(&number)), "an ack of what never came");
        }
        if is_lost {
            return;
        }
        let Some(&(_, largest)) = ranges.first() else { return };
        assert_eq!(Some(largest), self.received.largest());
        self.largest_acked = self.largest_acked.max(Some(largest));
        for (low, high) in ranges {
            let (in_flight, lost, told) = (&mut self.in_flight, &mut self.lost, &mut self.told);
            self.sent.on_ack_range(low, high, |number, acked| {
                assert!(told.insert(number), "{number} was told acknowledged twice");
                match acked {
                    Acked::Newly(_) => assert!(in_flight.remove(&number).is_some()),
                    Acked::Spurious(_) => assert!(lost.remove(&number)),
                    Acked::NeverSent => panic!("every number was sent"),
                }
            });
        }
        // The peer has this ack: what it covers need not be told again.
        self.received.prune_below(largest);
        self.steps += 1;
    }

    fn lose(&mut self, threshold: u64) {
        let Some(largest) = self.largest_acked else { return };
        let mut lost = Vec::new();
        let thresholds = Thresholds { packets: threshold, time_ns: 50_000, measured_at: None };
        self.sent.detect_lost(self.now, largest, &thresholds, &mut lost);
        for (number, packet) in lost {
            assert!(number < largest, "nothing sent after what was acknowledged is lost");
            assert_eq!(self.in_flight.remove(&number), Some(u64::from(packet.size)));
            self.lost.insert(number);
            self.steps += 1;
        }
    }

    fn check(&self) {
        assert_eq!(self.sent.bytes_in_flight(), self.in_flight.values().sum::<u64>());
        assert_eq!(self.sent.packets_in_flight(), self.in_flight.len() as u64);
    }
}

/// Packet numbers this far below the largest are known for certain (P-5.8).
const REPLAYED: u64 = 4_096;

/// Two workers that send to each other over a network that the script makes worse and better, four bytes a
/// step. When it is over and the network behaves, everything accepted has arrived once and unchanged, and
/// every call ended.
///
/// # Panics
/// When one of these does not hold.
#[must_use]
pub fn peers(bytes: &[u8]) -> usize {
    let mut pair = pair(u64::from(bytes.first().copied().unwrap_or(0)), Talker::default(), Talker::default());
    let (mut accepted, mut calls) = ([0_u64; 2], 0_u64);
    for step in bytes.chunks_exact(4).take(PEERS_STEPS_MAX) {
        let size = (u32::from(step[2]) << 8 | u32::from(step[3])) * u32::from(1 + (step[1] & 3));
        match step[0] & 7 {
            0 | 1 => {
                let payload = contents(accepted[0], Purpose::Message, size.max(8));
                let session = pair.session();
                accepted[0] += u64::from(pair.client().send(session, None, &payload).is_ok());
            }
            2 => {
                let session = pair.server_app().session;
                let payload = contents(accepted[1], Purpose::Message, size.max(8));
                let sent = session.map(|session| pair.server().send(session, None, &payload));
                accepted[1] += u64::from(sent.is_some_and(|sent| sent.is_ok()));
            }
            3 => {
                let session = pair.session();
                let payload = contents(calls, Purpose::Request, size.max(8));
                let deadline = pair.now().after_ns(u64::from(step[1]) * 1_000_000);
                calls += u64::from(pair.client().call(session, 1, &payload, deadline, calls).is_ok());
            }
            4 => pair.impair(&weather(step)),
            _ => pair.run_for(Duration::from_micros(u64::from(step[1]) * 4)),
        }
    }
    pair.impair(&ImpairSpec { delay_ns: 20_000, ..ImpairSpec::default() });
    let arrived = |pair: &mut Pair<Talker, Talker>| {
        let (there, here) = (pair.server_app().came.len() as u64, pair.client_app().came.len() as u64);
        [there, here] == accepted && pair.client_app().ended.len() as u64 == calls
    };
    let quiet = pair.run_until(Duration::from_secs(8), arrived);
    let (there, here) = (pair.server_app().came.len(), pair.client_app().came.len());
    assert!(
        quiet,
        "{there} and {here} of {accepted:?} arrived, {} of {calls} calls ended",
        pair.client_app().ended.len()
    );
    pair.client().engine().check();
    pair.server().engine().check();
    there + here + calls as usize
}

/// A long script says no more than a middling one.
const PEERS_STEPS_MAX: usize = 400;

fn weather(step: &[u8]) -> ImpairSpec {
    let up_to = |byte: u8, most: u32| Probability::from_ppm(u32::from(byte) * most / 255);
    ImpairSpec {
        loss: up_to(step[1], 600_000),
        duplicate: up_to(step[2], 300_000),
        reorder: up_to(step[3], 300_000),
        corrupt: up_to(step[1] ^ step[3], 50_000),
        delay_ns: 20_000,
        seed: u64::from(step[2]),
        ..ImpairSpec::default()
    }
}

/// Keeps what came, and holds it to what was sent.
#[derive(Default)]
struct Talker {
    session: Option<crate::worker::SessionKey>,
    came: BTreeSet<u64>,
    ended: BTreeSet<u64>,
}

impl App for Talker {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        let id = id_of(request.payload).expect("every request carries an id");
        let size = request.payload.len() as u32;
        assert!(is_contents(id, Purpose::Request, size, request.payload), "request {id} changed");
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        assert!(self.ended.insert(token), "call {token} ended twice");
        match outcome {
            Outcome::Replied(bytes) => {
                assert!(
                    is_contents(token, Purpose::Request, bytes.len() as u32, bytes),
                    "reply {token} changed"
                );
            }
            Outcome::TimedOut => {}
            other => panic!("call {token} ended as {other:?}, and the session lives"),
        }
    }

    fn on_message(&mut self, _: &mut Cx<'_>, message: Message<'_>) {
        let id = id_of(message.payload).expect("every message carries an id");
        let size = message.payload.len() as u32;
        assert!(is_contents(id, Purpose::Message, size, message.payload), "message {id} changed");
        assert!(self.came.insert(id), "message {id} came twice");
    }

    fn on_event(&mut self, _: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, .. } => self.session = Some(session),
            Event::Closed { reason, .. } => panic!("the session ended: {reason:?}"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn random(seed: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        Rng::new(seed).fill(&mut bytes);
        bytes
    }

    #[test]
    fn random_scripts_find_nothing_and_do_something() {
        let mut steps = [0; 3];
        for seed in 0..200 {
            steps[0] += pieces(&random(seed, 8 * 120));
            steps[1] += acked(&random(seed, 2 * 600));
            steps[2] += peers(&random(seed, if seed % 10 == 0 { 4 * 60 } else { 4 * 6 }));
        }
        assert!(steps.iter().all(|&steps| steps > 100), "{steps:?}");
    }

    #[test]
    fn an_honest_script_of_pieces_comes_out_whole() {
        // Each fragment goes on where the first gap is, and is granted more.
        let step = [1, 1, 0, 0, 0xff, 0x3f, 0xff, 0x7f];
        assert!(pieces(&step.repeat(40)) > 1);
    }
}
