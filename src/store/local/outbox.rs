//! The outbox of webhooks on disk: a cursor into the journal and the audit log, numbers, and the
//! batches that nobody took. Everything that changes goes through the writer, like all else.
//!
//! What is not sent yet is kept beyond its retention as long as webhooks are configured, up to the hard
//! bounds of what it lies in; what these take is counted.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::audit;
use super::queue::Write;
use super::roll_up::ENDS;
use super::state::{LocalStore, Shared};
use super::usage::{PLACE_BITS, PLACE_MASK, last_place, read_unsent};
use crate::model::audit::{AuditEvent, AuditRow};
use crate::model::bounds::{WEBHOOK_DEAD_LETTERS_MAX, WEBHOOK_OFF_KEPT};
use crate::model::time::Time;
use crate::model::webhook::{ADMIN_EVENTS, Batch, BatchEnd, Cursor, DeadLetter, OutboxTotals};
use crate::store::{Durable, Outbox, StoreError};

/// One change of the outbox.
#[derive(Debug)]
pub(super) enum OutboxWrite {
    Open { at: Time },
    Close { at: Time },
    Ended(BatchEnd),
    LetterEnded { letter: DeadLetter, is_taken: bool },
    Clear { up_to: i64 },
}

impl OutboxWrite {
    /// `seq` is the last journal row.
    pub(super) fn perform(&self, connection: &Connection, seq: i64) -> rusqlite::Result<()> {
        match self {
            Self::Open { at } => open(connection, seq, *at),
            Self::Close { at } => {
                let sql = "UPDATE webhooks SET off_since = coalesce(off_since, ?1)";
                connection.execute(sql, [at.ms()]).map(drop)
            }
            Self::Ended(end) => ended(connection, end),
            Self::LetterEnded { letter, is_taken: true } => {
                let sql = "DELETE FROM webhook_dead_letters WHERE id = ?1";
                // It may have been cleared meanwhile; it was taken all the same.
                connection.prepare_cached(sql)?.execute([letter.id])?;
                let sql = "UPDATE webhooks SET delivered = delivered + 1,
                    events_delivered = events_delivered + ?1, retries = retries + 1";
                connection.prepare_cached(sql)?.execute([letter.count]).map(drop)
            }
            Self::LetterEnded { letter, is_taken: false } => {
                let sql = "UPDATE webhook_dead_letters
                    SET attempts = ?2, error = ?3, last_at = ?4, url = ?5 WHERE id = ?1";
                let DeadLetter { id, attempts, error, last, url, .. } = letter;
                connection.prepare_cached(sql)?.execute(params![
                    id,
                    attempts,
                    error,
                    last.ms(),
                    url
                ])?;
                connection.execute("UPDATE webhooks SET retries = retries + 1", []).map(drop)
            }
            Self::Clear { up_to } => {
                let sql = "DELETE FROM webhook_dead_letters WHERE id <= ?1";
                connection.execute(sql, [up_to]).map(drop)
            }
        }
    }
}

/// Begins at the end unless there is a cursor that was in use lately.
fn open(connection: &Connection, seq: i64, at: Time) -> rusqlite::Result<()> {
    let off = connection.query_row("SELECT off_since FROM webhooks", [], |row| row.get(0));
    let off: Option<Option<i64>> = off.optional()?;
    let (usage, audit) = (last_place(connection, seq)?, "coalesce((SELECT max(id) FROM audit), 0)");
    match off {
        None => {
            let sql = format!("INSERT INTO webhooks (usage_place, audit_id) VALUES (?1, {audit})");
            connection.execute(&sql, [usage]).map(drop)
        }
        Some(Some(since)) if Time::from_ms(since).plus(WEBHOOK_OFF_KEPT) < at => {
            let sql = format!(
                "UPDATE webhooks SET usage_place = ?1, audit_id = {audit}, off_since = NULL"
            );
            connection.execute(&sql, [usage]).map(drop)
        }
        Some(_) => connection.execute("UPDATE webhooks SET off_since = NULL", []).map(drop),
    }
}

