//! Calls by name over messages: which method a number is, which handler answers it, and when a call
//! may be issued again.
//!
//! Not for bytes: what a payload means is its service's. Not for delivery: one call is one message
//! each way, and the transport delivers each once.
//!
//! ```text
//!  "Store/Get" --method_id--> number --Router--> handler
//!  Client::call --NotSent, or idempotent and Unknown--> the next peer
//!  Service::call --the same--> a new session with the same service
//! ```
//!
//! Invariant: a call that may have run is issued again only if its caller said that running twice
//! does no harm.
#![forbid(unsafe_code)]

mod client;
mod door;
pub mod durable;
mod name;
mod router;
mod service;

pub use client::{Client, Repeat};
pub use name::{MethodId, method_id};
pub use router::{DuplicateMethod, Router};
pub use service::{Answer, Service};

pub use crate::endpoint::Outcome;
pub use crate::worker::status;
