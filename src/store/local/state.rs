//! Everything in memory, behind one lock, and the store's methods on it. Nothing here waits for the
//! disk while it holds the lock.

use std::collections::HashMap;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::Notify;

use super::Durability;
use super::alerts::Alerting;
use super::compare::Comparing;
use super::kept::{KeptRow, KeptUse};
use super::parked::Lot;
use super::queue::{Queue, Write};
use super::read::Reader;
use super::records::OnceRecord;
use super::rows::JournalRow;
use super::slow::Committing;
use super::teams::Teams;
use super::tenants::Tenants;
use super::tokens::Tokens;
use crate::gate::Charge;
use crate::ledger::{
    Account, Book, CreditKind, HoldError, LedgerError, ResolutionKind, ResolveError,
};
use crate::model::bounds::{ONCE_MAX, ONCE_TTL};
use crate::model::id_map::{IdMap, IdSet};
use crate::model::ids::{AccountId, KeyId};
use crate::model::key::Key;
use crate::model::name_map::NameMap;
use crate::model::namespace::{self, Namespace};
use crate::model::secret::{Digest, SealKey};
use crate::model::time::Time;
use crate::store::contract::STOPPING;
use crate::store::{
    CallEnd, Compared, Creation, Credited, CreditsMoved, Deed, Durable, HoldRefused, Once,
    PaidTask, Reading, Settlement, StoreError, StoredCaller,
};

/// The embedded store.
pub struct LocalStore {
    pub(super) shared: Arc<Shared>,
    /// For keys that are not in memory yet.
    pub(super) lookups: Reader,
    /// Held shared while a key is read into memory, and alone while one is deleted: what was read
    /// before a deletion must not come back after it.
    pub(super) loads: Arc<tokio::sync::RwLock<()>>,
    /// For lists and sums, which may take long.
    pub(super) reports: Reader,
    /// For webhooks, which wait for no report.
    pub(super) unsent: Reader,
    /// Held from the look for an earlier refund until the new one is on disk.
    pub(super) refunds: Arc<tokio::sync::Mutex<()>>,
    /// Held while the sums of usage are brought up to the present.
    pub(super) rolling: tokio::sync::Mutex<()>,
    pub(super) turns: Turns,
    /// Held while the keys of the tenants are counted.
    pub(super) counting: tokio::sync::Mutex<()>,
    pub(super) writer: Mutex<Option<JoinHandle<()>>>,
}

/// What is done by one at a time.
#[derive(Default)]
pub(super) struct Turns {
    /// How far the journal is summed up; held while accounts are compared with it.
    pub(super) comparing: tokio::sync::Mutex<Comparing>,
    /// Held while keys are looked at for alerts, and while the rules or what was found change.
    pub(super) alerting: tokio::sync::Mutex<()>,
}

/// What the store's methods and the writer share.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) wake: Condvar,
    /// Told whenever the writer has taken what waited.
    pub(super) room: Notify,
    pub(super) durability: Durability,
    pub(super) seal_key: SealKey,
    /// Journal rows behind this one are noted for the sums of usage by the writer; what the sums do not
    /// have of those up to it is read again.
    pub(super) noted_from: Arc<AtomicI64>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) queue: Queue,
    /// What the writer commits now.
    pub(super) committing: Option<Committing>,
    /// Accounts that differ from their saved rows.
    pub(super) dirty: IdSet<AccountId>,
    pub(super) closed: Option<String>,
    pub(super) stopping: bool,
    /// The writer naps; whoever adds something urgent wakes it.
    pub(super) writer_sleeps: bool,
    pub(super) keys: IdMap<KeyId, Arc<Key>>,
    digests: IdMap<Digest, KeyId>,
    pub(super) namespaces: NameMap<String, Arc<Namespace>>,
    pub(super) tokens: Tokens,
    pub(super) teams: Teams,
    pub(super) alerts: Alerting,
    pub(super) moved: CreditsMoved,
    /// Keys that were made since the start, as a mark that there are more of them.
    pub(super) keys_made: u64,
    pub(super) compared: Option<Compared>,
    /// What the keys of each tenant come to.
    pub(super) tenants: Tenants,
    pub(super) once: HashMap<Digest, OnceRecord>,
    pub(super) kept: KeptUse,
    pub(super) parked: Lot,
}

