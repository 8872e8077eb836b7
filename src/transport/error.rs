//! Why the engine refused something.

use thiserror::Error;

/// Why a call, message or datagram was not accepted. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue, the call slots or the memory for it are full: turn the worker and try again.
    #[error("no room now: turn the worker until replies or acks arrive, then try again")]
    WouldBlock,
    /// The message is larger than the peer takes.
    #[error(
        "message of {size} bytes: the peer takes at most {size_max}; raise its message_size_max or split the message"
    )]
    MessageTooLarge {
        /// Its bytes.
        size: u64,
        /// The peer's limit in bytes.
        size_max: u64,
    },
    /// The session is not open yet: wait for its `Opened` event.
    #[error("the session is not open yet: wait for its Opened event")]
    NotOpen,
    /// The session has ended, or is closing.
    #[error("the session has ended: connect again")]
    Closed,
    /// More ordered channels than a session has.
    #[error("too many ordered channels in one session: reuse one")]
    TooManyChannels,
    /// The call was replied to already, or its session is gone.
    #[error("the call was answered before, or its session is gone")]
    NoSuchCall,
}

/// Why a session could not even be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The worker holds as many sessions as it may.
    #[error("this worker holds {sessions_max} sessions, its maximum: close some or add a worker")]
    TooManySessions {
        /// The maximum.
        sessions_max: usize,
    },
    /// A lane is opened over an open session.
    #[error("there is no such open session to open a lane over: wait for its Opened event, or connect again")]
    NoSession,
    /// The session has no lanes.
    #[error(
        "no lanes can be opened over this session: it is one itself, or its peer grants none; connect again"
    )]
    NoLanes,
    /// Who answers on another host must be known before.
    #[error(
        "the server is on another host and its key is not given: name the key that it prints when it starts"
    )]
    NoServerKey,
    /// Without sealing only peers on this host are talked to.
    #[error(
        "this endpoint is insecure, and the server is on another host: seal, or allow it anywhere on both ends"
    )]
    InsecureElsewhere,
}
