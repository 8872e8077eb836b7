//! Stateless reset tokens (RFC 9000 §10.3): how an end that lost its sessions tells a peer so without
//! remembering anything, and how nobody else can.

use siphasher::sip128::SipHasher24;

use super::equal_in_constant_time;

/// Makes the token of each of an end's session ids. An end tells its token to the peer inside the
/// handshake; only who knows it can end the session by it.
#[derive(Clone)]
pub struct ResetKey([u8; 16]);

impl ResetKey {
    /// `secret` comes from the identity, or from the kernel's generator where there is none; tokens
    /// outlive a restart only if the secret does (D10).
    #[must_use]
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// The token of the session that this end calls `session`.
    #[must_use]
    pub fn token(&self, session: u64) -> [u8; 16] {
        SipHasher24::new_with_key(&self.0).hash(&session.to_le_bytes()).as_bytes()
    }

    /// Whether `received` is the token a peer told us, compared in constant time (L58, RFC 9000
    /// §10.3.1).
    #[must_use]
    pub fn matches(told: &[u8; 16], received: &[u8; 16]) -> bool {
        equal_in_constant_time(told, received)
    }
}

impl std::fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResetKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_a_restart_with_the_same_secret() {
        let token = ResetKey::new([5; 16]).token(77);
        assert!(ResetKey::matches(&token, &ResetKey::new([5; 16]).token(77)));
    }

    #[test]
    fn tokens_differ_by_session_and_by_secret() {
        let token = ResetKey::new([5; 16]).token(77);
        assert!(!ResetKey::matches(&token, &ResetKey::new([5; 16]).token(78)));
        assert!(!ResetKey::matches(&token, &ResetKey::new([6; 16]).token(77)));
        assert_eq!(format!("{:?}", ResetKey::new([5; 16])), "ResetKey(..)");
    }
}
