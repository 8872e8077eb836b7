//! Runs one handler: what came is a call, a reply, a message or a datagram.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bounds::{HANDLER_CALLS_MAX, HANDLER_TIME_MAX, TRAIN_SIZE_EARLY, TRAIN_SIZE_MAX};
use crate::hint::rarely;
use crate::io::Received;
use crate::time::{Timestamp, saturating_ns};
use crate::transport::Extent;
use crate::transport::planted::{self, Fault};
use crate::transport::security::Denied;
use crate::transport::{DeliveryKind, Engine, SessionKey};
use crate::worker::WorkerCounters;
use crate::worker::app::{App, Cx, Message, Outcome, ReplyWriter, Request, status};
use crate::worker::balance::Balance;
use crate::worker::payload::Payload;

/// A stretch of handlers beyond this many budgets is counted as slow.
const SLOW_FACTOR: u64 = 20;

/// Handlers run between two looks at the clock.
const CALLS_BETWEEN_LOOKS: usize = 32;

/// How long handlers have run since packets last left.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Bytes of answers that leave before the turn ends.
    pub(super) train_size: usize,
    pub(super) since_transmit: usize,
    pub(super) looked: Timestamp,
    pub(super) transmitted: Timestamp,
    /// After so many handlers of the turn what was answered leaves, if there are as many: see [`Balance`].
    pub(super) part: usize,
    /// Much came at once: where many sessions said it, it is answered in portions.
    pub(super) in_portions: bool,
    /// What came fits one train, and has not been answered in portions: it may be answered in two parts.
    in_one: bool,
    /// Things to handle that were found so far.
    pub(super) count: usize,
    /// When the packets came.
    came: Timestamp,
    /// When they were read, those of this portion.
    began: Timestamp,
}

/// P-13.24: an ack waits so long for the handlers of its turn. Longer, and a peer that measured shorter round trips would
/// send again what has arrived.
const ACK_WAIT_MAX_NS: u64 = 1_000_000;

impl Pace {
    /// Of a turn that received `batch`. While this end worked, so much piled up: answers that leave in pieces as
    /// large keep the peer as busy, and cost both ends fewer system calls than smaller ones. Answers of the size of what
    /// they answer leave together, and not a last few of them alone. Where each packet is answered before the next
    /// comes, the pieces stay small and both ends work at once.
    pub(super) fn new(now: Timestamp, batch: &[Received]) -> Self {
        let size: usize = batch.iter().map(|received| received.length as usize).sum();
        Self {
            train_size: (size + TRAIN_SIZE_EARLY).min(TRAIN_SIZE_MAX),
            since_transmit: 0,
            looked: now,
            transmitted: now,
            part: usize::MAX,
            in_portions: size > TRAIN_SIZE_EARLY,
            in_one: size <= TRAIN_SIZE_MAX,
            count: 0,
            came: now,
            began: now,
        }
    }

    /// All of the batch has been read: whether it is to be answered in two parts.
    pub(super) fn even_out(&mut self, balance: &mut Balance) {
        if self.count == 0 {
            return;
        }
        // More than a train leaves in pieces anyway.
        let part = balance.part(self.count).filter(|_| self.in_one);
        self.part = part.unwrap_or(usize::MAX);
    }

    /// A portion was read from `began` to `now`: its acks wait from then on, and its handlers have their own time.
    pub(super) fn begin_portion(&mut self, began: Timestamp, now: Timestamp) {
        self.in_one = false;
        self.began = began;
        self.looked = now;
        self.transmitted = now;
        self.since_transmit = 0;
    }

    /// What leaves between two portions, when no handler is left to wait for: what was not answered is acknowledged with
    /// the last, unless that is long.
    pub(super) fn extent_between(&self) -> Extent {
        if self.looked.since_ns(self.came) > ACK_WAIT_MAX_NS { Extent::All } else { Extent::Answers }
    }

