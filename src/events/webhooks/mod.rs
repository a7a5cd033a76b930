//! Webhooks: what became of calls and what operators did, told to a receiver.
//!
//! `follow` is the task that follows the store's outbox and sends batch after batch, in order;
//! `target` is the receiver and one POST to it, `form` the body, `sign` its signature, `retry` the
//! waits, `letters` what is done with batches that nobody took.
//!
//! No call and no change of an operator ever waits for any of it. Every event arrives at least once:
//! the cursor moves after a batch was taken or kept as a dead letter, both durably.

mod follow;
mod form;
mod letters;
mod retry;
mod sign;
mod target;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::model::bounds::WEBHOOK_OFF_KEPT;
use crate::model::time::Time;
use crate::model::webhook::OutboxTotals;
use crate::store::{Store, StoreError, clock};
pub use letters::Replaying;
pub use target::{Attempt, Target, WebhookError, WebhookOptions};

/// The webhooks of this instance.
pub struct Webhooks {
    store: Arc<dyn Store>,
    /// None while they are switched off.
    target: ArcSwapOption<Target>,
    /// There is another target, or none any more.
    changed: Notify,
    /// Failed attempts of the batch at hand.
    retrying: AtomicU32,
    /// When the oldest event happened that is known and not sent, in epoch milliseconds; 0 if none is.
    oldest: AtomicI64,
    /// Dead letters, as of the last look.
    dead: AtomicI64,
    /// One replay at a time.
    replays: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("target", &self.target.load()).finish_non_exhaustive()
    }
}

/// What everybody may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Batches that wait for another attempt.
    pub pending_retries: u32,
    /// Batches that were given up and are kept.
    pub dead_letters: i64,
}

/// How webhooks stand.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Attempts beside the first one; none while webhooks are switched off.
    pub retries_max: Option<u32>,
    /// Batches that wait for another attempt.
    pub pending_retries: u32,
    /// When the oldest event happened that is known and not sent.
    pub oldest: Option<Time>,
    /// Numbers that survive a restart.
    pub totals: OutboxTotals,
}

impl Webhooks {
    /// Sends nothing before [`Webhooks::follow`] runs.
    pub fn new(store: Arc<dyn Store>, target: Option<Target>) -> Self {
        Self {
            store,
            target: ArcSwapOption::from_pointee(target),
            changed: Notify::new(),
            retrying: AtomicU32::new(0),
            oldest: AtomicI64::new(0),
            dead: AtomicI64::new(0),
            replays: Arc::default(),
        }
    }

    /// Sends to another receiver from now on, or to none. What waits goes there too.
    pub fn aim(&self, target: Option<Target>) {
        self.target.store(target.map(Arc::new));
        self.changed.notify_one();
    }

    /// Makes sure that what happens from now on is sent, if they are switched on. May be repeated.
    pub async fn begin(&self) -> Result<(), StoreError> {
        if self.is_on() { self.open().await.map(drop) } else { Ok(()) }
    }

    async fn open(&self) -> Result<OutboxTotals, StoreError> {
        let now = clock::now();
        if let Some(since) = self.look().await?.off_since
            && since.plus(WEBHOOK_OFF_KEPT) < now
        {
            tracing::warn!(target: "webhooks", %since, "webhooks were switched off for long: what happened since is not sent");
        }
        let totals = self.store.open_outbox(now).await?;
        self.dead.store(totals.dead, Ordering::Relaxed);
        Ok(totals)
    }

    /// Are they switched on?
    pub fn is_on(&self) -> bool {
        self.target.load().is_some()
    }

    /// What everybody may know; nothing while they are switched off.
    pub fn brief(&self) -> Option<Brief> {
        self.is_on().then(|| Brief {
            pending_retries: self.pending_retries(),
            dead_letters: self.dead.load(Ordering::Relaxed),
        })
    }

    /// How they stand.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        Ok(Standing {
            retries_max: self.target.load().as_ref().map(|target| target.retries_max()),
            pending_retries: self.pending_retries(),
            oldest: (oldest > 0).then(|| Time::from_ms(oldest)),
            totals: self.look().await?,
        })
    }

    /// Sends one event of no meaning at once, whatever waits; none while they are switched off.
    pub async fn try_out(&self, actor: &str, now: Time) -> Option<(Attempt, String)> {
        let target = self.target.load_full()?;
        let actor = serde_json::Value::from(actor);
        let members = format!(
            "\"adminEvents\":[{{\"type\":\"webhook.test\",\"timestamp\":\"{now}\",\"actor\":{actor},\
             \"metadata\":{{\"message\":\"A test of the operator\"}}}}]"
        );
        Some((target.post(&members, 0).await, target.shown()))
    }

    /// One batch at most: they are sent in order.
    fn pending_retries(&self) -> u32 {
        self.retrying.load(Ordering::Relaxed).min(1)
    }

    /// Reads the numbers, and notes what is shown without a look.
    async fn look(&self) -> Result<OutboxTotals, StoreError> {
        let totals = self.store.outbox_totals().await?;
        self.dead.store(totals.dead, Ordering::Relaxed);
        Ok(totals)
    }
}
