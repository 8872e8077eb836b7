//! Endpoints held by handles: blocking and async, from many threads, over real sockets.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use ringwire::endpoint::{
    Builder, Call, Endpoint, EndpointError, OpenError, Outcome, Peer, PeerEvent, block_on,
};
use ringwire::transport::{CloseReason, Config, SendError};
use ringwire::worker::{IdlePolicy, status};

const ECHO: u32 = 0;
const SILENT: u32 = 1;
const PANIC: u32 = 2;

fn loopback() -> Builder {
    Endpoint::builder().bind(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn server() -> Endpoint {
    let serve = loopback().serve(|request, reply| match request.method {
        ECHO => reply.send(request.payload),
        PANIC => panic!("the handler was asked to"),
        SILENT => drop(reply.defer()),
        _ => reply.fail(status::NO_SUCH_METHOD, b"no"),
    });
    serve.start().expect("a server on loopback")
}

fn connected(server: &Endpoint) -> (Endpoint, Peer) {
    let client = loopback().start().expect("a client on loopback");
    let peer = client.connect(server.local_addr()).wait().expect("a session");
    (client, peer)
}

/// Polls all calls in one task, as an async program would.
struct JoinAll(Vec<Option<Call>>, Vec<Outcome>);

impl Future for JoinAll {
    type Output = Vec<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<Outcome>> {
        let JoinAll(calls, outcomes) = &mut *self;
        for slot in calls.iter_mut() {
            if let Some(call) = slot
                && let Poll::Ready(outcome) = Pin::new(call).poll(context)
            {
                outcomes.push(outcome);
                *slot = None;
            }
        }
        if calls.iter().all(Option::is_none) { Poll::Ready(std::mem::take(outcomes)) } else { Poll::Pending }
    }
}

#[test]
fn a_call_waits_or_is_awaited_and_brings_its_own_bytes_back() {
    let server = server();
    let (_client, peer) = connected(&server);
    assert_eq!(peer.call(ECHO, "waited").wait(), Outcome::Replied(Bytes::from_static(b"waited")));
    let awaited = block_on(async { peer.call(ECHO, "awaited").await });
    assert_eq!(awaited.expect("a reply"), "awaited");
    assert_eq!(peer.remote(), Some(server.local_addr()));
    assert_ne!(peer.boot_id(), 0);
}

#[test]
fn payloads_inline_and_owned_come_back_whole() {
    let server = server();
    let (_client, peer) = connected(&server);
    for size in [0usize, 1, 95, 96, 97, 1_000, 20_000, 100_000, 1_000_000] {
        let payload: Bytes = (0..size).map(|i| (i * 31) as u8).collect();
        assert_eq!(peer.call(ECHO, payload.clone()).wait().expect("a reply"), payload, "{size} bytes");
    }
}

#[test]
fn many_threads_share_a_peer_and_each_gets_its_own_replies() {
    let server = server();
    let (client, peer) = connected(&server);
    let threads: Vec<_> = (0..8u32)
        .map(|thread| {
            let peer = peer.clone();
            std::thread::spawn(move || {
                for i in 0..500u32 {
                    let payload = Bytes::from([thread.to_le_bytes(), i.to_le_bytes()].concat());
                    assert_eq!(peer.call(ECHO, payload.clone()).wait().expect("a reply"), payload);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("every reply was its own"));
    assert_eq!(client.operations(), 0);
}

#[test]
fn ten_thousand_calls_under_way_at_once_press_back_and_all_end() {
    let server = server();
    let (client, peer) = connected(&server);
    let calls = (0..10_000u32).map(|i| Some(peer.call(ECHO, i.to_le_bytes().to_vec()))).collect();
    let outcomes = block_on(JoinAll(calls, Vec::new()));
    assert_eq!(outcomes.len(), 10_000);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Replied(bytes) if bytes.len() == 4)));
    assert_eq!(client.operations(), 0);
}

#[test]
fn a_task_is_woken_far_fewer_times_than_it_has_calls() {
    struct Counting(std::thread::Thread, AtomicUsize);
    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.unpark();
        }
    }
    let server = server();
    let (_client, peer) = connected(&server);
    let counting = Arc::new(Counting(std::thread::current(), AtomicUsize::new(0)));
    let waker = Waker::from(counting.clone());
    let calls = (0..1_000).map(|_| Some(peer.call(ECHO, "x").start())).collect();
    let mut all = JoinAll(calls, Vec::new());
    while Pin::new(&mut all).poll(&mut Context::from_waker(&waker)).is_pending() {
        std::thread::park();
    }
    let woken = counting.1.load(Ordering::Relaxed);
    assert!(woken < 500, "1,000 calls woke their one task {woken} times");
}

#[test]
fn every_way_a_call_can_fail_has_its_name() {
    let server = server();
    let (_client, peer) = connected(&server);
    let outcome = peer.call(PANIC, "x").wait();
    assert!(matches!(outcome, Outcome::Failed { status: status::PANICKED, .. }), "{outcome:?}");
    let outcome = peer.call(99, "x").wait();
    assert!(matches!(outcome, Outcome::Failed { status: status::NO_SUCH_METHOD, .. }), "{outcome:?}");
    let outcome = peer.call(SILENT, "x").deadline(Duration::from_millis(20)).wait();
    assert_eq!(outcome, Outcome::TimedOut);
    peer.close(3);
    assert_eq!(peer.closed().wait(), CloseReason::Local);
    assert_eq!(peer.call(ECHO, "late").wait(), Outcome::NotSent(SendError::Closed));
}

#[test]
fn a_dropped_call_frees_its_slot_though_no_reply_ever_comes() {
    let server = server();
    let (client, peer) = connected(&server);
    for _ in 0..100 {
        drop(peer.call(SILENT, "x").deadline(Duration::from_secs(600)).start());
    }
    // A round trip behind them on the same mailbox: what was cancelled before it is over.
    assert!(peer.call(ECHO, "x").wait().replied().is_some());
    assert!(peer.call(ECHO, "x").wait().replied().is_some());
    assert_eq!(client.operations(), 0);
}

#[test]
fn messages_nobody_handles_are_queued_in_order_and_none_is_lost_to_a_slow_reader() {
    const COUNT: u32 = 30_000;
    let receiver = loopback().start().expect("a receiver");
    let (_sender, peer) = connected(&receiver);
    let sending = std::thread::spawn(move || {
        let channel = Some(ringwire::wire::ChannelId(7));
        for i in 0..COUNT {
            let mut payload = vec![0; 1_000];
            payload[..4].copy_from_slice(&i.to_le_bytes());
            peer.send(channel, payload).wait().expect("accepted");
        }
        peer
    });
    let messages = receiver.messages();
    // 30 MB against a queue of 16 MiB: nobody reads yet, so credit must hold the sender back.
    let first = messages.next().wait().expect("the endpoint lives");
    assert_eq!(first.payload[..4], 0u32.to_le_bytes());
    let (wake, sleep) = mpsc::channel::<()>();
    assert!(sleep.recv_timeout(Duration::from_millis(300)).is_err());
    drop(wake);
    for i in 1..COUNT {
        let message = messages.next().wait().expect("the endpoint lives");
        assert_eq!(message.payload[..4], i.to_le_bytes());
        assert_eq!(message.payload.len(), 1_000);
        assert!(!message.is_datagram);
    }
    sending.join().expect("every message was accepted");
    assert!(messages.try_next().is_none());
}

#[test]
fn queued_calls_are_answered_from_other_threads_and_a_dropped_one_fails() {
    let server = loopback().queue_requests().start().expect("a server");
    let requests = server.requests();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let requests = requests.clone();
            std::thread::spawn(move || {
                while let Some(call) = requests.next().wait() {
                    match call.method {
                        ECHO => {
                            let payload = call.payload.clone();
                            call.reply(payload);
                        }
                        _ => drop(call),
                    }
                }
            })
        })
        .collect();
    let (_client, peer) = connected(&server);
    for i in 0..200u32 {
        let payload = Bytes::from(i.to_le_bytes().to_vec());
        assert_eq!(peer.call(ECHO, payload.clone()).wait().expect("a reply"), payload);
    }
    let outcome = peer.call(SILENT, "x").wait();
    assert!(matches!(outcome, Outcome::Failed { status: status::NO_REPLY, .. }), "{outcome:?}");
    drop(server);
    workers.into_iter().for_each(|worker| worker.join().expect("the queue ended"));
}

