//! Packets that reached one worker's socket and belong to another's.
//!
//! The kernel steers by the session id's low byte where it can, but it joins packets of one sender
//! before it steers (GRO), so one buffer may hold packets for several workers.
//!
//! ```text
//!  socket 0 --> worker 0: mine? --yes--> engine
//!                          | no
//!                          +--> Exchange ring 1 --> worker 1's next receive
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_queue::{ArrayQueue, SegQueue};

use super::Sleep;
use crate::bounds::RECEIVE_BATCH_MAX;
use crate::io::{Backend, Doorbell, Ecn, Event, IoCounters, PathId, Received, Train, TrainBuffer};
use crate::transport::LaneNote;

/// Packets that wait for one worker; more are dropped and counted, as a full socket buffer would.
const HANDED_MAX: usize = 1_024;
/// The session id is little-endian behind kind, epoch and length; its low byte names the worker.
const OWNER_AT: usize = 4;
/// The first byte of a RESET: it names the sender's session, so every worker must look at it.
const RESET: u8 = 0x15;
/// Kinds from here on are the handshake's.
const HANDSHAKE_KIND_MIN: u8 = 0x10;
/// Handed-over buffers are numbered from here, far above a backend's own.
const HANDED_BASE: u32 = 1 << 24;

/// A packet on its way to the right worker.
#[derive(Debug)]
struct Packet {
    from: SocketAddr,
    ecn: Ecn,
    bytes: Vec<u8>,
}

/// What was handed over, as counted by all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandoverCounters {
    /// Packets that arrived at the socket of the worker they belong to.
    pub steered: u64,
    /// Packets that arrived elsewhere and were handed over.
    pub handed: u64,
    /// Packets dropped because the right worker's ring was full.
    pub dropped: u64,
}

/// The rings between an endpoint's workers.
#[derive(Debug)]
pub struct Exchange {
    rings: Vec<Handover>,
    steered: AtomicU64,
    handed: AtomicU64,
}

/// One worker's side: what was handed to it.
#[derive(Debug)]
pub struct Handover {
    packets: ArrayQueue<Packet>,
    /// What other workers' engines say to this one's about lanes: a few for each lane there is.
    notes: SegQueue<(Option<SocketAddr>, LaneNote)>,
    sleep: Arc<Sleep>,
    /// Packets that found the ring full.
    dropped: AtomicU64,
}

