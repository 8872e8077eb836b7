//! Falling asleep without missing what came in the meantime, and being woken once.
//!
//! ```text
//!  worker                               another thread
//!    sleeping = true                      put something in
//!    ---- SeqCst fence ----               ---- SeqCst fence ----
//!    look for work: some? do not park     sleeping? swap false, and if it was true: ring
//! ```
//!
//! One of the two fences comes first, so either the worker sees the work or the other sees the sleep.

use std::sync::OnceLock;
use std::task::Wake;

use crate::io::Doorbell;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// One worker's sleep.
#[derive(Debug, Default)]
pub struct Sleep {
    sleeping: AtomicBool,
    doorbell: OnceLock<Doorbell>,
    rings: AtomicU64,
}

impl Sleep {
    /// The worker's doorbell, known once its backend is made. Only the first counts.
    pub fn install(&self, doorbell: Doorbell) {
        let _ = self.doorbell.set(doorbell);
    }

    /// The worker is about to park: true when it may, which `has_work` decides.
    pub fn fall_asleep(&self, has_work: impl FnOnce() -> bool) -> bool {
        // Relaxed: the fence orders it before the look for work; pairs with the fence in `rouse`.
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if has_work() {
            self.wake_up();
            return false;
        }
        true
    }

    /// The worker no longer parks.
    pub fn wake_up(&self) {
        // Relaxed: a thread that still reads true rings once for nothing.
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Something was put in: rings the worker if it sleeps, once per sleep whoever comes.
    pub fn rouse(&self) {
        fence(Ordering::SeqCst);
        // Relaxed load first: a worker that is awake costs no exclusive cache line.
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        if let Some(doorbell) = self.doorbell.get() {
            doorbell.ring();
        }
    }

    /// How often the bell was rung.
    #[must_use]
    pub fn rings(&self) -> u64 {
        self.rings.load(Ordering::Relaxed)
    }
}

impl Wake for Sleep {
    fn wake(self: std::sync::Arc<Self>) {
        self.rouse();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        self.rouse();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn a_sleeper_is_rung_once_and_one_that_is_awake_never() {
        let rung = Arc::new(AtomicU64::new(0));
        let sleep = Sleep::default();
        let counter = rung.clone();
        sleep.install(Doorbell::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        sleep.rouse();
        assert_eq!(rung.load(Ordering::Relaxed), 0, "awake");
        assert!(sleep.fall_asleep(|| false));
        (0..10).for_each(|_| sleep.rouse());
        assert_eq!(rung.load(Ordering::Relaxed), 1, "once per sleep");
        sleep.wake_up();
        assert!(!sleep.fall_asleep(|| true), "work keeps it awake");
        sleep.rouse();
        assert_eq!(rung.load(Ordering::Relaxed), 1);
        assert_eq!(sleep.rings(), 1);
    }

    #[test]
    fn what_is_put_in_while_falling_asleep_is_seen_or_rung_for() {
        let (sleep, work) = (Arc::new(Sleep::default()), Arc::new(AtomicU64::new(0)));
        let (other, other_work) = (sleep.clone(), work.clone());
        let heard = Arc::new(AtomicU64::new(0));
        let bell = heard.clone();
        sleep.install(Doorbell::new(move || {
            bell.fetch_add(1, Ordering::SeqCst);
        }));
        const ROUNDS: u64 = 20_000;
        let thread = std::thread::spawn(move || {
            for _ in 0..ROUNDS {
                other_work.fetch_add(1, Ordering::Relaxed);
                other.rouse();
            }
        });
        let mut seen = 0;
        while seen < ROUNDS {
            let now = work.load(Ordering::Relaxed);
            if now > seen {
                seen = now;
            } else {
                let before = heard.load(Ordering::SeqCst);
                if sleep.fall_asleep(|| work.load(Ordering::Relaxed) > seen) {
                    // Parked: only the bell may end this.
                    while heard.load(Ordering::SeqCst) == before && !thread.is_finished() {
                        std::thread::yield_now();
                    }
                    let rung = heard.load(Ordering::SeqCst) > before;
                    assert!(rung || work.load(Ordering::SeqCst) == seen, "a wake-up was lost");
                    sleep.wake_up();
                }
            }
        }
        thread.join().expect("the other thread only counts");
    }
}
