//! The task that follows the outbox: it sends one batch after the other, so that events arrive in the
//! order in which they happened, and a batch that nobody takes holds the others up for a bounded time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{Target, Webhooks, form, retry};
use crate::model::bounds;
use crate::model::time::Time;
use crate::model::webhook::{Batch, BatchEnd, Cursor, DeadLetter};
use crate::store::{StoreError, clock};

/// Journal rows or entries of the audit log without an event after which the cursor is moved all the
/// same, so that a start does not look at all of them again.
const IDLE_MOVE: i64 = 10_000;

/// Why a step has ended.
enum Ended {
    /// Paygate stops.
    Stopping,
    /// The books say no, for now or for good. What was sent and is not noted will be sent again.
    Books(StoreError),
}

impl From<StoreError> for Ended {
    fn from(why: StoreError) -> Self {
        Self::Books(why)
    }
}

impl Webhooks {
    /// Sends what happens until `stop` is true. One call for each.
    pub async fn follow(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let mut follower =
            Follower { hooks: self, stop, place: None, since: None, is_cut_off: false };
        loop {
            match follower.step().await {
                Ok(()) => {}
                Err(Ended::Stopping) => break,
                Err(Ended::Books(why @ StoreError::Closed(_))) => {
                    // Nothing could be noted any more, so everything would be sent again and again.
                    tracing::error!(target: "webhooks", %why, "nothing is sent until Paygate is started again");
                    follower.stop.wait_for(|stop| *stop).await.ok();
                    return;
                }
                Err(Ended::Books(why)) => {
                    tracing::warn!(target: "webhooks", %why, "webhooks wait for the books");
                    follower.place = None;
                    if follower.nap(bounds::WEBHOOK_FLUSH_WAIT).await.is_err() {
                        break;
                    }
                }
            }
        }
        follower.last().await;
    }
}

struct Follower {
    hooks: Arc<Webhooks>,
    stop: watch::Receiver<bool>,
    /// None until the outbox is open.
    place: Option<Place>,
    /// When the first event was seen that waits for its batch to fill.
    since: Option<Instant>,
    /// Did the stop end an attempt?
    is_cut_off: bool,
}

#[derive(Clone, Copy)]
struct Place {
    /// Behind what was looked at.
    seen: Cursor,
    /// On disk.
    durable: Cursor,
}

impl Follower {
    async fn step(&mut self) -> Result<(), Ended> {
        if self.hooks.target.load().is_none() {
            return self.switched_off().await;
        }
        let place = match self.place {
            Some(place) => place,
            None => self.open().await?,
        };
        let batch = self.hooks.store.unsent(place.seen, bounds::WEBHOOK_BATCH_EVENTS).await?;
        self.note_oldest(batch.oldest());
        if batch.is_empty() {
            self.since = None;
            return self.pass_over(place, &batch).await;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let is_full = batch.len() >= bounds::WEBHOOK_BATCH_EVENTS;
        if !is_full && since.elapsed() < bounds::WEBHOOK_FLUSH_WAIT {
            return self.nap(bounds::WEBHOOK_LOOK).await;
        }
        self.since = None;
        self.deliver(&batch).await
    }

    /// Waits until they are switched on.
    async fn switched_off(&mut self) -> Result<(), Ended> {
        let totals = self.hooks.look().await?;
        if totals.cursor.is_some() && totals.off_since.is_none() {
            self.hooks.store.close_outbox(clock::now()).await?;
        }
        self.place = None;
        self.note_oldest(None);
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err(Ended::Stopping),
            () = self.hooks.changed.notified() => Ok(()),
        }
    }

    async fn open(&mut self) -> Result<Place, Ended> {
        let cursor = self.hooks.open().await?.cursor.unwrap_or_default();
        let place = Place { seen: cursor, durable: cursor };
        self.place = Some(place);
        Ok(place)
    }

    /// Nothing to send: looks on behind it, at once if there is more.
    async fn pass_over(&mut self, place: Place, batch: &Batch) -> Result<(), Ended> {
        let Cursor { usage, audit } = batch.after;
        let rows = (usage.saturating_sub(place.durable.usage)) >> 20;
        let is_far = rows > IDLE_MOVE || audit.saturating_sub(place.durable.audit) > IDLE_MOVE;
        if is_far {
            let end = BatchEnd { after: batch.after, events: 0, retries: 0, dead: None };
            self.note_end(end).await?;
        } else {
            self.place = Some(Place { seen: batch.after, ..place });
        }
        if batch.has_more { Ok(()) } else { self.nap(bounds::WEBHOOK_LOOK).await }
    }

