//! The `mmsg` backend: sendmmsg and recvmmsg with `UDP_SEGMENT` and `UDP_GRO`.
//!
//! ```text
//! submit -> Outbox (pieces) -> SendBatch -> sendmmsg    a piece is a train, or one packet without GSO
//! ReceiveArena <- recvmmsg, or recvmsg after an empty look
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::outbox::{Outbox, Piece, TrainPool};
use super::paths::Paths;
use super::refusal::Refusal;
use super::report::Report;
use super::{Backend, Config, Doorbell, Event, IoCounters, PathId, Received, Train, TrainBuffer};
use crate::bounds::{RECEIVE_BATCH_MAX, TRAIN_BUFFERS_MAX};
use crate::sys::{self, Bell, Outgoing, ReceiveArena, SendBatch, Socket};

/// One UDP socket driven by batched system calls.
#[derive(Debug)]
pub struct Mmsg {
    socket: Socket,
    arena: ReceiveArena,
    batch: SendBatch,
    outbox: Outbox,
    pool: TrainPool,
    paths: Paths,
    report: Report,
    connected: Option<SocketAddr>,
    gso: bool,
    /// The last receive found something: the next one asks for a whole batch.
    busy: bool,
    /// A wait ended on this socket: if there is nothing to read, its error queue woke us.
    woken: bool,
    slack_set: bool,
    bell: Bell,
}

impl Mmsg {
    /// Opens the socket and finds out by use which offloads work here.
    ///
    /// # Errors
    /// The address cannot be bound or connected to, or the process is out of descriptors.
    pub fn open(config: &Config) -> io::Result<Self> {
        let opened = super::open::open(config)?;
        Ok(Self {
            socket: opened.socket,
            arena: ReceiveArena::new(RECEIVE_BATCH_MAX, RECEIVE_BUFFER_SIZE),
            batch: SendBatch::new(SEND_BATCH_MAX),
            outbox: Outbox::default(),
            pool: TrainPool::default(),
            paths: Paths::default(),
            report: Report::default(),
            connected: config.connect,
            gso: opened.gso,
            busy: false,
            woken: false,
            slack_set: false,
            bell: Bell::new()?,
        })
    }

    /// Fills up to `limit` receive buffers; 0 when nothing waits.
    fn fill(&mut self, limit: usize) -> io::Result<usize> {
        for _ in 0..PENDING_ERRORS_MAX {
            match self.arena.receive(&self.socket, limit) {
                Ok(filled) => return Ok(filled),
                Err(error) => match Refusal::of(&error) {
                    Refusal::NoRoom => break,
                    Refusal::Interrupted => {}
                    refusal if refusal.may_be_pending() => self.read_error_queue(refusal),
                    _ => return Err(error),
                },
            }
        }
        if std::mem::take(&mut self.woken) {
            self.read_error_queue(Refusal::Rejected);
        }
        Ok(0)
    }

    /// Turns what ICMP said into events. `seen` is what a call just returned: a connected socket
    /// without an error queue says no more than that.
    #[cold]
    fn read_error_queue(&mut self, seen: Refusal) {
        self.report.drain_errors(&self.socket, &self.paths, self.connected, seen);
    }

    fn send_pending(&mut self) -> io::Result<()> {
        let mut tries = Tries::default();
        while let Some(first) = self.outbox.pending().first().copied() {
            let (outbox, paths) = (&self.outbox, &self.paths);
            let trains = outbox.pending().iter().map(|piece| Outgoing {
                bytes: outbox.bytes(piece),
                segment_size: piece.is_train().then_some(piece.segment_size as u16),
                to: paths.address(outbox.path(piece)),
            });
            match self.batch.send(&self.socket, trains) {
                Ok(taken) => {
                    tries = Tries::default();
                    self.on_sent(&first, taken);
                }
                Err(error) => self.on_refused(&first, &error, &mut tries)?,
            }
        }
        Ok(())
    }

    fn on_sent(&mut self, first: &Piece, taken: usize) {
        if first.second_try && self.gso {
            // The very packets that failed as a train went out one by one: it was the offload.
            self.gso = false;
            self.report.push(Event::GsoOff);
        }
        let packets: usize = self.outbox.pending()[..taken].iter().map(Piece::packets).sum();
        self.report.counters.packets_sent += packets as u64;
        self.report.counters.send_calls += 1;
        self.outbox.advance(taken);
    }

