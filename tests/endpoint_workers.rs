//! Several workers on one port: sessions spread, packets steered, strangers handed over.

use std::collections::HashSet;
use std::net::SocketAddr;

use ringwire::endpoint::{Builder, Endpoint, Handler, OpenError};
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

#[test]
fn many_sessions_between_several_workers_all_get_their_replies() {
    let server = endpoint(3).start().expect("three workers");
    let client = endpoint(2).start().expect("two workers");
    let peers: Vec<_> =
        (0..24).map(|_| client.connect(server.local_addr()).wait().expect("a session")).collect();
    for round in 0..50u32 {
        let calls: Vec<_> =
            peers.iter().map(|peer| peer.call(1, round.to_le_bytes().to_vec()).start()).collect();
        for (peer, call) in peers.iter().zip(calls) {
            let reply = call.wait().expect("a reply");
            assert_eq!(reply[0], peer.remote_worker());
            assert_eq!(reply[1..], round.to_le_bytes());
        }
    }
    let local: HashSet<_> = peers.iter().map(|peer| peer.local_worker()).collect();
    let remote: HashSet<_> = peers.iter().map(|peer| peer.remote_worker()).collect();
    assert_eq!((local.len(), remote.len()), (2, 3), "sessions spread over all workers");
    let counters = server.handover_counters();
    assert!(counters.steered > 0);
    assert_eq!(counters.dropped, 0, "{counters:?}");
}

#[test]
fn a_session_is_opened_to_the_worker_that_was_asked_for() {
    let server = endpoint(3).start().expect("three workers");
    let client = endpoint(1).start().expect("one worker");
    for wanted in [2, 0, 1, 2] {
        let peer = client.connect(server.local_addr()).to_worker(wanted).wait().expect("a session");
        assert_eq!(peer.remote_worker(), wanted);
        assert_eq!(peer.call(1, "").wait().expect("a reply")[0], wanted);
    }
    let error = client.connect(server.local_addr()).to_worker(9).wait().expect_err("there is no worker 9");
    assert!(matches!(error, OpenError::WrongWorker { wanted: 9, .. }), "{error}");
}

#[test]
fn packets_for_two_workers_leave_in_trains_of_their_own_and_none_is_handed_over() {
    // One client worker with a session to each of two server workers: the kernel steers a train by its first
    // packet, so what shared one would have to be handed over packet by packet.
    let server = endpoint(2).start().expect("two workers");
    let client = endpoint(1).start().expect("one worker");
    let open = |worker| client.connect(server.local_addr()).to_worker(worker).wait().expect("a session");
    let peers = [open(0), open(1)];
    for _ in 0..200 {
        let calls: Vec<_> = (0..64).map(|i| peers[i % 2].call(1, vec![i as u8; 90]).start()).collect();
        for (i, call) in calls.into_iter().enumerate() {
            let reply = call.wait().expect("a reply");
            assert_eq!(reply[0] as usize, i % 2);
            assert!(reply[1..].iter().all(|byte| *byte == i as u8));
        }
    }
    let counters = server.handover_counters();
    assert!(counters.steered > 0, "{counters:?}");
    assert_eq!((counters.handed, counters.dropped), (0, 0), "{counters:?}");
}
