//! The numbers a packet carries, each its own type so that none is taken for another.

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// Names a session at the end that receives with it; that end chose it (P-1.5).
    SessionId(u64)
}

number! {
    /// Counts packets of one direction of one session. Nonce, ack and loss; never used twice (P-5.1).
    PacketNumber(u64)
}

number! {
    /// The stable name of a retransmittable payload (P-5.2).
    UnitNumber(u64)
}

number! {
    /// Names a fragmented message in one direction of one session.
    MessageId(u64)
}

number! {
    /// An ordering domain of one direction of one session.
    ChannelId(u32)
}

number! {
    /// Names a call in one direction of one session: a slot and how often it was used (P-4.6).
    CallId(u32)
}

impl SessionId {
    /// The id of a session that lives on `worker`, the rest of it taken from `random`.
    #[inline]
    #[must_use]
    pub fn new(worker: u8, random: u64) -> Self {
        Self((random & !0xff) | u64::from(worker))
    }

    /// The index of the worker that owns the session: the low byte.
    #[inline]
    #[must_use]
    pub fn worker(self) -> u8 {
        self.0 as u8
    }
}

impl PacketNumber {
    /// The number that the header's 32 bits stand for at an end that expects `expected` next.
    #[inline(always)]
    #[must_use]
    pub fn near(self, expected: u64) -> u64 {
        nearest::<32>(self.0, expected)
    }
}

impl UnitNumber {
    /// The number that 24 bits of it stand for at an end that stands at `expected`: a window of units is far smaller.
    #[inline(always)]
    #[must_use]
    pub fn near(self, expected: u64) -> u64 {
        nearest::<24>(self.0, expected)
    }
}

/// P-1.9: the number nearest to `expected` whose low `BITS` bits are those of `low` (RFC 9000 §17.1 and A.3).
#[inline(always)]
fn nearest<const BITS: u32>(low: u64, expected: u64) -> u64 {
    let size = 1_u64 << BITS;
    let ahead = low.wrapping_sub(expected) & (size - 1);
    let number = expected.wrapping_add(ahead);
    // None lies below zero.
    if ahead < size / 2 || number < size { number } else { number - size }
}

impl CallId {
    /// The call in `slot`, used for the `generation`-th time (modulo 2^16).
    #[inline]
    #[must_use]
    pub fn new(slot: u16, generation: u16) -> Self {
        Self((u32::from(generation) << 16) | u32::from(slot))
    }

    /// Which slot: the low 16 bits.
    #[inline]
    #[must_use]
    pub fn slot(self) -> u16 {
        self.0 as u16
    }

    /// How often the slot was used before, modulo 2^16: the high 16 bits.
    #[inline]
    #[must_use]
    pub fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_carries_its_worker_in_the_low_byte() {
        let id = SessionId::new(7, 0xffff_ffff_ffff_ffff);
        assert_eq!(id.worker(), 7);
        assert_eq!(id.0, 0xffff_ffff_ffff_ff07);
    }

    #[test]
    fn a_number_told_by_its_low_bits_is_the_nearest_to_the_one_expected() {
        for expected in
            [0_u64, 1, 5, 1 << 23, (1 << 24) - 1, 1 << 24, 1 << 31, 1 << 32, (1 << 32) + 7, 1 << 60]
        {
            for distance in [0, 1, 2, 4_096, 65_536, (1 << 23) - 1] {
                for number in
                    [Some(expected + distance), expected.checked_sub(distance)].into_iter().flatten()
                {
                    assert_eq!(
                        PacketNumber(number & 0xffff_ffff).near(expected),
                        number,
                        "{expected} {distance}"
                    );
                    assert_eq!(
                        UnitNumber(number & 0xff_ffff).near(expected),
                        number,
                        "{expected} {distance}"
                    );
                    assert_eq!(UnitNumber(number).near(expected), number, "one that is told whole");
                }
            }
        }
        // RFC 9000 A.3's example, with bits to spare.
        assert_eq!(PacketNumber(0xa82f_9b32).near(0xaa_a82f_30eb), 0xaa_a82f_9b32);
        assert_eq!(PacketNumber(0xffff_ffff).near(0), 0xffff_ffff, "none lies below zero");
    }

    #[test]
    fn a_call_id_is_its_slot_and_its_generation() {
        let id = CallId::new(0xbeef, 0x1234);
        assert_eq!(id, CallId(0x1234_beef));
        assert_eq!(id.slot(), 0xbeef);
        assert_eq!(id.generation(), 0x1234);
    }
}
