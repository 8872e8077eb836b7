//! What losses cost: loss times message size, to goodput, the slowest message in a thousand, and units
//! repeated for each packet lost.
//!
//! ```text
//! sender --10 Gbit/s, 20 us, loss both ways--> receiver      as fast as it goes, then one in 50 us
//! ```
//!
//! Figures of the protocol under a virtual clock, the same on every machine; not of the code's speed. The
//! table is committed (`docs/figures/sim-loss.txt`), so that a change that costs something shows in the diff.

use std::fmt;

use crate::rng::Rng;
use crate::sim::plan::boot_id;
use crate::sim::world::World;
use crate::time::{Clock, Timestamp, VirtualClock};
use crate::transport::Profile;
use crate::transport::security::Security;
use crate::worker::impair::{ImpairSpec, Probability};
use crate::worker::{App, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey, WorkerConfig};

/// Shares lost of the table's rows, in millionths.
pub const LOSSES_PPM: [u32; 6] = [0, 1_000, 10_000, 50_000, 200_000, 500_000];
/// Message sizes of its columns, in bytes.
pub const SIZES: [u32; 4] = [64, 1_400, 16_384, 262_144];

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Packets lost, in millionths, in each direction.
    pub loss_ppm: u32,
    /// Bytes of a message.
    pub size: u32,
    /// Payload delivered, in bits a second.
    pub goodput_bit_s: f64,
    /// From send to delivery of the slowest message in a thousand, on a quiet path, in microseconds.
    pub p99_9_us: f64,
    /// Units sent again for each of the sender's packets that was lost; `None` when fewer than
    /// [`LOST_MIN`] were.
    pub repeated_per_lost: Option<f64>,
}

/// Losses below which a ratio says nothing.
pub const LOST_MIN: u64 = 20;

/// Measures one cell: a function of its arguments and the build.
#[must_use]
pub fn cell(loss_ppm: u32, size: u32) -> Cell {
    let mut busy = Bench::new(loss_ppm);
    let began = busy.world.now();
    let end = began.after_ns(BUSY_NS);
    while busy.world.now() < end {
        while busy.send(size) {}
        busy.world.step(busy.world.now().after_ns(FILL_NS).min(end));
    }
    let goodput_bit_s = busy.received() as f64 * 8e9 / BUSY_NS as f64;
    let lost = busy.forward_lost();
    let repeated = busy.world.peek(SENDER).map_or(0, |worker| worker.counters().retransmitted);

    let mut quiet = Bench::new(loss_ppm);
    for _ in 0..QUIET_MESSAGES {
        let next = quiet.world.now().after_ns(QUIET_EVERY_NS);
        quiet.send(size);
        while quiet.world.step(next) {}
    }
    let end = quiet.world.now().after_ns(DRAIN_NS);
    while quiet.latencies().len() < QUIET_MESSAGES && quiet.world.step(end) {}
    let mut latencies = quiet.latencies().to_vec();
    latencies.sort_unstable();
    let slow = latencies.len() * 999 / 1_000;
    Cell {
        loss_ppm,
        size,
        goodput_bit_s,
        p99_9_us: latencies.get(slow).map_or(f64::INFINITY, |&ns| ns as f64 / 1e3),
        repeated_per_lost: (lost >= LOST_MIN).then(|| repeated as f64 / lost as f64),
    }
}

/// All cells, row by row.
#[must_use]
pub fn cells() -> Vec<Cell> {
    LOSSES_PPM.iter().flat_map(|&loss| SIZES.iter().map(move |&size| cell(loss, size))).collect()
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = f64::from(self.loss_ppm) / 1e4;
        let ratio = self.repeated_per_lost.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let Cell { size, goodput_bit_s, p99_9_us, .. } = self;
        write!(f, "{loss:>6}  {size:>7}  {:>9.1}  {p99_9_us:>10.1}  {ratio:>8}", goodput_bit_s / 1e6)
    }
}

/// The line above the cells.
pub const HEADING: &str = "loss %     size     Mbit/s    p99.9 us  repeated ÷ lost";

/// Reads a line of the table.
#[must_use]
pub fn parse(line: &str) -> Option<Cell> {
    let mut fields = line.split_whitespace();
    let loss: f64 = fields.next()?.parse().ok()?;
    let size = fields.next()?.parse().ok()?;
    let goodput: f64 = fields.next()?.parse().ok()?;
    let p99_9_us = fields.next()?.parse().ok()?;
    let repeated_per_lost = fields.next()?.parse().ok();
    let loss_ppm = (loss * 1e4).round() as u32;
    Some(Cell { loss_ppm, size, goodput_bit_s: goodput * 1e6, p99_9_us, repeated_per_lost })
}

/// A sender and a receiver, with a session open.
struct Bench {
    world: World<End>,
    session: SessionKey,
}

