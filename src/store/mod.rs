//! The only code that changes durable state. [`Store`] is what the rest sees; `local/` keeps the
//! books in an embedded database, one process per file; `redis/` shares them among several.
//!
//! A store knows counters and bounds, never prices or rules: those are in the gate.

pub mod clock;
mod contract;
mod detail;
mod explain;
mod image;
pub mod local;
mod outbox;
mod parked;
mod posting;
mod record;
pub mod redis;
mod replay;
mod told;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::gate::{Charge, Item};
use crate::ledger::{Account, CounterName, CreditKind, Refusal, ResolutionKind};
use crate::model::alert::AlertRule;
use crate::model::audit::{AuditEvent, AuditFilter, AuditRow, AuditTotals};
use crate::model::ids::{CallId, KeyId};
use crate::model::key::Key;
use crate::model::namespace::{Namespace, TenantSum};
use crate::model::secret::{Digest, SealKey};
use crate::model::team::{Team, TeamId};
use crate::model::time::Time;
use crate::model::token::{AdminToken, TokenId};
use crate::model::usage::{Refused, ReportAsked, UsageFilter, UsageReport};

pub use contract::{
    AlertsAsked, Arrival, Assigned, AuditOrder, AuditPage, BooksLoad, CallEnd, CallState, Compared,
    CreditsMoved, Deed, Durable, FoundCall, ItemEnd, Judge, Keep, Kept, Leased, LookAt, Once,
    RateState, Reading, Settlement, Show, SoldBy, StoreError, StoredCaller, UsagePage, UsageRow,
    Watched,
};

pub use explain::{ExplainedCall, ExplainedItem, ExplainedRow};
pub use outbox::Outbox;
pub use parked::{Judged, PaidTask, Parking, Resumed};

