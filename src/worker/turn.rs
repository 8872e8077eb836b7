//! One turn, in the order that keeps latency low: what came in first, then what it made ready.

use std::time::Duration;

use crate::bounds::{TRAIN_PACKETS_MAX, TRAIN_SIZE_EARLY};
use crate::hint::rarely;
use crate::io::{Backend, Ecn, Event as IoEvent};
use crate::time::Timestamp;
use crate::transport::ecn::Mark;
use crate::transport::planted::{self, Fault};
use crate::transport::{BodyRef, Event as EngineEvent, Extent, Fate, Meta, PathIndex, SessionKey};
use crate::worker::app::{App, Cx, Event, Outcome};
use crate::worker::handling::{Handling, Pace};
use crate::worker::payload::Payload;
use crate::worker::trains::TrainSink;
use crate::worker::{Turn, Worker};

/// The kernel copies so many bytes in less time than it takes to ask it for them.
const LITTLE_SIZE_MAX: usize = 2 * 1024;
/// From so many sessions on, a portion of a batch ends with the buffer at hand: their state, and what a handler
/// needs, fit a core's cache together.
const PORTION_SESSIONS: usize = TRAIN_PACKETS_MAX / 2;
/// How often the kernel is asked what it dropped.
const LOOK_INTERVAL_NS: u64 = 10_000_000;

impl<A: App> Worker<A> {
    /// Does everything that is ready, once. Never waits.
    pub fn turn(&mut self) -> Turn {
        self.counters.turns += 1;
        let full = self.receive();
        let received = !self.batch.is_empty();
        // Between two packets nearly every turn ends here, and the next packet is met by half of one on average.
        if !(received || self.is_due(self.now) || self.wants_turn() || self.exchange.is_some()) {
            self.look_around();
            self.counters.idle_turns += 1;
            self.balance.wait();
            return Turn { idle: true };
        }
        let started = self.now;
        let fired = if self.is_lone() { self.handle_lone(full) } else { self.handle_batch(full) };
        let Self { jobs, engine, clock, now, .. } = self;
        let worked = rarely(engine.wants_job()) && jobs.run(engine, &**clock, *now, received || fired);
        if rarely(self.exchange.is_some() || self.engine.has_events()) {
            self.exchange_lanes();
            self.tell_events();
        }
        self.transmit(Extent::All);
        if received {
            self.backend.release();
            self.batch.clear();
        }
        self.look_around();
        let sent = self.trains.take_packets() > 0;
        // A session may have ended while its last packets left: whoever waits for that hears it next.
        let busy = received || fired || sent || worked || self.engine.has_events();
        if busy {
            self.idle.on_busy(self.now);
            self.counters.turn_ns_max = self.counters.turn_ns_max.max(self.now.since_ns(started));
        } else {
            self.counters.idle_turns += 1;
            self.balance.wait();
        }
        Turn { idle: !busy }
    }

    /// Turns until `done` says so of the worker, waiting between turns as the idle policy says.
    pub fn run(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        while !done(self) {
            if self.turn().idle {
                self.idle();
            }
        }
    }

    /// Waits as the idle policy says. A spinning worker does not wait.
    pub fn idle(&mut self) {
        match self.idle.park(self.now, self.engine.poll_timeout()) {
            None => self.offer_core(),
            Some(timeout) => self.wait(timeout),
        }
    }

    /// [`Worker::idle`] for a worker that others give work to: `may_park` is asked just before it parks.
    pub fn idle_unless(&mut self, may_park: impl FnOnce() -> bool) {
        match self.idle.park(self.now, self.engine.poll_timeout()) {
            Some(timeout) if may_park() => self.wait(timeout),
            Some(_) => {}
            None => self.offer_core(),
        }
    }

    /// A worker that spins goes on at once: the next turn begins with a system call, which gives a sibling thread
    /// more than a pause would.
    fn offer_core(&self) {
        if self.idle.yields() {
            std::thread::yield_now();
        }
    }

    /// Parks until something arrives, a timer is due, or `timeout` passes.
    pub fn wait(&mut self, timeout: Duration) {
        if let Err(error) = self.backend.wait(Some(timeout)) {
            self.receive_error = Some(error);
        }
    }

