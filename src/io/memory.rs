//! The `memory` backend: endpoints of one process, joined by whatever a [`Hub`] makes of the network
//! between them. Tests use [`Switch`]; the simulator brings its own links.
//!
//! ```text
//! submit -> flush -> one Hub::send per packet ~~> Hub::receive -> joined like GRO -> receive
//! ```
//!
//! It never sleeps and reads no clock: [`Backend::wait`] returns at once, time is its caller's.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::outbox::TrainPool;
use super::{Backend, Doorbell, Ecn, Event, IoCounters, PathId, Received, Train, TrainBuffer};
use crate::bounds::{PACKET_SIZE_MAX, RECEIVE_BATCH_MAX, TRAIN_PACKETS_MAX, TRAIN_SIZE_MAX};

/// The network between memory backends, packet by packet.
pub trait Hub {
    /// Takes one packet from `from` to `to`: to deliver, delay, damage or lose.
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], ecn: Ecn);

    /// Replaces `into` by the next packet that has arrived at `at` by now; its sender and ECN bits.
    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)>;

    /// The largest packet that the first link from `from` to `to` takes, in bytes of UDP payload. A
    /// longer one is the event [`Event::PacketTooBig`] and never reaches [`Hub::send`].
    fn packet_size_max(&self, _from: SocketAddr, _to: SocketAddr) -> usize {
        TRAIN_SIZE_MAX
    }

    /// Packets lost so far because the receive buffer at `at` was full.
    fn drops(&self, _at: SocketAddr) -> u64 {
        0
    }

    /// The receive buffer at `at`, in bytes of true size.
    fn receive_buffer_size(&self, _at: SocketAddr) -> u64 {
        8 << 20
    }
}

/// One endpoint on a [`Hub`].
#[derive(Debug)]
pub struct MemoryBackend<H: Hub + ?Sized> {
    at: SocketAddr,
    hub: Rc<RefCell<H>>,
    ecn: Ecn,
    paths: Vec<SocketAddr>,
    /// By path: what its packets are marked with, where the endpoint marks none by itself.
    marks: Vec<Ecn>,
    pool: TrainPool,
    submitted: Vec<Train>,
    buffers: Vec<Vec<u8>>,
    /// A packet taken from the hub that did not fit the buffer before it.
    held: Option<(SocketAddr, Ecn)>,
    held_bytes: Vec<u8>,
    join: bool,
    events: Vec<Event>,
    counters: IoCounters,
}

impl<H: Hub + ?Sized> MemoryBackend<H> {
    /// The endpoint at `at`. It joins equal packets of one sender as `UDP_GRO` does, as many as the kernel.
    #[must_use]
    pub fn new(at: SocketAddr, hub: Rc<RefCell<H>>) -> Self {
        Self {
            at,
            hub,
            ecn: Ecn::NotEct,
            paths: Vec::new(),
            marks: Vec::new(),
            pool: TrainPool::default(),
            submitted: Vec::new(),
            buffers: vec![Vec::new(); RECEIVE_BATCH_MAX],
            held: None,
            held_bytes: Vec::new(),
            join: true,
            events: Vec::new(),
            counters: IoCounters::default(),
        }
    }

    /// The same endpoint, handing over each packet in its own buffer.
    #[must_use]
    pub fn without_gro(mut self) -> Self {
        self.join = false;
        self
    }

    /// The same endpoint, its packets marked with `ecn`.
    #[must_use]
    pub fn with_ecn(mut self, ecn: Ecn) -> Self {
        self.ecn = ecn;
        self
    }

    /// Fills `buffer` with the next packet and those that join it.
    fn fill(&mut self, buffer: usize) -> Option<Received> {
        let (from, ecn) = self.next_into_held()?;
        self.held = None;
        let bytes = &mut self.buffers[buffer];
        bytes.clear();
        bytes.extend_from_slice(&self.held_bytes);
        let segment_size = bytes.len();
        let mut packets = 1;
        while self.join && packets < TRAIN_PACKETS_MAX && self.next_into_held() == Some((from, ecn)) {
            let (bytes, next) = (&mut self.buffers[buffer], self.held_bytes.len());
            let whole = bytes.len() == packets * segment_size;
            if !whole || next > segment_size || bytes.len() + next > TRAIN_SIZE_MAX {
                break;
            }
            bytes.extend_from_slice(&self.held_bytes);
            self.held = None;
            packets += 1;
        }
        self.counters.packets_received += packets as u64;
        let length = self.buffers[buffer].len() as u32;
        let segment_size = segment_size as u32;
        Some(Received { buffer: buffer as u32, length, segment_size, from, ecn })
    }

    /// The next packet, in `held_bytes` and not yet consumed. Empty ones hold nothing to tell.
    fn next_into_held(&mut self) -> Option<(SocketAddr, Ecn)> {
        while self.held.is_none() {
            let next = self.hub.borrow_mut().receive(self.at, &mut self.held_bytes)?;
            self.held = (!self.held_bytes.is_empty()).then_some(next);
        }
        self.held
    }

