//! endpoint
#![forbid(unsafe_code)]
