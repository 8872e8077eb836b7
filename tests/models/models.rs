//! Loom models: every order in which two or three threads may meet at the lock-free parts, with so many switches
//! away from a thread that could go on ([`PREEMPTIONS_MAX`]), and every value that each load may see.
//!
//! A model that could not fail would show nothing: each is also run against the same algorithm without its
//! fence, and must find the lost wake-up there.

use std::task::{Wake, Waker};

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::thread;

use ringwire_models::io::Doorbell;
use ringwire_models::sleep::Sleep;
use ringwire_models::waiters::Waiters;

/// The bugs that iterative context bounding was tried on (Musuvathi and Qadeer, PLDI 2007) all showed with two; one
/// more costs seconds here, and no bound at all far longer. `LOOM_MAX_PREEMPTIONS` names another.
const PREEMPTIONS_MAX: usize = 3;

fn model(each: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS_MAX));
    builder.check(each);
}

/// A worker that falls asleep while work is put in: it sees the work, or it is rung.
#[test]
fn what_is_put_in_while_falling_asleep_is_seen_or_rung_for() {
    model(|| {
        let (sleep, work, rung) = sleeper();
        let (there, their_work) = (sleep.clone(), work.clone());
        let other = thread::spawn(move || {
            their_work.store(1, Ordering::Relaxed);
            there.rouse();
        });
        let parked = sleep.fall_asleep(|| work.load(Ordering::Relaxed) > 0);
        other.join().expect("it only stores");
        assert!(!parked || rung.load(Ordering::Relaxed) == 1, "asleep, with work, and nobody rang");
    });
}

/// Two who put work in at once ring once at most for one sleep, and at least once for one that parked.
#[test]
fn two_who_come_at_once_ring_a_sleeper_once() {
    model(|| {
        let (sleep, work, rung) = sleeper();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (there, their_work) = (sleep.clone(), work.clone());
                thread::spawn(move || {
                    their_work.fetch_add(1, Ordering::Relaxed);
                    there.rouse();
                })
            })
            .collect();
        let parked = sleep.fall_asleep(|| work.load(Ordering::Relaxed) > 0);
        others.into_iter().for_each(|other| other.join().expect("it only adds"));
        let rung = rung.load(Ordering::Relaxed);
        assert!(rung <= 1, "rung {rung} times for one sleep");
        assert!(!parked || rung == 1, "asleep, with work, and nobody rang");
    });
}

fn sleeper() -> (Arc<Sleep>, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (sleep, rung) = (Arc::new(Sleep::default()), Arc::new(AtomicUsize::new(0)));
    let bell = rung.clone();
    sleep.install(Doorbell::new(move || {
        bell.fetch_add(1, Ordering::Relaxed);
    }));
    (sleep, Arc::new(AtomicUsize::new(0)), rung)
}

/// Counts how often it is woken.
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task that registers, looks once more and waits, while room is made: it sees the room, or it is woken.
#[test]
fn room_that_is_made_while_a_task_registers_is_seen_or_wakes_it() {
    model(|| {
        let (waiters, room) = (Arc::new(Waiters::default()), Arc::new(AtomicBool::new(false)));
        let count = std::sync::Arc::new(Count(AtomicUsize::new(0)));
        let (theirs, their_room) = (waiters.clone(), room.clone());
        let other = thread::spawn(move || {
            their_room.store(true, Ordering::Relaxed);
            theirs.wake_all();
        });
        waiters.register(&Waker::from(count.clone()));
        let seen = room.load(Ordering::Relaxed);
        other.join().expect("it only stores");
        assert!(seen || count.0.load(Ordering::Relaxed) == 1, "waits for room that is there");
    });
}

/// Two tasks wait: whoever makes room wakes both, and nobody is woken twice for one registration.
#[test]
fn all_who_wait_are_woken_and_none_twice() {
    model(|| {
        let waiters = Arc::new(Waiters::default());
        let counts: Vec<_> = (0..2).map(|_| std::sync::Arc::new(Count(AtomicUsize::new(0)))).collect();
        waiters.register(&Waker::from(counts[0].clone()));
        let (theirs, second) = (waiters.clone(), counts[1].clone());
        let other = thread::spawn(move || theirs.register(&Waker::from(second)));
        waiters.wake_all();
        other.join().expect("it only registers");
        waiters.wake_all();
        let woken: Vec<usize> = counts.iter().map(|count| count.0.load(Ordering::Relaxed)).collect();
        assert_eq!(woken, [1, 1]);
    });
}

/// The sleeper's algorithm without its fences loses a wake-up in some order: loom finds it, so the models above
/// look where it matters.
#[test]
#[should_panic(expected = "asleep, with work, and nobody rang")]
fn without_its_fences_the_sleeper_is_found_out() {
    model(|| {
        let (sleeping, work) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let rung = Arc::new(AtomicUsize::new(0));
        let (there, their_work, bell) = (sleeping.clone(), work.clone(), rung.clone());
        let other = thread::spawn(move || {
            their_work.store(1, Ordering::Relaxed);
            if there.load(Ordering::Relaxed) && there.swap(false, Ordering::Relaxed) {
                bell.fetch_add(1, Ordering::Relaxed);
            }
        });
        sleeping.store(true, Ordering::Relaxed);
        let parked = work.load(Ordering::Relaxed) == 0;
        other.join().expect("it only stores");
        assert!(!parked || rung.load(Ordering::Relaxed) == 1, "asleep, with work, and nobody rang");
    });
}

/// One fence alone is not enough either.
#[test]
#[should_panic(expected = "asleep, with work, and nobody rang")]
fn with_one_fence_of_the_two_the_sleeper_is_found_out() {
    model(|| {
        let (sleeping, work) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (there, their_work) = (sleeping.clone(), work.clone());
        let rung = Arc::new(AtomicUsize::new(0));
        let bell = rung.clone();
        let other = thread::spawn(move || {
            their_work.store(1, Ordering::Relaxed);
            if there.swap(false, Ordering::Relaxed) {
                bell.fetch_add(1, Ordering::Relaxed);
            }
        });
        sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let parked = work.load(Ordering::Relaxed) == 0;
        other.join().expect("it only stores");
        assert!(!parked || rung.load(Ordering::Relaxed) == 1, "asleep, with work, and nobody rang");
    });
}
