//! The `mmsg` backend on real sockets: calls cut short, earlier errors, GSO that fails in use.

use std::time::Duration;

use super::mmsg::Mmsg;
use super::{Backend, Config, Ecn, Event, PathId, Train};

#[test]
fn a_batch_that_the_kernel_cut_short_goes_on_where_it_was_cut() {
    let config = Config::new("127.0.0.1:0".parse().unwrap());
    let (mut here, mut there) = (Mmsg::open(&config).unwrap(), Mmsg::open(&config).unwrap());
    here.register_path(PathId(0), there.local_addr());
    for mark in 0..5 {
        let mut buffer = here.lend().unwrap();
        buffer.bytes_mut()[..40].fill(mark);
        here.submit(Train { buffer, length: 40, segment_size: 40, path: PathId(0) });
    }
    // As if a call of five had answered that it took two: three are left to send.
    here.sender.pretend_sent(&mut here.port, 2);
    here.flush().unwrap();
    let (mut batch, mut marks) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        there.receive(&mut batch).unwrap();
        for received in batch.clone() {
            let bytes = &there.buffer_mut(received.buffer)[..received.length as usize];
            marks.extend(bytes.chunks(40).map(|packet| packet[0]));
        }
        there.release();
    }
    assert_eq!(marks, [2, 3, 4]);
    assert_eq!((here.counters(false).packets_sent, here.counters(false).send_dropped), (5, 0));
}

#[test]
fn a_socket_with_an_earlier_packets_error_is_not_taken_for_empty() {
    let gone = Mmsg::open(&Config::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let remote = gone.local_addr();
    drop(gone);
    let config = Config { connect: Some(remote), ..Config::new("127.0.0.1:0".parse().unwrap()) };
    let mut here = Mmsg::open(&config).unwrap();
    here.register_path(PathId(0), remote);
    let mut batch = Vec::new();
    here.receive(&mut batch).unwrap();
    let mut buffer = here.lend().unwrap();
    buffer.bytes_mut()[..40].fill(1);
    // Nobody is there: the kernel keeps the refusal for whatever call comes next.
    here.submit(Train { buffer, length: 40, segment_size: 40, path: PathId(0) });
    here.flush().unwrap();
    let mut there = Mmsg::open(&Config::new(remote)).unwrap();
    there.register_path(PathId(0), here.local_addr());
    let mut buffer = there.lend().unwrap();
    buffer.bytes_mut()[..40].fill(2);
    assert!(there.send_lone(PathId(0), &buffer.bytes()[..40]));
    there.give_back(buffer);
    here.receive(&mut batch).unwrap();
    assert_eq!(batch.len(), 1, "what waits behind the error is taken in the same look");
    let mut events = Vec::new();
    here.poll_events(&mut events);
    assert_eq!(events, [Event::Unreachable { path: Some(PathId(0)) }]);
}

#[test]
fn gso_that_fails_in_use_is_switched_off_once_and_loses_nothing() {
    let config = Config::new("127.0.0.1:0".parse().unwrap());
    let mut there = Mmsg::open(&config).unwrap();
    let mut here = Mmsg::open(&config).unwrap();
    if !here.sender.gso() {
        let why = "GSO does not work here to begin with";
        assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "{why}");
        println!("SKIPPED gso_that_fails_in_use_is_switched_off_once_and_loses_nothing: {why}");
        return;
    }
    here.register_path(PathId(0), there.local_addr());
    here.port.inlet.socket.refuse_gso();
    for _ in 0..2 {
        let mut buffer = here.lend().unwrap();
        buffer.bytes_mut()[..2_500].fill(5);
        here.submit(Train { buffer, length: 2_500, segment_size: 1_000, path: PathId(0) });
        here.flush().unwrap();
    }
    let mut events = Vec::new();
    here.poll_events(&mut events);
    assert_eq!(events, [Event::GsoOff]);
    let (mut batch, mut lengths) = (Vec::new(), Vec::new());
    while lengths.len() < 6 {
        there.wait(Some(Duration::from_secs(5))).unwrap();
        there.receive(&mut batch).unwrap();
        assert!(!batch.is_empty(), "only {lengths:?} came");
        lengths.extend(batch.iter().map(|received| received.length));
        there.release();
    }
    assert_eq!(lengths, [1_000, 1_000, 500, 1_000, 1_000, 500]);
}

