//! Plays a script: an engine on one side, the script's peer on the other, a clock that moves when told to.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use ringwire::testing::bare::{BarePeer, BareServer};
use ringwire::time::Timestamp;
use ringwire::transport::congestion::CongestionKind;
use ringwire::transport::security::OpenGate;
use ringwire::transport::{Config, Counters, Profile};
use ringwire::wire::{
    AckHead, Bounds, Frame, Frames, MESSAGES_HEAD_SIZE, PacketNumber, RecordHeader, UnitNumber, Writer,
    encode_ack, encode_ack_request, encode_messages_head, encode_ping,
};
use ringwire::worker::{App, Cx, Event as WorkerEvent, Outcome, ReplyWriter, Request, SessionKey};

use super::read::{Event, Line, Settings, duration, integer, read};

/// Where the scripts are.
pub fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

/// Plays the script of that name, and fails where it says so.
pub fn play(name: &str) {
    let path = folder().join(format!("{name}.pkt"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (settings, lines) = read(&text);
    let mut scene = Scene::new(name, &settings);
    for line in &lines {
        scene.play(line);
    }
    let rest = scene.rest();
    assert!(rest.is_empty(), "{name}: the script ends, and the engine said {rest:?}");
    scene.server.worker().engine().check();
}

#[derive(Default)]
struct Desk {
    session: Option<SessionKey>,
    closed: Option<String>,
    messages: u64,
}

impl App for Desk {
    fn on_request(&mut self, _request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(b"");
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        panic!("nobody called, and call {token} ended as {outcome:?}");
    }

    fn on_message(&mut self, _cx: &mut Cx<'_>, _message: ringwire::worker::Message<'_>) {
        self.messages += 1;
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Opened { session, .. } => self.session = Some(session),
            WorkerEvent::Closed { reason, .. } => self.closed = Some(format!("{reason:?}")),
            _ => {}
        }
    }
}

/// A packet that the engine said.
struct Said {
    at: Timestamp,
    /// Its frames, in a script's words.
    text: String,
}

struct Scene {
    name: String,
    server: BareServer<Desk>,
    peer: BarePeer,
    session: SessionKey,
    /// When the last event was.
    at: Timestamp,
    said: VecDeque<Said>,
    /// Of each packet the engine said since the script began: its number and its unit.
    packets: Vec<(PacketNumber, Option<u64>)>,
    /// The engine's units and packets, and the peer's, before the script began.
    units_before: u64,
    peer_before: u64,
    peer_units_before: u64,
    acked_units: BTreeSet<u64>,
    before: Counters,
    messages_before: u64,
    last_said: Vec<u8>,
}

/// Messages sent to find out the round trip: as many as make its variation vanish.
const SETTLING: u64 = 200;

impl Scene {
    fn new(name: &str, settings: &Settings) -> Self {
        let config = Config {
            packet_size_max: 1_200,
            profile: if settings.wan { Profile::Wan } else { Profile::Dc },
            congestion: if settings.cubic { CongestionKind::Cubic } else { CongestionKind::Dc },
            idle_timeout: settings.idle,
            ..Config::default()
        };
        let mut server = BareServer::new(config, OpenGate, Desk::default());
        let bounds = Bounds {
            packet_size_max: 1_200,
            unit_window: 4_096,
            call_slots: 1_024,
            message_size_max: 64 << 20,
            credit: 1 << 40,
            max_ack_delay_ns: settings.peer_ack_delay.as_nanos() as u32,
            idle_timeout_ms: 0,
            lanes: 1,
        };
        let peer = server.connect_within(1, 1, bounds).expect("everyone is let in");
        let session = server.worker().app().session.expect("it opened");
        let mut scene = Self {
            name: name.to_owned(),
            at: server.now(),
            server,
            peer,
            session,
            said: VecDeque::new(),
            packets: Vec::new(),
            units_before: 0,
            peer_before: 0,
            peer_units_before: 0,
            acked_units: BTreeSet::new(),
            before: Counters::default(),
            messages_before: 0,
            last_said: Vec::new(),
        };
        scene.settle(settings);
        scene
    }

    /// Until the engine knows the round trip, and nothing is in flight.
    fn settle(&mut self, settings: &Settings) {
        let rtt_ns = settings.rtt.as_nanos() as u64;
        self.run_to(self.server.now().after_ns(rtt_ns));
        // The first unit also makes the engine raise the peer's credit, which scripts do not speak of.
        self.hear(&["unit 0", "ask"]);
        self.peer_units_before = 1;
        for _ in 0..SETTLING {
            self.run_to(self.server.now());
            self.server.worker().send(self.session, None, &[0; 64]).expect("room");
            self.run_to(self.server.now());
            self.run_to(self.server.now().after_ns(rtt_ns));
            let all = format!("ack p0-p{}", self.packets.len() - 1);
            self.hear(&[&all]);
        }
        self.run_to(self.server.now());
        self.run_to(self.server.now().after_ns(4 * rtt_ns + 30_000_000));
        self.said.clear();
        self.packets.clear();
        self.acked_units.clear();
        self.units_before = SETTLING;
        self.peer_before = self.peer.next().0;
        self.before = self.server.worker().counters();
        self.messages_before = self.server.worker().app().messages;
        self.at = self.server.now();
    }

    fn play(&mut self, line: &Line<'_>) {
        let (from, to) = (self.at.after_ns(line.after_ns.0), self.at.after_ns(line.after_ns.1));
        let place = format!("{}.pkt:{}", self.name, line.number);
        if let Event::Engine(frames) = &line.event {
            return self.expect(&place, &frames.join(", "), from, to);
        }
        self.run_to(from);
        self.at = from;
        if let Event::Pass = line.event {
            return self.said.clear();
        }
        let early = self.rest();
        assert!(early.is_empty(), "{place}: before this the engine said {early:?}");
        match &line.event {
            Event::Send { count, size } => {
                for _ in 0..*count {
                    self.server.worker().send(self.session, None, &vec![1; *size]).expect("room");
                }
            }
            Event::Peer(frames) => self.hear(frames),
            Event::Fact { name, value } => self.check(&place, name, value),
            Event::Engine(_) | Event::Pass => unreachable!("handled above"),
        }
        self.run_to(from);
    }

    fn expect(&mut self, place: &str, wanted: &str, from: Timestamp, to: Timestamp) {
        while self.said.is_empty() && self.server.now() < to {
            self.server.step(to);
            self.collect();
        }
        let Some(said) = self.said.pop_front() else {
            panic!("{place}: the engine said nothing by then");
        };
        let after_us = said.at.since_ns(self.at) as f64 / 1e3;
        assert_eq!(said.text, wanted, "{place}: said (left) after {after_us} us");
        assert!(said.at >= from, "{place}: said after {after_us} us already");
        self.at = said.at;
    }

    /// What the engine said and the script did not speak of.
    fn rest(&self) -> Vec<String> {
        let since_us = |said: &Said| said.at.since_ns(self.at) as f64 / 1e3;
        self.said.iter().map(|said| format!("+{}us > {}", since_us(said), said.text)).collect()
    }

    fn run_to(&mut self, to: Timestamp) {
        loop {
            self.server.step(to);
            self.collect();
            if self.server.now() >= to {
                return;
            }
        }
    }

    fn collect(&mut self) {
        let at = self.server.now();
        for (number, frames) in self.server.packets_to(&mut self.peer) {
            let (text, unit) = self.describe(&frames);
            self.packets.push((number, unit));
            self.said.push_back(Said { at, text });
        }
    }

    /// A packet's frames in a script's words, and the unit it carries.
    fn describe(&self, bytes: &[u8]) -> (String, Option<u64>) {
        let (mut words, mut carried) = (Vec::new(), None);
        for frame in Frames::new(bytes) {
            match frame.expect("the engine writes frames that can be read") {
                Frame::Ack(ack) => {
                    let ranges: Vec<String> =
                        ack.ranges.iter().filter_map(|range| self.range(range)).collect();
                    let dup = if ack.head.duplicate_seen { " dup" } else { "" };
                    words.push(format!(
                        "ack{}{dup}",
                        ranges.iter().map(|r| format!(" {r}")).collect::<String>()
                    ));
                }
                Frame::Messages(unit) => {
                    carried = Some(unit.unit.0);
                    words.push(format!("unit {}", unit.unit.0.wrapping_sub(self.units_before)));
                }
                Frame::AckRequest => words.push("ask".into()),
                Frame::Ping => words.push("ping".into()),
                Frame::Credit { .. } | Frame::Stats(_) => {}
                other => words.push(format!("{other:?}")),
            }
        }
        (words.join(", "), carried)
    }

    /// What of a range of the peer's packets the script speaks of.
    fn range(&self, (low, high): (PacketNumber, PacketNumber)) -> Option<String> {
        let high = high.0.checked_sub(self.peer_before)?;
        let low = low.0.saturating_sub(self.peer_before);
        Some(if low == high { format!("p{low}") } else { format!("p{low}-p{high}") })
    }

    /// The peer says one packet.
    fn hear(&mut self, frames: &[&str]) {
        let mut bytes = vec![0; 2_000];
        let mut writer = Writer::new(&mut bytes);
        let (mut lost, mut damaged) = (false, false);
        for frame in frames {
            match frame.split_once(' ').unwrap_or((frame, "")) {
                ("ack", what) => self.write_ack(&mut writer, what),
                ("unit", what) => write_unit(&mut writer, self.peer_units_before + integer(what)),
                ("ping", _) => encode_ping(&mut writer),
                ("ask", _) => encode_ack_request(&mut writer),
                ("lost", _) => lost = true,
                ("damaged", _) => damaged = true,
                ("again", _) => return self.server.hear(&self.peer, self.last_said.clone()),
                _ => panic!("not a frame of a script: {frame}"),
            }
        }
        let size = writer.position();
        let mut packet = self.peer.say_bytes(&bytes[..size]);
        if damaged {
            let middle = packet.len() / 2;
            packet[middle] ^= 1;
        }
        self.last_said.clone_from(&packet);
        if !lost {
            self.server.hear(&self.peer, packet);
        }
    }

    /// `p0-p2,p5 after 10us`: the engine's packets that arrived, and how long the ack was held back.
    fn write_ack(&mut self, writer: &mut Writer<'_>, what: &str) {
        let (list, delay) = what.split_once(" after ").unwrap_or((what, "0"));
        let mut ranges = Vec::new();
        for range in list.split(',') {
            let (low, high) = range.split_once('-').unwrap_or((range, range));
            for index in integer(low)..=integer(high) {
                let (number, unit) = self.packets[index as usize];
                self.acked_units.extend(unit);
                ranges.push((number, number));
            }
        }
        ranges.sort_by_key(|&(number, _)| std::cmp::Reverse(number.0));
        ranges.dedup_by(|lower, upper| {
            let touches = lower.1.0 + 1 == upper.0.0;
            if touches {
                upper.0 = lower.0;
            }
            touches
        });
        let floor = (self.units_before..).find(|unit| !self.acked_units.contains(unit));
        let head = AckHead {
            unit_floor: UnitNumber(floor.expect("there is always a next unit")),
            ack_delay_ns: duration(delay).as_nanos() as u32,
            duplicate_seen: false,
            ecn_ce: 0,
            ecn_intact: false,
        };
        encode_ack(writer, &head, ranges.into_iter()).expect("it fits");
    }

    fn check(&mut self, place: &str, name: &str, value: &str) {
        let worker = self.server.worker();
        let found = match name {
            "srtt" => {
                let srtt_ns = worker.engine().rtt_ns(self.session).unwrap_or(0);
                return assert_eq!(
                    u128::from(srtt_ns),
                    duration(value).as_nanos(),
                    "{place}: the smoothed round trip"
                );
            }
            "closed" => worker.app().closed.clone().unwrap_or_else(|| "no".into()),
            "window" => worker.engine().congestion_window(self.session).unwrap_or(0).to_string(),
            "delivered" => (worker.app().messages - self.messages_before).to_string(),
            counter => {
                let counted = worker.counters().since(&self.before).list();
                let value = counted.iter().find(|(name, _)| *name == counter);
                value.unwrap_or_else(|| panic!("{place}: no such fact: {counter}")).1.to_string()
            }
        };
        assert_eq!(found, value, "{place}: {name} (left) is not as it should be");
    }
}

/// Unit `unit` of the peer's, with one message.
fn write_unit(writer: &mut Writer<'_>, unit: u64) {
    let payload = [7; 32];
    let header = RecordHeader::Message;
    let size = header.size() + payload.len();
    let mut bytes = vec![0; MESSAGES_HEAD_SIZE + size];
    encode_messages_head(&mut bytes, UnitNumber(unit), size as u16);
    header.encode(payload.len() as u16, &mut bytes[MESSAGES_HEAD_SIZE..]);
    bytes[MESSAGES_HEAD_SIZE + header.size()..].copy_from_slice(&payload);
    writer.put_bytes(&bytes);
}
