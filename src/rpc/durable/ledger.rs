//! Which leases there are, and which calls of each were answered: decides, for every call that comes,
//! whether it runs. Holds no replies, only their places and sizes.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::Bounds;
use super::clock::{LeaseClock, Moment};
use super::rows::{
    ClientName, LEASES, LOG, LOG_KEY, LeaseRow, LogRow, REPLIES, ReplyRow, lease_key, parse_lease_key,
    parse_reply_key, reply_key,
};
use super::store::{Entry, Store, StoreError, Writes};
use crate::time::Timestamp;
use crate::wire::{LeaseGrant, LeaseId};

/// The leases of one log, as they will be once what was staged is committed.
pub(super) struct Ledger {
    bounds: Bounds,
    clock: LeaseClock,
    leases: FxHashMap<u64, Lease>,
    /// The moment each lease ends, and its number.
    by_expiry: BTreeSet<(u64, u64)>,
    by_attempt: BTreeMap<(ClientName, u64), u64>,
    clients: BTreeMap<ClientName, Held>,
    bytes: u64,
    next_number: u64,
    /// Leases whose rows changed since the last commit.
    touched: BTreeSet<u64>,
}

struct Lease {
    owner: ClientName,
    check: u64,
    attempt: u64,
    first_incomplete: u64,
    expires_ns: u64,
    /// Size of each recorded reply by its sequence.
    replies: BTreeMap<u64, u32>,
}

/// What one client holds.
#[derive(Clone, Copy, Default)]
struct Held {
    leases: usize,
    bytes: u64,
}

/// What is to be done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not seen before: it runs.
    Run,
    /// It ran: its reply is in the store.
    Recorded,
    /// Nobody knows any more whether it ran: it does not run.
    Stale,
    /// There is no room for its reply: it does not run now.
    NoRoom(&'static str),
}

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The oldest incomplete call of its lease. Replies of later calls can go only once it is complete: were
    /// they allowed to take all the room, it would wait for them and they for it.
    Oldest,
    /// Anyone else.
    Other,
}

impl Claim {
    fn of(lease: &Lease, sequence: u64) -> Self {
        if sequence == lease.first_incomplete { Claim::Oldest } else { Claim::Other }
    }
}

/// How many rows are read at once when a log opens.
const PAGE: usize = 4_096;

impl Ledger {
    /// The ledger that `store` holds.
    pub(super) fn load(store: &dyn Store, bounds: Bounds, at: Moment) -> Result<Self, StoreError> {
        let row = store.read(LOG, LOG_KEY)?.map(|row| LogRow::decode(&row)).transpose()?;
        let mut ledger = Self {
            bounds,
            clock: LeaseClock::new(row.as_ref(), at),
            leases: FxHashMap::default(),
            by_expiry: BTreeSet::new(),
            by_attempt: BTreeMap::new(),
            clients: BTreeMap::new(),
            bytes: 0,
            next_number: row.map_or(0, |row| row.next_number),
            touched: BTreeSet::new(),
        };
        for_each_row(store, LEASES, |(key, row)| {
            ledger.insert(parse_lease_key(&key)?, &LeaseRow::decode(&row)?);
            Ok(())
        })?;
        for_each_row(store, REPLIES, |(key, row)| {
            let (number, sequence) = parse_reply_key(&key)?;
            ReplyRow::decode(&row)?;
            // A reply is committed with its lease and goes with it.
            let Some(lease) = ledger.leases.get_mut(&number) else {
                return Err(StoreError::Row { table: REPLIES });
            };
            let size = ReplyRow::payload_size(row.len());
            lease.replies.insert(sequence, size as u32);
            let owner = lease.owner;
            ledger.charge(owner, reply_cost(size));
            Ok(())
        })?;
        Ok(ledger)
    }

    fn insert(&mut self, number: u64, row: &LeaseRow) {
        let LeaseRow { owner, check, attempt, first_incomplete, expires_ns } = *row;
        let lease = Lease { owner, check, attempt, first_incomplete, expires_ns, replies: BTreeMap::new() };
        self.leases.insert(number, lease);
        self.by_expiry.insert((expires_ns, number));
        self.by_attempt.insert((owner, attempt), number);
        self.clients.entry(owner).or_default().leases += 1;
        self.charge(owner, Bounds::LEASE_COST);
    }

