//! What becomes of calls and messages when a peer stops, dies, or is cut off, under a virtual clock: each
//! ends with its outcome, by its deadline or when the peer counts as dead, and nothing runs twice.
//!
//! ```text
//!  stopped for less than the dead-peer time:  [client] ....... [server stopped] ---> all replied
//!  for more:                                  [client] Unknown [server stopped] ---> typed, no second run
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use ringwire::crypto::{Csprng, Identity};
use ringwire::rng::Rng;
use ringwire::sim::world::World;
use ringwire::time::Timestamp;
use ringwire::transport::security::Security;
use ringwire::transport::{Config, Fate};
use ringwire::worker::impair::{ImpairSpec, Probability};
use ringwire::worker::{
    App, CloseReason, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey, WorkerConfig,
};

/// The dead-peer time: a session that hears nothing for so long is dead.
const DEAD_NS: u64 = 2_000_000_000;
const CLIENT: usize = 0;
const SERVER: usize = 1;
/// What `dc` begins with (L35).
const INITIAL_WINDOW: u64 = 256 << 10;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Ended {
    Replied,
    TimedOut,
    Unknown,
    NotSent,
}

/// What the two applications saw.
#[derive(Default)]
struct Seen {
    opened: Vec<SessionKey>,
    closed: Vec<(usize, CloseReason, Timestamp)>,
    /// By token.
    ended: HashMap<u64, Vec<(Ended, Timestamp)>>,
    /// By token: how often the handler ran.
    ran: HashMap<u64, u32>,
    /// By number: how often a message came, and how it was reported.
    came: HashMap<u64, u32>,
    reported: HashMap<u64, Fate>,
}

struct Side {
    node: usize,
    seen: Rc<RefCell<Seen>>,
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("every payload begins with a number"))
}

impl App for Side {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        *self.seen.borrow_mut().ran.entry(number(request.payload)).or_default() += 1;
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        let ended = match outcome {
            Outcome::Replied(bytes) => {
                assert_eq!(number(bytes), token);
                Ended::Replied
            }
            Outcome::Failed { status, .. } => panic!("call {token} failed with {status}"),
            Outcome::TimedOut => Ended::TimedOut,
            Outcome::Unknown => Ended::Unknown,
            Outcome::NotSent => Ended::NotSent,
        };
        self.seen.borrow_mut().ended.entry(token).or_default().push((ended, cx.now()));
    }

    fn on_message(&mut self, _cx: &mut Cx<'_>, message: Message<'_>) {
        *self.seen.borrow_mut().came.entry(number(message.payload)).or_default() += 1;
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        let mut seen = self.seen.borrow_mut();
        match event {
            Event::Opened { session, accepted: false, .. } => seen.opened.push(session),
            Event::Closed { reason, .. } => seen.closed.push((self.node, reason, cx.now())),
            Event::MessageEnded { ordinal, fate, .. } => {
                seen.reported.insert(ordinal, fate);
            }
            _ => {}
        }
    }
}

struct Scene {
    world: World<Side>,
    seen: Rc<RefCell<Seen>>,
    session: SessionKey,
    delay_ns: u64,
    calls: u64,
    messages: u64,
}

fn config(node: usize, life: u64) -> WorkerConfig {
    let identity = Identity::generate(&mut Csprng::new(Rng::entropy(node as u64)));
    let boot_id = (node as u64 + 1) << 8 | life;
    WorkerConfig {
        transport: Config {
            idle_timeout: Duration::from_nanos(DEAD_NS),
            keep_alive: Duration::from_millis(200),
            boot_id,
            entropy: Rng::entropy(!boot_id),
            security: Security::sealed(&identity, None, 0, Timestamp(0)),
            ..Config::default()
        },
        ..WorkerConfig::default()
    }
}

fn link(delay_ns: u64) -> ImpairSpec {
    ImpairSpec { delay_ns, seed: 1, ..ImpairSpec::default() }
}

impl Scene {
    fn new() -> Self {
        Self::over(20_000, 200)
    }

