//! Pairs of backends to try the promises on.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringwire::io::memory::{MemoryBackend, Switch};
use ringwire::io::mmsg::Mmsg;
use ringwire::io::uring::Uring;
use ringwire::io::{Backend, Config, Ecn, Event, PathId, Received, Train};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Mmsg,
    Uring,
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn any_port(self) -> SocketAddr {
        match self {
            Family::V4 => "127.0.0.1:0",
            Family::V6 => "[::1]:0",
        }
        .parse()
        .expect("both are addresses")
    }
}

/// Can this host run `kind` over `family`? Says aloud when not.
pub fn available(kind: Kind, family: Family, test: &str) -> bool {
    let Err(why) = try_open(kind, &Config::new(family.any_port())) else { return true };
    assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "{kind:?} {family:?}: {why}");
    println!("SKIPPED {test}: {kind:?} {family:?}: {why}");
    false
}

pub fn open(kind: Kind, config: &Config) -> Box<dyn Backend> {
    try_open(kind, config).expect("available() opened one like it")
}

fn try_open(kind: Kind, config: &Config) -> Result<Box<dyn Backend>, String> {
    match kind {
        Kind::Uring => Uring::open(config).map(|b| Box::new(b) as _).map_err(|e| e.to_string()),
        Kind::Memory => Ok(Box::new(memory_end(config))),
        Kind::Mmsg => Mmsg::open(config).map(|b| Box::new(b) as _).map_err(|e| e.to_string()),
    }
}

/// An end on this test thread's own switch, at a port of its own.
fn memory_end(config: &Config) -> MemoryBackend<Switch> {
    thread_local! {
        static SWITCH: (Rc<RefCell<Switch>>, Cell<u16>) = Default::default();
    }
    SWITCH.with(|(switch, ports)| {
        ports.set(ports.get() + 1);
        let at = SocketAddr::new(config.bind.ip(), ports.get());
        let end = MemoryBackend::new(at, Rc::clone(switch)).with_ecn(config.ecn);
        if config.gro { end } else { end.without_gro() }
    })
}

/// Two ends that know each other as path 0.
pub struct Pair {
    pub here: Box<dyn Backend>,
    pub there: Box<dyn Backend>,
}

impl Pair {
    pub fn new(kind: Kind, family: Family) -> Pair {
        Pair::with(kind, family, |_| {}, |_| {})
    }

    /// A pair whose ends are configured by `here` and `there`.
    pub fn with(kind: Kind, family: Family, here: impl Fn(&mut Config), there: impl Fn(&mut Config)) -> Pair {
        let (mut config_here, mut config_there) =
            (Config::new(family.any_port()), Config::new(family.any_port()));
        here(&mut config_here);
        there(&mut config_there);
        let (mut here, mut there) = (open(kind, &config_here), open(kind, &config_there));
        here.register_path(PathId(0), there.local_addr());
        there.register_path(PathId(0), here.local_addr());
        Pair { here, there }
    }

    /// Sends bytes 0, 1, 2... cut into packets of `segment_size`, from here to there.
    pub fn send(&mut self, length: usize, segment_size: usize) {
        send(&mut *self.here, &framed(length, segment_size), segment_size);
    }

    /// What arrives there until `size` bytes came, or patience ends.
    pub fn collect(&mut self, size: usize) -> Vec<Arrival> {
        collect(&mut *self.there, size)
    }
}

/// One received buffer, copied out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub bytes: Vec<u8>,
    pub segment_size: usize,
    pub from: SocketAddr,
    pub ecn: Ecn,
}

/// `length` bytes as packets of `segment_size`, each with its length where a packet's header has it: a
/// backend may go by that when it cuts joined packets apart.
pub fn framed(length: usize, segment_size: usize) -> Vec<u8> {
    let mut bytes = pattern(length);
    for packet in bytes.chunks_mut(segment_size).filter(|packet| packet.len() >= 4) {
        let size = (packet.len() as u16).to_le_bytes();
        packet[2..4].copy_from_slice(&size);
    }
    bytes
}

pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

pub fn send(backend: &mut dyn Backend, bytes: &[u8], segment_size: usize) {
    let mut buffer = lend(backend);
    buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
    backend.submit(Train { buffer, length: bytes.len(), segment_size, path: PathId(0) });
    backend.flush().expect("the socket is alive");
}

/// Memory for one train, waiting for completions when all of it is in flight.
pub fn lend(backend: &mut dyn Backend) -> ringwire::io::TrainBuffer {
    for _ in 0..1_000 {
        if let Some(buffer) = backend.lend() {
            return buffer;
        }
        backend.flush().expect("the socket is alive");
    }
    panic!("{}: train buffers never came back", backend.name());
}

pub fn receive_once(backend: &mut dyn Backend) -> (Vec<Arrival>, bool) {
    let mut batch: Vec<Received> = Vec::new();
    let full = backend.receive(&mut batch).expect("a receive never fails on a live socket");
    let arrivals = batch
        .iter()
        .map(|received| Arrival {
            bytes: backend.buffer_mut(received.buffer)[..received.length as usize].to_vec(),
            segment_size: received.segment_size as usize,
            from: received.from,
            ecn: received.ecn,
        })
        .collect();
    backend.release();
    (arrivals, full)
}

pub fn collect(backend: &mut dyn Backend, size: usize) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    let mut idle = 0;
    while arrivals.iter().map(|a: &Arrival| a.bytes.len()).sum::<usize>() < size && idle < 20 {
        let (more, _) = receive_once(backend);
        if more.is_empty() {
            idle += 1;
            backend.wait(Some(Duration::from_millis(20))).expect("waiting works");
        }
        arrivals.extend(more);
    }
    arrivals
}

pub fn events(backend: &mut dyn Backend) -> Vec<Event> {
    let mut events = Vec::new();
    backend.poll_events(&mut events);
    events
}

pub fn packets(arrivals: &[Arrival]) -> Vec<usize> {
    arrivals.iter().flat_map(|arrival| arrival.bytes.chunks(arrival.segment_size).map(<[u8]>::len)).collect()
}

pub fn joined(arrivals: &[Arrival]) -> Vec<u8> {
    arrivals.iter().flat_map(|arrival| arrival.bytes.iter().copied()).collect()
}
