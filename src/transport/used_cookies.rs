//! Which cookies have let a session in: none opens one again.
//!
//! A client that opens many sessions at once brings their cookies back in any order, and those that left in one
//! turn were issued at one moment: so cookies are compared within a session of a client, never across.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// What a cookie is for: the client's key and its name of the session.
pub(super) type Holder = ([u8; 32], u64);

/// The newest cookie that was taken, of each session that was opened by one.
///
/// A tree, since its keys are the clients' to choose: a hash table's could be made to collide.
#[derive(Debug, Default)]
pub(super) struct UsedCookies {
    taken: BTreeMap<Holder, Timestamp>,
    newest: Timestamp,
    /// What was issued up to here counts as taken.
    floor: Timestamp,
}

impl UsedCookies {
    /// Takes the cookie that was `issued` for `holder`. False when that one or a later one was taken before, or may
    /// have been.
    pub(super) fn take(&mut self, holder: Holder, issued: Timestamp) -> bool {
        if issued <= self.floor || self.taken.get(&holder).is_some_and(|last| issued <= *last) {
            return false;
        }
        if self.taken.len() >= HOLDERS_MAX {
            self.floor = self.newest;
            self.taken.clear();
        }
        self.newest = self.newest.max(issued);
        self.taken.insert(holder, issued);
        true
    }
}

/// Then all are forgotten at once: who holds a cookie from before asks for another. Some 4 MiB.
const HOLDERS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(cookies: &mut UsedCookies, session: u64, issued: u64) -> bool {
        cookies.take(([1; 32], session), Timestamp(issued))
    }

    #[test]
    fn cookies_count_once_each_in_any_order_and_two_of_one_moment_are_two() {
        let mut cookies = UsedCookies::default();
        for (issued, session) in [(5, 1), (5, 2), (3, 3), (9, 4), (4, 5)] {
            assert!(take(&mut cookies, session, issued), "{issued} {session}");
            assert!(!take(&mut cookies, session, issued), "a copy: {issued} {session}");
        }
    }

    #[test]
    fn a_cookie_that_a_later_one_of_its_session_overtook_opens_nothing() {
        let mut cookies = UsedCookies::default();
        assert!(take(&mut cookies, 1, 5));
        assert!(!take(&mut cookies, 1, 4));
        assert!(take(&mut cookies, 1, 6), "the session begins anew");
    }

    #[test]
    fn what_is_forgotten_is_not_fresh_again() {
        let mut cookies = UsedCookies::default();
        let all = HOLDERS_MAX as u64;
        assert!((1..=all).all(|n| take(&mut cookies, n, n)));
        assert!(take(&mut cookies, 0, all + 1));
        assert_eq!(cookies.taken.len(), 1);
        assert!((1..=all).all(|n| !take(&mut cookies, n, n)));
    }
}