    /// Receives a batch. True when it came back full.
    fn receive(&mut self) -> bool {
        // Read before the look and not after it, the time of a lone packet is a fraction of a microsecond old, and
        // nothing waits for the reading. Taking more than that can last: the clock is then read again.
        let before = self.clock.now();
        let full = match self.backend.receive(&mut self.batch) {
            Ok(full) => full,
            Err(error) => self.fail_receive(error),
        };
        self.now = if self.is_little() { before } else { self.clock.now() };
        full
    }

    /// Keeps the backend's error for whoever asks. Nothing was received.
    #[cold]
    fn fail_receive(&mut self, error: std::io::Error) -> bool {
        self.receive_error = Some(error);
        false
    }

    /// What was received is nothing, or one small packet.
    #[inline]
    fn is_little(&self) -> bool {
        match self.batch[..] {
            [] => true,
            [received] => received.length as usize <= LITTLE_SIZE_MAX,
            _ => false,
        }
    }

    /// What was received is one small packet.
    #[inline]
    fn is_lone(&self) -> bool {
        match self.batch[..] {
            [received] => {
                received.length as usize <= LITTLE_SIZE_MAX && received.segment_size >= received.length
            }
            _ => false,
        }
    }

    #[inline]
    fn is_due(&self, now: Timestamp) -> bool {
        self.engine.poll_timeout().is_some_and(|at| at <= now)
    }

    /// Fires the timers that were due when the batch came, with all of it read: since then something may have come that
    /// a timer waits for.
    fn fire_timers(&mut self, came: Timestamp, full: bool) -> bool {
        let fired = self.is_due(came);
        if fired {
            self.engine.handle_timeout(came, full);
        }
        fired
    }

    /// A round trip waits for what is done with one small packet that came alone: what several have to be asked (when
    /// which answers leave, in what portions) is not asked here.
    #[inline(always)]
    fn handle_lone(&mut self, full: bool) -> bool {
        let came = self.now;
        self.take_lone();
        let fired = self.fire_timers(came, full);
        match self.deliveries.len() {
            0 => {}
            1 => self.run_one(),
            count => self.run_several(count),
        }
        fired
    }

    /// The handlers of a lone packet that brought several things to handle.
    #[inline(never)]
    fn run_several(&mut self, count: usize) {
        let mut pace = Pace::new(self.now, &self.batch);
        pace.count = count;
        pace.even_out(&mut self.balance);
        self.run_handlers(&mut pace);
    }

    /// Whatever came, or nothing: true when a timer fired.
    #[inline(never)]
    fn handle_batch(&mut self, full: bool) -> bool {
        let started = self.now;
        let mut pace = Pace::new(started, &self.batch);
        let mut read = 0;
        loop {
            read = self.take_apart(read, &mut pace);
            let is_last = read == self.batch.len();
            let fired = is_last && self.fire_timers(started, full);
            if is_last {
                pace.even_out(&mut self.balance);
            }
            if !self.deliveries.is_empty() {
                self.run_handlers(&mut pace);
            }
            if is_last {
                return fired;
            }
            self.transmit(pace.extent_between());
        }
    }

    /// Hands the packets of a portion to the engine, those in the batch's buffers from `from` on. Returns where the next one
    /// begins. A large batch that came from many sessions is answered in portions: taken apart as a whole, it would push
    /// the first sessions out of the cache before their handlers run, and again before their answers are built; and the
    /// peer would wait for all of that.
    fn take_apart(&mut self, from: usize, pace: &mut Pace) -> usize {
        let before = self.engine.heard();
        let mut next = from;
        while next < self.batch.len() {
            self.take_buffer(next);
            next += 1;
            if pace.in_portions && self.engine.heard() - before >= PORTION_SESSIONS {
                break;
            }
        }
        pace.count += self.deliveries.len();
        if from > 0 || next < self.batch.len() {
            pace.begin_portion(self.now, self.clock.now());
        }
        next
    }

