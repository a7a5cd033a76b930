//! Values that cross the line between a store and its users.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::ledger::{Account, CounterName, LedgerError, Opening, ResolutionKind, Reversal};
use crate::model::alert::{Alert, AlertRule};
use crate::model::audit::AuditEvent;
use crate::model::ids::{CallId, KeyId};
use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::secret::Digest;
use crate::model::team::Team;
use crate::model::text::Text;
use crate::model::time::Time;
use crate::model::usage::UsageEvent;

/// What an instance sells by, as others that share its books hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoldBy {
    /// Where it is: host and port.
    pub instance: String,
    /// A hash of the part of its configuration that decides about money.
    pub fingerprint: String,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not write and has closed itself: memory is not trusted until a restart has read
    /// the file again. Or it was told to stop.
    #[error("{}", closed(.0))]
    Closed(String),
    /// Too much is waiting for the disk.
    #[error("the disk cannot keep up; try again in a moment")]
    Busy,
    /// The record was changed by somebody else.
    #[error("the record has changed meanwhile")]
    Conflict,
    /// There is no such record.
    #[error("no such record")]
    NotFound,
    /// Another key has this credential already.
    #[error("another key has this credential already")]
    Duplicate,
    /// The hold was resolved before, or its deadline has passed.
    #[error("the hold is not open any more")]
    NotOpen,
    /// The same Idempotency-Key came with another request.
    #[error("this Idempotency-Key was used for another request")]
    OnceMismatch,
    /// Too many idempotency keys are remembered.
    #[error("too many Idempotency-Keys are remembered; try again later")]
    OnceFull,
    /// There are as many of something as there may be.
    #[error("there are {1} {0} already, which is the most")]
    Full(&'static str, usize),
    /// Too many calls wait for their customers.
    #[error("too many calls wait for their next round or for their task")]
    ParkedFull,
    /// A number would leave the exact range.
    #[error("the result would be beyond 2^53 - 1")]
    OutOfRange,
    /// Books that several instances share cannot be reached, or must not be trusted.
    #[error("the shared books are not available: {0}; try again in a moment")]
    Unavailable(String),
    /// What was named cannot hold shared books.
    #[error("{0}")]
    Unfit(String),
    /// A read failed.
    #[error("the database could not be read: {0}")]
    Read(String),
}

/// A key and the records that it belongs to.
#[derive(Clone, Debug)]
pub struct StoredCaller {
    /// The key.
    pub key: Arc<Key>,
    /// Its tenant.
    pub namespace: Arc<Namespace>,
    /// Its team, if it has one.
    pub team: Option<Arc<Team>>,
}

/// Why books are closed that nothing is wrong with.
pub(super) const STOPPING: &str = "Paygate is stopping";

fn closed(why: &str) -> String {
    if why == STOPPING {
        return format!("the books are closed: {why}; try again once it runs again");
    }
    format!("the books are closed: {why}; restart Paygate once the cause is mended")
}

impl From<LedgerError> for StoreError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::OutOfRange => Self::OutOfRange,
            LedgerError::HoldMismatch | LedgerError::KeepsTooMuch | LedgerError::NotLoaded => {
                Self::Closed(error.to_string())
            }
        }
    }
}

/// A request that may be repeated: it is applied once, as long as it is remembered.
#[derive(Clone, Debug)]
pub struct Once {
    /// Digest of whose it is or where it was sent, and of its idempotency key.
    pub id: Digest,
    /// Digest of what it asked for.
    pub request: Digest,
    /// The answer to give to a repetition, where it can be known beforehand.
    pub note: String,
}

/// The answer to a call that may be repeated. Whatever captures the call keeps it, in one commit.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The request, as [`Once::id`] of one key.
    pub once: Once,
    /// The answer; `None` if it is too long to be kept.
    pub answer: Option<Vec<u8>>,
    /// How long.
    pub ttl: Duration,
}

/// What was kept of a captured call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which call.
    pub call: CallId,
    /// Its answer; `None` if that was too long.
    pub answer: Option<Vec<u8>>,
}

/// What goes with an operator's change, written in the same commit.
#[derive(Clone, Debug, Default)]
pub struct Deed {
    /// The request, if it may be repeated.
    pub once: Option<Once>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// What the audit log says of it. A change of credits adds `newBalance` to it.
    pub audit: Option<AuditEvent>,
}

