//! Ordered channels: what arrives out of order is held until its turn.
//!
//! Not for duplicates: units suppress those, so a sequence number that comes twice is the peer's lie.
//!
//! Two rules make the bound below safe. A sender gives out sequence numbers in the order of its units,
//! and a large message's fragments are all cut before anything behind it on its channel. So the unit at
//! the receiver's floor never has to be held, and only units above it need
//! [`ChannelsIn::has_room_for_unit`]: one that finds no room is treated as lost, neither delivered nor
//! acknowledged, and comes again.

use std::collections::BTreeMap;

use super::planted::{self, Fault};
use crate::bounds::{CHANNEL_HELD_MAX, CHANNELS_MAX, RECORD_SIZE_MAX};
use crate::wire::{ChannelId, ORDERED_HEAD_SIZE};

/// What to do with a message that just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Accepted {
    /// It is the next: deliver it, then whatever [`ChannelsIn::pop_ready`] gives.
    Deliver,
    /// It waits for those before it.
    Held,
}

/// How a peer broke an ordered channel: the session closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// More channels than a session may open.
    #[error("the peer opened more than {CHANNELS_MAX} ordered channels")]
    TooManyChannels,
    /// More messages than may wait.
    #[error("the peer left more than {CHANNEL_HELD_MAX} messages waiting behind gaps")]
    TooManyHeld,
    /// The same sequence number under two unit numbers.
    #[error("the peer sent message {sequence} of channel {channel} twice")]
    Repeated {
        /// The channel.
        channel: ChannelId,
        /// The message's place in it.
        sequence: u64,
    },
}

/// The ordered channels a peer sends on; `T` is an owned message.
#[derive(Debug)]
pub struct ChannelsIn<T> {
    // A tree, not a hash table: the peer chooses the keys (S11).
    channels: BTreeMap<ChannelId, Channel<T>>,
    held: usize,
}

#[derive(Debug)]
struct Channel<T> {
    /// The sequence number to deliver next.
    next: u64,
    held: BTreeMap<u64, T>,
}

impl<T> Default for ChannelsIn<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ChannelsIn<T> {
    /// No channel yet; they come into being with their first message.
    #[must_use]
    pub fn new() -> Self {
        Self { channels: BTreeMap::new(), held: 0 }
    }

    /// Takes message `sequence` of `channel`. `own` makes the copy to hold, and is called only then.
    ///
    /// # Errors
    /// [`ChannelError`]: the session closes.
    pub fn accept(
        &mut self,
        channel: ChannelId,
        sequence: u64,
        own: impl FnOnce() -> T,
    ) -> Result<Accepted, ChannelError> {
        if self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(&channel) {
            return Err(ChannelError::TooManyChannels);
        }
        let state = self.channels.entry(channel).or_insert_with(Channel::new);
        if planted::is(Fault::ChannelSkipsGap) {
            state.next = state.next.max(sequence.saturating_add(1));
            return Ok(Accepted::Deliver);
        }
        if sequence < state.next || state.held.contains_key(&sequence) {
            return Err(ChannelError::Repeated { channel, sequence });
        }
        if sequence == state.next {
            state.next += 1;
            return Ok(Accepted::Deliver);
        }
        if self.held >= CHANNEL_HELD_MAX {
            return Err(ChannelError::TooManyHeld);
        }
        state.held.insert(sequence, own());
        self.held += 1;
        Ok(Accepted::Held)
    }

    /// The held message whose turn it is on `channel`, if it has come. Call until `None` after each
    /// delivery.
    pub fn pop_ready(&mut self, channel: ChannelId) -> Option<T> {
        let state = self.channels.get_mut(&channel)?;
        let message = state.held.remove(&state.next)?;
        state.next += 1;
        self.held -= 1;
        Some(message)
    }

    /// Whether any one unit's messages can be held, should none of them be next.
    #[must_use]
    pub fn has_room_for_unit(&self) -> bool {
        self.held + UNIT_RECORDS_MAX <= CHANNEL_HELD_MAX
    }

    /// Messages held on all channels.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }
}

impl<T> Channel<T> {
    fn new() -> Self {
        Self { next: 0, held: BTreeMap::new() }
    }
}

/// The sequence numbers of the ordered channels this end sends on.
#[derive(Clone, Debug, Default)]
pub struct ChannelsOut {
    next: BTreeMap<ChannelId, u64>,
}

impl ChannelsOut {
    /// No channel yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The sequence number of the next message on `channel`, counted up; `None` when that would open
    /// one channel too many.
    #[must_use]
    pub fn next(&mut self, channel: ChannelId) -> Option<u64> {
        if self.next.len() >= CHANNELS_MAX && !self.next.contains_key(&channel) {
            return None;
        }
        let next = self.next.entry(channel).or_insert(0);
        let sequence = *next;
        *next += 1;
        Some(sequence)
    }
}