impl Bench {
    fn new(loss_ppm: u32) -> Self {
        let clean = ImpairSpec {
            delay_ns: DELAY_NS,
            rate_bit_s: Some(RATE_BIT_S),
            queue_size: Some(QUEUE_SIZE),
            ..ImpairSpec::default()
        };
        let mut world = World::new(SEED, clean.clone());
        world.network().borrow_mut().set_inbox_size(INBOX_SIZE);
        for node in [RECEIVER, SENDER] {
            let mut config = WorkerConfig::default();
            config.transport.boot_id = boot_id(node, 0);
            config.transport.entropy = Rng::entropy(SEED ^ node as u64);
            config.transport.security = Security::insecure_anywhere();
            config.transport.profile = Profile::Dc;
            let end = End { clock: world.clock(), opened: false, received: 0, latencies: Vec::new() };
            assert_eq!(world.add(config, end), node);
        }
        let target = world.target(RECEIVER);
        let session = world.worker(SENDER).and_then(|worker| worker.connect(target).ok());
        let session = session.expect("a new worker has room");
        let limit = world.now().after_ns(SETTLE_NS);
        while world.step(limit) {}
        assert!(world.peek(SENDER).is_some_and(|worker| worker.app().opened), "a clean network connects");
        let mut bench = Self { world, session };
        bench.lose(&clean, loss_ppm);
        bench
    }

    fn lose(&mut self, clean: &ImpairSpec, loss_ppm: u32) {
        let (sender, receiver) = (self.world.addr(SENDER), self.world.addr(RECEIVER));
        for (from, to, seed) in [(sender, receiver, SEED), (receiver, sender, !SEED)] {
            let spec = ImpairSpec { loss: Probability::from_ppm(loss_ppm), seed, ..clean.clone() };
            self.world.network().borrow_mut().set_link(from, to, spec);
        }
    }

    /// Sends one message that carries its time; false when there is no room.
    fn send(&mut self, size: u32) -> bool {
        let mut bytes = vec![0; size as usize];
        bytes[..8].copy_from_slice(&self.world.now().0.to_le_bytes());
        let session = self.session;
        self.world.worker(SENDER).is_some_and(|worker| worker.send_owned(session, None, bytes.into()).is_ok())
    }

    fn received(&self) -> u64 {
        self.world.peek(RECEIVER).map_or(0, |worker| worker.app().received)
    }

    fn latencies(&self) -> &[u64] {
        self.world.peek(RECEIVER).map_or(&[], |worker| &worker.app().latencies)
    }

    fn forward_lost(&self) -> u64 {
        let (sender, receiver) = (self.world.addr(SENDER), self.world.addr(RECEIVER));
        let link = self.world.network().borrow().link_counters(sender, receiver);
        link.lost + link.queue_dropped
    }
}

/// What either end runs.
struct End {
    clock: VirtualClock,
    opened: bool,
    received: u64,
    latencies: Vec<u64>,
}

impl App for End {
    fn on_request(&mut self, _: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(&[]);
    }

    fn on_outcome(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome<'_>) {}

    fn on_message(&mut self, _: &mut Cx<'_>, message: Message<'_>) {
        self.received += message.payload.len() as u64;
        let sent = message.payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        self.latencies.push(self.clock.now().since_ns(Timestamp(sent)));
    }

    fn on_event(&mut self, _: &mut Cx<'_>, event: Event) {
        self.opened |= matches!(event, Event::Opened { .. });
    }
}

const RECEIVER: usize = 0;
const SENDER: usize = 1;
const SEED: u64 = 4;
const DELAY_NS: u64 = 20_000;
const RATE_BIT_S: u64 = 10_000_000_000;
const QUEUE_SIZE: u64 = 1 << 20;
const INBOX_SIZE: u64 = 8 << 20;
/// Time to connect and to find the packet size.
const SETTLE_NS: u64 = 5_000_000;
const BUSY_NS: u64 = 30_000_000;
/// How often the busy sender is filled up.
const FILL_NS: u64 = 5_000;
const QUIET_MESSAGES: usize = 4_000;
/// A quarter of a megabyte takes 210 us at this rate.
const QUIET_EVERY_NS: u64 = 500_000;
const DRAIN_NS: u64 = 5_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_its_cell() {
        let cell = Cell {
            loss_ppm: 1_000,
            size: 64,
            goodput_bit_s: 12.5e6,
            p99_9_us: 80.0,
            repeated_per_lost: Some(1.02),
        };
        assert_eq!(parse(&cell.to_string()), Some(cell));
        let none = Cell { repeated_per_lost: None, ..cell };
        assert_eq!(parse(&none.to_string()), Some(none));
        assert_eq!(parse(HEADING), None);
    }
}
