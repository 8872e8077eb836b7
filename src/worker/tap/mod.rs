//! The tap: a backend around a backend that looks at single packets, to impair and to capture them.
//!
//! Not for the simulator, whose links hold packets themselves; both ask the same model. A train is
//! split before the inner backend sees it and a joined receive is split before the worker does;
//! packets that travel on together are joined again, so that a tap that does nothing costs copies,
//! not system calls.
//!
//! ```text
//! worker -- submit --> split -> decide -> [due queue] -> join -> capture --> inner backend
//! worker <- receive -- join <- [due queue] <- decide <- capture <- split <-- inner backend
//! ```
//!
//! Invariant: a packet is in one place: dropped and counted, in a due queue, or handed on.

mod lane;

use std::cell::Cell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::bounds::RECEIVE_BATCH_MAX;
use crate::io::{Backend, Doorbell, Ecn, Event, IoCounters, Kept, PathId, Received, Train, TrainBuffer};
use crate::time::{Clock, Timestamp};
use crate::worker::impair::{Direction, ImpairCounters, ImpairSpec, Impairment};
use crate::worker::pcap::PcapWriter;

use lane::{Joined, Lane};

/// What a tap does.
#[derive(Default)]
pub struct TapConfig {
    /// How packets are impaired, each direction separately; `None` leaves them alone.
    pub impair: Option<ImpairSpec>,
    /// Where every packet is recorded as it leaves for the network and as it comes from it.
    pub capture: Option<Box<dyn Write>>,
}

/// What a tap counted, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounters {
    /// Packets from the worker to the network.
    pub outbound: ImpairCounters,
    /// Packets from the network to the worker.
    pub inbound: ImpairCounters,
    /// Packets dropped because a due queue was full.
    pub queue_full: u64,
    /// Packets that could not be written to the capture; after the first it is given up.
    pub capture_failed: u64,
}

/// A backend whose packets pass an impairment model and a capture.
pub struct Tap {
    inner: Box<dyn Backend>,
    clock: Rc<dyn Clock>,
    outbound: Lane<PathId>,
    inbound: Lane<(SocketAddr, Ecn)>,
    paths: Vec<SocketAddr>,
    capture: Capture,
    received: Vec<Received>,
    /// Buffers lent to the worker until `release`.
    buffers: Vec<Vec<u8>>,
    counters: Rc<Cell<TapCounters>>,
}

impl Tap {
    /// Puts a tap around `inner`. `clock` is the worker's.
    ///
    /// # Errors
    /// The capture's file header could not be written.
    pub fn new(inner: Box<dyn Backend>, clock: Rc<dyn Clock>, config: TapConfig) -> io::Result<Self> {
        let spec = config.impair.unwrap_or_default();
        Ok(Self {
            inner,
            clock,
            outbound: Lane::new(Impairment::new(spec.clone(), Direction::Outbound)),
            inbound: Lane::new(Impairment::new(spec, Direction::Inbound)),
            paths: Vec::new(),
            capture: Capture { writer: config.capture.map(PcapWriter::new).transpose()?, failed: 0 },
            received: Vec::new(),
            buffers: vec![Vec::new(); RECEIVE_BATCH_MAX],
            counters: Rc::default(),
        })
    }

    /// The counters, to be read while the worker owns the tap.
    #[must_use]
    pub fn watch(&self) -> Rc<Cell<TapCounters>> {
        Rc::clone(&self.counters)
    }

    /// Hands the inner backend the outbound packets that are due, as far as it lends memory.
    fn send_due(&mut self, now: Timestamp) -> io::Result<()> {
        let from = self.inner.local_addr();
        let mut submitted = false;
        while let Some(path) = self.outbound.due_key(now) {
            let Some(mut buffer) = self.inner.lend() else { break };
            let to = self.paths[path.0 as usize];
            let mut joined = Joined::default();
            while let Some(packet) = self.outbound.pop_joining(now, path, joined) {
                let at = joined.length;
                joined.add(packet.len());
                buffer.bytes_mut()[at..joined.length].copy_from_slice(&packet);
                self.capture.record(now, (from, to), Ecn::NotEct, &packet);
                self.outbound.recycle(packet);
            }
            let Joined { length, segment_size, .. } = joined;
            self.inner.submit(Train { buffer, length, segment_size, path });
            submitted = true;
        }
        if submitted { self.inner.flush() } else { Ok(()) }
    }

    /// Takes one batch from the inner backend into the inbound due queue. True when it was full.
    fn take_batch(&mut self, now: Timestamp) -> io::Result<bool> {
        let to = self.inner.local_addr();
        let full = self.inner.receive(&mut self.received);
        for &Received { buffer, length, segment_size, from, ecn } in &self.received {
            let bytes = &self.inner.buffer_mut(buffer)[..length as usize];
            for packet in bytes.chunks(segment_size.max(1) as usize) {
                self.capture.record(now, (from, to), ecn, packet);
                self.inbound.push(now, (from, ecn), packet);
            }
        }
        self.received.clear();
        self.inner.release();
        full
    }

