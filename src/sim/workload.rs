//! The work of a run: who sends what to whom and when, drawn from the plan's weights.

use std::cell::RefCell;
use std::rc::Rc;

use crate::rng::Rng;
use crate::sim::app::{CLOSE_CODE, Opened, Shared, SimApp};
use crate::sim::checker::Answer;
use crate::sim::contents::{ID_SIZE, Purpose, contents};
use crate::sim::plan::Plan;
use crate::sim::world::World;
use crate::time::Timestamp;
use crate::transport::SendError;
use crate::wire::ChannelId;
use crate::worker::{Lane, Worker};

/// Draws and does the work of one run.
pub struct Workload {
    rng: Rng,
    /// Decides about lanes alone.
    lane_rng: Rng,
    lanes: usize,
    weights: [u64; 9],
    shared: Rc<RefCell<Shared>>,
    work_every_ns: u64,
    rtt_ns: u64,
    /// Nothing is done before then.
    next_at: Timestamp,
}

/// One kind of work. The order is that of [`super::plan::Work::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SmallCall,
    BigCall,
    Message,
    Ordered,
    Granted,
    Datagram,
    Burst,
    Idle,
    Close,
}

impl Workload {
    /// The work that `plan` describes, beginning at `now`.
    #[must_use]
    pub fn new(plan: &Plan, shared: Rc<RefCell<Shared>>, now: Timestamp) -> Self {
        Self {
            rng: Rng::new(plan.seed ^ 0x776f_726b_6c6f_6164),
            lane_rng: Rng::new(plan.seed ^ 0x6c61_6e65_736c_616e),
            lanes: plan.lanes,
            weights: plan.work.weights(),
            shared,
            work_every_ns: plan.work_every_ns,
            rtt_ns: 2 * plan.delay_ns,
            next_at: now,
        }
    }

    /// When the next stroke of work is due.
    #[must_use]
    pub fn next_at(&self) -> Timestamp {
        self.next_at
    }

    /// Does one stroke of work.
    pub fn stroke(&mut self, world: &mut World<SimApp>) {
        let now = world.now();
        self.next_at = now.after_ns(1 + self.rng.below(2 * self.work_every_ns));
        connect_all(world);
        self.open_lane(world);
        let from = self.rng.below(world.len() as u64) as usize;
        let Some(worker) = world.worker(from) else { return };
        let sessions = worker.app().sessions().len() as u64;
        if sessions == 0 {
            return;
        }
        let to = worker.app().sessions()[self.rng.below(sessions) as usize];
        let kind = self.kind();
        match kind {
            Kind::Burst => {
                let kind = self.burst_kind();
                let count = self.rng.between(8, 400);
                (0..count).for_each(|_| self.one(worker, to, kind));
            }
            Kind::Idle => self.next_at = now.after_ns(IDLE_NS + self.rng.below(IDLE_NS)),
            Kind::Close => self.close(worker, to),
            kind => self.one(worker, to, kind),
        }
    }

    /// Now and then an endpoint asks a peer for a lane, over whichever end's session there is.
    fn open_lane(&mut self, world: &mut World<SimApp>) {
        let node = self.lane_rng.below(world.len() as u64) as usize;
        if self.lanes == 0 || !self.lane_rng.chance(LANE_CHANCE) {
            return;
        }
        let Some(worker) = world.worker(node) else { return };
        let over = worker.app().sessions().iter().find(|session| worker.lane_of(session.key).is_none());
        let Some(&Opened { key, peer, .. }) = over else { return };
        let is_lane = |session| worker.lane_of(session).is_some();
        if worker.app().lanes_with(peer.node, is_lane) >= self.lanes {
            return;
        }
        if let Ok(lane) = worker.open_lane(Lane::over(key)) {
            worker.app_mut().on_connecting(lane, peer.node);
        }
    }

    /// Answers the deferred calls that are due.
    pub fn answer_deferred(&mut self, world: &mut World<SimApp>) {
        let now = world.now();
        for node in 0..world.len() {
            let due = world.peek(node).and_then(|worker| worker.app().next_deferred());
            if due.is_none_or(|due| due > now) {
                continue;
            }
            let Some(worker) = world.worker(node) else { continue };
            for (token, id, answer) in worker.app_mut().take_deferred(now) {
                let sent = match answer {
                    Answer::Reply(size) => worker.reply(token, 0, &contents(id, Purpose::Reply, size)),
                    Answer::Fail(code) => worker.reply(token, code, b"as asked"),
                };
                // Any other error means that the session is gone; its caller was told.
                if sent == Err(SendError::WouldBlock) {
                    let again = now.after_ns(1 + self.rng.below(self.rtt_ns));
                    worker.app_mut().defer(again, token, id, answer);
                }
            }
        }
    }

    fn kind(&mut self) -> Kind {
        let total: u64 = self.weights.iter().sum();
        let mut at = self.rng.below(total);
        for (kind, weight) in KINDS.into_iter().zip(self.weights) {
            if at < weight {
                return kind;
            }
            at -= weight;
        }
        unreachable!("a number below the sum of the weights lies within one of them")
    }

    fn burst_kind(&mut self) -> Kind {
        let few = [Kind::SmallCall, Kind::Message, Kind::Ordered, Kind::Datagram];
        few[self.rng.below(4) as usize]
    }

    fn one(&mut self, worker: &mut Worker<SimApp>, to: Opened, kind: Kind) {
        match kind {
            Kind::SmallCall => self.call(worker, to, SMALL_MAX),
            Kind::BigCall => self.call(worker, to, BIG_MAX),
            Kind::Message => self.message(worker, to, None),
            Kind::Ordered => {
                let channel = self.rng.below(3) as u32 + 1;
                self.message(worker, to, Some(channel));
            }
            Kind::Granted => self.granted(worker, to),
            Kind::Datagram => self.datagram(worker, to),
            Kind::Burst | Kind::Idle | Kind::Close => unreachable!("these are strokes, not single sends"),
        }
    }

