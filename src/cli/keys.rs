//! Keys on the command line: files that only their owner may read, and what follows from them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::options::Insecure;
use super::status::Failure;
use crate::crypto::{Csprng, Identity, PresharedKey, Suite};
use crate::sys::process::random_bytes;
use crate::time::{Clock, MonotonicClock, wall_at_zero_ns};
use crate::transport::security::Security;

/// A key file is a few lines; more is not one.
const KEY_FILE_SIZE_MAX: u64 = 4_096;

/// A generator that nobody can guess.
///
/// # Errors
/// [`Failure`] when the kernel has no randomness.
pub fn random() -> Result<Csprng, Failure> {
    let mut seed = [0; 32];
    random_bytes(&mut seed)
        .map_err(|error| Failure::run(format!("the kernel gave no random bytes: {error}")))?;
    Ok(Csprng::new(seed))
}

/// Reads a file of a secret, which only its owner may read: else it is none.
fn read_secret(path: &Path, what: &str) -> Result<Zeroizing<String>, Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| Failure::usage(format!("cannot read the {what} {shown}: {error}"));
    let file = File::open(path).map_err(failed)?;
    // Of the file that is open, not of what bears its name by then.
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        return Err(Failure::usage(format!(
            "{shown} can be read by others (mode {:03o}): run `chmod 600 {shown}`, and make a new key if anyone may have read it",
            mode & 0o777
        )));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(KEY_FILE_SIZE_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Reads an identity that `ringwire keygen` wrote.
///
/// # Errors
/// [`Failure`], also for a file that others may read: its key is not secret any more.
pub fn read_identity(path: &Path) -> Result<Identity, Failure> {
    let text = read_secret(path, "identity")?;
    Identity::from_file(&text)
        .map_err(|error| Failure::usage(format!("the identity {}: {error}", path.display())))
}

/// Reads a pre-shared key that `ringwire keygen --preshared` wrote.
fn read_preshared(path: &Path) -> Result<PresharedKey, Failure> {
    let text = read_secret(path, "pre-shared key")?;
    PresharedKey::from_file(&text)
        .map_err(|error| Failure::usage(format!("the pre-shared key {}: {error}", path.display())))
}

/// The flags that say what a process proves by.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The file of its identity.
    pub identity: Option<&'a Path>,
    /// The file of a secret that both ends hold.
    pub preshared: Option<&'a Path>,
    /// What it would seal with.
    pub suite: Option<Suite>,
    /// Nothing is proven, and where.
    pub insecure: Option<Insecure>,
}

/// What a process proves by: its identity, one for the day where none is given, or nothing.
///
/// # Errors
/// [`Failure`] for a file that cannot be used.
pub fn security(proof: &Proof<'_>) -> Result<Security, Failure> {
    match proof.insecure {
        Some(Insecure::Anywhere) => return Ok(Security::insecure_anywhere()),
        Some(Insecure::Loopback) => return Ok(Security::insecure()),
        None => {}
    }
    let identity = match proof.identity {
        Some(path) => read_identity(path)?,
        None => Identity::generate(&mut random()?),
    };
    let preshared = proof.preshared.map(read_preshared).transpose()?;
    let mut security = Security::sealed(&identity, preshared, wall_at_zero_ns(), MonotonicClock.now());
    security.suite = proof.suite.unwrap_or(security.suite);
    Ok(security)
}
