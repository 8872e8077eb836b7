//! What each peer's sessions take of this worker together.
//!
//! A session settles its account after each packet, not for each message: what it takes now in place of
//! what it took when it last settled.
//!
//! Invariant: an account's usage is the sum of what its open sessions last settled.

use std::collections::BTreeMap;

use crate::crypto::PublicKey;
use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::quota::{Allowance, Quota};

/// Names an account while a session of its is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountId(u32);

/// What a session, or all of a peer's, take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Calls that wait for this end's reply.
    pub(crate) calls: u64,
    /// Bytes set aside for messages in pieces.
    pub(crate) reassembly: u64,
    /// Bytes kept until the peer acknowledges them.
    pub(crate) unacked: u64,
}

/// What a session's peer may still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The bound that forbids the peer another call.
    pub(crate) over: Option<Quota>,
    /// Bytes that the session may set aside for messages in pieces.
    pub(crate) reassembly_max: u64,
}

/// What a session counts as, beside what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// This end asked for it: it counts nowhere.
    Own,
    /// The peer opened it by a handshake.
    Session,
    /// The peer asked for it over another: a session that is a lane, too.
    Lane,
}

#[derive(Debug)]
struct Account {
    peer: Option<PublicKey>,
    allowance: Allowance,
    sessions: u32,
    accepted: u32,
    lanes: u32,
    usage: Usage,
    /// When the application was last told of each quota.
    told: [Option<Timestamp>; 5],
}

impl Account {
    /// Where a session stands that set aside `own` bytes for messages in pieces.
    #[inline(always)]
    fn standing(&self, own: u64) -> Standing {
        let Self { usage, allowance, .. } = self;
        let over = if rarely(usage.calls > u64::from(allowance.calls)) {
            Some(Quota::Calls)
        } else if rarely(usage.unacked > allowance.unacked) {
            Some(Quota::Unacked)
        } else {
            None
        };
        Standing { over, reassembly_max: allowance.reassembly.saturating_sub(usage.reassembly - own) }
    }
}

/// The accounts of all peers with open sessions.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    accounts: Vec<Account>,
    free: Vec<u32>,
    // A tree, not a hash table: the peer chooses the keys (S11).
    by_peer: BTreeMap<PublicKey, u32>,
    /// When the application was last told of a peer that has no session and may have none.
    told_of_others: Option<Timestamp>,
}

/// The application hears of a peer at its bound at most this often.
const TELL_INTERVAL_NS: u64 = 1_000_000_000;

impl Accounts {
    /// One more session of `peer`, which may take `allowance` from here on.
    pub(crate) fn open(&mut self, peer: Option<&PublicKey>, allowance: Allowance, share: Share) -> AccountId {
        let known = peer.and_then(|peer| self.by_peer.get(peer)).copied();
        let id = known.unwrap_or_else(|| self.begin(peer, allowance));
        let account = &mut self.accounts[id as usize];
        account.allowance = allowance;
        account.sessions += 1;
        account.accepted += u32::from(share != Share::Own);
        account.lanes += u32::from(share == Share::Lane);
        AccountId(id)
    }

    fn begin(&mut self, peer: Option<&PublicKey>, allowance: Allowance) -> u32 {
        let account = Account {
            peer: peer.copied(),
            allowance,
            sessions: 0,
            accepted: 0,
            lanes: 0,
            usage: Usage::default(),
            told: [None; 5],
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.accounts[id as usize] = account;
                id
            }
            None => {
                self.accounts.push(account);
                (self.accounts.len() - 1) as u32
            }
        };
        if let Some(peer) = peer {
            self.by_peer.insert(*peer, id);
        }
        id
    }

    /// A session ended that had last settled `usage`.
    pub(crate) fn close(&mut self, id: AccountId, share: Share, usage: Usage) {
        self.settle(id, usage, Usage::default());
        let account = &mut self.accounts[id.0 as usize];
        account.sessions -= 1;
        account.accepted -= u32::from(share != Share::Own);
        account.lanes -= u32::from(share == Share::Lane);
        if account.sessions == 0 {
            debug_assert_eq!(account.usage, Usage::default());
            if let Some(peer) = account.peer.take() {
                self.by_peer.remove(&peer);
            }
            self.free.push(id.0);
        }
    }

    /// Sessions that `peer` asked for and that are open.
    pub(crate) fn accepted_from(&self, peer: &PublicKey) -> u32 {
        self.by_peer.get(peer).map_or(0, |&id| self.accounts[id as usize].accepted)
    }

    /// Of these, lanes.
    pub(crate) fn lanes_of(&self, peer: &PublicKey) -> u32 {
        self.by_peer.get(peer).map_or(0, |&id| self.accounts[id as usize].lanes)
    }

    /// A session takes `now` in place of `before`: what that leaves it.
    #[inline(always)]
    pub(crate) fn settle(&mut self, id: AccountId, before: Usage, now: Usage) -> Standing {
        let account = &mut self.accounts[id.0 as usize];
        let usage = &mut account.usage;
        usage.calls = usage.calls + now.calls - before.calls;
        usage.reassembly = usage.reassembly + now.reassembly - before.reassembly;
        usage.unacked = usage.unacked + now.unacked - before.unacked;
        account.standing(now.reassembly)
    }

    /// The peer may take `allowance` from here on.
    pub(crate) fn allow(&mut self, id: AccountId, allowance: Allowance) {
        self.accounts[id.0 as usize].allowance = allowance;
    }

    /// [`Accounts::tells`] of a peer that has a session; of all others together as often.
    pub(crate) fn tells_of(&mut self, peer: &PublicKey, quota: Quota, now: Timestamp) -> bool {
        match self.by_peer.get(peer).copied() {
            Some(id) => self.tells(AccountId(id), quota, now),
            None => is_due(&mut self.told_of_others, now),
        }
    }

    /// True when the application should hear that the peer is at this bound.
    pub(crate) fn tells(&mut self, id: AccountId, quota: Quota, now: Timestamp) -> bool {
        is_due(&mut self.accounts[id.0 as usize].told[quota as usize], now)
    }
}

