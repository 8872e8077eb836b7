//! A regular's socket over real sockets: nothing may depend on it.

use std::net::SocketAddr;
use std::time::Duration;

use super::mmsg::Mmsg;
use super::{Backend, Config, PathId, Train};
use crate::sys::{Socket, SocketOptions};

/// More trains than make a majority.
const MANY: u64 = 1_100;

fn open(at: &str) -> Mmsg {
    let mut config = Config::new(at.parse().unwrap());
    // Enough for a test, and granted everywhere.
    config.socket_buffer = Some(100_000);
    Mmsg::open(&config).unwrap()
}

fn send(from: &mut Mmsg, path: u32, mark: u64) {
    let mut buffer = from.lend().unwrap();
    buffer.bytes_mut()[..40].fill(0);
    buffer.bytes_mut()[8..16].copy_from_slice(&mark.to_le_bytes());
    from.submit(Train { buffer, length: 40, segment_size: 40, path: PathId(path) });
    from.flush().unwrap();
}

/// The next packet's mark and sender.
fn next(at: &mut Mmsg) -> (u64, SocketAddr) {
    let mut batch = Vec::new();
    for _ in 0..200 {
        at.receive(&mut batch).unwrap();
        if let [received] = batch[..] {
            let bytes = &at.buffer_mut(received.buffer)[8..16];
            let mark = u64::from_le_bytes(bytes.try_into().unwrap());
            at.release();
            return (mark, received.from);
        }
        assert!(batch.is_empty(), "one at a time");
        // A wait must end for either socket.
        at.wait(Some(Duration::from_millis(50))).unwrap();
    }
    panic!("nothing came");
}

/// A server that answers `client` so often that it becomes its regular.
fn acquainted(at: &str) -> (Mmsg, Mmsg) {
    let (mut server, mut client) = (open(at), open(at));
    server.register_path(PathId(0), client.local_addr());
    client.register_path(PathId(0), server.local_addr());
    for mark in 0..MANY {
        send(&mut client, 0, mark);
        assert_eq!(next(&mut server), (mark, client.local_addr()));
        send(&mut server, 0, mark);
        assert_eq!(next(&mut client), (mark, server.local_addr()));
    }
    assert!(server.has_regular() && client.has_regular());
    (server, client)
}

#[test]
fn a_regular_and_everybody_else_are_heard_and_answered() {
    for at in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let (mut server, mut client) = if at == "0.0.0.0:0" {
            // Bound to every address: the connected socket chooses its own as the route does.
            let (mut server, mut client) = (open(at), open("127.0.0.1:0"));
            let port = server.local_addr().port();
            server.register_path(PathId(0), client.local_addr());
            client.register_path(PathId(0), ([127, 0, 0, 1], port).into());
            (0..MANY).for_each(|mark| {
                send(&mut server, 0, mark);
                assert_eq!(next(&mut client).0, mark);
            });
            assert!(server.has_regular());
            (server, client)
        } else {
            acquainted(at)
        };
        let mut other = open(if at.starts_with('[') { at } else { "127.0.0.1:0" });
        server.register_path(PathId(1), other.local_addr());
        let port = server.local_addr().port();
        let to = SocketAddr::new(client.local_addr().ip(), port);
        other.register_path(PathId(0), to);
        for mark in 0..100 {
            send(&mut other, 0, mark);
            assert_eq!(next(&mut server), (mark, other.local_addr()));
            send(&mut server, 1, mark);
            assert_eq!(next(&mut other), (mark, to));
            send(&mut client, 0, mark);
            assert_eq!(next(&mut server), (mark, client.local_addr()));
            send(&mut server, 0, mark);
            assert_eq!(next(&mut client), (mark, to));
        }
        assert_eq!(server.local_addr().port(), port);
    }
}

