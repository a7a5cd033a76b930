//! A copy of journals that are kept elsewhere, in a file of an instance's own: what books in Redis answer
//! reports from. The tables are those of the embedded store, so that the same questions are asked of
//! them; no number of an account comes from here.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::alerts::{self, Found, Place, Seen};
use super::copied_ends;
use super::copied_rows::CopiedRow;
use super::copied_told;
use super::file::OwnFile;
use super::open::{OpenError, describe, real_path};
use super::read::Reader;
use super::{audit, explain, refunds, report, roll_up, schema, usage};
use crate::model::alert::AlertRule;
use crate::model::audit::{AuditFilter, AuditRow, AuditTotals};
use crate::model::ids::{AccountId, CallId, KeyId};
use crate::model::time::Time;
use crate::model::usage::{ReportAsked, UsageFilter, UsageReport};
use crate::store::told::Told;
use crate::store::{AuditPage, ExplainedCall, FoundCall, LookAt, StoreError, UsagePage, UsageRow};

/// Marks the file as a copy, so that nobody takes it for books: "PayC".
pub(super) const APPLICATION_ID: i64 = 0x5061_7943;

/// How far each journal was copied, and what its rows gave to accounts and took from them.
const FOLLOWED: &str = "
    CREATE TABLE IF NOT EXISTS followed (
        journal TEXT PRIMARY KEY,
        epoch   TEXT NOT NULL,             -- which books it belongs to
        last    TEXT NOT NULL,             -- id of the last row
        since   INTEGER                    -- epoch ms: rows before it are missing; NULL if none is
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS copy_mark (
        mark TEXT NOT NULL                 -- tells the order of this copy's rows from any other's
    );
    INSERT INTO copy_mark SELECT lower(hex(randomblob(4))) WHERE NOT EXISTS (SELECT * FROM copy_mark);
    CREATE TABLE IF NOT EXISTS copied_credits (
        account TEXT PRIMARY KEY,
        credits INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// How far a journal was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Followed {
    /// Which books it belongs to.
    pub(in crate::store) epoch: String,
    /// Id of its last row.
    pub(in crate::store) last: String,
    /// Rows before this moment are missing, if any are.
    pub(in crate::store) since: Option<Time>,
}

/// The copy.
pub(in crate::store) struct JournalCopy {
    reader: Reader,
    /// Nobody else writes to the file.
    _own: Option<OwnFile>,
}

/// The id of the next entry of the audit log, where every row that tells of one makes one.
fn next_audit(
    connection: &Connection,
    rows: &[CopiedRow],
    told: &[Told],
) -> rusqlite::Result<Option<i64>> {
    let told = told.iter().filter(|told| told.kind == "audit").count();
    let made = rows.iter().filter(|row| matches!(row, CopiedRow::Audit(_))).count();
    if told != made {
        return Ok(None);
    }
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0) + 1";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).map(Some)
}

impl JournalCopy {
    /// Opens the file, and makes it if there is none; without a path one that is gone with the process.
    pub(in crate::store) fn open(path: Option<&Path>) -> Result<Self, OpenError> {
        let path = path.map(real_path);
        let own = path.as_deref().map(OwnFile::claim).transpose()?;
        // SQLite's name for a file of its own, somewhere for temporary files.
        let path = path.unwrap_or_default();
        let failed = |error: rusqlite::Error| describe(&path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection =
            Connection::open_with_flags(&path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .map_err(failed)?;
        let found = schema::header(&connection, "application_id").map_err(failed)?;
        match schema::header(&connection, "user_version").map_err(failed)? {
            0 if found == 0 => schema::create(&mut connection).map_err(failed)?,
            schema::VERSION if found == APPLICATION_ID => {}
            _ if found == schema::APPLICATION_ID => return Err(OpenError::Books(path)),
            _ => return Err(OpenError::Foreign(path)),
        }
        schema::prepare_writer(&connection).map_err(failed)?;
        // It can be copied again.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        connection.execute_batch(FOLLOWED).map_err(failed)?;
        connection.execute_batch(copied_told::TABLES).map_err(failed)?;
        connection.execute_batch(copied_ends::TABLE).map_err(failed)?;
        let name = format!("the copy of the journals, {}: ", path.display());
        let reader = Reader::new(Arc::new(Mutex::new(connection))).named(name);
        Ok(Self { reader, _own: own })
    }

    /// How far each journal was copied.
    pub(in crate::store) async fn followed(&self) -> Result<HashMap<String, Followed>, StoreError> {
        let read = |connection: &Connection| {
            let sql = "SELECT journal, epoch, last, since FROM followed";
            let mut all = connection.prepare_cached(sql)?;
            let rows = all.query_map([], |row| Ok((row.get(0)?, followed(row)?)))?;
            rows.collect()
        };
        self.reader.read(read).await
    }

    /// What tells places in this copy from those in any other.
    pub(in crate::store) async fn mark(&self) -> Result<String, StoreError> {
        let sql = "SELECT mark FROM copy_mark";
        self.reader.read(move |connection| connection.query_row(sql, [], |row| row.get(0))).await
    }

    /// Adds rows that are in no order, and may be there already.
    pub(in crate::store) async fn add(&self, rows: Vec<CopiedRow>) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            for row in &rows {
                row.write(connection)?;
            }
            transaction.commit()
        };
        self.reader.read(write).await
    }

