//! Where a session is counted: with its peer's worker, and in its peer's account, with which it settles what it
//! takes; and the calls that are refused over that.

use crate::hint::rarely;
use crate::time::Timestamp;
use crate::transport::Event;
use crate::transport::accounts::{AccountId, Share, Usage};
use crate::transport::peer_workers::PeerWorker;
use crate::transport::quota::{Allowance, Quota};
use crate::transport::security::Denied;
use crate::transport::session::{Opening, Session, Trust};
use crate::transport::shared::Shared;

/// A session's side of its peer's account.
#[derive(Debug)]
pub(super) struct Ledger {
    account: AccountId,
    /// Who is at its other end, and was there when it opened.
    peer_worker: PeerWorker,
    /// What it counts as there.
    share: Share,
    /// What the account was last told of this session.
    settled: Usage,
    /// The bound that its peer was at then.
    over: Option<Quota>,
    /// While messages are in pieces.
    watch: Option<Watch>,
}

impl Ledger {
    pub(super) fn open(opening: &Opening<'_>, trust: &Trust, shared: &mut Shared) -> Self {
        shared.active_sessions += 1;
        let share = match (opening.accepted, trust.lane_of) {
            (false, _) => Share::Own,
            (true, None) => Share::Session,
            (true, Some(_)) => Share::Lane,
        };
        let account = shared.accounts.open(trust.peer.as_ref(), opening.allowance, share);
        let (boot, path, worker) = (opening.peer_boot, opening.path, opening.remote.worker());
        let peer_worker = PeerWorker { boot, path, worker };
        shared.peer_workers.open(peer_worker);
        Self { account, peer_worker, share, settled: Usage::default(), over: None, watch: None }
    }

    /// The session ended.
    pub(super) fn close(&mut self, shared: &mut Shared) {
        shared.peer_workers.close(self.peer_worker);
        shared.accounts.close(self.account, self.share, std::mem::take(&mut self.settled));
    }

    /// The peer tells of its socket, as do all its worker's sessions.
    pub(super) fn note_peer_drops(&self, drops: u64, shared: &mut Shared) {
        let news = shared.peer_workers.on_socket_drops(self.peer_worker, drops);
        // The count is the peer's to invent.
        shared.counters.peer_socket_drops = shared.counters.peer_socket_drops.saturating_add(news);
    }

    /// The gate gives the peer another allowance.
    pub(super) fn allow(&self, allowance: Allowance, shared: &mut Shared) {
        shared.accounts.allow(self.account, allowance);
    }
}

/// What had arrived of large messages when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Watch {
    since: Timestamp,
    received: u64,
    /// The period before this one brought nothing either.
    stood_still: bool,
}

/// Bytes of large messages in an idle timeout that count as going on.
const WATCHED_SIZE_MIN: u64 = 16 * 1024;

impl Session {
    fn usage(&self) -> Usage {
        Usage {
            calls: self.open_calls.open() as u64,
            reassembly: self.reassemblies.kept_size() + self.parts_kept(),
            unacked: self.queue.queued_size() as u64 + self.units.packed_size() + self.large.kept_size(),
        }
    }

    /// Tells the account what the session takes now. After each packet, and after each transmit.
    #[inline(always)]
    pub(crate) fn settle(&mut self, shared: &mut Shared) {
        if rarely(self.is_closed()) {
            return;
        }
        let now = self.usage();
        let standing = shared.accounts.settle(self.ledger.account, self.ledger.settled, now);
        self.ledger.settled = now;
        self.ledger.over = standing.over;
        self.reassemblies.set_limit(standing.reassembly_max);
    }

    /// [`Session::settle`] after a packet of the peer's.
    #[inline(always)]
    pub(super) fn settle_packet(&mut self, now: Timestamp, shared: &mut Shared) {
        self.settle(shared);
        if rarely(self.reassemblies.take_limited()) {
            shared.counters.over_reassembly += 1;
            self.tell_over(now, Quota::Reassembly, shared);
        }
        self.watch_reassembly(now);
    }

    /// Whether the peer's call of `method` may run.
    #[inline]
    pub(crate) fn admit_call(
        &mut self,
        now: Timestamp,
        method: u32,
        shared: &mut Shared,
    ) -> Result<(), Denied> {
        if !self.may_call(method) {
            return Err(Denied::Forbidden);
        }
        if self.ledger.over.is_some() {
            return self.admit_over(now, shared);
        }
        Ok(())
    }

    /// The account was over a bound when it was last settled: calls refused since may have cured that.
    #[cold]
    fn admit_over(&mut self, now: Timestamp, shared: &mut Shared) -> Result<(), Denied> {
        self.settle(shared);
        let Some(quota) = self.ledger.over else { return Ok(()) };
        match quota {
            Quota::Unacked => shared.counters.over_unacked += 1,
            _ => shared.counters.over_calls += 1,
        }
        self.tell_over(now, quota, shared);
        Err(Denied::OverQuota)
    }

    /// From a first fragment on the rest must come, too.
    #[inline]
    fn watch_reassembly(&mut self, now: Timestamp) {
        if self.reassemblies.is_empty() && !self.has_parts() {
            self.ledger.watch = None;
        } else if self.ledger.watch.is_none() {
            let received = self.pieces_received();
            self.ledger.watch = Some(Watch { since: now, received, stood_still: false });
        }
    }

    /// Bytes of messages and of units that ever came in pieces.
    fn pieces_received(&self) -> u64 {
        self.reassemblies.received_size() + self.parts_received()
    }

    /// When it is time to look whether what was begun goes on.
    pub(super) fn watch_at(&self) -> Option<Timestamp> {
        self.ledger.watch.map(|watch| watch.since.after_ns(self.tuning.idle_timeout_ns))
    }

    /// Memory is set aside for what the peer began: it may not keep it by doing nothing (P-7.7). Who
    /// waits for a grant or for credit is not to blame; nor is one cut off for less than an idle timeout,
    /// which may spoil one period and not two.
    pub(super) fn on_watch_timer(&mut self, now: Timestamp, shared: &mut Shared) {
        if self.watch_at().is_none_or(|at| at > now) {
            return;
        }
        let received = self.pieces_received();
        let Some(before) = self.ledger.watch else { return };
        let goes_on = received - before.received >= WATCHED_SIZE_MIN;
        let may = self.has_parts() || self.reassemblies.awaits_bytes() && self.credit_in.has_room();
        let stood_still = may && !goes_on;
        self.ledger.watch = Some(Watch { since: now, received, stood_still });
        if stood_still && before.stood_still {
            self.violation(now, "a message begun and not gone on with", shared);
        }
    }

    #[cold]
    pub(super) fn tell_over(&mut self, now: Timestamp, quota: Quota, shared: &mut Shared) {
        if shared.accounts.tells(self.ledger.account, quota, now) {
            let (session, peer) = (Some(self.key), self.trust.peer);
            shared.events.push(Event::OverQuota { session, peer, quota });
        }
    }
}
