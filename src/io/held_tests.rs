//! Packets that are read and stay in their socket, over real sockets: each comes once, whole and in its place.

use super::mmsg::Mmsg;
use super::{Backend, Config, Event, PathId, Received};
use crate::sys::batch::discard;

/// Two ports that know each other, each having looked once and found nothing: the next packet is left in its
/// socket while it is handled.
fn pair() -> (Mmsg, Mmsg, Vec<Received>) {
    let config = Config::new("127.0.0.1:0".parse().unwrap());
    let (mut here, mut there) = (Mmsg::open(&config).unwrap(), Mmsg::open(&config).unwrap());
    here.register_path(PathId(0), there.local_addr());
    there.register_path(PathId(0), here.local_addr());
    let mut batch = Vec::new();
    there.receive(&mut batch).unwrap();
    assert!(batch.is_empty());
    (here, there, batch)
}

fn send(from: &mut Mmsg, length: usize, mark: u8) {
    let mut buffer = from.lend().unwrap();
    buffer.bytes_mut()[..length].fill(mark);
    assert!(from.send_lone(PathId(0), &buffer.bytes()[..length]));
    from.give_back(buffer);
}

#[test]
fn a_packet_that_stays_in_its_socket_while_it_is_handled_comes_once() {
    let (mut here, mut there, mut batch) = pair();
    let mut marks = Vec::new();
    for mark in 0..9 {
        send(&mut here, 40, mark);
        if mark % 3 == 2 {
            send(&mut here, 40, 100 + mark);
        }
        for _ in 0..3 {
            there.receive(&mut batch).unwrap();
            let mut seen: Vec<u8> = batch.iter().map(|got| there.buffer_mut(got.buffer)[0]).collect();
            marks.append(&mut seen);
            if !batch.is_empty() {
                there.release();
            }
        }
    }
    assert_eq!(marks, [0, 1, 2, 102, 3, 4, 5, 105, 6, 7, 8, 108]);
    assert_eq!(there.counters(false).packets_received, 12);
}

#[test]
fn a_packet_that_holds_nothing_does_not_stay_in_its_socket_for_ever() {
    let (mut here, mut there, mut batch) = pair();
    send(&mut here, 0, 0);
    there.receive(&mut batch).unwrap();
    assert!(batch.is_empty());
    send(&mut here, 40, 7);
    for _ in 0..3 {
        there.receive(&mut batch).unwrap();
        if let [received] = batch[..] {
            assert_eq!(bytes_of(&mut there, received), [7; 40]);
            there.release();
            return;
        }
    }
    panic!("what came behind it was never seen");
}

#[test]
fn an_error_that_comes_while_a_packet_is_handled_does_not_have_it_come_twice() {
    let config = Config::new("127.0.0.1:0".parse().unwrap());
    let mut there = Mmsg::open(&config).unwrap();
    let remote = there.local_addr();
    let mut here = Mmsg::open(&Config { connect: Some(remote), ..config }).unwrap();
    here.register_path(PathId(0), remote);
    there.register_path(PathId(0), here.local_addr());
    let mut batch = Vec::new();
    here.receive(&mut batch).unwrap();
    send(&mut there, 40, 1);
    here.receive(&mut batch).unwrap();
    assert_eq!(batch.len(), 1);
    // Its sender goes, and the answer is refused: the kernel tells that to the next call.
    drop(there);
    send(&mut here, 40, 2);
    here.release();
    here.receive(&mut batch).unwrap();
    assert!(batch.is_empty(), "it was taken out in spite of the error");
    let mut events = Vec::new();
    here.poll_events(&mut events);
    assert_eq!(events, [Event::Unreachable { path: Some(PathId(0)) }]);
}

fn bytes_of(there: &mut Mmsg, received: Received) -> &mut [u8] {
    &mut there.buffer_mut(received.buffer)[..received.length as usize]
}

/// A packet of `length` bytes whose header says so, marked with `mark` at either end.
fn send_marked(from: &mut Mmsg, length: usize, mark: u32) {
    let mut buffer = from.lend().unwrap();
    let bytes = &mut buffer.bytes_mut()[..length];
    bytes.fill(0);
    bytes[2..4].copy_from_slice(&(length as u16).to_le_bytes());
    bytes[4..8].copy_from_slice(&mark.to_le_bytes());
    bytes[length - 4..].copy_from_slice(&mark.to_le_bytes());
    assert!(from.send_lone(PathId(0), &buffer.bytes()[..length]));
    from.give_back(buffer);
}

