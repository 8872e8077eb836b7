//! Carries out what handles asked for, on the worker's thread.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::app::HandleApp;
use super::error::ENDED;
use super::link::{COMMANDS_MAX, Link};
use super::slots::Completion;
use super::{Handler, OpenError, Outcome, stats};
use crate::time::Timestamp;
use crate::transport::{ConnectError, SendError, SessionKey};
use crate::wire::ChannelId;
use crate::worker::mailbox::{Command, Op, Urgent};
use crate::worker::{Lane, Target, Worker};

/// Commands that wait for their session; with more, the mailbox is left to fill.
const PARKED_MAX: usize = COMMANDS_MAX;

/// A worker's intake. A session without room keeps its commands here, in order, so that others'
/// pass.
pub(super) struct Intake {
    link: Arc<Link>,
    parked: FxHashMap<SessionKey, VecDeque<Parked>>,
    parked_len: usize,
    /// Cancellations whose command is still in the ring.
    urgents: Vec<Urgent>,
}

struct Parked {
    command: Command,
    deadline: Timestamp,
}

impl Intake {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, parked: FxHashMap::default(), parked_len: 0, urgents: Vec::new() }
    }

    /// Carries out what waits. How much that was.
    pub(super) fn drain<H: Handler>(&mut self, worker: &mut Worker<HandleApp<H>>) -> usize {
        if self.link.mailbox.is_empty() && self.parked_len == 0 && self.urgents.is_empty() {
            return 0;
        }
        let now = worker.clock_now();
        let mut done = 0;
        if self.parked_len > 0 {
            done += self.retry(worker, now);
        }
        let mut taken = 0;
        // Taken out before the commands and carried out after them: whatever was put in before one of
        // these is then in the ring or out of it already, so that none passes its own command.
        let mut urgents = std::mem::take(&mut self.urgents);
        while let Some(urgent) = self.link.mailbox.pop_urgent() {
            taken += 1;
            urgents.push(urgent);
        }
        let mut drained = false;
        while !drained && taken < COMMANDS_MAX && self.parked_len < PARKED_MAX {
            match self.link.mailbox.pop() {
                Some(command) => self.admit(worker, command, now),
                None => drained = true,
            }
            taken += usize::from(!drained);
        }
        for urgent in urgents.drain(..) {
            self.urgent(worker, urgent, drained);
        }
        // Those whose command is still in the ring wait for it.
        urgents.append(&mut self.urgents);
        self.urgents = urgents;
        if taken + done > 0 {
            self.link.mailbox.made_room();
        }
        taken + done
    }

    fn admit<H: Handler>(&mut self, worker: &mut Worker<HandleApp<H>>, command: Command, now: Timestamp) {
        let (session, deadline) = match &command {
            Command::Connect { token, target } => return connect(worker, *token, *target),
            Command::OpenLane { token, lane, remote } => return open_lane(worker, *token, *lane, *remote),
            Command::Stats { token, session } => {
                let stats = stats::read(worker, *session);
                return worker.app_mut().complete(*token, Completion::Counted(Box::new(stats)));
            }
            Command::Small { session, timeout_ns, .. } | Command::Large { session, timeout_ns, .. } => {
                (*session, now.after_ns(*timeout_ns))
            }
        };
        let behind = self.parked.contains_key(&session);
        if behind || !carry_out(worker, &command, deadline) {
            self.parked.entry(session).or_default().push_back(Parked { command, deadline });
            self.parked_len += 1;
        }
    }

    /// Tries the parked commands again, and ends the calls among them whose time is up.
    fn retry<H: Handler>(&mut self, worker: &mut Worker<HandleApp<H>>, now: Timestamp) -> usize {
        let before = self.parked_len;
        let mut left = 0;
        self.parked.retain(|_, queue| {
            while let Some(parked) = queue.front() {
                let is_call = is_call(&parked.command);
                if is_call && parked.deadline <= now {
                    refuse(worker, &parked.command, SendError::WouldBlock);
                } else if !carry_out(worker, &parked.command, parked.deadline) {
                    break;
                }
                queue.pop_front();
            }
            left += queue.len();
            !queue.is_empty()
        });
        self.parked_len = left;
        before - left
    }

    fn urgent<H: Handler>(&mut self, worker: &mut Worker<HandleApp<H>>, urgent: Urgent, drained: bool) {
        match urgent {
            Urgent::Reply { call, status, payload } => {
                let replied = worker.reply_owned(call, status, payload);
                if let Err(SendError::MessageTooLarge { .. }) = replied {
                    let _ = worker.reply(call, crate::worker::status::REPLY_TOO_LARGE, &[]);
                }
                // Any other error means that the session is gone, and with it the caller.
            }
            Urgent::Cancel { session: Some(session), token } => {
                let found = worker.cancel(session, token) || self.cancel_parked(worker, session, token);
                if !found && !drained {
                    self.urgents.push(Urgent::Cancel { session: Some(session), token });
                }
            }
            Urgent::Cancel { session: None, token } => {
                if let Some(session) = worker.app().opening(token) {
                    worker.close(session, 0);
                } else if !drained {
                    self.urgents.push(Urgent::Cancel { session: None, token });
                }
            }
            Urgent::Close { session, code } => worker.close(session, code),
        }
    }

    fn cancel_parked<H: Handler>(
        &mut self,
        worker: &mut Worker<HandleApp<H>>,
        session: SessionKey,
        token: u64,
    ) -> bool {
        let Some(queue) = self.parked.get_mut(&session) else { return false };
        let Some(at) = queue.iter().position(|parked| parked.command.token() == token) else { return false };
        if let Some(parked) = queue.remove(at) {
            self.parked_len -= 1;
            refuse(worker, &parked.command, SendError::WouldBlock);
        }
        if queue.is_empty() {
            self.parked.remove(&session);
        }
        true
    }

    /// The worker ends: what is parked was never sent.
    pub(super) fn end<H: Handler>(&mut self, worker: &mut Worker<HandleApp<H>>) {
        for (_, queue) in self.parked.drain() {
            queue.iter().for_each(|parked| refuse(worker, &parked.command, ENDED));
        }
        self.parked_len = 0;
    }
}