/// Most calls are of this tenant, and mostly nobody has written it down.
static DEFAULT_UNWRITTEN: LazyLock<Arc<Namespace>> =
    LazyLock::new(|| Arc::new(Namespace::unwritten(namespace::DEFAULT)));

impl Shared {
    pub(super) fn new(state: State, durability: Durability, seal_key: SealKey) -> Self {
        let (state, wake, room) = (Mutex::new(state), Condvar::new(), Notify::new());
        Self { state, wake, room, durability, seal_key, noted_from: Arc::default() }
    }

    /// The lock. A thread that panicked with it may have left the books half changed: they close.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned: PoisonError<_>| distrusted(poisoned.into_inner()))
    }

    /// Wakes the writer if it naps.
    pub(super) fn nudge(&self, mut state: MutexGuard<'_, State>) {
        let wake = state.writer_sleeps;
        state.writer_sleeps = false;
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    pub(super) fn health(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        state.keeps_up(Instant::now())
    }

    pub(super) fn hold(
        &self,
        charge: &Charge,
        now: Time,
        deadline: Time,
    ) -> Result<Durable, HoldRefused> {
        let (calls, payer) =
            (charge.items.iter().map(CallEnd::open).collect(), charge.key.account());
        let mut state = self.lock();
        state.open_for_writing()?;
        let began = Instant::now();
        state.keeps_up(began)?;
        if state.queue.is_full() {
            return Err(StoreError::Busy.into());
        }
        if !state.judged_by_present_records(charge) {
            return Err(HoldRefused::Stale);
        }
        let State { book, queue, dirty, moved, tenants, keys, .. } = &mut *state;
        let hold = match book.hold(now, charge.call, deadline, &charge.demands) {
            Ok(hold) => hold,
            Err(HoldError::Refused(refusal)) => return Err(HoldRefused::Refused(refusal)),
            Err(HoldError::Broken(error)) => return Err(state.broken(error).into()),
        };
        touch(dirty, hold.postings.iter().map(|posting| &posting.account));
        moved.opened(hold.credits());
        tenants.hold(keys, hold);
        if let Some(labels) = &charge.labels {
            let labels = Write::Labels { call: charge.call, at: hold.at, labels: labels.clone() };
            queue.push(labels);
        }
        queue.opened(charge.call, payer, calls, began);
        if self.durability != Durability::Call {
            return Ok(Durable::NOW);
        }
        queue.write_hold(hold);
        let durable = queue.durable();
        self.nudge(state);
        Ok(durable)
    }

    pub(super) fn settle(
        &self,
        settlement: Settlement,
        task: Option<PaidTask>,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError> {
        let Settlement { call, key, kind, kept, charged, ends, show, keep } = settlement;
        // Freed when the lock is, or behind it.
        let (hold, resolution);
        let mut state = self.lock();
        state.open_for_writing()?;
        (hold, resolution) = match state.book.resolve(now, call, kind, kept) {
            Ok(ended) => ended,
            Err(ResolveError::NotOpen) => return Err(StoreError::NotOpen),
            Err(ResolveError::Broken(error)) => return Err(state.broken(error)),
        };
        state.touch(hold.postings.iter().map(|posting| &posting.account));
        state.sum_end(&hold, &resolution);
        state.unpark(call);
        state.moved.ended(hold.credits(), hold.credits_kept(&resolution.kept));
        state.queue.ended(&hold, &resolution, charged, Some(ends));
        if let Some(task) = task.filter(|_| kind == ResolutionKind::Captured) {
            let now = state.book.now();
            state.paid(task, now);
        }
        let now = state.book.now().max(now);
        let reading = Reading::of(state.book.account(&key.account()), &show, now);
        let captured = kind == ResolutionKind::Captured;
        let keep = keep.filter(|_| captured);
        // A repetition is looked for on the disk, so that is where what it must find has to be.
        let waits = captured && (self.durability != Durability::None || keep.is_some());
        if let Some(keep) = keep {
            let row = KeptRow::new(keep, key.account(), call, now);
            state.kept.queued(&row);
            state.queue.push(Write::Kept(row));
        }
        let durable = if waits { state.queue.durable() } else { Durable::NOW };
        if state.queue.is_urgent() {
            self.nudge(state);
        }
        Ok((reading, durable))
    }

    pub(super) fn expire(&self, now: Time) -> Result<usize, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let overdue = state.book.overdue(now);
        for call in &overdue {
            match state.book.release(now, *call, ResolutionKind::Expired) {
                Ok((hold, resolution)) => {
                    state.touch(hold.postings.iter().map(|posting| &posting.account));
                    state.sum_end(&hold, &resolution);
                    state.unpark(*call);
                    state.moved.ended(hold.credits(), hold.credits_kept(&resolution.kept));
                    state.queue.ended(&hold, &resolution, 0, None);
                }
                Err(ResolveError::NotOpen) => {}
                Err(ResolveError::Broken(error)) => return Err(state.broken(error)),
            }
        }
        let now = state.book.now().max(now);
        state.kept.sweep(now);
        Ok(overdue.len())
    }

    /// The ledger time at which to look for what was kept.
    pub(super) fn recall_at(&self, now: Time) -> Result<Time, StoreError> {
        let state = self.lock();
        state.open_for_reading()?;
        Ok(state.book.now().max(now))
    }

    /// May a key have one more answer kept?
    pub(super) fn has_room_to_keep(&self, key: &KeyId) -> Result<(), StoreError> {
        self.lock().kept.has_room(&key.account())
    }

    pub(super) fn create_key(
        &self,
        key: Key,
        credits: i64,
        deed: Deed,
        now: Time,
    ) -> Result<(Creation, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        if let Some(record) = state.repeated(deed.once.as_ref(), now)? {
            // The first one may still be on its way to the disk.
            let durable = state.queue.durable();
            self.nudge(state);
            return Ok((Creation::Repeated(record.note), durable));
        }
        if state.digests.contains_key(&key.digest) || state.keys.contains_key(&key.id) {
            return Err(StoreError::Duplicate);
        }
        let account = key.id.account();
        let key = Arc::new(key);
        state.book.insert(account.clone(), Account::default());
        if let Err(error) =
            state.credit(&account, credits, CreditKind::Grant, deed.reason.as_deref(), now)
        {
            // Nothing was made.
            state.book.remove(&account);
            return Err(error);
        }
        state.put_key(Arc::clone(&key));
        state.keys_made = state.keys_made.saturating_add(1);
        let State { book, tenants, .. } = &mut *state;
        tenants.made(&key, book.account(&account));
        state.queue.push(Write::Key(Arc::clone(&key)));
        state.remember(deed.once, credits, now);
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((Creation::Made(key), durable))
    }

    pub(super) fn update_key(
        &self,
        mut key: Key,
        deed: Deed,
    ) -> Result<(Arc<Key>, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let known = state.keys.get(&key.id).map(Arc::clone).ok_or(StoreError::NotFound)?;
        if known.revision != key.revision {
            return Err(StoreError::Conflict);
        }
        let new_credential = known.digest != key.digest;
        if new_credential && state.digests.contains_key(&key.digest) {
            return Err(StoreError::Duplicate);
        }
        key.revision = key.revision.saturating_add(1);
        let key = Arc::new(key);
        state.tenants.changed(&known, &key);
        state.put_key(Arc::clone(&key));
        state.queue.push(Write::Key(Arc::clone(&key)));
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((key, durable))
    }

    /// Takes a key out with its credentials. Its credits end with it, by an adjustment, and its
    /// journal stays.
    pub(super) fn delete_key(
        &self,
        id: &KeyId,
        deed: Deed,
        now: Time,
    ) -> Result<Durable, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let key = state.keys.get(id).map(Arc::clone).ok_or(StoreError::NotFound)?;
        let account = id.account();
        let left = state.book.account(&account).map_or(0, Account::available);
        let reason = deed.reason.as_deref().or(Some("key deleted"));
        let rest = left.saturating_neg();
        let State { book, tenants, .. } = &mut *state;
        tenants.deleted(&key, book.account(&account));
        state.credit(&account, rest, CreditKind::Adjustment, reason, now)?;
        state.leave_team(&key);
        state.forget_key(&key);
        let at = state.book.now().max(now);
        state.queue.push(Write::DeletedKey { key, at });
        state.kept.sweep(at);
        state.audit(deed.audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(durable)
    }

    pub(super) fn credit(
        &self,
        id: &KeyId,
        amount: i64,
        kind: CreditKind,
        deed: Deed,
        now: Time,
    ) -> Result<(Credited, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        if let Some(record) = state.repeated(deed.once.as_ref(), now)? {
            let durable = state.queue.durable();
            self.nudge(state);
            return Ok((Credited::Repeated(record.available), durable));
        }
        state.credit(&id.account(), amount, kind, deed.reason.as_deref(), now)?;
        state.sum_credit(&id.account(), amount);
        let available = state.book.account(&id.account()).map_or(0, Account::available);
        state.remember(deed.once, available, now);
        state.audit(deed.audit.map(|event| event.with("newBalance", available)));
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((Credited::Made(available), durable))
    }

    /// The balance that the first one left, if this request repeats one.
    pub(super) fn repeated(
        &self,
        once: &Once,
        now: Time,
    ) -> Result<Option<(i64, Durable)>, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let Some(record) = state.repeated(Some(once), now)? else { return Ok(None) };
        // The first one may still be on its way to the disk.
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(Some((record.available, durable)))
    }
}