/// Durable state: records of keys and namespaces, and the ledger. Every method that changes
/// something says in its result when the change is durable.
#[async_trait]
pub trait Store: Outbox + Send + Sync + 'static {
    /// The key that a credential opens at a moment.
    async fn key_by_digest(
        &self,
        digest: Digest,
        now: Time,
    ) -> Result<Option<Arc<Key>>, StoreError>;

    /// A key by id, whatever its state.
    async fn key_by_id(&self, id: &KeyId) -> Result<Option<Arc<Key>>, StoreError>;

    /// The same for whoever only looks: where other instances may change it, it may be some seconds old.
    async fn recent_key(&self, id: &KeyId) -> Result<Option<Arc<Key>>, StoreError> {
        self.key_by_id(id).await
    }

    /// A tenant's record; one that was never written is open and unrestricted.
    async fn namespace(&self, name: &str) -> Result<Arc<Namespace>, StoreError>;

    /// The key that a credential opens, with its tenant and its team. A store that has them side by side
    /// gives them as they are at one moment.
    async fn caller(&self, digest: Digest, now: Time) -> Result<Option<StoredCaller>, StoreError> {
        let Some(key) = self.key_by_digest(digest, now).await? else { return Ok(None) };
        let namespace = self.namespace(&key.namespace).await?;
        let team = key.team.as_ref().and_then(|id| self.team(id));
        Ok(Some(StoredCaller { key, namespace, team }))
    }

    /// Have the records changed since, of which these are copies? Only books that others write to as well
    /// hand out copies that may be old for a moment.
    async fn are_old(&self, _key: &Key, _tenant: &Namespace) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Every tenant that has a record.
    fn namespaces(&self) -> Vec<Arc<Namespace>>;

    /// Replaces a tenant's record, durably, if its revision is still the one given; raises it.
    async fn update_namespace(
        &self,
        tenant: Namespace,
        deed: Deed,
    ) -> Result<Arc<Namespace>, StoreError>;

    /// The admin token with a digest.
    fn token(&self, digest: &Digest) -> Option<Arc<AdminToken>>;

    /// Every admin token, in order of their making.
    fn tokens(&self) -> Vec<Arc<AdminToken>>;

    /// Is an admin token still there? Where several instances share the books, another one may have ended it.
    async fn has_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        Ok(self.tokens().iter().any(|token| token.id == *id))
    }

    /// Makes an admin token, durably.
    async fn create_token(&self, token: AdminToken, deed: Deed) -> Result<(), StoreError>;

    /// Ends an admin token, durably.
    async fn delete_token(&self, id: &TokenId, deed: Deed) -> Result<(), StoreError>;

    /// A team, deleted or not.
    fn team(&self, id: &TeamId) -> Option<Arc<Team>>;

    /// Every team, deleted ones included, in order of their making.
    fn teams(&self) -> Vec<Arc<Team>>;

    /// A team's account.
    async fn team_account(&self, id: &TeamId) -> Result<Account, StoreError>;

    /// Makes a team, durably.
    async fn create_team(&self, team: Team, deed: Deed) -> Result<Arc<Team>, StoreError>;

    /// Replaces a team's record, durably, if its revision is still the one given; raises it. A team
    /// that is not active any more releases its keys.
    async fn update_team(&self, team: Team, deed: Deed) -> Result<Arc<Team>, StoreError>;

    /// Puts a key into a team of its own tenant, durably.
    async fn assign_key(
        &self,
        key: &KeyId,
        team: &TeamId,
        deed: Deed,
    ) -> Result<Assigned, StoreError>;

    /// Takes a key out of a team, durably; was it in it?
    async fn remove_key(&self, key: &KeyId, team: &TeamId, deed: Deed) -> Result<bool, StoreError>;

    /// Writes an entry of the audit log that nobody waits for; dropped if the disk cannot keep up.
    fn note(&self, event: AuditEvent);

    /// Writes an entry of the audit log, durably.
    async fn record(&self, event: AuditEvent) -> Result<(), StoreError>;

    /// Some entries of the audit log.
    async fn audit(
        &self,
        filter: AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditRow>, StoreError>;

    /// Numbers of the audit log.
    async fn audit_totals(&self, filter: AuditFilter) -> Result<AuditTotals, StoreError>;

    /// Forgets some of the entries before a moment, and of those beyond their bounds.
    async fn forget_audit(&self, before: Option<Time>) -> Result<(), StoreError>;

    /// The rules for alerts.
    fn alert_rules(&self) -> Arc<[AlertRule]>;

    /// Replaces the rules, durably. What waits to be read is dropped, and so are the cooldowns.
    async fn set_alert_rules(&self, rules: Vec<AlertRule>, deed: Deed) -> Result<(), StoreError>;

    /// Looks at keys. What is said of them waits to be read and is in the audit log, each once in its
    /// rule's cooldown.
    async fn look_for_alerts(
        &self,
        judge: Judge,
        look_at: LookAt,
        now: Time,
    ) -> Result<(), StoreError>;

    /// The alerts that wait to be read, oldest first, each as a JSON object.
    async fn alerts(&self, asked: AlertsAsked) -> Result<Vec<String>, StoreError>;

    /// Makes a key with its first credits, durably. A repetition (`deed.once`) changes nothing and
    /// returns the answer that the first one left.
    async fn create_key(
        &self,
        key: Key,
        credits: i64,
        deed: Deed,
        now: Time,
    ) -> Result<Creation, StoreError>;

    /// Has nothing ever been written here?
    async fn is_unused(&self) -> Result<bool, StoreError>;

    /// Makes those keys that were never here, durably; which of them are made. The embedded store makes
    /// all by one commit. Where books are shared a crash may leave some out, which the next import makes.
    async fn import(
        &self,
        arrivals: Vec<Arrival>,
        deed: Deed,
        now: Time,
    ) -> Result<HashSet<KeyId>, StoreError>;

    /// Replaces a key's record, durably, if its revision is still the one in `key`; raises it.
    async fn update_key(&self, key: Key, deed: Deed) -> Result<Arc<Key>, StoreError>;

    /// Takes a key out, durably. What it had left ends by an adjustment; its journal stays under its
    /// id, which is never used again.
    async fn delete_key(&self, id: &KeyId, deed: Deed, now: Time) -> Result<(), StoreError>;

    /// Adds or corrects credits, durably. A repetition (`deed.once`) changes nothing and
    /// returns the balance of then.
    async fn credit(
        &self,
        id: &KeyId,
        amount: i64,
        kind: CreditKind,
        deed: Deed,
        now: Time,
    ) -> Result<Credited, StoreError>;

    /// The call with an id, from the journal.
    async fn find_call(&self, call: CallId) -> Result<Option<FoundCall>, StoreError>;

    /// All that the books know of a call, from the journal.
    async fn explain_call(&self, call: CallId) -> Result<Option<ExplainedCall>, StoreError>;

    /// Gives back all that a charged call kept, durably, once: a call that was refunded before stays
    /// as it is.
    async fn refund(&self, call: FoundCall, deed: Deed, now: Time) -> Result<Credited, StoreError>;

    /// The balance after the credit that this very request made before, durably; `None` if it is
    /// new. The key may have been rotated or revoked since.
    async fn repeated(&self, once: &Once, now: Time) -> Result<Option<i64>, StoreError>;

    /// What was kept of the captured call that this request repeats; `None` if there is none, and
    /// room to keep one. An error if there is no room, or if the same idempotency key came with
    /// another request.
    async fn recall(&self, key: &KeyId, once: &Once, now: Time)
    -> Result<Option<Kept>, StoreError>;

    /// The request for which [`Store::recall`] found nothing does not run any more, and all that is to be
    /// kept of it is. Until then no other instance runs it.
    fn run_ended(&self, _once: &Once) {}

    /// Reserves what a charge asks for until `deadline`, all or nothing.
    async fn hold(&self, charge: &Charge, now: Time, deadline: Time) -> Result<(), HoldRefused>;

    /// Would this charge be held now? For shadow mode, which refuses nothing.
    async fn check(&self, charge: &Charge, now: Time) -> Result<Result<(), Refusal>, StoreError>;

    /// Ends a hold. The numbers in the reading are those right after it; the answer to a captured
    /// call must wait for [`Durable`]. A repetition of a call whose answer is kept finds it from
    /// then on.
    async fn settle(
        &self,
        settlement: Settlement,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError>;

    /// Keeps a hold open beyond its call's answer, which must wait for [`Durable`]. The reading is
    /// of then.
    async fn park(
        &self,
        parking: Parking,
        show: Show,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError>;

    /// Goes on with a parked hold of this key in exactly this state, once; it then has the new
    /// deadline. A conflict if a record has changed since whoever asks was judged by it.
    async fn resume(
        &self,
        key: &KeyId,
        call: CallId,
        state: &str,
        judged: Option<&Judged>,
        now: Time,
        deadline: Time,
    ) -> Result<Resumed, StoreError>;

    /// Ends the hold of a task, as [`Store::settle`], and remembers with the same commit that its
    /// result is paid if it was captured.
    async fn settle_task(
        &self,
        settlement: Settlement,
        task: PaidTask,
        now: Time,
    ) -> Result<(Reading, Durable), StoreError>;

    /// Is the result of a key's task paid, durably? To be asked once its hold waits no longer.
    async fn is_task_paid(&self, key: &KeyId, task: PaidTask) -> Result<bool, StoreError>;

    /// What this database seals with what clients keep for it.
    fn seal_key(&self) -> SealKey;

    /// Releases holds whose deadline has passed; how many there were.
    async fn expire(&self, now: Time) -> Result<usize, StoreError>;

    /// What a key's account shows now.
    async fn read(&self, id: &KeyId, show: Show, now: Time) -> Result<Reading, StoreError>;

    /// A key's account.
    async fn account(&self, id: &KeyId) -> Result<Account, StoreError>;

    /// Ledger time at a moment of the clock: never before what the books have seen. Numbers of an
    /// account are to be shown as of then, because that is when the gate tests them.
    fn ledger_now(&self, now: Time) -> Time;

    /// All keys with their accounts in order of creation, of one namespace or of all.
    async fn keys(&self, namespace: Option<&str>) -> Result<Vec<(Arc<Key>, Account)>, StoreError>;

    /// Some keys in order of creation, of one namespace or of all: the first ones after a place.
    async fn keys_page(
        &self,
        namespace: Option<&str>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<KeysPage, StoreError>;

    /// What the keys of each tenant come to, in the order of their first ones. Only the first who asks
    /// after a start waits until all keys are counted.
    async fn tenant_sums(&self, now: Time) -> Result<Vec<TenantSum>, StoreError>;

    /// Calls, refusals and credits by key and tool, up to now; deleted keys too.
    async fn usage(&self, namespace: Option<&str>) -> Result<Vec<UsageRow>, StoreError>;

    /// How many calls have ended, as far back as usage is kept.
    async fn ended_calls(&self, namespace: Option<&str>) -> Result<i64, StoreError>;

    /// Writes refusals down.
    async fn note_refused(&self, refused: Vec<Refused>) -> Result<(), StoreError>;

    /// Writes refusals down, and brings the sums of usage up to what has ended so far.
    async fn roll_up_usage(&self, refused: Vec<Refused>) -> Result<(), StoreError>;

    /// Some usage behind a place, oldest first.
    async fn usage_events(
        &self,
        filter: UsageFilter,
        after: Option<i64>,
        limit: usize,
    ) -> Result<UsagePage, StoreError>;

    /// Sums of whole hours or days, as far as they were rolled up.
    async fn usage_report(&self, asked: ReportAsked) -> Result<UsageReport, StoreError>;

    /// From when on usage and the audit log are complete here, if some of what was before is missing.
    async fn complete_since(&self, namespace: Option<&str>) -> Result<Option<Time>, StoreError> {
        let _ = namespace;
        Ok(None)
    }

    /// What tells the places of usage and of the audit log here from those of other instances, if there
    /// may be any.
    fn cursor_mark(&self) -> Option<&str> {
        None
    }

    /// Forgets some of the usage before a moment. The journal itself stays.
    async fn forget_usage(&self, before: Option<Time>) -> Result<(), StoreError>;

    /// Compares all accounts with the journal, a few at a time; `load` has what it found.
    async fn compare_books(&self) -> Result<(), StoreError>;

    /// What is under way at this moment.
    fn load(&self) -> BooksLoad;

    /// Is this instance told at once what other instances change? Else it looks every few seconds.
    fn is_told(&self) -> bool {
        true
    }

    /// Are the books reached, whatever is wrong with them?
    fn is_connected(&self) -> bool {
        self.health().is_ok()
    }

    /// What is wrong although the books can be sold from, in words for everybody.
    fn concern(&self) -> Option<String> {
        None
    }

    /// Where the journal is elsewhere: can it be copied here?
    fn is_copied(&self) -> Option<bool> {
        None
    }

    /// This instance sells by that from now on; others on the same books hear of it.
    fn sell_by(&self, sold_by: SoldBy) {
        drop(sold_by);
    }

    /// Instances on the same books that live and sell by another configuration.
    fn other_configs(&self) -> usize {
        0
    }

    /// Calls of whose end this instance has not heard yet; it sees to them.
    fn unsettled(&self) -> usize {
        0
    }

    /// `Err` once the store has closed itself because it could not write.
    fn health(&self) -> Result<(), StoreError>;

    /// Writes everything down and closes.
    async fn close(&self) -> Result<(), StoreError>;
}

/// Some keys, and where to go on.
#[derive(Debug)]
pub struct KeysPage {
    /// The keys with their accounts.
    pub keys: Vec<(Arc<Key>, Account)>,
    /// The place after the last of them, if there are more.
    pub next: Option<i64>,
}

/// What became of a request to make a key.
#[derive(Debug)]
pub enum Creation {
    /// It was made.
    Made(Arc<Key>),
    /// The same request made it before: the answer's note of then.
    Repeated(String),
}

/// What became of a request to add or correct credits, with the balance right after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credited {
    /// It was booked.
    Made(i64),
    /// The same request booked it before.
    Repeated(i64),
}

/// Why nothing was held.
#[derive(Debug)]
pub enum HoldRefused {
    /// A demand was not met.
    Refused(Refusal),
    /// A record that the gate read has changed since: judge again.
    Stale,
    /// The store cannot say yes.
    Unavailable(StoreError),
}

impl From<StoreError> for HoldRefused {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

/// How a call ended, for [`Store::settle`], from the outcome of each item.
pub fn settlement(charge: &Charge, ends: &[ItemEnd], show: Show) -> Settlement {
    let paid: Vec<bool> = ends.iter().map(|end| end.paid).collect();
    let (kept, charged) = charge.kept(&paid);
    let kind =
        if paid.contains(&true) { ResolutionKind::Captured } else { ResolutionKind::Released };
    let ends = charge.items.iter().zip(ends).map(|(item, end)| CallEnd::of(item, *end));
    Settlement {
        call: charge.call,
        key: charge.key.clone(),
        kind,
        kept,
        charged,
        ends: ends.collect(),
        show,
        keep: None,
    }
}

impl CallEnd {
    /// A call that has not ended yet.
    pub fn open(item: &Item) -> Self {
        Self { tool: item.tool.clone(), price: item.price, charged: 0, outcome: "open" }
    }

    fn of(item: &Item, end: ItemEnd) -> Self {
        let charged = if end.paid { item.price } else { 0 };
        Self { tool: item.tool.clone(), price: item.price, charged, outcome: end.outcome }
    }
}

impl Show {
    /// Nothing but the balance.
    pub const BALANCE: Self = Self { rate: None };

    /// The balance and the state of one rate.
    pub const fn with_rate(limit: i64, counter: CounterName) -> Self {
        Self { rate: Some((limit, counter)) }
    }
}
