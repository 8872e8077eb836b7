//! How the command ends: the exit statuses that scripts rely on.

use std::process::ExitCode;

/// An exit status: scripts rely on what each one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything held.
    Ok,
    /// The run failed: a call failed or its fate is unknown, bytes were wrong, a server did not answer.
    Failed,
    /// The command line makes no sense; clap ends with the same status.
    Usage,
    /// Broken off by a signal; what was measured until then was printed.
    Interrupted,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(match status {
            Status::Ok => 0,
            Status::Failed => 1,
            Status::Usage => 2,
            Status::Interrupted => 130,
        })
    }
}

/// Why a verb ended without a result: a line for the operator and a status for the script.
#[derive(Debug)]
pub struct Failure {
    /// What failed, on what, and what to try.
    pub text: String,
    /// How the process ends.
    pub status: Status,
}

impl Failure {
    /// The run failed.
    #[must_use]
    pub fn run(text: impl Into<String>) -> Self {
        Self { text: text.into(), status: Status::Failed }
    }

    /// The command line parses but asks for what cannot be.
    #[must_use]
    pub fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), status: Status::Usage }
    }
}
