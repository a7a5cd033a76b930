//! What webhooks are told: the events that were not sent yet, and the batches that nobody took.

use super::audit::AuditRow;
use super::time::Time;
use super::usage::UsageEvent;

/// Kinds of entries of the audit log that receivers are told of.
pub const ADMIN_EVENTS: [&str; 5] =
    ["key.created", "key.topup", "key.revoked", "key.rotated", "alert.fired"];

/// How far everything was sent, or given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Place of the last usage event.
    pub usage: i64,
    /// Id of the last entry of the audit log.
    pub audit: i64,
}

/// Some events that follow a cursor, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What became of calls.
    pub usage: Vec<UsageEvent>,
    /// What operators did, and alerts.
    pub admin: Vec<AuditRow>,
    /// The cursor behind all that was looked at to find them.
    pub after: Cursor,
    /// Is there more to look at right away?
    pub has_more: bool,
}

impl Batch {
    /// How many events.
    pub fn len(&self) -> usize {
        self.usage.len().saturating_add(self.admin.len())
    }

    /// Is there nothing to send?
    pub fn is_empty(&self) -> bool {
        self.usage.is_empty() && self.admin.is_empty()
    }

    /// When the first of them happened.
    pub fn oldest(&self) -> Option<Time> {
        let usage = self.usage.iter().map(|event| event.at);
        usage.chain(self.admin.iter().map(|row| row.at)).min()
    }
}

/// What became of a batch. The cursor moves on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// Where the cursor is now.
    pub after: Cursor,
    /// How many events; 0 if there was nothing to send.
    pub events: i64,
    /// Attempts beside the first one.
    pub retries: i64,
    /// The batch, if it was given up.
    pub dead: Option<DeadLetter>,
}

/// A batch that the receiver did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Counted from 1; 0 if it is not written yet.
    pub id: i64,
    /// Its usage events and admin events, as members of a JSON object without its braces.
    pub events: String,
    /// How many.
    pub count: i64,
    /// How often it was sent.
    pub attempts: i64,
    /// Why the last attempt failed.
    pub error: String,
    /// When it was first sent.
    pub first: Time,
    /// When it was last sent.
    pub last: Time,
    /// Where, without what may be a secret.
    pub url: String,
}

/// Numbers of the outbox, which survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxTotals {
    /// Where everything before was sent or given up; none before webhooks were first configured.
    pub cursor: Option<Cursor>,
    /// Since when they are switched off, if they are.
    pub off_since: Option<Time>,
    /// Batches that were taken.
    pub delivered: i64,
    /// Events in them.
    pub events_delivered: i64,
    /// Batches that were given up.
    pub failed: i64,
    /// Events in them.
    pub events_failed: i64,
    /// Attempts beside the first ones.
    pub retries: i64,
    /// Events that were forgotten before they were sent.
    pub lost: i64,
    /// Dead letters that gave way to newer ones.
    pub dropped: i64,
    /// Dead letters that are kept.
    pub dead: i64,
    /// The last of their ids; 0 without any.
    pub last_dead: i64,
}
