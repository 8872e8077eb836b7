//! Runs durable calls, a batch at a time: each at most once, its effect and its reply in one commit.

use std::collections::hash_map::Entry;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::clock::Moment;
use super::ledger::{Ledger, Verdict};
use super::rows::{ClientName, Fingerprint, REPLIES, ReplyRow, reply_key};
use super::store::{Store, StoreError, Writes};
use super::transaction::Transaction;
use super::{Bounds, Failure, Held};
use crate::crypto::{Csprng, PublicKey};
use crate::rpc::{DuplicateMethod, MethodId, method_id, status};
use crate::time::Timestamp;
use crate::wire::{DurableRequest, LeaseId};

/// A call as it reached the server.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// The method asked for.
    pub method: MethodId,
    /// The key that its session proved; `None` without sealing.
    pub client: Option<PublicKey>,
    /// Its payload, as [`DurableRequest`] reads it.
    pub payload: &'a [u8],
}

/// What a call is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 0, or why it failed.
    pub status: u8,
    /// The reply, or what there is to say about the failure.
    pub payload: Bytes,
}

/// A call, as its handler sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who calls.
    pub client: ClientName,
    /// The number of its lease, and with [`Call::sequence`] a name for this call that no other call of the
    /// store ever has: something to tell a third party, so that it knows a repeat.
    pub lease: u64,
    /// Which call of the lease.
    pub sequence: u64,
    /// Its bytes, without what makes it durable.
    pub payload: &'a [u8],
}

type Handler = Box<dyn FnMut(Call<'_>, &mut Transaction<'_>) -> Result<Bytes, Failure> + Send>;

/// A log of replies over a [`Store`], and the handlers whose effects go into the same commits. Sans-IO but
/// for its store: time and chance are passed in. [`Server`](super::Server) runs one on a thread; an
/// application with a loop of its own may run it there.
pub struct ReplyLog {
    store: Box<dyn Store>,
    bounds: Bounds,
    /// `None` after the store failed, until what it holds was read again.
    ledger: Option<Ledger>,
    methods: FxHashMap<MethodId, (String, Handler)>,
    chance: Csprng,
}

impl ReplyLog {
    /// The log that `store` holds; an empty store is a new one. `seed` must be secret from clients.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        store: impl Store + 'static,
        bounds: Bounds,
        seed: [u8; 32],
        at: Moment,
    ) -> Result<Self, StoreError> {
        let ledger = Ledger::load(&store, bounds, at)?;
        let (store, methods) = (Box::new(store), FxHashMap::default());
        Ok(Self { store, bounds, ledger: Some(ledger), methods, chance: Csprng::new(seed) })
    }

    /// Serves method `name` by `handler`.
    ///
    /// # Errors
    /// [`DuplicateMethod`].
    pub fn serve(
        &mut self,
        name: &str,
        handler: impl FnMut(Call<'_>, &mut Transaction<'_>) -> Result<Bytes, Failure> + Send + 'static,
    ) -> Result<(), DuplicateMethod> {
        let number = method_id(name);
        match self.methods.entry(number) {
            Entry::Vacant(place) => {
                place.insert((name.to_owned(), Box::new(handler)));
                Ok(())
            }
            Entry::Occupied(there) => {
                Err(DuplicateMethod { name: name.to_owned(), other: there.get().0.clone(), number })
            }
        }
    }

    /// Whether `method` is served here.
    #[must_use]
    pub fn serves(&self, method: MethodId) -> bool {
        self.methods.contains_key(&method)
    }

    /// When [`ReplyLog::run`] has something to do though nobody calls.
    #[must_use]
    pub fn next_expiry(&self) -> Timestamp {
        self.ledger.as_ref().map_or(Timestamp::NEVER, Ledger::next_expiry)
    }

    /// What the log holds now.
    #[must_use]
    pub fn held(&self) -> Held {
        let (leases, replies, bytes) = self.ledger.as_ref().map_or((0, 0, 0), Ledger::held);
        Held { leases, replies, bytes }
    }

    /// Runs `calls` in their order and commits what they did, all in one. The answers, one for each call,
    /// are true only because it has returned: send them after, never before.
    #[must_use = "who called waits for the answers"]
    pub fn run(&mut self, at: Moment, calls: &[Arrived<'_>]) -> Vec<Answer> {
        self.try_run(at, calls).unwrap_or_else(|error| {
            tracing::error!(%error, calls = calls.len(), "the store of durable calls failed");
            self.ledger = None;
            let message = Bytes::from(error.to_string());
            let failed = |_: &Arrived<'_>| Answer { status: status::STORE_FAILED, payload: message.clone() };
            calls.iter().map(failed).collect()
        })
    }

    fn try_run(&mut self, at: Moment, calls: &[Arrived<'_>]) -> Result<Vec<Answer>, StoreError> {
        // Taken, so that an error on the way leaves nothing that was not committed.
        let mut ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => {
                self.store.recover()?;
                Ledger::load(&*self.store, self.bounds, at)?
            }
        };
        let mut writes = Writes::default();
        ledger.expire(at.now, &mut writes);
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            let mut batch = Batch { log: self, ledger: &mut ledger, writes: &mut writes, now: at.now };
            answers.push(batch.answer(call)?);
        }
        if ledger.stage(at, &mut writes) {
            self.store.commit(&writes)?;
        }
        self.ledger = Some(ledger);
        Ok(answers)
    }
}

impl fmt::Debug for ReplyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.methods.values().map(|(name, _)| name);
        f.debug_struct("ReplyLog")
            .field("methods", &names.collect::<Vec<_>>())
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

