//! What a worker does when a turn found nothing.

use std::time::Duration;

use crate::time::Timestamp;

/// How a worker waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IdlePolicy {
    /// Never: the core is the worker's. Lowest latency.
    #[default]
    Spin,
    /// Spins for a while after the last packet, then parks.
    Adaptive,
    /// Parks at once.
    Park,
}

/// How long an adaptive worker spins after something happened.
const ADAPTIVE_SPIN_NS: u64 = 50_000;
/// The longest a parked worker waits without a timer.
const PARK_MAX: Duration = Duration::from_millis(100);

/// Tracks when something last happened.
#[derive(Debug)]
pub(super) struct Idle {
    policy: IdlePolicy,
    busy_at: Timestamp,
}

impl Idle {
    pub(super) fn new(policy: IdlePolicy, now: Timestamp) -> Self {
        Self { policy, busy_at: now }
    }

    pub(super) fn on_busy(&mut self, now: Timestamp) {
        self.busy_at = now;
    }

    /// How long to park; `None`: do not.
    pub(super) fn park(&self, now: Timestamp, next_timer: Option<Timestamp>) -> Option<Duration> {
        match self.policy {
            IdlePolicy::Spin => return None,
            IdlePolicy::Adaptive if now.since_ns(self.busy_at) < ADAPTIVE_SPIN_NS => return None,
            IdlePolicy::Adaptive | IdlePolicy::Park => {}
        }
        let until = next_timer.map_or(PARK_MAX, |at| now.until(at));
        (until > Duration::ZERO).then(|| until.min(PARK_MAX))
    }
}
