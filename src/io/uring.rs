//! The `uring` backend: io_uring with a multishot receive and sends with `UDP_SEGMENT`.
//!
//! ```text
//! submit -> one SENDMSG per train --- flush: one enter, which also runs deferred receives ---> kernel
//! receive <- completion queue in shared memory: a spinning worker with nothing to do makes no call
//! ```
//!
//! io_uring has no sendmmsg: where the kernel cannot cut trains, and for a train it refused, packets go
//! by the batched calls of `mmsg` on the same socket.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use super::mmsg::RECEIVE_BUFFER_SIZE;
use super::port::Port;
use super::refusal::Refusal;
use super::sender::Sender;
use super::{Backend, Config, Doorbell, Ecn, Event, IoCounters, Kept, PathId, Received, Train, TrainBuffer};
use crate::bounds::{RECEIVE_BATCH_MAX, TRAIN_BUFFERS_MAX};
use crate::rings::PacketMemory;
use crate::sys::uring::{Completion, Ring, RingOptions, RingSend, SetupError};

/// Why there is no such backend.
#[derive(Debug, Error)]
pub enum UringError {
    /// io_uring itself, or a part of it that is needed, is missing or blocked.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It set up and then did not carry a packet.
    #[error("io_uring set up, but a packet to itself did not arrive: {0}")]
    Probe(io::Error),
    /// The socket could not be opened.
    #[error("{0}")]
    Socket(io::Error),
}

/// One UDP socket driven through io_uring.
#[derive(Debug)]
pub struct Uring {
    /// Declared first: it drops first and ends what is in flight on the port's socket.
    ring: Option<Ring>,
    port: Port,
    sender: Sender,
    completions: Vec<Completion>,
    /// Filled buffers not yet handed over.
    arrived: VecDeque<u16>,
    /// Filled buffers of the last receive.
    lent: Vec<u16>,
    /// Trains in flight that the kernel may still refuse.
    in_flight: Vec<Option<Flying>>,
}

/// What is known of a train in flight, besides its bytes.
#[derive(Clone, Copy, Debug)]
struct Flying {
    length: usize,
    segment_size: usize,
    path: PathId,
}

impl Uring {
    /// Opens the socket. The ring is made by the first call that needs it, on the thread that turns
    /// the backend: it belongs to one thread for life.
    ///
    /// # Errors
    /// The address cannot be bound, or a small ring made to try it did not work.
    pub fn open(config: &Config) -> Result<Self, UringError> {
        probe(config)?;
        Self::open_unprobed(config).map_err(UringError::Socket)
    }

    fn open_unprobed(config: &Config) -> io::Result<Self> {
        let (port, gso) = Port::open(config)?;
        Ok(Self {
            ring: None,
            port,
            sender: Sender::new(gso),
            completions: Vec::with_capacity(2 * TRAIN_BUFFERS_MAX),
            arrived: VecDeque::with_capacity(usize::from(BUFFERS)),
            lent: Vec::with_capacity(usize::from(BUFFERS)),
            in_flight: vec![None; TRAIN_BUFFERS_MAX],
        })
    }

    #[cold]
    fn start(&mut self) -> io::Result<()> {
        let ring = Ring::open(&self.port.inlet.socket, &self.port.bell, OPTIONS);
        self.ring = Some(ring.map_err(io::Error::other)?);
        Ok(())
    }

    fn started(&mut self) -> io::Result<&mut Ring> {
        if self.ring.is_none() {
            self.start()?;
        }
        Ok(self.ring.as_mut().expect("started just above"))
    }

    /// Handles what has completed; what it leads to is queued, not sent.
    fn reap(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        let mut completions = std::mem::take(&mut self.completions);
        ring.reap(&mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Received { buffer } => self.arrived.push_back(buffer),
                Completion::ReceiveEnded { errno } => self.on_receive_ended(errno),
                Completion::Sent { token, bytes, errno } => self.on_sent(token, bytes, errno),
                Completion::Bell => {
                    self.port.bell.hear();
                }
            }
        }
        self.completions = completions;
    }

    fn on_receive_ended(&mut self, errno: i32) {
        // ENOBUFS: all buffers are filled; it is armed again once some are back.
        if errno != 0 && errno != libc::ENOBUFS {
            let refusal = Refusal::of(&io::Error::from_raw_os_error(errno));
            if refusal.may_be_pending() {
                self.port.drain_errors(refusal);
            }
        }
    }

    fn on_sent(&mut self, token: u64, bytes: PacketMemory, errno: i32) {
        let flying = self.in_flight[token as usize].take().expect("each send completes once");
        let Flying { length, segment_size, path } = flying;
        let train = Train { buffer: TrainBuffer::from_memory(bytes), length, segment_size, path };
        if errno == 0 {
            let counters = &mut self.port.report.counters;
            counters.packets_sent += train.packets() as u64;
            self.sender.give_back(train.buffer);
            return;
        }
        if Refusal::of(&io::Error::from_raw_os_error(errno)).may_be_pending() {
            self.port.drain_errors(Refusal::Rejected);
        }
        // The batched path knows what each error means; it sends the train again or gives it up.
        self.sender.push(train);
    }

    /// Brings forward what the kernel has for us, if shared memory shows that there is anything.
    fn turn(&mut self) -> io::Result<()> {
        let ring = self.started()?;
        if ring.wants_enter() {
            ring.enter()?;
        }
        self.reap();
        Ok(())
    }
}

