//! The numbered rows of journals in an instance's copy: with them the books that the journals tell of can be
//! put together again. Money rows are in the table `journal` already; here is their number only.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::copied::APPLICATION_ID;
use super::open::{read_only, real_path};
use super::schema;
use crate::model::time::Time;
use crate::store::StoreError;
use crate::store::told::{Told, is_money};

/// Tables of a copy beside those of the books.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS told_books (
        id      INTEGER PRIMARY KEY,
        journal TEXT NOT NULL,
        epoch   TEXT NOT NULL,             -- which books
        was     TEXT NOT NULL DEFAULT '',  -- epochs before it, as Redis has them
        UNIQUE (journal, epoch)
    );
    CREATE TABLE IF NOT EXISTS told (
        book    INTEGER NOT NULL,
        row     INTEGER NOT NULL,          -- its number there
        seq     INTEGER,                   -- of money: its row in `journal`, where the rest of it is; of
                                           -- an entry of the audit log: its id there
        at      INTEGER,
        kind    TEXT,
        account TEXT,
        amount  INTEGER,
        detail  TEXT,
        more    TEXT,
        PRIMARY KEY (book, row)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS ended_tokens (
        id      TEXT PRIMARY KEY           -- an admin token that opens nothing any more, whatever Redis says
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS told_sent (
        journal TEXT PRIMARY KEY,          -- how far webhooks were sent by this instance
        place   TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS told_rules (
        text    TEXT NOT NULL              -- the rules for alerts, as Redis has them
    );
";

/// Rows that are read at once.
const ROWS: i64 = 1_000;

/// Which books a copy follows under a journal's name, and how far.
#[derive(Clone, Debug)]
pub(in crate::store) struct ToldBook {
    id: i64,
    /// The journal's name.
    pub(in crate::store) journal: String,
    /// Which books.
    pub(in crate::store) epoch: String,
    /// Those that they were before repairs, as Redis has them.
    pub(in crate::store) was: String,
    /// The last row, 0 for none.
    pub(in crate::store) last: i64,
}

/// An admin token as a copy has it: id, digest, record.
pub(in crate::store) type ToldToken = (String, String, String);

/// Somebody's copy, to be read only.
pub(in crate::store) struct ToldCopy(Arc<Mutex<Connection>>);

/// Notes rows that are being copied: the first that moves money is this row of `journal`, the first entry of the
/// audit log has that id, if it is known.
pub(super) fn write(
    connection: &Connection,
    (journal, epoch): (&str, &str),
    (first_seq, mut audit): (i64, Option<i64>),
    rows: &[Told],
) -> rusqlite::Result<()> {
    let book = book(connection, journal, epoch)?;
    let insert =
        "INSERT OR REPLACE INTO told (book, row, seq, at, kind, account, amount, detail, more)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut insert = connection.prepare_cached(insert)?;
    let mut seq = first_seq;
    for told in rows {
        let Told { row, at, kind, account, amount, detail, more, .. } = told;
        match kind.as_str() {
            "token" | "token-gone" => write_token(connection, told)?,
            kind if is_money(kind) => {
                let none = None::<&str>;
                let more = Some(more).filter(|more| !more.is_empty());
                insert.execute(params![book, row, seq, none, none, none, none, none, more])?;
                seq = seq.saturating_add(1);
            }
            kind => {
                // An entry of the audit log is in its own table, and may be forgotten.
                let detail = Some(detail).filter(|_| kind != "audit");
                let own = audit.filter(|_| kind == "audit");
                if kind == "audit" {
                    audit = audit.map(|id| id.saturating_add(1));
                }
                insert.execute(params![
                    book,
                    row,
                    own,
                    at.ms(),
                    kind,
                    account,
                    amount,
                    detail,
                    more
                ])?;
            }
        }
    }
    Ok(())
}

fn book(connection: &Connection, journal: &str, epoch: &str) -> rusqlite::Result<i64> {
    let insert = "INSERT OR IGNORE INTO told_books (journal, epoch) VALUES (?1, ?2)";
    connection.prepare_cached(insert)?.execute((journal, epoch))?;
    let find = "SELECT id FROM told_books WHERE journal = ?1 AND epoch = ?2";
    connection.prepare_cached(find)?.query_row((journal, epoch), |row| row.get(0))
}

/// An admin token was ended; ids are never used again.
pub(super) fn end_token(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    let insert = "INSERT OR IGNORE INTO ended_tokens (id) VALUES (?1)";
    connection.prepare_cached(insert)?.execute([id]).map(drop)
}

/// All that were.
pub(super) fn ended_tokens(connection: &Connection) -> rusqlite::Result<HashSet<String>> {
    let mut all = connection.prepare_cached("SELECT id FROM ended_tokens")?;
    let rows = all.query_map([], |row| row.get(0))?;
    rows.collect()
}

fn write_token(connection: &Connection, told: &Told) -> rusqlite::Result<()> {
    let id = told.account.as_str();
    connection.prepare_cached("DELETE FROM admin_tokens WHERE id = ?1")?.execute([id])?;
    if told.kind != "token" {
        return end_token(connection, id);
    }
    let text = |name: &str| {
        let value: serde_json::Value = serde_json::from_str(&told.detail).unwrap_or_default();
        match value.get(name) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    };
    let Ok(digest) = hex::decode(text("digest")) else { return Ok(()) };
    let insert = "INSERT OR REPLACE INTO admin_tokens (id, digest, record) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(insert)?.execute((id, digest, text("record")))?;
    Ok(())
}

/// The last row that was copied of some books, with what they were before.
pub(super) fn last_row(
    connection: &Connection,
    journal: &str,
    epoch: &str,
) -> rusqlite::Result<i64> {
    let find = "SELECT max(row) FROM told JOIN told_books ON told_books.id = told.book
                WHERE journal = ?1 AND epoch = ?2";
    let found: Option<i64> =
        connection.prepare_cached(find)?.query_row((journal, epoch), |row| row.get(0))?;
    Ok(found.unwrap_or(0))
}

/// One row of some books, if it was copied.
pub(super) fn row(
    connection: &Connection,
    journal: &str,
    epoch: &str,
    number: i64,
) -> rusqlite::Result<Option<Told>> {
    let rows =
        read_rows(connection, book(connection, journal, epoch)?, number.saturating_sub(1), 1)?;
    Ok(rows.into_iter().next().filter(|told| told.row == number))
}

/// A repair has made other books of those: all that was copied is theirs.
pub(super) fn go_on(
    connection: &Connection,
    journal: &str,
    (before, after): (&str, &str),
    was: &str,
) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    book(connection, journal, before)?;
    let rename = "UPDATE told_books SET epoch = ?3, was = ?4 WHERE journal = ?1 AND epoch = ?2";
    connection.prepare_cached(rename)?.execute((journal, before, after, was))?;
    let rename = "UPDATE followed SET epoch = ?3 WHERE journal = ?1 AND epoch = ?2";
    connection.prepare_cached(rename)?.execute((journal, before, after))?;
    transaction.commit()
}

/// Keeps what messages are sealed with, so that a Redis that has lost it gets it back.
pub(super) fn keep_seal(connection: &Connection, key: &[u8]) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    connection.execute("DELETE FROM seal", [])?;
    connection.execute("INSERT INTO seal (key) VALUES (?1)", [key])?;
    transaction.commit()
}

/// Keeps how far journals were sent.
pub(super) fn keep_sent(
    connection: &Connection,
    places: &[(String, String)],
) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO told_sent VALUES (?1, ?2)")?;
    for (journal, place) in places {
        insert.execute((journal, place))?;
    }
    transaction.commit()
}

