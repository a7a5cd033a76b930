//! Dead letters: sent again when an operator says so, or thrown away.
//!
//! A replay sends each once. The first that is not taken ends it: the receiver is still not there, and
//! the rest would fare no better. Until a letter was taken it stays what it is, so a replay that ends
//! with the process has lost nothing.

use std::sync::Arc;

use super::Webhooks;
use crate::model::audit::AuditEvent;
use crate::model::bounds::WEBHOOK_DEAD_LETTERS_READ;
use crate::model::webhook::{DeadLetter, OutboxTotals};
use crate::store::{StoreError, clock};

/// What a replay begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaying {
    /// So many letters are being sent.
    Begun(i64),
    /// Another replay is under way.
    Busy,
    /// Webhooks are switched off.
    Off,
    /// There is no such letter.
    NotFound,
}

impl Webhooks {
    /// Dead letters behind an id, oldest first.
    pub async fn letters(&self, after: i64) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(after, WEBHOOK_DEAD_LETTERS_READ).await
    }

    /// Begins to send one dead letter again, or all there are now.
    pub async fn replay(self: &Arc<Self>, id: Option<i64>) -> Result<Replaying, StoreError> {
        if !self.is_on() {
            return Ok(Replaying::Off);
        }
        let Ok(alone) = Arc::clone(&self.replays).try_lock_owned() else {
            return Ok(Replaying::Busy);
        };
        let totals = self.look().await?;
        let (letters, count) = match id {
            Some(id) => match self.store.dead_letter(id).await? {
                Some(letter) => (vec![letter], 1),
                None => return Ok(Replaying::NotFound),
            },
            None => (Vec::new(), totals.dead),
        };
        let hooks = Arc::clone(self);
        tokio::spawn(async move {
            let _alone = alone;
            let sent = match id {
                Some(_) => hooks.send_letters(letters).await.map(drop),
                None => hooks.send_all(totals.last_dead).await,
            };
            if let Err(why) = sent {
                tracing::warn!(target: "webhooks", %why, "dead letters could not be sent again");
            }
        });
        Ok(Replaying::Begun(count))
    }

    async fn send_all(&self, up_to: i64) -> Result<(), StoreError> {
        let mut after = 0;
        while after < up_to {
            let mut letters = self.letters(after).await?;
            letters.retain(|letter| letter.id <= up_to);
            let Some(last) = letters.last().map(|letter| letter.id) else { break };
            if !self.send_letters(letters).await? {
                break;
            }
            after = last;
        }
        Ok(())
    }

    /// Were all of them taken?
    async fn send_letters(&self, letters: Vec<DeadLetter>) -> Result<bool, StoreError> {
        for letter in letters {
            let Some(target) = self.target.load_full() else { return Ok(false) };
            let retry = u32::try_from(letter.attempts).unwrap_or(u32::MAX);
            let attempt = target.post(&letter.events, retry).await;
            let is_taken = attempt.error.is_none();
            let error = attempt.error.unwrap_or_default();
            let letter = DeadLetter {
                attempts: letter.attempts.saturating_add(1),
                error,
                last: clock::now(),
                url: target.shown(),
                ..letter
            };
            self.store.letter_ended(letter, is_taken).await?;
            self.look().await?;
            if !is_taken {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Throws all dead letters away that there are now. The audit log is told how many.
    pub async fn clear(&self, audit: impl FnOnce(i64) -> AuditEvent) -> Result<i64, StoreError> {
        let OutboxTotals { dead, last_dead, .. } = self.look().await?;
        if dead > 0 {
            self.store.clear_dead_letters(last_dead, audit(dead)).await?;
            self.look().await?;
        }
        Ok(dead)
    }
}
