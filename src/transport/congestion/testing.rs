//! A bottleneck for the controllers' tests: flows with endless data share one link with a finite
//! tail-drop buffer; acks return at once and are never lost.
//!
//! ```text
//! [flow 0 .. n] --> [queue, drops when full] -- rate, delay --> [receiver]
//! ```

use std::collections::VecDeque;

use super::{AckInfo, Congestion, Controller, LossInfo};
use crate::time::Timestamp;
use crate::transport::rtt::Rtt;

/// The link all flows share.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Bytes a second.
    pub rate: u64,
    /// Round trip without a queue.
    pub delay_ns: u64,
    /// Bytes the queue holds.
    pub buffer: u64,
}

/// What came of a run. "Late" is its second half, when things have settled.
#[derive(Debug)]
pub struct Outcome {
    /// Share of the link used, late.
    pub utilisation: f64,
    /// Longest queue, late.
    pub queue_ns_late: u64,
    /// Packets dropped in all.
    pub dropped: u64,
    /// Packets dropped late.
    pub dropped_late: u64,
    /// Packets delivered late.
    pub delivered_late: u64,
    /// Jain's index over the flows' late deliveries: 1 is equal shares.
    pub fairness: f64,
    /// How often the first flow's window was cut.
    pub cuts: u32,
}

/// An estimate that holds exactly one sample.
pub fn rtt_of(ns: u64) -> Rtt {
    let mut rtt = Rtt::new(ns);
    rtt.on_sample(Timestamp(0), ns, 0, 0);
    rtt
}

struct Flow {
    controller: Congestion,
    rtt: Rtt,
    /// (sent, acked at, or `None` when dropped), in the order sent.
    sent: VecDeque<(u64, Option<u64>)>,
    round_start: u64,
    delivered_late: u64,
}

/// Runs `flows` for `duration_ns`, each with packets of `packet` bytes.
pub fn run(link: Link, flows: Vec<Congestion>, packet: u64, duration_ns: u64) -> Outcome {
    let mut flows: Vec<Flow> = flows.into_iter().map(Flow::new).collect();
    let mut queue = Queue { link, free_at: 0, dropped: 0, dropped_late: 0, longest_late: 0 };
    let (mut cuts, mut window) = (0, u64::MAX);
    let mut now = 0;
    while now < duration_ns {
        let late = now > duration_ns / 2;
        // Turn by turn, as workers on different hosts would.
        while flows.iter_mut().filter(|flow| flow.has_room(packet)).fold(false, |_, flow| {
            flow.send(&mut queue, now, packet, late);
            true
        }) {}
        now = flows.iter().map(Flow::next_event).min().expect("there is a flow");
        for flow in flows.iter_mut().filter(|flow| flow.next_event() == now) {
            flow.learn(now, packet, late);
        }
        let before = std::mem::replace(&mut window, flows[0].controller.window());
        cuts += u32::from(window < before);
    }
    let shares: Vec<f64> = flows.iter().map(|flow| flow.delivered_late as f64).collect();
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
    Outcome {
        utilisation: sum * packet as f64 / (link.rate as f64 * duration_ns as f64 / 2e9),
        queue_ns_late: queue.longest_late,
        dropped: queue.dropped,
        dropped_late: queue.dropped_late,
        delivered_late: sum as u64,
        fairness: sum * sum / (shares.len() as f64 * squares),
        cuts,
    }
}

struct Queue {
    link: Link,
    free_at: u64,
    dropped: u64,
    dropped_late: u64,
    longest_late: u64,
}

impl Queue {
    /// When the packet's ack is back, or `None` when there was no room.
    fn pass(&mut self, now: u64, packet: u64, late: bool) -> Option<u64> {
        let wait = self.free_at.saturating_sub(now);
        if wait * self.link.rate / 1_000_000_000 + packet > self.link.buffer {
            self.dropped += 1;
            self.dropped_late += u64::from(late);
            return None;
        }
        if late {
            self.longest_late = self.longest_late.max(wait);
        }
        self.free_at = self.free_at.max(now) + packet * 1_000_000_000 / self.link.rate;
        Some(self.free_at + self.link.delay_ns)
    }
}

impl Flow {
    fn new(controller: Congestion) -> Self {
        let rtt = Rtt::new(1_000_000);
        Self { controller, rtt, sent: VecDeque::new(), round_start: 0, delivered_late: 0 }
    }

    fn has_room(&self, packet: u64) -> bool {
        // As a session does: one packet may always be in flight, however small the window.
        self.sent.is_empty() || (self.sent.len() as u64 + 1) * packet <= self.controller.window()
    }

    fn send(&mut self, queue: &mut Queue, now: u64, packet: u64, late: bool) {
        self.sent.push_back((now, queue.pass(now, packet, late)));
        self.controller.on_sent(Timestamp(now), packet, self.sent.len() as u64 * packet);
    }

    /// The next ack; without one, a probe timeout.
    fn next_event(&self) -> u64 {
        let ack = self.sent.iter().find_map(|&(_, acked)| acked);
        let last = self.sent.back().map_or(0, |&(sent, _)| sent);
        ack.unwrap_or(last + self.rtt.pto_ns(0, 1_000_000, 1_000))
    }

    fn learn(&mut self, now: u64, packet: u64, late: bool) {
        let flight_bytes = self.sent.len() as u64 * packet;
        let ready = self.sent.iter().position(|&(_, acked)| acked == Some(now));
        // The queue is first in, first out: what was sent before the acked packet was dropped.
        let lost: Vec<_> = self.sent.drain(..ready.unwrap_or(self.sent.len())).collect();
        if let Some(&(newest, _)) = lost.last() {
            self.controller.on_loss(&LossInfo {
                now: Timestamp(now),
                bytes_lost: lost.len() as u64 * packet,
                packets_lost: lost.len() as u64,
                largest_lost_sent_at: Timestamp(newest),
                flight_bytes,
                lost_flight: None,
            });
        }
        let Some((sent, _)) = ready.and_then(|_| self.sent.pop_front()) else { return };
        self.delivered_late += u64::from(late);
        self.rtt.on_sample(Timestamp(now), now - sent, 0, 0);
        let round_end = sent >= self.round_start;
        if round_end {
            self.round_start = now;
        }
        self.controller.on_ack(&AckInfo {
            now: Timestamp(now),
            bytes_acked: packet,
            sent_at: Timestamp(sent),
            rtt: &self.rtt,
            bytes_in_flight: self.sent.len() as u64 * packet,
            app_limited: false,
            round_end,
            sample: None,
        });
    }
}
