//! Sending trains with batched system calls, and what becomes of those the kernel refuses.

use std::io;

use super::outbox::{Outbox, Piece, TrainPool};
use super::port::Port;
use super::refusal::Refusal;
use super::{Event, PathId, Train, TrainBuffer};
use crate::bounds::TRAIN_BUFFERS_MAX;
use crate::hint::rarely;
use crate::sys::{Outgoing, SendBatch, send_plain};

/// Trains waiting to be sent, and the memory that trains are sealed into.
#[derive(Debug)]
pub(super) struct Sender {
    batch: SendBatch,
    outbox: Outbox,
    pool: TrainPool,
    gso: bool,
}

impl Sender {
    pub fn new(gso: bool) -> Self {
        Self {
            batch: SendBatch::new(SEND_BATCH_MAX),
            outbox: Outbox::default(),
            pool: TrainPool::default(),
            gso,
        }
    }

    /// Does the kernel cut trains into packets?
    pub fn gso(&self) -> bool {
        self.gso
    }

    pub fn lend(&mut self) -> Option<TrainBuffer> {
        self.pool.lend()
    }

    pub fn give_back(&mut self, buffer: TrainBuffer) {
        self.pool.give_back(buffer);
    }

    pub fn push(&mut self, train: Train) {
        self.outbox.push(train, self.gso);
    }

    /// One packet, which a round trip waits for, leaves by the shortest way there is: a batch of one is five times the
    /// work, and its memory would change hands twice. False where that takes a control message, or something waits
    /// to leave before it, or the kernel refused: [`Sender::flush`] knows what to do about each error.
    #[inline]
    pub fn send_lone(&self, path: PathId, packet: &[u8], port: &mut Port) -> bool {
        let regular = port.is_regular(path);
        if rarely(!self.outbox.is_empty() || !regular && port.paths.traffic_class(path).is_some()) {
            return false;
        }
        let to = if regular { None } else { port.paths.address(path) };
        match send_plain(&port.inlet(regular).socket, packet, to) {
            Ok(()) => {
                port.votes.sent(path);
                port.report.counters.packets_sent += 1;
                port.report.counters.send_calls += 1;
                true
            }
            Err(error) => {
                on_lone_refused(port, &error);
                false
            }
        }
    }

    /// Sends everything pushed, or gives it up with an event. An error means the socket is gone.
    pub fn flush(&mut self, port: &mut Port) -> io::Result<()> {
        let result = self.send_pending(port);
        if result.is_err() {
            while !self.outbox.pending().is_empty() {
                self.outbox.drop_first_train();
            }
        }
        self.outbox.recycle(&mut self.pool);
        result
    }

    fn send_pending(&mut self, port: &mut Port) -> io::Result<()> {
        let mut tries = Tries::default();
        while let Some(first) = self.outbox.pending().first().copied() {
            match self.send_batch(port, &first) {
                // A call that took nothing and names no error: without room, or it would be made for ever.
                Ok(0) => {
                    let error = io::Error::from_raw_os_error(libc::EAGAIN);
                    self.on_refused(port, &first, error, &mut tries)?;
                }
                Ok(taken) => {
                    tries = Tries::default();
                    self.on_sent(port, &first, taken);
                }
                Err(error) => self.on_refused(port, &first, error, &mut tries)?,
            }
        }
        Ok(())
    }

    /// Sends as many pieces, of which `first` is the first, as one call takes; how many that was.
    fn send_batch(&mut self, port: &Port, first: &Piece) -> io::Result<usize> {
        let (outbox, paths) = (&self.outbox, &port.paths);
        // One call serves one socket: as many as go by that of the first.
        let regular = port.is_regular(outbox.path(first));
        let alike = outbox.pending().iter().map(|piece| (piece, outbox.path(piece)));
        let alike = alike.take_while(|(_, path)| port.is_regular(*path) == regular);
        let trains = alike.map(|(piece, path)| Outgoing {
            parts: outbox.parts(piece),
            segment_size: piece.is_train().then_some(piece.segment_size as u16),
            to: if regular { None } else { paths.address(path) },
            class: if regular { None } else { paths.traffic_class(path) },
        });
        self.batch.send(&port.inlet(regular).socket, trains)
    }

    #[cfg(test)]
    pub fn pretend_sent(&mut self, port: &mut Port, taken: usize) {
        let first = self.outbox.pending()[0];
        self.on_sent(port, &first, taken);
    }

    fn on_sent(&mut self, port: &mut Port, first: &Piece, taken: usize) {
        if first.second_try && self.gso {
            // The very packets that failed as a train went out one by one: it was the offload.
            self.gso = false;
            port.report.push(Event::GsoOff);
        }
        let mut packets = 0;
        for piece in &self.outbox.pending()[..taken] {
            packets += piece.packets();
            port.votes.sent(self.outbox.path(piece));
        }
        port.report.counters.packets_sent += packets as u64;
        port.report.counters.send_calls += 1;
        self.outbox.advance(taken);
    }

    /// The kernel refused the first pending piece: decide what becomes of it.
    #[cold]
    fn on_refused(
        &mut self,
        port: &mut Port,
        first: &Piece,
        error: io::Error,
        tries: &mut Tries,
    ) -> io::Result<()> {
        let refusal = Refusal::of(&error);
        let path = self.outbox.path(first);
        if refusal.may_be_pending() {
            port.drain_errors(Refusal::Rejected);
            if tries.pending_error() {
                return Ok(());
            }
        }
        if port.is_regular(path)
            && matches!(refusal, Refusal::Unreachable | Refusal::Rejected | Refusal::Broken)
        {
            // This host's address may be gone, or the remote: the port's own socket asks for the route anew.
            port.drop_regular();
            return Ok(());
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
                port.report.push(Event::PacketTooBig { path, segment_size });
                port.report.counters.send_dropped += self.outbox.drop_first_train() as u64;
            }
            Refusal::Unreachable => {
                port.report.push(Event::Unreachable { path: Some(path) });
                self.drop_first(port, path);
            }
            Refusal::NoRoom => port.report.counters.dropped_no_room += self.drop_first(port, path),
            Refusal::Offload => port.report.counters.dropped_offload += self.drop_first(port, path),
            Refusal::Broken => {
                self.drop_first(port, path);
                return Err(error);
            }
            _ => {
                self.drop_first(port, path);
            }
        }
        *tries = Tries::default();
        Ok(())
    }

    /// Gives the train at the head up; how many packets that loses.
    fn drop_first(&mut self, port: &mut Port, path: PathId) -> u64 {
        let packets = self.outbox.drop_first_train();
        port.report.dropped(path, packets);
        packets as u64
    }
}

/// What the kernel said may be about an earlier packet: then it says so once.
#[cold]
fn on_lone_refused(port: &mut Port, error: &io::Error) {
    if Refusal::of(error).may_be_pending() {
        port.drain_errors(Refusal::Rejected);
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

/// Trains, or packets where GSO is off, in one sendmmsg.
const SEND_BATCH_MAX: usize = TRAIN_BUFFERS_MAX;
/// Sends tried again while the kernel has no room, with a few microseconds in all between them.
const NO_ROOM_TRIES_MAX: u32 = 3;
const NO_ROOM_SPINS: u32 = 50;
