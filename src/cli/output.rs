//! Lines on stdout.

use std::io::{ErrorKind, Write};

use super::status::{Failure, Status};

/// Prints one line. A reader that has gone away, as `head` does, ends the command without a word.
///
/// # Errors
/// [`Failure`] when stdout cannot be written to.
pub fn print_line(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure { text: String::new(), status: Status::Failed },
        _ => Failure::run(format!("cannot write to stdout: {error}")),
    })
}