/// What messages are sealed with.
pub(super) fn seal(connection: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.query_row("SELECT key FROM seal", [], |row| row.get(0)).optional()
}

/// Keeps the rules for alerts.
pub(super) fn keep_rules(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    connection.execute("DELETE FROM told_rules", [])?;
    connection.execute("INSERT INTO told_rules (text) VALUES (?1)", [text])?;
    transaction.commit()
}

impl ToldCopy {
    /// Opens a copy that an instance keeps; it may run.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |why: &str| {
            StoreError::Read(format!("{} is no copy of a journal in Redis: {why}", path.display()))
        };
        let path = real_path(path);
        if !path.exists() {
            return Err(failed("there is no such file"));
        }
        let connection = read_only(&path).map_err(|error| failed(&error.to_string()))?;
        {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let header = |name| schema::header(&connection, name);
            let found = header("application_id").map_err(|error| failed(&error.to_string()))?;
            if found != APPLICATION_ID {
                return Err(failed("name the file that an instance keeps its copy in"));
            }
        }
        Ok(Self(connection))
    }

    fn read<T>(
        &self,
        what: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        what(&connection).map_err(|error| StoreError::Read(error.to_string()))
    }

    /// The books that are followed now, by the names of their journals.
    pub(in crate::store) fn books(&self) -> Result<Vec<ToldBook>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id, journal, epoch, was,
                    coalesce((SELECT max(row) FROM told WHERE book = told_books.id), 0)
                 FROM told_books WHERE epoch != ''
                    AND id IN (SELECT max(id) FROM told_books GROUP BY journal) ORDER BY journal";
            let mut statement = connection.prepare(sql)?;
            let books = statement.query_map([], |row| {
                let (id, journal, epoch, was) =
                    (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                Ok(ToldBook { id, journal, epoch, was, last: row.get(4)? })
            })?;
            books.collect()
        })
    }

    /// Some rows behind one.
    pub(in crate::store) fn rows(
        &self,
        book: &ToldBook,
        after: i64,
    ) -> Result<Vec<Told>, StoreError> {
        self.read(|connection| read_rows(connection, book.id, after, ROWS))
    }

    /// One row.
    pub(in crate::store) fn row(
        &self,
        book: &ToldBook,
        row: i64,
    ) -> Result<Option<Told>, StoreError> {
        let rows = self.rows(book, row.saturating_sub(1))?;
        Ok(rows.into_iter().next().filter(|told| told.row == row))
    }

    /// How far the journal that belongs to no tenant was copied, and the admin tokens up to there.
    pub(in crate::store) fn tokens(
        &self,
        journal: &str,
    ) -> Result<(String, Vec<ToldToken>), StoreError> {
        self.read(|connection| {
            let last = "SELECT last FROM followed WHERE journal = ?1";
            let last: Option<String> =
                connection.query_row(last, [journal], |row| row.get(0)).optional()?;
            let mut statement =
                connection.prepare("SELECT id, lower(hex(digest)), record FROM admin_tokens")?;
            let tokens =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok((last.unwrap_or_default(), tokens.collect::<rusqlite::Result<_>>()?))
        })
    }

    /// How far a journal was copied that belongs to no tenant; empty if not at all.
    pub(in crate::store) fn last(&self, journal: &str) -> Result<String, StoreError> {
        self.read(|connection| {
            let last = "SELECT last FROM followed WHERE journal = ?1";
            let last: Option<String> =
                connection.query_row(last, [journal], |row| row.get(0)).optional()?;
            Ok(last.unwrap_or_default())
        })
    }

    /// How far this instance knows that journals were sent to webhooks; of an older copy nothing.
    pub(in crate::store) fn sent(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.read(|connection| {
            let exists = "SELECT 1 FROM sqlite_schema WHERE name = 'told_sent'";
            if connection.query_row(exists, [], |_| Ok(())).optional()?.is_none() {
                return Ok(Vec::new());
            }
            let mut statement = connection.prepare("SELECT journal, place FROM told_sent")?;
            let places = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            places.collect()
        })
    }

    /// The rules for alerts.
    pub(in crate::store) fn rules(&self) -> Result<Option<String>, StoreError> {
        self.read(|connection| {
            connection.query_row("SELECT text FROM told_rules", [], |row| row.get(0)).optional()
        })
    }

    /// What messages are sealed with.
    pub(in crate::store) fn seal(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(seal)
    }
}

