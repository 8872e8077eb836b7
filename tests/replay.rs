//! Someone on the path records a whole conversation and says it all again: to the server that lives, while
//! the session is open and after it, and to the one that was restarted. Over real sockets and processes.
#![cfg(feature = "cli")]

mod cli_support;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cli_support::{Ended, Served, rest_ms, run};
use ringwire::endpoint::Endpoint;

/// The echo of `ringwire serve`.
const ECHO: u32 = 0;
const CALLS: u64 = 50;

/// Stands between a client and a server, passes everything on and keeps a copy.
struct Relay {
    address: SocketAddr,
    /// What the server knows the client by: replays come from the very address that the true packets had.
    upstream: Arc<UdpSocket>,
    from_client: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    fn start(server: SocketAddr) -> Relay {
        let bind = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
            Arc::new(socket)
        };
        let (downstream, upstream) = (bind(), bind());
        upstream.connect(server).expect("loopback");
        let (from_client, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let client: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let (down, up) = (downstream.clone(), upstream.clone());
        let (kept, who, ends) = (from_client.clone(), client.clone(), stop.clone());
        let to_server = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !ends.load(Ordering::Relaxed) {
                let Ok((size, from)) = down.recv_from(&mut buffer) else { continue };
                *who.lock().expect("no panic") = Some(from);
                kept.lock().expect("no panic").push(buffer[..size].to_vec());
                let _ = up.send(&buffer[..size]);
            }
        });
        let (down, up, ends) = (downstream.clone(), upstream.clone(), stop.clone());
        let to_client = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !ends.load(Ordering::Relaxed) {
                let Ok(size) = up.recv(&mut buffer) else { continue };
                if let Some(to) = *client.lock().expect("no panic") {
                    let _ = down.send_to(&buffer[..size], to);
                }
            }
        });
        let address = downstream.local_addr().expect("bound");
        Relay { address, upstream, from_client, stop, threads: vec![to_server, to_client] }
    }

    /// Says everything again that the client said, at a pace that no buffer overflows by.
    fn replay(&self) -> usize {
        let packets = self.from_client.lock().expect("no panic").clone();
        for packet in &packets {
            // A server that is down refuses; the next one may not.
            let _ = self.upstream.send(packet);
            std::thread::yield_now();
        }
        rest_ms(300);
        packets.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("it only passes on");
        }
    }
}

/// A count that `ringwire serve` printed at its end.
fn counter(ended: &Ended, name: &str) -> u64 {
    let line = ended.stderr.lines().find(|line| line.starts_with("stopped: ")).expect("it counts");
    let mut counts = line.split(' ').filter_map(|word| word.split_once('='));
    counts.find(|(counter, _)| *counter == name).map_or(0, |(_, count)| count.parse().expect("a number"))
}

#[test]
fn a_whole_recorded_conversation_is_believed_by_neither_the_living_nor_the_restarted_server() {
    let identity = std::env::temp_dir().join(format!("ringwire-replay-{}", std::process::id()));
    let _ = fs::remove_file(&identity);
    let path = identity.display();
    assert_eq!(run(&format!("keygen {path}")).status, Some(0));
    let living = Served::start(&format!("--identity {path}"));
    let (address, key) = (living.address.clone(), living.key.clone());
    let relay = Relay::start(address.parse().expect("an address"));

    let client = Endpoint::builder().bind("127.0.0.1:0".parse().expect("an address")).start();
    let client = client.expect("a free port");
    let peer = client.connect(relay.address).server_key(key.parse().expect("a key")).wait();
    let peer = peer.expect("the relay passes everything on");
    for call in 0..CALLS {
        let bytes = call.to_le_bytes().to_vec();
        assert_eq!(peer.call(ECHO, bytes.clone()).wait().expect("the echo"), bytes);
    }
    let while_open = relay.replay();
    assert!(while_open as u64 > CALLS, "the first message, and a packet at least for each call");
    let more = peer.call(ECHO, "and still").wait();
    assert_eq!(more.expect("the session is as it was"), "and still");
    drop((peer, client));
    rest_ms(200);
    relay.replay();

    let ended = living.terminate();
    assert_eq!(counter(&ended, "calls_received"), CALLS + 1, "each ran once: {}", ended.stderr);
    assert_eq!(counter(&ended, "sessions_opened"), 1, "{}", ended.stderr);
    assert!(counter(&ended, "duplicate_packets") >= CALLS, "the copies came and were seen: {}", ended.stderr);

    // The same key at the same address, and none of the memory.
    let restarted = Served::start(&format!("--listen {address} --identity {path}"));
    assert_eq!(restarted.key, key);
    relay.replay();
    relay.replay();
    let ended = restarted.terminate();
    assert_eq!(counter(&ended, "sessions_opened"), 0, "{}", ended.stderr);
    assert_eq!(counter(&ended, "calls_received"), 0, "{}", ended.stderr);
    assert!(counter(&ended, "packets_received") > CALLS, "the copies came: {}", ended.stderr);
    assert!(
        counter(&ended, "handshakes_unproven") > 0,
        "the first message was known for a copy: {}",
        ended.stderr
    );
    fs::remove_file(&identity).expect("ours");
}
