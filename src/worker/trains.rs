//! Trains: packets for one path that leave in one system call, all of one size but the last.
//!
//! ```text
//!  engine --packet(way, size)--> [16,368][16,368][16,368][ 900]  --submit--> backend
//! ```
//!
//! A packet joins the open train of its way, a worker behind an address, when it is no larger than the train's packets; a smaller
//! one is the last. A train leaves when nothing more fits; the rest leave when the engine is done.

use bytes::Bytes;

use crate::bounds::{TRAIN_PACKETS_MAX, TRAIN_SIZE_EARLY, TRAIN_SIZE_MAX};
use crate::hint::rarely;
use crate::io::{Backend, Ecn, PathId, Train, TrainBuffer};
use crate::transport::{Marking, PacketSink, PathIndex, Way};

/// The trains of one worker that are being built.
#[derive(Debug, Default)]
pub(super) struct Trains {
    /// One without packets is the only one: its packet has left, and its memory waits for the next, since a round trip
    /// waits for memory that changes hands.
    open: Vec<OpenTrain>,
    /// Lent when room was asked for, and used by the next train.
    spare: Option<TrainBuffer>,
    /// What the backend said when a train left early; the worker reports it.
    pub(super) error: Option<std::io::Error>,
    /// Packets put on trains since the worker last looked.
    packets: u64,
    /// Where the packet asked for last is: its train among the open ones, and its start there.
    last: (usize, usize),
    /// Something was built since the backend was last told to send.
    unsent: bool,
    long: LongTrains,
}

/// How many long trains wait for each other, to leave in one system call.
///
/// The first of a row leaves alone, since the peer has nothing to do yet; then two do, then four at a time: between
/// ours and the kernel's way lies more code than the first cache holds, and each change fetches it anew.
#[derive(Debug)]
struct LongTrains {
    waiting: u32,
    together: u32,
}

impl Default for LongTrains {
    fn default() -> Self {
        Self { waiting: 0, together: 1 }
    }
}

impl LongTrains {
    /// One more is full: is it time to go?
    fn one_more_goes(&mut self) -> bool {
        self.waiting += 1;
        let go = self.waiting >= self.together;
        if go {
            *self = Self { waiting: 0, together: (self.together * 2).min(TRAINS_TOGETHER_MAX) };
        }
        go
    }
}

#[derive(Debug)]
struct OpenTrain {
    buffer: TrainBuffer,
    way: Way,
    segment_size: usize,
    length: usize,
    packets: usize,
    closed: bool,
}

impl OpenTrain {
    fn new(buffer: TrainBuffer, way: Way, segment_size: usize) -> Self {
        Self { buffer, way, segment_size, length: 0, packets: 0, closed: false }
    }

    #[inline]
    fn begin(&mut self, way: Way, segment_size: usize) {
        (self.way, self.segment_size) = (way, segment_size);
    }

    /// Its packets have left, and it has its memory still.
    #[inline]
    fn empty(&mut self) {
        (self.length, self.packets, self.closed) = (0, 0, false);
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Its only packet, if all of it lies here.
    #[inline]
    fn lone(&self) -> Option<&[u8]> {
        (self.packets == 1 && self.buffer.is_whole()).then(|| &self.buffer.bytes()[..self.length])
    }

    fn takes(&self, way: Way, size: usize) -> bool {
        self.way == way
            && !self.closed
            && size <= self.segment_size
            && self.packets < TRAIN_PACKETS_MAX
            && self.length + size <= TRAIN_SIZE_MAX
    }

    fn into_train(self) -> Train {
        Train {
            buffer: self.buffer,
            length: self.length,
            segment_size: self.segment_size.min(self.length),
            path: PathId(self.way.path.0),
        }
    }
}

/// Trains open at once: one more way and the oldest leaves.
const OPEN_MAX: usize = 8;

/// Long trains in one system call: all of their bytes are still in a second cache of 512 KiB when the kernel copies
/// them.
const TRAINS_TOGETHER_MAX: u32 = 4;

impl Trains {
    /// Hands every open train to the kernel, oldest first.
    fn send_all(&mut self, backend: &mut dyn Backend) -> std::io::Result<()> {
        self.long = LongTrains::default();
        if let [train] = &mut self.open[..]
            && let Some(packet) = train.lone()
            && backend.send_lone(PathId(train.way.path.0), packet)
        {
            train.empty();
            return Ok(());
        }
        self.send_several(backend)
    }

