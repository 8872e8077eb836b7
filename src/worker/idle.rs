//! What a worker does when a turn found nothing.

use std::time::Duration;

use crate::time::Timestamp;

/// How a worker waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IdlePolicy {
    /// Never: the core is the worker's. Lowest latency.
    #[default]
    Spin,
    /// Never sleeps, and offers its core to every other thread that is ready on it before it looks again: for a
    /// core that it shares with those who call through it. A thread that computes gets a scheduler slice each time.
    Yield,
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

    /// Whether a turn that found nothing is followed by an offer of the core.
    pub(super) fn yields(&self) -> bool {
        self.policy == IdlePolicy::Yield
    }

    /// How long to park; `None`: do not.
    pub(super) fn park(&self, now: Timestamp, next_timer: Option<Timestamp>) -> Option<Duration> {
        match self.policy {
            IdlePolicy::Spin | IdlePolicy::Yield => return None,
            IdlePolicy::Adaptive if now.since_ns(self.busy_at) < ADAPTIVE_SPIN_NS => return None,
            IdlePolicy::Adaptive | IdlePolicy::Park => {}
        }
        let until = next_timer.map_or(PARK_MAX, |at| now.until(at));
        (until > Duration::ZERO).then(|| until.min(PARK_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spins_or_yields_never_parks_and_who_is_adaptive_parks_after_a_while() {
        let parks = |policy, after_ns| {
            let idle = Idle::new(policy, Timestamp(0));
            idle.park(Timestamp(after_ns), None).is_some()
        };
        for policy in [IdlePolicy::Spin, IdlePolicy::Yield] {
            assert!(!parks(policy, 10 * ADAPTIVE_SPIN_NS), "{policy:?}");
        }
        assert!(!parks(IdlePolicy::Adaptive, ADAPTIVE_SPIN_NS - 1));
        assert!(parks(IdlePolicy::Adaptive, ADAPTIVE_SPIN_NS));
        assert!(parks(IdlePolicy::Park, 0));
        assert!(Idle::new(IdlePolicy::Yield, Timestamp(0)).yields());
        assert!(!Idle::new(IdlePolicy::Spin, Timestamp(0)).yields());
    }
}
