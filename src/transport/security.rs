//! Who may talk to this endpoint, and what it proves by: the part of its settings that is about trust.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use crate::crypto::{
    Handshake, Identity, NoiseHandshake, NullHandshake, PresharedKey, PublicKey, ResetKey, Suite,
};
use crate::time::Timestamp;
use crate::transport::quota::Quotas;
use crate::transport::used_cookies::UsedCookies;

/// True for an address that only this host has: what goes there leaves it on no way.
#[must_use]
pub fn is_this_host(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// What an admitted key may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The methods it may call; `None`: all.
    pub methods: Option<Arc<[u32]>>,
    /// What it may take of one worker, where that differs from what the endpoint gives everyone.
    pub quotas: Quotas,
}

impl Admission {
    /// Whether `method` may be called.
    #[must_use]
    pub fn allows(&self, method: u32) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(&method))
    }
}

/// Why a call that arrived may not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Its caller's key may not call this method.
    Forbidden,
    /// Its caller's key has as much under way as it may: see [`Quota`](super::quota::Quota).
    OverQuota,
}

/// Decides which keys may open sessions. Asked by every worker, for each handshake and, when
/// [`Gate::generation`] has changed, for each session again.
pub trait Gate: fmt::Debug + Send + Sync {
    /// What `key` may do; `None`: it may not come in.
    fn admit(&self, key: &PublicKey) -> Option<Admission>;

    /// Changes whenever an earlier answer may no longer be true.
    fn generation(&self) -> u64 {
        0
    }
}

/// A gate that its owner keeps a hand on, to change whom it lets in.
impl<G: Gate + ?Sized> Gate for Arc<G> {
    fn admit(&self, key: &PublicKey) -> Option<Admission> {
        (**self).admit(key)
    }

    fn generation(&self) -> u64 {
        (**self).generation()
    }
}

/// Lets every key in.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn admit(&self, _key: &PublicKey) -> Option<Admission> {
        Some(Admission::default())
    }
}

/// What an endpoint proves by, and whom it believes. Shared by its workers.
#[derive(Clone, Debug)]
pub struct Security {
    /// How secrets are agreed on.
    pub provider: Arc<dyn Handshake>,
    /// Who may open sessions.
    pub gate: Arc<dyn Gate>,
    /// Which first messages came before.
    pub freshness: Arc<Freshness>,
    /// What this end's reset tokens are made from.
    pub reset_key: ResetKey,
    /// What this end would seal with.
    pub suite: Suite,
    /// Without sealing: also with peers on other hosts. With it, of no meaning.
    pub anywhere: bool,
    /// The wall clock's reading, in nanoseconds since 1970, where the worker's clock reads zero.
    pub wall_at_zero_ns: u64,
}

impl Security {
    /// Sealed sessions in the name of `identity`. `wall_at_zero_ns` is the wall clock's reading where the
    /// worker's clock, which reads `now`, reads zero. Its gate lets every key in: see [`Security::gate`].
    #[must_use]
    pub fn sealed(
        identity: &Identity,
        preshared: Option<PresharedKey>,
        wall_at_zero_ns: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            provider: Arc::new(NoiseHandshake::new(identity.clone(), preshared)),
            gate: Arc::new(OpenGate),
            freshness: Arc::new(Freshness::new(wall_at_zero_ns.wrapping_add(now.0))),
            reset_key: identity.reset_key(),
            suite: Suite::preferred(),
            anywhere: false,
            wall_at_zero_ns,
        }
    }

    /// Nothing is hidden or proven: for measuring, and only between processes of one host.
    #[must_use]
    pub fn insecure() -> Self {
        Self {
            provider: Arc::new(NullHandshake),
            gate: Arc::new(OpenGate),
            freshness: Arc::new(Freshness::new(0)),
            reset_key: ResetKey::new([0; 16]),
            suite: Suite::Insecure,
            anywhere: false,
            wall_at_zero_ns: 0,
        }
    }

    /// [`Security::insecure`] over any network: whoever is on the way reads and writes along.
    #[must_use]
    pub fn insecure_anywhere() -> Self {
        Self { anywhere: true, ..Self::insecure() }
    }

    /// The wall clock's reading at `now`.
    pub(crate) fn wall_ns(&self, now: Timestamp) -> u64 {
        self.wall_at_zero_ns.wrapping_add(now.0)
    }
}

/// Which first messages came before, by the clock reading that each client sealed into its own.
///
/// A replayed message never carries a newer reading than the one it copies. Where a reading proves
/// nothing (an unknown client before this process began, a clock that was set back) the client is asked
/// for a cookie, which its next message binds: that, too, counts once.
pub struct Freshness(Mutex<Seen>);

struct Seen {
    /// The newest reading of each.
    clients: FxHashMap<PublicKey, u64>,
    cookies: UsedCookies,
    /// Readings up to here prove nothing of clients that are not listed.
    floor_ns: u64,
}

