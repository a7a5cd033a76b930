//! Reading beside the writer: lookups of keys that are not in memory yet, lists and sums. On a
//! blocking thread, with a bounded number of connections.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::Semaphore;

use super::records::{KEY_COLUMNS, from_json, read_key};
use crate::ledger::Account;
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::secret::Digest;
use crate::store::{StoreError, UsageRow};

/// A few connections that only read. An ephemeral store has one, which is the writer's.
pub(super) struct Readers {
    connections: Arc<Vec<Arc<Mutex<Connection>>>>,
    free: Arc<Mutex<Vec<usize>>>,
    permits: Arc<Semaphore>,
}

type KeyAndAccount = (Key, Option<Account>);

impl Readers {
    pub(super) fn new(connections: Vec<Arc<Mutex<Connection>>>) -> Self {
        let count = connections.len();
        Self {
            connections: Arc::new(connections),
            free: Arc::new(Mutex::new((0..count).collect())),
            permits: Arc::new(Semaphore::new(count)),
        }
    }

    /// Runs a read on a blocking thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |what: &str| StoreError::Read(what.to_owned());
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| unavailable("Paygate is stopping"))?;
        let (connections, free) = (Arc::clone(&self.connections), Arc::clone(&self.free));
        let reading = tokio::task::spawn_blocking(move || {
            let index = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            // A permit is a promise that one is free.
            let result = index.and_then(|index| connections.get(index)).map(|connection| {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                work(&connection)
            });
            free.lock().unwrap_or_else(PoisonError::into_inner).extend(index);
            drop(permit);
            result
        });
        match reading.await {
            Ok(Some(result)) => result.map_err(|error| StoreError::Read(error.to_string())),
            Ok(None) => Err(unavailable("no connection is free")),
            Err(failed) => Err(StoreError::Read(failed.to_string())),
        }
    }
}

const FROM_KEYS: &str = "FROM keys LEFT JOIN accounts ON accounts.id = keys.id";

fn key_and_account(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeyAndAccount> {
    let account = row.get_ref(6)?.as_str_or_null()?.map(from_json).transpose()?;
    Ok((read_key(row)?, account))
}

pub(super) fn key_by_digest(
    connection: &Connection,
    digest: &Digest,
) -> rusqlite::Result<Option<KeyAndAccount>> {
    let sql = format!(
        "SELECT {KEY_COLUMNS}, accounts.state {FROM_KEYS} WHERE keys.digest = ?1 OR keys.old_digest = ?1 LIMIT 1"
    );
    connection
        .prepare_cached(&sql)?
        .query_row([digest.bytes().as_slice()], key_and_account)
        .optional()
}

pub(super) fn key_by_id(
    connection: &Connection,
    id: &KeyId,
) -> rusqlite::Result<Option<KeyAndAccount>> {
    let sql = format!("SELECT {KEY_COLUMNS}, accounts.state {FROM_KEYS} WHERE keys.id = ?1");
    connection.prepare_cached(&sql)?.query_row([id.as_str()], key_and_account).optional()
}

pub(super) fn keys(
    connection: &Connection,
    namespace: Option<&str>,
) -> rusqlite::Result<Vec<KeyAndAccount>> {
    let sql = format!(
        "SELECT {KEY_COLUMNS}, accounts.state {FROM_KEYS} WHERE ?1 IS NULL OR keys.namespace = ?1 ORDER BY keys.rowid"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map([namespace], key_and_account)?.collect()
}

/// Calls and credits by key and tool: the ends of all calls in the journal.
pub(super) fn usage(
    connection: &Connection,
    namespace: Option<&str>,
) -> rusqlite::Result<Vec<UsageRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT journal.account, call.value ->> 0, count(*), sum(call.value ->> 2)
         FROM journal, json_each(journal.detail, '$.calls') AS call
         WHERE journal.kind IN ('call', 'capture', 'release', 'expire', 'recover')
           AND (?1 IS NULL OR journal.account IN (SELECT id FROM keys WHERE namespace = ?1))
         GROUP BY 1, 2 ORDER BY min(journal.seq)",
    )?;
    let rows = statement.query_map([namespace], |row| {
        Ok(UsageRow {
            key: row.get(0)?,
            tool: row.get(1)?,
            calls: row.get(2)?,
            credits: row.get(3)?,
        })
    })?;
    rows.collect()
}