    /// Over a path of so many nanoseconds each way, known after so many rounds of calls.
    fn over(delay_ns: u64, rounds: usize) -> Self {
        let mut world = World::new(1, link(delay_ns));
        world.network().borrow_mut().set_inbox_size(4 << 20);
        let seen = Rc::<RefCell<Seen>>::default();
        for node in [CLIENT, SERVER] {
            world.add(config(node, 0), Side { node, seen: seen.clone() });
        }
        let target = world.target(SERVER);
        let session = world.worker(CLIENT).expect("alive").connect(target).expect("room for a session");
        let mut scene = Self { world, seen, session, delay_ns, calls: 0, messages: 0 };
        scene.until(|seen| !seen.opened.is_empty());
        // The round trip is known, the window has grown, packets are as large as the link takes.
        for _ in 0..rounds {
            (0..8).for_each(|_| assert!(scene.call(60_000, Duration::from_secs(10)).is_some()));
            scene.until_all_ended();
        }
        scene
    }

    fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// The token of the call, if there was room for it.
    fn call(&mut self, size: usize, limit: Duration) -> Option<u64> {
        let token = self.calls;
        let mut payload = vec![0; size];
        payload[..8].copy_from_slice(&token.to_le_bytes());
        let deadline = self.now().after(limit);
        let worker = self.world.worker(CLIENT).expect("alive");
        worker.call_owned(self.session, 1, payload.into(), deadline, token).ok()?;
        self.calls += 1;
        Some(token)
    }

    fn message(&mut self) {
        let payload = self.messages.to_le_bytes();
        let worker = self.world.worker(CLIENT).expect("alive");
        let ordinal = worker.send(self.session, None, &payload).expect("room for a message");
        assert_eq!(ordinal, self.messages);
        self.messages += 1;
    }

    fn run(&mut self, ns: u64) {
        let end = self.now().after_ns(ns);
        while self.world.step(end) {}
    }

    #[track_caller]
    fn until(&mut self, done: impl Fn(&Seen) -> bool) {
        let end = self.now().after_ns(60_000_000_000);
        while !done(&self.seen.borrow()) {
            assert!(self.world.step(end), "it never happened");
        }
    }

    #[track_caller]
    fn until_all_ended(&mut self) {
        let calls = self.calls;
        self.until(|seen| seen.ended.len() as u64 == calls);
    }

    /// How the call ended; once.
    #[track_caller]
    fn end_of(&self, token: u64) -> (Ended, Timestamp) {
        let seen = self.seen.borrow();
        let ended = seen.ended.get(&token).unwrap_or_else(|| panic!("call {token} has no outcome"));
        assert_eq!(ended.len(), 1, "call {token} ended {ended:?}");
        ended[0]
    }

    #[track_caller]
    fn nothing_ran_twice(&self) {
        let seen = self.seen.borrow();
        assert!(seen.ran.values().all(|runs| *runs == 1));
        assert!(seen.came.values().all(|came| *came == 1));
    }

    /// Each message arrived or was reported.
    #[track_caller]
    fn no_message_is_silent(&self) {
        let seen = self.seen.borrow();
        let silent: Vec<u64> = (0..self.messages)
            .filter(|ordinal| !seen.came.contains_key(ordinal) && !seen.reported.contains_key(ordinal))
            .collect();
        assert!(silent.is_empty(), "neither delivered nor reported: {silent:?}");
        let wrong =
            |(ordinal, fate): (&u64, &Fate)| *fate == Fate::NotSent && seen.came.contains_key(ordinal);
        assert!(!seen.reported.iter().any(wrong), "reported as not sent, and it came");
    }

    fn cut(&mut self, from: usize, to: usize, is_cut: bool) {
        let loss = if is_cut { Probability::ALWAYS } else { Probability::default() };
        let (from, to) = (self.world.addr(from), self.world.addr(to));
        self.world.network().borrow_mut().set_link(from, to, ImpairSpec { loss, ..link(self.delay_ns) });
    }

    fn cut_both_ways(&mut self, is_cut: bool) {
        self.cut(CLIENT, SERVER, is_cut);
        self.cut(SERVER, CLIENT, is_cut);
    }

    fn bytes_sent(&self, node: usize) -> u64 {
        self.world.peek(node).expect("alive").counters().bytes_sent
    }
}

#[test]
fn a_peer_stopped_for_less_than_the_dead_peer_time_fails_nothing() {
    for stopped in [SERVER, CLIENT] {
        let mut scene = Scene::new();
        scene.world.stall(stopped, DEAD_NS / 10 * 9);
        let tokens: Vec<u64> = (0..200).filter_map(|_| scene.call(1_000, Duration::from_secs(10))).collect();
        (0..50).for_each(|_| scene.message());
        scene.until_all_ended();
        assert_eq!(tokens.len(), 200);
        assert!(tokens.iter().all(|token| scene.end_of(*token).0 == Ended::Replied), "node {stopped}");
        scene.run(DEAD_NS / 2);
        assert_eq!(scene.seen.borrow().closed, [], "no false failure, node {stopped} stopped");
        assert_eq!(scene.seen.borrow().came.len(), 50);
        scene.nothing_ran_twice();
    }
}

