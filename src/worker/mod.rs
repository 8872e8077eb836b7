//! worker
#![forbid(unsafe_code)]

pub mod impair;
pub mod pcap;
pub mod tap;
