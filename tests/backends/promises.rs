//! The promises, each over any backend that has a socket.

use std::time::Duration;

use bytes::Bytes;

use ringwire::bounds::{RECEIVE_BATCH_MAX, TRAIN_BUFFERS_MAX};
use ringwire::io::{Config, Ecn, Event, PathId, Train};
use ringwire::time::{Clock, MonotonicClock};

use super::rig::{self, Family, Kind, Pair, framed, joined, packets, pattern};

pub fn a_single_packet_arrives_whole_and_names_its_sender(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    pair.send(100, 100);
    let arrivals = pair.collect(100);
    assert_eq!(joined(&arrivals), framed(100, 100));
    assert_eq!(arrivals[0].segment_size, 100);
    assert_eq!(arrivals[0].from, pair.here.local_addr());
}

pub fn a_train_is_cut_exactly_and_rejoined(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    pair.send(3_700, 1_200);
    let arrivals = pair.collect(3_700);
    assert_eq!(joined(&arrivals), framed(3_700, 1_200));
    assert_eq!(packets(&arrivals), [1_200, 1_200, 1_200, 100]);
}

pub fn a_train_arrives_packet_by_packet_without_gro(kind: Kind, family: Family) {
    let mut pair = Pair::with(kind, family, |_| {}, |there| there.gro = false);
    pair.send(3_700, 1_200);
    let arrivals = pair.collect(3_700);
    assert_eq!(joined(&arrivals), framed(3_700, 1_200));
    assert_eq!(arrivals.len(), 4, "nothing was joined");
    assert!(arrivals.iter().all(|arrival| arrival.segment_size == arrival.bytes.len()));
}

pub fn a_train_leaves_packet_by_packet_without_gso(kind: Kind, family: Family) {
    let mut pair = Pair::with(kind, family, |here| here.gso = false, |_| {});
    pair.send(3_700, 1_200);
    let arrivals = pair.collect(3_700);
    assert_eq!(joined(&arrivals), framed(3_700, 1_200));
    assert_eq!(packets(&arrivals), [1_200, 1_200, 1_200, 100]);
    assert_eq!(pair.here.counters(false).packets_sent, 4);
}

pub fn what_lies_elsewhere_arrives_in_its_place(kind: Kind, family: Family) {
    for gso in [true, false] {
        let mut pair = Pair::with(kind, family, |here| here.gso = gso, |_| {});
        // As many pieces as a train can have, a train in several calls' worth of them, and bytes at both ends.
        for (length, segment_size, pieces) in
            [(64 * 900, 900, 64), (4 * 16_368, 16_368, 4), (16_368, 16_368, 1), (3_700, 1_200, 3)]
        {
            for round in 0..3 {
                let bytes = framed(length, segment_size);
                let mut buffer = rig::lend(&mut *pair.here);
                buffer.bytes_mut()[..length].copy_from_slice(&bytes);
                for piece in 0..pieces {
                    let end = ((piece + 1) * segment_size).min(length) - 16 * round.min(1);
                    let start = piece * segment_size + 40;
                    // What stands in its place meanwhile must not leave.
                    buffer.bytes_mut()[start..end].fill(0xee);
                    buffer.gather(start, Bytes::copy_from_slice(&bytes[start..end]));
                }
                pair.here.submit(Train { buffer, length, segment_size, path: PathId(0) });
                pair.here.flush().expect("the socket is alive");
                let arrivals = pair.collect(length);
                assert_eq!(joined(&arrivals), bytes, "{length} in {segment_size}, GSO {gso}");
                // The buffer comes back without what it gathered.
                pair.send(length, segment_size);
                assert_eq!(joined(&pair.collect(length)), bytes);
            }
        }
    }
}

pub fn trains_to_64_kib_arrive_in_order(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    for (length, segment_size) in [(65_000, 1_400), (64_000, 1_000), (65_507, 16_384), (2_304, 36)] {
        pair.send(length, segment_size);
        let arrivals = pair.collect(length);
        assert_eq!(joined(&arrivals), framed(length, segment_size), "{length} in {segment_size}");
        let sizes = packets(&arrivals);
        assert_eq!(sizes.len(), length.div_ceil(segment_size));
        assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == segment_size));
    }
}

pub fn a_connected_pair_talks_without_addresses(kind: Kind, family: Family) {
    let mut server = rig::open(kind, &Config::new(family.any_port()));
    let mut config = Config::new(family.any_port());
    config.connect = Some(server.local_addr());
    let mut client = rig::open(kind, &config);
    client.register_path(PathId(0), server.local_addr());
    rig::send(&mut *client, &framed(2_000, 1_000), 1_000);
    let arrivals = rig::collect(&mut *server, 2_000);
    assert_eq!(packets(&arrivals), [1_000, 1_000]);
    assert_eq!(arrivals[0].from, client.local_addr());
    server.register_path(PathId(0), client.local_addr());
    rig::send(&mut *server, &pattern(70), 70);
    assert_eq!(joined(&rig::collect(&mut *client, 70)), pattern(70));
}