#[test]
fn a_peer_stopped_for_more_than_the_dead_peer_time_ends_everything_by_name_and_runs_nothing_twice() {
    let mut scene = Scene::new();
    let stopped_at = scene.now();
    scene.world.stall(SERVER, DEAD_NS / 10 * 11);
    let patient: Vec<u64> = (0..50).filter_map(|_| scene.call(1_000, Duration::from_secs(30))).collect();
    let hasty: Vec<u64> = (0..50).filter_map(|_| scene.call(1_000, Duration::from_millis(500))).collect();
    (0..50).for_each(|_| scene.message());
    scene.until(|seen| !seen.closed.is_empty());
    let (node, reason, at) = scene.seen.borrow().closed[0];
    assert_eq!((node, reason), (CLIENT, CloseReason::TimedOut));
    let after_ns = at.since_ns(stopped_at);
    assert!((DEAD_NS * 95 / 100..DEAD_NS * 105 / 100).contains(&after_ns), "after {after_ns} ns");
    for token in hasty {
        let (ended, at) = scene.end_of(token);
        assert_eq!(ended, Ended::TimedOut);
        let late_ns = at.since_ns(stopped_at.after_ns(500_000_000));
        assert!(late_ns < 60_000_000, "told {late_ns} ns after its deadline");
    }
    assert!(patient.iter().all(|token| scene.end_of(*token).0 == Ended::Unknown));
    // It wakes up: what had reached its socket runs, once; its session ends as well.
    scene.run(3 * DEAD_NS);
    scene.nothing_ran_twice();
    scene.no_message_is_silent();
    assert_eq!(scene.seen.borrow().closed.len(), 2, "{:?}", scene.seen.borrow().closed);
    // And a new session serves as the old one did.
    let target = scene.world.target(SERVER);
    scene.session = scene.world.worker(CLIENT).expect("alive").connect(target).expect("room for a session");
    scene.until(|seen| seen.opened.len() == 2);
    let token = scene.call(1_000, Duration::from_secs(1)).expect("room for a call");
    scene.until_all_ended();
    assert_eq!(scene.end_of(token).0, Ended::Replied);
    scene.nothing_ran_twice();
}

#[test]
fn who_was_stopped_resumes_with_no_burst_above_the_initial_window() {
    for stopped in [SERVER, CLIENT] {
        let mut scene = Scene::new();
        // Much to say: calls of 60 KB both ways, far more than a window of them.
        for _ in 0..400 {
            scene.call(60_000, Duration::from_secs(30));
        }
        scene.run(200_000);
        scene.world.stall(stopped, DEAD_NS / 10 * 9);
        let resumes_at = scene.now().after_ns(DEAD_NS / 10 * 9);
        let end = resumes_at;
        while scene.world.step(end) {}
        // Within less than a round trip nothing that was sent after the stop can have been acknowledged.
        let before = [CLIENT, SERVER].map(|node| scene.bytes_sent(node));
        scene.run(35_000);
        let sent = [CLIENT, SERVER].map(|node| scene.bytes_sent(node) - before[node]);
        for node in [CLIENT, SERVER] {
            assert!(
                sent[node] <= INITIAL_WINDOW + INITIAL_WINDOW / 8,
                "node {stopped} was stopped, node {node} sent {} bytes at once",
                sent[node]
            );
        }
        scene.until_all_ended();
        assert!((0..scene.calls).all(|token| scene.end_of(token).0 == Ended::Replied));
        scene.nothing_ran_twice();
    }
}

#[test]
fn one_way_loss_ends_a_session_at_both_ends_within_twice_the_dead_peer_time() {
    for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let mut scene = Scene::new();
        scene.cut(from, to, true);
        let began = scene.now();
        let tokens: Vec<u64> = (0..50).filter_map(|_| scene.call(1_000, Duration::from_secs(30))).collect();
        (0..50).for_each(|_| scene.message());
        scene.until(|seen| seen.closed.len() == 2);
        let took_ns = scene.now().since_ns(began);
        assert!(took_ns <= 2 * DEAD_NS + DEAD_NS / 10, "{from} to {to} cut: {took_ns} ns");
        assert!(tokens.iter().all(|token| scene.end_of(*token).0 == Ended::Unknown), "{from} to {to}");
        scene.no_message_is_silent();
        scene.nothing_ran_twice();
    }
}

