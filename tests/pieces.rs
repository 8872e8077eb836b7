//! Two pieces of large messages in one packet (P-3.4): when, and what becomes of both when it is lost.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use ringwire::bounds::{HEADER_SIZE, TAG_SIZE};
use ringwire::io::Ecn;
use ringwire::io::memory::{Hub, Switch};
use ringwire::time::{Timestamp, VirtualClock};
use ringwire::transport::Config;
use ringwire::wire::{Frame, Frames, Header, PacketKind};

mod pair_support;

use pair_support::{Echo, Pair, SERVER};

/// What each packet to the server held of large messages: unit, message, and bytes of each piece.
type Seen = Rc<RefCell<Vec<Vec<(u64, u64, usize)>>>>;

/// A switch that loses some packets to the server.
struct Lossy {
    switch: Switch,
    seen: Seen,
    /// So many packets of two pieces are lost from here on.
    to_lose: Rc<RefCell<usize>>,
    link: Link,
}

/// What the link and the ends' sockets take.
#[derive(Clone, Copy)]
struct Link {
    packet_size: usize,
    buffer_size: u64,
}

const WIDE: Link = Link { packet_size: 16 << 10, buffer_size: 4 << 20 };

impl Hub for Lossy {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], ecn: Ecn) {
        if to == SERVER {
            let pieces = pieces(packet);
            let is_pair = pieces.len() == 2;
            if !pieces.is_empty() {
                self.seen.borrow_mut().push(pieces);
            }
            let mut to_lose = self.to_lose.borrow_mut();
            if is_pair && *to_lose > 0 {
                *to_lose -= 1;
                return;
            }
        }
        self.switch.send(from, to, packet, ecn);
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        self.switch.receive(at, into)
    }

    fn packet_size_max(&self, _from: SocketAddr, _to: SocketAddr) -> usize {
        self.link.packet_size
    }

    fn receive_buffer_size(&self, _at: SocketAddr) -> u64 {
        self.link.buffer_size
    }
}

/// The pieces of large messages in a packet. Nothing is sealed here.
fn pieces(packet: &[u8]) -> Vec<(u64, u64, usize)> {
    let header = Header::decode(packet).expect("it is one of ours");
    if header.kind != PacketKind::Data {
        return Vec::new();
    }
    let frames = Frames::new(&packet[HEADER_SIZE..usize::from(header.length) - TAG_SIZE]);
    frames
        .filter_map(|frame| match frame.expect("it is one of ours") {
            Frame::Fragment(piece) => Some((piece.unit.0, piece.header.message.0, piece.length)),
            _ => None,
        })
        .collect()
}

fn lossy(link: Link) -> (Lossy, Seen, Rc<RefCell<usize>>) {
    let (seen, to_lose) = (Seen::default(), Rc::default());
    let hub = Lossy { switch: Switch::default(), seen: Rc::clone(&seen), to_lose: Rc::clone(&to_lose), link };
    (hub, seen, to_lose)
}

/// Two ends whose session has found out how large its packets may be.
fn pair() -> (Pair, Seen, Rc<RefCell<usize>>) {
    let (hub, seen, to_lose) = lossy(WIDE);
    (settled(Pair::new(hub, Echo::default()), &seen), seen, to_lose)
}

/// The same over `link`, with other bounds.
fn bounded_pair(link: Link, configure: impl Fn(Config) -> Config) -> (Pair, Seen, Rc<RefCell<usize>>) {
    let (hub, seen, to_lose) = lossy(link);
    let clock = VirtualClock::new(Timestamp(1_000_000_000));
    (settled(Pair::configured(configure, clock, hub, Echo::default()), &seen), seen, to_lose)
}

fn settled(mut pair: Pair, seen: &Seen) -> Pair {
    pair.echo(8, &[7; 65_536]);
    (0..200).for_each(|_| pair.round());
    seen.borrow_mut().clear();
    pair
}

