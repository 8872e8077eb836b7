//! The tap over a backend that loops everything back.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::*;
use crate::time::VirtualClock;

/// A backend that loops what is sent back to be received, and keeps notes.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<WireState>>);

#[derive(Default)]
struct WireState {
    sent: Vec<(usize, usize)>,
    arriving: VecDeque<(Vec<u8>, usize)>,
    lent: usize,
    waited: Vec<Option<Duration>>,
}

struct WireBackend {
    wire: Wire,
    buffers: Vec<Vec<u8>>,
}

const ADDR: &str = "10.0.0.1:1";

impl Backend for WireBackend {
    fn name(&self) -> &'static str {
        "wire"
    }
    fn local_addr(&self) -> SocketAddr {
        ADDR.parse().expect("an address")
    }
    fn register_path(&mut self, _path: PathId, _remote: SocketAddr) {}
    fn receive(&mut self, batch: &mut Vec<Received>) -> io::Result<bool> {
        batch.clear();
        self.buffers.clear();
        while let Some((bytes, segment_size)) = self.wire.0.borrow_mut().arriving.pop_front() {
            batch.push(Received {
                buffer: self.buffers.len() as u32,
                length: bytes.len() as u32,
                segment_size: segment_size as u32,
                from: self.local_addr(),
                ecn: Ecn::NotEct,
            });
            self.buffers.push(bytes);
        }
        Ok(false)
    }
    fn buffer_mut(&mut self, buffer: u32) -> &mut [u8] {
        &mut self.buffers[buffer as usize]
    }
    fn release(&mut self) {
        self.buffers.clear();
    }
    fn lend(&mut self) -> Option<TrainBuffer> {
        self.wire.0.borrow_mut().lent += 1;
        Some(TrainBuffer::new())
    }
    fn give_back(&mut self, _buffer: TrainBuffer) {
        self.wire.0.borrow_mut().lent -= 1;
    }
    fn submit(&mut self, train: Train) {
        let mut wire = self.wire.0.borrow_mut();
        wire.lent -= 1;
        wire.sent.push((train.length, train.segment_size));
        let bytes = train.buffer.bytes()[..train.length].to_vec();
        wire.arriving.push_back((bytes, train.segment_size));
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.wire.0.borrow_mut().waited.push(timeout);
        Ok(())
    }
    fn doorbell(&self) -> Doorbell {
        Doorbell::new(|| {})
    }
    fn poll_events(&mut self, _events: &mut Vec<Event>) {}
    fn counters(&mut self, _look: bool) -> IoCounters {
        IoCounters::default()
    }
    fn receive_buffer_size(&self) -> u64 {
        0
    }
}

struct Bench {
    tap: Tap,
    wire: Wire,
    clock: VirtualClock,
}

fn bench(spec: &str, capture: Option<Box<dyn Write>>) -> Bench {
    let (wire, clock) = (Wire::default(), VirtualClock::default());
    let inner = WireBackend { wire: wire.clone(), buffers: Vec::new() };
    let config = TapConfig { impair: Some(spec.parse().expect("a good spec")), capture };
    let mut tap = Tap::new(Box::new(inner), Rc::new(clock.clone()), config).expect("memory takes any write");
    tap.register_path(PathId(0), ADDR.parse().expect("an address"));
    Bench { tap, wire, clock }
}

impl Bench {
    /// Sends packets of these sizes, the n-th filled with n, as one train.
    fn send(&mut self, sizes: &[usize]) {
        let mut buffer = self.tap.lend().expect("the wire always lends");
        let mut length = 0;
        for (i, &size) in sizes.iter().enumerate() {
            buffer.bytes_mut()[length..length + size].fill(i as u8);
            length += size;
        }
        self.tap.submit(Train { buffer, length, segment_size: sizes[0], path: PathId(0) });
        self.tap.flush().expect("the wire takes all");
    }

    fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut batch = Vec::new();
        self.tap.receive(&mut batch).expect("the wire gives all");
        let mut packets = Vec::new();
        for received in &batch {
            let bytes = &self.tap.buffer_mut(received.buffer)[..received.length as usize];
            packets.extend(bytes.chunks(received.segment_size as usize).map(<[u8]>::to_vec));
        }
        self.tap.release();
        packets
    }
}

#[test]
fn a_tap_that_does_nothing_keeps_trains_whole() {
    let mut bench = bench("loss=0%", None);
    bench.send(&[100, 100, 100, 40]);
    assert_eq!(bench.wire.0.borrow().sent, [(340, 100)]);
    let packets = bench.receive();
    assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 100, 40]);
    assert!(packets.iter().enumerate().all(|(i, packet)| packet.iter().all(|&b| b == i as u8)));
    assert_eq!(bench.wire.0.borrow().lent, 0, "every lent buffer went somewhere");
}

#[test]
fn loss_hits_single_packets_of_a_train_in_each_direction() {
    let mut bench = bench("loss=50%,seed=4", None);
    let mut arrived = 0;
    for _ in 0..100 {
        bench.send(&[50; 10]);
        arrived += bench.receive().len();
    }
    let counters = bench.tap.watch().get();
    assert_eq!(counters.outbound.packets, 1_000);
    assert_eq!(counters.inbound.packets, 1_000 - counters.outbound.lost);
    assert_eq!(arrived as u64, counters.inbound.packets - counters.inbound.lost);
    assert!((200..300).contains(&arrived), "{arrived}");
}

#[test]
fn a_delayed_packet_shortens_the_wait_and_leaves_when_due() {
    let mut bench = bench("delay=1ms", None);
    bench.send(&[100]);
    assert!(bench.wire.0.borrow().sent.is_empty());
    bench.tap.wait(None).expect("the wire waits for nothing");
    bench.tap.wait(Some(Duration::from_micros(5))).expect("the wire waits for nothing");
    let waits = [Some(Duration::from_millis(1)), Some(Duration::from_micros(5))];
    assert_eq!(bench.wire.0.borrow().waited, waits);
    bench.clock.advance_to(Timestamp(999_999));
    assert!(bench.receive().is_empty());
    bench.clock.advance_to(Timestamp(1_000_000));
    assert!(bench.receive().is_empty(), "now it is on the wire, and delayed again inbound");
    assert_eq!(bench.wire.0.borrow().sent, [(100, 100)]);
    bench.clock.advance_to(Timestamp(2_000_000));
    assert_eq!(bench.receive().len(), 1);
}

#[test]
fn more_packets_than_buffers_are_all_received_in_the_end() {
    let mut bench = bench("loss=0%", None);
    // Each is larger than the one before: none may join.
    (1..=40).for_each(|size| bench.send(&[size]));
    let mut batch = Vec::new();
    assert!(bench.tap.receive(&mut batch).expect("the wire gives all"), "more wait");
    assert_eq!(batch.len(), RECEIVE_BATCH_MAX);
    let rest: usize = (0..3).map(|_| bench.receive().len()).sum();
    assert_eq!(rest + RECEIVE_BATCH_MAX, 40);
}

#[test]
fn the_capture_holds_each_packet_of_both_directions() {
    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let file = Shared::default();
    let mut bench = bench("loss=0%", Some(Box::new(file.clone())));
    bench.send(&[100, 60]);
    bench.receive();
    let headers = 16 + 28;
    assert_eq!(file.0.borrow().len(), 24 + 2 * (headers + 100 + headers + 60));
    assert_eq!(bench.tap.watch().get().capture_failed, 0);
}

#[test]
fn a_capture_that_fails_is_given_up_and_packets_go_on() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut bench = bench("loss=0%", Some(Box::new(Full(100))));
    bench.send(&[100, 100]);
    assert_eq!(bench.receive().len(), 2);
    assert_eq!(bench.tap.watch().get().capture_failed, 1);
}
