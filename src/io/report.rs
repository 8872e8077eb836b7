//! What a socket backend has to tell: events, counters, and what ICMP said.

use std::net::SocketAddr;

use super::paths::Paths;
use super::refusal::Refusal;
use super::{Ecn, Event, IoCounters, PathId, Received};
use crate::hint::rarely;
use crate::sys::batch::take_error;
use crate::sys::{Arrived, Socket};

/// Events not yet polled, and counters.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub counters: IoCounters,
    events: Vec<Event>,
}

impl Report {
    pub fn push(&mut self, event: Event) {
        if self.events.last() != Some(&event) && self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }

    /// The kernel took none of these packets.
    pub fn dropped(&mut self, path: PathId, packets: usize) {
        self.counters.send_dropped += packets as u64;
        if let Some(Event::SendDropped { path: last, packets: sum }) = self.events.last_mut()
            && *last == path
        {
            *sum += packets;
            return;
        }
        self.push(Event::SendDropped { path, packets });
    }

    #[inline]
    pub fn poll_events(&mut self, events: &mut Vec<Event>) {
        if !self.events.is_empty() {
            events.append(&mut self.events);
        }
    }

    /// Asks the kernel how many packets it dropped for want of room in the socket's buffer. `seen` is what it
    /// said the last time: its counter wraps at 32 bits.
    pub fn look(&mut self, socket: &Socket, seen: &mut u32) {
        if let Ok(drops) = socket.drops() {
            self.counters.socket_drops += u64::from(drops.wrapping_sub(*seen));
            *seen = drops;
        }
    }

    /// Empties the socket's error queue into events.
    ///
    /// EMSGSIZE in it is skipped: a local one was returned by the send itself, and one from ICMP is
    /// anyone's word; the path's size is found by probing alone.
    pub fn drain_errors(
        &mut self,
        socket: &Socket,
        paths: &Paths,
        connected: Option<SocketAddr>,
        seen: Refusal,
    ) {
        let mut named = false;
        for error in std::iter::from_fn(|| take_error(socket)).take(ERRORS_READ_MAX) {
            let os = std::io::Error::from_raw_os_error(error.errno);
            if Refusal::of(&os) == Refusal::Unreachable {
                let path = error.to.or(connected).and_then(|to| paths.find(to));
                self.push(Event::Unreachable { path });
                named = true;
            }
        }
        if seen == Refusal::Unreachable && !named {
            let path = connected.and_then(|remote| paths.find(remote));
            self.push(Event::Unreachable { path });
        }
    }

    /// The worker's view of a filled buffer; `None` for what holds no whole packet.
    #[inline]
    pub fn received(&mut self, buffer: u32, arrived: &Arrived) -> Option<Received> {
        if rarely(arrived.truncated) {
            self.counters.truncated += 1;
            return None;
        }
        let from = arrived.from?;
        let segment_size = arrived.segment_size.min(arrived.length);
        self.counters.packets_received += u64::from(packets(arrived.length, segment_size)?);
        let ecn = Ecn::from_bits(arrived.ecn_bits);
        Some(Received { buffer, length: arrived.length, segment_size, from, ecn })
    }
}

/// How many packets a buffer of `length` bytes holds; `None`: not even one.
#[inline]
pub(super) fn packets(length: u32, segment_size: u32) -> Option<u32> {
    if length == segment_size {
        return (length > 0).then_some(1);
    }
    (length > 0 && segment_size > 0).then(|| length.div_ceil(segment_size))
}

/// Events kept for a worker that does not poll them; the counters go on.
const EVENTS_MAX: usize = 256;
/// Entries of the error queue read at once: a flood of ICMP must not hold up the turn.
const ERRORS_READ_MAX: usize = 32;
