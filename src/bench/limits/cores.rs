//! The cores, the memory and the kernel's door, without a network.

use std::hint::{black_box, spin_loop};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::Options;
use super::duel::{Watch, duel, histogram};
use crate::crypto::crc32c;
use crate::sys::Bell;
use crate::sys::uring::NopRing;
use crate::sys::wait::{set_timer_slack_min, wait_readable};

/// One system call that does nothing, in nanoseconds.
pub(super) fn syscall_ns(options: &Options) -> f64 {
    let mut watch = Watch::new(options.duration_each);
    loop {
        for _ in 0..256 {
            black_box(nix::unistd::getppid());
        }
        if !watch.done(256) {
            return watch.ns_each().unwrap_or(0.0);
        }
    }
}

/// One empty io_uring request of `batch` an enter, in nanoseconds; `None` where io_uring is blocked.
pub(super) fn uring_nop_ns(options: &Options, batch: u16) -> Option<f64> {
    let mut ring = NopRing::new(batch).ok()?;
    let mut watch = Watch::new(options.duration_each);
    loop {
        let mut completed = 0;
        for _ in 0..32 {
            completed += ring.round().ok()?;
        }
        if !watch.done(completed as u64) {
            return watch.ns_each();
        }
    }
}

/// A cache line to the other core and back, in nanoseconds.
pub(super) fn cache_line_round_trip_ns(options: &Options) -> Option<f64> {
    let (ping, pong) = (CachePadded::new(AtomicU64::new(0)), CachePadded::new(AtomicU64::new(0)));
    let echo = |stop: &super::duel::Stop| {
        let mut seen = 0;
        while !stop.is_set() {
            // Acquire and Release pair ping with pong on either side: the exchange is the measurement.
            let next = ping.load(Ordering::Acquire);
            if next != seen {
                seen = next;
                pong.store(next, Ordering::Release);
            }
        }
    };
    duel(options, echo, |watch| {
        let mut turn = 0;
        loop {
            for _ in 0..256 {
                turn += 1;
                ping.store(turn, Ordering::Release);
                while pong.load(Ordering::Acquire) != turn {
                    spin_loop();
                }
            }
            if !watch.done(256) {
                return watch.ns_each();
            }
        }
    })
}

/// From ringing an eventfd on one core to running on the other, in microseconds.
pub(super) fn wake_us(options: &Options, quantile: f64) -> Option<f64> {
    let bell = Bell::new().ok()?;
    let rung_at = AtomicU64::new(0);
    let clock = crate::time::MonotonicClock;
    let woken_ns = AtomicU64::new(0);
    let sleeper = |stop: &super::duel::Stop| {
        set_timer_slack_min();
        while !stop.is_set() {
            let ready = wait_readable([bell.as_fd()], Some(Duration::from_millis(5)));
            let now = crate::time::Clock::now(&clock);
            if ready.is_ok_and(|ready| ready != 0) && bell.hear() {
                // Relaxed load: the bell's read saw the ring that came after the store.
                let rung = rung_at.load(Ordering::Relaxed);
                // Release: pairs with the ringer's Acquire, which starts the next round.
                woken_ns.store(now.0.saturating_sub(rung).max(1), Ordering::Release);
            }
        }
    };
    duel(options, sleeper, |watch| {
        let mut histogram = histogram();
        loop {
            // Long enough for the sleeper to be asleep again.
            let pause_until = watch.now().after_ns(ASLEEP_AFTER_NS);
            while watch.now() < pause_until {
                spin_loop();
            }
            rung_at.store(crate::time::Clock::now(&clock).0, Ordering::Relaxed);
            bell.ring();
            let taken = loop {
                match woken_ns.swap(0, Ordering::Acquire) {
                    0 => spin_loop(),
                    taken => break taken,
                }
            };
            let now = watch.now();
            if watch.counts(now) {
                histogram.saturating_record(taken);
            }
            if !watch.done_at(now, 1) {
                return Some(histogram.value_at_quantile(quantile) as f64 / 1e3);
            }
        }
    })
}

/// CRC-32C over 16 KiB, in bytes a second.
pub(super) fn crc_byte_s(options: &Options) -> f64 {
    let bytes = vec![7u8; CRC_SIZE];
    let mut watch = Watch::new(options.duration_each);
    loop {
        for _ in 0..32 {
            black_box(crc32c(black_box(&bytes)));
        }
        if !watch.done(32 * CRC_SIZE as u64) {
            return watch.per_s().unwrap_or(0.0);
        }
    }
}

const CRC_SIZE: usize = 16 * 1024;
const ASLEEP_AFTER_NS: u64 = 50_000;
