//! A NAT in one process: a relay of UDP packets between one client and one server, which gives its client
//! another port towards the server whenever it is told to forget. It shares no code with what it tests.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A relay that runs until it is dropped.
pub struct Relay {
    /// Where the client finds it.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Times it forgot.
    bindings: AtomicU64,
    /// Packets that came back by the newest binding.
    back_by_newest: AtomicU64,
}

impl Relay {
    /// A relay to `server` that forgets its client every `every`.
    pub fn start(server: SocketAddr, every: Duration) -> Relay {
        let front = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = front.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || carry(&front, server, every, &theirs));
        Relay { address, shared, thread: Some(thread) }
    }

    /// Times it forgot its client.
    pub fn bindings(&self) -> u64 {
        self.shared.bindings.load(Ordering::Relaxed)
    }

    /// Packets from the server that came by the port the client has now.
    pub fn back_by_newest(&self) -> u64 {
        self.shared.back_by_newest.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the relay does not fail");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a NAT forgets by the clock")]
fn carry(front: &UdpSocket, server: SocketAddr, every: Duration, shared: &Shared) {
    let bind = || {
        let back = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        back.set_nonblocking(true).expect("any socket can");
        back
    };
    front.set_nonblocking(true).expect("any socket can");
    let (mut back, mut since) = (bind(), Instant::now());
    let mut client = None;
    let mut packet = vec![0; 65_536];
    while !shared.stop.load(Ordering::Relaxed) {
        let mut carried = 0;
        while let Some((size, from)) = receive(front, &mut packet) {
            if since.elapsed() >= every {
                // The old port is closed: what the server still sends there is lost.
                (back, since) = (bind(), Instant::now());
                shared.bindings.fetch_add(1, Ordering::Relaxed);
                shared.back_by_newest.store(0, Ordering::Relaxed);
            }
            client = Some(from);
            // A full buffer loses it, as on any hop.
            let _ = back.send_to(&packet[..size], server);
            carried += 1;
            if carried == BATCH {
                break;
            }
        }
        while let (Some((size, _)), Some(client)) = (receive(&back, &mut packet), client) {
            shared.back_by_newest.fetch_add(1, Ordering::Relaxed);
            let _ = front.send_to(&packet[..size], client);
            carried += 1;
            if carried >= 2 * BATCH {
                break;
            }
        }
        if carried == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

fn receive(socket: &UdpSocket, into: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(into) {
            Ok(received) => return Some(received),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            // The other end's port was closed a moment ago: says ICMP, and the next packet may fare better.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("the relay's socket: {error}"),
        }
    }
}

/// Packets of one direction before the other has its turn.
const BATCH: usize = 64;
