//! Inspecting the host: which backend would run here and what stands in the way.
//!
//! Not for changing anything yet: `doctor` only looks, and every finding brings its one-line fix.
//!
//! ```text
//! /proc, /sys, probes by use --> doctor::examine() --> findings, worst first
//! ```
//!
//! Invariant: a finding is something that was looked at on this host, never a guess.
#![forbid(unsafe_code)]

pub mod doctor;
