//! Two workers in one process, joined by memory and by real sockets: calls, messages, endings.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;

use ringwire::crypto::{Csprng, Identity};
use ringwire::io::mmsg::Mmsg;
use ringwire::io::{Backend, Config as IoConfig, memory};
use ringwire::rng::Rng;
use ringwire::time::{Clock, MonotonicClock, Timestamp, VirtualClock};
use ringwire::transport::Config;
use ringwire::transport::security::Security;
use ringwire::worker::{
    App, CallToken, CloseReason, Cx, Event, Message, Outcome, ReplyWriter, Request, SessionKey, Target,
    Worker, WorkerConfig,
};

/// Echoes calls, keeps what it hears.
#[derive(Default)]
struct Probe {
    opened: Vec<SessionKey>,
    closed: Vec<CloseReason>,
    outcomes: HashMap<u64, String>,
    replies: HashMap<u64, Vec<u8>>,
    messages: Vec<Vec<u8>>,
    datagrams: usize,
    requests: usize,
    /// A call that is answered when the next message comes.
    deferred: Option<CallToken>,
    /// What calls of method 4 brought, kept.
    kept: Vec<Bytes>,
}

impl App for Probe {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        self.requests += 1;
        match request.method {
            0 => reply.send(request.payload),
            1 => panic!("the handler was asked to"),
            3 => self.deferred = Some(reply.defer()),
            4 => {
                let bytes = request.to_bytes();
                let lies_there = bytes.as_ptr() == request.payload.as_ptr();
                assert_eq!(lies_there, request.shared().is_some(), "what can be shared is not copied");
                self.kept.push(bytes.clone());
                reply.send_owned(bytes);
            }
            _ => {}
        }
    }

    fn on_outcome(&mut self, _cx: &mut Cx<'_>, token: u64, outcome: Outcome<'_>) {
        let name = match outcome {
            Outcome::Replied(bytes) => {
                self.replies.insert(token, bytes.to_vec());
                "replied".to_string()
            }
            Outcome::Failed { status, .. } => format!("failed {status}"),
            other => format!("{other:?}"),
        };
        assert!(self.outcomes.insert(token, name).is_none(), "one outcome a call");
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: Message<'_>) {
        self.messages.push(message.payload.to_vec());
        // Hands the message on in every way there is to hand over a buffer from within.
        if let Some(token) = self.deferred.take() {
            let bytes = Bytes::copy_from_slice(message.payload);
            let deadline = cx.now().after_ns(5_000_000_000);
            cx.reply_owned(token, 0, bytes.clone()).expect("the call waits");
            cx.send_owned(message.session, None, bytes.clone()).expect("room");
            cx.call_owned(message.session, 0, bytes, deadline, 9).expect("room");
        }
    }

    fn on_datagram(&mut self, _cx: &mut Cx<'_>, _message: Message<'_>) {
        self.datagrams += 1;
    }

    fn on_event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Opened { session, .. } => self.opened.push(session),
            Event::Closed { reason, .. } => self.closed.push(reason),
            _ => {}
        }
    }
}

struct Pair {
    a: Worker<Probe>,
    b: Worker<Probe>,
    clock: Option<VirtualClock>,
    session: SessionKey,
}

fn config(seed: u64, sealed: bool) -> WorkerConfig {
    let entropy = Rng::entropy(seed);
    let identity = Identity::generate(&mut Csprng::new(entropy));
    let security = if sealed {
        Security::sealed(&identity, None, 0, Timestamp(0))
    } else {
        Security::insecure_anywhere()
    };
    let transport = Config { entropy, security, boot_id: seed, ..Config::default() };
    WorkerConfig { transport, ..WorkerConfig::default() }
}

