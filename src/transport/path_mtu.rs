//! Packet-size discovery (RFC 8899): from 1,200 bytes upward, one padded probe at a time, so that no
//! unit is ever larger than a size the path has carried.
//!
//! ```text
//!  1,200 --probe acked--> larger, until the largest is known to within a 64th    (§5.2 SEARCHING)
//!    ^                       |
//!    |                       +--> 600 s later: has the path grown?               (PMTU_RAISE_TIMER)
//!    +-- large packets vanish, small ones pass: a black hole (§4.3, L53); and the search begins again
//! ```
//!
//! A lost probe is no congestion signal; three lost ones give the size up. On a path whose
//! route already tells its size the first probe asks for all of it, one round trip after opening. What is
//! acknowledged confirms the size in use, so that no timer has to (§5.1.1: CONFIRMATION_TIMER is for
//! transports without acks).

use super::passed::PassedSizes;
use super::path_size::Sizes;
use crate::bounds::{HEADER_SIZE, PACKET_SIZE_MIN, TAG_SIZE};
use crate::time::Timestamp;

/// Sizes worth trying before halving what is unknown, in bytes of UDP payload: jumbo frames over IPv4,
/// over IPv6, with a tunnel; Ethernet over IPv4, over IPv6, with PPPoE, and what most tunnels leave.
const LADDER: [usize; 7] = [8_972, 8_952, 8_928, 1_472, 1_452, 1_444, 1_380];
/// RFC 8899 §5.1.2: MAX_PROBES.
const ATTEMPTS_MAX: u8 = 3;
/// So many probes that were lost with much of what left around them say as much of a size as one that was lost
/// alone.
const CROWDED_PROBES: u8 = 4;
/// How long a path that drops packets of every size is left alone with probes, which its queue would take for
/// one more packet.
pub(crate) const CROWDED_WAIT_NS: u64 = 10_000_000;
/// RFC 8899 §5.1.1: PMTU_RAISE_TIMER.
const RAISE_AFTER_NS: u64 = 600_000_000_000;
/// The search ends when what is unknown is less than so small a part of the size…
const PRECISION_PART: usize = 64;
/// …or less than this many bytes.
const PRECISION_SIZE: usize = 32;
/// Large packets lost in a row, with small ones around them that passed, that make a black hole.
const BLACK_HOLE_LOSSES: u8 = 3;
/// As many do when a probe timer had to fire: nothing at all passed before something small did.
const BLACK_HOLE_LOSSES_PROBED: u8 = 2;

/// Of AES, and of Poly1305.
const CIPHER_BLOCK_SIZE: usize = 16;
/// Header and tag.
const AROUND: usize = HEADER_SIZE + TAG_SIZE;

/// One path's packet size.
#[derive(Debug, Clone, Copy)]
pub struct PathMtu {
    current: usize,
    /// The bits of what lies between header and tag that a packet's size may have: see [`PathMtu::in_blocks`].
    grain: usize,
    /// When the next probe may leave: for ever away while one is in flight, or nothing is to be found out.
    probe_at: Timestamp,
    candidate: Option<usize>,
    /// Probes of it that were lost, in parts of [`CROWDED_PROBES`].
    attempts: u8,
    /// The most that route, peer and configuration allow.
    size_max: usize,
    /// The smallest size known not to pass, or one above `size_max`.
    fails_at: usize,
    suspicion: Suspicion,
}

/// Large packets that were lost while nothing of their size passed.
#[derive(Debug, Clone, Copy)]
struct Suspicion {
    /// A packet of this size that passes proves that there is no black hole.
    size: usize,
    passed: PassedSizes,
    losses: u8,
    /// The first of them.
    first: u64,
    /// A probe timer fired with a large packet outstanding, and none has passed since.
    probed: bool,
}

impl PathMtu {
    /// A path that should carry `size_max` and surely carries 1,200.
    #[must_use]
    pub fn new(size_max: usize) -> Self {
        let current = PACKET_SIZE_MIN.min(size_max);
        let mut mtu = Self {
            current,
            grain: usize::MAX,
            probe_at: Timestamp::NEVER,
            candidate: None,
            attempts: 0,
            size_max,
            fails_at: size_max + 1,
            suspicion: Suspicion {
                size: current,
                passed: PassedSizes::default(),
                losses: 0,
                first: 0,
                probed: false,
            },
        };
        mtu.search(Timestamp(0));
        mtu
    }

