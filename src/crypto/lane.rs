//! Where a session's lanes have their keys from: a secret that the handshake left beside the traffic
//! keys, and the lane's two ids. No second handshake, and no traffic key that was replaced comes back.
//!
//! ```text
//!  secret 0 of the client's direction --"lane"--> lane secret --"lane keys", who asked, both ids--> Keys
//!            |
//!            +--"key", "iv", "update"--> traffic keys (P-11.5)
//! ```

use super::kdf::expand_with;
use super::{Keys, Role, SECRET_SIZE, Secret};

/// What the keys of a session's lanes are made from. Kept while the session lives, wiped with it.
#[derive(Clone, Debug)]
pub struct LaneSecret(Secret);

impl LaneSecret {
    /// The lane secret of the session that a handshake gave `keys`.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Self(Secret(expand_with(&keys.client_to_server.0, "lane", &[])))
    }

    /// The keys of the lane that its asker calls `asked` and its granter `granted`: in them the asker is
    /// the client. `asker` is which end of the handshake it was, so that two lanes whose ids are the same
    /// the other way round have nothing in common.
    #[must_use]
    pub fn keys(&self, asker: Role, asked: u64, granted: u64) -> Keys {
        let mut info = [0; 17];
        info[0] = match asker {
            Role::Client => 0,
            Role::Server => 1,
        };
        info[1..9].copy_from_slice(&asked.to_le_bytes());
        info[9..].copy_from_slice(&granted.to_le_bytes());
        let mut bytes: [u8; 2 * SECRET_SIZE] = expand_with(&self.0.0, "lane keys", &info);
        let half = |half: &[u8]| Secret(half.try_into().expect("a half of two secrets is one"));
        let keys = Keys {
            client_to_server: half(&bytes[..SECRET_SIZE]),
            server_to_client: half(&bytes[SECRET_SIZE..]),
        };
        zeroize::Zeroize::zeroize(&mut bytes);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(fill: u8) -> LaneSecret {
        LaneSecret::new(&Keys {
            client_to_server: Secret([fill; SECRET_SIZE]),
            server_to_client: Secret([!fill; SECRET_SIZE]),
        })
    }

    #[test]
    fn a_lanes_keys_follow_from_the_handshake_who_asked_and_both_ids() {
        let keys = secret(1).keys(Role::Client, 7, 9);
        assert_eq!(keys, secret(1).keys(Role::Client, 7, 9));
        for other in [
            secret(2).keys(Role::Client, 7, 9),
            secret(1).keys(Role::Server, 7, 9),
            secret(1).keys(Role::Client, 9, 7),
            secret(1).keys(Role::Client, 7, 8),
        ] {
            assert_ne!(keys.client_to_server, other.client_to_server);
            assert_ne!(keys.server_to_client, other.server_to_client);
        }
        assert_ne!(keys.client_to_server, keys.server_to_client);
    }

    #[test]
    fn a_lanes_keys_are_those_that_another_implementation_computes() {
        // HKDF-Expand by hand, with another HMAC than ours: `scripts/lane-vector`.
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let keys = secret(0x42).keys(Role::Server, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        assert_eq!(hex(&keys.client_to_server.0), CLIENT_TO_SERVER);
        assert_eq!(hex(&keys.server_to_client.0), SERVER_TO_CLIENT);
    }

    const CLIENT_TO_SERVER: &str = "0f7a21bc556083d5f98ae0a890fa2e6feb530732df492888b6cad2432a59860b";
    const SERVER_TO_CLIENT: &str = "b84b432262a38526d41d09dc125707c6bc132c9b848f949c01a7a0169c38b453";

    #[test]
    fn a_lane_secret_does_not_show_in_logs() {
        assert_eq!(format!("{:?}", secret(3)), "LaneSecret(Secret(..))");
    }
}