/// Books that a thread left when it panicked: they close.
pub(super) fn distrusted(mut state: MutexGuard<'_, State>) -> MutexGuard<'_, State> {
    let why = || "a part of Paygate failed while it held the books".to_owned();
    state.closed.get_or_insert_with(why);
    state
}

/// Notes that accounts differ from their saved rows.
fn touch<'a>(dirty: &mut IdSet<AccountId>, accounts: impl Iterator<Item = &'a AccountId>) {
    let mut last = None;
    for account in accounts {
        // Nearly always all postings of a call are on one account.
        if last != Some(account) && !dirty.contains(account) {
            dirty.insert(account.clone());
        }
        last = Some(account);
    }
}

impl State {
    pub(super) fn open_for_writing(&mut self) -> Result<(), StoreError> {
        if self.committing.is_some() {
            self.close_if_hung(Instant::now());
        }
        self.open_for_reading()?;
        if self.stopping {
            return Err(StoreError::Closed(STOPPING.to_owned()));
        }
        Ok(())
    }

    /// Closed books show no numbers: what memory says may never have reached the file.
    pub(super) fn open_for_reading(&self) -> Result<(), StoreError> {
        self.closed.clone().map_or(Ok(()), |why| Err(StoreError::Closed(why)))
    }

    /// Closes the books, and tells all who wait that their commit will not come: their senders are
    /// dropped.
    pub(super) fn close(&mut self, why: String) {
        tracing::error!(target: "store", %why, "the books are closed: paid calls are refused until a restart");
        self.closed = Some(why);
        if let Some(committing) = &mut self.committing {
            committing.waiters.clear();
        }
        drop(self.queue.take_waiters());
    }