    /// Ends every lease whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp, writes: &mut Writes) {
        let now_ns = self.clock.read_ns(now);
        while let Some(&(expires_ns, number)) = self.by_expiry.first() {
            if expires_ns > now_ns {
                return;
            }
            self.end(number, writes);
        }
    }

    /// When the next lease ends.
    pub(super) fn next_expiry(&self) -> Timestamp {
        self.by_expiry.first().map_or(Timestamp::NEVER, |&(expires_ns, _)| self.clock.when(expires_ns))
    }

    /// A lease for `owner`: the one that this attempt got before, or a new one.
    pub(super) fn open(
        &mut self,
        owner: ClientName,
        attempt: u64,
        check: u64,
        now: Timestamp,
        writes: &mut Writes,
    ) -> Result<LeaseGrant, &'static str> {
        if let Some(&number) = self.by_attempt.get(&(owner, attempt)) {
            self.extend(number, now);
            return Ok(self.grant(number));
        }
        let held = self.clients.get(&owner).copied().unwrap_or_default();
        if held.leases >= self.bounds.client_leases_max {
            // The one that was not used for longest, if nobody may still ask for what it remembers.
            let own = |lease: &&Lease| lease.owner == owner && lease.replies.is_empty();
            let idle =
                self.by_expiry.iter().find(|(_, number)| self.leases.get(number).filter(own).is_some());
            let Some(&(_, idle)) = idle else { return Err("the client holds as many leases as it may") };
            self.end(idle, writes);
        }
        if self.leases.len() >= self.bounds.leases_max {
            return Err("the server holds as many leases as it may");
        }
        self.room(owner, Bounds::LEASE_COST, Claim::Other)?;
        let number = self.next_number;
        self.next_number += 1;
        let expires_ns = self.clock.read_ns(now).saturating_add(self.bounds.term_ns());
        self.insert(number, &LeaseRow { owner, check, attempt, first_incomplete: 0, expires_ns });
        self.touched.insert(number);
        Ok(self.grant(number))
    }

    /// The lease's number, if it is there and `owner`'s. `None` stands for a client whose session proves
    /// nothing: it is known by the lease's check alone.
    pub(super) fn find(&self, owner: Option<ClientName>, id: LeaseId) -> Option<u64> {
        let lease = self.leases.get(&id.number).filter(|lease| lease.check == id.check)?;
        let is_owner = match owner {
            Some(owner) => lease.owner == owner,
            None => matches!(lease.owner, ClientName::Claimed(_)),
        };
        is_owner.then_some(id.number)
    }

    /// Whose lease `number` is.
    pub(super) fn owner(&self, number: u64) -> ClientName {
        self.leases[&number].owner
    }

    /// Extends lease `number`, and forgets the replies that its client has.
    pub(super) fn renew(
        &mut self,
        number: u64,
        first_incomplete: u64,
        now: Timestamp,
        writes: &mut Writes,
    ) -> LeaseGrant {
        self.extend(number, now);
        self.acknowledge(number, first_incomplete, writes);
        self.grant(number)
    }

    /// What is to be done with call `sequence` of lease `number`.
    pub(super) fn judge(&self, number: u64, sequence: u64) -> Verdict {
        let lease = &self.leases[&number];
        if sequence < lease.first_incomplete {
            return Verdict::Stale;
        }
        if lease.replies.contains_key(&sequence) {
            return Verdict::Recorded;
        }
        if sequence - lease.first_incomplete >= u64::from(self.bounds.window) {
            return Verdict::NoRoom("the lease's window is full: complete earlier calls first");
        }
        match self.room(lease.owner, reply_cost(0), Claim::of(lease, sequence)) {
            Ok(()) => Verdict::Run,
            Err(why) => Verdict::NoRoom(why),
        }
    }

    /// Takes note of the reply to a call that was judged [`Verdict::Run`].
    pub(super) fn record(&mut self, number: u64, sequence: u64, size: usize) -> Result<(), &'static str> {
        let lease = &self.leases[&number];
        let owner = lease.owner;
        self.room(owner, reply_cost(size), Claim::of(lease, sequence))?;
        self.charge(owner, reply_cost(size));
        let lease = self.leases.get_mut(&number).expect("it was judged to run under this lease");
        let before = lease.replies.insert(sequence, size as u32);
        debug_assert!(before.is_none(), "a call is recorded once");
        Ok(())
    }

    /// Ends lease `number` and forgets its replies.
    pub(super) fn end(&mut self, number: u64, writes: &mut Writes) {
        let Some(lease) = self.leases.remove(&number) else { return };
        self.by_expiry.remove(&(lease.expires_ns, number));
        self.by_attempt.remove(&(lease.owner, lease.attempt));
        self.touched.remove(&number);
        writes.remove(LEASES, lease_key(number));
        let mut freed = Bounds::LEASE_COST;
        for (sequence, size) in lease.replies {
            writes.remove(REPLIES, reply_key(number, sequence));
            freed += reply_cost(size as usize);
        }
        self.discharge(lease.owner, freed);
        let held = self.clients.get_mut(&lease.owner).expect("an owner of a lease holds it");
        held.leases -= 1;
        if held.leases == 0 {
            debug_assert_eq!(held.bytes, 0, "bytes belong to leases");
            self.clients.remove(&lease.owner);
        }
    }

    /// Puts the rows that changed into `writes`; false when nothing did.
    pub(super) fn stage(&mut self, at: Moment, writes: &mut Writes) -> bool {
        if self.touched.is_empty() && writes.is_empty() {
            return false;
        }
        for number in std::mem::take(&mut self.touched) {
            let lease = &self.leases[&number];
            let &Lease { owner, check, attempt, first_incomplete, expires_ns, .. } = lease;
            let row = LeaseRow { owner, check, attempt, first_incomplete, expires_ns };
            writes.put(LEASES, lease_key(number), row.encode());
        }
        let lease_ns = self.clock.read_ns(at.now);
        let row = LogRow { next_number: self.next_number, lease_ns, wall_ns: at.wall_ns };
        writes.put(LOG, LOG_KEY, row.encode());
        true
    }

    /// Leases, replies and what they count in bytes.
    pub(super) fn held(&self) -> (usize, usize, u64) {
        (self.leases.len(), self.leases.values().map(|lease| lease.replies.len()).sum(), self.bytes)
    }

    fn grant(&self, number: u64) -> LeaseGrant {
        let lease = LeaseId { number, check: self.leases[&number].check };
        let term_ms = (self.bounds.term_ns() / 1_000_000).max(1);
        LeaseGrant { lease, window: self.bounds.window.max(1), term_ms }
    }

    fn extend(&mut self, number: u64, now: Timestamp) {
        let expires_ns = self.clock.read_ns(now).saturating_add(self.bounds.term_ns());
        let lease = self.leases.get_mut(&number).expect("its caller found it");
        self.by_expiry.remove(&(lease.expires_ns, number));
        lease.expires_ns = expires_ns;
        self.by_expiry.insert((expires_ns, number));
        self.touched.insert(number);
    }

    /// RIFL's garbage collection: of calls below `first_incomplete` the client has the reply.
    fn acknowledge(&mut self, number: u64, first_incomplete: u64, writes: &mut Writes) {
        let lease = self.leases.get_mut(&number).expect("its caller found it");
        if first_incomplete <= lease.first_incomplete {
            return;
        }
        lease.first_incomplete = first_incomplete;
        let kept = lease.replies.split_off(&first_incomplete);
        let done = std::mem::replace(&mut lease.replies, kept);
        let owner = lease.owner;
        let mut freed = 0;
        for (sequence, size) in done {
            writes.remove(REPLIES, reply_key(number, sequence));
            freed += reply_cost(size as usize);
        }
        self.discharge(owner, freed);
    }

    fn room(&self, owner: ClientName, size: u64, claim: Claim) -> Result<(), &'static str> {
        let held = self.clients.get(&owner).map_or(0, |held| held.bytes);
        let (client_max, all_max) = match claim {
            Claim::Oldest => (u64::MAX, self.bounds.bytes_max),
            Claim::Other => (self.bounds.client_bytes_max, self.bounds.bytes_max / 8 * 7),
        };
        if held + size > client_max {
            return Err("the client holds as many bytes of replies as it may: complete earlier calls first");
        }
        if self.bytes + size > all_max {
            return Err("the server holds as many bytes of replies as it may");
        }
        Ok(())
    }

    fn charge(&mut self, owner: ClientName, size: u64) {
        self.bytes += size;
        self.clients.entry(owner).or_default().bytes += size;
    }

    fn discharge(&mut self, owner: ClientName, size: u64) {
        self.bytes -= size;
        self.clients.get_mut(&owner).expect("who is discharged was charged").bytes -= size;
    }
}

fn reply_cost(size: usize) -> u64 {
    size as u64 + Bounds::REPLY_COST
}

fn for_each_row(
    store: &dyn Store,
    table: &str,
    mut row: impl FnMut(Entry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = Vec::new();
    loop {
        let page = store.scan(table, &from, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        // The least key above the last.
        from = [last, &[0][..]].concat();
        let is_last = page.len() < PAGE;
        page.into_iter().try_for_each(&mut row)?;
        if is_last {
            return Ok(());
        }
    }
}
