//! What a driver tells of a NIC by `ioctl(SIOCETHTOOL)`, read anew from `linux/ethtool.h` and not by the
//! product's code: the test compares with it.
#![allow(unsafe_code)]

use std::fmt::Write;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `struct ifreq` with a pointer in its union, padded to its full 40 bytes.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut u8,
    rest: [u8; 16],
}

/// Hands `data` to the driver; `None` where it says no.
fn ask(nic: &str, data: &mut [u8]) -> Option<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None).expect("sockets");
    let mut request = Request { name: [0; 16], data: data.as_mut_ptr(), rest: [0; 16] };
    request.name[..nic.len()].copy_from_slice(nic.as_bytes());
    // SAFETY: the name ends in a zero, and `data` lives through the call and is as large as its command
    // says: the callers below add the room for every count that they give.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), 0x8946, &raw mut request) };
    (status == 0).then_some(())
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four"))).collect()
}

/// A row of numbers behind a command.
fn row(nic: &str, command: u32, count: usize) -> Option<Vec<u32>> {
    let mut data = vec![0u8; 4 * count];
    data[..4].copy_from_slice(&command.to_ne_bytes());
    ask(nic, &mut data)?;
    Some(words(&data))
}

/// Every feature by name, with its four bits, and every row that the driver has.
pub fn tell(nic: &str) -> String {
    let mut told = String::new();
    for (name, command, count) in [
        ("channels", 0x3c, 9),
        ("rings", 0x10, 9),
        ("coalesce", 0x0e, 23),
        ("pause", 0x12, 4),
        ("eee", 0x44, 10),
    ] {
        if let Some(row) = row(nic, command, count) {
            writeln!(told, "{name} {:?}", &row[1..]).expect("text grows");
        }
    }
    let names = feature_names(nic);
    let blocks = names.len().div_ceil(32);
    let mut data = vec![0u8; 8 + 16 * blocks];
    data[..4].copy_from_slice(&0x3au32.to_ne_bytes());
    data[4..8].copy_from_slice(&(blocks as u32).to_ne_bytes());
    ask(nic, &mut data).expect("every device has features");
    let blocks = words(&data[8..]);
    for (at, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        let bits: Vec<u32> = (0..4).map(|word| blocks[at / 32 * 4 + word] >> (at % 32) & 1).collect();
        writeln!(told, "feature {name} {bits:?}").expect("text grows");
    }
    told
}

/// ETHTOOL_GSSET_INFO, then ETHTOOL_GSTRINGS, of ETH_SS_FEATURES.
fn feature_names(nic: &str) -> Vec<String> {
    let mut data = vec![0u8; 24];
    data[..4].copy_from_slice(&0x37u32.to_ne_bytes());
    data[8..16].copy_from_slice(&(1u64 << 4).to_ne_bytes());
    ask(nic, &mut data).expect("every device has features");
    let count = words(&data[16..20])[0] as usize;
    let mut data = vec![0u8; 12 + 32 * count];
    for (at, word) in [0x1bu32, 4, count as u32].into_iter().enumerate() {
        data[4 * at..4 * at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    ask(nic, &mut data).expect("as many as it said");
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    data[12..].chunks_exact(32).map(name).collect()
}
