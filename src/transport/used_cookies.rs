//! Which cookies of one client have let a session in: each may once.
//!
//! A client that opens many sessions at once brings their cookies back in any order, and those that left in one
//! turn were issued at one moment. So a cookie is known by its moment and the client's name of the session.

use crate::time::Timestamp;

/// The cookies of one client that were used.
///
/// Invariant: all that `used` lists were issued after `floor`, in ascending order, none twice.
#[derive(Clone, Debug, Default)]
pub(super) struct UsedCookies {
    /// What was issued up to here counts as used.
    floor: Timestamp,
    used: Vec<(Timestamp, u64)>,
}

impl UsedCookies {
    /// Uses the cookie that was `issued` for `session`. False when it was used before, or may have been.
    pub(super) fn take(&mut self, issued: Timestamp, session: u64) -> bool {
        if issued <= self.floor {
            return false;
        }
        match self.used.binary_search(&(issued, session)) {
            Ok(_) => false,
            Err(place) => {
                self.used.insert(place, (issued, session));
                true
            }
        }
    }

    /// Gives the memory back: whatever was issued up to the newest that was used counts as used.
    pub(super) fn forget(&mut self) {
        if let Some((newest, _)) = self.used.last() {
            self.floor = *newest;
        }
        self.used = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_count_once_each_in_any_order_and_two_of_one_moment_are_two() {
        let mut cookies = UsedCookies::default();
        for (issued, session) in [(5, 1), (5, 2), (3, 3), (9, 4), (4, 5)] {
            assert!(cookies.take(Timestamp(issued), session), "{issued} {session}");
        }
        for (issued, session) in [(5, 1), (5, 2), (3, 3), (9, 4), (4, 5)] {
            assert!(!cookies.take(Timestamp(issued), session), "a copy: {issued} {session}");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_fresh_again() {
        let mut cookies = UsedCookies::default();
        assert!(cookies.take(Timestamp(5), 1) && cookies.take(Timestamp(7), 2));
        cookies.forget();
        assert!(
            !cookies.take(Timestamp(5), 1)
                && !cookies.take(Timestamp(6), 3)
                && !cookies.take(Timestamp(7), 2)
        );
        assert!(cookies.take(Timestamp(8), 1));
        cookies.forget();
        cookies.forget();
        assert!(!cookies.take(Timestamp(8), 1));
    }
}
