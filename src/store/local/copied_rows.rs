//! A row of a journal that is kept elsewhere, as it is written into an instance's copy.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::roll_up::{self, RefusedRow};
use crate::model::audit::AuditRow;
use crate::model::ids::{CallId, KeyId};
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::model::usage::{Refused, UsageEvent};

/// A row to copy.
#[derive(Debug)]
pub(in crate::store) enum CopiedRow {
    /// Money: a row of the journal.
    Money {
        /// When.
        at: Time,
        /// The journal's word.
        kind: String,
        /// Which call.
        call: Option<CallId>,
        /// Whose.
        account: String,
        /// Credits.
        amount: i64,
        /// JSON.
        detail: String,
        /// JSON, or empty.
        labels: String,
    },
    /// A key's record, for its name.
    Key {
        /// Its id.
        id: KeyId,
        /// Its tenant.
        namespace: String,
        /// JSON.
        record: String,
    },
    /// A key is gone.
    Deleted {
        /// Its id.
        id: KeyId,
        /// Its tenant.
        namespace: String,
        /// When.
        at: Time,
    },
    /// An entry of the audit log.
    Audit(AuditRow),
    /// Refusals.
    Refused(Vec<ToldRefusal>),
}

/// Refusals of one kind, as instances tell each other of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct ToldRefusal {
    at: i64,
    key: String,
    namespace: String,
    tool: String,
    reason: String,
    count: u64,
}

impl ToldRefusal {
    /// What is told of them, but for what their key is called.
    pub(in crate::store) fn event(self, place: i64) -> UsageEvent {
        let Self { at, key, namespace, tool, reason, count } = self;
        UsageEvent {
            place,
            at: Time::from_ms(at),
            call: None,
            key,
            key_name: String::new(),
            key_first: String::new(),
            namespace,
            tool,
            price: 0,
            charged: 0,
            outcome: reason,
            allowed: false,
            count: i64::try_from(count).unwrap_or(i64::MAX),
            labels: None,
        }
    }

    /// When the first of them was, in epoch milliseconds.
    pub(in crate::store) const fn at(&self) -> i64 {
        self.at
    }
}

impl From<Refused> for ToldRefusal {
    fn from(refused: Refused) -> Self {
        let Refused { at, key, namespace, tool, reason, count } = refused;
        Self { at: at.ms(), key, namespace, tool, reason: reason.to_owned(), count }
    }
}

impl<'a> From<&'a ToldRefusal> for RefusedRow<'a> {
    fn from(told: &'a ToldRefusal) -> Self {
        let ToldRefusal { at, key, namespace, tool, reason, count } = told;
        Self { at: *at, key, namespace, tool, reason, count: *count }
    }
}

impl CopiedRow {
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::Money { at, kind, call, account, amount, detail, labels } => {
                let call = call.as_ref().map(|call| call.bytes().as_slice());
                let insert = "INSERT INTO journal (at, kind, call, account, amount, detail)
                              VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let row = params![at.ms(), kind, call, account, amount, detail];
                connection.prepare_cached(insert)?.execute(row)?;
                self.add_up(connection)?;
                if let Some(call) = call.filter(|_| !labels.is_empty()) {
                    let insert = "INSERT OR IGNORE INTO call_labels VALUES (?1, ?2, ?3)";
                    connection.prepare_cached(insert)?.execute((call, at.ms(), labels))?;
                }
            }
            Self::Key { id, namespace, record } => {
                let insert = "INSERT INTO keys (id, digest, namespace, revision, record)
                              VALUES (?1, ?2, ?3, 0, ?4)
                              ON CONFLICT (id) DO UPDATE SET record = excluded.record";
                // No credential is looked for here.
                let digest = Digest::of(id.as_str().as_bytes());
                let row = (id.as_str(), digest.bytes().as_slice(), namespace, record);
                connection.prepare_cached(insert)?.execute(row)?;
            }
            Self::Deleted { id, namespace, at } => {
                let id = id.as_str();
                connection.prepare_cached("DELETE FROM keys WHERE id = ?1")?.execute([id])?;
                let insert = "INSERT OR IGNORE INTO deleted_keys VALUES (?1, ?2, ?3)";
                connection.prepare_cached(insert)?.execute((id, namespace, at.ms()))?;
            }
            Self::Refused(refused) => {
                let newest = "SELECT coalesce(max(seq), 0) FROM journal";
                let newest = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
                roll_up::write_refused(connection, refused, newest)?;
            }
            Self::Audit(row) => write_audit(connection, row)?,
        }
        Ok(())
    }

    /// What the journal gives the account and takes from it, to be compared with what it has.
    fn add_up(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Self::Money { kind, account, amount, .. } = self else { return Ok(()) };
        let moved = match kind.as_str() {
            "call" => amount.saturating_neg(),
            _ => *amount,
        };
        let add = "INSERT INTO copied_credits (account, credits) VALUES (?1, ?2)
                   ON CONFLICT (account) DO UPDATE SET credits = credits + excluded.credits";
        connection.prepare_cached(add)?.execute((account, moved))?;
        Ok(())
    }
}

fn write_audit(connection: &Connection, row: &AuditRow) -> rusqlite::Result<()> {
    let AuditRow { at, kind, actor, actor_id, namespace, target, message, metadata, .. } = row;
    let insert = "INSERT INTO audit
        (at, kind, actor, actor_id, namespace, target, message, metadata)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    connection.prepare_cached(insert)?.execute(params![
        at.ms(),
        kind,
        actor,
        actor_id,
        namespace,
        target,
        message,
        metadata
    ])?;
    Ok(())
}