fn ended(connection: &Connection, end: &BatchEnd) -> rusqlite::Result<()> {
    let BatchEnd { after, events, retries, dead } = end;
    let (batches, failed) = (i64::from(*events > 0), i64::from(dead.is_some()));
    connection
        .prepare_cached(
            "UPDATE webhooks SET usage_place = ?1, audit_id = ?2, delivered = delivered + ?3,
             events_delivered = events_delivered + ?4, failed = failed + ?5,
             events_failed = events_failed + ?6, retries = retries + ?7",
        )?
        .execute([
            after.usage,
            after.audit,
            batches - failed,
            if failed == 0 { *events } else { 0 },
            failed,
            if failed == 0 { 0 } else { *events },
            *retries,
        ])?;
    let Some(letter) = dead else { return Ok(()) };
    let DeadLetter { id: _, events, count, attempts, error, first, last, url } = letter;
    connection
        .prepare_cached(
            "INSERT INTO webhook_dead_letters (events, count, attempts, error, first_at, last_at, url)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![events, count, attempts, error, first.ms(), last.ms(), url])?;
    let sql = format!(
        "DELETE FROM webhook_dead_letters WHERE id <= (SELECT id FROM webhook_dead_letters
         ORDER BY id DESC LIMIT 1 OFFSET {WEBHOOK_DEAD_LETTERS_MAX})"
    );
    let dropped = connection.prepare_cached(&sql)?.execute([])?;
    if dropped > 0 {
        tracing::warn!(target: "webhooks", dropped, "there are too many dead letters: the oldest were thrown away");
        let sql = "UPDATE webhooks SET dropped = dropped + ?1";
        connection.execute(sql, [i64::try_from(dropped).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

/// Everything up to here was sent or given up. Without webhooks, everything there is.
pub(super) fn sent(connection: &Connection) -> rusqlite::Result<Cursor> {
    let sql = "SELECT usage_place, audit_id FROM webhooks WHERE off_since IS NULL";
    let found = connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok(Cursor { usage: row.get(0)?, audit: row.get(1)? }));
    Ok(found.optional()?.unwrap_or(Cursor { usage: i64::MAX, audit: i64::MAX }))
}

/// `n` of the first refusal after a journal row that the cursor has not passed yet.
pub(super) fn first_unsent(connection: &Connection, seq: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT usage_place FROM webhooks";
    let place: Option<i64> =
        connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    let behind = place.filter(|place| place >> PLACE_BITS == seq);
    Ok(behind.map_or(0, |place| (place & PLACE_MASK).saturating_add(1)))
}

/// The words of what is sent from the audit log, as a list of SQL.
pub(super) fn admin_events() -> String {
    format!("('{}')", ADMIN_EVENTS.join("', '"))
}

/// Counts refusals that the bound of their table takes before they were sent.
pub(super) fn count_lost_refusals(
    connection: &Connection,
    at_once: i64,
    rows_max: i64,
) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM (SELECT seq, n FROM refused ORDER BY seq, n
            LIMIT max(0, min(?1, (SELECT count(*) FROM refused) - ?2)))
        WHERE (seq << 20 | n) > ?3";
    let given = [at_once, rows_max, sent(connection)?.usage];
    let lost = connection.prepare_cached(sql)?.query_row(given, |row| row.get(0))?;
    count_lost(connection, lost)
}

/// Counts what is sent of these entries of the audit log and was not yet.
pub(super) fn count_lost_entries(connection: &Connection, ids: &str) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT count(*) FROM audit WHERE id IN ({ids}) AND id > ?1 AND kind IN {}",
        admin_events()
    );
    let sent = sent(connection)?.audit;
    let lost = connection.prepare_cached(&sql)?.query_row([sent], |row| row.get(0))?;
    count_lost(connection, lost)
}

/// Counts the calls that an ephemeral store forgets before they were sent.
pub(super) fn count_trimmed(connection: &Connection, up_to: i64) -> rusqlite::Result<()> {
    let after = sent(connection)?.usage >> PLACE_BITS;
    if after >= up_to {
        return Ok(());
    }
    let sql = format!(
        "SELECT count(*) FROM journal, json_each(journal.detail, '$.calls')
         WHERE seq > ?1 AND seq <= ?2 AND journal.kind IN {ENDS}"
    );
    let lost = connection.prepare_cached(&sql)?.query_row([after, up_to], |row| row.get(0))?;
    count_lost(connection, lost)
}

fn count_lost(connection: &Connection, lost: i64) -> rusqlite::Result<()> {
    if lost > 0 {
        tracing::warn!(target: "webhooks", lost, "events were forgotten before they could be sent");
        connection.execute("UPDATE webhooks SET lost = lost + ?1", [lost])?;
    }
    Ok(())
}