    #[inline(never)]
    fn send_several(&mut self, backend: &mut dyn Backend) -> std::io::Result<()> {
        self.open.drain(..).for_each(|train| backend.submit(train.into_train()));
        backend.flush()
    }

    /// Packets built since the last call.
    pub(super) fn take_packets(&mut self) -> u64 {
        std::mem::take(&mut self.packets)
    }
}

/// The engine's view: trains and the backend that lends their memory.
pub(super) struct TrainSink<'a> {
    pub(super) trains: &'a mut Trains,
    pub(super) backend: &'a mut dyn Backend,
}

impl TrainSink<'_> {
    #[inline(always)]
    fn place(&mut self, way: Way, size: usize) -> Option<usize> {
        if let [train] = &mut self.trains.open[..]
            && train.is_empty()
        {
            train.begin(way, size);
            return Some(0);
        }
        let last = self.trains.last.0;
        if self.trains.open.get(last).is_some_and(|train| train.takes(way, size)) {
            return Some(last);
        }
        self.place_beside(way, size)
    }

    /// [`TrainSink::place`] when there is an open train, or no memory yet.
    #[inline(never)]
    fn place_beside(&mut self, way: Way, size: usize) -> Option<usize> {
        if !self.trains.open.is_empty() {
            let found = self.trains.open.iter().position(|train| train.takes(way, size));
            if found.is_some() {
                return found;
            }
            self.make_way(way);
        }
        let buffer = self.lend()?;
        self.trains.open.push(OpenTrain::new(buffer, way, size));
        Some(self.trains.open.len() - 1)
    }

    /// No open train takes a packet for `way`.
    #[inline(never)]
    fn make_way(&mut self, way: Way) {
        // The way's open train cannot take this packet: it leaves, so that order is kept.
        if let Some(old) = self.trains.open.iter().position(|train| train.way == way) {
            let train = self.trains.open.remove(old);
            self.leave(train);
        } else if self.trains.open.len() >= OPEN_MAX {
            let train = self.trains.open.remove(0);
            self.leave(train);
        }
    }

    /// A train that is full leaves soon: its bytes are still in the cache when the kernel copies them,
    /// and the peer opens it while others are sealed.
    fn leave(&mut self, train: OpenTrain) {
        let is_long = train.length >= TRAIN_SIZE_EARLY;
        self.backend.submit(train.into_train());
        if is_long
            && self.trains.long.one_more_goes()
            && let Err(error) = self.backend.flush()
        {
            self.trains.error = Some(error);
        }
    }

    #[inline(always)]
    fn lend(&mut self) -> Option<TrainBuffer> {
        if let Some(buffer) = self.trains.spare.take() {
            return Some(buffer);
        }
        if let Some(buffer) = self.backend.lend() {
            return Some(buffer);
        }
        self.lend_after_flush()
    }

    /// All memory is submitted and not handed over yet: do that, and ask once more.
    #[cold]
    #[inline(never)]
    fn lend_after_flush(&mut self) -> Option<TrainBuffer> {
        self.backend.flush().ok()?;
        self.backend.lend()
    }
}

impl TrainSink<'_> {
    /// Memory that was lent, and that no packet came for.
    #[cold]
    #[inline(never)]
    fn return_spare(&mut self) {
        if let Some(buffer) = self.trains.spare.take() {
            self.backend.give_back(buffer);
        }
    }
}

