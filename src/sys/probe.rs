//! What the kernel can do, found out by doing it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use super::address::RawAddress;
use super::batch::{Outgoing, Plain, ReceiveArena, SendBatch, discard};
use super::socket::{Socket, SocketOptions};
use super::wait::wait_readable;

/// Which offloads carried a two-packet train over loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// `UDP_SEGMENT`: the kernel cut the train into its packets.
    pub gso: bool,
    /// `UDP_GRO`: the kernel handed the train over whole.
    pub gro: bool,
}

/// Sends a train of two packets over loopback, once to a plain socket and once to one with `UDP_GRO`.
///
/// # Errors
/// The host has no loopback of this family, or is out of descriptors.
pub fn probe_offloads(v6: bool) -> io::Result<Offloads> {
    let gso = train_arrives(v6, false)? == [PACKET, PACKET / 2];
    // Without GSO nothing on loopback would be joined, so GRO could not be seen to work; it is then
    // taken at the kernel's word.
    let gro = if gso { train_arrives(v6, true)? == [PACKET + PACKET / 2] } else { accepts_gro(v6) };
    Ok(Offloads { gso, gro })
}

/// The sizes in which a train of one and a half packets came out.
fn train_arrives(v6: bool, gro: bool) -> io::Result<Vec<usize>> {
    let Ok(receiver) = scratch(v6, gro) else { return Ok(Vec::new()) };
    let sender = scratch(v6, false)?;
    let bytes = [7u8; PACKET + PACKET / 2];
    let to = RawAddress::new(receiver.local_addr());
    let train =
        Outgoing { parts: [&bytes[..]], segment_size: Some(PACKET as u16), to: Some(&to), class: None };
    if SendBatch::new(1).send(&sender, std::iter::once(train)).is_err() {
        return Ok(Vec::new());
    }
    let mut arena = ReceiveArena::new(2, 2 * PACKET);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < bytes.len() {
        if wait_readable([receiver.as_fd()], Some(PATIENCE))? == 0 {
            break;
        }
        // A sandbox that forbids the call would leave the socket readable for ever.
        let Ok(count) = arena.receive(&receiver, 2, false) else { break };
        sizes.extend((0..count).map(|index| arena.arrived(index).length as usize));
    }
    Ok(sizes)
}

fn accepts_gro(v6: bool) -> bool {
    scratch(v6, true).is_ok()
}

fn scratch(v6: bool, gro: bool) -> io::Result<Socket> {
    let ip = if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    Socket::bind(&SocketOptions {
        bind: SocketAddr::new(ip, 0),
        reuse_port: false,
        buffer_size: 64 * 1024,
        gro,
        errors: false,
    })
}

/// Reads packets that stay in their socket one behind the other, an empty one among them, and takes the oldest out:
/// whether the next read begins where the last one ended.
///
/// # Errors
/// As [`probe_offloads`].
pub fn probe_peeks(v6: bool) -> io::Result<bool> {
    let (receiver, mut sender) = (scratch(v6, false)?, scratch(v6, false)?);
    sender.connect(receiver.local_addr())?;
    if receiver.go_on_behind_peeked().is_err() {
        return Ok(false);
    }
    let mut arena = ReceiveArena::new(1, PACKET);
    let mut next = |sends: Option<usize>| -> io::Result<Option<usize>> {
        if let Some(length) = sends {
            sender.send(&[7; PACKET][..length])?;
        }
        let found = arena.receive_plain(0, &receiver, Plain { named: false, stays: true })?;
        Ok(found.then(|| arena.plain_mut(0).len()))
    };
    for length in [300, 0, 200] {
        if next(Some(length))? != Some(length) {
            return Ok(false);
        }
    }
    let goes_on = next(None)?.is_none()
        && discard(&receiver, 2)? == 2
        && next(None)?.is_none()
        && next(Some(100))? == Some(100)
        && discard(&receiver, 3)? == 2
        && next(Some(50))? == Some(50)
        && discard(&receiver, 1)? == 1;
    Ok(goes_on && next(None)?.is_none())
}

const PACKET: usize = 512;
/// Loopback delivers within the send unless RPS moves it to another core.
const PATIENCE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_tells_the_offloads_of_this_kernel() {
        let found = probe_offloads(false).unwrap();
        // Every kernel from 5.0 on has both; a sandbox may not.
        assert!(found.gro || !found.gso, "{found:?}");
    }

    #[test]
    fn packets_that_stay_are_read_one_behind_the_other_on_this_kernel() {
        for v6 in [false, true] {
            assert!(probe_peeks(v6).is_ok_and(|goes_on| goes_on) || v6 && scratch(true, false).is_err());
        }
    }
}