fn totals(connection: &Connection) -> rusqlite::Result<OutboxTotals> {
    let sql = "SELECT usage_place, audit_id, delivered, events_delivered, failed, events_failed,
            retries, lost, dropped, off_since, (SELECT count(*) FROM webhook_dead_letters),
            (SELECT coalesce(max(id), 0) FROM webhook_dead_letters)
        FROM webhooks";
    let found = connection.prepare_cached(sql)?.query_row([], |row| {
        Ok(OutboxTotals {
            cursor: Some(Cursor { usage: row.get(0)?, audit: row.get(1)? }),
            delivered: row.get(2)?,
            events_delivered: row.get(3)?,
            failed: row.get(4)?,
            events_failed: row.get(5)?,
            retries: row.get(6)?,
            lost: row.get(7)?,
            dropped: row.get(8)?,
            off_since: row.get::<_, Option<i64>>(9)?.map(Time::from_ms),
            dead: row.get(10)?,
            last_dead: row.get(11)?,
        })
    });
    Ok(found.optional()?.unwrap_or_default())
}

fn unsent(connection: &Connection, after: Cursor, limit: usize) -> rusqlite::Result<Batch> {
    let sql = format!(
        "SELECT id, at, kind, actor, actor_id, namespace, target, message, metadata
         FROM audit WHERE id > ?1 AND kind IN {} ORDER BY id LIMIT ?2",
        admin_events()
    );
    // Before the entries: what is written meanwhile must not be passed over.
    let newest = "SELECT coalesce(max(id), 0) FROM audit";
    let newest: i64 = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(&sql)?;
    let rows =
        statement.query_map([after.audit, i64::try_from(limit).unwrap_or(i64::MAX)], audit::row)?;
    let admin = rows.collect::<rusqlite::Result<Vec<AuditRow>>>()?;
    let is_full = admin.len() >= limit;
    let last = admin.last().map_or(after.audit, |row| row.id);
    let audit = if is_full { last } else { last.max(newest) };
    let room = limit.saturating_sub(admin.len());
    let (usage, place, has_more) = read_unsent(connection, after.usage, room)?;
    Ok(Batch { usage, admin, after: Cursor { usage: place, audit }, has_more: is_full || has_more })
}

const LETTER: &str =
    "SELECT id, events, count, attempts, error, first_at, last_at, url FROM webhook_dead_letters";

fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        id: row.get(0)?,
        events: row.get(1)?,
        count: row.get(2)?,
        attempts: row.get(3)?,
        error: row.get(4)?,
        first: Time::from_ms(row.get(5)?),
        last: Time::from_ms(row.get(6)?),
        url: row.get(7)?,
    })
}

fn letters(connection: &Connection, after: i64, limit: i64) -> rusqlite::Result<Vec<DeadLetter>> {
    let sql = format!("{LETTER} WHERE id > ?1 ORDER BY id LIMIT ?2");
    connection.prepare_cached(&sql)?.query_map([after, limit], letter)?.collect()
}

impl Shared {
    fn outbox(&self, write: OutboxWrite, audit: Option<AuditEvent>) -> Result<Durable, StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        state.queue.push(Write::Outbox(Box::new(write)));
        state.audit(audit);
        let durable = state.queue.durable();
        self.nudge(state);
        Ok(durable)
    }
}

#[async_trait]
impl Outbox for LocalStore {
    async fn open_outbox(&self, now: Time) -> Result<OutboxTotals, StoreError> {
        self.shared.outbox(OutboxWrite::Open { at: now }, None)?.wait().await?;
        self.outbox_totals().await
    }

    async fn close_outbox(&self, now: Time) -> Result<(), StoreError> {
        self.shared.outbox(OutboxWrite::Close { at: now }, None)?.wait().await
    }

    async fn outbox_totals(&self) -> Result<OutboxTotals, StoreError> {
        self.unsent.read(totals).await
    }

    async fn unsent(&self, after: Cursor, limit: usize) -> Result<Batch, StoreError> {
        self.unsent.read(move |connection| unsent(connection, after, limit)).await
    }

    async fn batch_ended(&self, end: BatchEnd) -> Result<(), StoreError> {
        self.shared.outbox(OutboxWrite::Ended(end), None)?.wait().await
    }

    async fn dead_letters(&self, after: i64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.unsent.read(move |connection| letters(connection, after, limit)).await
    }

    async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StoreError> {
        let sql = format!("{LETTER} WHERE id = ?1");
        self.unsent
            .read(move |connection| connection.query_row(&sql, [id], letter).optional())
            .await
    }

    async fn letter_ended(&self, letter: DeadLetter, is_taken: bool) -> Result<(), StoreError> {
        let write = OutboxWrite::LetterEnded { letter, is_taken };
        self.shared.outbox(write, None)?.wait().await
    }

    async fn clear_dead_letters(&self, up_to: i64, audit: AuditEvent) -> Result<(), StoreError> {
        self.shared.outbox(OutboxWrite::Clear { up_to }, Some(audit))?.wait().await
    }
}

#[cfg(test)]
mod tests;