impl From<Option<Once>> for Deed {
    fn from(once: Option<Once>) -> Self {
        Self { once, ..Self::default() }
    }
}

/// A key that comes from elsewhere, with its numbers.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its record.
    pub key: Key,
    /// Its account.
    pub opening: Opening,
}

/// What became of putting a key into a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// It is in it, now or already.
    Done,
    /// There is no such team of the key's tenant.
    NoSuchTeam,
    /// The key is in another one.
    InAnotherTeam,
    /// The team has as many keys as it may.
    TeamFull,
}

/// Which part of the audit log is read.
#[derive(Clone, Copy, Debug)]
pub struct AuditPage {
    /// From which end.
    pub order: AuditOrder,
    /// Behind the entry with this id.
    pub after: Option<i64>,
    /// Entries to leave out before that.
    pub skip: usize,
    /// Most entries.
    pub limit: usize,
}

/// From which end a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOrder {
    /// The last entry first.
    NewestFirst,
    /// The first entry first.
    OldestFirst,
}

/// How one call of a charge ended.
#[derive(Clone, Copy, Debug)]
pub struct ItemEnd {
    /// Is its price kept?
    pub paid: bool,
    /// A fixed word, for example `result` or `timeout`.
    pub outcome: &'static str,
}

/// How one call ended, as the usage row keeps it.
#[derive(Clone, Debug)]
pub struct CallEnd {
    /// Exact tool name.
    pub tool: Text,
    /// Its whole price.
    pub price: i64,
    /// What was charged.
    pub charged: i64,
    /// A fixed word.
    pub outcome: &'static str,
}

/// A call as the journal has it.
#[derive(Clone, Debug)]
pub struct FoundCall {
    /// Which call.
    pub call: CallId,
    /// Who paid.
    pub key: KeyId,
    /// Credits that were charged.
    pub charged: i64,
    /// What became of it.
    pub state: CallState,
    /// Its tools, each with what a refund changes.
    pub(super) tools: Vec<CallEnd>,
    /// What a refund gives back.
    pub(super) reversal: Option<Reversal>,
    /// The last journal row that was looked at.
    pub(super) seen: i64,
}

impl FoundCall {
    /// Its tools, each once for every call of it that cost something.
    pub fn charged_tools(&self) -> impl Iterator<Item = &str> {
        let charged = self.tools.iter().filter(|call| call.charged != 0);
        charged.map(|call| call.tool.as_str())
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// It has not ended.
    Open,
    /// It cost nothing.
    Free,
    /// It was charged.
    Charged,
    /// It was charged and then refunded.
    Refunded,
}

/// The end of a hold, with everything that is recorded about it.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which hold.
    pub call: CallId,
    /// Who pays.
    pub key: KeyId,
    /// Captured or released.
    pub kind: ResolutionKind,
    /// What stays of each of its demands.
    pub kept: Vec<i64>,
    /// Credits charged.
    pub charged: i64,
    /// Its calls.
    pub ends: Vec<CallEnd>,
    /// What the answer will show.
    pub show: Show,
    /// What a capture keeps for repetitions.
    pub keep: Option<Keep>,
}

/// Which numbers of an account an answer shows.
#[derive(Clone, Debug)]
pub struct Show {
    /// A rate's limit and its counter.
    pub rate: Option<(i64, CounterName)>,
}

/// Numbers of an account at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Credits that can be spent.
    pub available: i64,
    /// The rate asked for.
    pub rate: Option<RateState>,
}

/// How much of a rate is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    /// Calls per window.
    pub limit: i64,
    /// Calls left now.
    pub remaining: i64,
    /// Milliseconds until the oldest counted call leaves; the whole window if none is counted.
    pub reset_ms: i64,
}

impl Reading {
    /// Reads an account.
    pub fn of(account: Option<&Account>, show: &Show, now: Time) -> Self {
        let available = account.map_or(0, Account::available);
        let rate = show.rate.as_ref().map(|(limit, name)| {
            let counter = account.and_then(|account| account.counter(name));
            let used = counter.map_or(0, |counter| counter.value(now));
            let leaves = counter.and_then(|counter| counter.oldest_leaves(now));
            RateState {
                limit: *limit,
                remaining: limit.saturating_sub(used).max(0),
                reset_ms: leaves.map_or(60_000, |at| at.since_ms(now)),
            }
        });
        Self { available, rate }
    }
}

