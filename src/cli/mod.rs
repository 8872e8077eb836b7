//! The `ringwire` command: reads the command line, runs a verb, and ends with a status that scripts
//! can rely on (0 ok, 1 run failed, 2 usage, 130 interrupted).
//!
//! Not for measuring or serving: a verb turns flags into a plan and hands it to its room. One clap
//! definition is the parser, the help and the list of what is built: a verb, flag or value that is
//! not there does not parse.
//!
//! ```text
//! argv --clap--> bench | serve | limits | doctor --plan--> bench::*, tune::* --report--> stdout
//!                                                                progress --> stderr
//! ```
//!
//! Invariant: results go to stdout, everything else to stderr.
#![forbid(unsafe_code)]

pub mod interrupt;
pub mod options;
pub mod status;