    /// Fills `batch` with the inbound packets that are due. True when some had to stay.
    fn receive_due(&mut self, now: Timestamp, batch: &mut Vec<Received>) -> bool {
        for (buffer, bytes) in self.buffers.iter_mut().enumerate() {
            let Some((from, ecn)) = self.inbound.due_key(now) else { return false };
            bytes.clear();
            let mut joined = Joined::default();
            while let Some(packet) = self.inbound.pop_joining(now, (from, ecn), joined) {
                joined.add(packet.len());
                bytes.extend_from_slice(&packet);
                self.inbound.recycle(packet);
            }
            let (length, segment_size) = (joined.length as u32, joined.segment_size as u32);
            batch.push(Received { buffer: buffer as u32, length, segment_size, from, ecn });
        }
        self.inbound.due_key(now).is_some()
    }

    fn count(&self) {
        self.counters.set(TapCounters {
            outbound: self.outbound.model.counters(),
            inbound: self.inbound.model.counters(),
            queue_full: self.outbound.dropped + self.inbound.dropped,
            capture_failed: self.capture.failed,
        });
    }
}

impl Backend for Tap {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    fn route_size(&self, remote: SocketAddr) -> usize {
        self.inner.route_size(remote)
    }

    fn register_path(&mut self, path: PathId, remote: SocketAddr) {
        let index = path.0 as usize;
        assert!(index <= self.paths.len(), "path ids come in order");
        if index == self.paths.len() {
            self.paths.push(remote);
        } else {
            self.paths[index] = remote;
        }
        self.inner.register_path(path, remote);
    }

    fn mark(&mut self, path: PathId, ecn: Ecn) {
        self.inner.mark(path, ecn);
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> io::Result<bool> {
        batch.clear();
        let now = self.clock.now();
        // A turn that has nothing to send flushes nothing, yet delayed packets fall due.
        let sent = self.send_due(now);
        let full = self.take_batch(now);
        let more = self.receive_due(now, batch);
        self.count();
        sent?;
        Ok(full? || more)
    }

    fn buffer_mut(&mut self, buffer: u32) -> &mut [u8] {
        &mut self.buffers[buffer as usize]
    }

    fn release(&mut self) {
        // The inner backend's own buffers went back as soon as they were copied.
    }

    fn lend(&mut self) -> Option<TrainBuffer> {
        self.inner.lend()
    }

    fn give_back(&mut self, buffer: TrainBuffer) {
        self.inner.give_back(buffer);
    }

    fn submit(&mut self, mut train: Train) {
        let now = self.clock.now();
        train.buffer.fill();
        for packet in train.buffer.bytes()[..train.length].chunks(train.segment_size.max(1)) {
            self.outbound.push(now, train.path, packet);
        }
        self.inner.give_back(train.buffer);
    }

    fn flush(&mut self) -> io::Result<()> {
        let sent = self.send_due(self.clock.now());
        self.count();
        sent
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let now = self.clock.now();
        let due = [self.outbound.next_due(), self.inbound.next_due()].into_iter().flatten().min();
        let until_due = due.map(|due| now.until(due));
        self.inner.wait(match (timeout, until_due) {
            (Some(timeout), Some(until_due)) => Some(timeout.min(until_due)),
            (timeout, until_due) => timeout.or(until_due),
        })
    }

    fn doorbell(&self) -> Doorbell {
        self.inner.doorbell()
    }

    fn poll_events(&mut self, events: &mut Vec<Event>) {
        self.inner.poll_events(events);
    }

    fn shed(&mut self, kept: Option<Kept>) -> bool {
        self.inner.shed(kept)
    }

    fn counters(&mut self, look: bool) -> IoCounters {
        self.inner.counters(look)
    }

    fn receive_buffer_size(&self) -> u64 {
        self.inner.receive_buffer_size()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(writer) = &mut self.capture.writer {
            // Nobody is left to tell; a short capture still reads up to its last whole packet.
            let _ = writer.flush();
        }
    }
}

/// A capture that is given up at its first error: a full disk must not stop the packets.
struct Capture {
    writer: Option<PcapWriter<Box<dyn Write>>>,
    failed: u64,
}

impl Capture {
    fn record(&mut self, now: Timestamp, (from, to): (SocketAddr, SocketAddr), ecn: Ecn, packet: &[u8]) {
        let Some(writer) = &mut self.writer else { return };
        if writer.packet(now, from, to, ecn, packet).is_err() {
            self.failed += 1;
            self.writer = None;
        }
    }
}

#[cfg(test)]
mod tests;
