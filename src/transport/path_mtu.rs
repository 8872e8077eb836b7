//! Packet-size discovery (RFC 8899): from 1,200 bytes upward, one padded probe at a time, so that no
//! unit is ever larger than a size the path has carried.
//!
//! A lost probe is no congestion signal; three lost ones give the size up (§5.1.2). On a path whose
//! route already tells its size the first probe asks for all of it, one round trip after opening.

use crate::bounds::PACKET_SIZE_MIN;

/// Sizes worth trying below what the route tells, in bytes of UDP payload: jumbo frames less headers
/// and VLAN tags, Ethernet over IPv4, over IPv6, and what most tunnels leave.
const LADDER: [usize; 4] = [8_928, 1_472, 1_452, 1_380];
/// RFC 8899 §5.1.2: MAX_PROBES.
const ATTEMPTS_MAX: u8 = 3;

/// One path's packet size.
#[derive(Debug, Clone, Copy)]
pub struct PathMtu {
    current: usize,
    candidate: Option<usize>,
    attempts: u8,
    in_flight: bool,
}

impl PathMtu {
    /// A path that should carry `size_max` and surely carries 1,200.
    #[must_use]
    pub fn new(size_max: usize) -> Self {
        let candidate = (size_max > PACKET_SIZE_MIN).then_some(size_max);
        Self { current: PACKET_SIZE_MIN.min(size_max), candidate, attempts: 0, in_flight: false }
    }

    /// The route turned out to carry up to `size`.
    pub fn raise(&mut self, size: usize) {
        if size > self.current && self.candidate.is_none() {
            self.candidate = Some(size);
            self.attempts = 0;
        }
    }

    /// The size every packet may have now.
    #[must_use]
    pub fn size(&self) -> usize {
        self.current
    }

    /// The size of the probe to send now, if any.
    #[must_use]
    pub fn probe(&self) -> Option<usize> {
        if self.in_flight { None } else { self.candidate }
    }

    /// A probe left.
    pub fn on_probe_sent(&mut self) {
        self.in_flight = true;
    }

    /// A probe of `size` was acknowledged.
    pub fn on_probe_acked(&mut self, size: usize) {
        self.in_flight = false;
        self.attempts = 0;
        if size > self.current {
            self.current = size;
        }
        if self.candidate.is_some_and(|c| c <= size) {
            self.candidate = None;
        }
    }

    /// A probe of `size` was lost: try again, or a smaller one.
    pub fn on_probe_lost(&mut self, size: usize) {
        self.in_flight = false;
        if self.candidate != Some(size) {
            return;
        }
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_MAX {
            self.step_below(size);
        }
    }

    /// The kernel refused `size`: no need to try again.
    pub fn on_refused(&mut self, size: usize) {
        self.in_flight = false;
        if self.candidate.is_some_and(|c| c >= size) {
            self.step_below(size);
        }
    }

    fn step_below(&mut self, size: usize) {
        self.attempts = 0;
        self.candidate = LADDER.into_iter().find(|&s| s < size && s > self.current);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_starts_at_1200_bytes_and_grows_by_an_acknowledged_probe() {
        // RFC 8899 §5.1.2, L52
        let mut mtu = PathMtu::new(16_000);
        assert_eq!((mtu.size(), mtu.probe()), (1_200, Some(16_000)));
        mtu.on_probe_sent();
        assert_eq!(mtu.probe(), None, "one probe at a time");
        mtu.on_probe_acked(16_000);
        assert_eq!((mtu.size(), mtu.probe()), (16_000, None));
    }

    #[test]
    fn three_lost_probes_give_a_size_up_and_the_next_smaller_is_tried() {
        let mut mtu = PathMtu::new(8_972);
        for _ in 0..3 {
            assert_eq!(mtu.probe(), Some(8_972));
            mtu.on_probe_sent();
            mtu.on_probe_lost(8_972);
        }
        assert_eq!((mtu.size(), mtu.probe()), (1_200, Some(8_928)));
        mtu.on_refused(8_928);
        assert_eq!(mtu.probe(), Some(1_472));
    }
}
