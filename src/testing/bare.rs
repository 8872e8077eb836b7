//! A worker, and peers of its that say whatever a test makes them say, under valid keys.
//!
//! For what an honest engine never does: acknowledge what was never sent, open calls without end,
//! contradict itself. The handshake is done by hand here; no engine stands behind a [`BarePeer`].

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use crate::bounds::{HEADER_SIZE, TAG_SIZE};
use crate::crypto::{Csprng, Handshake, Identity, NoiseHandshake, Protector, Role, Suite};
use crate::io::Ecn;
use crate::io::memory::{Hub, MemoryBackend};
use crate::rng::Rng;
use crate::time::{Clock, Timestamp, VirtualClock};
use crate::transport::Config;
use crate::transport::security::{Gate, Security};
use crate::wire::{
    Accept, Bounds, Header, INIT_PACKET_SIZE, Init, PacketKind, PacketNumber, SessionId, VERSION, Writer,
};
use crate::worker::{App, Worker, WorkerConfig};

/// Packets by whom they are for; delivered at once.
#[derive(Default)]
struct Queues(HashMap<SocketAddr, VecDeque<(SocketAddr, Vec<u8>)>>);

impl Hub for Queues {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], _ecn: Ecn) {
        self.0.entry(to).or_default().push_back((from, packet.to_vec()));
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        let (from, packet) = self.0.get_mut(&at)?.pop_front()?;
        *into = packet;
        Some((from, Ecn::NotEct))
    }
}

/// The worker under test, on a virtual clock.
pub struct BareServer<A: App> {
    clock: VirtualClock,
    queues: Rc<RefCell<Queues>>,
    worker: Worker<A>,
}

/// One peer of it.
pub struct BarePeer {
    address: SocketAddr,
    protector: Protector,
    /// What the worker calls the session.
    remote: SessionId,
    next: u64,
    /// What the worker granted.
    pub granted: Bounds,
}

const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 1), 1);
const SERVER_SEED: u64 = 0;
/// Turns that are busy one after the other, before there is no end to them.
const TURNS_MAX: usize = 100_000;

/// The identity that the peer of `seed` has; seed 0 is the worker's own.
#[must_use]
pub fn identity(seed: u64) -> Identity {
    Identity::generate(&mut Csprng::new(Rng::entropy(seed)))
}

impl<A: App> BareServer<A> {
    /// A worker that lets in whom `gate` does, with `config` but for its ids and its trust.
    #[must_use]
    pub fn new(config: Config, gate: impl Gate + 'static, app: A) -> Self {
        let clock = VirtualClock::new(Timestamp(1_000_000_000));
        let queues = Rc::new(RefCell::new(Queues::default()));
        let mut security = Security::sealed(&identity(SERVER_SEED), None, 0, Timestamp(0));
        security.gate = std::sync::Arc::new(gate);
        let transport = Config { entropy: Rng::entropy(!SERVER_SEED), security, boot_id: 1, ..config };
        let config = WorkerConfig { transport, ..WorkerConfig::default() };
        let backend = Box::new(MemoryBackend::new(SERVER.into(), queues.clone()));
        let worker = Worker::new(config, backend, Rc::new(clock.clone()), app);
        Self { clock, queues, worker }
    }