#[test]
fn trains_for_both_sockets_in_one_flush_arrive_in_order() {
    let (mut server, mut client) = acquainted("127.0.0.1:0");
    let mut other = open("127.0.0.1:0");
    server.register_path(PathId(1), other.local_addr());
    for mark in 0..12_u64 {
        let mut buffer = server.lend().unwrap();
        buffer.bytes_mut()[8..16].copy_from_slice(&mark.to_le_bytes());
        let path = PathId(u32::from(mark % 3 == 0));
        server.submit(Train { buffer, length: 40, segment_size: 40, path });
    }
    server.flush().unwrap();
    let marks_of = |at: &mut Mmsg, count: usize| {
        let (mut marks, mut batch) = (Vec::new(), Vec::new());
        while marks.len() < count {
            at.receive(&mut batch).unwrap();
            for received in batch.clone() {
                let bytes = &at.buffer_mut(received.buffer)[..received.length as usize];
                marks.extend(bytes.chunks(40).map(|packet| packet[8]));
            }
            at.release();
            assert!(
                !batch.is_empty() || {
                    at.wait(Some(Duration::from_secs(5))).unwrap();
                    true
                }
            );
        }
        marks
    };
    assert_eq!(marks_of(&mut other, 4), [0, 3, 6, 9]);
    assert_eq!(marks_of(&mut client, 8), [1, 2, 4, 5, 7, 8, 10, 11]);
}

#[test]
fn a_regular_that_moves_is_heard_where_it_is_now() {
    let (mut server, client) = acquainted("127.0.0.1:0");
    let mut moved = open("127.0.0.1:0");
    moved.register_path(PathId(0), server.local_addr());
    send(&mut moved, 0, 7);
    assert_eq!(next(&mut server), (7, moved.local_addr()));
    // Its path is pointed at where it is now: what is sent there must not go to the old address.
    server.register_path(PathId(0), moved.local_addr());
    assert!(!server.has_regular());
    send(&mut server, 0, 8);
    assert_eq!(next(&mut moved), (8, server.local_addr()));
    drop(client);
}

#[test]
fn a_regular_that_has_gone_is_an_event_and_others_are_still_served() {
    let (mut server, client) = acquainted("127.0.0.1:0");
    drop(client);
    let mut other = open("127.0.0.1:0");
    server.register_path(PathId(1), other.local_addr());
    other.register_path(PathId(0), server.local_addr());
    for mark in 0..5 {
        send(&mut server, 0, mark);
        send(&mut server, 1, mark);
        assert_eq!(next(&mut other), (mark, server.local_addr()));
        send(&mut other, 0, mark);
        assert_eq!(next(&mut server), (mark, other.local_addr()));
    }
    let mut events = Vec::new();
    server.poll_events(&mut events);
    assert!(events.contains(&super::Event::Unreachable { path: Some(PathId(0)) }), "{events:?}");
}

#[test]
fn who_has_the_majority_now_takes_the_regulars_place() {
    let (mut server, _client) = acquainted("127.0.0.1:0");
    let mut next_one = open("127.0.0.1:0");
    server.register_path(PathId(1), next_one.local_addr());
    next_one.register_path(PathId(0), server.local_addr());
    for mark in 0..4 * MANY {
        send(&mut next_one, 0, mark);
        assert_eq!(next(&mut server), (mark, next_one.local_addr()));
        send(&mut server, 1, mark);
        assert_eq!(next(&mut next_one), (mark, server.local_addr()));
        if mark % 100 == 0 {
            server.counters(true);
        }
    }
    assert_eq!(server.regular(), Some(next_one.local_addr()));
}

#[test]
fn a_regular_that_is_not_heard_any_more_is_one_of_many_again() {
    let (mut server, _client) = acquainted("127.0.0.1:0");
    let mut batch = Vec::new();
    for look in 0..20 {
        assert_eq!(server.has_regular(), look <= 10, "after {look} looks");
        server.counters(true);
        // Its socket is let go when it was found empty.
        for _ in 0..4 {
            server.receive(&mut batch).unwrap();
            assert!(batch.is_empty());
        }
    }
}

#[test]
fn no_other_socket_can_join_the_port_of_one_with_a_regular() {
    let (server, client) = acquainted("127.0.0.1:0");
    for bind in [server.local_addr(), client.local_addr()] {
        let options = SocketOptions { bind, reuse_port: true, buffer_size: 0, gro: false, errors: false };
        let error = Socket::bind(&options).expect_err("the port is taken");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}