#[test]
fn a_parked_worker_is_rung_once_per_sleep() {
    let server = server();
    let client = loopback().idle(IdlePolicy::Park).start().expect("a client");
    let peer = client.connect(server.local_addr()).wait().expect("a session");
    let before = client.doorbell_rings();
    for _ in 0..100 {
        assert!(peer.call(ECHO, "x").wait().replied().is_some());
    }
    let rings = client.doorbell_rings() - before;
    assert!(rings <= 100, "{rings} rings for 100 calls, one after the other");
    assert!(rings > 0, "a worker that parks must be rung");
}

#[test]
fn either_end_hears_of_opening_and_closing() {
    let server = server();
    let (client, peer) = connected(&server);
    let opened = server.events().next().wait();
    let Some(PeerEvent::Opened { peer: accepted, accepted: true }) = opened else { panic!("{opened:?}") };
    assert_eq!(accepted.call(ECHO, "from the server").wait().replied(), None, "a client serves nothing");
    drop(peer);
    assert_eq!(accepted.closed().wait(), CloseReason::Peer(0), "the last handle closes what it opened");
    drop(client);
}

#[test]
fn a_stopped_endpoint_leaves_nobody_waiting() {
    let server = server();
    let transport = Config { drain_timeout: Duration::from_millis(100), ..Config::default() };
    let client = loopback().transport(transport).start().expect("a client");
    let peer = client.connect(server.local_addr()).wait().expect("a session");
    let waiting: Vec<_> = (0..10).map(|_| peer.call(SILENT, "x").start()).collect();
    drop(client);
    for call in waiting {
        let outcome = call.wait();
        assert!(matches!(outcome, Outcome::Unknown | Outcome::NotSent(_)), "{outcome:?}");
    }
    assert_eq!(peer.call(ECHO, "x").wait(), Outcome::Unknown);
    assert!(peer.close_reason().is_some());
}