    /// The same path for packets whose inside, between header and tag, is to come in whole blocks of a cipher: it takes
    /// longer over a part of one than over a block.
    #[must_use]
    pub fn in_blocks(self) -> Self {
        Self { grain: !(CIPHER_BLOCK_SIZE - 1), ..self }
    }

    /// The size of a packet that needs `size` bytes, padded to whole blocks where that is wanted.
    #[inline(always)]
    #[must_use]
    pub fn padded(&self, size: usize) -> usize {
        let inside = size - AROUND + !self.grain;
        (AROUND + (inside & self.grain)).min(self.current)
    }

    /// The route turned out to carry up to `size`.
    pub fn raise(&mut self, size: usize) {
        if size > self.size_max {
            self.size_max = size;
            self.fails_at = size + 1;
            if self.candidate.is_none() {
                self.search(Timestamp(0));
            }
        }
    }

    /// The size every packet may have now.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        self.current
    }

    /// The size of packets that are filled: the largest whose inside comes in whole blocks, where that is wanted.
    #[inline]
    #[must_use]
    pub fn filled_size(&self) -> usize {
        AROUND + ((self.current - AROUND) & self.grain)
    }

    /// The size of the probe to send now, if any. A session that says nothing asks nothing: this is
    /// asked only when a packet could leave.
    #[inline]
    #[must_use]
    pub fn probe(&self, now: Timestamp) -> Option<usize> {
        if now < self.probe_at { None } else { Some(self.candidate.unwrap_or(self.size_max)) }
    }

    /// Whether there is one to send.
    #[inline]
    #[must_use]
    pub fn is_probe_due(&self, now: Timestamp) -> bool {
        now >= self.probe_at
    }

    /// A probe of `size` left.
    pub fn on_probe_sent(&mut self, size: usize) {
        if self.candidate.is_none() {
            // The path was left alone for long enough: it may carry more by now.
            self.fails_at = self.size_max + 1;
            self.candidate = Some(size);
            self.attempts = 0;
        }
        self.probe_at = Timestamp::NEVER;
    }

    /// A probe of `size` was acknowledged.
    pub fn on_probe_acked(&mut self, now: Timestamp, size: usize) {
        if size > self.current {
            self.grow(size);
        }
        self.search(now);
    }

    fn grow(&mut self, size: usize) {
        self.current = size;
        self.fails_at = self.fails_at.max(size + 1);
        self.suspicion = Suspicion { losses: 0, size: watched(size), ..self.suspicion };
    }

    /// Sessions on the same path found out so much of it.
    pub(crate) fn take(&mut self, now: Timestamp, sizes: Sizes) {
        let pass = sizes.pass.min(self.size_max);
        let is_news = pass > self.current || sizes.fail < self.fails_at;
        // One that is to be tried once more stays so.
        if is_news || self.candidate.is_none() {
            if pass > self.current {
                self.grow(pass);
            }
            self.fails_at = sizes.fail.clamp(self.current + 1, self.fails_at);
            self.search(now);
        }
        if self.candidate == Some(sizes.tried) {
            self.attempts = self.attempts.max(sizes.attempts);
        }
    }

    /// What is known of the path, for others on it.
    pub(crate) fn sizes(&self) -> Sizes {
        let fail = if self.fails_at > self.size_max { usize::MAX } else { self.fails_at };
        Sizes { pass: self.current, fail, tried: self.candidate.unwrap_or(0), attempts: self.attempts }
    }

    /// Somebody else asks: not before then.
    pub(crate) fn wait_until(&mut self, until: Timestamp) {
        self.probe_at = until;
    }

    /// A probe of `size` was lost: try again, or a smaller one. `crowded`: much of what left around it
    /// was lost as well, so that it tells little of its size. A session that opens in the middle of a crowd would
    /// keep to the base size until the path is next searched.
    pub fn on_probe_lost(&mut self, now: Timestamp, size: usize, crowded: bool) {
        if self.candidate != Some(size) {
            return;
        }
        self.attempts += if crowded { 1 } else { CROWDED_PROBES };
        let again_at = if crowded { now.after_ns(CROWDED_WAIT_NS) } else { now };
        // L52, RFC 8899 §5.1.2: "The default value of MAX_PROBES is 3."
        if self.attempts >= ATTEMPTS_MAX * CROWDED_PROBES {
            self.fails_at = size;
            self.search(again_at);
        } else {
            self.probe_at = again_at;
        }
    }

    /// The kernel refused `size`: no need to try again. True when that is a size in use: what does not
    /// fit the base size any more has to be cut.
    #[must_use]
    pub fn on_refused(&mut self, now: Timestamp, size: usize) -> bool {
        if size <= PACKET_SIZE_MIN || size > self.size_max {
            return false;
        }
        let in_use = size <= self.current;
        if in_use {
            self.fall_back();
        }
        if in_use || self.candidate.is_none_or(|candidate| candidate >= size) {
            self.fails_at = self.fails_at.min(size);
            self.search(now);
        }
        in_use
    }

    /// Packet `number` of `size` bytes was acknowledged.
    #[inline]
    pub fn on_passed(&mut self, number: u64, size: usize) {
        if size <= PACKET_SIZE_MIN {
            return;
        }
        let suspicion = &mut self.suspicion;
        suspicion.passed.note(number, size);
        if size < suspicion.size {
            return;
        }
        suspicion.probed = false;
        if suspicion.losses > 0 && number > suspicion.first {
            suspicion.losses = 0;
            suspicion.size = watched(self.current);
        }
    }

    /// Packet `number`, no probe of the size, was declared lost.
    pub fn on_lost(&mut self, number: u64, size: usize) {
        let suspicion = &mut self.suspicion;
        // Of its own size: not every packet in use is as large as may be.
        if size <= PACKET_SIZE_MIN || suspicion.passed.after(number, size.min(watched(self.current))) {
            return;
        }
        if suspicion.losses == 0 {
            suspicion.first = number;
        }
        suspicion.losses = suspicion.losses.saturating_add(1);
        suspicion.size = suspicion.size.min(size);
    }

    /// A probe timer fired, and what it repeats is large.
    pub fn on_probe_timer(&mut self) {
        self.suspicion.probed = true;
    }

    /// L53, RFC 8899 §4.3: "When the method detects that the current PLPMTU is not supported, DPLPMTUD sets a
    /// lower PLPMTU". After what was lost has been told: whether large packets vanish, so that the size is the base size
    /// from now on. The size that fell is tried again at once: if it was chance, it is back after a round
    /// trip.
    #[must_use]
    pub fn is_black_hole(&mut self, now: Timestamp) -> bool {
        let enough = if self.suspicion.probed { BLACK_HOLE_LOSSES_PROBED } else { BLACK_HOLE_LOSSES };
        if self.suspicion.losses < enough || self.current <= PACKET_SIZE_MIN {
            return false;
        }
        let fell = self.current;
        self.fall_back();
        self.candidate = Some(fell);
        self.fails_at = fell + 1;
        self.probe_at = now;
        true
    }

    fn fall_back(&mut self) {
        self.current = PACKET_SIZE_MIN;
        self.attempts = 0;
        self.candidate = None;
        let passed = PassedSizes::default();
        self.suspicion = Suspicion { size: PACKET_SIZE_MIN, passed, losses: 0, first: 0, probed: false };
    }

    /// Finds the next size to try between what passes and what does not.
    fn search(&mut self, now: Timestamp) {
        self.attempts = 0;
        let (low, high) = (self.current, self.fails_at);
        self.candidate = if high > self.size_max && low < self.size_max {
            Some(self.size_max)
        } else if let Some(known) = LADDER.into_iter().find(|&size| size < high && size > low) {
            Some(known)
        } else {
            let precise = high - low <= PRECISION_SIZE.max(low / PRECISION_PART);
            (!precise && low < self.size_max).then_some(low + (high - low) / 2)
        };
        self.probe_at = match self.candidate {
            Some(_) => now,
            None if self.current < self.size_max => now.after_ns(RAISE_AFTER_NS),
            None => Timestamp::NEVER,
        };
    }
}

/// Packets of nearly the full size tell of it as well: units rarely fill it to the last byte.
fn watched(size: usize) -> usize {
    size - size / 16
}

#[cfg(test)]
#[path = "path_mtu_tests.rs"]
mod tests;
