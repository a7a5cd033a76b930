//! A copy of journals that are kept elsewhere, in a file of an instance's own: what books in Redis answer
//! reports from. The tables are those of the embedded store, so that the same questions are asked of
//! them; no number of an account comes from here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, params};

use super::read::Reader;
use super::{audit, explain, refunds, report, roll_up, schema, usage};
use crate::model::audit::{AuditFilter, AuditRow, AuditTotals};
use crate::model::ids::{CallId, KeyId};
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::model::usage::{Refused, ReportAsked, UsageFilter, UsageReport};
use crate::store::{AuditPage, ExplainedCall, FoundCall, StoreError, UsagePage, UsageRow};

/// Marks the file as a copy, so that nobody takes it for books: "PayC".
const APPLICATION_ID: i64 = 0x5061_7943;

/// How far each journal was copied: the id of its last row, and which books it belongs to.
const FOLLOWED: &str = "
    CREATE TABLE IF NOT EXISTS followed (
        journal TEXT PRIMARY KEY,
        epoch   TEXT NOT NULL,
        last    TEXT NOT NULL
    ) WITHOUT ROWID;
";

/// The copy.
pub(in crate::store) struct JournalCopy(Reader);

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
}

impl JournalCopy {
    /// Opens the file, and makes it if there is none.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: rusqlite::Error| StoreError::Read(error.to_string());
        let mut connection = Connection::open(path).map_err(failed)?;
        let found = schema::header(&connection, "application_id").map_err(failed)?;
        match schema::header(&connection, "user_version").map_err(failed)? {
            0 if found == 0 => schema::create(&mut connection).map_err(failed)?,
            schema::VERSION if found == APPLICATION_ID => {}
            _ => {
                let why = format!("{} is no copy of a journal; name another file", path.display());
                return Err(StoreError::Read(why));
            }
        }
        schema::prepare_writer(&connection).map_err(failed)?;
        // It can be copied again.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        connection.execute_batch(FOLLOWED).map_err(failed)?;
        Ok(Self(Reader::new(Arc::new(Mutex::new(connection)))))
    }

    /// Epoch and last row of each journal.
    pub(in crate::store) async fn followed(
        &self,
    ) -> Result<HashMap<String, (String, String)>, StoreError> {
        let read = |connection: &Connection| {
            let mut all = connection.prepare("SELECT journal, epoch, last FROM followed")?;
            let rows = all.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
            rows.collect()
        };
        self.0.read(read).await
    }

    /// Adds the next rows of one journal, all or none.
    pub(in crate::store) async fn append(
        &self,
        journal: String,
        epoch: String,
        last: String,
        rows: Vec<CopiedRow>,
    ) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            for row in &rows {
                row.write(connection)?;
            }
            let place =
                "INSERT OR REPLACE INTO followed (journal, epoch, last) VALUES (?1, ?2, ?3)";
            connection.prepare_cached(place)?.execute((journal, epoch, last))?;
            transaction.commit()
        };
        self.0.read(write).await
    }

    /// Writes refusals down, and brings the sums up to what was copied.
    pub(in crate::store) async fn roll_up(&self, refused: Vec<Refused>) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            let newest = write_refused(connection, &refused)?;
            while let Some(more) = roll_up::fold(connection, newest)? {
                roll_up::write_roll_up(connection, &more)?;
            }
            transaction.commit()
        };
        self.0.read(write).await
    }

    /// Writes refusals down.
    pub(in crate::store) async fn note_refused(
        &self,
        refused: Vec<Refused>,
    ) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            write_refused(connection, &refused)?;
            transaction.commit()
        };
        self.0.read(write).await
    }

    pub(in crate::store) async fn ended_calls(
        &self,
        namespace: Option<&str>,
    ) -> Result<i64, StoreError> {
        let namespace = namespace.map(str::to_owned);
        self.0.read(move |connection| usage::ended_calls(connection, namespace.as_deref())).await
    }

    pub(in crate::store) async fn sums(
        &self,
        namespace: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let namespace = namespace.map(str::to_owned);
        self.0.read(move |connection| usage::sums(connection, namespace.as_deref())).await
    }

    pub(in crate::store) async fn events(
        &self,
        filter: UsageFilter,
        after: Option<i64>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        self.0.read(move |connection| usage::read_usage(connection, &filter, after, limit)).await
    }

    pub(in crate::store) async fn report(
        &self,
        asked: ReportAsked,
    ) -> Result<UsageReport, StoreError> {
        self.0.read(move |connection| report::report(connection, &asked)).await
    }

    pub(in crate::store) async fn forget_usage(
        &self,
        before: Option<Time>,
    ) -> Result<(), StoreError> {
        self.0.read(move |connection| roll_up::forget_usage(connection, before)).await
    }

    pub(in crate::store) async fn audit(
        &self,
        filter: AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.0.read(move |connection| audit::read_audit(connection, &filter, &page)).await
    }

    pub(in crate::store) async fn audit_totals(
        &self,
        filter: AuditFilter,
    ) -> Result<AuditTotals, StoreError> {
        self.0.read(move |connection| audit::audit_totals(connection, &filter)).await
    }

    pub(in crate::store) async fn forget_audit(
        &self,
        before: Option<Time>,
    ) -> Result<(), StoreError> {
        self.0.read(move |connection| audit::forget_audit(connection, before)).await
    }

    pub(in crate::store) async fn find_call(
        &self,
        call: CallId,
    ) -> Result<Option<FoundCall>, StoreError> {
        self.0.read(move |connection| refunds::find_call(connection, call)).await
    }

    pub(in crate::store) async fn explain_call(
        &self,
        call: CallId,
    ) -> Result<Option<ExplainedCall>, StoreError> {
        self.0.read(move |connection| explain::explain_call(connection, call)).await
    }
}

/// Writes refusals down behind the newest row, which it names.
fn write_refused(connection: &Connection, refused: &[Refused]) -> rusqlite::Result<i64> {
    let newest = "SELECT coalesce(max(seq), 0) FROM journal";
    let newest: i64 = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
    if !refused.is_empty() {
        roll_up::write_refused(connection, refused, newest)?;
    }
    Ok(newest)
}

impl CopiedRow {
    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::Money { at, kind, call, account, amount, detail, labels } => {
                let call = call.as_ref().map(|call| call.bytes().as_slice());
                let insert = "INSERT INTO journal (at, kind, call, account, amount, detail)
                              VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                let row = params![at.ms(), kind, call, account, amount, detail];
                connection.prepare_cached(insert)?.execute(row)?;
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
            Self::Audit(row) => {
                let AuditRow {
                    at,
                    kind,
                    actor,
                    actor_id,
                    namespace,
                    target,
                    message,
                    metadata,
                    ..
                } = row;
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
            }
        }
        Ok(())
    }
}