impl Backend for Uring {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn local_addr(&self) -> SocketAddr {
        self.port.inlet.socket.local_addr()
    }

    fn register_path(&mut self, path: PathId, remote: SocketAddr) {
        self.port.register_path(path, remote);
    }

    fn mark(&mut self, path: PathId, ecn: Ecn) {
        self.port.mark(path, ecn);
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> io::Result<bool> {
        batch.clear();
        debug_assert!(self.lent.is_empty(), "buffers are released before the next receive");
        if self.arrived.len() < RECEIVE_BATCH_MAX {
            let ring = self.started()?;
            if !ring.receives() {
                ring.arm_receive();
            }
            self.turn()?;
        }
        let ring = self.ring.as_mut().expect("started above, or nothing could have arrived");
        let count = self.arrived.len().min(RECEIVE_BATCH_MAX);
        for buffer in self.arrived.drain(..count) {
            self.lent.push(buffer);
            batch.extend(self.port.report.received(u32::from(buffer), &ring.arrived(buffer)));
        }
        self.port.report.counters.receive_calls += u64::from(count > 0);
        Ok(count == RECEIVE_BATCH_MAX || !ring.receives())
    }

    fn buffer_mut(&mut self, buffer: u32) -> &mut [u8] {
        let ring = self.ring.as_mut().expect("a buffer was received, so the ring exists");
        ring.buffer_mut(buffer as u16)
    }

    fn release(&mut self) {
        if let Some(ring) = self.ring.as_mut()
            && !self.lent.is_empty()
        {
            ring.give_back(self.lent.drain(..));
        }
    }

    fn lend(&mut self) -> Option<TrainBuffer> {
        if let Some(buffer) = self.sender.lend() {
            return Some(buffer);
        }
        self.flush().ok()?;
        self.sender.lend()
    }

    fn give_back(&mut self, buffer: TrainBuffer) {
        self.sender.give_back(buffer);
    }

    fn submit(&mut self, train: Train) {
        let single = train.length <= train.segment_size;
        let slot = self.in_flight.iter().position(Option::is_none);
        let (Some(slot), true, Ok(_)) = (slot, single || self.sender.gso(), self.started()) else {
            self.sender.push(train);
            return;
        };
        let Train { buffer, length, segment_size, path } = train;
        let send = RingSend {
            bytes: buffer.into_memory(),
            length,
            segment_size: (!single).then_some(segment_size as u16),
            to: self.port.paths.address(path).copied(),
            class: self.port.paths.traffic_class(path),
            token: slot as u64,
        };
        let ring = self.ring.as_mut().expect("started above");
        match ring.send(send) {
            Ok(()) => self.in_flight[slot] = Some(Flying { length, segment_size, path }),
            Err(back) => {
                let buffer = TrainBuffer::from_memory(back.bytes);
                self.sender.push(Train { buffer, length, segment_size, path });
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.ring.as_ref().is_some_and(|ring| ring.sends_in_flight() > 0) {
            self.port.report.counters.send_calls += 1;
            self.turn()?;
        }
        self.sender.flush(&mut self.port)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !self.arrived.is_empty() {
            return Ok(());
        }
        self.port.sharpen_timer();
        let ring = self.started()?;
        ring.arm_receive();
        ring.arm_bell();
        self.turn()?;
        // Whatever came in already is worth turning for, a bell too.
        if self.arrived.is_empty() && timeout != Some(Duration::ZERO) && self.quiet() {
            self.started()?.wait(timeout)?;
            self.reap();
        }
        self.sender.flush(&mut self.port)
    }

    fn doorbell(&self) -> Doorbell {
        self.port.doorbell()
    }

    fn poll_events(&mut self, events: &mut Vec<Event>) {
        self.port.report.poll_events(events);
    }

    fn shed(&mut self, kept: Option<Kept>) -> bool {
        self.port.shed(kept)
    }

    fn counters(&mut self, look: bool) -> IoCounters {
        if look {
            self.port.look();
        }
        self.port.report.counters
    }

    fn receive_buffer_size(&self) -> u64 {
        self.port.inlet.socket.receive_buffer_size()
    }
}

impl Uring {
    /// Are the receive and the bell still armed after a turn, so that a wait would hear of both?
    fn quiet(&self) -> bool {
        self.ring.as_ref().is_some_and(Ring::listens)
    }
}

/// Makes a backend of this kind on loopback and lets it send itself a packet.
fn probe(config: &Config) -> Result<(), UringError> {
    let ip: std::net::IpAddr = if config.bind.is_ipv6() {
        std::net::Ipv6Addr::LOCALHOST.into()
    } else {
        std::net::Ipv4Addr::LOCALHOST.into()
    };
    let mut scratch = Config::new(SocketAddr::new(ip, 0));
    (scratch.gso, scratch.gro, scratch.socket_buffer) = (false, false, Some(64 * 1024));
    let mut trial = Uring::open_unprobed(&scratch).map_err(UringError::Socket)?;
    trial.ring = Some(Ring::open(&trial.port.inlet.socket, &trial.port.bell, PROBE_OPTIONS)?);
    hears_itself(&mut trial)
}

fn hears_itself(trial: &mut Uring) -> Result<(), UringError> {
    trial.register_path(PathId(0), trial.local_addr());
    let mut buffer = trial.lend().expect("nothing is in flight yet");
    buffer.bytes_mut()[..PROBE.len()].copy_from_slice(PROBE);
    let length = PROBE.len();
    trial.submit(Train { buffer, length, segment_size: length, path: PathId(0) });
    trial.flush().map_err(UringError::Probe)?;
    let mut batch = Vec::new();
    for _ in 0..PROBE_ROUNDS {
        trial.receive(&mut batch).map_err(UringError::Probe)?;
        // Whoever had this port before may still be sent to.
        let own = batch.iter().find(|received| received.from == trial.local_addr());
        let own = own.map(|own| (own.buffer, own.length as usize));
        let whole = own.map(|(buffer, length)| trial.buffer_mut(buffer)[..length] == *PROBE);
        if !batch.is_empty() {
            trial.release();
        }
        if let Some(whole) = whole {
            let broken = || UringError::Probe(io::Error::other("it came out changed"));
            return whole.then_some(()).ok_or_else(broken);
        }
        trial.wait(Some(PROBE_WAIT)).map_err(UringError::Probe)?;
    }
    Err(UringError::Probe(io::ErrorKind::TimedOut.into()))
}

/// Receive buffers: as many as one turn takes, so that what waits longer waits in the socket.
const BUFFERS: u16 = RECEIVE_BATCH_MAX as u16;
const OPTIONS: RingOptions =
    RingOptions { buffers: BUFFERS, buffer_size: RECEIVE_BUFFER_SIZE, sends: TRAIN_BUFFERS_MAX as u16 };
const PROBE_OPTIONS: RingOptions = RingOptions { buffers: 2, buffer_size: 256, sends: 2 };
const PROBE: &[u8] = b"is anyone there?";
const PROBE_ROUNDS: u32 = 5;
const PROBE_WAIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::mmsg::Mmsg;

    #[test]
    fn packets_for_whoever_had_the_port_before_do_not_make_io_uring_look_broken() {
        let config = Config::new("127.0.0.1:0".parse().expect("an address"));
        if let Err(why) = probe(&config) {
            assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "{why}");
            println!(
                "SKIPPED packets_for_whoever_had_the_port_before_do_not_make_io_uring_look_broken: {why}"
            );
            return;
        }
        let mut trial = Uring::open_unprobed(&config).expect("a free port");
        let other = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        for _ in 0..4 {
            other.send_to(b"for somebody else", trial.local_addr()).expect("loopback takes it");
        }
        assert!(hears_itself(&mut trial).is_ok());
    }

    /// io_uring tells of a send's error in its completion, when the turn that made it is long over.
    #[test]
    fn a_send_that_completes_with_an_error_goes_again_by_the_batched_calls() {
        let config = Config::new("127.0.0.1:0".parse().expect("an address"));
        for errno in [libc::ENOBUFS, libc::EAGAIN, libc::ENOMEM, libc::EIO, libc::EINTR] {
            let mut here = match Uring::open(&config) {
                Ok(here) => here,
                Err(why) => {
                    assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "{why}");
                    println!(
                        "SKIPPED a_send_that_completes_with_an_error_goes_again_by_the_batched_calls: {why}"
                    );
                    return;
                }
            };
            let mut there = Mmsg::open(&config).expect("a free port");
            here.register_path(PathId(0), there.local_addr());
            let mut buffer = here.lend().expect("nothing is in flight");
            buffer.bytes_mut()[..90].fill(3);
            // As if a train of three had been refused.
            here.in_flight[0] = Some(Flying { length: 90, segment_size: 30, path: PathId(0) });
            here.on_sent(0, buffer.into_memory(), errno);
            here.flush().expect("the socket is well");
            let (mut batch, mut size) = (Vec::new(), 0);
            for _ in 0..20 {
                there.receive(&mut batch).expect("the socket is well");
                size += batch.iter().map(|received| received.length).sum::<u32>();
                there.release();
            }
            let counters = here.counters(false);
            assert_eq!((size, counters.packets_sent, counters.send_dropped), (90, 3, 0), "errno {errno}");
        }
    }
}
