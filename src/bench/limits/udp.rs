//! UDP, connected sockets, the plainest calls.

use std::os::fd::AsFd;
use std::time::Duration;

use super::Options;
use super::duel::{Stop, Times, Watch, duel, histogram};
use super::path::Path;
use crate::rings::{Direction, PacketMemory};
use crate::sys::Socket;
use crate::sys::wait::{set_timer_slack_min, wait_readable};

/// What an end does while nothing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    Spin,
    Park,
}

/// One 64-byte packet in flight, echoed.
pub(super) fn round_trip(options: &Options, path: &Path, idle: Idle) -> Times {
    let Ok((here, there)) = path.udp_pair(false) else { return Times::default() };
    let times = duel(options, |stop| echo(&there, idle, stop), |watch| Some(ping(&here, idle, watch)));
    times.unwrap_or_default()
}

fn echo(socket: &Socket, idle: Idle, stop: &Stop) {
    let mut bytes = [0; 2_048];
    while !stop.is_set() {
        match socket.receive(&mut bytes) {
            Ok(length) => {
                let _ = socket.send(&bytes[..length]);
            }
            Err(_) => rest(socket, idle),
        }
    }
}

fn ping(socket: &Socket, idle: Idle, watch: &mut Watch) -> Times {
    let (mut bytes, packet) = ([0; 2_048], [7; 64]);
    let mut histogram = histogram();
    loop {
        let sent = watch.now();
        let _ = socket.send(&packet);
        while socket.receive(&mut bytes).is_err() {
            // Lost, which a path within one host does only under want of memory.
            if watch.now().since_ns(sent) > LOST_AFTER_NS {
                break;
            }
            rest(socket, idle);
        }
        let now = watch.now();
        if watch.counts(now) {
            histogram.saturating_record(now.since_ns(sent));
        }
        if !watch.done_at(now, 1) {
            return Times::of(&histogram);
        }
    }
}

fn rest(socket: &Socket, idle: Idle) {
    match idle {
        Idle::Spin => std::hint::spin_loop(),
        Idle::Park => {
            set_timer_slack_min();
            let _ = wait_readable([socket.as_fd()], Some(PARKED));
        }
    }
}

/// 64-byte packets, each its own send and its own receive, one way.
pub(super) fn packets_per_s(options: &Options, path: &Path) -> Option<f64> {
    one_way(options, path, 64, None)
}

/// Trains of 1,400-byte packets, or of smaller ones where the path carries no such, cut by the kernel and handed over
/// joined, one way.
pub(super) fn gso_bulk_bit_s(options: &Options, path: &Path) -> Option<f64> {
    let size = path.segment_size();
    let train = usize::from(size) * (64_000 / usize::from(size));
    one_way(options, path, train, Some(size)).map(|bytes| bytes * 8.0)
}

/// The same in packets of 64 bytes, 64 to a train: packets a second.
pub(super) fn gso_segments_per_s(options: &Options, path: &Path) -> Option<f64> {
    one_way(options, path, 64 * 64, Some(64)).map(|bytes| bytes / 64.0)
}

/// Sends `length` bytes at a time as fast as they go; what arrives a second: bytes where they are
/// segmented, else packets.
fn one_way(options: &Options, path: &Path, length: usize, segment_size: Option<u16>) -> Option<f64> {
    let (there, here) = path.udp_pair(segment_size.is_some()).ok()?;
    if let Some(size) = segment_size {
        here.set_segment_size(size).ok()?;
    }
    // The receiver holds the watch: only what arrived counts.
    duel(
        options,
        |stop| flood(&here, length, stop),
        |watch| {
            let mut bytes = PacketMemory::new(64 * 1024, Direction::In);
            loop {
                let received = socket_receive(&there, &mut bytes);
                let amount = if segment_size.is_some() { received } else { received.min(1) };
                if !watch.done(amount) {
                    return watch.per_s();
                }
            }
        },
    )
}

fn socket_receive(socket: &Socket, bytes: &mut [u8]) -> u64 {
    for _ in 0..SPINS_A_LOOK {
        if let Ok(length) = socket.receive(bytes) {
            return length as u64;
        }
        std::hint::spin_loop();
    }
    0
}

fn flood(socket: &Socket, length: usize, stop: &Stop) {
    let mut train = PacketMemory::new(length, Direction::Out);
    train.fill(7);
    while !stop.is_set() {
        let _ = socket.send(&train);
    }
}

const LOST_AFTER_NS: u64 = 20_000_000;
const PARKED: Duration = Duration::from_millis(5);
/// Empty looks between two readings of the clock.
const SPINS_A_LOOK: usize = 64;
