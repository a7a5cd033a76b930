//! The outbox of webhooks for books in Redis.

use async_trait::async_trait;

use super::books::RedisStore;
use crate::model::audit::AuditEvent;
use crate::model::time::Time;
use crate::model::webhook::{Batch, BatchEnd, Cursor, DeadLetter, OutboxTotals};
use crate::store::{Outbox, StoreError};

fn missing() -> StoreError {
    StoreError::Read("webhooks cannot follow books in Redis yet".to_owned())
}

#[async_trait]
impl Outbox for RedisStore {
    async fn open_outbox(&self, _now: Time) -> Result<OutboxTotals, StoreError> {
        Err(missing())
    }

    async fn close_outbox(&self, _now: Time) -> Result<(), StoreError> {
        Ok(())
    }

    async fn outbox_totals(&self) -> Result<OutboxTotals, StoreError> {
        Ok(OutboxTotals::default())
    }

    async fn unsent(&self, _after: Cursor, _limit: usize) -> Result<Batch, StoreError> {
        Err(missing())
    }

    async fn batch_ended(&self, _end: BatchEnd) -> Result<(), StoreError> {
        Err(missing())
    }

    async fn dead_letters(
        &self,
        _after: i64,
        _limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(Vec::new())
    }

    async fn dead_letter(&self, _id: i64) -> Result<Option<DeadLetter>, StoreError> {
        Ok(None)
    }

    async fn letter_ended(&self, _letter: DeadLetter, _taken: bool) -> Result<(), StoreError> {
        Err(missing())
    }

    async fn clear_dead_letters(&self, _up_to: i64, _audit: AuditEvent) -> Result<(), StoreError> {
        Err(missing())
    }
}
