//! What webhooks still have to send. There is no queue: a durable cursor follows the journal and the
//! audit log, so nothing is lost with the process, and nothing is written for an event that is sent
//! at once but the move of the cursor.

use async_trait::async_trait;

use super::StoreError;
use crate::model::audit::AuditEvent;
use crate::model::time::Time;
use crate::model::webhook::{Batch, BatchEnd, Cursor, DeadLetter, OutboxTotals};

/// The outbox of webhooks. One task at a time follows it.
#[async_trait]
pub trait Outbox {
    /// Begins to keep what is to be sent, durably, at the end of all that is there; goes on where it
    /// was if webhooks were not off for too long.
    async fn open_outbox(&self, now: Time) -> Result<OutboxTotals, StoreError>;

    /// Webhooks are switched off, durably: nothing is kept for them beyond its time.
    async fn close_outbox(&self, now: Time) -> Result<(), StoreError>;

    /// Cursor and numbers.
    async fn outbox_totals(&self) -> Result<OutboxTotals, StoreError>;

    /// The next events behind a cursor, as far as they are on disk.
    async fn unsent(&self, after: Cursor, limit: usize) -> Result<Batch, StoreError>;

    /// Moves the cursor behind a batch that was sent or given up, durably.
    async fn batch_ended(&self, end: BatchEnd) -> Result<(), StoreError>;

    /// Some dead letters behind an id, oldest first.
    async fn dead_letters(&self, after: i64, limit: usize) -> Result<Vec<DeadLetter>, StoreError>;

    /// One dead letter.
    async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetter>, StoreError>;

    /// A dead letter was sent again, durably: it is gone if it was taken, else it says why not.
    async fn letter_ended(&self, letter: DeadLetter, is_taken: bool) -> Result<(), StoreError>;

    /// Throws the dead letters up to an id away, durably, with an entry of the audit log.
    async fn clear_dead_letters(&self, up_to: i64, audit: AuditEvent) -> Result<(), StoreError>;
}