    /// The books contradict themselves: nothing that they say may be trusted any more.
    pub(super) fn broken(&mut self, error: LedgerError) -> StoreError {
        let why = format!("they contradict themselves: {error}");
        tracing::error!(target: "store", %why, "the books are closed");
        self.closed = Some(why.clone());
        StoreError::Closed(why)
    }

    pub(super) fn key(&self, id: &KeyId) -> Option<&Arc<Key>> {
        self.keys.get(id)
    }

    /// The key that has or had this credential, if it is in memory.
    pub(super) fn key_with(&self, digest: &Digest) -> Option<&Arc<Key>> {
        self.keys.get(self.digests.get(digest)?)
    }

    /// A tenant as it is, also one that nobody has written down.
    pub(super) fn namespace(&self, name: &str) -> Arc<Namespace> {
        match self.namespaces.get(name) {
            Some(known) => Arc::clone(known),
            None if name == namespace::DEFAULT => Arc::clone(&DEFAULT_UNWRITTEN),
            None => Arc::new(Namespace::unwritten(name)),
        }
    }

    /// The key that has or had this credential, if it is in memory, with what it belongs to.
    pub(super) fn caller(&self, digest: &Digest) -> Option<StoredCaller> {
        let key = Arc::clone(self.key_with(digest)?);
        let team = key.team.as_ref().and_then(|id| self.teams.get(id)).map(Arc::clone);
        Some(StoredCaller { namespace: self.namespace(&key.namespace), team, key })
    }

