//! The `mmsg` backend: sendmmsg and recvmmsg with `UDP_SEGMENT` and `UDP_GRO`.
//!
//! ```text
//! submit -> Outbox (pieces) -> SendBatch -> sendmmsg    a piece is a train, or one packet without GSO
//! ReceiveArena <- recvmmsg, or recvfrom after an empty look; large packets stay in the socket for a while: see `held`
//! ```

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::port::Port;
use super::refusal::Refusal;
use super::regular::Looks;
use super::report::packets;
use super::segments::segment_size;
use super::sender::Sender;
use super::{Backend, Config, Doorbell, Ecn, Event, IoCounters, Kept, PathId, Received, Train, TrainBuffer};
use crate::bounds::RECEIVE_BATCH_MAX;
use crate::hint::rarely;
use crate::sys::ReceiveArena;

/// A port driven by batched system calls: its socket, and one for its regular.
#[derive(Debug)]
pub struct Mmsg {
    pub(super) port: Port,
    arena: ReceiveArena,
    pub(super) sender: Sender,
    looks: Looks,
    /// The socket's packets may come marked, so that every receive must take control messages.
    shows_ecn: bool,
    /// A wait ended on this socket: if there is nothing to read, its error queue woke us.
    woken: bool,
}

impl Mmsg {
    /// Opens the socket and finds out by use which offloads work here.
    ///
    /// # Errors
    /// The address cannot be bound or connected to, or the process is out of descriptors.
    pub fn open(config: &Config) -> io::Result<Self> {
        let (mut port, gso) = Port::open(config)?;
        port.let_packets_stay();
        Ok(Self {
            port,
            arena: ReceiveArena::new(RECEIVE_BATCH_MAX, RECEIVE_BUFFER_SIZE),
            sender: Sender::new(gso),
            looks: Looks::default(),
            shows_ecn: config.ecn != Ecn::NotEct,
            woken: false,
        })
    }

    #[cfg(test)]
    pub(super) fn has_regular(&self) -> bool {
        self.port.has_regular()
    }

    #[cfg(test)]
    pub(super) fn regular(&self) -> Option<SocketAddr> {
        self.port.regular()
    }

    #[cfg(test)]
    pub(super) fn was_woken(&self) -> bool {
        self.woken
    }

    #[cfg(test)]
    pub(super) fn inlet(&self, regular: bool) -> &super::inlet::Inlet {
        self.port.inlet(regular)
    }

    /// One look by the cheapest call there is; how many packets it found. Nearly every look finds nothing, and the next
    /// packet is met by half of one on average.
    #[inline]
    fn look_once(&mut self, look: Look) -> io::Result<usize> {
        let inlet = self.port.inlet(look.regular);
        match self.arena.receive_plain(0, &inlet.socket, inlet.plain(look.stays)) {
            Ok(found) => Ok(usize::from(found)),
            // Behind an earlier packet's error others may wait: what is not empty must not be taken for it.
            Err(error) => self.on_error(error).and_then(|()| self.fill(look, 0, 1)),
        }
    }

    /// Takes the `count` oldest of the packets that were read and left in a socket out of it.
    #[inline(never)]
    fn take_out(&mut self, regular: bool, count: usize) {
        for _ in 0..PENDING_ERRORS_MAX {
            let Err(error) = self.port.inlet_mut(regular).take_out(count) else { return };
            if self.on_error(error).is_err() {
                return;
            }
        }
    }

    /// Takes out what was to stay until its answer has left, and what has stayed for long enough.
    #[inline]
    fn take_out_due(&mut self, regular: bool) {
        match self.port.inlet(regular).held.due() {
            0 => (),
            due => self.take_out(regular, due),
        }
    }

    /// What a receive that was not plain put into buffer `index`.
    #[inline(never)]
    fn received(&mut self, look: Look, index: usize) -> Option<Received> {
        let mut arrived = self.arena.arrived(index);
        if arrived.segment_size == arrived.length {
            // Alone, or joined before the kernel was told to join no more: it does not say of those.
            let bytes = &self.arena.buffer_mut(index)[..arrived.length as usize];
            arrived.segment_size = segment_size(bytes) as u32;
        }
        let held = &mut self.port.inlet_mut(look.regular).held;
        held.read(arrived.length, arrived.segment_size, look.stays);
        self.port.report.received(index as u32, &arrived)
    }

