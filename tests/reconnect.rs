//! Many callers of a service that is gone: every call ends by its deadline, and the network sees one
//! handshake after the other, with rests between them, instead of one for each caller.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringwire::endpoint::{Endpoint, block_on};
use ringwire::rpc::{Outcome, Repeat, Service};

const CALLERS: usize = 16;
const LIMIT: Duration = Duration::from_millis(200);
const LASTS: Duration = Duration::from_millis(2_500);

fn client() -> Endpoint {
    let builder = Endpoint::builder().bind("127.0.0.1:0".parse().expect("an address"));
    builder.start().expect("a free port")
}

/// The clients' names for the sessions they asked for, each of which is one handshake (P-6.1).
fn handshakes(port: &UdpSocket, done: &AtomicBool) -> HashSet<u64> {
    port.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    let (mut seen, mut packet) = (HashSet::new(), [0; 2_048]);
    while !done.load(Ordering::Relaxed) {
        if let Ok(size) = port.recv(&mut packet)
            && packet[0] == 0x10
            && size == 1_200
        {
            seen.insert(u64::from_le_bytes(packet[24..32].try_into().expect("eight bytes")));
        }
    }
    seen
}

#[test]
#[expect(clippy::disallowed_methods, reason = "deadlines are a matter of the host's clock")]
fn callers_of_a_service_that_is_gone_share_one_handshake_at_a_time_with_rests_between() {
    // Somebody has the port, and says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    let service = Service::new(Arc::new(client()), address, None);
    let (done, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let seen = std::thread::scope(|scope| {
        let listener = scope.spawn(|| handshakes(&silent, &done));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let began = Instant::now();
                    while began.elapsed() < LASTS {
                        let called = Instant::now();
                        let answer = block_on(service.call(1, "anybody?", LIMIT, Repeat::Idempotent));
                        assert!(matches!(answer.outcome, Outcome::NotSent(_)), "{answer:?}");
                        assert_eq!(answer.boot_id, None);
                        assert!(called.elapsed() < LIMIT * 3, "{:?}", called.elapsed());
                        calls.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().expect("a caller only calls"));
        done.store(true, Ordering::Relaxed);
        listener.join().expect("it only listens")
    });
    // 200 ms each, and rests that double from 25 to 50 ms.
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls > 10 * CALLERS, "{calls} calls");
    assert!((2..=10).contains(&seen.len()), "{} handshakes for {calls} calls", seen.len());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test waits for a rest to end")]
fn a_service_that_comes_back_is_found_again_by_one_handshake_of_all_its_callers() {
    let reserved = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = reserved.local_addr().expect("it is bound");
    let service = Service::new(Arc::new(client()), address, None);
    let gone = block_on(service.call(1, "", LIMIT, Repeat::Never));
    assert!(matches!(gone.outcome, Outcome::NotSent(_)), "{gone:?}");
    drop(reserved);
    let server = Endpoint::builder().bind(address).serve(|request, reply| reply.send(request.payload));
    let server = server.start().expect("the port is free again");
    let limit = Duration::from_secs(5);
    let replied = || loop {
        let answer = block_on(service.call(1, "back?", limit, Repeat::Never));
        match answer.outcome {
            Outcome::Replied(_) => return answer.boot_id,
            Outcome::NotSent(_) => std::thread::sleep(Duration::from_millis(5)),
            other => panic!("{other:?}"),
        }
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(replied)).collect();
        for caller in callers {
            assert_eq!(caller.join().expect("a caller only calls"), Some(server.boot_id()));
        }
    });
    let opened = std::iter::from_fn(|| server.events().try_next());
    let opened = opened.filter(|event| matches!(event, ringwire::endpoint::PeerEvent::Opened { .. })).count();
    assert_eq!(opened, 1, "one session for {CALLERS} callers");
}
