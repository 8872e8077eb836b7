//! What congestion control comes to, in the simulator: figures in goodput, queue and completion time.
//!
//! Each test runs the product's own workers over a topology of queues in virtual time, from a seed that it prints.
//! Nothing depends on the host's speed. `RINGWIRE_LONG=1` (by `scripts/congestion`) runs longer and with more seeds.

#[path = "congestion/ecn.rs"]
mod ecn;
#[path = "congestion/fairness.rs"]
mod fairness;
#[path = "congestion/incast.rs"]
mod incast;
#[path = "congestion/scene.rs"]
mod scene;
#[path = "congestion/wan.rs"]
mod wan;
