//! What is said about lanes, on a line under a virtual clock: lost, repeated, refused.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use ringwire::bounds::{HEADER_SIZE, TAG_SIZE};
use ringwire::crypto::{Csprng, Identity};
use ringwire::io::Ecn;
use ringwire::io::memory::{Hub, MemoryBackend};
use ringwire::rng::Rng;
use ringwire::time::{Clock, Timestamp, VirtualClock};
use ringwire::transport::security::Security;
use ringwire::transport::{Config, ConnectError};
use ringwire::wire::{Frame, Frames, SessionId};
use ringwire::worker::{
    App, CloseReason, Cx, Event, Lane, Outcome, ReplyWriter, Request, SessionKey, Target, Worker,
    WorkerConfig,
};

/// Says of the frames of a packet whether the line drops it.
type DropRule = Box<dyn FnMut(&[Frame<'_>]) -> bool>;

/// A line of 10 us that drops what its rule names. What it carries is not sealed, so that it can look.
struct Line {
    clock: VirtualClock,
    queues: HashMap<SocketAddr, VecDeque<(Timestamp, SocketAddr, Vec<u8>)>>,
    drop: DropRule,
    dropped: u64,
    requests: u64,
    /// What LANE_GRANTs said: whose lane, status, id.
    grants: Vec<(SessionId, u8, SessionId)>,
}

impl Hub for Line {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8], _ecn: Ecn) {
        let frames: Vec<Frame<'_>> = match packet[0] {
            1 => Frames::new(&packet[HEADER_SIZE..packet.len() - TAG_SIZE]).flatten().collect(),
            _ => Vec::new(),
        };
        for frame in &frames {
            match *frame {
                Frame::LaneRequest { .. } => self.requests += 1,
                Frame::LaneGrant { status, session, granted, .. } => {
                    self.grants.push((session, status, granted));
                }
                _ => {}
            }
        }
        if (self.drop)(&frames) {
            self.dropped += 1;
            return;
        }
        let at = self.clock.now().after_ns(10_000);
        self.queues.entry(to).or_default().push_back((at, from, packet.to_vec()));
    }

    fn receive(&mut self, at: SocketAddr, into: &mut Vec<u8>) -> Option<(SocketAddr, Ecn)> {
        let queue = self.queues.get_mut(&at)?;
        if queue.front()?.0 > self.clock.now() {
            return None;
        }
        let (_, from, packet) = queue.pop_front()?;
        *into = packet;
        Some((from, Ecn::NotEct))
    }
}

#[derive(Default)]
struct Echo {
    opened: Vec<(SessionKey, bool)>,
    closed: Vec<(SessionKey, CloseReason)>,
    replied: u64,
    failed: u64,
    /// Opens a lane from within, as soon as a session was accepted.
    eager: bool,
}

impl App for Echo {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        reply.send(request.payload);
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, _token: u64, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Replied(_) => self.replied += 1,
            _ => self.failed += 1,
        }
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, accepted, .. } => {
                self.opened.push((session, accepted));
                if self.eager && accepted && cx.lane_of(session).is_none() {
                    cx.open_lane(Lane::over(session)).expect("the client grants lanes");
                }
            }
            Event::Closed { session, reason } => self.closed.push((session, reason)),
            _ => {}
        }
    }
}

struct Scene {
    clock: VirtualClock,
    line: Rc<RefCell<Line>>,
    a: Worker<Echo>,
    b: Worker<Echo>,
    /// The session by which lanes are asked for, as `a` calls it.
    over: SessionKey,
}

const A: ([u8; 4], u16) = ([10, 0, 0, 1], 1);
const B: ([u8; 4], u16) = ([10, 0, 0, 2], 2);
const SECOND_NS: u64 = 1_000_000_000;

impl Scene {
    fn new(sealed: bool, config: Config) -> Self {
        let clock = VirtualClock::new(Timestamp(SECOND_NS));
        let line = Rc::new(RefCell::new(Line {
            clock: clock.clone(),
            queues: HashMap::new(),
            drop: Box::new(|_| false),
            dropped: 0,
            requests: 0,
            grants: Vec::new(),
        }));
        let mut a = worker(&clock, &line, (A, 1), sealed, &config);
        let b = worker(&clock, &line, (B, 2), sealed, &config);
        let over = a.connect(target(sealed)).expect("room for a session");
        let mut scene = Self { clock, line, a, b, over };
        scene.until(|s| !s.a.app().opened.is_empty() && !s.b.app().opened.is_empty());
        scene.call(over);
        scene
    }