impl Pair {
    fn over(
        backends: (Box<dyn Backend>, Box<dyn Backend>),
        clock: Rc<dyn Clock>,
        hand: Option<VirtualClock>,
        sealed: bool,
    ) -> Self {
        let target = backends.1.local_addr();
        let mut a = Worker::new(config(1, sealed), backends.0, clock.clone(), Probe::default());
        let b = Worker::new(config(2, sealed), backends.1, clock, Probe::default());
        assert_eq!(b.public_key().is_some(), sealed);
        let target = Target { server_key: b.public_key(), ..Target::from(target) };
        let session = a.connect(target).expect("room for a session");
        let mut pair = Self { a, b, clock: hand, session };
        pair.until(|p| !p.a.app().opened.is_empty());
        pair
    }

    fn memory(sealed: bool) -> Self {
        let (x, y) = memory::pair(([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into());
        let clock = VirtualClock::new(Timestamp(1_000_000_000));
        Self::over((Box::new(x), Box::new(y)), Rc::new(clock.clone()), Some(clock), sealed)
    }

    fn mmsg(sealed: bool) -> Self {
        let open = || -> Box<dyn Backend> {
            let bind: SocketAddr = ([127, 0, 0, 1], 0).into();
            Box::new(Mmsg::open(&IoConfig::new(bind)).expect("a socket on loopback"))
        };
        Self::over((open(), open()), Rc::new(MonotonicClock), None, sealed)
    }

    fn until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..2_000_000 {
            if done(self) {
                self.a.engine().check();
                self.b.engine().check();
                return;
            }
            let idle = self.a.turn().idle & self.b.turn().idle;
            if let (Some(clock), true) = (&self.clock, idle) {
                let next = self.a.due_at().min(self.b.due_at());
                clock.advance_to(
                    next.max(clock.now())
                        .max(Timestamp(clock.now().0 + 1_000))
                        .min(Timestamp(clock.now().0 + 1_000_000)),
                );
            }
        }
        panic!("never done: {:?}\n{:?}", self.a.counters(), self.b.counters());
    }

    fn deadline(&self) -> Timestamp {
        self.a.clock_now().after_ns(5_000_000_000)
    }
}

fn both(test: impl Fn(Pair)) {
    for sealed in [true, false] {
        test(Pair::memory(sealed));
        test(Pair::mmsg(sealed));
    }
}

#[test]
fn a_call_comes_back_with_its_own_bytes() {
    both(|mut pair| {
        let deadline = pair.deadline();
        pair.a.call(pair.session, 0, b"hello", deadline, 7).expect("room");
        pair.until(|p| p.a.app().outcomes.len() == 1);
        assert_eq!(pair.a.app().replies[&7], b"hello");
    });
}

#[test]
fn calls_of_every_size_come_back_whole() {
    both(|mut pair| {
        let sizes = [
            0usize, 1, 63, 64, 1_000, 1_100, 1_200, 5_000, 16_000, 16_383, 16_384, 20_000, 65_535, 65_536,
            65_537, 300_000, 5_000_000,
        ];
        let deadline = pair.deadline();
        for (token, &size) in sizes.iter().enumerate() {
            let payload: Vec<u8> = (0..size).map(|i| (i * 7 + token) as u8).collect();
            pair.a.call_owned(pair.session, 0, payload.into(), deadline, token as u64).expect("room");
        }
        pair.until(|p| p.a.app().outcomes.len() == sizes.len());
        for (token, &size) in sizes.iter().enumerate() {
            let reply = &pair.a.app().replies[&(token as u64)];
            assert_eq!(reply.len(), size);
            assert!(reply.iter().enumerate().all(|(i, b)| *b == (i * 7 + token) as u8));
        }
    });
}

#[test]
fn ten_thousand_small_calls_each_end_once() {
    both(|mut pair| {
        let deadline = pair.deadline();
        let mut issued = 0u64;
        while issued < 10_000 {
            match pair.a.call(pair.session, 0, &issued.to_le_bytes(), deadline, issued) {
                Ok(()) => issued += 1,
                Err(_) => {
                    let before = pair.a.app().outcomes.len();
                    pair.until(|p| p.a.app().outcomes.len() > before);
                }
            }
        }
        pair.until(|p| p.a.app().outcomes.len() == 10_000);
        assert!((0..10_000).all(|t: u64| pair.a.app().replies[&t] == t.to_le_bytes()));
        assert_eq!(pair.b.app().requests, 10_000);
    });
}

#[test]
fn a_handler_that_panics_or_stays_silent_fails_its_call_and_nothing_else() {
    both(|mut pair| {
        let deadline = pair.deadline();
        for (token, method) in [(1, 1), (2, 2), (3, 0)] {
            pair.a.call(pair.session, method, b"x", deadline, token).expect("room");
        }
        pair.until(|p| p.a.app().outcomes.len() == 3);
        let outcomes = &pair.a.app().outcomes;
        assert_eq!((&*outcomes[&1], &*outcomes[&2], &*outcomes[&3]), ("failed 1", "failed 2", "replied"));
    });
}

#[test]
fn messages_and_datagrams_arrive_and_close_drains() {
    both(|mut pair| {
        for i in 0..100u8 {
            pair.a.send(pair.session, None, &[i]).expect("room");
        }
        pair.a.datagram(pair.session, b"now").expect("room");
        pair.a.close(pair.session, 0);
        pair.until(|p| !p.b.app().closed.is_empty() && !p.a.app().closed.is_empty());
        assert_eq!(pair.b.app().messages.len(), 100);
        assert_eq!(pair.a.app().closed, [CloseReason::Local]);
        assert_eq!(pair.b.app().closed, [CloseReason::Peer(0)]);
    });
}

#[test]
fn either_side_may_call() {
    both(|mut pair| {
        let deadline = pair.deadline();
        let back = pair.b.app().opened[0];
        pair.b.call(back, 0, b"from the server", deadline, 1).expect("room");
        pair.until(|p| p.b.app().outcomes.len() == 1);
        assert_eq!(pair.b.app().replies[&1], b"from the server");
    });
}

#[test]
fn a_handler_may_keep_what_it_was_called_with_and_reply_with_it() {
    both(|mut pair| {
        let deadline = pair.deadline();
        let sizes = [1, 9_000, 40_000, 300_000];
        let bytes = |token: u64| -> Vec<u8> {
            (0..sizes[token as usize % 4]).map(|i| (i as u64 * 7 + token) as u8).collect()
        };
        // What is kept stays as it was, whatever comes later into memory that goes round.
        for token in 0..40 {
            pair.a
                .call(pair.session, 4 * u32::from(token % 3 != 2), &bytes(token), deadline, token)
                .expect("room");
            pair.until(|p| p.a.app().outcomes.len() == token as usize + 1);
        }
        for token in 0..40 {
            assert_eq!(pair.a.app().replies[&token], bytes(token), "{token}");
        }
        let kept: Vec<Vec<u8>> = pair.b.app().kept.iter().map(|bytes| bytes.to_vec()).collect();
        let called: Vec<Vec<u8>> = (0..40).filter(|token| token % 3 != 2).map(bytes).collect();
        assert!(kept == called, "what was kept has changed");
    });
}

#[test]
fn a_handler_may_hand_over_a_large_buffer_as_reply_message_and_call() {
    for size in [1, 9_000, 300_000] {
        both(|mut pair| {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let deadline = pair.deadline();
            pair.a.call(pair.session, 3, b"later", deadline, 1).expect("room");
            pair.until(|p| p.b.app().deferred.is_some());
            pair.a.send(pair.session, None, &bytes).expect("room");
            pair.until(|p| {
                p.a.app().outcomes.len() == 1
                    && p.a.app().messages.len() == 1
                    && p.b.app().outcomes.len() == 1
            });
            assert_eq!(pair.a.app().replies[&1], bytes, "the deferred call's reply");
            assert_eq!(pair.a.app().messages[0], bytes, "the message");
            assert_eq!(pair.b.app().replies[&9], bytes, "the call back, echoed");
        });
    }
}
