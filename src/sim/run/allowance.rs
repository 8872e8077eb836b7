//! How long what is pending may take once the faults have stopped: five probe timeouts, and the time that
//! the bytes need at the slowest pace a controller may fall to.
//!
//! ```text
//! allowed = 5 x the longest probe timeout now + rounds x (round trip + delays of acks) + bytes / rate
//! ```

use std::fmt;

use crate::sim::app::SimApp;
use crate::sim::checker::Checker;
use crate::sim::plan::Plan;
use crate::sim::world::World;

/// The parts of the bound, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    probes_ns: u64,
    transfer_ns: u64,
    other_ns: u64,
}

impl Allowance {
    /// What is allowed from now on, faults having just stopped.
    pub(super) fn of(plan: &Plan, world: &World<SimApp>, checker: &Checker) -> Self {
        let living = (0..world.len()).filter_map(|node| world.peek(node));
        let probe_ns = living.map(|worker| worker.engine().probe_timeout_ns_max()).max().unwrap_or(0);
        let bytes = checker.pending_size();
        let round_ns = 2 * plan.delay_ns + 2 * plan.ack_delay_ns() + TURNS_NS;
        let rate_ns =
            plan.rate_bit_s.map_or(0, |rate| (u128::from(bytes) * NS_BITS / u128::from(rate)) as u64);
        Self {
            probes_ns: PROBES * probe_ns,
            transfer_ns: rounds(bytes) * round_ns + 2 * rate_ns,
            other_ns: SUSPECT_NS + STALL_NS,
        }
    }

    /// In all.
    pub(super) fn ns(self) -> u64 {
        self.probes_ns + self.transfer_ns + self.other_ns
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns / 1_000_000;
        let Allowance { probes_ns, transfer_ns, other_ns } = *self;
        let (all, probes, transfer, other) = (ms(self.ns()), ms(probes_ns), ms(transfer_ns), ms(other_ns));
        write!(f, "{all} ms: {probes} for {PROBES} probe timeouts, {transfer} for the transfer, {other} else")
    }
}

/// Round trips for `bytes` from the least window on, two packets of the least size, when each round lets one
/// more packet through than the one before.
fn rounds(bytes: u64) -> u64 {
    let packets = bytes.div_ceil(PACKET_SIZE);
    // The sum of 2, 3, 4… reaches n within the square root of 2n rounds.
    (2 * packets).isqrt() + 1
}

const PROBES: u64 = 5;
const PACKET_SIZE: u64 = 1_100;
/// Two turns at each end, and the worker's look at its timers.
const TURNS_NS: u64 = 20_000;
/// An end that accepted a session gives a peer in doubt this long (P-9.2).
const SUSPECT_NS: u64 = 500_000_000;
/// A stall that began before the faults stopped.
const STALL_NS: u64 = 30_000_000;
const NS_BITS: u128 = 8_000_000_000;