impl Handover {
    fn dropped(&self) -> u64 {
        // Relaxed: a count that publishes nothing.
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Exchange {
    /// Rings for workers that sleep by `sleeps`, in the order of their indices.
    #[must_use]
    pub fn new(sleeps: impl IntoIterator<Item = Arc<Sleep>>) -> Self {
        let ring = |sleep| {
            let packets = ArrayQueue::new(HANDED_MAX);
            Handover { packets, notes: SegQueue::new(), sleep, dropped: AtomicU64::new(0) }
        };
        Self {
            rings: sleeps.into_iter().map(ring).collect(),
            steered: AtomicU64::new(0),
            handed: AtomicU64::new(0),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> HandoverCounters {
        HandoverCounters {
            steered: self.steered.load(Ordering::Relaxed),
            handed: self.handed.load(Ordering::Relaxed),
            dropped: self.rings.iter().map(Handover::dropped).sum(),
        }
    }

    /// True when packets wait for `worker`.
    #[must_use]
    pub fn has_mail(&self, worker: u8) -> bool {
        let ring = &self.rings[usize::from(worker)];
        !ring.packets.is_empty() || !ring.notes.is_empty()
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.rings.len()
    }

    /// Carries a note to the worker it is for, with the address that its path means.
    pub fn post_note(&self, remote: Option<SocketAddr>, note: LaneNote) {
        let ring = &self.rings[usize::from(note.to)];
        ring.notes.push((remote, note));
        ring.sleep.rouse();
    }

    /// The oldest note for `worker`.
    #[must_use]
    pub fn take_note(&self, worker: u8) -> Option<(Option<SocketAddr>, LaneNote)> {
        self.rings[usize::from(worker)].notes.pop()
    }

    /// Hands a packet that came in at the front door to the worker it is for.
    pub fn admit(&self, from: SocketAddr, ecn: Ecn, packet: &[u8]) {
        match packet {
            [RESET, ..] => (0..self.rings.len()).for_each(|to| self.hand(to, from, ecn, packet)),
            _ => self.hand(self.host_of(from, packet), from, ecn, packet),
        }
    }

    /// The worker that should see a handshake packet: the one it names, or, for an INIT that names
    /// none, the same one each time for one client's attempt, since its cookie is that worker's.
    fn host_of(&self, from: SocketAddr, packet: &[u8]) -> usize {
        let workers = self.rings.len();
        let named = usize::from(packet.get(OWNER_AT).copied().unwrap_or(0));
        let is_init = packet.first() == Some(&HANDSHAKE_KIND_MIN);
        let names_one = packet.get(OWNER_AT + 1) == Some(&1);
        if !is_init || names_one {
            return if named < workers { named } else { 0 };
        }
        // The client's own session id is at 24: its random half and its address spread the attempts.
        let id = packet.get(24..32).and_then(|bytes| bytes.first_chunk::<8>()).copied();
        let mixed = u64::from_le_bytes(id.unwrap_or_default()) ^ u64::from(from.port()) << 17;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % workers
    }

    fn hand(&self, to: usize, from: SocketAddr, ecn: Ecn, packet: &[u8]) {
        let ring = &self.rings[to];
        match ring.packets.push(Packet { from, ecn, bytes: packet.to_vec() }) {
            Ok(()) => ring.sleep.rouse(),
            Err(_) => {
                ring.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The worker that owns a DATA packet, when it is not `me` and exists.
    #[inline]
    fn stranger(&self, me: u8, packet: &[u8]) -> Option<usize> {
        let owner = *packet.get(OWNER_AT)?;
        let is_data = packet[0] < HANDSHAKE_KIND_MIN;
        (is_data && owner != me && usize::from(owner) < self.rings.len()).then_some(usize::from(owner))
    }
}

/// A worker's backend on a port that it shares: keeps its own packets, hands over the others', and
/// receives what was handed to it.
pub struct SteeredBackend {
    inner: Box<dyn Backend>,
    exchange: Arc<Exchange>,
    me: u8,
    handed: Vec<Vec<u8>>,
}

impl SteeredBackend {
    /// Worker `me`'s backend over `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn Backend>, exchange: Arc<Exchange>, me: u8) -> Self {
        Self { inner, exchange, me, handed: Vec::new() }
    }

    /// Hands over the packets of one buffer that are another's, and moves ours together. The bytes
    /// that are left.
    fn sort(&mut self, received: &Received) -> u32 {
        let Self { inner, exchange, me, .. } = self;
        let segment = (received.segment_size as usize).max(1);
        let buffer = &mut inner.buffer_mut(received.buffer)[..received.length as usize];
        let packets = buffer.len().div_ceil(segment) as u64;
        if buffer.chunks(segment).all(|packet| exchange.stranger(*me, packet).is_none()) {
            exchange.steered.fetch_add(packets, Ordering::Relaxed);
            return received.length;
        }
        let (mut kept, mut at, mut strangers) = (0, 0, 0);
        while at < buffer.len() {
            let end = (at + segment).min(buffer.len());
            match exchange.stranger(*me, &buffer[at..end]) {
                Some(owner) => {
                    strangers += 1;
                    exchange.hand(owner, received.from, received.ecn, &buffer[at..end]);
                }
                None => {
                    buffer.copy_within(at..end, kept);
                    kept += end - at;
                }
            }
            at = end;
        }
        exchange.handed.fetch_add(strangers, Ordering::Relaxed);
        exchange.steered.fetch_add(packets - strangers, Ordering::Relaxed);
        kept as u32
    }

    fn take_handed(&mut self, batch: &mut Vec<Received>) -> bool {
        let ring = &self.exchange.rings[usize::from(self.me)];
        while self.handed.len() < RECEIVE_BATCH_MAX {
            let Some(packet) = ring.packets.pop() else { return false };
            let size = packet.bytes.len() as u32;
            batch.push(Received {
                buffer: HANDED_BASE + self.handed.len() as u32,
                length: size,
                segment_size: size,
                from: packet.from,
                ecn: packet.ecn,
            });
            self.handed.push(packet.bytes);
        }
        true
    }
}

impl Backend for SteeredBackend {
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
        self.inner.register_path(path, remote);
    }

    fn mark(&mut self, path: PathId, ecn: Ecn) {
        self.inner.mark(path, ecn);
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> io::Result<bool> {
        let full = self.inner.receive(batch)?;
        let came = !batch.is_empty();
        for received in batch.iter_mut() {
            let kept = self.sort(received);
            received.length = kept;
            received.segment_size = received.segment_size.min(kept.max(1));
        }
        batch.retain(|received| received.length > 0);
        let more = self.take_handed(batch);
        if came && batch.is_empty() {
            // The worker releases only what it was given.
            self.inner.release();
        }
        Ok(full || more)
    }

    fn buffer_mut(&mut self, buffer: u32) -> &mut [u8] {
        match buffer.checked_sub(HANDED_BASE) {
            Some(index) => &mut self.handed[index as usize],
            None => self.inner.buffer_mut(buffer),
        }
    }

    fn release(&mut self) {
        self.handed.clear();
        self.inner.release();
    }

    fn lend(&mut self) -> Option<TrainBuffer> {
        self.inner.lend()
    }

    fn give_back(&mut self, buffer: TrainBuffer) {
        self.inner.give_back(buffer);
    }

    fn submit(&mut self, train: Train) {
        self.inner.submit(train);
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    fn send_lone(&mut self, path: PathId, packet: &[u8]) -> bool {
        self.inner.send_lone(path, packet)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.wait(timeout)
    }

    fn doorbell(&self) -> Doorbell {
        self.inner.doorbell()
    }

    fn poll_events(&mut self, events: &mut Vec<Event>) {
        self.inner.poll_events(events);
    }

    fn counters(&mut self, look: bool) -> IoCounters {
        let ring_dropped = self.exchange.rings[usize::from(self.me)].dropped();
        IoCounters { ring_dropped, ..self.inner.counters(look) }
    }

    fn receive_buffer_size(&self) -> u64 {
        self.inner.receive_buffer_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::memory;

    const SIZE: usize = 40;

    fn packet(kind: u8, owner: u8, mark: u8) -> [u8; SIZE] {
        let mut packet = [0; SIZE];
        (packet[0], packet[OWNER_AT], packet[SIZE - 1]) = (kind, owner, mark);
        packet
    }

    fn marks(backend: &mut SteeredBackend) -> Vec<u8> {
        let mut batch = Vec::new();
        backend.receive(&mut batch).expect("memory does not fail");
        let mut marks = Vec::new();
        for received in &batch {
            let bytes = &backend.buffer_mut(received.buffer)[..received.length as usize];
            marks.extend(bytes.chunks(received.segment_size as usize).map(|packet| packet[SIZE - 1]));
        }
        if !batch.is_empty() {
            backend.release();
        }
        marks
    }

    #[test]
    fn a_train_for_two_workers_is_split_and_each_packet_reaches_its_own() {
        let (sender, first): (SocketAddr, SocketAddr) =
            (([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into());
        let (mut from, to) = memory::pair(sender, first);
        let (_, other) = memory::pair(sender, first);
        let exchange = Arc::new(Exchange::new([Arc::default(), Arc::default()]));
        let mut zero = SteeredBackend::new(Box::new(to), exchange.clone(), 0);
        let mut one = SteeredBackend::new(Box::new(other), exchange.clone(), 1);
        from.register_path(PathId(0), first);
        let mut buffer = from.lend().expect("memory");
        let train =
            [packet(1, 0, 10), packet(1, 1, 11), packet(1, 0, 12), packet(1, 7, 13), packet(1, 1, 14)];
        buffer.bytes_mut()[..5 * SIZE].copy_from_slice(train.as_flattened());
        from.submit(Train { buffer, length: 5 * SIZE, segment_size: SIZE, path: PathId(0) });
        from.flush().expect("memory does not fail");
        assert_eq!(marks(&mut zero), [10, 12, 13], "its own, and one that is no worker's");
        assert_eq!(marks(&mut one), [11, 14]);
        assert_eq!(exchange.counters(), HandoverCounters { steered: 3, handed: 2, dropped: 0 });
        assert!(marks(&mut zero).is_empty());
    }

    #[test]
    fn a_handshake_goes_where_it_points_and_a_reset_to_everyone() {
        let exchange = Exchange::new((0..4).map(|_| Arc::default()));
        let from = ([10, 0, 0, 1], 1).into();
        let waiting = |exchange: &Exchange| -> Vec<usize> {
            exchange.rings.iter().map(|ring| std::iter::from_fn(|| ring.packets.pop()).count()).collect()
        };
        let mut wanted = packet(HANDSHAKE_KIND_MIN, 2, 0);
        wanted[OWNER_AT + 1] = 1;
        exchange.admit(from, Ecn::NotEct, &wanted);
        assert_eq!(waiting(&exchange), [0, 0, 1, 0]);
        exchange.admit(from, Ecn::NotEct, &packet(0x12, 3, 0));
        assert_eq!(waiting(&exchange), [0, 0, 0, 1]);
        exchange.admit(from, Ecn::NotEct, &packet(RESET, 3, 0));
        assert_eq!(waiting(&exchange), [1, 1, 1, 1]);
        // Any worker will do: the same one for the same client's attempt, others for others.
        let mut seen = [0; 4];
        for client in 0..64u8 {
            let mut init = packet(HANDSHAKE_KIND_MIN, 0, 0);
            init[28] = client;
            exchange.admit(from, Ecn::NotEct, &init);
            exchange.admit(from, Ecn::NotEct, &init);
            let now = waiting(&exchange);
            assert!(now.contains(&2), "{now:?}");
            (0..4).for_each(|worker| seen[worker] += now[worker]);
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }
}
