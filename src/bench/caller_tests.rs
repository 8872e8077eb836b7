//! The caller against a worker made of a list: what it issues, how it judges replies, when it stops.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use super::*;
use crate::bench::recorder::{Keep, Window};
use crate::bench::schedule::Arrivals;
use crate::time::VirtualClock;

/// Takes calls until it is full.
#[derive(Default)]
struct FakeWorker {
    calls: VecDeque<(u64, Bytes)>,
    room: usize,
    error: Option<SendError>,
    /// Without room, none of its sessions has any.
    one_ring: bool,
}

impl Issue for FakeWorker {
    fn issue(&mut self, Order { payload, token, .. }: Order<'_>) -> Result<(), SendError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.calls.len() == self.room {
            return Err(SendError::WouldBlock);
        }
        self.calls.push_back((token, payload.clone()));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.one_ring && self.calls.len() == self.room
    }
}

const WINDOW: Window = Window { start: Timestamp(0), end: Timestamp(1_000_000) };

fn caller(window: usize, verify: bool, pace: Pace) -> (Caller, VirtualClock) {
    let clock = VirtualClock::new(Timestamp(0));
    let config = CallerConfig {
        size: 64,
        answer: Answer::Echo,
        verify,
        seed: 7,
        deadline_ns: 1_000,
        clock: Rc::new(clock.clone()),
    };
    let sessions = vec![SessionKey { index: 0, tag: 0 }];
    let keep = if matches!(pace, Pace::Open(_)) { Keep::LatencyAndService } else { Keep::Latency };
    (Caller::new(config, sessions, Flight::new(1, window), pace, Recorder::new(WINDOW, keep)), clock)
}

#[test]
fn a_closed_loop_keeps_its_window_full_and_no_fuller() {
    let (mut caller, _) = caller(4, false, Pace::Closed);
    let mut worker = FakeWorker { room: 100, ..FakeWorker::default() };
    caller.issue_due(&mut worker);
    assert_eq!(worker.calls.len(), 4);
    let (token, payload) = worker.calls.pop_front().expect("four calls");
    caller.on_outcome(token, Outcome::Replied(&payload));
    caller.issue_next(&mut worker);
    assert_eq!(worker.calls.len(), 4, "the room of the call that ended is used");
    assert_eq!(caller.recorder().tally().completed, 1);
}

#[test]
fn where_no_session_has_room_the_others_are_not_tried_and_none_is_set_aside() {
    for (one_ring, issued) in [(true, 4), (false, 2)] {
        let (mut caller, _) = caller(4, false, Pace::Closed);
        let mut worker = FakeWorker { room: 2, one_ring, ..FakeWorker::default() };
        caller.issue_due(&mut worker);
        assert_eq!(worker.calls.len(), 2);
        worker.room = 4;
        caller.issue_next(&mut worker);
        assert_eq!(worker.calls.len(), issued, "one ring {one_ring}");
        caller.issue_due(&mut worker);
        assert_eq!(worker.calls.len(), 4, "what was set aside is offered again");
    }
}

#[test]
fn a_reply_with_other_bytes_is_a_mismatch_and_one_reply_in_512_is_compared_unasked() {
    for (verify, compared) in [(true, 1_024), (false, 2)] {
        let (mut caller, _) = caller(1, verify, Pace::Closed);
        let mut worker = FakeWorker { room: 1, ..FakeWorker::default() };
        for _ in 0..1_024 {
            caller.issue_due(&mut worker);
            let (token, payload) = worker.calls.pop_front().expect("one call");
            let mut spoilt = payload.to_vec();
            spoilt[63] ^= 1;
            caller.on_outcome(token, Outcome::Replied(&spoilt));
        }
        let tally = caller.recorder().tally();
        assert_eq!((tally.checked, tally.mismatched), (compared, compared), "verify {verify}");
    }
}

#[test]
fn a_reply_of_another_length_is_a_mismatch_always() {
    let (mut caller, _) = caller(2, false, Pace::Closed);
    let mut worker = FakeWorker { room: 2, ..FakeWorker::default() };
    caller.issue_due(&mut worker);
    // The first call of a run is compared anyway.
    let (token, payload) = worker.calls.pop_back().expect("two calls");
    caller.on_outcome(token, Outcome::Replied(&payload[..63]));
    assert_eq!(caller.recorder().tally().mismatched, 1);
}

#[test]
fn an_outcome_told_twice_is_counted_as_a_stray() {
    let (mut caller, _) = caller(2, false, Pace::Closed);
    let mut worker = FakeWorker { room: 2, ..FakeWorker::default() };
    caller.issue_due(&mut worker);
    let (token, _) = worker.calls.pop_front().expect("two calls");
    caller.on_outcome(token, Outcome::TimedOut);
    caller.on_outcome(token, Outcome::TimedOut);
    let tally = caller.recorder().tally();
    assert_eq!((tally.timed_out, tally.stray), (1, 1));
}

#[test]
fn an_open_loop_counts_latency_from_the_intended_send_and_what_it_never_sent() {
    let schedule = Schedule::new(Timestamp(0), 1e6, Arrivals::Paced, 1);
    let (mut caller, clock) = caller(8, false, Pace::Open(schedule));
    let mut worker = FakeWorker { room: 2, ..FakeWorker::default() };
    clock.advance_to(Timestamp(4_000));
    caller.issue_due(&mut worker);
    assert_eq!(worker.calls.len(), 2, "five are due, the worker takes two");
    clock.advance_to(Timestamp(5_000));
    caller.begin_turn();
    while let Some((token, payload)) = worker.calls.pop_front() {
        caller.on_outcome(token, Outcome::Replied(&payload));
    }
    let mut finished = caller.finish(Timestamp(10_000));
    assert_eq!(finished.skipped, Some(8), "of ten meant in 10 us two left");
    let latency = finished.recorder.latency().max.expect("two samples");
    let service = finished.recorder.service().expect("an open loop keeps it").max.expect("two samples");
    assert!((latency - 5.0).abs() < 0.01, "{latency}");
    assert!((service - 1.0).abs() < 0.01, "{service}");
}

#[test]
fn a_session_that_ended_stops_the_load_and_what_has_no_outcome_is_unknown() {
    let (mut caller, _) = caller(4, false, Pace::Closed);
    let mut worker = FakeWorker { room: 2, ..FakeWorker::default() };
    caller.issue_due(&mut worker);
    worker.error = Some(SendError::Closed);
    caller.issue_due(&mut worker);
    assert_eq!(caller.refused(), Some(SendError::Closed));
    let finished = caller.finish(Timestamp(1));
    let tally = *finished.recorder.tally();
    assert_eq!((tally.issued, tally.unknown, finished.without_outcome), (2, 2, 2));
}