    /// [`Worker::take_buffer`] for one packet.
    #[inline(always)]
    fn take_lone(&mut self) {
        let Self { batch, paths, backend, engine, deliveries, now, .. } = self;
        let [received] = &batch[..] else { return };
        let path = paths.path_to(&received.from, &mut **backend, engine);
        let meta = Meta { path, remote: received.from, mark: mark_of(received.ecn) };
        deliveries.locate(received.buffer, 0);
        let packet = &mut backend.buffer_mut(received.buffer)[..received.length as usize];
        engine.handle_datagram(*now, &meta, packet, deliveries);
    }

    fn take_buffer(&mut self, index: usize) {
        let Self { batch, paths, backend, engine, deliveries, now, .. } = self;
        let received = &batch[index];
        let path = paths.path_to(&received.from, &mut **backend, engine);
        let meta = Meta { path, remote: received.from, mark: mark_of(received.ecn) };
        let length = received.length as usize;
        let segment = (received.segment_size as usize).max(1);
        let buffer = &mut backend.buffer_mut(received.buffer)[..length];
        let mut base = 0;
        for packet in buffer.chunks_mut(segment) {
            deliveries.locate(received.buffer, base);
            base += packet.len();
            engine.handle_datagram(*now, &meta, packet, deliveries);
        }
    }

    /// The handler of what is alone in its turn.
    #[inline(always)]
    fn run_one(&mut self) {
        self.balance.note_one();
        let Self { engine, backend, app, deliveries, counters, now, .. } = self;
        let delivery = deliveries.at(0);
        if let Some(session) = engine.key_at(delivery.session) {
            let payload = Payload::of(delivery.body, received_at(&mut **backend, delivery.body), deliveries);
            Handling { engine, app, counters, now: *now }.deliver_one(session, delivery.kind, payload);
        }
        self.deliveries.clear(|buffer| self.engine.recycle(buffer));
    }

    fn run_handlers(&mut self, kept: &mut Pace) {
        // A copy, which registers hold while handlers run.
        let mut pace = *kept;
        let mut at = 0;
        while at < self.deliveries.len() {
            let (next, leave) = self.run_stretch(at, &mut pace);
            at = next;
            if let Some(extent) = leave {
                self.transmit(extent);
                if extent != Extent::FullUnits {
                    pace.since_transmit = 0;
                    pace.transmitted = pace.looked;
                }
            }
        }
        *kept = pace;
        let engine = &mut self.engine;
        self.deliveries.clear(|buffer| engine.recycle(buffer));
    }

    /// Runs the handlers of deliveries from `from` on that came to one session in one buffer, so that both are
    /// looked up once. Returns where it stopped, and which packets should leave before the rest is run.
    fn run_stretch(&mut self, from: usize, pace: &mut Pace) -> (usize, Option<Extent>) {
        let Self { engine, backend, app, deliveries, counters, now, clock, .. } = self;
        let first = deliveries.at(from);
        let Some(session) = engine.key_at(first.session) else { return (from + 1, None) };
        let received = received_at(&mut **backend, first.body);
        let stop = pace.next_stop(from);
        let (mut at, mut train) = (from, false);
        for delivery in deliveries.between(from, stop) {
            if !delivery.lies_beside(&first) {
                break;
            }
            let payload = Payload::of(delivery.body, received, deliveries);
            Handling { engine, app, counters, now: *now }.deliver(session, delivery.kind, payload);
            at += 1;
            train = engine.is_train_ready(session, pace.train_size);
            if train {
                break;
            }
        }
        counters.early_trains += u64::from(train);
        pace.since_transmit += at - from;
        if at == stop && pace.leaves_at(at, || clock.now(), counters) {
            return (at, Some(pace.extent()));
        }
        (at, train.then_some(Extent::FullUnits))
    }