fn is_call(command: &Command) -> bool {
    matches!(command, Command::Small { op: Op::Call, .. } | Command::Large { op: Op::Call, .. })
}

fn connect<H: Handler>(worker: &mut Worker<HandleApp<H>>, token: u64, target: Target) {
    let asked = worker.connect(target);
    on_asked(worker, token, asked, (Some(target.remote), target.worker));
}

fn open_lane<H: Handler>(
    worker: &mut Worker<HandleApp<H>>,
    token: u64,
    lane: Lane,
    remote: Option<SocketAddr>,
) {
    let asked = worker.open_lane(lane);
    on_asked(worker, token, asked, (remote, lane.to));
}

fn on_asked<H: Handler>(
    worker: &mut Worker<HandleApp<H>>,
    token: u64,
    asked: Result<SessionKey, ConnectError>,
    (remote, wanted): (Option<SocketAddr>, Option<u8>),
) {
    match asked {
        Ok(session) => worker.app_mut().on_connecting(session, token, remote, wanted),
        Err(error) => {
            worker.app_mut().complete(token, Completion::Opened(Err(OpenError::Local(error))));
        }
    }
}

/// False when the session has no room now.
fn carry_out<H: Handler>(worker: &mut Worker<HandleApp<H>>, command: &Command, deadline: Timestamp) -> bool {
    let (op, token, result) = match command {
        Command::Small { op, len, number, session, token, bytes, .. } => {
            let payload = &bytes[..usize::from(*len)];
            let result = match op {
                Op::Call => worker.call(*session, *number, payload, deadline, *token).map(|()| 0),
                Op::Send => worker.send(*session, None, payload),
                Op::SendOrdered => worker.send(*session, Some(ChannelId(*number)), payload),
                Op::Datagram => worker.datagram(*session, payload).map(|()| 0),
            };
            (*op, *token, result)
        }
        Command::Large { op, number, session, token, bytes, .. } => {
            let payload = bytes.clone();
            let result = match op {
                Op::Call => worker.call_owned(*session, *number, payload, deadline, *token).map(|()| 0),
                Op::Send => worker.send_owned(*session, None, payload),
                Op::SendOrdered => worker.send_owned(*session, Some(ChannelId(*number)), payload),
                Op::Datagram => worker.datagram(*session, bytes).map(|()| 0),
            };
            (*op, *token, result)
        }
        Command::Connect { .. } | Command::OpenLane { .. } | Command::Stats { .. } => {
            unreachable!("only what a session must have room for is parked")
        }
    };
    match (result, op) {
        (_, Op::Datagram) => true,
        (Err(SendError::WouldBlock), _) => false,
        (Ok(_), Op::Call) => true,
        (Ok(ordinal), Op::Send | Op::SendOrdered) => {
            worker.app_mut().complete(token, Completion::Accepted(Ok(ordinal)));
            true
        }
        (Err(error), _) => {
            refuse(worker, command, error);
            true
        }
    }
}

fn refuse<H: Handler>(worker: &mut Worker<HandleApp<H>>, command: &Command, error: SendError) {
    if let Some(completion) = refusal(command, error) {
        worker.app_mut().complete(command.token(), completion);
    }
}

fn refusal(command: &Command, error: SendError) -> Option<Completion> {
    match command {
        Command::Small { op, .. } | Command::Large { op, .. } => match op {
            Op::Call => Some(Completion::Outcome(Outcome::NotSent(error))),
            Op::Send | Op::SendOrdered => Some(Completion::Accepted(Err(error))),
            Op::Datagram => None,
        },
        Command::Connect { .. } | Command::OpenLane { .. } => {
            Some(Completion::Opened(Err(OpenError::Stopped)))
        }
        Command::Stats { .. } => Some(Completion::Ended),
    }
}

/// Refuses what is left in the mailbox of a worker that has ended. Any thread may do it.
pub(super) fn refuse_rest(link: &Link) {
    while let Some(command) = link.mailbox.pop() {
        if let Some(completion) = refusal(&command, ENDED)
            && let Some(waker) = link.slots.complete(command.token(), completion)
        {
            waker.wake();
        }
    }
}
