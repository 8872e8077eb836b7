//! Packets to a capture file that tshark, tcpdump and Wireshark read.
//!
//! Not a capture of the wire: the IP and UDP headers are made up from the addresses, since a socket
//! never shows them. The classic format with nanosecond stamps and link type RAW (each record starts
//! at the IP header). Times count from the worker's clock origin, so only differences mean something.
//!
//! ```text
//! file header 24 | record header 16 | IP 20 or 40 | UDP 8 | packet | record header 16 | …
//! ```

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use crate::io::Ecn;
use crate::time::Timestamp;

/// Writes packets to a capture.
pub struct PcapWriter<W: Write> {
    out: W,
    /// One record at a time: it goes out in one write.
    record: Vec<u8>,
}

impl<W: Write> PcapWriter<W> {
    /// Starts a capture with its file header.
    ///
    /// # Errors
    /// Whatever `out` has to say.
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut header = Vec::with_capacity(24);
        header.extend_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
        header.extend_from_slice(&2u16.to_le_bytes());
        header.extend_from_slice(&4u16.to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&SNAP_LENGTH.to_le_bytes());
        header.extend_from_slice(&LINK_TYPE_RAW.to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out, record: Vec::new() })
    }

    /// Adds one UDP payload that went `from` … `to` at `at`.
    ///
    /// # Errors
    /// `InvalidInput` when the addresses are of different families or the packet is larger than
    /// UDP carries; otherwise whatever the output has to say.
    pub fn packet(
        &mut self,
        at: Timestamp,
        from: SocketAddr,
        to: SocketAddr,
        ecn: Ecn,
        payload: &[u8],
    ) -> io::Result<()> {
        let udp_length = u16::try_from(UDP_HEADER_SIZE + payload.len())
            .ok()
            .filter(|&length| usize::from(length) + IPV4_HEADER_SIZE <= usize::from(u16::MAX))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "packet larger than UDP carries"))?;
        self.record.clear();
        self.record.resize(RECORD_HEADER_SIZE, 0);
        match (from.ip().to_canonical(), to.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                put_ipv4(&mut self.record, source.octets(), target.octets(), udp_length, ecn);
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                put_ipv6(&mut self.record, source.octets(), target.octets(), udp_length, ecn);
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "addresses of different families")),
        }
        let udp_at = self.record.len();
        for field in [from.port(), to.port(), udp_length, 0] {
            self.record.extend_from_slice(&field.to_be_bytes());
        }
        self.record.extend_from_slice(payload);
        let pseudo = pseudo_header_sum(from.ip().to_canonical(), to.ip().to_canonical(), udp_length);
        // RFC 768: a sum of zero is sent as all ones, zero means none was made.
        let checksum = match internet_checksum(pseudo, &self.record[udp_at..]) {
            0 => u16::MAX,
            sum => sum,
        };
        self.record[udp_at + 6..udp_at + 8].copy_from_slice(&checksum.to_be_bytes());
        self.finish(at)
    }

    /// Hands everything to the output's own storage.
    ///
    /// # Errors
    /// Whatever the output has to say.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, at: Timestamp) -> io::Result<()> {
        let captured = (self.record.len() - RECORD_HEADER_SIZE) as u32;
        let fields = [(at.0 / NS_PER_S) as u32, (at.0 % NS_PER_S) as u32, captured, captured];
        for (place, field) in self.record.chunks_exact_mut(4).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        self.out.write_all(&self.record)
    }
}

/// RFC 791 §3.1, no options, don't fragment.
fn put_ipv4(record: &mut Vec<u8>, from: [u8; 4], to: [u8; 4], udp_length: u16, ecn: Ecn) {
    let start = record.len();
    record.extend_from_slice(&[0x45, ecn_bits(ecn)]);
    record.extend_from_slice(&(udp_length + IPV4_HEADER_SIZE as u16).to_be_bytes());
    record.extend_from_slice(&[0, 0, 0x40, 0, HOP_LIMIT, UDP, 0, 0]);
    record.extend_from_slice(&from);
    record.extend_from_slice(&to);
    let checksum = internet_checksum(0, &record[start..]);
    record[start + 10..start + 12].copy_from_slice(&checksum.to_be_bytes());
}