    /// Adds the next rows of one journal, all or none; none if others came first. `told` are the same rows
    /// with their numbers.
    pub(in crate::store) async fn append(
        &self,
        journal: String,
        before: Option<Followed>,
        now: Followed,
        (rows, told): (Vec<CopiedRow>, Vec<Told>),
    ) -> Result<bool, StoreError> {
        let write = move |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            let sql = "SELECT journal, epoch, last, since FROM followed WHERE journal = ?1";
            let mut present = connection.prepare_cached(sql)?;
            let present = present.query_row([&journal], followed).optional()?;
            let of_these = present.filter(|present| present.epoch == now.epoch);
            if of_these != before {
                return Ok(false);
            }
            let first = "SELECT coalesce(max(seq), 0) + 1 FROM journal";
            let first = connection.prepare_cached(first)?.query_row([], |row| row.get(0))?;
            let audit = next_audit(connection, &rows, &told)?;
            copied_told::write(connection, (&journal, &now.epoch), (first, audit), &told)?;
            for row in &rows {
                row.write(connection)?;
            }
            let place = "INSERT OR REPLACE INTO followed (journal, epoch, last, since)
                         VALUES (?1, ?2, ?3, ?4)";
            let Followed { epoch, last, since } = now;
            let row = (journal, epoch, last, since.map(Time::ms));
            connection.prepare_cached(place)?.execute(row)?;
            transaction.commit()?;
            Ok(true)
        };
        self.reader.read(write).await
    }

    /// The last row that was copied of some books.
    pub(in crate::store) async fn last_told(
        &self,
        journal: String,
        epoch: String,
    ) -> Result<i64, StoreError> {
        self.reader
            .read(move |connection| copied_told::last_row(connection, &journal, &epoch))
            .await
    }

    /// One row of some books, if it was copied.
    pub(in crate::store) async fn told(
        &self,
        journal: String,
        epoch: String,
        number: i64,
    ) -> Result<Option<Told>, StoreError> {
        self.reader
            .read(move |connection| copied_told::row(connection, &journal, &epoch, number))
            .await
    }

    /// A repair has made other books of some: what was copied is theirs. `was` are the epochs before.
    pub(in crate::store) async fn go_on(
        &self,
        journal: String,
        (before, after): (String, String),
        was: String,
    ) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            copied_told::go_on(connection, &journal, (&before, &after), &was)
        };
        self.reader.read(write).await
    }

    /// Writes down that a call may have been charged for nothing.
    pub(in crate::store) async fn leave_end(
        &self,
        call: CallId,
        key: &KeyId,
    ) -> Result<(), StoreError> {
        let key = key.to_string();
        self.reader.read(move |connection| copied_ends::leave(connection, call, &key)).await
    }

    /// It is known how it ended, and nobody has paid for nothing.
    pub(in crate::store) async fn tied_end(&self, call: CallId) -> Result<(), StoreError> {
        self.reader.read(move |connection| copied_ends::tied(connection, call)).await
    }

    /// Calls that may have been charged for nothing, and who pays.
    pub(in crate::store) async fn left_ends(&self) -> Result<Vec<(CallId, KeyId)>, StoreError> {
        self.reader.read(copied_ends::left).await
    }

    /// Admin tokens were ended.
    pub(in crate::store) async fn end_tokens(&self, ids: Vec<String>) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            ids.iter().try_for_each(|id| copied_told::end_token(connection, id))
        };
        self.reader.read(write).await
    }

    /// All admin tokens that are known to have been ended.
    pub(in crate::store) async fn ended_tokens(&self) -> Result<HashSet<String>, StoreError> {
        self.reader.read(copied_told::ended_tokens).await
    }

    /// Keeps the rules for alerts, for a Redis that loses them.
    pub(in crate::store) async fn keep_rules(&self, text: String) -> Result<(), StoreError> {
        self.reader.read(move |connection| copied_told::keep_rules(connection, &text)).await
    }

    /// Keeps how far webhooks were sent, for a Redis that loses it.
    pub(in crate::store) async fn keep_sent(
        &self,
        places: Vec<(String, String)>,
    ) -> Result<(), StoreError> {
        self.reader.read(move |connection| copied_told::keep_sent(connection, &places)).await
    }

    /// Keeps what messages are sealed with, for a Redis that loses it.
    pub(in crate::store) async fn keep_seal(&self, key: [u8; 32]) -> Result<(), StoreError> {
        self.reader.read(move |connection| copied_told::keep_seal(connection, &key)).await
    }

    /// What messages were sealed with when this copy was last open.
    pub(in crate::store) async fn seal(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader.read(copied_told::seal).await
    }

    /// Brings the sums of usage up to what was copied.
    pub(in crate::store) async fn roll_up(&self) -> Result<(), StoreError> {
        let write = |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            let newest = "SELECT coalesce(max(seq), 0) FROM journal";
            let newest = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
            while let Some(more) = roll_up::fold(connection, newest)? {
                roll_up::write_roll_up(connection, &more)?;
            }
            transaction.commit()
        };
        self.reader.read(write).await
    }

    /// The next keys of a tenant behind an id, deleted ones too.
    pub(in crate::store) async fn accounts(
        &self,
        namespace: &str,
        after: String,
        limit: usize,
    ) -> Result<Vec<AccountId>, StoreError> {
        let (namespace, limit) = (namespace.to_owned(), i64::try_from(limit).unwrap_or(i64::MAX));
        let read = move |connection: &Connection| {
            let sql = "SELECT id FROM keys WHERE namespace = ?1 AND id > ?2
                 UNION SELECT id FROM deleted_keys WHERE namespace = ?1 AND id > ?2
                 ORDER BY 1 LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_map((namespace, after, limit), |row| {
                Ok(AccountId::new(row.get_ref(0)?.as_str()?))
            })?;
            found.collect()
        };
        self.reader.read(read).await
    }

    /// What the copied rows gave to some accounts, less what they took.
    pub(in crate::store) async fn credits(
        &self,
        accounts: Vec<AccountId>,
    ) -> Result<Vec<i64>, StoreError> {
        let read = move |connection: &Connection| {
            let sql = "SELECT credits FROM copied_credits WHERE account = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut credits = Vec::with_capacity(accounts.len());
            for account in &accounts {
                let found = statement.query_row([account.as_str()], |row| row.get(0)).optional()?;
                credits.push(found.unwrap_or(0));
            }
            Ok(credits)
        };
        self.reader.read(read).await
    }

    pub(in crate::store) async fn ended_calls(
        &self,
        namespace: Option<&str>,
    ) -> Result<i64, StoreError> {
        let namespace = namespace.map(str::to_owned);
        self.reader
            .read(move |connection| usage::ended_calls(connection, namespace.as_deref()))
            .await
    }

    pub(in crate::store) async fn sums(
        &self,
        namespace: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let namespace = namespace.map(str::to_owned);
        self.reader.read(move |connection| usage::sums(connection, namespace.as_deref())).await
    }

    pub(in crate::store) async fn events(
        &self,
        filter: UsageFilter,
        after: Option<i64>,
        limit: usize,
    ) -> Result<UsagePage, StoreError> {
        self.reader
            .read(move |connection| usage::read_usage(connection, &filter, after, limit))
            .await
    }

    pub(in crate::store) async fn report(
        &self,
        asked: ReportAsked,
    ) -> Result<UsageReport, StoreError> {
        self.reader.read(move |connection| report::report(connection, &asked)).await
    }

    pub(in crate::store) async fn forget_usage(
        &self,
        before: Option<Time>,
    ) -> Result<(), StoreError> {
        self.reader.read(move |connection| roll_up::forget_usage(connection, before)).await
    }

    pub(in crate::store) async fn audit(
        &self,
        filter: AuditFilter,
        page: AuditPage,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.reader.read(move |connection| audit::read_audit(connection, &filter, &page)).await
    }

    pub(in crate::store) async fn audit_totals(
        &self,
        filter: AuditFilter,
    ) -> Result<AuditTotals, StoreError> {
        self.reader.read(move |connection| audit::audit_totals(connection, &filter)).await
    }

    pub(in crate::store) async fn forget_audit(
        &self,
        before: Option<Time>,
    ) -> Result<(), StoreError> {
        self.reader.read(move |connection| audit::forget_audit(connection, before)).await
    }

    pub(in crate::store) async fn find_call(
        &self,
        call: CallId,
    ) -> Result<Option<FoundCall>, StoreError> {
        self.reader.read(move |connection| refunds::find_call(connection, call)).await
    }

    /// The next rows behind those that keys were looked at for, and whose keys they are about.
    pub(in crate::store) async fn look_at_keys(
        &self,
        rules: Arc<[AlertRule]>,
        look_at: LookAt,
        now: Time,
    ) -> Result<Seen, StoreError> {
        self.reader.read(move |connection| Seen::read(connection, &rules, look_at, now)).await
    }

    /// Notes how far keys were looked at, and what was said of them.
    pub(in crate::store) async fn looked(
        &self,
        said: Vec<Found>,
        place: Place,
        now: Time,
    ) -> Result<(), StoreError> {
        let write = move |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            alerts::write_looked(connection, &said, place, now)?;
            transaction.commit()
        };
        self.reader.read(write).await
    }

    /// Another instance has looked at keys up to a moment.
    pub(in crate::store) async fn pass_over(&self, looked: Time) -> Result<(), StoreError> {
        self.reader.read(move |connection| alerts::pass_over(connection, looked)).await
    }

    /// There are new rules.
    pub(in crate::store) async fn begin_looking_anew(&self) -> Result<(), StoreError> {
        self.reader.read(alerts::begin_anew).await
    }

    /// What the client said that a call was for.
    pub(in crate::store) async fn labels_of(
        &self,
        call: CallId,
    ) -> Result<Option<String>, StoreError> {
        let read = move |connection: &Connection| roll_up::labels_of(connection, &call);
        let labels = self.reader.read(read).await?;
        Ok(labels.map(|labels| labels.as_str().to_owned()))
    }

    pub(in crate::store) async fn explain_call(
        &self,
        call: CallId,
    ) -> Result<Option<ExplainedCall>, StoreError> {
        self.reader.read(move |connection| explain::explain_call(connection, call)).await
    }
}

