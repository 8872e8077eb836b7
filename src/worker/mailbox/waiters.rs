//! Tasks and threads that wait for room or for something to read.

use std::sync::PoisonError;
use std::task::Waker;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// Wakers of those who wait. Whoever waits registers, then looks once more; whoever changes what they
/// wait for wakes all, so that a waker left behind by one that gave up takes nobody's turn.
#[derive(Debug, Default)]
pub struct Waiters {
    any: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Waiters {
    /// Registers, once for each task. The caller must look once more after this.
    pub fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        // Relaxed: the fence orders it before the caller's second look; pairs with that in `wake_all`.
        self.any.store(true, Ordering::Relaxed);
        drop(wakers);
        fence(Ordering::SeqCst);
    }

    /// Wakes everyone who waits. A read of one flag when nobody does.
    pub fn wake_all(&self) {
        fence(Ordering::SeqCst);
        if self.any.load(Ordering::Relaxed) {
            self.wake_them();
        }
    }

    #[cold]
    fn wake_them(&self) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(false, Ordering::Relaxed);
        let woken = std::mem::take(&mut *wakers);
        drop(wakers);
        // Outside the lock: a waker may run anything.
        woken.into_iter().for_each(Waker::wake);
    }
}