#[test]
fn the_last_piece_of_a_message_shares_its_packet_with_the_first_of_the_next() {
    let (mut pair, seen, _) = pair();
    pair.echo(4, &[7; 40_000]);
    let seen = seen.borrow();
    let pairs: Vec<_> = seen.iter().filter(|pieces| pieces.len() == 2).collect();
    assert_eq!(pairs.len(), 3, "one between two messages: {seen:?}");
    for pieces in pairs {
        let [(unit, message, _), (next_unit, next_message, _)] = pieces[..] else { unreachable!("two") };
        assert_eq!((next_unit, next_message), (unit + 1, message + 1));
    }
    let bytes: usize = seen.iter().flatten().map(|(_, _, size)| size).sum();
    assert_eq!(bytes, 4 * 40_000, "each byte once: {seen:?}");
}

#[test]
fn a_message_with_nothing_behind_it_ends_in_a_short_packet() {
    let (mut pair, seen, _) = pair();
    pair.echo(1, &[7; 40_000]);
    let sizes: Vec<usize> = seen.borrow().iter().flatten().map(|(_, _, size)| *size).collect();
    let [one, two, last] = sizes[..] else { panic!("{sizes:?}") };
    assert!(one == two && last == 40_000 - 2 * one, "{sizes:?}");
}

#[test]
fn both_pieces_of_a_lost_packet_come_again_each_alone() {
    let (mut pair, seen, to_lose) = pair();
    *to_lose.borrow_mut() = 1;
    let before = pair.client.counters();
    pair.echo(8, &[7; 40_000]);
    let after = pair.client.counters();
    assert_eq!(*to_lose.borrow(), 0);
    let seen = seen.borrow();
    let lost = seen.iter().find(|pieces| pieces.len() == 2).expect("it was lost");
    for piece in lost {
        let again = seen.iter().filter(|pieces| pieces[..] == [*piece]).count();
        assert_eq!(again, 1, "{piece:?} of {lost:?}");
    }
    assert_eq!(after.lost - before.lost, 1);
    assert_eq!(after.retransmitted - before.retransmitted, 2);
    assert_eq!(pair.server.counters().violations, 0);
}

#[test]
fn messages_arrive_once_each_when_every_packet_of_two_pieces_is_lost() {
    let (mut pair, _, to_lose) = pair();
    *to_lose.borrow_mut() = usize::MAX;
    pair.echo(16, &[9; 50_000]);
    let delivered = pair.server.counters().payload_delivered;
    *to_lose.borrow_mut() = 0;
    pair.echo(16, &[9; 50_000]);
    assert_eq!(pair.server.counters().payload_delivered - delivered, 16 * 50_000);
    assert_eq!((pair.server.counters().violations, pair.client.counters().violations), (0, 0));
}

/// Messages of many sizes, so that a bound is met between any two pieces. Returns how often two shared a packet.
fn echo_many(mut pair: Pair, seen: &Seen) -> usize {
    for size in (17_000..49_000).step_by(1_500) {
        pair.echo(24, &vec![5; size]);
    }
    assert_eq!((pair.server.counters().violations, pair.client.counters().violations), (0, 0));
    seen.borrow().iter().filter(|pieces| pieces.len() == 2).count()
}

#[test]
fn the_second_of_two_pieces_keeps_within_the_peers_credit() {
    let link = Link { buffer_size: 208 << 10, ..WIDE };
    let (pair, seen, _) = bounded_pair(link, |config| config);
    assert!(echo_many(pair, &seen) > 100);
}

#[test]
fn the_second_of_two_pieces_keeps_within_the_peers_unit_window() {
    let link = Link { packet_size: 1_500, ..WIDE };
    let (pair, seen, to_lose) = bounded_pair(link, |config| Config { unit_window: 64, ..config });
    // What is lost holds the window's floor, and the units behind it fill the window.
    *to_lose.borrow_mut() = usize::MAX;
    assert!(echo_many(pair, &seen) > 100);
}
