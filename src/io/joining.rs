//! Whether the kernel joins packets here (`UDP_GRO`): it does while several come together.
//!
//! Of each packet that a socket which takes joined ones hands over, the kernel looks how many are joined. That is noted
//! in a line of memory of its own (`skb_shared_info`), which goes from the sender's core to the receiver's and back
//! again: a tenth of a round trip over loopback of packets of up to 128 bytes, for which nothing else is noted there.
//! So where small packets come one by one for a while, none is joined, until several come again. A train that meets
//! such a socket is cut into its packets by the kernel, before they are handed over.

/// What was seen of one socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joining {
    /// The kernel joins what comes here.
    on: bool,
    /// It never does, or will not be told.
    fixed: bool,
    /// Small packets in a row that came alone.
    alone: u32,
}

/// Small packets in a row after which the next ones are taken to be alone, too: to tell the kernel takes as long as
/// a dozenth of them, and to cut the train that comes after all a few microseconds.
const ALONE_MIN: u32 = 256;
/// A packet of more bytes is worth joining.
const SMALL_SIZE_MAX: u32 = 1_024;

impl Joining {
    /// Of a socket whose kernel joins packets if `on`.
    pub fn new(on: bool) -> Self {
        Self { on, fixed: !on, alone: 0 }
    }

    /// A look found one buffer of `length` bytes and no more, that holds one packet if `is_one`: what the kernel is to be
    /// told, if anything.
    #[inline]
    pub fn came_alone(&mut self, length: u32, is_one: bool) -> Option<bool> {
        if !is_one || length > SMALL_SIZE_MAX {
            return self.came_together();
        }
        self.alone += 1;
        if self.alone < ALONE_MIN {
            return None;
        }
        self.alone = ALONE_MIN;
        (self.on && !self.fixed).then_some(false)
    }

    /// Several came, or what is large.
    #[inline]
    pub fn came_together(&mut self) -> Option<bool> {
        self.alone = 0;
        (!self.on && !self.fixed).then_some(true)
    }

    /// The kernel was told, and `took` it.
    pub fn told(&mut self, on: bool, took: bool) {
        if took {
            self.on = on;
        } else {
            self.fixed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small packets that come alone until the kernel is to be told something.
    fn alone_until_told(joining: &mut Joining) -> Option<u32> {
        (1..=2 * ALONE_MIN).find(|_| joining.came_alone(128, true) == Some(false))
    }

    #[test]
    fn joining_ends_after_many_small_packets_alone_and_begins_again_with_the_first_that_do_not() {
        let mut joining = Joining::new(true);
        assert_eq!(alone_until_told(&mut joining), Some(ALONE_MIN));
        joining.told(false, true);
        assert_eq!(alone_until_told(&mut joining), None, "it knows");
        assert_eq!(joining.came_together(), Some(true));
        joining.told(true, true);
        assert_eq!(joining.came_together(), None, "it knows");
        assert_eq!(alone_until_told(&mut joining), Some(ALONE_MIN), "from the beginning");
        joining.told(false, true);
        assert_eq!(joining.came_alone(SMALL_SIZE_MAX + 1, true), Some(true), "a large one");
        joining.told(true, true);
        for _ in 0..ALONE_MIN {
            assert_eq!(joining.came_alone(100, true), None);
            assert_eq!(joining.came_alone(100, false), None, "joined ones between them");
        }
    }

    #[test]
    fn a_kernel_that_never_joined_or_will_not_be_told_is_left_alone() {
        let mut joining = Joining::new(false);
        assert_eq!((alone_until_told(&mut joining), joining.came_together()), (None, None));
        let mut joining = Joining::new(true);
        assert_eq!(alone_until_told(&mut joining), Some(ALONE_MIN));
        joining.told(false, false);
        assert_eq!((alone_until_told(&mut joining), joining.came_together()), (None, None));
    }
}
