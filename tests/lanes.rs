//! Lanes over real sockets: one handshake, sessions between every pair of workers, from either end.

#[path = "tidy/skip.rs"]
mod skip;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use ringwire::crypto::Csprng;
use ringwire::endpoint::{AllowList, Builder, Endpoint, Handler, Identity, OpenError, Peer, PeerEvent};
use ringwire::io::select::Selection;
use ringwire::time::{Clock, MonotonicClock};
use ringwire::transport::{CloseReason, Config};
use ringwire::worker::{ReplyWriter, Request};

/// Replies with the index of the worker it runs on, and the payload.
struct WhoAmI(u8);

impl Handler for WhoAmI {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        let index = self.0;
        reply.send_with(1 + request.payload.len(), |place| {
            place[0] = index;
            place[1..].copy_from_slice(request.payload);
        });
    }
}

fn endpoint(workers: usize) -> Builder {
    Endpoint::builder()
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .workers(workers)
        .handler(|index| WhoAmI(index as u8))
}

/// Asks until it is so, at most half as long as a silent session lives: what has come to its end by then did so
/// because it was told. Not so many times: on few cores a worker may be kept from its own for all of them.
fn in_time(mut is_so: impl FnMut() -> bool) -> bool {
    let end = MonotonicClock.now().after(Config::default().idle_timeout / 2);
    loop {
        if is_so() {
            return true;
        }
        if MonotonicClock.now() >= end {
            return false;
        }
    }
}

/// A call on each session runs on the worker that the session says.
#[track_caller]
fn each_reaches_its_worker(sessions: &[Peer]) {
    for round in 0..20u32 {
        let calls: Vec<_> =
            sessions.iter().map(|session| session.call(1, round.to_le_bytes().to_vec()).start()).collect();
        for (session, call) in sessions.iter().zip(calls) {
            let reply = call.wait().expect("a reply");
            assert_eq!(reply[0], session.remote_worker());
            assert_eq!(reply[1..], round.to_le_bytes());
        }
    }
}

/// The session that the other end has, of the worker pairs that `peer` names the other way round.
#[track_caller]
fn accepted(endpoint: &Endpoint) -> Peer {
    loop {
        let event = endpoint.events().next().wait().expect("the endpoint lives");
        if let PeerEvent::Opened { peer, accepted: true } = event {
            return peer;
        }
    }
}

fn lanes_between_every_pair_of_workers(make: impl Fn(Builder) -> Builder) {
    let server = make(endpoint(2)).start().expect("two workers");
    let client = make(endpoint(2)).start().expect("two workers");
    let lanes = client.connect(server.local_addr()).from_worker(0).to_worker(0).wait().expect("a session");
    assert_eq!(lanes.lane_of(), None);
    let mut sessions = vec![lanes.clone()];
    for (from, to) in [(0, 1), (1, 0), (1, 1), (0, 0)] {
        let lane = client.open_lane(&lanes).from_worker(from).to_worker(to).wait().expect("a lane");
        assert_eq!((lane.local_worker(), lane.remote_worker()), (from as u8, to));
        let parent = lane.lane_of().expect("a lane");
        assert_eq!((parent.worker, parent.session), (0, lanes.session()));
        assert_eq!(lane.boot_id(), lanes.boot_id());
        sessions.push(lane);
    }
    each_reaches_its_worker(&sessions);

    // The other way: the server asks, over the session that it accepted and over no lane.
    let at_server = accepted(&server);
    assert_eq!(at_server.lane_of(), None);
    let back = server.open_lane(&at_server).from_worker(1).to_worker(1).wait().expect("a lane back");
    assert_eq!((back.local_worker(), back.remote_worker()), (1, 1));
    each_reaches_its_worker(&[back]);

    // A lane has no lanes.
    let error = client.open_lane(&sessions[1]).from_worker(0).wait().expect_err("a lane of a lane");
    assert!(error.to_string().contains("connect again"), "{error}");
    let error = client.open_lane(&sessions[2]).from_worker(0).wait().expect_err("a lane of a lane");
    assert_eq!(error, OpenError::Ended(CloseReason::Refused(9)));
    // There is no worker 7.
    let error = client.open_lane(&lanes).to_worker(7).wait().expect_err("two workers");
    assert_eq!(error, OpenError::Ended(CloseReason::Refused(7)));

    // The session that they were opened over ends: they go on.
    lanes.close(0);
    assert_eq!(lanes.closed().wait(), CloseReason::Local);
    each_reaches_its_worker(&sessions[1..]);
    let error = client.open_lane(&lanes).from_worker(1).wait().expect_err("it has ended");
    assert!(matches!(error, OpenError::Ended(_)), "{error}");
}

