//! transport
#![forbid(unsafe_code)]

pub mod ack_tracker;
pub mod channel;
pub mod congestion;
pub mod credit;
pub mod pacer;
pub mod planted;
pub mod reassembly;
pub mod received;
pub mod rtt;
pub mod spans;
pub mod timer_wheel;
pub mod unit_window;