    /// Sends a batch until it is taken or given up. If they are switched off meanwhile, it stays.
    async fn deliver(&mut self, batch: &Batch) -> Result<(), Ended> {
        let members = match form::members(batch) {
            Ok(members) => members,
            // Texts and numbers always can be written.
            Err(why) => return Err(StoreError::Read(why.to_string()).into()),
        };
        let first = clock::now();
        let mut retries = 0;
        let dead = loop {
            let Some(target) = self.hooks.target.load_full() else { break None };
            let Some(why) = self.attempt(&target, &members, retries).await? else {
                break Some(None);
            };
            if retries >= target.retries_max() {
                break Some(Some(given_up(batch, &members, (first, retries), why, &target)));
            }
            tracing::debug!(target: "webhooks", %why, retries, "a batch was not taken; it is sent again");
            self.hooks.retrying.store(retries.saturating_add(1), Ordering::Relaxed);
            self.wait_to_retry(retries).await?;
            retries = retries.saturating_add(1);
        };
        self.hooks.retrying.store(0, Ordering::Relaxed);
        let Some(dead) = dead else { return Ok(()) };
        if let Some(DeadLetter { error, attempts, url, .. }) = &dead {
            tracing::warn!(target: "webhooks", %error, attempts, %url, "a batch was given up: it is among the dead letters");
        }
        let events = i64::try_from(batch.len()).unwrap_or(i64::MAX);
        let end = BatchEnd { after: batch.after, events, retries: i64::from(retries), dead };
        self.note_end(end).await
    }

    /// Why it was not taken; none if it was.
    async fn attempt(
        &mut self,
        target: &Target,
        members: &str,
        retries: u32,
    ) -> Result<Option<String>, Ended> {
        let posting = target.post(members, retries);
        let stop = &mut self.stop;
        let hurried = async {
            // An error says that nobody could stop it any more, which is the same.
            stop.wait_for(|stop| *stop).await.ok();
            sleep(bounds::WEBHOOK_LAST_WAIT).await;
        };
        tokio::select! {
            attempt = posting => Ok(attempt.error),
            () = hurried => {
                self.is_cut_off = true;
                Err(Ended::Stopping)
            }
        }
    }

    async fn wait_to_retry(&mut self, retries: u32) -> Result<(), Ended> {
        let mut random = [0_u8; 1];
        // Without randomness the waits are a little shorter and all the same.
        getrandom::fill(&mut random).ok();
        let [random] = random;
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err(Ended::Stopping),
            () = self.hooks.changed.notified() => Ok(()),
            () = sleep(retry::wait(retries, random)) => Ok(()),
        }
    }

    /// Notes what became of a batch. The disk may be busy for a while.
    async fn note_end(&mut self, end: BatchEnd) -> Result<(), Ended> {
        loop {
            match self.hooks.store.batch_ended(end.clone()).await {
                Ok(()) => break,
                Err(StoreError::Busy) => self.nap(bounds::WEBHOOK_LOOK).await?,
                Err(why) => return Err(why.into()),
            }
        }
        self.place = Some(Place { seen: end.after, durable: end.after });
        self.note_oldest(None);
        if end.dead.is_some() {
            self.hooks.look().await?;
        }
        Ok(())
    }

    fn note_oldest(&self, oldest: Option<Time>) {
        self.hooks.oldest.store(oldest.map_or(0, Time::ms), Ordering::Relaxed);
    }

    async fn nap(&mut self, time: std::time::Duration) -> Result<(), Ended> {
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Err(Ended::Stopping),
            () = sleep(time) => Ok(()),
        }
    }

    /// One last attempt for what waits. If it fails, the next start goes on with it.
    async fn last(&mut self) {
        let is_failing = self.is_cut_off || self.hooks.retrying.load(Ordering::Relaxed) > 0;
        let (Some(target), Some(place), false) =
            (self.hooks.target.load_full(), self.place, is_failing)
        else {
            return;
        };
        let sending = async {
            let batch = self.hooks.store.unsent(place.seen, bounds::WEBHOOK_BATCH_EVENTS).await?;
            let Ok(members) = form::members(&batch) else { return Ok(()) };
            if batch.is_empty() || target.post(&members, 0).await.error.is_some() {
                return Ok(());
            }
            let events = i64::try_from(batch.len()).unwrap_or(i64::MAX);
            let end = BatchEnd { after: batch.after, events, retries: 0, dead: None };
            self.hooks.store.batch_ended(end).await
        };
        match timeout(bounds::WEBHOOK_LAST_WAIT, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                tracing::debug!(target: "webhooks", %why, "the last events were not sent yet");
            }
            Err(_) => {
                tracing::debug!(target: "webhooks", "the last events were not taken in time; they are sent after the next start");
            }
        }
    }
}

fn given_up(
    batch: &Batch,
    members: &str,
    (first, retries): (Time, u32),
    error: String,
    target: &Target,
) -> DeadLetter {
    DeadLetter {
        id: 0,
        events: members.to_owned(),
        count: i64::try_from(batch.len()).unwrap_or(i64::MAX),
        attempts: i64::from(retries).saturating_add(1),
        error,
        first,
        last: clock::now(),
        url: target.shown(),
    }
}
