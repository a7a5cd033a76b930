//! Records of keys and namespaces, and remembered idempotency keys, as rows.

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use crate::model::bounds::ONCE_TTL;
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::record::{KeyHead, KeyRecord};

/// What [`read_key`] needs, in this order.
pub(super) const KEY_COLUMNS: &str =
    "keys.id, keys.digest, keys.old_digest, keys.namespace, keys.revision, keys.record";

pub(super) fn write_key(connection: &Connection, key: &Key) -> rusqlite::Result<()> {
    let record = to_json(&KeyRecord::of(key))?;
    let old = key.old.as_ref().map(|old| old.digest.bytes().as_slice());
    connection
        .prepare_cached(
            "INSERT INTO keys (id, digest, old_digest, namespace, revision, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, old_digest = excluded.old_digest,
                 revision = excluded.revision, record = excluded.record",
        )?
        .execute(params![
            key.id.as_str(),
            key.digest.bytes().as_slice(),
            old,
            key.namespace,
            i64::try_from(key.revision).unwrap_or(i64::MAX),
            record
        ])?;
    Ok(())
}

/// Takes a key's record out; its id stays taken.
pub(super) fn delete_key(connection: &Connection, key: &Key, at: Time) -> rusqlite::Result<()> {
    let id = key.id.as_str();
    connection.prepare_cached("DELETE FROM keys WHERE id = ?1")?.execute([id])?;
    // Nobody may ask for its answers any more; the next sweep takes them.
    connection.prepare_cached("UPDATE kept SET until = 0 WHERE account = ?1")?.execute([id])?;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO deleted_keys (id, namespace, at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![id, key.namespace, at.ms()])?;
    Ok(())
}

/// Was there once a key with this id?
pub(super) fn was_deleted(connection: &Connection, id: &KeyId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT count(*) FROM deleted_keys WHERE id = ?1")?
        .query_row([id.as_str()], |row| Ok(row.get::<_, i64>(0)? > 0))
}

pub(super) fn read_key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let bad = |column, what: &str| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
    };
    let id = KeyId::parse(row.get_ref(0)?.as_str()?).ok_or_else(|| bad(0, "not a key id"))?;
    let digest =
        Digest::from_slice(row.get_ref(1)?.as_blob()?).ok_or_else(|| bad(1, "not a digest"))?;
    let old_digest = row.get_ref(2)?.as_blob_or_null()?.and_then(Digest::from_slice);
    let record: KeyRecord = serde_json::from_str(row.get_ref(5)?.as_str()?)
        .map_err(|error| bad(5, &format!("not a key's record: {error}")))?;
    let revision = u64::try_from(row.get::<_, i64>(4)?).unwrap_or(0);
    let head = KeyHead { id, digest, old_digest, namespace: row.get(3)?, revision };
    record.key(head).map_err(|why| bad(5, &why))
}

pub(super) fn read_namespaces(connection: &Connection) -> rusqlite::Result<Vec<Namespace>> {
    let mut statement = connection.prepare("SELECT record FROM namespaces")?;
    let records = statement.query_map([], |row| from_json(row.get_ref(0)?.as_str()?))?;
    records.collect()
}

/// A remembered idempotency key.
#[derive(Clone, Debug)]
pub(super) struct OnceRecord {
    pub(super) id: Digest,
    pub(super) request: Digest,
    pub(super) note: String,
    pub(super) available: i64,
    pub(super) at: Time,
}

pub(super) fn write_once(connection: &Connection, once: &OnceRecord) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO once (id, request, note, available, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            once.id.bytes().as_slice(),
            once.request.bytes().as_slice(),
            once.note,
            once.available,
            once.at.ms()
        ])?;
    Ok(())
}

/// Drops what is older than a repetition may be. It reads the whole table, so not with every row.
pub(super) fn forget_once(connection: &Connection, now: Time) -> rusqlite::Result<()> {
    let ttl_ms = i64::try_from(ONCE_TTL.as_millis()).unwrap_or(i64::MAX);
    let forgotten = now.ms().saturating_sub(ttl_ms);
    connection.execute("DELETE FROM once WHERE at <= ?1", [forgotten])?;
    Ok(())
}

pub(super) fn read_once(connection: &Connection) -> rusqlite::Result<Vec<OnceRecord>> {
    let mut statement = connection.prepare("SELECT id, request, note, available, at FROM once")?;
    let records = statement.query_map([], |row| {
        let digest = |column| {
            let bytes = row.get_ref(column)?.as_blob()?;
            Digest::from_slice(bytes).ok_or(rusqlite::Error::InvalidColumnName("once".into()))
        };
        Ok(OnceRecord {
            id: digest(0)?,
            request: digest(1)?,
            note: row.get(2)?,
            available: row.get(3)?,
            at: Time::from_ms(row.get(4)?),
        })
    })?;
    records.collect()
}

pub(super) fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

pub(super) fn from_json<T: for<'a> Deserialize<'a>>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error.into())
    })
}
