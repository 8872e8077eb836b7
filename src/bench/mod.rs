//! Load generation, schedules, recording and reports: what `ringwire bench` measures with.
//!
//! Not for the wire: everything here goes through the worker's public face, as an application's
//! would, and what a run says about itself is its [`report::Report`].
//!
//! ```text
//!  schedule --when--> driver --call--> worker ~~~ network ~~~ worker --> echo service
//!                       |                 |
//!                    flight <--outcome----+      every call issued after the warm-up is followed
//!                       +--> recorder --> report to its outcome
//! ```
//!
//! Invariant: `issued = completed + failed + unknown`, and every call is in exactly one of them.
#![forbid(unsafe_code)]

pub mod advice;
pub mod app;
pub mod caller;
pub mod child;
pub mod client;
pub mod connected;
pub mod desk;
pub mod echo;
pub mod env;
pub mod flight;
pub mod handle_client;
pub mod handles;
pub mod host;
pub mod limits;
pub mod line;
pub mod losses;
pub mod one_way;
pub mod payload;
pub mod placement;
pub mod plan;
pub mod quiet;
pub mod recorder;
pub mod report;
pub mod run;
pub mod schedule;
pub mod server;
pub mod share;
pub mod table;
pub mod validity;
