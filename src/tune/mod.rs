//! Tuning the host: what stands in the way, a plan against it, applying it with a way back, measuring
//! what it brought.
//!
//! Not for guessing: every finding was looked at, every change is read back, and what helped is measured.
//!
//! ```text
//! tuning/profiles ---> plan::make <--- dyn Host (live, recorded) <--- audit, doctor
//!                          |               ^
//!                      plan.toml --> guard --> apply --> journal --> undo, status
//!                                                |
//!                                     verify, persist
//! ```
//!
//! Invariants: nothing is written before the journal says what it was, and nothing but a knob of the
//! catalogue is ever written.
#![forbid(unsafe_code)]

pub mod apply;
pub mod audit;
pub mod bootstrap;
pub mod cpus;
pub mod cpuset;
pub mod doctor;
pub mod guard;
pub mod host;
pub mod identity;
pub mod interrupts;
pub mod journal;
pub mod knob;
pub mod persist;
pub mod plan;
pub mod profile;
pub mod scope;
pub mod status;
pub mod undo;
pub mod value;
pub mod verify;
pub mod want;