    /// Puts in what was read from the file, unless memory knows better already.
    pub(super) fn loaded(&mut self, key: Key, account: Option<Account>) -> Arc<Key> {
        if let Some(known) = self.keys.get(&key.id) {
            return Arc::clone(known);
        }
        let key = Arc::new(key);
        self.put_key(Arc::clone(&key));
        let account_id = key.id.account();
        if self.book.account(&account_id).is_none() {
            self.book.insert(account_id, account.unwrap_or_default());
        }
        key
    }

    pub(super) fn put_key(&mut self, key: Arc<Key>) {
        let credentials = [Some(key.digest), key.old.map(|old| old.digest)];
        if let Some(before) = self.keys.get(&key.id).map(Arc::clone) {
            self.forget_key(&before);
        }
        for credential in credentials.into_iter().flatten() {
            self.digests.insert(credential, key.id.clone());
        }
        self.keys.insert(key.id.clone(), key);
    }

    fn forget_key(&mut self, key: &Key) {
        for gone in [Some(key.digest), key.old.map(|old| old.digest)].into_iter().flatten() {
            self.digests.remove(&gone);
        }
        self.keys.remove(&key.id);
    }

    fn judged_by_present_records(&self, charge: &Charge) -> bool {
        let namespace = self
            .namespaces
            .get(charge.namespace.as_str())
            .map_or(0, |namespace| namespace.revision);
        let is_present = |key: &Arc<Key>| {
            key.revision == charge.key_revision
                && self.judged_by_present_team(key, charge.team.as_ref())
        };
        self.keys.get(&charge.key).is_some_and(is_present) && namespace == charge.namespace_revision
    }

    pub(super) fn touch<'a>(&mut self, accounts: impl Iterator<Item = &'a AccountId>) {
        touch(&mut self.dirty, accounts);
    }

    fn credit(
        &mut self,
        account: &AccountId,
        amount: i64,
        kind: CreditKind,
        reason: Option<&str>,
        now: Time,
    ) -> Result<(), StoreError> {
        if amount == 0 {
            return Ok(());
        }
        match self.book.credit(now, account, amount, kind) {
            Ok(_) => {}
            Err(LedgerError::NotLoaded) => return Err(StoreError::NotFound),
            Err(error) => return Err(error.into()),
        }
        self.touch(std::iter::once(account));
        let (at, account) = (self.book.now(), account.clone());
        self.queue.journal(|text| JournalRow::credit(text, (at, kind), account, amount, reason));
        Ok(())
    }

    /// The balance of then, if this very request was applied before.
    pub(super) fn repeated_balance(
        &mut self,
        once: Option<&Once>,
        now: Time,
    ) -> Result<Option<i64>, StoreError> {
        Ok(self.repeated(once, now)?.map(|record| record.available))
    }

    /// Was this very request applied before? An error if its key was used for another one.
    fn repeated(
        &mut self,
        once: Option<&Once>,
        now: Time,
    ) -> Result<Option<OnceRecord>, StoreError> {
        let Some(once) = once else { return Ok(None) };
        let now = self.book.now().max(now);
        if let Some(record) =
            self.once.get(&once.id).filter(|record| now < record.at.plus(ONCE_TTL))
        {
            return if record.request == once.request {
                Ok(Some(record.clone()))
            } else {
                Err(StoreError::OnceMismatch)
            };
        }
        if self.once.len() >= ONCE_MAX {
            self.once.retain(|_, record| now < record.at.plus(ONCE_TTL));
        }
        if self.once.len() >= ONCE_MAX { Err(StoreError::OnceFull) } else { Ok(None) }
    }

    pub(super) fn remember(&mut self, once: Option<Once>, available: i64, now: Time) {
        if let Some(Once { id, request, note }) = once {
            // Ledger time, by which it will be forgotten.
            let at = self.book.now().max(now);
            let record = OnceRecord { id, request, note, available, at };
            self.once.insert(id, record.clone());
            self.queue.push(Write::Once(record));
        }
    }
}
