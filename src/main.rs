//! The `ringwire` command.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    ringwire::cli::main()
}