pub fn a_full_batch_says_so(kind: Kind, family: Family) {
    let mut pair = Pair::with(kind, family, |_| {}, |there| there.gro = false);
    let sent = 2 * RECEIVE_BATCH_MAX + 3;
    (0..sent).for_each(|_| pair.send(50, 50));
    let (mut seen, mut full_ones) = (0, 0);
    for _ in 0..1_000 {
        let (arrivals, full) = rig::receive_once(&mut *pair.there);
        assert!(arrivals.len() <= RECEIVE_BATCH_MAX);
        seen += arrivals.len();
        full_ones += u32::from(full);
        assert!(full || seen == sent || arrivals.is_empty(), "{} came, more wait", arrivals.len());
        if seen == sent {
            break;
        }
    }
    assert_eq!(seen, sent);
    assert!(full_ones >= 2, "{full_ones} batches were called full");
    assert!(!rig::receive_once(&mut *pair.there).1, "an empty batch is not full");
}

pub fn a_wait_ends_when_a_packet_comes(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    // The first receive starts what a backend starts lazily.
    assert!(rig::receive_once(&mut *pair.there).0.is_empty());
    let to = pair.there.local_addr();
    let sender = std::thread::spawn(move || {
        let socket = std::net::UdpSocket::bind(family.any_port()).unwrap();
        socket.send_to(&[9; 40], to).unwrap();
    });
    let started = MonotonicClock.now();
    let mut arrivals = Vec::new();
    while arrivals.is_empty() {
        pair.there.wait(Some(Duration::from_secs(10))).unwrap();
        arrivals = rig::receive_once(&mut *pair.there).0;
        assert!(MonotonicClock.now().since_ns(started) < 9_000_000_000, "the packet did not end the wait");
    }
    assert_eq!(joined(&arrivals), [9; 40]);
    sender.join().unwrap();
}

pub fn a_wait_ends_when_the_doorbell_rings(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    let doorbell = pair.there.doorbell();
    let started = MonotonicClock.now();
    doorbell.ring();
    pair.there.wait(Some(Duration::from_secs(10))).unwrap();
    let ringer = std::thread::spawn(move || doorbell.ring());
    pair.there.wait(Some(Duration::from_secs(10))).unwrap();
    ringer.join().unwrap();
    assert!(MonotonicClock.now().since_ns(started) < 9_000_000_000, "the bell did not end the wait");
}

pub fn a_wait_ends_when_its_time_is_up(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    for timeout in [Duration::from_micros(300), Duration::from_millis(3), Duration::ZERO] {
        let start = MonotonicClock.now();
        pair.there.wait(Some(timeout)).unwrap();
        assert!(start.until(MonotonicClock.now()) >= timeout, "woke before {timeout:?}");
        assert!(start.until(MonotonicClock.now()) < Duration::from_secs(5), "slept through {timeout:?}");
    }
}

pub fn buffers_run_out_and_come_back(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    let mut lent: Vec<_> = std::iter::from_fn(|| pair.here.lend()).take(1_000).collect();
    assert_eq!(lent.len(), TRAIN_BUFFERS_MAX, "a pool has an end");
    for mut buffer in lent.drain(..lent.len() / 2) {
        buffer.bytes_mut()[..30].copy_from_slice(&pattern(30));
        pair.here.submit(Train { buffer, length: 30, segment_size: 30, path: PathId(0) });
    }
    lent.into_iter().for_each(|buffer| pair.here.give_back(buffer));
    pair.here.flush().unwrap();
    let arrivals = pair.collect(30 * TRAIN_BUFFERS_MAX / 2);
    assert_eq!(packets(&arrivals), [30; TRAIN_BUFFERS_MAX / 2]);
    for round in 0..4 * TRAIN_BUFFERS_MAX {
        pair.send(20, 20);
        assert_eq!(pair.collect(20).len(), 1, "round {round}");
    }
}

pub fn a_packet_too_big_is_an_event_and_the_next_one_leaves(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    let mut buffer = rig::lend(&mut *pair.here);
    let too_big = buffer.bytes_mut().len();
    pair.here.submit(Train { buffer, length: too_big, segment_size: too_big, path: PathId(0) });
    pair.here.flush().unwrap();
    pair.send(10, 10);
    assert_eq!(joined(&pair.collect(10)), framed(10, 10));
    let events = rig::events(&mut *pair.here);
    assert_eq!(events, [Event::PacketTooBig { path: PathId(0), segment_size: too_big }]);
}