    fn call(&mut self, worker: &mut Worker<SimApp>, to: Opened, size_max: u64) {
        let size = self.size(size_max);
        let answer = match self.rng.below(20) {
            0 => Answer::Fail(16 + self.rng.below(4) as u8),
            _ => Answer::Reply(self.size(size_max) - ID_SIZE as u32),
        };
        let deadline = self.deadline(worker.clock_now());
        let id = self.shared.borrow_mut().checker.fresh_id();
        let bytes = contents(id, Purpose::Request, size);
        let accepted = if id.is_multiple_of(3) {
            worker.call_owned(to.key, 1, bytes.into(), deadline, id)
        } else {
            worker.call(to.key, 1, &bytes, deadline, id)
        };
        if accepted.is_ok() {
            let caller = (worker.app().life(), to.number);
            let deadline = worker.app().moment(deadline);
            let checker = &mut self.shared.borrow_mut().checker;
            checker.call_accepted(id, caller, to.peer, (size, answer), deadline);
        }
    }

    fn message(&mut self, worker: &mut Worker<SimApp>, to: Opened, channel: Option<u32>) {
        let size_max = if self.rng.chance(0.03) { BIG_MAX } else { MIDDLE_MAX };
        let size = self.size(size_max);
        self.send(worker, to, channel, size);
    }

    fn granted(&mut self, worker: &mut Worker<SimApp>, to: Opened) {
        let size = GRANTED_MIN + self.rng.below(GRANTED_MIN * 5) as u32 as u64;
        let channel = self.rng.chance(0.5).then_some(1);
        self.send(worker, to, channel, size as u32);
    }

    fn send(&mut self, worker: &mut Worker<SimApp>, to: Opened, channel: Option<u32>, size: u32) {
        let id = self.shared.borrow_mut().checker.fresh_id();
        let bytes = contents(id, Purpose::Message, size);
        let on = channel.map(ChannelId);
        let accepted = if id.is_multiple_of(3) {
            worker.send_owned(to.key, on, bytes.into())
        } else {
            worker.send(to.key, on, &bytes)
        };
        if let Ok(ordinal) = accepted {
            worker.app_mut().on_accepted(to.key, ordinal, id);
            let sender = (worker.app().life(), to.number);
            let checker = &mut self.shared.borrow_mut().checker;
            checker.message_accepted(id, sender, to.peer, channel, size);
        }
    }

    fn datagram(&mut self, worker: &mut Worker<SimApp>, to: Opened) {
        let size = self.size(SMALL_MAX);
        let mut shared = self.shared.borrow_mut();
        let id = shared.checker.fresh_id();
        if worker.datagram(to.key, &contents(id, Purpose::Datagram, size)).is_ok() {
            shared.checker.datagram_sent(id, to.peer.node, size);
        }
    }

    /// Closes every session of `node`, so that they are opened again.
    pub fn close_all_of(&mut self, world: &mut World<SimApp>, node: usize) {
        let Some(worker) = world.worker(node) else { return };
        for to in worker.app().sessions().to_vec() {
            self.close(worker, to);
        }
    }

    fn close(&mut self, worker: &mut Worker<SimApp>, to: Opened) {
        self.shared.borrow_mut().closed.push((worker.app().life(), to.peer));
        worker.close(to.key, CLOSE_CODE);
    }

    /// Mostly small, sometimes as large as may be, and often at an edge.
    fn size(&mut self, size_max: u64) -> u32 {
        let least = ID_SIZE as u64;
        let size = match self.rng.below(8) {
            0 => least,
            1 => size_max,
            2 => self.rng.between(least, size_max),
            _ => self.rng.between(least, least + size_max / 8),
        };
        size as u32
    }

    /// Mostly generous; sometimes so short that it passes.
    fn deadline(&mut self, now: Timestamp) -> Timestamp {
        match self.rng.below(16) {
            0 => now.after_ns(self.rng.below(3 * self.rtt_ns)),
            1..=3 => now.after_ns(20 * self.rtt_ns + 5_000_000),
            4 => Timestamp::NEVER,
            _ => now.after_ns(20_000_000_000),
        }
    }
}

/// Each endpoint asks each one before it for a session, unless there is one.
fn connect_all(world: &mut World<SimApp>) {
    for node in 1..world.len() {
        for peer in 0..node {
            let there = world.peek(node).is_none_or(|worker| worker.app().has_session_with(peer as u32));
            if there {
                continue;
            }
            let target = world.target(peer);
            let Some(worker) = world.worker(node) else { continue };
            if let Ok(key) = worker.connect(target) {
                worker.app_mut().on_connecting(key, peer as u32);
            }
        }
    }
}

const KINDS: [Kind; 9] = [
    Kind::SmallCall,
    Kind::BigCall,
    Kind::Message,
    Kind::Ordered,
    Kind::Granted,
    Kind::Datagram,
    Kind::Burst,
    Kind::Idle,
    Kind::Close,
];
/// Of the strokes, those that ask for a lane.
const LANE_CHANCE: f64 = 0.05;
const SMALL_MAX: u64 = 800;
const MIDDLE_MAX: u64 = 6_000;
/// Below 64 KiB: fragments that need no grant; a call's reply and request both.
const BIG_MAX: u64 = 100_000;
const GRANTED_MIN: u64 = 66_000;
/// Silence long enough for a session to return its active block.
const IDLE_NS: u64 = 120_000_000;