    /// The worker.
    pub fn worker(&mut self) -> &mut Worker<A> {
        &mut self.worker
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Turns the worker until it has nothing left to do, then moves the clock on by `ns`.
    pub fn run(&mut self, ns: u64) {
        self.settle();
        self.clock.advance_to(self.clock.now().after_ns(ns));
        self.settle();
    }

    /// Turns until there is nothing left to do.
    fn settle(&mut self) {
        let busy = (0..TURNS_MAX).take_while(|_| !self.worker.turn().idle).count();
        assert!(busy < TURNS_MAX, "the worker turns without end");
    }

    /// Moves the clock to the next moment at which something is due, at most to `until`, and turns the worker
    /// until it has nothing left to do: so each thing happens at its own time.
    pub fn step(&mut self, until: Timestamp) {
        let now = self.clock.now();
        self.clock.advance_to(self.worker.due_at().max(now.after_ns(1)).min(until).max(now));
        self.settle();
    }

    /// Lets the worker have a packet from `peer`'s address.
    pub fn hear(&mut self, peer: &BarePeer, packet: Vec<u8>) {
        self.queues.borrow_mut().0.entry(SERVER.into()).or_default().push_back((peer.address, packet));
    }

    /// Lets the worker have a packet that comes from `from`, whoever made it.
    pub fn hear_from(&mut self, from: SocketAddr, packet: Vec<u8>) {
        self.queues.borrow_mut().0.entry(SERVER.into()).or_default().push_back((from, packet));
    }

    /// What the worker sent to `at` since this was last asked, as it left.
    pub fn sent_to(&mut self, at: SocketAddr) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.take(at)).collect()
    }

    /// What the worker sent to `peer` since this was last asked, opened: the frames of each packet.
    pub fn said_to(&mut self, peer: &mut BarePeer) -> Vec<Vec<u8>> {
        self.packets_to(peer).into_iter().map(|(_, frames)| frames).collect()
    }

    /// [`BareServer::said_to`], each packet with its number.
    pub fn packets_to(&mut self, peer: &mut BarePeer) -> Vec<(PacketNumber, Vec<u8>)> {
        let mut packets = Vec::new();
        while let Some(mut packet) = self.take(peer.address) {
            let header = Header::decode(&packet);
            if let (Ok(header), Ok(_)) = (header, peer.protector.open(&mut packet)) {
                packets.push((header.number, packet[HEADER_SIZE..packet.len() - TAG_SIZE].to_vec()));
            }
        }
        packets
    }

    fn take(&mut self, at: SocketAddr) -> Option<Vec<u8>> {
        self.queues.borrow_mut().0.get_mut(&at)?.pop_front().map(|(_, packet)| packet)
    }

    /// Opens a session as the peer of `seed`; `None` when it is refused. One at a time: where more
    /// handshakes wait, the worker asks for cookies, which this has no answer to.
    ///
    /// # Panics
    /// When the worker's answer is not one to a client's first message.
    pub fn connect(&mut self, seed: u64, port: u16) -> Option<BarePeer> {
        let bounds = Bounds {
            packet_size_max: 16_368,
            unit_window: 4_096,
            call_slots: 1_024,
            message_size_max: 64 << 20,
            credit: 1 << 40,
            max_ack_delay_ns: 25_000,
            idle_timeout_ms: 0,
            lanes: 8,
        };
        self.connect_within(seed, port, bounds)
    }

    /// [`BareServer::connect`] with what the peer takes.
    pub fn connect_within(&mut self, seed: u64, port: u16, bounds: Bounds) -> Option<BarePeer> {
        let address = SocketAddr::from((Ipv4Addr::new(10, 0, 1, seed as u8), port));
        self.run(1_000);
        let local = SessionId(seed << 16 | u64::from(port));
        let mut init =
            Init { version: VERSION, session: local, boot: seed, bounds, suite: 1, cookie: &[], blob: &[] };
        let mut body = vec![0; INIT_PACKET_SIZE];
        init.encode(&mut body);
        let payload = [self.now().0.to_le_bytes().as_slice(), &[0x5a; 16]].concat();
        let noise = NoiseHandshake::new(identity(seed), None);
        let server = identity(SERVER_SEED).public_key();
        let entropy = Rng::entropy(seed << 16 | u64::from(port));
        let prologue = &body[..init.prologue_size()];
        let (mut initiator, blob) =
            noise.initiate(Some(&server), prologue, &payload, entropy).expect("the key is known");
        init.blob = &blob;
        let mut packet = vec![0; INIT_PACKET_SIZE];
        header(PacketKind::Init, SessionId(0), 0, packet.len()).encode(&mut packet);
        init.encode(&mut packet[HEADER_SIZE..INIT_PACKET_SIZE - TAG_SIZE]);
        Protector::handshake().seal(&mut packet);
        self.queues.borrow_mut().0.entry(SERVER.into()).or_default().push_back((address, packet));
        self.run(1_000);
        let mut answer = self.take(address)?;
        Protector::handshake().open(&mut answer).expect("it came undamaged");
        if Header::decode(&answer).expect("a header").kind != PacketKind::Accept {
            return None;
        }
        let accept = Accept::decode(&answer[HEADER_SIZE..answer.len() - TAG_SIZE]).expect("an ACCEPT");
        let finished = initiator.finish(&accept.prologue(), accept.blob).expect("the server's proof");
        let suite = Suite::from_byte(accept.suite).expect("a suite");
        let protector = Protector::new(suite, &finished.keys, Role::Client);
        let (remote, granted) = (accept.session, accept.bounds);
        let mut peer = BarePeer { address, protector, remote, next: 0, granted };
        // The rest of what the worker says first is of no interest.
        self.run(1_000);
        self.said_to(&mut peer);
        Some(peer)
    }
}

impl BarePeer {
    /// The next packet, sealed, with the frames that `write` puts into it.
    pub fn say(&mut self, write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut frames = vec![0; FRAMES_SIZE_MAX];
        let mut writer = Writer::new(&mut frames);
        write(&mut writer);
        let size = writer.position();
        self.say_bytes(&frames[..size])
    }

    /// The next packet, sealed, with `frames` as they are.
    pub fn say_bytes(&mut self, frames: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEADER_SIZE + frames.len() + TAG_SIZE];
        let mut header = header(PacketKind::Data, self.remote, self.next, packet.len());
        header.epoch = self.protector.epoch();
        header.encode(&mut packet);
        packet[HEADER_SIZE..HEADER_SIZE + frames.len()].copy_from_slice(frames);
        self.protector.seal(&mut packet);
        self.next += 1;
        packet
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The frames of a packet of the worker's; `None` when it is not one for this peer.
    pub fn open(&mut self, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        self.protector.open(&mut packet).ok()?;
        Some(packet[HEADER_SIZE..packet.len() - TAG_SIZE].to_vec())
    }

    /// Leaves out `count` packet numbers.
    pub fn skip(&mut self, count: u64) {
        self.next += count;
    }

    /// The number that the next packet gets.
    #[must_use]
    pub fn next(&self) -> PacketNumber {
        PacketNumber(self.next)
    }

    /// Goes on with the next keys.
    pub fn update_keys(&mut self) {
        self.protector.update();
    }
}

fn header(kind: PacketKind, session: SessionId, number: u64, length: usize) -> Header {
    Header { kind, epoch: 0, length: length as u16, session, number: PacketNumber(number) }
}

/// What one packet can carry.
const FRAMES_SIZE_MAX: usize = 16_000;
