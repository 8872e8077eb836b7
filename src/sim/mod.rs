//! A whole network in one thread, on a virtual clock, from one seed: it runs the product's own
//! `turn()` on networks worse than any real one, and holds what applications saw against the
//! promises.
//!
//! Not for speed figures: nothing here says how fast anything is.
//!
//! ```text
//!  seed --> plan --> workload --> workers' turn() <--> network (impairment models, virtual time)
//!                        |             |
//!                        +-> checker <-+  what was sent, what was seen
//! ```
//!
//! Invariant: a run is a function of its seed, whatever machine, day or thread it runs on.
#![forbid(unsafe_code)]

mod app;
pub mod checker;
pub mod clock;
pub mod contents;
pub mod crash;
pub mod experiment;
pub mod facts;
pub mod hazards;
pub mod link;
pub mod network;
pub mod overtaking;
pub mod partition;
pub mod plan;
mod report;
mod run;
pub mod shape;
pub mod swarm;
pub mod table;
pub mod topology;
mod trace;
mod workload;
pub mod world;

pub use plan::Plan;
pub use report::{Runs, Seeds, Summary, run_seeds};
pub use run::{RunReport, run};
