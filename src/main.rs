//! The `ringwire` command.
#![forbid(unsafe_code)]

fn main() {}