#[test]
fn sealed_lanes_join_every_pair_of_workers_by_mmsg() {
    lanes_between_every_pair_of_workers(|builder| builder.backend(backend("mmsg")));
}

#[test]
fn insecure_lanes_join_every_pair_of_workers_by_mmsg() {
    lanes_between_every_pair_of_workers(|builder| builder.backend(backend("mmsg")).insecure());
}

#[test]
fn sealed_lanes_join_every_pair_of_workers_by_uring() {
    if has_uring("sealed_lanes_join_every_pair_of_workers_by_uring") {
        lanes_between_every_pair_of_workers(|builder| builder.backend(backend("uring")));
    }
}

#[test]
fn insecure_lanes_join_every_pair_of_workers_by_uring() {
    if has_uring("insecure_lanes_join_every_pair_of_workers_by_uring") {
        lanes_between_every_pair_of_workers(|builder| builder.backend(backend("uring")).insecure());
    }
}

fn backend(name: &str) -> Selection {
    name.parse().expect("a backend's name")
}

fn has_uring(test: &str) -> bool {
    match endpoint(1).backend(backend("uring")).start() {
        Ok(_) => true,
        Err(why) => {
            skip::skip(test, &why.to_string());
            false
        }
    }
}

#[test]
fn one_handshake_opens_a_lane_for_each_core_and_calls_spread_over_them() {
    let server = endpoint(2).start().expect("two workers");
    let client = endpoint(2).start().expect("two workers");
    let lanes = client.connect(server.local_addr()).lanes(4).wait().expect("one session at least");
    assert_eq!((lanes.len(), lanes.refused()), (4, None));
    each_reaches_its_worker(lanes.sessions());
    let local: HashSet<_> = lanes.sessions().iter().map(Peer::local_worker).collect();
    let remote: HashSet<_> = lanes.sessions().iter().map(Peer::remote_worker).collect();
    assert_eq!((local.len(), remote.len()), (2, 2), "every worker of both ends has its share");
    let handshakes = lanes.sessions().iter().filter(|session| session.lane_of().is_none()).count();
    assert_eq!(handshakes, 1);

    let calls: Vec<_> = (0..64).map(|_| lanes.call(1, "").start()).collect();
    let ran: Vec<u8> = calls.into_iter().map(|call| call.wait().expect("a reply")[0]).collect();
    assert!(ran.contains(&0) && ran.contains(&1), "{ran:?}");
    let pinned: HashSet<u8> =
        (0..16).map(|_| lanes.pinned(7).call(1, "").wait().expect("a reply")[0]).collect();
    assert_eq!(pinned.len(), 1, "what is pinned runs on one worker");

    // One that ended is passed over, and its end is nobody else's.
    lanes.sessions()[1].close(0);
    lanes.sessions()[1].closed().wait();
    (0..16).for_each(|_| drop(lanes.call(1, "").wait().expect("a reply")));
    let sessions = lanes.sessions().to_vec();
    drop(lanes);
    each_reaches_its_worker(&[sessions[0].clone(), sessions[2].clone(), sessions[3].clone()]);
}

#[test]
fn a_peer_that_grants_no_lanes_or_not_so_many_says_so() {
    let none = Config { lanes: 1, ..Config::default() };
    let server = endpoint(2).transport(none).start().expect("two workers");
    let client = endpoint(1).start().expect("one worker");
    let lanes = client.connect(server.local_addr()).lanes(3).wait().expect("the session itself");
    assert_eq!(lanes.len(), 1);
    assert!(lanes.refused().expect("refused").to_string().contains("grants none"), "{:?}", lanes.refused());

    let three = Config { lanes: 3, ..Config::default() };
    let server = endpoint(2).transport(three).start().expect("two workers");
    let lanes = client.connect(server.local_addr()).lanes(6).wait().expect("the session itself");
    assert_eq!(lanes.len(), 3, "that of the handshake and two more");
    assert_eq!(lanes.refused(), Some(OpenError::Ended(CloseReason::Refused(8))));
    // The end of one makes room for another.
    lanes.sessions()[1].close(0);
    lanes.sessions()[1].closed().wait();
    let over = &lanes.sessions()[0];
    assert!(in_time(|| client.open_lane(over).wait().is_ok()), "there is room again");
}

