//! irqbalance, by its socket: which interrupts it leaves where they are. What it may move, it moves back
//! within seconds of an apply. Protocol: irqbalance(1), section API; root alone is answered, by the
//! credentials that come with the message.

use std::fs;
use std::io::{self, IoSlice, Read};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixCredentials, sendmsg};

use super::super::cpus::{Cpus, parse_list, show_list};
use super::attributes::explained;

/// How no interrupt at all is written.
pub(super) const NONE: &str = "none";

/// The interrupts that it leaves alone, as a list, or `none`.
///
/// # Errors
/// `ENOENT` where it does not run, `EPERM` where it does not answer this user.
pub(super) fn read(name: &str) -> io::Result<String> {
    if name != BANNED {
        return Err(absent());
    }
    let banned = parse_setup(&ask("setup")?)?;
    Ok(if banned.is_empty() { NONE.into() } else { show_list(&banned) })
}

/// Sets them: what it left alone before and is not named here, it moves again.
///
/// # Errors
/// As in [`read`]; `EINVAL` for what is no list.
pub(super) fn write(name: &str, value: &str) -> io::Result<()> {
    if name != BANNED {
        return Err(absent());
    }
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let banned = if value == NONE { Cpus::new() } else { parse_list(value).ok_or_else(invalid)? };
    // It closes the connection when the command is done; to one who may not, it does so as well, and the
    // value that is read back tells.
    ask(&ban_command(&banned)).map(|_| ())
}

fn ban_command(banned: &Cpus) -> String {
    let numbers: Vec<String> = banned.iter().map(usize::to_string).collect();
    let numbers = if numbers.is_empty() { "NONE".into() } else { numbers.join(" ") };
    format!("settings ban irqs {numbers}")
}

/// `SLEEP 10 IRQ 61 LOAD 0 DIFF 0 CLASS 5 BANNED 00000000`: one IRQ for each that is banned.
fn parse_setup(answer: &str) -> io::Result<Cpus> {
    if !answer.starts_with("SLEEP ") {
        let text = "irqbalance did not answer: it does so to root alone";
        return Err(explained(libc::EPERM, text.into()));
    }
    let mut words = answer.split_whitespace();
    let mut banned = Cpus::new();
    while let Some(word) = words.next() {
        if word == "IRQ" {
            banned.extend(words.next().and_then(|number| number.parse::<usize>().ok()));
        }
    }
    Ok(banned)
}

/// One command, and all that is answered.
fn ask(command: &str) -> io::Result<String> {
    let mut stream = connect()?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let credentials = UnixCredentials::new();
    let control = [ControlMessage::ScmCredentials(&credentials)];
    let bytes = [IoSlice::new(command.as_bytes())];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(stream.as_raw_fd(), &bytes, &control, flags, None)?;
    if sent != command.len() {
        return Err(io::Error::other("irqbalance took half of the command"));
    }
    let mut answer = Vec::new();
    match stream.by_ref().take(ANSWER_SIZE_MAX).read_to_end(&mut answer) {
        // It closed with the command unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(String::new()),
        Err(error) => Err(error),
        Ok(_) => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn connect() -> io::Result<UnixStream> {
    let mut refused = None;
    for address in addresses() {
        match UnixStream::connect_addr(&address) {
            Ok(stream) => return Ok(stream),
            // Left behind by one that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| explained(libc::ENOENT, "irqbalance does not run here".into())))
}

/// Its socket bears its process id: a file, or before 1.5 and where it cannot make one, an abstract name.
fn addresses() -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        if is_socket_name(entry.file_name().as_bytes()) {
            found.extend(SocketAddr::from_pathname(entry.path()));
        }
    }
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    found.extend(
        table.lines().filter_map(abstract_name).filter_map(|n| SocketAddr::from_abstract_name(n).ok()),
    );
    found
}

/// A line of `/proc/net/unix` ends in the name; bytes of zero are shown as `@`.
fn abstract_name(line: &str) -> Option<Vec<u8>> {
    let name = line.split_whitespace().nth(7)?.strip_prefix('@')?;
    let plain = name.trim_end_matches('@');
    let of_path = Path::new(plain).file_name()?.as_bytes();
    is_socket_name(of_path).then(|| name.bytes().map(|byte| if byte == b'@' { 0 } else { byte }).collect())
}

/// `irqbalance1234.sock`
fn is_socket_name(name: &[u8]) -> bool {
    let number = name.strip_prefix(b"irqbalance").and_then(|rest| rest.strip_suffix(b".sock"));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

fn absent() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

const BANNED: &str = "banned-irqs";
const FOLDER: &str = "/run/irqbalance";
/// It answers between two rounds of its work.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Some thousand interrupts.
const ANSWER_SIZE_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_answers_is_read_and_silence_is_no_permission() {
        let setup =
            "SLEEP 10 IRQ 61 LOAD 12 DIFF 3 CLASS 5 IRQ 62 LOAD 0 DIFF 0 CLASS 5 BANNED 00000000,0000000f";
        assert_eq!(show_list(&parse_setup(setup).expect("an answer")), "61-62");
        assert_eq!(parse_setup("SLEEP 10 BANNED 0").expect("an answer"), Cpus::new());
        let error = parse_setup("").expect_err("silence");
        assert_eq!(super::super::attributes::number_of(&error), Some(libc::EPERM));
    }

    #[test]
    fn commands_are_those_of_the_manual() {
        assert_eq!(ban_command(&Cpus::from([61, 62, 70])), "settings ban irqs 61 62 70");
        assert_eq!(ban_command(&Cpus::new()), "settings ban irqs NONE");
    }

    #[test]
    fn its_socket_is_known_by_name_and_others_are_not_talked_to() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 4711 @irqbalance812.sock@@@";
        assert_eq!(abstract_name(line).as_deref(), Some(&b"irqbalance812.sock\0\0\0"[..]));
        for other in ["@irqbalance.sock", "/run/irqbalance/irqbalance8.sock", "@other812.sock", ""] {
            assert_eq!(abstract_name(&format!("0: 2 0 1 1 01 4711 {other}")), None, "{other}");
        }
        assert!(is_socket_name(b"irqbalance1.sock") && !is_socket_name(b"irqbalance-ui1.sock"));
    }
}
