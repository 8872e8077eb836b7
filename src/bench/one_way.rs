//! Bulk: one-way messages, as many as go, counted where they arrive.
//!
//! A message has no reply, and the sender's transport keeps books per packet only: what arrived is
//! what the receiving application says it was given. The server is asked at both ends of the window
//! and answers with its own clock, so that neither the way there nor a backlog counts.

use std::time::Duration;

use bytes::Bytes;

use super::client::{Client, Measured};
use super::connected::OUTCOME_GRACE;
use super::echo::{Sink, Status};
use super::line::Line;
use super::payload::{CHECKED_EVERY, LABEL_SIZE, fill_labelled};
use super::recorder::{Keep, Recorder, Tally, Window};
use crate::time::Timestamp;
use crate::transport::SendError;

/// What the receiver was given between the two questions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Delivered {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// By the receiver's clock.
    pub seconds: f64,
}

impl Delivered {
    /// Two threads' deliveries over the same time.
    #[must_use]
    pub fn plus(self, other: Delivered) -> Delivered {
        Delivered {
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
            seconds: self.seconds.max(other.seconds),
        }
    }
}

/// The receiver's account of all sessions, at one moment of its clock.
#[derive(Clone, Debug, Default)]
struct Account {
    sink: Sink,
    status: Status,
}

/// Messages sent between two turns.
const MESSAGES_PER_TURN: usize = 64;
/// What is queued when the load ends arrives within this.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Runs the load of one thread.
pub fn measure(client: &Client<'_>, line: &mut impl Line, window: Window) -> Measured {
    let mut sender = Sender::new(client);
    let mut cut_short = sender.load_until(client, line, window.start);
    let (accepted_before, start) = (sender.accepted, account(client, line));
    let books = line.open_books_with(start.as_ref().map(|start| start.status.clone()));
    if cut_short.is_none() {
        cut_short = sender.load_until(client, line, window.end);
    }
    let end = account(client, line);
    let last = drain(client, line, sender.accepted);
    if start.is_none() {
        cut_short.get_or_insert_with(|| "the target counts no messages: bench it with --over call".into());
    }
    let delivered = start.zip(end.as_ref()).map(|(start, end)| Delivered {
        messages: end.sink.messages - start.sink.messages,
        bytes: end.sink.bytes - start.sink.bytes,
        seconds: end.status.now_ns.saturating_sub(start.status.now_ns) as f64 / 1e9,
    });
    let mut recorder = Recorder::new(window, Keep::Latency);
    let last = last.or(end).unwrap_or_default().sink;
    recorder.take_tally(Tally {
        completed_in_window: delivered.map_or(0, |delivered| delivered.messages),
        checked: last.checked,
        mismatched: last.corrupt,
        ..settle(sender.accepted, accepted_before, last.messages, line.messages_not_sent())
    });
    Measured {
        recorder,
        skipped: None,
        balance: line.close_books(books, client.plan.deadline),
        delivered,
        backend: line.backend(),
        packet_size: line.packet_size(),
        cut_short,
    }
}

/// Which messages sent after the warm-up arrived: all that the receiver has beyond those accepted
/// before it, since each arrives once.
fn settle(accepted: u64, accepted_before: u64, arrived: u64, not_sent: u64) -> Tally {
    let issued = accepted - accepted_before;
    let completed = arrived.saturating_sub(accepted_before).min(issued);
    let not_sent = not_sent.min(issued - completed);
    Tally {
        issued,
        completed,
        failed: not_sent,
        not_sent,
        unknown: issued - completed - not_sent,
        ..Tally::default()
    }
}

/// Asks about every session; `None` when one does not answer.
fn account(client: &Client<'_>, line: &mut impl Line) -> Option<Account> {
    let mut account = Account::default();
    for session in 0..line.sessions() {
        let status = line.ask_and_wait(session, client.plan.deadline)?;
        account.sink.messages += status.sink.messages;
        account.sink.bytes += status.sink.bytes;
        account.sink.checked += status.sink.checked;
        account.sink.corrupt += status.sink.corrupt;
        account.status = status;
    }
    Some(account)
}

/// Asks until everything accepted has arrived, or no longer will.
fn drain(client: &Client<'_>, line: &mut impl Line, accepted: u64) -> Option<Account> {
    let end = line.now().after(DRAIN_TIME_MAX).after(OUTCOME_GRACE);
    let mut last = None;
    while line.now() < end && line.broken().is_none() {
        last = account(client, line);
        if last.as_ref().is_none_or(|account| account.sink.messages >= accepted) {
            break;
        }
    }
    last
}

/// Sends message after message.
struct Sender {
    accepted: u64,
    plain: Bytes,
    verify: bool,
    seed: u64,
    next_session: usize,
    told: u64,
}

impl Sender {
    fn new(client: &Client<'_>) -> Self {
        Self {
            accepted: 0,
            plain: vec![0; client.plan.size].into(),
            verify: client.plan.verify,
            seed: client.seed(),
            next_session: 0,
            told: 0,
        }
    }

    fn load_until(&mut self, client: &Client<'_>, line: &mut impl Line, end: Timestamp) -> Option<String> {
        let mut turns = 0u32;
        while line.now() < end {
            if let Err(error) = self.send_some(line) {
                return Some(line.broken().unwrap_or_else(|| error.to_string()));
            }
            line.step();
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_PER_LOOK)
                && let Some(why) = self.look_around(client, line)
            {
                return Some(why);
            }
        }
        None
    }

    fn send_some(&mut self, line: &mut impl Line) -> Result<(), SendError> {
        let sessions = line.sessions();
        let mut full = 0;
        for _ in 0..MESSAGES_PER_TURN {
            let session = self.next_session;
            self.next_session = (self.next_session + 1) % sessions;
            let labelled = self.verify || self.accepted.is_multiple_of(CHECKED_EVERY);
            let payload = if labelled { self.labelled() } else { self.plain.clone() };
            match line.send(session, payload) {
                Ok(()) => {
                    self.accepted += 1;
                    full = 0;
                }
                Err(SendError::WouldBlock) => full += 1,
                Err(error) => return Err(error),
            }
            if full == sessions {
                break;
            }
        }
        Ok(())
    }

    fn labelled(&self) -> Bytes {
        let mut bytes = vec![0; self.plain.len()];
        if bytes.len() >= LABEL_SIZE {
            fill_labelled(self.seed, self.accepted, &mut bytes);
        }
        bytes.into()
    }

    #[cold]
    fn look_around(&mut self, client: &Client<'_>, line: &impl Line) -> Option<String> {
        client.shared.completed.fetch_add(self.accepted - self.told, std::sync::atomic::Ordering::Relaxed);
        self.told = self.accepted;
        if client.shared.is_stopped() { Some("interrupted".into()) } else { line.broken() }
    }
}

/// The rare things are looked at once in so many turns.
const TURNS_PER_LOOK: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_warm_up_settle_before_those_that_count() {
        let all = settle(100, 40, 100, 0);
        assert_eq!((all.issued, all.completed, all.unknown), (60, 60, 0));
        let some = settle(100, 40, 70, 10);
        assert_eq!((some.completed, some.not_sent, some.failed, some.unknown), (30, 10, 10, 20));
        let none = settle(100, 40, 30, 0);
        assert_eq!((none.completed, none.unknown), (0, 60));
        for tally in [all, some, none] {
            assert_eq!(tally.issued, tally.completed + tally.failed + tally.unknown);
        }
    }
}