/// Two identities: the server's gate knows the client's.
fn identity(seed: u8) -> Identity {
    Identity::generate(&mut Csprng::new([seed; 32]))
}

#[test]
fn the_end_of_a_key_is_the_end_of_its_lanes_on_every_worker() {
    let list = |limits: &str| format!("{} client {limits}\n", identity(2).public_key());
    let gate = Arc::new(AllowList::parse(&list("")).expect("a good list"));
    let server = endpoint(2).gate(gate.clone()).start().expect("two workers");
    let client = endpoint(2).identity(identity(2)).start().expect("two workers");
    let lanes = client.connect(server.local_addr()).lanes(4).wait().expect("it is on the list");
    assert_eq!(lanes.len(), 4);
    // The server opens one, too: it is the client's lane all the same.
    let at_server = accepted(&server);
    let asked_by_server = server.open_lane(&at_server).wait().expect("the client grants lanes");
    gate.replace("").expect("an empty list");
    for session in lanes.sessions() {
        // A packet of the client's may have crossed the CLOSE, and the RESET that answers it may win.
        let reason = session.closed().wait();
        assert!(matches!(reason, CloseReason::Peer(0xfffe) | CloseReason::Reset), "{reason:?} {session:?}");
    }
    assert_eq!(asked_by_server.closed().wait(), CloseReason::Expelled);
}

#[test]
fn a_key_has_no_more_lanes_than_its_quota() {
    let list = format!("{} client lanes=2\n", identity(2).public_key());
    let gate = Arc::new(AllowList::parse(&list).expect("a good list"));
    let server = endpoint(1).gate(gate).start().expect("one worker");
    let client = endpoint(1).identity(identity(2)).start().expect("one worker");
    let first = client.connect(server.local_addr()).lanes(3).wait().expect("it is on the list");
    assert_eq!(first.len(), 3);
    // Over another handshake there are none left.
    let second = client.connect(server.local_addr()).lanes(2).wait().expect("sessions it may have");
    assert_eq!(second.refused(), Some(OpenError::Ended(CloseReason::Refused(6))));
    drop(first);
}

#[test]
fn a_lane_that_is_given_up_while_it_is_opened_leaves_nothing_behind() {
    let server = endpoint(2).start().expect("two workers");
    let client = endpoint(2).start().expect("two workers");
    let over = client.connect(server.local_addr()).wait().expect("a session");
    // A worker on another core may answer before the first poll asks: such a lane is held, then let go.
    let (mut given_up, mut round) = (0, 0);
    while given_up < 50 {
        assert!(round < 5_000, "{given_up} of {round} lanes were given up while they were opened");
        let opening = client.open_lane(&over).from_worker(round % 2);
        let mut opening = std::pin::pin!(opening);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let opened = std::future::Future::poll(opening.as_mut(), &mut context);
        given_up += u32::from(opened.is_pending());
        round += 1;
    }
    // Whichever the server opened in between has ended there, long before its idle timeout.
    let (mut open, mut calls) = (0, 0);
    let all_ended = in_time(|| {
        drop(over.call(1, "").wait().expect("a reply"));
        while let Some(event) = server.events().try_next() {
            match event {
                PeerEvent::Opened { peer, .. } if peer.lane_of().is_some() => open += 1,
                PeerEvent::Closed { peer, .. } if peer.lane_of().is_some() => open -= 1,
                _ => {}
            }
        }
        calls += 1;
        calls >= 300 && open == 0
    });
    assert!(all_ended, "{open} lanes that nobody holds");
    let lane = client.open_lane(&over).wait().expect("the next is opened");
    each_reaches_its_worker(&[lane]);
}
