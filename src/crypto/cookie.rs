//! Stateless cookies: proof that a client receives what is sent to the address it claims, at the
//! price of one hash and no memory (S04, RFC 9000 §8.1).

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip128::{Hasher128, SipHasher24};

use super::equal_in_constant_time;
use crate::time::Timestamp;

/// Why a cookie was not taken. None is answered with more than a fresh cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// It is not [`COOKIE_SIZE`] bytes long.
    #[error("a cookie of {size} bytes is none of ours")]
    Size {
        /// Its size, in bytes.
        size: usize,
    },
    /// Issued too long ago, or not yet.
    #[error("the cookie has expired")]
    Expired,
    /// Made by someone else, for another address, session or boot, or by a secret since retired.
    #[error("the cookie was not issued to this client")]
    Forged,
}

/// Issues and checks cookies with a rotating secret of which two are alive: cookies issued just
/// before a rotation stay good.
#[derive(Clone)]
pub struct CookieJar {
    current: [u8; 16],
    previous: [u8; 16],
    rotated: Timestamp,
}

/// What a cookie is issued to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieHolder {
    /// The client's address.
    pub remote: SocketAddr,
    /// The session id the client chose.
    pub session: u64,
    /// The client's boot id.
    pub boot: u64,
}

impl std::fmt::Debug for CookieJar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieJar(..)")
    }
}

impl CookieJar {
    /// A jar with two secrets from the kernel's generator.
    #[must_use]
    pub fn new(now: Timestamp, secrets: [[u8; 16]; 2]) -> Self {
        Self { current: secrets[0], previous: secrets[1], rotated: now }
    }

    /// Whether the secret is old enough for [`CookieJar::rotate`].
    #[must_use]
    pub fn rotation_due(&self, now: Timestamp) -> bool {
        now.since_ns(self.rotated) >= LIFETIME_NS
    }

    /// Retires the older secret; `secret` comes from the kernel's generator.
    pub fn rotate(&mut self, now: Timestamp, secret: [u8; 16]) {
        self.previous = std::mem::replace(&mut self.current, secret);
        self.rotated = now;
    }

    /// A cookie for `holder`.
    #[must_use]
    pub fn issue(&self, now: Timestamp, holder: &CookieHolder) -> [u8; COOKIE_SIZE] {
        let mut cookie = [0; COOKIE_SIZE];
        cookie[..8].copy_from_slice(&now.0.to_le_bytes());
        cookie[8..].copy_from_slice(&mac(&self.current, now, holder));
        cookie
    }

    /// Checks a cookie that came back; when it was issued.
    ///
    /// # Errors
    /// [`CookieError`]: treat the client as one without a cookie.
    pub fn verify(
        &self,
        now: Timestamp,
        holder: &CookieHolder,
        cookie: &[u8],
    ) -> Result<Timestamp, CookieError> {
        let cookie: &[u8; COOKIE_SIZE] =
            cookie.try_into().map_err(|_| CookieError::Size { size: cookie.len() })?;
        let (issued, tag) = cookie.split_first_chunk::<8>().expect("a cookie is longer than its time");
        let tag: &[u8; 16] = tag.try_into().expect("a cookie is a time and a tag");
        let issued = Timestamp(u64::from_le_bytes(*issued));
        // Both are computed always: which secret matched does not show in the time taken.
        let current = equal_in_constant_time(&mac(&self.current, issued, holder), tag);
        let previous = equal_in_constant_time(&mac(&self.previous, issued, holder), tag);
        if !(current | previous) {
            Err(CookieError::Forged)
        } else if issued > now || now.since_ns(issued) > LIFETIME_NS {
            Err(CookieError::Expired)
        } else {
            Ok(issued)
        }
    }
}

fn mac(secret: &[u8; 16], issued: Timestamp, holder: &CookieHolder) -> [u8; 16] {
    let address = match holder.remote.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(&address.octets());
    hasher.write(&holder.remote.port().to_le_bytes());
    hasher.write(&holder.session.to_le_bytes());
    hasher.write(&holder.boot.to_le_bytes());
    hasher.write(&issued.0.to_le_bytes());
    hasher.finish128().as_bytes()
}

