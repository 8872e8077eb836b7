//! Which fields the NIC hashes, and rules that steer one UDP port to one queue.

use std::io;

use super::request::{get_u32, get_u64, set_u32, set_u64};
use super::{Ethtool, bounded};

/// Packets of UDP over one family that go to one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRule {
    /// Over IPv6.
    pub family: Family,
    /// The destination port.
    pub port: u16,
}

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn flow_type(self) -> u32 {
        match self {
            Family::V4 => 0x02,
            Family::V6 => 0x06,
        }
    }

    /// Where the destination port stands in the flow's fields.
    fn port_at(self) -> usize {
        match self {
            Family::V4 => 10,
            Family::V6 => 34,
        }
    }
}

impl Ethtool {
    /// The fields of a UDP packet that choose its queue, as `ethtool -N` writes them: `s` and `d` for
    /// the addresses, `f` and `n` for the ports.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the NIC does not say.
    pub fn udp_hash(&self, nic: &str, family: Family) -> io::Result<String> {
        let mut request = rule_request(GRXFH, family, 0);
        self.ask(nic, &mut request)?;
        let bits = get_u64(&request, 8);
        Ok(HASH_FIELDS.iter().filter(|(_, bit)| bits & bit != 0).map(|(letter, _)| letter).collect())
    }

    /// Sets the fields of a UDP packet that choose its queue.
    ///
    /// # Errors
    /// `EINVAL` for letters other than `s`, `d`, `f`, `n` and for what the NIC cannot hash.
    pub fn set_udp_hash(&self, nic: &str, family: Family, fields: &str) -> io::Result<()> {
        let mut bits = 0;
        for letter in fields.chars() {
            let known = HASH_FIELDS.iter().find(|(known, _)| *known == letter);
            bits |= known.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?.1;
        }
        let mut request = rule_request(SRXFH, family, 0);
        set_u64(&mut request, 8, bits);
        self.ask(nic, &mut request)
    }

    /// The queue that `rule` steers to; `None` without such a rule.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the NIC has no rules.
    pub fn steered_to(&self, nic: &str, rule: UdpRule) -> io::Result<Option<u32>> {
        Ok(self.find_rule(nic, rule)?.map(|(_, queue)| queue))
    }

    /// Steers the packets of `rule` to `queue`, or with `None` takes the rule away.
    ///
    /// # Errors
    /// What the driver says: `ENOSPC` when its table is full.
    pub fn steer(&self, nic: &str, rule: UdpRule, queue: Option<u32>) -> io::Result<()> {
        if let Some((location, _)) = self.find_rule(nic, rule)? {
            let mut request = rule_request(SRXCLSRLDEL, rule.family, 0);
            set_u32(&mut request, FLOW + LOCATION, location);
            self.ask(nic, &mut request)?;
        }
        let Some(queue) = queue else { return Ok(()) };
        let mut request = rule_request(SRXCLSRLINS, rule.family, 0);
        let port = FLOW + 4 + rule.family.port_at();
        request[port..port + 2].copy_from_slice(&rule.port.to_be_bytes());
        let mask = FLOW + MASK + rule.family.port_at();
        request[mask..mask + 2].copy_from_slice(&[0xff, 0xff]);
        set_u32(&mut request, FLOW, rule.family.flow_type());
        set_u64(&mut request, FLOW + COOKIE, u64::from(queue));
        let location = self.free_location(nic)?;
        set_u32(&mut request, FLOW + LOCATION, location);
        self.ask(nic, &mut request)
    }

    fn find_rule(&self, nic: &str, rule: UdpRule) -> io::Result<Option<(u32, u32)>> {
        for location in self.rule_locations(nic)? {
            let mut request = rule_request(GRXCLSRULE, rule.family, 0);
            set_u32(&mut request, FLOW + LOCATION, location);
            self.ask(nic, &mut request)?;
            if is_rule(&request, rule) {
                return Ok(Some((location, get_u64(&request, FLOW + COOKIE) as u32)));
            }
        }
        Ok(None)
    }

