//! Trains on their way to the kernel, cut into what one send carries.

use super::train::Parts;
use super::{PathId, Train, TrainBuffer};
use crate::bounds::TRAIN_BUFFERS_MAX;

/// Train buffers of one backend: those waiting to be lent, and a limit on how many there are.
#[derive(Debug, Default)]
pub(super) struct TrainPool {
    /// Last in, first out: the buffer used last is the one still in the cache.
    idle: Vec<TrainBuffer>,
    made: usize,
}

impl TrainPool {
    pub fn lend(&mut self) -> Option<TrainBuffer> {
        self.idle.pop().or_else(|| {
            (self.made < TRAIN_BUFFERS_MAX).then(|| {
                self.made += 1;
                TrainBuffer::new()
            })
        })
    }

    pub fn give_back(&mut self, mut buffer: TrainBuffer) {
        buffer.forget();
        debug_assert!(self.idle.len() < self.made, "a buffer came back that was never lent");
        self.idle.push(buffer);
    }
}

/// One send: a whole train, or one packet of it where the kernel cannot cut it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    train: u32,
    pub offset: u32,
    pub length: u32,
    /// Bytes of each packet but the last; equal to `length` for a single packet.
    pub segment_size: u32,
    /// Cut from a train that the kernel refused whole.
    pub second_try: bool,
}

impl Piece {
    pub fn packets(&self) -> usize {
        self.length.div_ceil(self.segment_size.max(1)) as usize
    }

    pub fn is_train(&self) -> bool {
        self.length > self.segment_size
    }
}

/// Submitted trains and what is still to be sent of them, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    trains: Vec<Train>,
    pieces: Vec<Piece>,
    next: usize,
}

impl Outbox {
    /// Takes a train, whole where `whole` says that the kernel can cut it.
    pub fn push(&mut self, train: Train, whole: bool) {
        debug_assert!(train.length <= train.buffer.bytes().len());
        debug_assert!(train.segment_size > 0);
        let index = self.trains.len() as u32;
        let segment_size = train.segment_size.min(train.length) as u32;
        let piece =
            Piece { train: index, offset: 0, length: train.length as u32, segment_size, second_try: false };
        self.trains.push(train);
        if whole || !piece.is_train() {
            self.pieces.push(piece);
        } else {
            self.pieces.extend(packets(piece));
        }
    }

    /// What is still to be sent.
    pub fn pending(&self) -> &[Piece] {
        &self.pieces[self.next..]
    }

    /// True when nothing waits to be sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.trains.is_empty()
    }

    #[inline]
    pub fn path(&self, piece: &Piece) -> PathId {
        self.trains[piece.train as usize].path
    }

    #[inline]
    pub fn parts(&self, piece: &Piece) -> Parts<'_> {
        let at = piece.offset as usize;
        self.trains[piece.train as usize].buffer.parts(at..at + piece.length as usize)
    }

    /// The first `count` pending pieces are done with.
    pub fn advance(&mut self, count: usize) {
        self.next += count;
        debug_assert!(self.next <= self.pieces.len());
    }

    /// Cuts the first pending piece into its packets.
    pub fn split_first(&mut self) {
        let mut whole = self.pieces[self.next];
        whole.second_try = true;
        self.pieces.splice(self.next..=self.next, packets(whole));
    }

    /// Gives up the rest of the train that the first pending piece belongs to; how many packets that is.
    pub fn drop_first_train(&mut self) -> usize {
        let train = self.pieces[self.next].train;
        let rest = self.pending().iter().take_while(|piece| piece.train == train);
        let (pieces, packets) = rest.fold((0, 0), |(n, p), piece| (n + 1, p + piece.packets()));
        self.next += pieces;
        packets
    }

    /// Everything was sent or given up: the buffers go back to `pool`.
    pub fn recycle(&mut self, pool: &mut TrainPool) {
        debug_assert!(self.pending().is_empty());
        self.pieces.clear();
        self.next = 0;
        // In reverse, so that the first train's buffer is lent first again.
        while let Some(train) = self.trains.pop() {
            pool.give_back(train.buffer);
        }
    }
}

fn packets(whole: Piece) -> impl Iterator<Item = Piece> {
    (0..whole.length).step_by(whole.segment_size as usize).map(move |at| {
        let length = whole.segment_size.min(whole.length - at);
        Piece { offset: whole.offset + at, length, segment_size: length, ..whole }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(pool: &mut TrainPool, length: usize, segment_size: usize) -> Train {
        Train { buffer: pool.lend().unwrap(), length, segment_size, path: PathId(0) }
    }

    #[test]
    fn a_train_is_cut_into_equal_packets_and_a_shorter_last() {
        let (mut pool, mut outbox) = (TrainPool::default(), Outbox::default());
        outbox.push(train(&mut pool, 2_500, 1_000), false);
        let lengths: Vec<u32> = outbox.pending().iter().map(|piece| piece.length).collect();
        assert_eq!(lengths, [1_000, 1_000, 500]);
        assert_eq!(outbox.drop_first_train(), 3);
        outbox.recycle(&mut pool);
    }

    #[test]
    fn splitting_keeps_the_trains_around_it() {
        let (mut pool, mut outbox) = (TrainPool::default(), Outbox::default());
        for length in [100, 250, 70] {
            outbox.push(train(&mut pool, length, 100), true);
        }
        outbox.advance(1);
        outbox.split_first();
        let lengths: Vec<u32> = outbox.pending().iter().map(|piece| piece.length).collect();
        assert_eq!(lengths, [100, 100, 50, 70]);
        assert_eq!(outbox.drop_first_train(), 3);
        assert_eq!(outbox.pending().len(), 1);
    }

    #[test]
    fn the_pool_lends_no_more_than_its_maximum() {
        let mut pool = TrainPool::default();
        let lent: Vec<_> = std::iter::from_fn(|| pool.lend()).collect();
        assert_eq!(lent.len(), TRAIN_BUFFERS_MAX);
        lent.into_iter().for_each(|buffer| pool.give_back(buffer));
        assert!(pool.lend().is_some());
    }
}