/// Bytes of a cookie: time of issue and tag.
pub const COOKIE_SIZE: usize = 24;
/// How long a cookie is good, and how long a secret makes new ones.
const LIFETIME_NS: u64 = 30_000_000_000;

const _: () = assert!(COOKIE_SIZE <= crate::wire::COOKIE_SIZE_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn jar() -> CookieJar {
        CookieJar::new(Timestamp(0), [[1; 16], [2; 16]])
    }

    fn holder() -> CookieHolder {
        CookieHolder { remote: "192.0.2.1:4000".parse().unwrap(), session: 7, boot: 9 }
    }

    #[test]
    fn a_cookie_comes_back_good_for_thirty_seconds() {
        let cookie = jar().issue(Timestamp(S), &holder());
        assert_eq!(jar().verify(Timestamp(31 * S), &holder(), &cookie), Ok(Timestamp(S)));
        for now in [31 * S + 1, S - 1] {
            assert_eq!(jar().verify(Timestamp(now), &holder(), &cookie), Err(CookieError::Expired));
        }
    }

    #[test]
    fn a_cookie_is_good_only_for_whom_it_was_issued_to() {
        let cookie = jar().issue(Timestamp(S), &holder());
        for other in [
            CookieHolder { remote: "192.0.2.2:4000".parse().unwrap(), ..holder() },
            CookieHolder { remote: "192.0.2.1:4001".parse().unwrap(), ..holder() },
            CookieHolder { remote: "[2001:db8::1]:4000".parse().unwrap(), ..holder() },
            CookieHolder { session: 8, ..holder() },
            CookieHolder { boot: 10, ..holder() },
        ] {
            assert_eq!(jar().verify(Timestamp(S), &other, &cookie), Err(CookieError::Forged), "{other:?}");
        }
    }

    #[test]
    fn a_cookie_with_any_bit_changed_or_any_byte_missing_is_refused() {
        let cookie = jar().issue(Timestamp(S), &holder());
        for bit in 0..COOKIE_SIZE * 8 {
            let mut changed = cookie;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(jar().verify(Timestamp(S), &holder(), &changed), Err(CookieError::Forged));
        }
        for size in 0..COOKIE_SIZE {
            let cut = jar().verify(Timestamp(S), &holder(), &cookie[..size]);
            assert_eq!(cut, Err(CookieError::Size { size }));
        }
    }

    #[test]
    fn a_cookie_outlives_one_rotation_and_not_two() {
        let mut jar = jar();
        assert!(!jar.rotation_due(Timestamp(29 * S)));
        assert!(jar.rotation_due(Timestamp(30 * S)));
        let cookie = jar.issue(Timestamp(30 * S), &holder());
        jar.rotate(Timestamp(30 * S), [3; 16]);
        assert_eq!(jar.verify(Timestamp(31 * S), &holder(), &cookie), Ok(Timestamp(30 * S)));
        jar.rotate(Timestamp(31 * S), [4; 16]);
        assert_eq!(jar.verify(Timestamp(31 * S), &holder(), &cookie), Err(CookieError::Forged));
    }

    #[test]
    fn ipv6_addresses_are_told_apart() {
        let a = CookieHolder { remote: "[2001:db8::1]:1".parse().unwrap(), ..holder() };
        let b = CookieHolder { remote: "[2001:db8::2]:1".parse().unwrap(), ..holder() };
        let cookie = jar().issue(Timestamp(0), &a);
        assert_eq!(jar().verify(Timestamp(0), &a, &cookie), Ok(Timestamp(0)));
        assert_eq!(jar().verify(Timestamp(0), &b, &cookie), Err(CookieError::Forged));
    }

    #[test]
    fn the_secrets_do_not_show_in_logs() {
        assert_eq!(format!("{:?}", jar()), "CookieJar(..)");
    }
}
