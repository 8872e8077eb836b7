//! The costly steps of handshakes, as values: the worker runs them under a budget, the simulator at the
//! cost of a turn. A Diffie-Hellman takes tens of microseconds, and nobody's calls should wait for a
//! stranger's.

use crate::crypto::{Answered, Finished, Handshake, HandshakeError, Initiator, Opened, PublicKey, Responder};
use crate::time::Timestamp;
use crate::transport::SessionKey;
use crate::transport::engine::Engine;

use std::sync::Arc;

/// One step of one handshake.
#[derive(Debug)]
pub struct Job {
    work: Work,
    provider: Arc<dyn Handshake>,
}

/// What a step takes.
#[derive(Debug)]
pub(super) enum Work {
    /// The client's first message.
    Initiate {
        key: SessionKey,
        server: Option<PublicKey>,
        prologue: Vec<u8>,
        payload: Vec<u8>,
        entropy: [u8; 32],
    },
    /// The server's answer, at the client.
    Finish { key: SessionKey, initiators: Vec<Box<dyn Initiator>>, accept: Vec<u8>, blob: Vec<u8> },
    /// The client's first message, at the server.
    Open { asked: u64, prologue: Vec<u8>, blob: Vec<u8>, entropy: [u8; 32] },
    /// The server's answer.
    Answer { asked: u64, responder: Box<dyn Responder>, accept: Vec<u8>, payload: Vec<u8> },
}

/// What a step came to.
#[derive(Debug)]
pub struct JobDone(pub(super) Done);

#[derive(Debug)]
pub(super) enum Done {
    Initiated {
        key: SessionKey,
        made: Result<(Box<dyn Initiator>, Vec<u8>), HandshakeError>,
    },
    Finished {
        key: SessionKey,
        initiators: Vec<Box<dyn Initiator>>,
        finished: Result<Finished, HandshakeError>,
    },
    Opened {
        asked: u64,
        opened: Result<Opened, HandshakeError>,
    },
    Answered {
        asked: u64,
        answered: Result<Answered, HandshakeError>,
    },
}

impl Job {
    /// Does it. Touches nothing of the engine's.
    #[must_use]
    pub fn run(self) -> JobDone {
        let provider = self.provider;
        JobDone(match self.work {
            Work::Initiate { key, server, prologue, payload, entropy } => {
                let made = provider.initiate(server.as_ref(), &prologue, &payload, entropy);
                Done::Initiated { key, made }
            }
            Work::Finish { key, mut initiators, accept, blob } => {
                let mut tried = initiators.iter_mut().map(|initiator| initiator.finish(&accept, &blob));
                let finished = tried.find(Result::is_ok).unwrap_or(Err(HandshakeError::Unproven));
                Done::Finished { key, initiators, finished }
            }
            Work::Open { asked, prologue, blob, entropy } => {
                Done::Opened { asked, opened: provider.open(&prologue, &blob, entropy) }
            }
            Work::Answer { asked, responder, accept, payload } => {
                Done::Answered { asked, answered: responder.answer(&accept, &payload) }
            }
        })
    }
}

impl Engine {
    /// The next step to run, oldest first; give what it came to back by [`Engine::finish_job`].
    pub fn poll_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// True when a step waits to be run.
    #[must_use]
    pub fn wants_job(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub(super) fn push_job(&mut self, work: Work) {
        self.jobs.push_back(Job { work, provider: self.config.security.provider.clone() });
    }

    /// Goes on with a handshake whose step was run.
    pub fn finish_job(&mut self, now: Timestamp, done: JobDone) {
        match done.0 {
            Done::Initiated { key, made } => self.on_initiated(now, key, made),
            Done::Finished { key, initiators, finished } => self.on_finished(now, key, initiators, finished),
            Done::Opened { asked, opened } => self.on_opened(now, asked, opened),
            Done::Answered { asked, answered } => self.on_answered(now, asked, answered),
        }
    }
}
