//! A plan for the script that does what operators ask for: built key by key, run at once.

use redis::cmd;
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::audit::AuditEvent;
use crate::model::bounds::{
    ONCE_MAX, ONCE_TTL, REDIS_CLAIM_AGE, REDIS_DEED_REMEMBERED, REDIS_JOURNAL_ROWS_MAX,
};
use crate::model::time::Time;
use crate::store::image::OnceDone;
use crate::store::redis::books::{Books, random};
use crate::store::redis::names::{self, Names};
use crate::store::redis::news::News;
use crate::store::redis::texts::once_done;
use crate::store::{Once, StoreError};

/// See `lua/deed.lua`. A number that names a key is its place among the script's keys.
#[derive(Debug, Serialize)]
pub(in crate::store::redis) struct Plan {
    once: PlanOnce,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store::redis) expect: Vec<(usize, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store::redis) refund: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store::redis) credits: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store::redis) openings: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store::redis) put: Vec<Vec<Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store::redis) drop: Vec<Vec<Value>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store::redis) order: Vec<(usize, String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store::redis) leave: Vec<(usize, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store::redis) rows: Vec<(&'static str, String, String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    news: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::store::redis) show: Option<usize>,
    /// The audit log says what is left.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::store::redis) tells: bool,
    #[serde(skip)]
    keys: Vec<String>,
    #[serde(skip)]
    namespace: String,
    /// The operator may repeat it; else only we do.
    #[serde(skip)]
    is_once: bool,
}

#[derive(Debug, Serialize)]
struct PlanOnce {
    id: String,
    request: String,
    note: String,
    ttl: i64,
    most: usize,
    /// The journal tells of it.
    told: bool,
}

/// How long a claim counts: longer than what was done under it is remembered.
fn claim_ms() -> i64 {
    i64::try_from(ONCE_TTL.as_millis()).unwrap_or(i64::MAX).saturating_mul(2)
}

/// KEYS: the claim. ARGV: the tenant, one whose claim is void or '', how long it counts in ms.
const CLAIM: &str = "local found = redis.call('GET', KEYS[1]) \
     if found and found ~= ARGV[1] and found ~= ARGV[2] then return found end \
     redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) return ARGV[1]";

/// KEYS: the claim. ARGV: the tenant whose it is.
const UNCLAIM: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

fn once_hint(id: &str) -> String {
    format!("pg:once:{id}")
}

/// What became of a plan.
#[derive(Debug)]
pub(in crate::store::redis) enum Done {
    /// It was done, now or by an attempt whose answer was lost: the balance right after it.
    Now(i64),
    /// The operator asked for it before: the balance and the note of then.
    Before(i64, String),
    /// The call was refunded before: the balance of now.
    Refunded(i64),
}

impl Plan {
    pub(in crate::store::redis) fn new(
        names: &Names,
        namespace: &str,
        once: Option<Once>,
    ) -> Result<Self, StoreError> {
        let is_once = once.is_some();
        let once = match once {
            Some(once) => PlanOnce {
                id: hex::encode(once.id.bytes()),
                request: hex::encode(once.request.bytes()),
                note: once.note,
                ttl: i64::try_from(ONCE_TTL.as_millis()).unwrap_or(i64::MAX),
                most: ONCE_MAX,
                told: true,
            },
            None => PlanOnce {
                id: hex::encode(random::<16>()?),
                request: "0".to_owned(),
                note: String::new(),
                ttl: i64::try_from(REDIS_DEED_REMEMBERED.as_millis()).unwrap_or(i64::MAX),
                // What we remember for ourselves has room of its own.
                most: ONCE_MAX.saturating_mul(2),
                told: false,
            },
        };
        let keys = vec![names.meta(), names.due(), names.journal(), names.once()];
        Ok(Self {
            once,
            expect: Vec::new(),
            refund: None,
            credits: Vec::new(),
            openings: Vec::new(),
            put: Vec::new(),
            drop: Vec::new(),
            order: Vec::new(),
            leave: Vec::new(),
            rows: Vec::new(),
            news: Vec::new(),
            audit: None,
            show: None,
            tells: false,
            keys,
            namespace: namespace.to_owned(),
            is_once,
        })
    }

    /// The place of a key.
    pub(in crate::store::redis) fn key(&mut self, name: String) -> usize {
        let known = self.keys.iter().position(|known| *known == name);
        let place = known.unwrap_or_else(|| {
            self.keys.push(name);
            self.keys.len().saturating_sub(1)
        });
        place.saturating_add(1)
    }

    /// The record must be there, whatever its revision.
    pub(in crate::store::redis) fn is_there(&mut self, place: usize) {
        self.expect.push((place, "*".to_owned()));
    }

    /// A row that tells of a record, and what of it is not in its text.
    pub(in crate::store::redis) fn told(
        &mut self,
        kind: &'static str,
        id: &str,
        record: String,
        more: String,
    ) {
        self.news.push((names::NEWS, News::text(kind, &self.namespace, id)));
        self.rows.push((kind, id.to_owned(), record, more));
    }

    pub(in crate::store::redis) fn audit(&mut self, event: Option<AuditEvent>) {
        self.audit = event.map(|event| audit_text(&event));
    }
}

