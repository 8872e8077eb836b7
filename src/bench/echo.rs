//! The service that `ringwire serve` runs and `ringwire bench` calls.
//!
//! | method | does |
//! | --- | --- |
//! | 0 | echo: replies with the request's bytes |
//! | 1 | status: replies with one JSON object about the server, see [`Status`] |
//! | 2 | sink: replies with nothing |
//!
//! One-way messages are counted per session, and checked where they carry their own label.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::losses;
use super::payload::{Label, check_labelled};
use super::report::Packets;
use crate::time::Clock;
use crate::transport::Counters;
use crate::worker::{
    App, Cx, Event, LossCounters, Message, Outcome, ReplyWriter, Request, SessionKey, status,
};

/// Replies with the request's bytes.
pub const METHOD_ECHO: u32 = 0;
/// Replies with the server's [`Status`].
pub const METHOD_STATUS: u32 = 1;
/// Replies with nothing.
pub const METHOD_SINK: u32 = 2;

/// What a session's one-way messages came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sink {
    /// Messages delivered.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those whose contents were checked.
    pub checked: u64,
    /// Of these, those that were wrong.
    pub corrupt: u64,
}

impl Sink {
    fn take(&mut self, payload: &[u8]) {
        self.messages += 1;
        self.bytes += payload.len() as u64;
        match check_labelled(payload) {
            Label::Absent => {}
            Label::Intact => self.checked += 1,
            Label::Corrupt => {
                self.checked += 1;
                self.corrupt += 1;
            }
        }
    }
}

/// What a server tells about itself, as one JSON object over the wire: any client of any version
/// reads what it knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Packet counts of all its workers.
    pub packets: Packets,
    /// What was lost on its part of the way; `None` from a server that does not tell.
    pub losses: Option<LossCounters>,
    /// Processor seconds of its process.
    pub cpu_s: Option<f64>,
    /// Cores of its workers.
    pub cores: Option<Vec<usize>>,
    /// The server's clock, in nanoseconds.
    pub now_ns: u64,
    /// One-way messages of the session that asks.
    pub sink: Sink,
}

impl Status {
    /// The object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "packets": self.packets.to_json(), "losses": self.losses.as_ref().map(losses::to_json), "cpu_s": self.cpu_s, "cores": self.cores,
            "now_ns": self.now_ns,
            "sink": {
                "messages": self.sink.messages, "bytes": self.sink.bytes,
                "checked": self.sink.checked, "corrupt": self.sink.corrupt,
            },
        })
    }

    /// Reads the object; `None` when it is none, or lacks what every server tells.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Status> {
        let object: Value = serde_json::from_slice(bytes).ok()?;
        let sink = |name: &str| object["sink"][name].as_u64();
        let cores = object["cores"].as_array().map(|cores| {
            cores.iter().filter_map(Value::as_u64).map(|core| core as usize).collect::<Vec<_>>()
        });
        Some(Status {
            packets: Packets::from_json(&object["packets"]),
            losses: losses::from_json(&object["losses"]),
            cpu_s: object["cpu_s"].as_f64(),
            cores,
            now_ns: object["now_ns"].as_u64()?,
            sink: Sink {
                messages: sink("messages")?,
                bytes: sink("bytes")?,
                checked: sink("checked")?,
                corrupt: sink("corrupt")?,
            },
        })
    }
}

/// The part of an engine's counts that a report shows.
#[must_use]
pub fn packets_of(counters: &Counters) -> Packets {
    Packets {
        sent: Some(counters.packets_sent),
        received: Some(counters.packets_received),
        retransmitted: Some(counters.retransmitted),
        spurious: Some(counters.spurious),
        lost: Some(counters.lost),
        duplicate: Some(counters.duplicate_packets + counters.duplicate_units),
        corrupt: Some(counters.corrupt),
    }
}

/// Where the workers of one server leave their counts for each other, each in its own slot.
#[derive(Debug)]
pub struct Board {
    slots: Vec<Mutex<(Counters, LossCounters)>>,
    cores: Vec<usize>,
}

