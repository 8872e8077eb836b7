//! rpc
#![forbid(unsafe_code)]