fn followed(row: &rusqlite::Row<'_>) -> rusqlite::Result<Followed> {
    let since: Option<i64> = row.get("since")?;
    let since = since.map(Time::from_ms);
    Ok(Followed { epoch: row.get("epoch")?, last: row.get("last")?, since })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(amount: i64) -> CopiedRow {
        CopiedRow::Money {
            at: Time::from_ms(5),
            kind: "call".to_owned(),
            call: Some(CallId::from_random([7; 16])),
            account: "key_1".to_owned(),
            amount,
            detail: r#"{"calls":[["a",2,2,"result"]]}"#.to_owned(),
            labels: String::new(),
        }
    }

    fn at(last: &str) -> Followed {
        Followed { epoch: "e".to_owned(), last: last.to_owned(), since: None }
    }

    #[tokio::test]
    async fn a_row_is_copied_once_whoever_brings_it() {
        let dir = std::env::temp_dir().join(format!("paygate-copied-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("copy.db");
        let copy = JournalCopy::open(Some(&path)).unwrap();
        let append = async |before: Option<&str>, last: &str| {
            let name = "pg:{default}:journal".to_owned();
            let rows = (vec![call(2)], Vec::new());
            copy.append(name, before.map(at), at(last), rows).await.unwrap()
        };
        assert!(append(None, "1-0").await);
        assert!(!append(None, "1-0").await, "somebody else has brought it");
        assert!(append(Some("1-0"), "2-0").await);
        assert!(!append(Some("1-0"), "2-0").await);
        copy.roll_up().await.unwrap();
        assert_eq!(copy.ended_calls(None).await.unwrap(), 2);

        let taken = JournalCopy::open(Some(&path)).err();
        assert!(matches!(taken, Some(OpenError::InUse(_))), "{taken:?}");
        let mark = copy.mark().await.unwrap();
        drop(copy);
        let again = JournalCopy::open(Some(&path)).unwrap();
        assert_eq!(again.mark().await.unwrap(), mark);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
