//! Bytes to typed packets and frames, and back. `docs/PROTOCOL.md` is the text this room carries out.
//!
//! Not for input or output, and not for policy: nothing here knows what a session is, when to send, or
//! whether a number is old. Every decoder is total: any bytes give a value or a [`DecodeError`], and
//! what a decoder returned can be encoded to the same bytes again.
//!
//! ```text
//! one packet (one UDP payload), all integers little-endian
//! +----------------+--------------------------------------------------------+--------+
//! | header, 16     | frames                                                 | tag 16 |
//! | kind epoch len | [control frames][datagrams][units, at most 2][padding] |        |
//! | session number |            perhaps a fill ->|                          |        |
//! +----------------+-----------------------------|--------------------------+--------+
//!                          MESSAGES head, 6, [record][record]…   or   FRAGMENT head, 56, data
//!                          or   UNIT_PART head, 16, bytes of either
//! ```
//!
//! Invariant: an offset handed out lies inside the slice the decoder was given.
#![forbid(unsafe_code)]

mod ack;
#[doc(hidden)]
pub mod check;
mod control;
mod cursor;
mod datagram;
mod durable;
mod error;
mod frame;
mod handshake;
mod header;
mod kind;
mod numbers;
mod record;
mod unit;

pub use ack::{
    ACK_FIXED_SIZE, ACK_RANGE_SIZE, ACK_SIZE_MAX, Ack, AckCopy, AckHead, AckRanges, encode_ack,
    encode_ack_of_one,
};
pub use control::{
    ACK_REQUEST_SIZE, BLOCKED_SIZE, CLOSE_FIXED_SIZE, CLOSE_SIZE_MAX, CREDIT_SIZE, FILL_SIZE_MIN, GRANT_SIZE,
    LANE_GRANT_SIZE, LANE_REQUEST_SIZE, PATH_CHALLENGE_SIZE, PATH_RESPONSE_SIZE, PING_SIZE, REASON_SIZE_MAX,
    STATS_SIZE, Stats, encode_ack_request, encode_blocked, encode_close, encode_credit, encode_fill,
    encode_grant, encode_lane_grant, encode_lane_refusal, encode_lane_request, encode_path_challenge,
    encode_path_response, encode_ping,
};
pub use cursor::{Reader, Writer};
pub use datagram::{DATAGRAM_HEAD_SIZE, encode_datagram, encode_datagram_head};
pub use durable::{
    DURABLE_CALL_HEAD_SIZE, DURABLE_OPEN_SIZE, DURABLE_RELEASE_SIZE, DURABLE_RENEW_SIZE, DurableRequest,
    LEASE_GRANT_SIZE, LeaseGrant, LeaseId,
};
pub use error::DecodeError;
pub use frame::{Frame, Frames};
pub use handshake::{
    ACCEPT_FIXED_SIZE, Accept, BLOB_SIZE_MAX, BOUNDS_SIZE, Bounds, COOKIE_SIZE_MAX, CookieReply,
    INIT_BODY_SIZE, INIT_PACKET_SIZE, Init, PROLOGUE_SIZE, RESET_TOKEN_SIZE, Refuse, Reset, SERVER_KEY_SIZE,
    ServerKey, VERSION, VERSION_HINT_MAX, VersionHint,
};
pub use header::{Header, PacketKind};
pub use numbers::{CallId, ChannelId, MessageId, PacketNumber, SessionId, UnitNumber};
pub use record::{
    MESSAGE_HEAD_SIZE, ORDERED_HEAD_SIZE, RECORD_HEAD_SIZE_MAX, REPLY_HEAD_SIZE, REQUEST_HEAD_SIZE, Record,
    RecordHeader, Records,
};
pub use unit::{
    FRAGMENT_HEAD_SIZE, FragmentHeader, FragmentUnit, MESSAGES_HEAD_SIZE, MessagesUnit, UNIT_PART_HEAD_SIZE,
    UnitPart, encode_fragment_head, encode_messages_head, encode_unit_part_head,
};