/// Sends `length` bytes in packets of `segment_size`.
fn send(here: &mut Mmsg, length: usize, segment_size: usize) {
    let mut buffer = here.lend().unwrap();
    let bytes = &mut buffer.bytes_mut()[..length];
    for packet in bytes.chunks_mut(segment_size) {
        // P-1.4: each packet says how long it is.
        let size = (packet.len() as u16).to_le_bytes();
        packet[2..4].copy_from_slice(&size);
    }
    here.submit(Train { buffer, length, segment_size, path: PathId(0) });
    here.flush().unwrap();
}

/// Sends `length` bytes in packets of `segment_size` from `here` to `there`, and takes what comes until all of it has.
fn carry(here: &mut Mmsg, there: &mut Mmsg, length: usize, segment_size: usize) -> Vec<u32> {
    send(here, length, segment_size);
    let (mut batch, mut lengths) = (Vec::new(), Vec::new());
    // As a worker that spins looks: one that was woken takes whatever woke it.
    for _ in 0..1_000_000 {
        if lengths.iter().sum::<u32>() as usize >= length {
            break;
        }
        there.receive(&mut batch).unwrap();
        lengths.extend(batch.iter().map(|received| received.length));
        there.release();
    }
    lengths
}

#[test]
fn small_packets_that_come_alone_are_not_joined_and_trains_are_again_from_the_second_on() {
    const NAME: &str = "small_packets_that_come_alone_are_not_joined_and_trains_are_again_from_the_second_on";
    let config = Config::new("127.0.0.1:0".parse().unwrap());
    let mut there = Mmsg::open(&config).unwrap();
    let mut here = Mmsg::open(&config).unwrap();
    here.register_path(PathId(0), there.local_addr());
    if carry(&mut here, &mut there, 3_000, 1_000) != [3_000] {
        let why = "GSO and GRO do not work here to begin with";
        assert_ne!(std::env::var("RINGWIRE_STRICT").as_deref(), Ok("1"), "{why}");
        println!("SKIPPED {NAME}: {why}");
        return;
    }
    for _ in 0..400 {
        assert_eq!(carry(&mut here, &mut there, 120, 120), [120]);
        // As often as a worker that spins would have looked in vain.
        there.receive(&mut Vec::new()).unwrap();
    }
    assert_eq!(
        carry(&mut here, &mut there, 3_000, 1_000),
        [1_000; 3],
        "the kernel cut it, and nothing was lost"
    );
    assert_eq!(carry(&mut here, &mut there, 3_000, 1_000), [3_000], "it joins again");
}

#[test]
fn what_was_joined_before_the_kernel_was_told_not_to_is_cut_where_its_packets_say() {
    let config = Config::new("127.0.0.1:0".parse().unwrap());
    let (mut there, mut here) = (Mmsg::open(&config).unwrap(), Mmsg::open(&config).unwrap());
    here.register_path(PathId(0), there.local_addr());
    for marked in [false, true] {
        if marked {
            // From here on control messages are taken, as on a path whose packets are marked.
            there.register_path(PathId(0), "192.0.2.1:9".parse().unwrap());
            there.mark(PathId(0), Ecn::Ect0);
        }
        let _ = there.port.inlet.socket.set_gro(true);
        send(&mut here, 3_000, 1_000);
        let _ = there.port.inlet.socket.set_gro(false);
        let mut packets = Vec::new();
        let mut batch = Vec::new();
        for _ in 0..1_000 {
            there.receive(&mut batch).unwrap();
            packets.extend(batch.iter().map(|received| (received.length, received.segment_size)));
            there.release();
        }
        assert_eq!(packets.iter().map(|(length, _)| length).sum::<u32>(), 3_000, "marked: {marked}");
        assert!(packets.iter().all(|(_, size)| *size == 1_000), "marked: {marked}: {packets:?}");
    }
}