    fn rule_locations(&self, nic: &str) -> io::Result<Vec<u32>> {
        let mut request = rule_request(GRXCLSRLCNT, Family::V4, 0);
        self.ask(nic, &mut request)?;
        let count = bounded(get_u32(&request, COUNT), LOCATIONS_MAX)?;
        let mut request = rule_request(GRXCLSRLALL, Family::V4, count);
        set_u32(&mut request, COUNT, count as u32);
        self.ask(nic, &mut request)?;
        let given = bounded(get_u32(&request, COUNT), count)?;
        Ok((0..given).map(|at| get_u32(&request, LOCATIONS + 4 * at)).collect())
    }

    /// Where the next rule goes: the driver's choice where it makes one, else the first gap.
    fn free_location(&self, nic: &str) -> io::Result<u32> {
        let mut request = rule_request(GRXCLSRLCNT, Family::V4, 0);
        self.ask(nic, &mut request)?;
        if get_u64(&request, 8) & u64::from(LOCATION_SPECIAL) != 0 {
            return Ok(LOCATION_ANY);
        }
        let taken = self.rule_locations(nic)?;
        Ok((0..).find(|at| !taken.contains(at)).expect("fewer rules than numbers"))
    }
}

/// A `struct ethtool_rxnfc` with room for `count` locations.
fn rule_request(command: u32, family: Family, count: usize) -> Vec<u8> {
    let mut request = vec![0u8; RULE_SIZE + 4 * count];
    set_u32(&mut request, 0, command);
    set_u32(&mut request, 4, family.flow_type());
    request
}

/// True if the answer holds exactly the rule: this port, and nothing else asked for.
fn is_rule(request: &[u8], rule: UdpRule) -> bool {
    let at = rule.family.port_at();
    let field = &request[FLOW + 4 + at..FLOW + 6 + at];
    let mask = &request[FLOW + MASK..FLOW + MASK + UNION_SIZE];
    let others = mask.iter().enumerate().any(|(index, &byte)| byte != 0 && index != at && index != at + 1);
    get_u32(request, FLOW) == rule.family.flow_type()
        && field == rule.port.to_be_bytes()
        && mask[at..at + 2] == [0xff, 0xff]
        && !others
}

/// Addresses before ports, as `ethtool` prints them.
const HASH_FIELDS: [(char, u64); 4] = [('s', 1 << 4), ('d', 1 << 5), ('f', 1 << 6), ('n', 1 << 7)];

// Places in struct ethtool_rxnfc and the struct ethtool_rx_flow_spec within it.
const FLOW: usize = 16;
const UNION_SIZE: usize = 52;
const MASK: usize = 4 + UNION_SIZE + 20;
const COOKIE: usize = 152;
const LOCATION: usize = 160;
const COUNT: usize = 184;
const LOCATIONS: usize = 188;
const RULE_SIZE: usize = 192;

const GRXFH: u32 = 0x29;
const SRXFH: u32 = 0x2a;
const GRXCLSRLCNT: u32 = 0x2e;
const GRXCLSRULE: u32 = 0x2f;
const GRXCLSRLALL: u32 = 0x30;
const SRXCLSRLDEL: u32 = 0x31;
const SRXCLSRLINS: u32 = 0x32;
const LOCATION_SPECIAL: u32 = 0x8000_0000;
const LOCATION_ANY: u32 = 0xffff_ffff;
/// More rules than any NIC holds.
const LOCATIONS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_known_again_and_a_narrower_one_is_not_it() {
        for family in [Family::V4, Family::V6] {
            let rule = UdpRule { family, port: 7405 };
            let mut request = rule_request(GRXCLSRULE, family, 0);
            let at = FLOW + 4 + family.port_at();
            set_u32(&mut request, FLOW, family.flow_type());
            request[at..at + 2].copy_from_slice(&7405u16.to_be_bytes());
            request[FLOW + MASK + family.port_at()] = 0xff;
            request[FLOW + MASK + family.port_at() + 1] = 0xff;
            assert!(is_rule(&request, rule));
            assert!(!is_rule(&request, UdpRule { port: 7406, ..rule }));
            request[FLOW + MASK] = 0xff;
            assert!(!is_rule(&request, rule), "a source address is asked for too");
        }
    }
}
