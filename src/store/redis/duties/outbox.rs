//! The outbox of webhooks for books in Redis: cursor, numbers and dead letters are one hash there, changed by
//! one script; what there is to send is read by `unsent.rs`.

use async_trait::async_trait;
use redis::cmd;
use serde::{Deserialize, Serialize};

use crate::model::audit::AuditEvent;
use crate::model::bounds::{REDIS_DUTY_LEASE, WEBHOOK_DEAD_LETTERS_MAX, WEBHOOK_OFF_KEPT};
use crate::model::time::Time;
use crate::model::webhook::{Batch, BatchEnd, Cursor, DeadLetter, OutboxTotals};
use crate::store::redis::books::{Books, RedisStore};
use crate::store::redis::journals::journal::Entry;
use crate::store::redis::names::{self, Names};
use crate::store::{Outbox, StoreError, clock};

/// A dead letter as Redis has it; its id is the name of its field.
#[derive(Serialize, Deserialize)]
struct Letter {
    events: String,
    count: i64,
    attempts: i64,
    error: String,
    first: i64,
    last: i64,
    url: String,
}

impl Letter {
    fn text(letter: &DeadLetter) -> Result<String, StoreError> {
        let DeadLetter { id: _, events, count, attempts, error, first, last, url } = letter.clone();
        let letter =
            Self { events, count, attempts, error, first: first.ms(), last: last.ms(), url };
        serde_json::to_string(&letter)
            .map_err(|error| StoreError::Read(format!("a dead letter cannot be written: {error}")))
    }

    fn read(id: i64, text: &str) -> Option<DeadLetter> {
        let Self { events, count, attempts, error, first, last, url } =
            serde_json::from_str(text).ok()?;
        let (first, last) = (Time::from_ms(first), Time::from_ms(last));
        Some(DeadLetter { id, events, count, attempts, error, first, last, url })
    }
}

/// The numbers of the hash.
const NUMBERS: [&str; 10] = [
    "begun",
    "seen",
    "delivered",
    "events_delivered",
    "failed",
    "events_failed",
    "retries",
    "lost",
    "dropped",
    "dead",
];

impl Books {
    /// One step of the outbox's script: a word, and a text.
    pub(in crate::store::redis) async fn outbox_deed(
        &self,
        args: &[String],
    ) -> Result<(String, String), StoreError> {
        let mut run = cmd("EVAL");
        run.arg(include_str!("../lua/outbox.lua")).arg(1).arg(names::WEBHOOKS).arg(args);
        self.link.ask(&run).await
    }

    /// The last row of every journal.
    async fn ends_of_journals(&self) -> Result<Vec<String>, StoreError> {
        let mut ends = Vec::new();
        for end in self.journal_ends().await? {
            ends.extend([Names::of(&end.namespace).journal(), format!("{}-0", end.seq)]);
        }
        for stream in [names::JOURNAL, names::REFUSED] {
            let mut last = cmd("XREVRANGE");
            last.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
            let last: Vec<Entry> = self.link.ask(&last).await?;
            ends.push(stream.to_owned());
            ends.push(last.into_iter().next().map_or_else(|| "0-0".to_owned(), |(id, _)| id));
        }
        Ok(ends)
    }

    async fn open_outbox(&self) -> Result<(), StoreError> {
        let kept = WEBHOOK_OFF_KEPT.as_millis().to_string();
        let mut args = vec!["open".to_owned(), self.name.clone(), "0".to_owned(), kept];
        args.extend(self.ends_of_journals().await?);
        self.outbox_deed(&args).await.map(drop)
    }

    pub(in crate::store::redis) async fn leave_outbox(&self) -> Result<(), StoreError> {
        let mut sending = self.sending.lock().await;
        if sending.turn.is_empty() {
            return Ok(());
        }
        sending.give_up();
        self.outbox_deed(&["leave".to_owned(), self.name.clone()]).await.map(drop)
    }

    async fn outbox_totals(&self) -> Result<OutboxTotals, StoreError> {
        let mut get = cmd("HMGET");
        get.arg(names::WEBHOOKS).arg(&NUMBERS).arg("last_dead");
        let found: Vec<Option<i64>> = self.link.ask(&get).await?;
        let number = |index: usize| found.get(index).copied().flatten().unwrap_or(0);
        if number(0) == 0 {
            return Ok(OutboxTotals::default());
        }
        let cursor = {
            let sending = self.sending.lock().await;
            Cursor { usage: sending.ended, audit: sending.turn_number() }
        };
        let seen = Time::from_ms(number(1));
        let is_off = seen.plus(REDIS_DUTY_LEASE) < clock::now();
        let dead = number(9);
        Ok(OutboxTotals {
            cursor: Some(cursor),
            off_since: is_off.then_some(seen),
            delivered: number(2),
            events_delivered: number(3),
            failed: number(4),
            events_failed: number(5),
            retries: number(6),
            lost: number(7),
            dropped: number(8),
            dead,
            last_dead: if dead > 0 { number(10) } else { 0 },
        })
    }

