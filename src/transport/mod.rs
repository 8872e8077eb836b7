//! transport
#![forbid(unsafe_code)]