    fn open_lane(&mut self) -> SessionKey {
        self.a.open_lane(Lane::over(self.over)).expect("the peer grants lanes")
    }

    /// Drops the first `count` packets with a frame that `which` names.
    fn drop_first(&mut self, count: u64, which: impl Fn(&Frame<'_>) -> bool + 'static) {
        let mut left = count;
        self.line.borrow_mut().drop = Box::new(move |frames| {
            let named = left > 0 && frames.iter().any(&which);
            left -= u64::from(named);
            named
        });
    }

    fn step(&mut self) {
        let idle = self.a.turn().idle & self.b.turn().idle;
        self.a.engine().check();
        self.b.engine().check();
        if idle {
            let line = self.line.borrow();
            let arrivals = line.queues.values().filter_map(|queue| queue.front()).map(|(at, ..)| *at);
            let next = arrivals.chain([self.a.due_at(), self.b.due_at()]).min().expect("two at least");
            let now = self.clock.now();
            self.clock.advance_to(next.clamp(now.after_ns(1), now.after_ns(10_000_000)));
        }
    }

    /// How long it took, in nanoseconds.
    #[track_caller]
    fn until(&mut self, mut done: impl FnMut(&Self) -> bool) -> u64 {
        let began = self.clock.now();
        while !done(self) {
            self.step();
            assert!(self.clock.now().since_ns(began) < 60 * SECOND_NS, "it never happened");
        }
        self.clock.now().since_ns(began)
    }

    fn run(&mut self, ns: u64) {
        let end = self.clock.now().after_ns(ns);
        while self.clock.now() < end {
            self.step();
        }
    }

    fn is_open(&self, session: SessionKey) -> bool {
        self.a.app().opened.iter().any(|(opened, _)| *opened == session)
    }

    fn end_of(&self, session: SessionKey) -> Option<CloseReason> {
        self.a.app().closed.iter().find(|(closed, _)| *closed == session).map(|(_, reason)| *reason)
    }

    /// A call of `a`'s on `session` is answered.
    #[track_caller]
    fn call(&mut self, session: SessionKey) {
        let deadline = self.clock.now().after_ns(SECOND_NS);
        let replied = self.a.app().replied;
        self.a.call(session, 1, b"hello", deadline, 1).expect("room for a call");
        self.until(|s| s.a.app().replied + s.a.app().failed > replied);
        assert_eq!(self.a.app().replied, replied + 1);
    }
}

fn identity(boot: u64) -> Identity {
    Identity::generate(&mut Csprng::new(Rng::entropy(boot)))
}

fn target(sealed: bool) -> Target {
    let key = sealed.then(|| identity(2).public_key());
    Target { server_key: key, ..Target::from(SocketAddr::from(B)) }
}

/// The worker of the boot id's identity: 2 and 77 are two lives of one.
fn worker(
    clock: &VirtualClock,
    line: &Rc<RefCell<Line>>,
    (address, boot_id): (([u8; 4], u16), u64),
    sealed: bool,
    config: &Config,
) -> Worker<Echo> {
    let whose = identity(if boot_id == 77 { 2 } else { boot_id });
    let security =
        if sealed { Security::sealed(&whose, None, 0, Timestamp(0)) } else { Security::insecure_anywhere() };
    let transport = Config { boot_id, entropy: Rng::entropy(!boot_id), security, ..config.clone() };
    let config = WorkerConfig { transport, ..WorkerConfig::default() };
    let backend = Box::new(MemoryBackend::new(address.into(), line.clone()));
    Worker::new(config, backend, Rc::new(clock.clone()), Echo::default())
}

fn is_request(frame: &Frame<'_>) -> bool {
    matches!(frame, Frame::LaneRequest { .. })
}

fn is_grant(frame: &Frame<'_>) -> bool {
    matches!(frame, Frame::LaneGrant { .. })
}

#[test]
fn a_lane_opens_in_one_round_trip_and_carries_calls() {
    for sealed in [false, true] {
        let mut scene = Scene::new(sealed, Config::default());
        let lane = scene.open_lane();
        let took = scene.until(|s| s.is_open(lane));
        assert!(took <= 40_000, "{took} ns, where the line takes 10,000 one way");
        scene.call(lane);
        scene.call(scene.over);
        assert_eq!(scene.b.engine().sessions(), 2);
        assert_eq!(scene.a.lane_of(lane).map(|parent| parent.session), Some(scene.over));
        // The other end may ask as well.
        let (over, _) = scene.b.app().opened[0];
        scene.b.open_lane(Lane::over(over)).expect("the client grants lanes, too");
        scene.until(|s| s.b.app().opened.len() == 3 && s.a.app().opened.len() == 3);
        let (back, accepted) = scene.b.app().opened[2];
        assert!(!accepted);
        scene.b.call(back, 1, b"hello", scene.clock.now().after_ns(SECOND_NS), 1).expect("room for a call");
        scene.until(|s| s.b.app().replied == 1);
    }
}

#[test]
fn a_server_opens_a_lane_from_within_its_handler_and_calls_its_client_over_it() {
    let mut scene = Scene::new(true, Config::default());
    scene.b.app_mut().eager = true;
    let second = scene.a.connect(target(true)).expect("room for a session");
    scene.until(|s| s.b.app().opened.len() == 3 && s.a.app().opened.len() == 3);
    let (lane, accepted) = scene.b.app().opened[2];
    assert!(!accepted, "the server asked");
    scene.b.call(lane, 1, b"hello", scene.clock.now().after_ns(SECOND_NS), 1).expect("room for a call");
    scene.until(|s| s.b.app().replied == 1);
    let at_client = scene.a.app().opened[2].0;
    assert_eq!(scene.a.lane_of(at_client).map(|parent| parent.session), Some(second));
    scene.call(at_client);
}

#[test]
fn a_lane_request_that_is_lost_is_said_again_and_opens_one_lane() {
    for count in [1, 3] {
        let mut scene = Scene::new(false, Config::default());
        scene.drop_first(count, is_request);
        let lane = scene.open_lane();
        let took = scene.until(|s| s.is_open(lane));
        assert_eq!(scene.line.borrow().dropped, count);
        assert!(took < 20_000_000, "{count} lost: {took} ns");
        scene.call(lane);
        assert_eq!(scene.b.counters().lanes_granted, 1);
    }
}

#[test]
fn a_lane_grant_that_is_lost_is_asked_for_again_and_is_the_same() {
    for count in [1, 3] {
        let mut scene = Scene::new(false, Config::default());
        scene.drop_first(count, is_grant);
        let lane = scene.open_lane();
        let took = scene.until(|s| s.is_open(lane));
        assert_eq!(scene.line.borrow().dropped, count);
        assert!(took < 40_000_000, "{count} lost: {took} ns");
        scene.call(lane);
        let grants = scene.line.borrow().grants.clone();
        assert!(grants.len() as u64 > count, "{grants:?}");
        assert_eq!(grants.iter().collect::<HashSet<_>>().len(), 1, "a request repeated gets the same answer");
        assert_eq!((scene.b.counters().lanes_granted, scene.b.engine().sessions()), (1, 2));
    }
}

/// Found by the simulator: what the granter sent on the lane waited for the asker's patience, which was a second.
#[test]
fn a_lane_grant_that_is_lost_is_said_again_by_who_granted_it_before_it_is_asked_for_again() {
    let mut scene = Scene::new(false, Config::default());
    scene.drop_first(1, is_grant);
    let lane = scene.open_lane();
    let requests = scene.line.borrow().requests;
    // More packets of the granter's show at once that one is missing.
    for _ in 0..8 {
        scene.run(20_000);
        scene.call(scene.over);
    }
    assert!(scene.is_open(lane), "the grant is still missing");
    assert_eq!((scene.line.borrow().dropped, scene.line.borrow().requests), (1, requests.max(1)));
    scene.call(lane);
    assert_eq!((scene.b.counters().lanes_granted, scene.b.engine().sessions()), (1, 2));
}

#[test]
fn both_ends_may_ask_at_the_same_moment() {
    let mut scene = Scene::new(true, Config::default());
    let (at_b, _) = scene.b.app().opened[0];
    for _ in 0..10 {
        scene.open_lane();
        scene.b.open_lane(Lane::over(at_b)).expect("the client grants lanes, too");
    }
    scene.until(|s| s.a.engine().sessions() == 21 && s.b.engine().sessions() == 21);
    let lanes: Vec<SessionKey> = scene.a.app().opened.iter().map(|(session, _)| *session).collect();
    lanes.into_iter().for_each(|lane| scene.call(lane));
}

#[test]
fn a_refusal_says_why_and_an_ended_lane_makes_room() {
    let mut scene = Scene::new(false, Config { lanes: 2, ..Config::default() });
    let lane = scene.open_lane();
    scene.until(|s| s.is_open(lane));
    let second = scene.open_lane();
    scene.until(|s| s.end_of(second).is_some());
    assert_eq!(scene.end_of(second), Some(CloseReason::Refused(8)));
    assert_eq!(scene.b.counters().over_lanes, 1);
    scene.a.close(lane, 0);
    scene.until(|s| s.b.engine().sessions() == 1);
    let third = scene.open_lane();
    scene.until(|s| s.is_open(third));
    // A worker that is not there is refused, too, and nobody's lane is asked for on a lane.
    let nowhere = scene.a.open_lane(Lane::over(scene.over).to_worker(3)).expect("it may be asked");
    scene.until(|s| s.end_of(nowhere).is_some());
    assert!(matches!(scene.end_of(nowhere), Some(CloseReason::Refused(7 | 8))));
    assert_eq!(scene.a.open_lane(Lane::over(third)), Err(ConnectError::NoLanes));
}

#[test]
fn a_peer_that_grants_none_is_not_asked() {
    let mut scene = Scene::new(false, Config { lanes: 1, ..Config::default() });
    assert_eq!(scene.a.open_lane(Lane::over(scene.over)), Err(ConnectError::NoLanes));
    assert_eq!(scene.line.borrow().requests, 0);
}

#[test]
fn who_waits_for_a_lane_hears_of_the_end_of_its_session() {
    let mut scene = Scene::new(false, Config::default());
    scene.drop_first(u64::MAX, is_grant);
    let lane = scene.open_lane();
    scene.run(5_000_000);
    scene.a.close(scene.over, 0);
    scene.until(|s| s.end_of(lane).is_some());
    assert_eq!(scene.end_of(lane), Some(CloseReason::Local));
}

#[test]
fn a_lane_that_nobody_answers_for_is_given_up_after_five_seconds() {
    let mut scene = Scene::new(false, Config::default());
    scene.drop_first(u64::MAX, is_request);
    let lane = scene.open_lane();
    let took = scene.until(|s| s.end_of(lane).is_some());
    assert_eq!(scene.end_of(lane), Some(CloseReason::Unreachable));
    assert!((5 * SECOND_NS..6 * SECOND_NS).contains(&took), "{took} ns");
    assert_eq!(scene.end_of(scene.over), None);
    // Nobody asks any more.
    let requests = scene.line.borrow().requests;
    scene.run(3 * SECOND_NS);
    assert_eq!(scene.line.borrow().requests, requests);
}

#[test]
fn a_lane_that_was_given_up_before_its_grant_came_ends_at_the_granter_at_once() {
    let mut scene = Scene::new(true, Config::default());
    let lane = scene.open_lane();
    // Asked for, and the answer is under way.
    scene.a.turn();
    scene.run(12_000);
    scene.a.close(lane, 0);
    let took = scene.until(|s| s.b.app().closed.len() == 1);
    assert_eq!(scene.b.app().closed[0].1, CloseReason::Reset);
    assert!(took < 1_000_000, "{took} ns, and not an idle timeout");
}

#[test]
fn lanes_outlive_the_session_they_were_opened_over() {
    let mut scene = Scene::new(true, Config::default());
    let lane = scene.open_lane();
    scene.until(|s| s.is_open(lane));
    scene.a.close(scene.over, 0);
    scene.until(|s| s.b.engine().sessions() == 1);
    scene.run(2 * SECOND_NS);
    scene.call(lane);
    assert_eq!(scene.a.open_lane(Lane::over(scene.over)), Err(ConnectError::NoSession));
}

#[test]
fn a_restarted_peer_ends_all_lanes() {
    for sealed in [false, true] {
        let mut scene = Scene::new(sealed, Config::default());
        let lanes = [scene.open_lane(), scene.open_lane()];
        scene.until(|s| lanes.iter().all(|lane| s.is_open(*lane)));
        scene.b = worker(&scene.clock, &scene.line, (B, 77), sealed, &Config::default());
        let deadline = scene.clock.now().after_ns(20 * SECOND_NS);
        let asked = [scene.over, lanes[0], lanes[1]];
        // Without sealing the session of the handshake asks who is there, for its lanes as well.
        let who_calls = if sealed { &asked[..] } else { &asked[..1] };
        for session in who_calls {
            scene.a.call(*session, 1, b"hello", deadline, 1).expect("room for a call");
        }
        let took = scene.until(|s| asked.iter().all(|session| s.end_of(*session).is_some()));
        let expected = if sealed { CloseReason::Reset } else { CloseReason::PeerRestarted(77) };
        assert_eq!(asked.map(|session| scene.end_of(session)), [Some(expected); 3]);
        assert!(took < SECOND_NS, "sealed {sealed}: {took} ns");
    }
}