    fn send(&mut self, train: &Train) {
        let to = self.paths[train.path.0 as usize];
        let mark = self.marks[train.path.0 as usize];
        let ecn = if mark == Ecn::NotEct { self.ecn } else { mark };
        let mut hub = self.hub.borrow_mut();
        if train.segment_size.min(train.length) > hub.packet_size_max(self.at, to) {
            let segment_size = train.segment_size.min(train.length);
            self.events.push(Event::PacketTooBig { path: train.path, segment_size });
            self.counters.send_dropped += train.packets() as u64;
            return;
        }
        for packet in train.buffer.bytes()[..train.length].chunks(train.segment_size) {
            hub.send(self.at, to, packet, ecn);
            self.counters.packets_sent += 1;
        }
        self.counters.send_calls += 1;
    }
}

impl<H: Hub + ?Sized> Backend for MemoryBackend<H> {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn local_addr(&self) -> SocketAddr {
        self.at
    }

    fn route_size(&self, _remote: SocketAddr) -> usize {
        PACKET_SIZE_MAX
    }

    fn register_path(&mut self, path: PathId, remote: SocketAddr) {
        let index = path.0 as usize;
        if index < self.paths.len() {
            self.paths[index] = remote;
            self.marks[index] = Ecn::NotEct;
        } else {
            assert_eq!(index, self.paths.len(), "path ids come in order");
            self.paths.push(remote);
            self.marks.push(Ecn::NotEct);
        }
    }

    fn mark(&mut self, path: PathId, ecn: Ecn) {
        self.marks[path.0 as usize] = ecn;
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> io::Result<bool> {
        batch.clear();
        batch.extend((0..RECEIVE_BATCH_MAX).map_while(|buffer| self.fill(buffer)));
        self.counters.receive_calls += u64::from(!batch.is_empty());
        Ok(batch.len() == RECEIVE_BATCH_MAX)
    }

    fn buffer_mut(&mut self, buffer: u32) -> &mut [u8] {
        &mut self.buffers[buffer as usize]
    }

    fn release(&mut self) {}

    fn lend(&mut self) -> Option<TrainBuffer> {
        if let Some(buffer) = self.pool.lend() {
            return Some(buffer);
        }
        self.flush().ok()?;
        self.pool.lend()
    }

    fn give_back(&mut self, buffer: TrainBuffer) {
        self.pool.give_back(buffer);
    }

    fn submit(&mut self, mut train: Train) {
        train.buffer.fill();
        self.submitted.push(train);
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut submitted = std::mem::take(&mut self.submitted);
        for train in submitted.drain(..) {
            self.send(&train);
            self.pool.give_back(train.buffer);
        }
        self.submitted = submitted;
        Ok(())
    }

    fn wait(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        Ok(())
    }

    fn doorbell(&self) -> Doorbell {
        // There is no sleep to end.
        Doorbell::new(|| {})
    }

    fn poll_events(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.events);
    }

    fn counters(&mut self, look: bool) -> IoCounters {
        if look {
            self.counters.socket_drops = self.hub.borrow().drops(self.at);
        }
        self.counters
    }

    fn receive_buffer_size(&self) -> u64 {
        self.hub.borrow().receive_buffer_size(self.at)
    }
}

/// The plainest [`Hub`]: every packet arrives at once and in order, until a queue is full.
#[derive(Debug, Default)]
pub struct Switch {
    queues: FxHashMap<SocketAddr, VecDeque<Packet>>,
    drops: FxHashMap<SocketAddr, u64>,
    spare: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Packet {
    from: SocketAddr,
    ecn: Ecn,
    bytes: Vec<u8>,
}

impl Hub for Switch {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], ecn: Ecn) {
        let queue = self.queues.entry(to).or_default();
        if queue.len() >= SWITCH_QUEUE_MAX {
            *self.drops.entry(to).or_default() += 1;
            return;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(packet);
        queue.push_back(Packet { from, ecn, bytes });
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        let mut packet = self.queues.get_mut(&at)?.pop_front()?;
        std::mem::swap(into, &mut packet.bytes);
        self.spare.push(packet.bytes);
        Some((packet.from, packet.ecn))
    }

    fn drops(&self, at: SocketAddr) -> u64 {
        self.drops.get(&at).copied().unwrap_or(0)
    }
}

/// Two endpoints joined by a [`Switch`].
#[must_use]
pub fn pair(a: SocketAddr, b: SocketAddr) -> (MemoryBackend<Switch>, MemoryBackend<Switch>) {
    let switch = Rc::new(RefCell::new(Switch::default()));
    (MemoryBackend::new(a, Rc::clone(&switch)), MemoryBackend::new(b, switch))
}

/// Packets one endpoint's queue holds in a [`Switch`].
const SWITCH_QUEUE_MAX: usize = 16_384;
