//! `ringwire man` and `ringwire completions`: the manual and the shells' completions, made from the same
//! definition that parses the command line, so that they cannot say anything else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::output::print_line;
use super::status::{Failure, Status};

/// `ringwire man`.
#[derive(Args, Clone, Debug)]
#[command(about = "Print the manual, or write a page for every verb", after_help = MAN_EXAMPLES)]
pub struct ManArgs {
    /// Write one page a verb into DIR, such as /usr/share/man/man1; without it, ringwire(1) goes to stdout
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

const MAN_EXAMPLES: &str = "\
Examples:
  ringwire man                        ringwire(1), for `man -l -`
  ringwire man --output man1          every page: ringwire.1, ringwire-tune-apply.1, …
  ringwire man --output .             into this folder";

/// `ringwire completions`.
#[derive(Args, Clone, Debug)]
#[command(about = "Print what completes the command line in a shell", after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  ringwire completions bash           into /usr/share/bash-completion/completions/ringwire
  ringwire completions zsh            into a folder of $fpath, as _ringwire
  ringwire completions fish           into ~/.config/fish/completions/ringwire.fish";

/// Prints or writes the manual.
///
/// # Errors
/// [`Failure`] when it cannot be written.
pub fn run_man(args: &ManArgs) -> Result<Status, Failure> {
    let mut root = Cli::command();
    root.build();
    let failure = |error: io::Error| Failure::run(format!("cannot write the manual: {error}"));
    match &args.output {
        None => print_line(page(&root).map_err(failure)?.trim_end())?,
        Some(folder) => {
            fs::create_dir_all(folder).map_err(failure)?;
            write_pages(&root, folder).map_err(failure)?;
        }
    }
    Ok(Status::Ok)
}

fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(folder.join(format!("{name}.1")), page(command)?)?;
    let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
    verbs.into_iter().try_for_each(|verb| write_pages(verb, folder))
}

fn page(command: &Command) -> io::Result<String> {
    let mut text = Vec::new();
    // A verb has no version of its own.
    clap_mangen::Man::new(command.clone().version(env!("CARGO_PKG_VERSION"))).render(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

/// Prints a shell's completions.
///
/// # Errors
/// [`Failure`] when stdout is gone.
pub fn run_completions(args: &CompletionsArgs) -> Result<Status, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ringwire", &mut text);
    print_line(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Status::Ok)
}