    /// What leaves before more handlers run.
    pub(super) fn extent(&self) -> Extent {
        if self.looked.since_ns(self.began) > ACK_WAIT_MAX_NS { Extent::All } else { Extent::Answers }
    }

    /// Behind which of the turn's handlers, of which `from` have run, the next look at the clock or departure may be due.
    pub(super) fn next_stop(&self, from: usize) -> usize {
        let look = (from / CALLS_BETWEEN_LOOKS + 1) * CALLS_BETWEEN_LOOKS;
        let leave = from + HANDLER_CALLS_MAX.saturating_sub(self.since_transmit).max(1);
        let part = if self.part > from { self.part } else { usize::MAX };
        look.min(leave).min(part)
    }

    /// At a stop, behind `at` handlers of the turn: true when packets should leave before more run.
    pub(super) fn leaves_at(
        &mut self,
        at: usize,
        now: impl Fn() -> Timestamp,
        counters: &mut WorkerCounters,
    ) -> bool {
        let looks = at.is_multiple_of(CALLS_BETWEEN_LOOKS);
        looks && self.look(now(), counters) || self.since_transmit >= HANDLER_CALLS_MAX || self.part == at
    }

    /// Looks at the clock: true when packets should leave before more handlers run.
    pub(super) fn look(&mut self, now: Timestamp, counters: &mut WorkerCounters) -> bool {
        let budget_ns = saturating_ns(HANDLER_TIME_MAX);
        counters.slow_handlers += u64::from(now.since_ns(self.looked) > SLOW_FACTOR * budget_ns);
        self.looked = now;
        now.since_ns(self.transmitted) > budget_ns
    }
}

/// What a handler runs with.
pub(super) struct Handling<'a, A> {
    pub(super) engine: &'a mut Engine,
    pub(super) app: &'a mut A,
    pub(super) counters: &'a mut WorkerCounters,
    pub(super) now: Timestamp,
}

impl<A: App> Handling<'_, A> {
    /// [`Handling::deliver`] for what came alone: what its turn runs through lies closer together without it.
    #[inline(never)]
    pub(super) fn deliver_one(self, session: SessionKey, kind: DeliveryKind, payload: Payload<'_>) {
        self.deliver(session, kind, payload);
    }

    // Where many came, a call of its own would cost each of them as much as a small handler.
    #[inline(always)]
    pub(super) fn deliver(self, session: SessionKey, kind: DeliveryKind, payload: Payload<'_>) {
        let Self { engine, app, counters, now } = self;
        let (payload, owned) = (payload.bytes(), payload.owned());
        match kind {
            DeliveryKind::Request { call, method } => {
                let admitted = engine.admit_call(now, session, method);
                let mut reply = ReplyWriter { engine, session, call, done: false };
                if let Err(denied) = admitted {
                    return deny(&mut reply, denied);
                }
                let request = Request { session, method, payload, owned };
                let ran = catch_unwind(AssertUnwindSafe(|| app.on_request(request, &mut reply)));
                if rarely(ran.is_err()) {
                    counters.handler_panics += 1;
                    reply.fail(status::PANICKED, b"the handler panicked");
                } else if rarely(!reply.done) {
                    reply.fail(status::NO_REPLY, b"the handler did not reply");
                }
            }
            DeliveryKind::Reply { token, status } => {
                let mut cx = Cx { engine, now };
                let outcome = match status {
                    status::OK => Outcome::Replied(payload),
                    status => Outcome::Failed { status, message: payload },
                };
                app.on_outcome(&mut cx, token, outcome);
                if planted::is(Fault::CompletionReportedTwice) {
                    app.on_outcome(&mut cx, token, outcome);
                }
            }
            DeliveryKind::Message(channel) => {
                deliver_message(app, Cx { engine, now }, Message { session, channel, payload, owned });
            }
            DeliveryKind::Datagram => {
                deliver_datagram(app, Cx { engine, now }, Message { session, channel: None, payload, owned });
            }
        }
    }
}