fn read_rows(
    connection: &Connection,
    book: i64,
    after: i64,
    most: i64,
) -> rusqlite::Result<Vec<Told>> {
    let sql = "SELECT told.row, coalesce(journal.at, told.at), coalesce(journal.kind, told.kind),
            lower(hex(journal.call)), coalesce(journal.account, told.account),
            coalesce(journal.amount, told.amount),
            coalesce(journal.detail, told.detail, CASE WHEN audit.id IS NOT NULL THEN
                json_object('at', audit.at, 'kind', audit.kind, 'actor', audit.actor,
                    'actorId', audit.actor_id, 'namespace', audit.namespace, 'target', audit.target,
                    'message', audit.message, 'metadata', json(iif(coalesce(told.more, '') = '',
                        audit.metadata, json_remove(audit.metadata, '$.newBalance')))) END),
            told.more, call_labels.labels
         FROM told LEFT JOIN journal ON journal.seq = told.seq AND told.kind IS NULL
         LEFT JOIN audit ON audit.id = told.seq AND told.kind = 'audit'
         LEFT JOIN call_labels ON call_labels.call = journal.call AND journal.kind = 'call'
         WHERE told.book = ?1 AND told.row > ?2 ORDER BY told.row LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((book, after, most), read)?;
    rows.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Told> {
    let text = |column: usize| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    Ok(Told {
        row: row.get(0)?,
        at: Time::from_ms(row.get::<_, Option<i64>>(1)?.unwrap_or(0)),
        kind: text(2)?,
        call: text(3)?,
        account: text(4)?,
        amount: row.get::<_, Option<i64>>(5)?.unwrap_or(0),
        detail: text(6)?,
        more: text(7)?,
        labels: text(8)?,
    })
}
