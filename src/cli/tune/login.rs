//! Where this login comes from: an SSH connection is a way to this host that must not be cut.

use std::fs;
use std::net::IpAddr;

/// The address of this host that an SSH connection above this process came to.
#[must_use]
pub fn address() -> Option<IpAddr> {
    if let Ok(text) = std::env::var("SSH_CONNECTION") {
        return server_address(&text);
    }
    // sudo takes the variable away: whoever is above it may still have it.
    let mut id = std::process::id();
    for _ in 0..ANCESTORS_MAX {
        id = parent(id).filter(|id| *id > 1)?;
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let found = environment.split(|&byte| byte == 0).find_map(|entry| {
            std::str::from_utf8(entry).ok()?.strip_prefix("SSH_CONNECTION=").and_then(server_address)
        });
        if found.is_some() {
            return found;
        }
    }
    None
}

/// `CLIENT PORT SERVER PORT`.
fn server_address(text: &str) -> Option<IpAddr> {
    text.split(' ').nth(2)?.parse().ok()
}

fn parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold blanks and parentheses: fields count from its end.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A shell in a terminal in a session of sudo is five.
const ANCESTORS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_end_of_the_connection_counts() {
        assert_eq!(server_address("192.0.2.1 51000 192.0.2.9 22"), "192.0.2.9".parse().ok());
        assert_eq!(server_address("nonsense"), None);
        assert!(parent(std::process::id()).is_some());
    }
}