impl Board {
    /// A board for workers on `cores`.
    #[must_use]
    pub fn new(cores: Vec<usize>) -> Arc<Board> {
        Arc::new(Board { slots: cores.iter().map(|_| Mutex::default()).collect(), cores })
    }

    /// Worker `index` leaves its counts.
    pub fn post(&self, index: usize, counters: Counters, losses: LossCounters) {
        // A worker that died holding the lock left whole counts: they are plain numbers.
        *self.slots[index].lock().unwrap_or_else(PoisonError::into_inner) = (counters, losses);
    }

    /// The sum over all workers.
    #[must_use]
    pub fn total(&self) -> (Counters, LossCounters) {
        let mut total = (Counters::default(), LossCounters::default());
        for slot in &self.slots {
            let (counters, losses) = *slot.lock().unwrap_or_else(PoisonError::into_inner);
            total.0 = total.0.plus(&counters);
            total.1 += losses;
        }
        total
    }
}

/// The service of one worker.
pub struct Echo {
    board: Arc<Board>,
    clock: Rc<dyn Clock>,
    sinks: FxHashMap<SessionKey, Sink>,
}

impl Echo {
    /// A service that tells of the workers on `board`.
    #[must_use]
    pub fn new(board: Arc<Board>, clock: Rc<dyn Clock>) -> Self {
        Self { board, clock, sinks: FxHashMap::default() }
    }

    /// The sessions that are open.
    pub fn sessions(&self) -> impl Iterator<Item = SessionKey> {
        self.sinks.keys().copied()
    }

    #[cold]
    fn status(&self, session: SessionKey) -> Vec<u8> {
        let (counters, losses) = self.board.total();
        let status = Status {
            packets: packets_of(&counters),
            losses: Some(losses),
            cpu_s: Some(crate::sys::process::cpu_seconds()),
            cores: Some(self.board.cores.clone()),
            now_ns: self.clock.now().0,
            sink: self.sinks.get(&session).copied().unwrap_or_default(),
        };
        status.to_json().to_string().into_bytes()
    }
}

impl App for Echo {
    #[inline]
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        match request.method {
            METHOD_ECHO => match request.shared() {
                Some(payload) => reply.send_owned(payload),
                None => reply.send(request.payload),
            },
            METHOD_SINK => reply.send(&[]),
            METHOD_STATUS => reply.send(&self.status(request.session)),
            _ => reply.fail(status::NO_SUCH_METHOD, b"echo is 0, status 1, sink 2"),
        }
    }

    /// The echo service calls nobody.
    fn on_outcome(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome<'_>) {}

    fn on_message(&mut self, _: &mut Cx<'_>, message: Message<'_>) {
        self.sinks.entry(message.session).or_default().take(message.payload);
    }

    fn on_event(&mut self, _: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, .. } => drop(self.sinks.insert(session, Sink::default())),
            Event::Closed { session, .. } => drop(self.sinks.remove(&session)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_wire() {
        let status = Status {
            packets: Packets { sent: Some(7), ..Packets::default() },
            losses: Some(LossCounters { sent: 7, damaged: 2, ..LossCounters::default() }),
            cpu_s: Some(1.25),
            cores: Some(vec![1, 3]),
            now_ns: 99,
            sink: Sink { messages: 1, bytes: 2, checked: 3, corrupt: 4 },
        };
        assert_eq!(Status::parse(status.to_json().to_string().as_bytes()), Some(status));
    }

    #[test]
    fn another_service_s_answer_is_no_status() {
        for answer in ["", "hello", "{}", "[1]", r#"{"now_ns":1}"#] {
            assert_eq!(Status::parse(answer.as_bytes()), None, "{answer}");
        }
    }

    #[test]
    fn the_board_adds_up_its_workers() {
        let board = Board::new(vec![0, 1]);
        let post = |index, packets_sent, ring| {
            let losses = LossCounters { ring, ..LossCounters::default() };
            board.post(index, Counters { packets_sent, ..Counters::default() }, losses);
        };
        post(0, 3, 1);
        post(1, 4, 1);
        post(1, 5, 2);
        let (counters, losses) = board.total();
        assert_eq!((counters.packets_sent, losses.ring), (8, 3));
    }
}