    /// The kernel refused the first pending piece: decide what becomes of it.
    #[cold]
    fn on_refused(&mut self, first: &Piece, error: &io::Error, tries: &mut Tries) -> io::Result<()> {
        let refusal = Refusal::of(error);
        let path = self.outbox.path(first);
        if refusal.may_be_pending() {
            self.read_error_queue(Refusal::Rejected);
            if tries.pending_error() {
                return Ok(());
            }
        }
        match refusal {
            Refusal::Interrupted => return Ok(()),
            Refusal::NoRoom if tries.no_room() => return Ok(()),
            Refusal::Offload if first.is_train() => {
                self.outbox.split_first();
                return Ok(());
            }
            Refusal::TooBig => {
                let segment_size = first.segment_size as usize;
                self.report.push(Event::PacketTooBig { path, segment_size });
                self.report.counters.send_dropped += self.outbox.drop_first_train() as u64;
            }
            Refusal::Unreachable => {
                self.report.push(Event::Unreachable { path: Some(path) });
                self.drop_first(path);
            }
            _ => self.drop_first(path),
        }
        *tries = Tries::default();
        if refusal == Refusal::Broken { Err(io::Error::from_raw_os_error(raw(error))) } else { Ok(()) }
    }

    fn drop_first(&mut self, path: PathId) {
        let packets = self.outbox.drop_first_train();
        self.report.dropped(path, packets);
    }
}

impl Backend for Mmsg {
    fn name(&self) -> &'static str {
        "mmsg"
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    fn register_path(&mut self, path: PathId, remote: SocketAddr) {
        self.paths.register(path, remote, self.connected);
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> io::Result<bool> {
        batch.clear();
        // After an empty look the next packet is most likely alone, and one recvmsg is cheaper than a
        // recvmmsg that must look twice. Had there been more, the next receive takes them as a batch.
        let limit = if self.busy { RECEIVE_BATCH_MAX } else { 1 };
        let filled = self.fill(limit)?;
        self.busy = filled > 0;
        if filled == 0 {
            return Ok(false);
        }
        self.woken = false;
        self.report.counters.receive_calls += 1;
        for index in 0..filled {
            let arrived = self.arena.arrived(index);
            batch.extend(self.report.received(index as u32, &arrived));
        }
        Ok(filled == limit)
    }

    fn buffer_mut(&mut self, buffer: u32) -> &mut [u8] {
        self.arena.buffer_mut(buffer as usize)
    }

    fn release(&mut self) {}

    fn lend(&mut self) -> Option<TrainBuffer> {
        if let Some(buffer) = self.pool.lend() {
            return Some(buffer);
        }
        // Sends are over when the call returns, so submitted trains free their buffers at once.
        self.flush().ok()?;
        self.pool.lend()
    }

    fn give_back(&mut self, buffer: TrainBuffer) {
        self.pool.give_back(buffer);
    }

    fn submit(&mut self, train: Train) {
        self.outbox.push(train, self.gso);
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.send_pending();
        if result.is_err() {
            while !self.outbox.pending().is_empty() {
                self.outbox.drop_first_train();
            }
        }
        self.outbox.recycle(&mut self.pool);
        result
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if !std::mem::replace(&mut self.slack_set, true) {
            sys::wait::set_timer_slack_min();
        }
        let ready = sys::wait::wait_readable([self.socket.as_fd(), self.bell.as_fd()], timeout)?;
        self.woken = ready & 1 != 0;
        if ready & 2 != 0 {
            self.bell.hear();
        }
        Ok(())
    }

    fn doorbell(&self) -> Doorbell {
        let bell = self.bell.clone();
        Doorbell::new(move || bell.ring())
    }

    fn poll_events(&mut self, events: &mut Vec<Event>) {
        self.report.poll_events(events);
    }

    fn counters(&mut self, look: bool) -> IoCounters {
        if look {
            self.report.look(&self.socket);
        }
        self.report.counters
    }

    fn receive_buffer_size(&self) -> u64 {
        self.socket.receive_buffer_size()
    }
}

/// How often the piece at the head has been tried.
#[derive(Debug, Default)]
struct Tries {
    no_room: u32,
    pending_errors: u32,
}

impl Tries {
    /// May the send be tried again after the kernel had no room? Spins a moment first.
    fn no_room(&mut self) -> bool {
        self.no_room += 1;
        (0..NO_ROOM_SPINS).for_each(|_| std::hint::spin_loop());
        self.no_room <= NO_ROOM_TRIES_MAX
    }

    /// May the send be tried again after what may have been an earlier packet's error?
    fn pending_error(&mut self) -> bool {
        self.pending_errors += 1;
        self.pending_errors <= 1
    }
}

fn raw(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// The kernel joins at most one IP packet's worth: a smaller buffer would cut packets off.
pub(super) const RECEIVE_BUFFER_SIZE: usize = 64 * 1024;
/// Trains, or packets where GSO is off, in one sendmmsg.
const SEND_BATCH_MAX: usize = TRAIN_BUFFERS_MAX;
/// Errors of earlier packets one receive steps over.
const PENDING_ERRORS_MAX: usize = 8;
/// Sends tried again while the kernel has no room, with a few microseconds in all between them.
const NO_ROOM_TRIES_MAX: u32 = 3;
const NO_ROOM_SPINS: u32 = 50;