    /// Tells the application what happened to sessions, calls and messages.
    #[inline(never)]
    fn tell_events(&mut self) {
        self.engine.drain_events(&mut self.engine_events);
        if self.engine_events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.engine_events);
        for event in &events {
            self.tell(*event);
        }
        self.engine_events = events;
        self.engine_events.clear();
        self.look_up_routes();
    }

    #[cold]
    fn tell(&mut self, event: EngineEvent) {
        super::log::log(&self.engine, &event);
        let mut cx = Cx { engine: &mut self.engine, now: self.now };
        match event {
            EngineEvent::CallEnded { token, fate, .. } => {
                let outcome = match fate {
                    Fate::TimedOut if planted::is(Fault::TimedOutReportedAsReplied) => Outcome::Replied(&[]),
                    fate => fate.into(),
                };
                self.app.on_outcome(&mut cx, token, outcome);
            }
            EngineEvent::Opened { session, accepted, peer_boot } => {
                self.app.on_event(&mut cx, Event::Opened { session, accepted, peer_boot });
            }
            EngineEvent::Closed { session, reason } => {
                self.app.on_event(&mut cx, Event::Closed { session, reason });
            }
            EngineEvent::OverQuota { session, peer, quota } => {
                self.app.on_event(&mut cx, Event::OverQuota { session, peer, quota });
            }
            // The worker's affair alone: it asks for the route, below.
            EngineEvent::AddressChanged { .. } => {}
            EngineEvent::MessageEnded { session, ordinal, fate } => {
                self.app.on_event(&mut cx, Event::MessageEnded { session, ordinal, fate });
            }
        }
    }

    /// A session was accepted from an address whose route nobody has asked about.
    fn look_up_routes(&mut self) {
        self.engine.drain_routes_wanted(&mut self.routes);
        for path in self.routes.drain(..) {
            let size = self.backend.route_size(self.paths.remote(path));
            self.engine.set_route_size(path, size);
        }
    }

    /// After something was accepted from the application: a full train need not wait for the turn.
    #[inline]
    pub(super) fn transmit_early(&mut self, session: SessionKey) {
        if self.engine.is_train_ready(session, TRAIN_SIZE_EARLY) {
            self.counters.early_trains += 1;
            self.transmit(Extent::FullUnits);
        }
    }

    /// Builds trains of what may leave, and hands them to the kernel.
    pub(super) fn transmit(&mut self, extent: Extent) {
        if !self.engine.wants_transmit() {
            return;
        }
        // Handlers ran since the turn began, or the application did other work since the last turn: a
        // packet stamped too early would look late, and its probe timer would fire for nothing.
        self.now = self.clock.now();
        let mut sink = TrainSink { trains: &mut self.trains, backend: &mut *self.backend };
        self.engine.poll_transmit(self.now, extent, &mut sink);
        if rarely(self.trains.error.is_some()) {
            self.receive_error = self.trains.error.take();
        }
    }

    /// The rare things: what the backend has to say, and what the kernel dropped.
    #[inline]
    fn look_around(&mut self) {
        self.backend.poll_events(&mut self.io_events);
        if rarely(!self.io_events.is_empty()) {
            self.tell_engine();
        }
        if rarely(self.now.since_ns(self.looked_at) >= LOOK_INTERVAL_NS) {
            self.look_at_drops();
        }
    }

    #[cold]
    fn tell_engine(&mut self) {
        for event in self.io_events.drain(..) {
            if let IoEvent::PacketTooBig { path, segment_size } = event {
                self.engine.on_packet_refused(self.now, PathIndex(path.0), segment_size);
            }
        }
    }

    #[cold]
    fn look_at_drops(&mut self) {
        self.looked_at = self.now;
        let drops = self.backend.counters(true).socket_drops;
        self.engine.on_socket_drops(drops);
        self.engine.review_admissions(self.now);
        if let Some(kept) = self.shedding.look(self.now, &self.engine.counters())
            && !self.backend.shed(kept)
        {
            self.shedding.on_refused();
        }
    }

    /// When the worker has something to do without anything arriving.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        if self.wants_turn() { self.now } else { self.engine.poll_timeout().unwrap_or(Timestamp::NEVER) }
    }
}

/// The buffer that `body` came in; none for one in memory of its own.
#[inline(always)]
fn received_at(backend: &mut dyn Backend, body: BodyRef) -> &[u8] {
    match body {
        BodyRef::Received { buffer, .. } => backend.buffer_mut(buffer),
        BodyRef::Owned(_) => &[],
    }
}

fn mark_of(ecn: Ecn) -> Mark {
    match ecn {
        Ecn::NotEct => Mark::None,
        Ecn::Ect0 | Ecn::Ect1 => Mark::Capable,
        Ecn::Ce => Mark::Experienced,
    }
}