/// The most ordered messages one unit can hold.
const UNIT_RECORDS_MAX: usize = RECORD_SIZE_MAX / ORDERED_HEAD_SIZE;

const _: () = assert!(UNIT_RECORDS_MAX * 2 <= CHANNEL_HELD_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const A: ChannelId = ChannelId(1);
    const B: ChannelId = ChannelId(2);

    fn accept(channels: &mut ChannelsIn<u64>, channel: ChannelId, sequence: u64) -> Vec<u64> {
        match channels.accept(channel, sequence, || sequence).unwrap() {
            Accepted::Held => Vec::new(),
            Accepted::Deliver => {
                let mut delivered = vec![sequence];
                delivered.extend(std::iter::from_fn(|| channels.pop_ready(channel)));
                delivered
            }
        }
    }

    #[test]
    fn messages_in_order_are_delivered_at_once_and_never_copied() {
        let mut channels = ChannelsIn::<u64>::new();
        for sequence in 0..1_000 {
            let accepted = channels.accept(A, sequence, || unreachable!("nothing is out of order"));
            assert_eq!(accepted, Ok(Accepted::Deliver));
            assert_eq!(channels.pop_ready(A), None);
        }
    }

    #[test]
    fn a_gap_holds_its_own_channel_and_no_other() {
        let mut channels = ChannelsIn::new();
        assert!(accept(&mut channels, A, 1).is_empty());
        assert!(accept(&mut channels, A, 3).is_empty());
        assert_eq!(accept(&mut channels, B, 0), [0]);
        assert_eq!(accept(&mut channels, A, 0), [0, 1]);
        assert_eq!(accept(&mut channels, A, 2), [2, 3]);
        assert_eq!(channels.held(), 0);
    }

    #[test]
    fn a_sequence_number_that_comes_twice_is_an_error() {
        let mut channels = ChannelsIn::new();
        accept(&mut channels, A, 0);
        accept(&mut channels, A, 2);
        for sequence in [0, 2] {
            let error = channels.accept(A, sequence, || 0).unwrap_err();
            assert_eq!(error, ChannelError::Repeated { channel: A, sequence });
        }
    }

    #[test]
    fn channels_are_bounded_on_both_sides() {
        let (mut incoming, mut outgoing) = (ChannelsIn::new(), ChannelsOut::new());
        for id in 0..CHANNELS_MAX as u32 {
            accept(&mut incoming, ChannelId(id), 0);
            assert_eq!(outgoing.next(ChannelId(id)), Some(0));
        }
        let one_more = ChannelId(CHANNELS_MAX as u32);
        assert_eq!(incoming.accept(one_more, 0, || 0), Err(ChannelError::TooManyChannels));
        assert_eq!(outgoing.next(one_more), None);
        assert_eq!(accept(&mut incoming, ChannelId(0), 1), [1]);
        assert_eq!(outgoing.next(ChannelId(0)), Some(1));
    }

    #[test]
    fn held_messages_are_bounded_and_the_missing_one_still_gets_through() {
        let mut channels = ChannelsIn::new();
        for sequence in 1..=CHANNEL_HELD_MAX as u64 {
            let room = CHANNEL_HELD_MAX - channels.held() >= UNIT_RECORDS_MAX;
            assert_eq!(channels.has_room_for_unit(), room);
            accept(&mut channels, A, sequence);
        }
        let too_many = channels.accept(A, u64::MAX, || 0);
        assert_eq!(too_many, Err(ChannelError::TooManyHeld));
        assert_eq!(accept(&mut channels, A, 0).len(), CHANNEL_HELD_MAX + 1);
    }

    #[test]
    fn any_arrival_order_is_delivered_in_sequence() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut channels = ChannelsIn::new();
            let mut waiting: Vec<(ChannelId, u64)> = (0..300).flat_map(|n| [(A, n), (B, n)]).collect();
            let mut delivered = BTreeMap::from([(A, Vec::new()), (B, Vec::new())]);
            while !waiting.is_empty() {
                let at = rng.below(waiting.len().min(40) as u64) as usize;
                let (channel, sequence) = waiting.remove(at);
                let ready = accept(&mut channels, channel, sequence);
                delivered.get_mut(&channel).expect("both exist").extend(ready);
            }
            let expected: Vec<u64> = (0..300).collect();
            assert!(delivered.values().all(|sequences| *sequences == expected), "seed {seed}");
        }
    }
}