    async fn batch_ended(&self, end: BatchEnd) -> Result<(), StoreError> {
        let mut sending = self.sending.lock().await;
        if sending.turn.is_empty() || end.after.audit != sending.turn_number() {
            // Somebody else has taken over: what was sent may be sent again.
            return Err(StoreError::Conflict);
        }
        let places = sending.places_after(end.after);
        let number = sending.ends.saturating_add(1);
        let mut args = vec!["end".to_owned(), self.name.clone(), sending.turn.clone()];
        args.extend([number.to_string(), places.len().to_string()]);
        let sent: Vec<(String, String)> = places.into_iter().collect();
        args.extend(sent.iter().cloned().flat_map(|(journal, place)| [journal, place]));
        let letter = end.dead.as_ref().map(Letter::text).transpose()?.unwrap_or_default();
        args.extend([end.events.to_string(), end.retries.to_string(), sending.lost.to_string()]);
        args.extend([letter, WEBHOOK_DEAD_LETTERS_MAX.to_string()]);
        let (word, _) = self.outbox_deed(&args).await?;
        if word != "done" {
            sending.give_up();
            return Err(StoreError::Conflict);
        }
        (sending.ends, sending.lost) = (number, 0);
        sending.drop_ended(end.after);
        self.remember_sent(sent).await;
        Ok(())
    }

    /// The ids of all dead letters, oldest first.
    async fn letter_ids(&self) -> Result<Vec<i64>, StoreError> {
        let fields: Vec<String> = self.link.ask(cmd("HKEYS").arg(names::WEBHOOKS)).await?;
        let id = |field: &String| field.strip_prefix("letter:")?.parse().ok();
        let mut ids: Vec<i64> = fields.iter().filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    async fn letters(&self, ids: &[i64]) -> Result<Vec<DeadLetter>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = cmd("HMGET");
        get.arg(names::WEBHOOKS);
        for id in ids {
            get.arg(format!("letter:{id}"));
        }
        let found: Vec<Option<String>> = self.link.ask(&get).await?;
        let letter = |(id, text): (&i64, Option<String>)| Letter::read(*id, &text?);
        Ok(ids.iter().zip(found).filter_map(letter).collect())
    }
}

#[async_trait]
impl Outbox for RedisStore {
    async fn open_outbox(&self, _now: Time) -> Result<OutboxTotals, StoreError> {
        self.books.open_outbox().await?;
        self.books.outbox_totals().await
    }

    async fn close_outbox(&self, _now: Time) -> Result<(), StoreError> {
        self.books.leave_outbox().await
    }

    async fn outbox_totals(&self) -> Result<OutboxTotals, StoreError> {
        self.books.outbox_totals().await
    }

    async fn unsent(&self, after: Cursor, limit: usize) -> Result<Batch, StoreError> {
        self.books.unsent(after, limit).await
    }

    async fn batch_ended(&self, end: BatchEnd) -> Result<(), StoreError> {
        self.books.batch_ended(end).await
    }

    async fn dead_letters(&self, after: i64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let mut ids = self.books.letter_ids().await?;
        ids.retain(|id| *id > after);
        ids.truncate(limit);
        self.books.letters(&ids).await
    }

    async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.books.letters(&[id]).await?.into_iter().next())
    }

    async fn letter_ended(&self, letter: DeadLetter, is_taken: bool) -> Result<(), StoreError> {
        let text = if is_taken { String::new() } else { Letter::text(&letter)? };
        let (id, count) = (letter.id.to_string(), letter.count.to_string());
        let args = ["letter".to_owned(), self.books.name.clone(), id, text, count];
        self.books.outbox_deed(&args).await.map(drop)
    }

    async fn clear_dead_letters(&self, up_to: i64, audit: AuditEvent) -> Result<(), StoreError> {
        let ids = self.books.letter_ids().await?;
        let mut args = vec!["clear".to_owned(), self.books.name.clone()];
        args.extend(ids.iter().filter(|id| **id <= up_to).map(ToString::to_string));
        self.books.outbox_deed(&args).await?;
        self.books.note(&audit).await
    }
}