    /// What a plain receive put into buffer `index`.
    #[inline(always)]
    fn received_plain(&mut self, look: Look, index: usize) -> Option<Received> {
        let bytes = self.arena.plain_mut(index);
        let (length, segment_size) = (bytes.len() as u32, segment_size(bytes) as u32);
        let inlet = self.port.inlet_mut(look.regular);
        inlet.held.read(length, segment_size, look.stays);
        // An address that is known is copied from where it always lies. One that was just put together from its parts,
        // and then copied as a whole, waits for those stores.
        let from = match inlet.sender() {
            Some(sender) => *sender,
            None => self.arena.sender(index)?,
        };
        let packets = packets(length, segment_size)?;
        self.port.report.counters.packets_received += u64::from(packets);
        Some(Received { buffer: index as u32, length, segment_size, from, ecn: Ecn::NotEct })
    }

    /// One look, at the socket whose turn it is. True when more may be there.
    #[inline(always)]
    fn receive_by_look(&mut self, batch: &mut Vec<Received>) -> io::Result<bool> {
        // After an empty look the next packet is most likely alone. Had there been more, the next receive
        // takes them. A recvfrom costs half of a recvmsg, also while it finds nothing, and for a few packets
        // less than a recvmmsg: that is for crowds.
        let regular = self.port.has_regular() && self.looks.next_is_regular();
        let found = self.looks.last(regular);
        let plain = found <= FEW && !self.shows_ecn;
        let limit = if found == 0 { 1 } else { RECEIVE_BATCH_MAX };
        let by_plain_calls = plain && !self.woken;
        let stays = by_plain_calls && limit == 1 || self.port.inlet(regular).held.stays();
        let look = Look { regular, plain, stays };
        if by_plain_calls && limit == 1 {
            self.receive_one(look, batch)
        } else {
            self.receive_several(look, limit, by_plain_calls, batch)
        }
    }

    /// What a look finds after one that found nothing, most often again nothing, else a packet that is alone.
    #[inline(always)]
    fn receive_one(&mut self, look: Look, batch: &mut Vec<Received>) -> io::Result<bool> {
        let found = self.look_once(look)?;
        self.looks.found(look.regular, found);
        if found == 0 {
            return Ok(self.nothing_there(look.regular));
        }
        self.port.found(look.regular);
        self.port.report.counters.receive_calls += 1;
        match self.received_plain(look, 0) {
            Some(received) => {
                let inlet = self.port.inlet_mut(look.regular);
                inlet.came_alone(received.length, received.segment_size);
                batch.push(received);
            }
            // Nothing to handle, and so nobody to release it.
            None => self.release(),
        }
        Ok(true)
    }

    #[inline(never)]
    fn receive_several(
        &mut self,
        look: Look,
        limit: usize,
        by_plain_calls: bool,
        batch: &mut Vec<Received>,
    ) -> io::Result<bool> {
        let Look { regular, plain, .. } = look;
        let filled = if by_plain_calls {
            let first = self.look_once(look)?;
            if first > 0 { self.fill(look, first, limit)? } else { first }
        } else {
            self.fill(look, 0, limit)?
        };
        self.looks.found(regular, filled);
        if filled == 0 {
            return Ok(self.nothing_there(regular));
        }
        self.woken = false;
        self.port.found(regular);
        self.port.report.counters.receive_calls += 1;
        for index in 0..filled {
            let received = if plain { self.received_plain(look, index) } else { self.received(look, index) };
            batch.extend(received);
        }
        let inlet = self.port.inlet_mut(regular);
        match batch[..] {
            [received] if limit == 1 => inlet.came_alone(received.length, received.segment_size),
            _ => inlet.came_together(),
        }
        if batch.is_empty() {
            // As above.
            self.release();
        }
        Ok(filled == limit || self.more_beside(regular))
    }

    /// A look found nothing. True when there may be something in the other socket.
    #[inline(always)]
    fn nothing_there(&mut self, regular: bool) -> bool {
        self.port.found_empty(regular);
        let due = self.port.inlet_mut(regular).held.due_when_empty();
        if rarely(due > 0) {
            self.take_out(regular, due);
        }
        self.more_beside(regular)
    }

    /// The last look at the other socket found something.
    #[inline]
    fn more_beside(&self, regular: bool) -> bool {
        self.port.has_regular() && self.looks.last(!regular) > 0
    }

