//! Calls of which this instance has told their customers that they failed, while Redis may have charged them:
//! they are given back, also by a later run.

use rusqlite::Connection;

use crate::model::bounds::REDIS_LOOSE_ENDS_MAX;
use crate::model::ids::{CallId, KeyId};

/// A table of a copy beside those of the books.
pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS left_ends (
        call BLOB PRIMARY KEY,
        key  TEXT NOT NULL                 -- who pays
    ) WITHOUT ROWID;
";

/// Writes one down, as long as there is room.
pub(super) fn leave(connection: &Connection, call: CallId, key: &str) -> rusqlite::Result<()> {
    let most = i64::try_from(REDIS_LOOSE_ENDS_MAX).unwrap_or(i64::MAX);
    let sql = "INSERT OR REPLACE INTO left_ends (call, key)
               SELECT ?1, ?2 WHERE (SELECT count(*) FROM left_ends) < ?3";
    connection.prepare_cached(sql)?.execute((call.bytes().as_slice(), key, most)).map(drop)
}

/// One is done.
pub(super) fn tied(connection: &Connection, call: CallId) -> rusqlite::Result<()> {
    let sql = "DELETE FROM left_ends WHERE call = ?1";
    connection.prepare_cached(sql)?.execute([call.bytes().as_slice()]).map(drop)
}

/// All that are left.
pub(super) fn left(connection: &Connection) -> rusqlite::Result<Vec<(CallId, KeyId)>> {
    let mut all = connection.prepare("SELECT lower(hex(call)), key FROM left_ends")?;
    let rows = all.query_map([], |row| {
        let call = CallId::parse(&format!("call_{}", row.get_ref(0)?.as_str()?));
        Ok(call.zip(KeyId::parse(row.get_ref(1)?.as_str()?)))
    })?;
    rows.filter_map(Result::transpose).collect()
}