#[test]
fn what_cannot_start_or_open_says_why() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let error = loopback().bind(taken.local_addr().expect("bound")).start().expect_err("the port is taken");
    assert!(matches!(error, EndpointError::Backend { worker: 0, .. }), "{error}");
    assert!(matches!(loopback().workers(0).start(), Err(EndpointError::Workers { workers: 0, .. })));
    let died = loopback().handler(|_| -> Nobody { panic!("the factory was asked to") }).start();
    assert!(matches!(died, Err(EndpointError::Died { worker: 0 })));
    let client = loopback().start().expect("a client");
    let error =
        client.connect(taken.local_addr().expect("bound")).from_worker(1).wait().expect_err("one worker");
    assert_eq!(error, OpenError::NoSuchWorker { wanted: 1, workers: 1 });
}

struct Nobody;

impl ringwire::endpoint::Handler for Nobody {}

#[test]
fn a_session_tells_what_its_worker_counted_and_an_ended_endpoint_nothing() {
    let server = server();
    let (client, peer) = connected(&server);
    let before = peer.stats().wait().expect("it runs");
    for _ in 0..10 {
        assert_eq!(peer.call(ECHO, &b"counted"[..]).wait().expect("an echo"), &b"counted"[..]);
    }
    let after = peer.stats().wait().expect("it runs");
    assert!(after.counters.packets_sent >= before.counters.packets_sent + 10, "{after:?}");
    assert!(after.counters.packets_received >= before.counters.packets_received + 10, "{after:?}");
    assert!(after.turns.turns > before.turns.turns);
    assert!(after.cpu_s >= before.cpu_s);
    assert!(after.packet_size.is_some_and(|size| size >= 1_200), "{after:?}");
    assert!(client.backend().starts_with(after.backend), "{after:?}");
    assert_eq!(client.operations(), 0);
    drop(client);
    assert!(peer.stats().wait().is_none());
}

#[test]
fn a_worker_that_yields_shares_its_core_with_who_calls() {
    let server = server();
    let core = ringwire::sys::cores::allowed()[0];
    let client = loopback().cores([core]).idle(IdlePolicy::Yield).start().expect("a client on loopback");
    let peer = client.connect(server.local_addr()).wait().expect("a session");
    let calls = std::thread::spawn(move || {
        assert!(ringwire::sys::cores::pin_current(core));
        (0..200).all(|_| {
            peer.call(ECHO, &b"shared"[..]).wait() == Outcome::Replied(Bytes::from_static(b"shared"))
        })
    });
    assert!(calls.join().expect("it only calls"));
    assert_eq!(client.doorbell_rings(), 0, "it never sleeps");
}
