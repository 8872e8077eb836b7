//! The reliability engine, sans-IO: time, chance and packets are passed in, packets and events come
//! out.
//!
//! Not for sockets, threads or clocks. `Engine` holds the sessions of one worker; a `Session` only
//! routes between leaves that take values and return decisions, one file a concept of its RFC.
//!
//! ```text
//!  handle_datagram --> engine --> session --> Deliveries, events
//!  call, message ----> engine --> session --> poll_transmit --> PacketSink
//!                                   |  ^
//!             rtt  sent  units_out  |  |  received  unit_window  ack_tracker
//!             congestion  pacer  credit  reassembly  channel  calls  path_mtu
//! ```
//!
//! Invariant: state changes only after a packet's tag was checked; every accepted message and call is
//! delivered or named in an event.
#![forbid(unsafe_code)]

mod accounts;
pub mod ack_tracker;
mod asking;
pub mod buffer;
pub mod calls;
pub mod channel;
mod config;
pub mod congestion;
mod connecting;
mod counters;
mod cover;
pub mod credit;
mod delivery;
mod due;
pub mod ecn;
mod engine;
mod error;
mod event;
mod lane;
mod large_out;
mod late_ack;
pub mod pacer;
mod parts_in;
mod parts_out;
pub mod passed;
mod path_facts;
pub mod path_mtu;
mod path_rtt;
mod path_size;
mod path_validation;
mod peer_workers;
pub mod planted;
pub mod quota;
pub mod reassembly;
pub mod received;
pub mod reordering;
mod reserve;
mod resume;
pub mod rtt;
pub mod security;
mod send_queue;
pub mod sent;
mod session;
mod shared;
mod sink;
mod spans;
pub mod timer_wheel;
mod token;
mod train;
pub mod unit_window;
pub mod units_out;
mod used_cookies;

pub use config::{Config, Profile};
pub use congestion::CongestionKind;
pub use counters::Counters;
pub use delivery::{BodyRef, Deliveries, Delivery, DeliveryKind};
pub use ecn::Mark;
pub use engine::{Engine, Job, JobDone, Meta, SessionKey};
pub use error::{ConnectError, SendError};
pub use event::{CloseReason, Event, Fate};
pub use lane::{LaneNote, LaneParent};
#[cfg(test)]
pub(crate) use session::BY_STEPS;
pub use sink::{Extent, Marking, PacketSink, PathIndex, Way};
pub use token::CallToken;