/// A batch under way.
struct Batch<'a> {
    log: &'a mut ReplyLog,
    ledger: &'a mut Ledger,
    writes: &'a mut Writes,
    now: Timestamp,
}

impl Batch<'_> {
    fn answer(&mut self, call: &Arrived<'_>) -> Result<Answer, StoreError> {
        if !self.log.serves(call.method) {
            return Ok(Answer::fail(status::NO_SUCH_METHOD, "no such durable method"));
        }
        let request = match DurableRequest::decode(call.payload) {
            Ok(request) => request,
            Err(error) => return Ok(Answer::fail(status::MALFORMED, error.to_string())),
        };
        let proven = call.client.map(ClientName::from);
        Ok(match request {
            DurableRequest::Open { client, attempt } => {
                let owner = proven.unwrap_or(ClientName::Claimed(client));
                let check = self.log.chance.u64();
                match self.ledger.open(owner, attempt, check, self.now, self.writes) {
                    Ok(grant) => Answer::ok(Bytes::copy_from_slice(&grant.encode())),
                    Err(why) => Answer::fail(status::NO_ROOM, why),
                }
            }
            DurableRequest::Renew { lease, first_incomplete } => match self.ledger.find(proven, lease) {
                Some(number) => {
                    let grant = self.ledger.renew(number, first_incomplete, self.now, self.writes);
                    Answer::ok(Bytes::copy_from_slice(&grant.encode()))
                }
                None => Answer::stale(),
            },
            DurableRequest::Release { lease } => {
                if let Some(number) = self.ledger.find(proven, lease) {
                    self.ledger.end(number, self.writes);
                }
                // One that is gone is released as well.
                Answer::ok(Bytes::new())
            }
            DurableRequest::Call { lease, sequence, first_incomplete, payload } => {
                let Some(number) = self.find(proven, lease, first_incomplete) else {
                    return Ok(Answer::stale());
                };
                let call = Numbered { method: call.method, number, sequence, payload };
                match self.ledger.judge(number, sequence) {
                    Verdict::Run => self.execute(&call)?,
                    Verdict::Recorded => self.recorded(&call)?,
                    Verdict::Stale => Answer::stale(),
                    Verdict::NoRoom(why) => Answer::fail(status::NO_ROOM, why),
                }
            }
        })
    }

    fn find(&mut self, owner: Option<ClientName>, lease: LeaseId, first_incomplete: u64) -> Option<u64> {
        let number = self.ledger.find(owner, lease)?;
        self.ledger.renew(number, first_incomplete, self.now, self.writes);
        Some(number)
    }

    /// Runs the handler and records what it came to.
    fn execute(&mut self, call: &Numbered<'_>) -> Result<Answer, StoreError> {
        let &Numbered { number: lease, sequence, payload, .. } = call;
        let seen = Call { client: self.ledger.owner(lease), lease, sequence, payload };
        let mut tx = Transaction::new(&*self.log.store, self.writes);
        let (_, handler) = self.log.methods.get_mut(&call.method).expect("it was asked whether it is served");
        // Its panic was printed by the hook.
        let ran = catch_unwind(AssertUnwindSafe(|| handler(seen, &mut tx)));
        let (mut answer, mut own) = match ran {
            Ok(Ok(reply)) => (Answer::ok(reply), tx.into_writes()),
            Ok(Err(Failure::Store(error))) => return Err(error),
            // A call that fails has no effect, and fails for good: a copy of it may still be under way.
            Ok(Err(Failure::Said { status, message })) => (Answer::fail(status, message), Writes::default()),
            Err(_) => (Answer::fail(status::PANICKED, "the handler panicked"), Writes::default()),
        };
        if answer.payload.len() > self.log.bounds.reply_size_max {
            own = Writes::default();
            answer = Answer::fail(status::UNRECORDED, "the reply is larger than is recorded");
        }
        if let Err(why) = self.ledger.record(call.number, call.sequence, answer.payload.len()) {
            // Not recorded, so it must not have happened.
            return Ok(Answer::fail(status::NO_ROOM, why));
        }
        let fingerprint = Fingerprint::of(call.method, call.payload);
        let row = ReplyRow { call: fingerprint, status: answer.status, payload: answer.payload.to_vec() };
        self.writes.extend(own);
        self.writes.put(REPLIES, reply_key(call.number, call.sequence), row.encode());
        Ok(answer)
    }

    /// The reply that was recorded, in this batch or before.
    fn recorded(&self, call: &Numbered<'_>) -> Result<Answer, StoreError> {
        let key = reply_key(call.number, call.sequence);
        let row = match self.writes.find(REPLIES, &key) {
            Some(staged) => staged.map(<[u8]>::to_vec),
            None => self.log.store.read(REPLIES, &key)?,
        };
        let row = ReplyRow::decode(&row.ok_or(StoreError::Row { table: REPLIES })?)?;
        if row.call != Fingerprint::of(call.method, call.payload) {
            return Ok(Answer::fail(
                status::MALFORMED,
                "another call was made under this lease and sequence",
            ));
        }
        Ok(Answer { status: row.status, payload: row.payload.into() })
    }
}

/// A call under its lease and sequence.
struct Numbered<'a> {
    method: MethodId,
    number: u64,
    sequence: u64,
    payload: &'a [u8],
}

impl Answer {
    fn ok(payload: Bytes) -> Self {
        Self { status: status::OK, payload }
    }

    fn fail(status: u8, message: impl Into<Bytes>) -> Self {
        Self { status, payload: message.into() }
    }

    fn stale() -> Self {
        Self::fail(status::STALE, "the lease is over, or the call was completed before: it was not run now")
    }
}
