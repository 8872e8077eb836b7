//! What can go wrong around an endpoint and its sessions.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

use crate::io::select::SelectError;
use crate::transport::{CloseReason, ConnectError, SendError};

/// Why an endpoint could not be started. Nothing of it is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// No worker, or more than a session id can name.
    #[error("{workers} workers: an endpoint has 1 to {workers_max}")]
    Workers {
        /// What was asked for.
        workers: usize,
        /// The maximum.
        workers_max: usize,
    },
    /// Cores were given, and not one for each worker.
    #[error("{cores} cores for {workers} workers: give each worker one")]
    Cores {
        /// Cores given.
        cores: usize,
        /// Workers asked for.
        workers: usize,
    },
    /// A core could not be pinned to.
    #[error("cannot pin a worker to core {core}: it is offline, or outside what this process may use")]
    Pin {
        /// Which.
        core: usize,
    },
    /// The kernel has no randomness for ids.
    #[error("the kernel gave no random bytes: {0}")]
    Randomness(getrandom::Error),
    /// A worker's socket or backend.
    #[error("worker {worker}: {error}")]
    Backend {
        /// Which worker.
        worker: usize,
        /// What failed.
        error: SelectError,
    },
    /// The socket that several workers' handshakes come in by.
    #[error("cannot open the handshake socket at {bind}: {error}")]
    FrontDoor {
        /// Where.
        bind: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a worker's thread: {0}")]
    Thread(io::Error),
    /// It would answer anybody on the network.
    #[error(
        "an endpoint that serves at {bind} must say who may call it: give Builder::gate, or, to let every key in, Builder::allow_any_client"
    )]
    NoGate {
        /// Where.
        bind: SocketAddr,
    },
    /// A worker's thread ended before it said a word: a handler factory panicked.
    #[error("worker {worker} ended while it started: its handler factory panicked")]
    Died {
        /// Which worker.
        worker: usize,
    },
}

/// Why a session could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// This side refused.
    #[error(transparent)]
    Local(#[from] ConnectError),
    /// The handshake, or the request for a lane, ended without a session.
    #[error("no session was opened: {0:?}")]
    Ended(CloseReason),
    /// The peer has no such worker.
    #[error("asked for the peer's worker {wanted}, worker {got} answered: the peer has fewer workers")]
    WrongWorker {
        /// Which was asked for.
        wanted: u8,
        /// Which answered.
        got: u8,
    },
    /// This endpoint has no such worker.
    #[error("this endpoint has {workers} workers: there is no worker {wanted}")]
    NoSuchWorker {
        /// Which was asked for.
        wanted: usize,
        /// How many there are.
        workers: usize,
    },
    /// The endpoint has ended.
    #[error("the endpoint has ended")]
    Stopped,
}

/// Why something that does not wait was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PostError {
    /// The worker's mailbox is full.
    #[error("the worker's mailbox is full: try again")]
    Full,
    /// The session or its endpoint has ended.
    #[error("the session or its endpoint has ended")]
    Closed,
}

/// What a command to an ended worker gets.
pub(super) const ENDED: SendError = SendError::Closed;

const _: () = {
    const fn travels<T: Send + Sync + 'static>() {}
    travels::<EndpointError>();
    travels::<OpenError>();
};