#[test]
fn a_partition_that_heals_in_time_delays_and_one_that_does_not_is_named() {
    for (lasts_ns, survives) in [(DEAD_NS / 10 * 8, true), (DEAD_NS * 3, false)] {
        let mut scene = Scene::new();
        scene.cut_both_ways(true);
        let tokens: Vec<u64> = (0..50).filter_map(|_| scene.call(1_000, Duration::from_secs(30))).collect();
        (0..50).for_each(|_| scene.message());
        scene.run(lasts_ns);
        scene.cut_both_ways(false);
        let healed = scene.now();
        scene.until_all_ended();
        let expected = if survives { Ended::Replied } else { Ended::Unknown };
        assert!(tokens.iter().all(|token| scene.end_of(*token).0 == expected), "after {lasts_ns} ns");
        if survives {
            // A probe timer backs off to 77 ms at most (P-8.6).
            let took_ns = scene.now().since_ns(healed);
            assert!(took_ns < 250_000_000, "{took_ns} ns after it healed");
            scene.run(DEAD_NS);
            assert_eq!(scene.seen.borrow().closed, []);
            assert_eq!(scene.seen.borrow().came.len(), 50);
        }
        scene.run(DEAD_NS);
        scene.no_message_is_silent();
        scene.nothing_ran_twice();
    }
}

/// A probe timer that doubled all through an outage would next fire after the session had died of silence, on a
/// path long healed (L08, P-13.20). Which of the doublings does it depends on the round trip, so there are several.
#[test]
fn a_session_does_not_die_of_silence_on_a_path_that_healed_in_time() {
    for delay_ms in [5, 10, 20, 40, 80] {
        for tenths in [4, 5, 6, 7] {
            let mut scene = Scene::over(delay_ms * 1_000_000, 20);
            scene.cut_both_ways(true);
            let token = scene.call(1_000, Duration::from_secs(30)).expect("room for a call");
            scene.run(DEAD_NS / 10 * tenths);
            scene.cut_both_ways(false);
            scene.until_all_ended();
            let what = format!("{delay_ms} ms each way, cut for {tenths} tenths of the dead-peer time");
            assert_eq!(scene.end_of(token).0, Ended::Replied, "{what}");
            assert_eq!(scene.seen.borrow().closed, [], "{what}");
        }
    }
}

#[test]
fn a_peer_that_dies_and_is_started_again_is_told_from_one_that_was_cut_off() {
    for dead_ns in [1, DEAD_NS / 2, 3 * DEAD_NS] {
        let mut scene = Scene::new();
        let tokens: Vec<u64> = (0..50).filter_map(|_| scene.call(1_000, Duration::from_secs(30))).collect();
        // Some have run and their replies are under way, some have not arrived.
        scene.run(21_000);
        let late: Vec<u64> = (0..50).filter_map(|_| scene.call(1_000, Duration::from_secs(30))).collect();
        scene.run(1_000);
        scene.world.kill(SERVER);
        let died = scene.now();
        scene.run(dead_ns);
        let seen = scene.seen.clone();
        scene.world.start(SERVER, config(SERVER, 1), Side { node: SERVER, seen });
        scene.until_all_ended();
        let (_, reason, at) = scene.seen.borrow().closed[0];
        // Its next incarnation says so at the next probe; who is not started again is dead after a while.
        let expected = if dead_ns < DEAD_NS { CloseReason::Reset } else { CloseReason::TimedOut };
        assert_eq!(reason, expected, "dead for {dead_ns} ns");
        assert!(at.since_ns(died) <= dead_ns.min(DEAD_NS) + 200_000_000);
        for token in tokens {
            let (ended, _) = scene.end_of(token);
            assert!(matches!(ended, Ended::Replied | Ended::Unknown), "{ended:?}");
        }
        assert!(late.iter().all(|token| scene.end_of(*token).0 == Ended::Unknown), "dead for {dead_ns} ns");
        // No incarnation ran a call of the other's.
        scene.nothing_ran_twice();
    }
}