/// A promise that what was done will be on disk. Waiting for it is up to the caller.
#[derive(Debug)]
pub struct Durable(Option<oneshot::Receiver<()>>);

impl Durable {
    /// Nothing to wait for.
    pub const NOW: Self = Self(None);

    /// Resolved by the writer after its commit.
    pub(super) const fn after(commit: oneshot::Receiver<()>) -> Self {
        Self(Some(commit))
    }

    /// Waits until it is durable; an error if it never will be.
    pub async fn wait(self) -> Result<(), StoreError> {
        let Some(commit) = self.0 else { return Ok(()) };
        // The writer drops the other end when a commit fails.
        commit.await.map_err(|_| StoreError::Closed("the last commit failed".to_owned()))
    }
}

/// What is under way in a store.
#[derive(Clone, Copy, Debug)]
pub struct BooksLoad {
    /// Holds that are open.
    pub open_holds: usize,
    /// Changes that are not on disk yet.
    pub waiting: usize,
    /// What became of credits.
    pub moved: CreditsMoved,
    /// How the journal and the accounts compared when they last were, if ever.
    pub compared: Option<Compared>,
    /// Alerts that the operator has not read.
    pub alerts_pending: usize,
    /// Alerts that have fired since the start.
    pub alerts_fired: u64,
    /// What may be sold while shared books are away, if anything ever.
    pub leased: Option<Leased>,
}

/// What one instance may sell while the books that it shares are away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Credits.
    pub credits: i64,
    /// Are they away, and it sells?
    pub is_selling: bool,
}

/// Credits that open holds reserve, and what became of held ones since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreditsMoved {
    /// Reserved now.
    pub held: i64,
    /// Kept when holds ended.
    pub captured: i64,
    /// Given back when holds ended.
    pub released: i64,
    /// Captured before, and given back by an operator.
    pub refunded: i64,
}

impl CreditsMoved {
    pub(super) fn opened(&mut self, credits: i64) {
        self.held = self.held.saturating_add(credits);
    }

    pub(super) fn ended(&mut self, credits: i64, kept: i64) {
        self.held = self.held.saturating_sub(credits);
        self.captured = self.captured.saturating_add(kept);
        self.released = self.released.saturating_add(credits.saturating_sub(kept));
    }

    pub(super) fn refunded(&mut self, credits: i64) {
        self.refunded = self.refunded.saturating_add(credits);
    }
}

/// The accounts beside the journal, at one journal row.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Credits of all accounts that the journal does not explain: 0 if the books agree.
    pub drift: i64,
    /// When that was found.
    pub at: Instant,
}

/// A key whose numbers may give cause for an alert.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    /// Its record.
    pub key: &'a Key,
    /// Its numbers.
    pub account: &'a Account,
    /// The clock, by which records are judged.
    pub now: Time,
    /// Ledger time, by which numbers are.
    pub ledger: Time,
    /// How often rate limits have refused it of late, if one has since the last look.
    pub rate_denials: i64,
}

/// Which keys are looked at for alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookAt {
    /// Those that were used since the last look.
    UsedKeys,
    /// Those that soon expire too.
    IdleKeysToo,
}

/// What a rule says of a key, if anything.
pub type Judge = fn(&AlertRule, &Watched<'_>) -> Option<Alert>;

/// Which alerts somebody wants to read.
#[derive(Clone, Debug)]
pub struct AlertsAsked {
    /// Whose tenant; of all if none.
    pub namespace: Option<String>,
    /// Who reads them: the tenant itself, or who runs Paygate. Neither takes them from the other.
    pub by_tenant: bool,
    /// Are they not shown again?
    pub clears: bool,
}

/// Some usage, and where to go on.
#[derive(Debug)]
pub struct UsagePage {
    /// In the order of time; there may be few or none although more follow.
    pub events: Vec<UsageEvent>,
    /// The place to go on behind, if there is more to look at.
    pub next: Option<i64>,
}

/// Calls and credits of one key on one tool, with one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Key id; empty for refusals without a valid key.
    pub key: String,
    /// Tool name; empty for refusals of none that a server lists.
    pub tool: String,
    /// Why they were refused; empty for calls that ended.
    pub reason: String,
    /// Number of calls.
    pub calls: i64,
    /// Credits charged for them.
    pub credits: i64,
}