impl PacketSink for TrainSink<'_> {
    fn has_room(&mut self, way: Way, size: usize) -> bool {
        if self.trains.open.iter().any(|train| train.is_empty() || train.takes(way, size)) {
            return true;
        }
        self.trains.spare = self.lend();
        self.trains.spare.is_some()
    }

    #[inline(always)]
    fn packet(&mut self, way: Way, size: usize) -> Option<&mut [u8]> {
        let index = self.place(way, size)?;
        let train = &mut self.trains.open[index];
        let start = train.length;
        train.length += size;
        train.packets += 1;
        train.closed = size < train.segment_size;
        self.trains.packets += 1;
        self.trains.last = (index, start);
        self.trains.unsent = true;
        Some(&mut train.buffer.bytes_mut()[start..start + size])
    }

    fn gather(&mut self, at: usize, bytes: Bytes) {
        let (index, start) = self.trains.last;
        self.trains.open[index].buffer.gather(start + at, bytes);
    }

    fn part(&mut self, way: Way) {
        for train in self.trains.open.iter_mut().filter(|train| train.way == way) {
            train.closed = true;
        }
    }

    fn depart(&mut self) {
        if std::mem::take(&mut self.trains.unsent)
            && let Err(error) = self.trains.send_all(self.backend)
        {
            self.trains.error = Some(error);
        }
        if rarely(self.trains.spare.is_some()) {
            self.return_spare();
        }
    }

    fn mark(&mut self, path: PathIndex, marking: Marking) {
        let ecn = match marking {
            Marking::Off => Ecn::NotEct,
            Marking::Ect0 => Ecn::Ect0,
        };
        self.backend.mark(PathId(path.0), ecn);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::io::{Doorbell, Event, IoCounters, Received};

    /// Lends `left` times, keeps the bytes of what leaves, and how many trains were handed over by each flush.
    #[derive(Default)]
    struct Lender {
        left: usize,
        sent: Vec<Vec<u8>>,
        flushes: Vec<usize>,
    }

    impl Backend for Lender {
        fn name(&self) -> &'static str {
            "lender"
        }
        fn local_addr(&self) -> SocketAddr {
            SocketAddr::from(([10, 0, 0, 1], 1))
        }
        fn register_path(&mut self, _: PathId, _: SocketAddr) {}
        fn receive(&mut self, _: &mut Vec<Received>) -> std::io::Result<bool> {
            Ok(false)
        }
        fn buffer_mut(&mut self, _: u32) -> &mut [u8] {
            &mut []
        }
        fn release(&mut self) {}
        fn lend(&mut self) -> Option<TrainBuffer> {
            self.left = self.left.checked_sub(1)?;
            Some(TrainBuffer::new())
        }
        fn give_back(&mut self, _: TrainBuffer) {}
        fn submit(&mut self, train: Train) {
            self.sent.push(train.buffer.bytes()[..train.length].to_vec());
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.flushes.push(self.sent.len() - self.flushes.iter().sum::<usize>());
            Ok(())
        }
        fn send_lone(&mut self, _: PathId, packet: &[u8]) -> bool {
            self.sent.push(packet.to_vec());
            true
        }
        fn wait(&mut self, _: Option<Duration>) -> std::io::Result<()> {
            Ok(())
        }
        fn doorbell(&self) -> Doorbell {
            Doorbell::new(|| {})
        }
        fn poll_events(&mut self, _: &mut Vec<Event>) {}
        fn counters(&mut self, _: bool) -> IoCounters {
            IoCounters::default()
        }
        fn receive_buffer_size(&self) -> u64 {
            0
        }
    }

    #[test]
    fn a_packet_that_left_alone_does_not_leave_again_with_the_next_after_memory_ran_out() {
        let (mut trains, mut backend) = (Trains::default(), Lender { left: 2, ..Lender::default() });
        let way = |path| Way { path: PathIndex(path), worker: 0 };
        let mut sink = TrainSink { trains: &mut trains, backend: &mut backend };
        for (path, size, mark) in [(1, 100, 1), (2, 100, 2), (2, 60, 3), (2, 50, 4)] {
            sink.packet(way(path), size).expect("memory").fill(mark);
            if mark == 2 {
                // The first way's train leaves for this one, for which there is no memory.
                assert!(sink.packet(way(1), 200).is_none());
            }
            if mark > 1 {
                sink.depart();
            }
        }
        let expected = [vec![1; 100], vec![2; 100], vec![3; 60], vec![4; 50]];
        assert_eq!(backend.sent, expected);
    }

    #[test]
    fn the_first_long_train_of_a_row_leaves_alone_and_then_up_to_four_together() {
        let (mut trains, mut backend) = (Trains::default(), Lender { left: 64, ..Lender::default() });
        let way = Way { path: PathIndex(1), worker: 0 };
        for _ in 0..2 {
            let mut sink = TrainSink { trains: &mut trains, backend: &mut backend };
            // Each is three packets; a fourth does not fit.
            for _ in 0..3 * 10 {
                sink.packet(way, TRAIN_SIZE_MAX / 3).expect("memory");
            }
            sink.depart();
            assert_eq!(std::mem::take(&mut backend.flushes), [1, 2, 4, 3]);
            backend.sent.clear();
        }
    }
}
