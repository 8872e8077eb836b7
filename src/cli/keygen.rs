//! `ringwire keygen`: makes an identity.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::keys::{random, read_identity};
use super::output::print_line;
use super::status::{Failure, Status};
use crate::crypto::{Identity, PresharedKey};

/// `ringwire keygen`.
#[derive(Args, Clone, Debug)]
#[command(about = "Make an identity: a private key in a file, and the public key it is known by", after_help = EXAMPLES)]
pub struct KeygenArgs {
    /// Where to write the identity, mode 600; it must not exist. Without it, it goes to stdout
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the public key of the identity that FILE holds, and write nothing
    #[arg(long, requires = "file")]
    pub show: bool,
    /// Make a secret for both ends instead, to be given beside their keys
    #[arg(long, conflicts_with = "show")]
    pub preshared: bool,
}

const EXAMPLES: &str = "\
Examples:
  ringwire keygen /etc/ringwire/identity             writes the private key, prints the public one
  ringwire keygen --show /etc/ringwire/identity      prints the public key again
  ringwire keygen --preshared /etc/ringwire/shared   writes a secret for both ends";

/// Makes the identity.
///
/// # Errors
/// [`Failure`]; a file that exists is never overwritten.
pub fn run(args: &KeygenArgs) -> Result<Status, Failure> {
    if let (Some(path), true) = (&args.file, args.show) {
        print_line(&read_identity(path)?.public_key().to_string())?;
        return Ok(Status::Ok);
    }
    if args.preshared {
        let text = PresharedKey::generate(&mut random()?).to_file();
        return match &args.file {
            Some(path) => write_secret(path, &text),
            None => print_line(text.trim_end()),
        }
        .map(|()| Status::Ok);
    }
    let identity = Identity::generate(&mut random()?);
    let Some(path) = &args.file else {
        print_line(identity.to_file().trim_end())?;
        return Ok(Status::Ok);
    };
    write_secret(path, &identity.to_file())?;
    print_line(&identity.public_key().to_string())?;
    Ok(Status::Ok)
}

/// Writes a file that only its owner may read, and never over another.
fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let shown = path.display();
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::usage(format!(
            "{shown} exists and is left as it is: whoever knows its key would no longer find it; remove it first, or name another file"
        )),
        _ => Failure::usage(format!("cannot write {shown}: {error}")),
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| Failure::run(format!("cannot write {shown}: {error}")))
}