/// RFC 8200 §3.
fn put_ipv6(record: &mut Vec<u8>, from: [u8; 16], to: [u8; 16], udp_length: u16, ecn: Ecn) {
    record.extend_from_slice(&[0x60, ecn_bits(ecn) << 4, 0, 0]);
    record.extend_from_slice(&udp_length.to_be_bytes());
    record.extend_from_slice(&[UDP, HOP_LIMIT]);
    record.extend_from_slice(&from);
    record.extend_from_slice(&to);
}

/// RFC 3168 §5.
fn ecn_bits(ecn: Ecn) -> u8 {
    match ecn {
        Ecn::NotEct => 0,
        Ecn::Ect1 => 1,
        Ecn::Ect0 => 2,
        Ecn::Ce => 3,
    }
}

fn pseudo_header_sum(from: IpAddr, to: IpAddr, udp_length: u16) -> u64 {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => sum_words(&ip.octets()),
        IpAddr::V6(ip) => sum_words(&ip.octets()),
    };
    address(from) + address(to) + u64::from(UDP) + u64::from(udp_length)
}

/// RFC 1071: the one's complement of the one's complement sum.
fn internet_checksum(start: u64, bytes: &[u8]) -> u16 {
    let mut sum = start + sum_words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn sum_words(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINK_TYPE_RAW: u32 = 101;
const SNAP_LENGTH: u32 = 65_535;
const RECORD_HEADER_SIZE: usize = 16;
const IPV4_HEADER_SIZE: usize = 20;
const UDP_HEADER_SIZE: usize = 8;
const UDP: u8 = 17;
const HOP_LIMIT: u8 = 64;
const NS_PER_S: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut pcap = PcapWriter::new(&mut out).expect("memory takes any write");
        let (from, to) = (from.parse().expect("an address"), to.parse().expect("an address"));
        pcap.packet(Timestamp(3_000_000_007), from, to, Ecn::Ce, payload).expect("memory takes any write");
        out
    }

    #[test]
    fn a_v4_packet_has_every_header_in_its_place_and_good_checksums() {
        let file = capture("10.0.0.1:1000", "10.0.0.2:2000", b"hello");
        assert_eq!(file[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
        assert_eq!(file[20..24], [101, 0, 0, 0]);
        assert_eq!(file[24..40], [3, 0, 0, 0, 7, 0, 0, 0, 33, 0, 0, 0, 33, 0, 0, 0]);
        let ip = &file[40..];
        assert_eq!(ip.len(), 33);
        assert_eq!(ip[..2], [0x45, 3]);
        assert_eq!(internet_checksum(0, &ip[..20]), 0, "a sum over its own checksum is zero");
        assert_eq!(ip[20..26], [0x03, 0xe8, 0x07, 0xd0, 0, 13]);
        let pseudo = pseudo_header_sum([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 13);
        assert_eq!(internet_checksum(pseudo, &ip[20..]), 0);
        assert_eq!(&ip[28..], b"hello");
    }

    #[test]
    fn a_v6_packet_has_every_header_in_its_place_and_a_good_checksum() {
        let file = capture("[::1]:1000", "[fe80::2]:2000", b"hello!");
        let ip = &file[40..];
        assert_eq!(ip[..8], [0x60, 0x30, 0, 0, 0, 14, 17, 64]);
        let (from, to) = ("::1".parse().expect("an address"), "fe80::2".parse().expect("an address"));
        assert_eq!(internet_checksum(pseudo_header_sum(from, to, 14), &ip[40..]), 0);
        assert_eq!(&ip[48..], b"hello!");
    }

    #[test]
    fn a_packet_too_large_for_udp_and_mixed_families_are_refused() {
        let mut pcap = PcapWriter::new(io::sink()).expect("a sink takes any write");
        let v4: SocketAddr = "10.0.0.1:1".parse().expect("an address");
        let v6: SocketAddr = "[::1]:1".parse().expect("an address");
        let mut write = |to, size: usize| pcap.packet(Timestamp(0), v4, to, Ecn::NotEct, &vec![0; size]);
        assert!(write(v4, 65_507).is_ok());
        assert!(write(v4, 65_508).is_err());
        assert!(write(v6, 1).is_err());
    }
}