/// Length and mark of all packets that `looks` looks find.
fn take_in(there: &mut Mmsg, looks: usize) -> Vec<(usize, u32)> {
    let (mut batch, mut found) = (Vec::new(), Vec::new());
    for _ in 0..looks {
        there.receive(&mut batch).unwrap();
        for &received in &batch {
            let bytes = bytes_of(there, received);
            let mark = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!(mark(4), mark(bytes.len() - 4), "it came whole");
            found.push((bytes.len(), mark(4)));
        }
        if !batch.is_empty() {
            there.release();
        }
    }
    found
}

/// A pair of ports in whose sockets packets may stay; `None`, said, where the buffer that is granted is too small.
fn holding_pair(test: &str) -> Option<(Mmsg, Mmsg)> {
    let (here, there, _) = pair();
    if there.inlet(false).held.budget() == 0 {
        // RINGWIRE_STRICT=1 lets this pass: it asks for what the kernel has, and net.core.rmem_max is the host's.
        println!("SKIPPED {test}: the socket buffer granted here is too small for packets to stay in it");
        return None;
    }
    Some((here, there))
}

const LARGE: usize = 60_000;

#[test]
fn large_packets_that_stay_in_their_socket_come_once_each_and_in_order() {
    let test = "large_packets_that_stay_in_their_socket_come_once_each_and_in_order";
    let Some((mut here, mut there)) = holding_pair(test) else { return };
    let (mut mark, mut most) = (0, 0);
    // One at a time, a few at once, and more than a batch.
    for round in 0..60 {
        let count = [1, 1, 5, 1, 20][round % 5];
        for _ in 0..count {
            send_marked(&mut here, LARGE, mark);
            mark += 1;
        }
        let wanted: Vec<_> = (mark - count..mark).map(|mark| (LARGE, mark)).collect();
        assert_eq!(take_in(&mut there, 4), wanted, "round {round}");
        most = most.max(there.inlet(false).held.count());
    }
    assert!((20..80).contains(&most), "at most {most} of {mark} stayed");
    assert_eq!(there.inlet(false).socket.drops().unwrap(), 0);
}

#[test]
fn small_packets_among_large_ones_that_stay_come_once_each_and_in_order() {
    let test = "small_packets_among_large_ones_that_stay_come_once_each_and_in_order";
    let Some((mut here, mut there)) = holding_pair(test) else { return };
    let seed = 39;
    println!("seed {seed}; replay: cargo test --lib {test}");
    let mut rng = crate::rng::Rng::new(seed);
    let (mut mark, mut wanted, mut found) = (0, Vec::new(), Vec::new());
    for _ in 0..400 {
        // Long rows of small ones end that packets stay, and a large one begins it anew.
        let (count, large) = if rng.below(8) == 0 { (rng.below(200), 0) } else { (rng.below(4), 50) };
        for _ in 0..count {
            let length = if rng.below(100) < large { LARGE } else { 12 + rng.below(200) as usize };
            send_marked(&mut here, length, mark);
            wanted.push((length, mark));
            mark += 1;
        }
        found.append(&mut take_in(&mut there, 1 + rng.below(6) as usize));
    }
    found.append(&mut take_in(&mut there, 400));
    assert_eq!(found, wanted);
    assert_eq!(there.inlet(false).socket.drops().unwrap(), 0);
}

#[test]
fn a_wait_is_not_ended_by_packets_that_were_read_and_stay() {
    let Some((mut here, mut there)) = holding_pair("a_wait_is_not_ended_by_packets_that_were_read_and_stay")
    else {
        return;
    };
    for mark in 0..7 {
        send_marked(&mut here, LARGE, mark);
    }
    assert_eq!(take_in(&mut there, 8).len(), 7);
    assert!(there.inlet(false).held.count() > 0);
    there.wait(Some(std::time::Duration::from_millis(1))).unwrap();
    assert_eq!((there.inlet(false).held.count(), there.was_woken()), (0, false));
    send_marked(&mut here, LARGE, 7);
    assert_eq!(take_in(&mut there, 2), [(LARGE, 7)]);
}