fn is_due(told: &mut Option<Timestamp>, now: Timestamp) -> bool {
    let due = told.is_none_or(|at| now.since_ns(at) >= TELL_INTERVAL_NS);
    if due {
        *told = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Csprng, Identity};
    use crate::transport::quota::Quotas;

    fn key(seed: u8) -> PublicKey {
        Identity::generate(&mut Csprng::new([seed; 32])).public_key()
    }

    fn allowance(calls: u32) -> Allowance {
        let quotas = Quotas { calls: Some(calls), reassembly: Some(1_000), ..Quotas::default() };
        Allowance::decide(&quotas, &Quotas::default(), 0)
    }

    fn calls(calls: u64) -> Usage {
        Usage { calls, ..Usage::default() }
    }

    fn standing(accounts: &Accounts, id: AccountId, own: u64) -> Standing {
        accounts.accounts[id.0 as usize].standing(own)
    }

    #[test]
    fn sessions_of_one_key_share_an_account_and_those_of_others_do_not() {
        let mut accounts = Accounts::default();
        let a = accounts.open(Some(&key(1)), allowance(10), Share::Session);
        let b = accounts.open(Some(&key(1)), allowance(10), Share::Session);
        let other = accounts.open(Some(&key(2)), allowance(10), Share::Session);
        accounts.settle(a, Usage::default(), calls(6));
        accounts.settle(b, Usage::default(), calls(5));
        assert_eq!(standing(&accounts, a, 0).over, Some(Quota::Calls));
        assert_eq!(standing(&accounts, b, 0).over, Some(Quota::Calls));
        assert_eq!(standing(&accounts, other, 0).over, None);
        assert_eq!(accounts.accepted_from(&key(1)), 2);
        accounts.close(a, Share::Session, calls(6));
        assert_eq!(standing(&accounts, b, 0).over, None);
        assert_eq!(accounts.accepted_from(&key(1)), 1);
    }

    #[test]
    fn a_lane_counts_as_a_lane_and_as_a_session() {
        let mut accounts = Accounts::default();
        let session = accounts.open(Some(&key(1)), allowance(1), Share::Session);
        let lane = accounts.open(Some(&key(1)), allowance(1), Share::Lane);
        accounts.open(Some(&key(1)), allowance(1), Share::Own);
        assert_eq!((accounts.accepted_from(&key(1)), accounts.lanes_of(&key(1))), (2, 1));
        accounts.close(session, Share::Session, Usage::default());
        assert_eq!((accounts.accepted_from(&key(1)), accounts.lanes_of(&key(1))), (1, 1));
        accounts.close(lane, Share::Lane, Usage::default());
        assert_eq!((accounts.accepted_from(&key(1)), accounts.lanes_of(&key(1))), (0, 0));
    }

    #[test]
    fn who_has_no_key_has_an_account_for_each_session() {
        let mut accounts = Accounts::default();
        let a = accounts.open(None, allowance(1), Share::Session);
        let b = accounts.open(None, allowance(1), Share::Session);
        accounts.settle(a, Usage::default(), calls(2));
        assert!(standing(&accounts, a, 0).over.is_some() && standing(&accounts, b, 0).over.is_none());
    }

    #[test]
    fn accounts_are_forgotten_with_their_last_session() {
        let mut accounts = Accounts::default();
        for n in 0..100 {
            let id = accounts.open(Some(&key(n)), allowance(1), Share::Session);
            accounts.settle(id, Usage::default(), calls(3));
            accounts.close(id, Share::Session, calls(3));
        }
        assert_eq!((accounts.accounts.len(), accounts.by_peer.len()), (1, 0));
    }

    #[test]
    fn what_other_sessions_set_aside_is_not_there_for_this_one() {
        let mut accounts = Accounts::default();
        let a = accounts.open(Some(&key(1)), allowance(1), Share::Session);
        let b = accounts.open(Some(&key(1)), allowance(1), Share::Session);
        accounts.settle(a, Usage::default(), Usage { reassembly: 700, ..Usage::default() });
        assert_eq!(standing(&accounts, b, 0).reassembly_max, 300);
        assert_eq!(standing(&accounts, a, 700).reassembly_max, 1_000);
    }

    #[test]
    fn the_application_hears_of_a_bound_once_a_second() {
        let mut accounts = Accounts::default();
        let id = accounts.open(None, allowance(1), Share::Session);
        assert!(accounts.tells(id, Quota::Calls, Timestamp(5)));
        assert!(!accounts.tells(id, Quota::Calls, Timestamp(500_000_000)));
        assert!(accounts.tells(id, Quota::Unacked, Timestamp(500_000_000)), "another bound");
        assert!(accounts.tells(id, Quota::Calls, Timestamp(1_000_000_005)));
        assert!(accounts.tells_of(&key(9), Quota::Sessions, Timestamp(5)));
        assert!(!accounts.tells_of(&key(8), Quota::Sessions, Timestamp(6)), "who has no account, either");
    }
}
