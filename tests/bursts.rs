//! How much leaves at one moment, trains included (L41, RFC 9002 §7.7), on a wide-area path under a
//! virtual clock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringwire::io::Ecn;
use ringwire::io::memory::{Hub, MemoryBackend};
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::security::Security;
use ringwire::transport::{Config, CongestionKind, Profile};
use ringwire::worker::{
    App, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey, Worker, WorkerConfig,
};

/// A line of 5 ms each way that remembers what left when.
struct Line {
    clock: VirtualClock,
    under_way: VecDeque<(Timestamp, SocketAddr, SocketAddr, Vec<u8>)>,
    /// Bytes the client sent, by moment.
    left: Vec<(Timestamp, usize)>,
}

impl Hub for Line {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], _ecn: Ecn) {
        let now = self.clock.now();
        if from == CLIENT.into() {
            match self.left.last_mut() {
                Some((at, bytes)) if *at == now => *bytes += packet.len(),
                _ => self.left.push((now, packet.len())),
            }
        }
        self.under_way.push_back((now.after(ONE_WAY), from, to, packet.to_vec()));
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        let now = self.clock.now();
        let next = self.under_way.iter().position(|(due, _, to, _)| *due <= now && *to == at)?;
        let (_, from, _, packet) = self.under_way.remove(next)?;
        *into = packet;
        Some((from, Ecn::NotEct))
    }
}

#[derive(Default)]
struct Desk {
    opened: Option<SessionKey>,
    bytes: usize,
}

impl App for Desk {
    fn on_request(&mut self, _request: Request<'_>, _reply: &mut ReplyWriter<'_>) {}

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, _token: u64, _outcome: Outcome<'_>) {}

    fn on_message(&mut self, _cx: &mut Cx<'_>, message: Message<'_>) {
        self.bytes += message.payload.len();
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        if let Event::Opened { session, .. } = event {
            self.opened = Some(session);
        }
    }
}

const ONE_WAY: Duration = Duration::from_millis(5);
const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 1);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 2);
const PACKET_SIZE: usize = 1_472;
/// RFC 9002 §7.2: ten packets, at most 14,720 bytes.
const FIRST_WINDOW: usize = 14_720;

fn worker(clock: &VirtualClock, line: &Rc<RefCell<Line>>, at: ([u8; 4], u16), boot_id: u64) -> Worker<Desk> {
    let transport = Config {
        boot_id,
        entropy: ringwire::rng::Rng::entropy(boot_id),
        security: Security::insecure_anywhere(),
        profile: Profile::Wan,
        congestion: CongestionKind::Cubic,
        packet_size_max: PACKET_SIZE,
        ..Config::default()
    };
    let config = WorkerConfig { transport, ..WorkerConfig::default() };
    let backend = MemoryBackend::new(at.into(), Rc::clone(line));
    Worker::new(config, Box::new(backend), Rc::new(clock.clone()), Desk::default())
}

// L41.
#[test]
fn no_burst_is_larger_than_the_first_window_however_large_the_window_and_the_trains_are_by_then() {
    let clock = VirtualClock::new(Timestamp(1_000_000_000));
    let (under_way, left) = (VecDeque::new(), Vec::new());
    let line = Rc::new(RefCell::new(Line { clock: clock.clone(), under_way, left }));
    let mut client = worker(&clock, &line, CLIENT, 1);
    let mut server = worker(&clock, &line, SERVER, 2);
    client.connect(SocketAddr::from(SERVER)).expect("room for a session");
    let message = vec![7; 1 << 20];
    let (mut sent, total) = (0, 6);
    while server.app().bytes < total << 20 {
        let idle = client.turn().idle & server.turn().idle;
        if let Some(session) = client.app().opened
            && sent < total
            && client.send(session, None, &message).is_ok()
        {
            sent += 1;
            continue;
        }
        if idle {
            let arrival = line.borrow().under_way.iter().map(|packet| packet.0).min();
            let timers = [client.next_timeout(), server.next_timeout(), arrival];
            let next = timers.into_iter().flatten().min().expect("something is always due");
            clock.advance_to(next.max(clock.now().after_ns(1)));
            assert!(clock.now() < Timestamp(60_000_000_000), "6 MiB take less than a minute");
        }
    }
    let line = line.borrow();
    let largest = line.left.iter().map(|(_, bytes)| *bytes).max().expect("6 MiB left");
    // One packet may be added to what the bucket holds, and an ack or a probe is not held back.
    assert!(largest <= FIRST_WINDOW + 2 * PACKET_SIZE, "{largest} bytes left at once");
    let moments = line.left.len();
    assert!(moments > 100, "{moments} moments: that was not paced");
    let per_round_trip =
        line.left.windows(2).filter(|pair| pair[1].0.since_ns(pair[0].0) < 2_000_000).count();
    assert!(per_round_trip > 50, "the window is spread over the round trip");
}