#[test]
fn an_error_that_comes_while_packets_stay_has_none_come_twice() {
    let test = "an_error_that_comes_while_packets_stay_has_none_come_twice";
    let Some((mut here, there)) = holding_pair(test) else { return };
    let mut there = {
        let local = there.local_addr();
        drop(there);
        let mut there =
            Mmsg::open(&Config { connect: Some(here.local_addr()), ..Config::new(local) }).unwrap();
        there.register_path(PathId(0), here.local_addr());
        there
    };
    for mark in 0..5 {
        send_marked(&mut here, LARGE, mark);
    }
    assert_eq!(take_in(&mut there, 6).len(), 5);
    let (local, remote) = (here.local_addr(), there.local_addr());
    drop(here);
    // Nobody is there any more: the next call on the socket is told so, and that is the one that takes them out.
    send_marked(&mut there, 40, 9);
    there.wait(Some(std::time::Duration::from_millis(1))).unwrap();
    assert_eq!(there.inlet(false).held.count(), 0);
    let mut events = Vec::new();
    there.poll_events(&mut events);
    assert_eq!(events, [Event::Unreachable { path: Some(PathId(0)) }]);
    let mut here = Mmsg::open(&Config::new(local)).unwrap();
    here.register_path(PathId(0), remote);
    send_marked(&mut here, LARGE, 10);
    assert_eq!(take_in(&mut there, 4), [(LARGE, 10)]);
}

#[test]
fn packets_that_somebody_else_took_out_do_not_spoil_those_that_follow() {
    let test = "packets_that_somebody_else_took_out_do_not_spoil_those_that_follow";
    let Some((mut here, mut there)) = holding_pair(test) else { return };
    for mark in 0..5 {
        send_marked(&mut here, LARGE, mark);
    }
    assert_eq!(take_in(&mut there, 6).len(), 5);
    assert!(discard(&there.inlet(false).socket, 3).unwrap() > 0);
    there.wait(Some(std::time::Duration::from_millis(1))).unwrap();
    assert_eq!(there.inlet(false).held.count(), 0);
    for mark in 5..9 {
        send_marked(&mut here, LARGE, mark);
    }
    assert_eq!(take_in(&mut there, 6).len(), 4);
}

#[test]
fn nothing_is_left_in_the_socket_once_nothing_comes() {
    let Some((mut here, mut there)) = holding_pair("nothing_is_left_in_the_socket_once_nothing_comes") else {
        return;
    };
    for mark in 0..9 {
        send_marked(&mut here, LARGE, mark);
    }
    assert_eq!(take_in(&mut there, 8).len(), 9);
    assert!(there.inlet(false).held.count() > 0);
    assert_eq!(take_in(&mut there, 1_100), []);
    let left = there.inlet(false).socket.receive(&mut [0; 9]).map_err(|error| error.kind());
    assert_eq!((there.inlet(false).held.count(), left), (0, Err(std::io::ErrorKind::WouldBlock)));
}

#[test]
fn what_packets_that_stay_may_take_is_promised_to_no_sender() {
    let test = "what_packets_that_stay_may_take_is_promised_to_no_sender";
    let Some((_, there)) = holding_pair(test) else { return };
    let granted = there.inlet(false).socket.receive_buffer_size();
    assert!(there.receive_buffer_size() < granted && there.receive_buffer_size() >= granted / 4 * 3);
}

#[test]
fn large_packets_stay_in_a_regulars_socket_too() {
    let Some((mut here, mut there)) = holding_pair("large_packets_stay_in_a_regulars_socket_too") else {
        return;
    };
    // So many answers that the other end gets a socket of its own.
    for mark in 0..1_100 {
        send_marked(&mut here, 40, mark);
        assert_eq!(take_in(&mut there, 8), [(40, mark)]);
        send_marked(&mut there, 40, mark);
        assert_eq!(take_in(&mut here, 8), [(40, mark)]);
    }
    assert!(there.has_regular());
    for mark in 0..9 {
        send_marked(&mut here, LARGE, mark);
    }
    let wanted: Vec<_> = (0..9).map(|mark| (LARGE, mark)).collect();
    assert_eq!(take_in(&mut there, 16), wanted);
    assert!(there.inlet(true).held.count() > 0);
}