// Apart from calls, whose round trip they would make longer.
#[inline(never)]
fn deliver_message<A: App>(app: &mut A, mut cx: Cx<'_>, message: Message<'_>) {
    app.on_message(&mut cx, message);
}

#[inline(never)]
fn deliver_datagram<A: App>(app: &mut A, mut cx: Cx<'_>, message: Message<'_>) {
    app.on_datagram(&mut cx, message);
}

/// Answers a call that may not run.
#[cold]
#[inline(never)]
fn deny(reply: &mut ReplyWriter<'_>, denied: Denied) {
    let (status, why) = denial(denied);
    reply.fail(status, why);
}

fn denial(denied: Denied) -> (u8, &'static [u8]) {
    match denied {
        Denied::Forbidden => {
            (status::FORBIDDEN, b"the server does not allow this key to call this method")
        }
        Denied::OverQuota => (
            status::OVER_QUOTA,
            b"this key has as many calls open, or bytes unacknowledged, as the server allows it: try again later",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Ecn;

    fn batch(buffers: usize, size: u32) -> Vec<Received> {
        let from = "10.0.0.1:1".parse().expect("an address");
        let received = |buffer| Received { buffer, length: size, segment_size: 160, from, ecn: Ecn::NotEct };
        (0..buffers as u32).map(received).collect()
    }

    /// What a batch of `count` things to handle in so many buffers of 10,240 bytes does, at an end that waited for it.
    fn part(balance: &mut Balance, buffers: usize, count: usize) -> usize {
        part_of(balance, buffers, count, false)
    }

    fn part_of(balance: &mut Balance, buffers: usize, count: usize, in_portions: bool) -> usize {
        balance.wait();
        let mut pace = Pace::new(Timestamp(0), &batch(buffers, 10_240));
        if in_portions {
            pace.begin_portion(Timestamp(0), Timestamp(1));
        }
        pace.count = count;
        pace.even_out(balance);
        pace.part
    }

    #[test]
    fn a_batch_answered_in_portions_is_remembered_whole_and_not_parted_beside_that() {
        let mut balance = Balance::default();
        assert_eq!(part(&mut balance, 1, 64), 32);
        assert_eq!(part_of(&mut balance, 4, 256, true), usize::MAX, "it leaves in portions");
        assert_eq!(
            part(&mut balance, 1, 280),
            usize::MAX,
            "not much more than the one before, all portions together"
        );
        assert_eq!(part(&mut balance, 1, 400), 340);
        assert_eq!(part(&mut balance, 7, 600), usize::MAX, "it leaves in pieces, each a train");
        assert_eq!(part(&mut balance, 6, 800), 700);
    }

    #[test]
    fn handlers_stop_for_the_clock_for_a_part_and_when_as_many_ran_as_may() {
        let (mut pace, mut counters) =
            (Pace::new(Timestamp(0), &batch(1, 10_240)), WorkerCounters::default());
        assert_eq!([0, 31, 32, 40].map(|from| pace.next_stop(from)), [32, 32, 64, 64]);
        pace.part = 45;
        assert_eq!([0, 40, 45].map(|from| pace.next_stop(from)), [32, 45, 64]);
        assert!(pace.leaves_at(45, || unreachable!("45 is no time to look"), &mut counters));
        assert!(!pace.leaves_at(64, || Timestamp(1), &mut counters));
        pace.since_transmit = HANDLER_CALLS_MAX - 3;
        assert_eq!(pace.next_stop(64), 67);
        assert!(!pace.leaves_at(67, || unreachable!("nor is 67"), &mut counters));
        pace.since_transmit = HANDLER_CALLS_MAX;
        assert!(pace.leaves_at(67, || unreachable!("nor is 67"), &mut counters));
        assert_eq!(pace.next_stop(67), 68, "never where it is");
        pace.since_transmit = 0;
        let late = Timestamp(saturating_ns(HANDLER_TIME_MAX) + 1);
        assert!(pace.leaves_at(96, || late, &mut counters), "they ran long");
    }
}