/// Clients remembered; then all are forgotten at once, and prove themselves by cookies again.
const CLIENTS_MAX: usize = 16_384;
/// How far a client's clock may be from ours before its reading proves nothing.
const SKEW_NS_MAX: u64 = 30_000_000_000;

impl Freshness {
    /// Nothing was seen before `wall_ns`, so nothing from before is fresh.
    #[must_use]
    pub fn new(wall_ns: u64) -> Self {
        Self(Mutex::new(Seen {
            clients: FxHashMap::default(),
            cookies: UsedCookies::default(),
            floor_ns: wall_ns,
        }))
    }

    /// Whether a first message of `client` is no copy of an earlier one, and remembers it if so. `cookie`
    /// is when the valid cookie that it binds was issued, and for which of the client's sessions.
    pub(crate) fn admit(
        &self,
        client: &PublicKey,
        stamp_ns: u64,
        wall_ns: u64,
        cookie: Option<(Timestamp, u64)>,
    ) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let last_ns = seen.clients.get(client).copied();
        let fresh = match cookie {
            Some((issued, session)) => seen.cookies.take((*client.as_bytes(), session), issued),
            None if stamp_ns.abs_diff(wall_ns) > SKEW_NS_MAX => false,
            None => stamp_ns > last_ns.unwrap_or(seen.floor_ns),
        };
        if fresh {
            if seen.clients.len() >= CLIENTS_MAX && last_ns.is_none() {
                seen.clients.clear();
                seen.floor_ns = seen.floor_ns.max(wall_ns.saturating_add(SKEW_NS_MAX));
            }
            // Never lowered: a client whose clock went back goes on by cookies.
            seen.clients.insert(*client, last_ns.unwrap_or(0).max(stamp_ns));
        }
        fresh
    }
}

impl fmt::Debug for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Freshness(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Csprng;

    const S: u64 = 1_000_000_000;

    fn client(seed: u8) -> PublicKey {
        Identity::generate(&mut Csprng::new([seed; 32])).public_key()
    }

    #[test]
    fn a_first_message_counts_once() {
        let seen = Freshness::new(100 * S);
        assert!(seen.admit(&client(1), 101 * S, 101 * S, None));
        assert!(!seen.admit(&client(1), 101 * S, 102 * S, None), "a copy");
        assert!(seen.admit(&client(1), 103 * S, 103 * S, None));
        assert!(!seen.admit(&client(1), 102 * S, 103 * S, None), "an older one, held back");
        assert!(seen.admit(&client(2), 102 * S, 103 * S, None), "of another client");
    }

    #[test]
    fn what_was_recorded_before_a_restart_is_not_fresh_after_it() {
        let seen = Freshness::new(100 * S);
        assert!(!seen.admit(&client(1), 99 * S, 101 * S, None));
        assert!(seen.admit(&client(1), 99 * S, 101 * S, Some((Timestamp(5), 1))));
        assert!(!seen.admit(&client(1), 99 * S, 101 * S, Some((Timestamp(5), 1))), "its copy");
    }

    #[test]
    fn a_client_whose_clock_was_set_back_or_is_far_off_goes_on_by_cookies() {
        let seen = Freshness::new(100 * S);
        assert!(seen.admit(&client(1), 120 * S, 110 * S, None));
        assert!(!seen.admit(&client(1), 90 * S, 111 * S, None));
        assert!(seen.admit(&client(1), 90 * S, 111 * S, Some((Timestamp(7), 1))));
        assert!(!seen.admit(&client(2), 10_000 * S, 111 * S, None));
        assert!(seen.admit(&client(2), 10_000 * S, 111 * S, Some((Timestamp(8), 1))));
    }

    #[test]
    fn cookies_that_come_back_out_of_order_or_were_issued_at_one_moment_all_count() {
        let seen = Freshness::new(100 * S);
        for (issued, session) in [(9, 1), (7, 2), (7, 3), (8, 4)] {
            let cookie = Some((Timestamp(issued), session));
            assert!(seen.admit(&client(1), 99 * S, 101 * S, cookie), "{issued} {session}");
            assert!(!seen.admit(&client(1), 99 * S, 101 * S, cookie), "its copy");
        }
    }

    #[test]
    fn a_flood_of_keys_does_not_grow_the_table_nor_make_copies_fresh() {
        let seen = Freshness::new(0);
        let key = client(1);
        assert!(seen.admit(&key, S, S, None));
        let mut inner = seen.0.lock().unwrap();
        for n in 0..CLIENTS_MAX as u64 {
            let mut bytes = [9; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            let Ok(other) = PublicKey::new(bytes) else { continue };
            inner.clients.insert(other, S);
        }
        drop(inner);
        assert!(seen.admit(&client(2), 2 * S, 2 * S, None));
        assert!(seen.0.lock().unwrap().clients.len() <= CLIENTS_MAX);
        assert!(!seen.admit(&key, S, 2 * S, None));
    }
}