pub fn an_icmp_refusal_is_a_hint_and_kills_nothing(kind: Kind, family: Family) {
    for connect in [false, true] {
        let nobody = std::net::UdpSocket::bind(family.any_port()).unwrap();
        let gone = nobody.local_addr().unwrap();
        drop(nobody);
        let mut config = Config::new(family.any_port());
        config.connect = connect.then_some(gone);
        let mut client = rig::open(kind, &config);
        client.register_path(PathId(0), gone);
        let mut events = Vec::new();
        for _ in 0..4 {
            rig::send(&mut *client, &pattern(20), 20);
            assert!(rig::receive_once(&mut *client).0.is_empty());
            client.wait(Some(Duration::from_millis(5))).unwrap();
            events.extend(rig::events(&mut *client));
        }
        let hint = Event::Unreachable { path: Some(PathId(0)) };
        assert!(events.contains(&hint), "connected: {connect}: {events:?}");
        assert!(events.iter().all(|event| *event == hint), "{events:?}");
        let back = std::net::UdpSocket::bind(gone).unwrap();
        back.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        rig::send(&mut *client, &pattern(33), 33);
        assert_eq!(back.recv(&mut [0; 64]).unwrap(), 33, "connected: {connect}");
    }
}

pub fn the_counters_add_up(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    for _ in 0..10 {
        pair.send(5_000, 1_000);
        pair.send(70, 70);
    }
    assert_eq!(joined(&pair.collect(10 * 5_070)).len(), 10 * 5_070);
    // Sends that complete later are counted by the time the next receive ran.
    rig::receive_once(&mut *pair.here);
    let (here, there) = (pair.here.counters(true), pair.there.counters(true));
    assert_eq!(here.packets_sent, 60);
    assert_eq!(there.packets_received, 60);
    assert!((1..=20).contains(&here.send_calls), "{here:?}");
    assert!((1..=60).contains(&there.receive_calls), "{there:?}");
    assert_eq!((there.socket_drops, here.send_dropped, there.truncated), (0, 0, 0));
    assert!(pair.there.receive_buffer_size() > 0);
}

pub fn ecn_bits_are_carried(kind: Kind, family: Family) {
    let mut pair = Pair::with(kind, family, |here| here.ecn = Ecn::Ect0, |there| there.ecn = Ecn::Ect0);
    pair.send(2_400, 1_200);
    let arrivals = pair.collect(2_400);
    assert_eq!(packets(&arrivals), [1_200, 1_200]);
    assert!(arrivals.iter().all(|arrival| arrival.ecn == Ecn::Ect0), "{:?}", arrivals[0].ecn);
}

pub fn an_empty_packet_is_passed_over(kind: Kind, family: Family) {
    let mut pair = Pair::new(kind, family);
    let socket = std::net::UdpSocket::bind(family.any_port()).unwrap();
    for _ in 0..RECEIVE_BATCH_MAX + 1 {
        socket.send_to(&[], pair.there.local_addr()).unwrap();
    }
    pair.send(10, 10);
    assert_eq!(joined(&pair.collect(10)), framed(10, 10));
}

pub fn a_storm_of_icmp_leaves_no_kernel_worker_behind(kind: Kind, family: Family) {
    let nobody = std::net::UdpSocket::bind(family.any_port()).unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    let mut pair = Pair::new(kind, family);
    pair.here.register_path(PathId(1), gone);
    // An unread error queue keeps the socket's poll ready: io_uring would then hand the receive to a
    // worker thread of the kernel, and a parked wait would spin.
    for round in 0..300 {
        let mut buffer = rig::lend(&mut *pair.here);
        buffer.bytes_mut()[..20].copy_from_slice(&pattern(20));
        pair.here.submit(Train { buffer, length: 20, segment_size: 20, path: PathId(1) });
        pair.here.flush().unwrap();
        if round % 3 == 0 {
            rig::receive_once(&mut *pair.here);
        }
        if round % 7 == 0 {
            pair.here.wait(Some(Duration::from_micros(50))).unwrap();
        }
    }
    while !rig::events(&mut *pair.here).is_empty() {
        pair.here.wait(Some(Duration::from_millis(1))).unwrap();
        rig::receive_once(&mut *pair.here);
    }
    let workers = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("iou-wrk"))
        .count();
    assert_eq!(workers, 0, "io_uring handed work to worker threads");
    let started = MonotonicClock.now();
    pair.here.wait(Some(Duration::from_millis(30))).unwrap();
    assert!(MonotonicClock.now().since_ns(started) >= 30_000_000, "the error queue still wakes the wait");
    send_back(&mut pair);
}

fn send_back(pair: &mut Pair) {
    rig::send(&mut *pair.there, &pattern(44), 44);
    assert_eq!(joined(&rig::collect(&mut *pair.here, 44)), pattern(44));
}
