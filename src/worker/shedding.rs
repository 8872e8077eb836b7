//! How many first messages a worker lets in, decided from how many come.
//!
//! A flood would fill the buffer that all sessions of the socket share, and take the worker's time. So
//! beyond [`RATE_MAX`] a second the kernel is told to drop a share of them before they take room. Those with
//! a cookie are counted by themselves: whoever got one is let through while the flood brings none.

use crate::io::{ALL_KEPT, Kept};
use crate::time::Timestamp;
use crate::transport::Counters;

/// First messages a second, of either kind, that are looked at: some 15 % of a core each.
const RATE_MAX: f64 = 64_000.0;
/// A filter stays for so long after the flood went below half of that.
const CALM_NS: u64 = 200_000_000;
/// A share that would change by less than this part of it stays.
const WORTH_CHANGING: f64 = 0.2;
const S: f64 = 1e9;

/// What was seen when it was last looked, and what the kernel was told then.
#[derive(Debug)]
pub(super) struct Shedding {
    looked_at: Timestamp,
    bare: u64,
    with_cookie: u64,
    kept: Option<Kept>,
    busy_at: Timestamp,
}

impl Shedding {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { looked_at: now, bare: 0, with_cookie: 0, kept: None, busy_at: now }
    }

    /// What to tell the kernel, if that should change. To be asked every few milliseconds.
    pub(super) fn look(&mut self, now: Timestamp, counters: &Counters) -> Option<Option<Kept>> {
        let elapsed_s = now.since_ns(self.looked_at) as f64 / S;
        if elapsed_s <= 0.0 {
            return None;
        }
        self.looked_at = now;
        let now_kept = self.kept.unwrap_or(Kept { bare: ALL_KEPT, with_cookie: ALL_KEPT });
        let came = |count: u64, seen: &mut u64, kept: u32| {
            let taken = count - std::mem::replace(seen, count);
            taken as f64 / elapsed_s / share(kept)
        };
        let bare = came(counters.inits_bare, &mut self.bare, now_kept.bare);
        let with_cookie = came(counters.inits_with_cookie, &mut self.with_cookie, now_kept.with_cookie);
        if bare > RATE_MAX / 2.0 || with_cookie > RATE_MAX / 2.0 {
            self.busy_at = now;
        }
        let wanted = Kept { bare: keep(bare), with_cookie: keep(with_cookie) };
        let over = wanted.bare < ALL_KEPT || wanted.with_cookie < ALL_KEPT;
        if self.kept.is_some() && now.since_ns(self.busy_at) >= CALM_NS {
            self.kept = None;
            return Some(None);
        }
        let changed =
            differs(wanted.bare, now_kept.bare) || differs(wanted.with_cookie, now_kept.with_cookie);
        if !changed || !over && self.kept.is_none() {
            return None;
        }
        self.kept = Some(wanted);
        Some(self.kept)
    }

    /// The kernel does not do it: everything that comes is taken.
    pub(super) fn on_refused(&mut self) {
        self.kept = None;
    }
}

fn share(kept: u32) -> f64 {
    (f64::from(kept) / f64::from(ALL_KEPT)).max(1e-6)
}

/// The share that brings `rate` down to what is looked at.
fn keep(rate: f64) -> u32 {
    if rate <= RATE_MAX { ALL_KEPT } else { (RATE_MAX / rate * f64::from(ALL_KEPT)) as u32 }
}

fn differs(a: u32, b: u32) -> bool {
    (share(a) - share(b)).abs() > WORTH_CHANGING * share(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK_NS: u64 = 10_000_000;

    /// A kernel that drops as it is told, and a flood.
    struct Scene {
        shedding: Shedding,
        now: Timestamp,
        counters: Counters,
        told: Option<Kept>,
        changes: u32,
    }

    impl Scene {
        fn new() -> Self {
            let now = Timestamp(5);
            let shedding = Shedding::new(now);
            Self { shedding, now, counters: Counters::default(), told: None, changes: 0 }
        }

        /// Floods at these rates for a time; first messages of either kind let in during its last look.
        fn flood(&mut self, bare_per_s: f64, with_cookie_per_s: f64, ms: u64) -> (f64, f64) {
            let mut let_in = (0.0, 0.0);
            for _ in 0..ms / 10 {
                self.now = self.now.after_ns(LOOK_NS);
                let kept = self.told.unwrap_or(Kept { bare: ALL_KEPT, with_cookie: ALL_KEPT });
                let_in = (bare_per_s * share(kept.bare), with_cookie_per_s * share(kept.with_cookie));
                self.counters.inits_bare += (let_in.0 / 100.0) as u64;
                self.counters.inits_with_cookie += (let_in.1 / 100.0) as u64;
                if let Some(told) = self.shedding.look(self.now, &self.counters) {
                    self.told = told;
                    self.changes += 1;
                }
            }
            let_in
        }
    }

    #[test]
    fn a_flood_is_let_in_at_the_rate_that_is_looked_at_and_clients_with_cookies_whole() {
        let mut scene = Scene::new();
        let (bare, with_cookie) = scene.flood(280_000.0, 500.0, 1_000);
        assert!((0.7 * RATE_MAX..1.3 * RATE_MAX).contains(&bare), "{bare}");
        assert_eq!(with_cookie, 500.0);
        assert!(scene.changes < 10, "the kernel was told {} times", scene.changes);
    }

    #[test]
    fn a_flood_with_cookies_that_mean_nothing_is_let_in_no_faster() {
        let mut scene = Scene::new();
        let (bare, with_cookie) = scene.flood(100.0, 1e6, 1_000);
        assert!(with_cookie < 1.3 * RATE_MAX, "{with_cookie}");
        assert_eq!(bare, 100.0);
    }

    #[test]
    fn where_the_kernel_refuses_the_flood_is_not_thought_to_grow() {
        let mut scene = Scene::new();
        for _ in 0..100 {
            scene.flood(280_000.0, 0.0, 10);
            scene.shedding.on_refused();
            scene.told = None;
        }
        let (bare, _) = scene.flood(1_000.0, 0.0, 500);
        assert_eq!((scene.told, bare), (None, 1_000.0));
    }

    #[test]
    fn without_a_flood_the_kernel_is_told_nothing_and_after_one_to_stop() {
        let mut scene = Scene::new();
        scene.flood(30_000.0, 30_000.0, 1_000);
        assert_eq!((scene.told, scene.changes), (None, 0));
        scene.flood(1e6, 0.0, 100);
        assert!(scene.told.is_some());
        scene.flood(1_000.0, 1_000.0, 100);
        assert!(scene.told.is_some(), "it may come again at once");
        let (bare, _) = scene.flood(1_000.0, 1_000.0, 300);
        assert_eq!((scene.told, bare), (None, 1_000.0));
    }
}
