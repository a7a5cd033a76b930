//! A file whose books have moved says so, so that nobody sells from it by mistake: it has what was sold before
//! that, and nothing since. It can still be read.

use std::fmt;

use rusqlite::{Connection, OptionalExtension};

use super::schema;
use crate::model::time::Time;

/// Where the books of a file have moved to, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedTo {
    place: String,
    at: Time,
}

impl fmt::Display for MovedTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Redis at {} at {}", self.place, self.at)
    }
}

/// Where they have moved, if they have.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Option<MovedTo>> {
    let exists = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'moved'";
    if connection.query_row(exists, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let sql = "SELECT place, at FROM moved";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(MovedTo { place: row.get(0)?, at: Time::from_ms(row.get(1)?) })
    };
    connection.query_row(sql, [], read).optional()
}

/// Says that they have.
pub(super) fn write(connection: &Connection, place: &str, at: Time) -> rusqlite::Result<()> {
    schema::prepare_writer(connection)?;
    let transaction = connection.unchecked_transaction()?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS moved (place TEXT NOT NULL, at INTEGER NOT NULL); DELETE FROM moved",
    )?;
    connection.execute("INSERT INTO moved (place, at) VALUES (?1, ?2)", (place, at.ms()))?;
    transaction.commit()
}