/// An entry of the audit log as the journal has it.
pub(in crate::store::redis) fn audit_text(event: &AuditEvent) -> String {
    json!({
        "at": event.at.ms(),
        "kind": event.kind,
        "actor": event.actor,
        "actorId": event.actor_id,
        "namespace": event.namespace,
        "target": event.target,
        "message": event.message,
        "metadata": event.metadata,
    })
    .to_string()
}

impl Books {
    /// Does what was planned, all of it or nothing.
    pub(in crate::store::redis) async fn act(
        &self,
        plan: Plan,
        now: Time,
    ) -> Result<Done, StoreError> {
        if plan.is_once {
            self.claim_once(&plan, now).await?;
        }
        let text = serde_json::to_string(&plan)
            .map_err(|error| StoreError::Read(format!("a plan cannot be written: {error}")))?;
        let most = REDIS_JOURNAL_ROWS_MAX.to_string();
        let args = [most.as_bytes(), text.as_bytes()];
        let script = &self.link.scripts.deed;
        let reply = self.run(&plan.namespace, script, &plan.keys, now, &args).await?;
        let balance = reply.number(0);
        // Under this id nothing was done.
        let is_void = !matches!(&*reply.status, "done" | "again" | "other");
        if plan.is_once && is_void {
            self.unclaim_once(&plan, now).await?;
        }
        match reply.status.as_str() {
            "done" => Ok(Done::Now(balance)),
            // Only an attempt of ours whose answer was lost has this id.
            "again" if !plan.is_once => Ok(Done::Now(balance)),
            "again" => Ok(Done::Before(balance, reply.text(1).to_owned())),
            "refunded" => Ok(Done::Refunded(balance)),
            "other" => Err(StoreError::OnceMismatch),
            "full" => Err(StoreError::OnceFull),
            "there" => Err(StoreError::Duplicate),
            "changed" => Err(StoreError::Conflict),
            "missing" => Err(StoreError::NotFound),
            "range" => Err(StoreError::OutOfRange),
            strange => Err(StoreError::Read(format!("a script answered {strange}"))),
        }
    }

    /// An idempotency key is for one tenant: whoever uses it for another has made another request. A claim
    /// that led to nothing counts for as long as its deed may be under way.
    async fn claim_once(&self, plan: &Plan, now: Time) -> Result<(), StoreError> {
        let (id, own) = (&*plan.once.id, &*plan.namespace);
        let before = self.claim_for(id, own, "").await?;
        if before == own {
            return Ok(());
        }
        let left_ms: i64 = self.link.ask(cmd("PTTL").arg(once_hint(id))).await?;
        let age_ms = claim_ms().saturating_sub(left_ms);
        let young_ms = i64::try_from(REDIS_CLAIM_AGE.as_millis()).unwrap_or(i64::MAX);
        if age_ms < young_ms || self.once_in(&before, id, now).await?.is_some() {
            return Err(StoreError::OnceMismatch);
        }
        if self.claim_for(id, own, &before).await? == own {
            Ok(())
        } else {
            Err(StoreError::OnceMismatch)
        }
    }

    /// Whose an idempotency key is now; what was known as void is replaced.
    async fn claim_for(&self, id: &str, own: &str, void: &str) -> Result<String, StoreError> {
        let mut claim = cmd("EVAL");
        claim.arg(CLAIM).arg(1).arg(once_hint(id)).arg(own).arg(void).arg(claim_ms());
        self.link.ask(&claim).await
    }

    /// Nothing was done under a claim: the idempotency key is free for any tenant.
    async fn unclaim_once(&self, plan: &Plan, now: Time) -> Result<(), StoreError> {
        let (id, own) = (&*plan.once.id, &*plan.namespace);
        if self.once_in(own, id, now).await?.is_none() {
            let mut unclaim = cmd("EVAL");
            unclaim.arg(UNCLAIM).arg(1).arg(once_hint(id)).arg(own);
            let _: i64 = self.link.ask(&unclaim).await?;
        }
        Ok(())
    }

    /// What was done under an id for a tenant.
    async fn once_in(
        &self,
        namespace: &str,
        id: &str,
        now: Time,
    ) -> Result<Option<OnceDone>, StoreError> {
        let record: Option<String> =
            self.link.ask(cmd("HGET").arg(Names::of(namespace).once()).arg(id)).await?;
        let now = self.ledger_now(now);
        Ok(record.as_deref().and_then(once_done).filter(|done| now < done.until))
    }

    /// The balance after the credit that this very request made before.
    pub(in crate::store::redis) async fn repeated(
        &self,
        once: &Once,
        now: Time,
    ) -> Result<Option<i64>, StoreError> {
        let id = hex::encode(once.id.bytes());
        let namespace: Option<String> = self.link.ask(cmd("GET").arg(names::once(&id))).await?;
        let Some(namespace) = namespace else { return Ok(None) };
        match self.once_in(&namespace, &id, now).await? {
            None => Ok(None),
            Some(done) if done.request == hex::encode(once.request.bytes()) => {
                Ok(Some(done.balance))
            }
            Some(_) => Err(StoreError::OnceMismatch),
        }
    }
}