    /// A receive met `error`: an error again unless the next one may succeed.
    #[cold]
    fn on_error(&mut self, error: io::Error) -> io::Result<()> {
        match Refusal::of(&error) {
            Refusal::NoRoom | Refusal::Interrupted => Ok(()),
            refusal if refusal.may_be_pending() => {
                self.port.drain_errors(refusal);
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Fills receive buffers behind the `filled` ones until `limit` are; how many that is.
    #[inline(never)]
    fn fill(&mut self, look: Look, mut filled: usize, limit: usize) -> io::Result<usize> {
        let Look { regular, plain, stays } = look;
        let mut errors = 0;
        while filled < limit && errors < PENDING_ERRORS_MAX {
            let inlet = self.port.inlet(regular);
            let received = if plain {
                self.arena.receive_plain(filled, &inlet.socket, inlet.plain(stays)).map(usize::from)
            } else {
                self.arena.receive(&inlet.socket, limit, stays)
            };
            match received {
                Ok(more) => {
                    filled += more;
                    if !plain || more == 0 {
                        break;
                    }
                }
                Err(error) if Refusal::of(&error) == Refusal::NoRoom => break,
                Err(error) => match self.on_error(error) {
                    Ok(()) => errors += 1,
                    // What came before it is still to be handled; an error that stays is met again.
                    Err(_) if filled > 0 => break,
                    Err(error) => return Err(error),
                },
            }
        }
        if filled == 0 && std::mem::take(&mut self.woken) {
            self.port.drain_errors(Refusal::Rejected);
        }
        Ok(filled)
    }
}

impl Backend for Mmsg {
    fn name(&self) -> &'static str {
        "mmsg"
    }

    fn local_addr(&self) -> SocketAddr {
        self.port.inlet.socket.local_addr()
    }

    fn register_path(&mut self, path: PathId, remote: SocketAddr) {
        self.port.register_path(path, remote);
    }

    fn mark(&mut self, path: PathId, ecn: Ecn) {
        // From the first marked path on every receive takes control messages: a lone packet's mark counts.
        self.shows_ecn |= self.port.mark(path, ecn);
    }

    fn receive(&mut self, batch: &mut Vec<Received>) -> io::Result<bool> {
        batch.clear();
        for _ in 1..LOOKS {
            let more = self.receive_by_look(batch)?;
            if more || !batch.is_empty() {
                return Ok(more);
            }
        }
        self.receive_by_look(batch)
    }

    fn buffer_mut(&mut self, buffer: u32) -> &mut [u8] {
        self.arena.buffer_mut(buffer as usize)
    }

    fn release(&mut self) {
        self.take_out_due(false);
        if self.port.has_regular() {
            self.take_out_due(true);
        }
    }

    fn lend(&mut self) -> Option<TrainBuffer> {
        if let Some(buffer) = self.sender.lend() {
            return Some(buffer);
        }
        // Sends are over when the call returns, so submitted trains free their buffers at once.
        self.flush().ok()?;
        self.sender.lend()
    }

    fn give_back(&mut self, buffer: TrainBuffer) {
        self.sender.give_back(buffer);
    }

    fn submit(&mut self, train: Train) {
        self.sender.push(train);
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.sender.flush(&mut self.port);
        self.port.elect();
        result
    }

    fn send_lone(&mut self, path: PathId, packet: &[u8]) -> bool {
        let sent = self.sender.send_lone(path, packet, &mut self.port);
        self.port.elect();
        sent
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // What stays in a socket would end the wait at once.
        for regular in [false, true] {
            let all = self.port.inlet(regular).held.count();
            if all > 0 {
                self.take_out(regular, all);
            }
        }
        let ready = self.port.wait(timeout)?;
        self.woken = ready & !BELL != 0;
        if self.woken {
            self.looks.start_with(ready & PORT == 0);
        }
        Ok(())
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
        // What packets that stay may take is not there for others.
        self.port.inlet.socket.receive_buffer_size() - self.port.inlet.held.budget()
    }
}

/// Where and how packets are received.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// The regular's socket, or the port's own.
    regular: bool,
    /// One by one, by calls that tell neither segment size nor ECN bits.
    plain: bool,
    /// What is read is left in the socket, see [`held`](super::held).
    stays: bool,
}

/// Looks of a receive that finds nothing: what a turn does beside looking would make the next packet wait as long as half a
/// look does, and need not be done as often.
const LOOKS: usize = 2;

/// Packets, or buffers of joined ones, that are few.
const FEW: usize = 4;

/// What ended a wait: see [`Port::wait`].
const PORT: u32 = 1;
const BELL: u32 = 2;

/// The kernel joins at most one IP packet's worth: a smaller buffer would cut packets off.
pub(super) const RECEIVE_BUFFER_SIZE: usize = 64 * 1024;
/// Errors of earlier packets one receive steps over.
const PENDING_ERRORS_MAX: usize = 8;
