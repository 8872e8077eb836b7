//! What a server says once a second: packets in and out, and where some were lost.

use crate::bench::server::Server;
use crate::time::{Clock, MonotonicClock, Timestamp};
use crate::transport::Counters;
use crate::units::show_count;
use crate::worker::LossCounters;

/// The counts at the last line.
pub struct Live {
    at: Timestamp,
    engine: Counters,
    losses: LossCounters,
}

/// Between two lines.
const LINE_INTERVAL_NS: u64 = 1_000_000_000;

impl Live {
    /// From here on.
    #[must_use]
    pub fn start() -> Self {
        Self { at: MonotonicClock.now(), engine: Counters::default(), losses: LossCounters::default() }
    }

    /// The next line, when its second has passed.
    pub fn look(&mut self, server: &Server) -> Option<String> {
        let now = MonotonicClock.now();
        let passed_ns = now.since_ns(self.at);
        if passed_ns < LINE_INTERVAL_NS {
            return None;
        }
        let (engine, losses) = server.counted();
        let (more, lost) = (engine.since(&self.engine), losses.since(self.losses));
        (self.at, self.engine, self.losses) = (now, engine, losses);
        let per_s = |count: u64| show_count(count as f64 * 1e9 / passed_ns as f64);
        Some(format!(
            "{}/s packets in, {}/s out, {}/s calls; {}",
            per_s(more.packets_received),
            per_s(more.packets_sent),
            per_s(more.calls_received),
            show_losses(&more, &lost),
        ))
    }
}

/// Where packets were lost, as this end knows: what came in by its own counts, what went out by its peers'
/// STATS (P-3.16) and by what they did not acknowledge.
#[must_use]
pub fn show_losses(engine: &Counters, losses: &LossCounters) -> String {
    let inward = [
        (losses.socket_buffer, "at a full socket buffer"),
        (losses.ring, "at a full ring"),
        (losses.damaged, "damaged"),
        (losses.no_session, "for a session that is not here"),
    ];
    let here = losses.own_queue + losses.offload + losses.refused;
    let there = engine.peer_socket_drops + engine.peer_corrupt;
    // Declared lost and never acknowledged after all; what nobody else names was lost on the way.
    let unanswered = engine.lost.saturating_sub(engine.losses_mistaken);
    let outward = [
        (losses.own_queue, "for want of room in our queue"),
        (losses.offload, "by segmentation offload"),
        (losses.refused, "refused by our kernel"),
        (unanswered.saturating_sub(here + there), "in the network"),
        (engine.peer_socket_drops, "at peers' socket buffers"),
        (engine.peer_corrupt, "damaged when they reached peers"),
    ];
    format!("lost of what came in: {}; of what went out: {}", listed(&inward), listed(&outward))
}

fn listed(places: &[(u64, &str)]) -> String {
    let some: Vec<String> = places
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, place)| format!("{count} {place}"))
        .collect();
    if some.is_empty() { "nothing".into() } else { some.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_named_and_what_nobody_else_names_was_the_network() {
        let engine = Counters {
            lost: 20,
            losses_mistaken: 2,
            peer_socket_drops: 5,
            peer_corrupt: 1,
            ..Counters::default()
        };
        let losses = LossCounters { own_queue: 2, damaged: 3, ..LossCounters::default() };
        assert_eq!(
            show_losses(&engine, &losses),
            "lost of what came in: 3 damaged; of what went out: 2 for want of room in our queue, \
             10 in the network, 5 at peers' socket buffers, 1 damaged when they reached peers"
        );
        let nothing = show_losses(&Counters::default(), &LossCounters::default());
        assert_eq!(nothing, "lost of what came in: nothing; of what went out: nothing");
    }
}
