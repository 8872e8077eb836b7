//! tune
#![forbid(unsafe_code)]
