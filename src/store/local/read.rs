//! Reading beside the writer: lookups of keys that are not in memory yet, lists and sums, never on a
//! thread that serves calls. Lookups have a connection of their own, so that no call waits for a
//! report; reports have a thread of their own, which steps back where calls need the processor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::records::{KEY_COLUMNS, from_json, read_key};
use crate::ledger::Account;
use crate::model::bounds::{READ_TURN_WAIT, REPORTS_NICENESS};
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::secret::Digest;
use crate::store::StoreError;

/// A connection that only reads, one read at a time. In an ephemeral store it is the writer's.
pub(super) struct Reader {
    connection: Arc<Mutex<Connection>>,
    turn: Arc<Semaphore>,
    patience: Duration,
    /// Its own thread, if it has one.
    thread: Option<SyncSender<Job>>,
    /// What errors begin with.
    name: String,
}

type Job = Box<dyn FnOnce() + Send>;

/// A key, and its account if that was ever saved.
pub(super) type KeyAndAccount = (Key, Option<Account>);

impl Reader {
    pub(super) fn new(connection: Arc<Mutex<Connection>>) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        let name = String::new();
        Self { connection, turn, patience: READ_TURN_WAIT, thread: None, name }
    }

    /// The same with what errors begin with.
    pub(super) fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The same for what may take long. Not for a connection that the writer needs.
    pub(super) fn for_reports(connection: Arc<Mutex<Connection>>) -> std::io::Result<Self> {
        // Never more than the one whose turn it is.
        let (sender, jobs) = sync_channel::<Job>(1);
        let thread = std::thread::Builder::new().name("paygate-reports".to_owned());
        thread.spawn(move || {
            step_back();
            for job in jobs {
                // Whoever waits for it is told, because its answer does not come.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!(target: "store", "a report failed in an unforeseen way");
                }
            }
        })?;
        Ok(Self { thread: Some(sender), ..Self::new(connection) })
    }

    /// Runs a read on a blocking thread. Busy if it is not its turn in time.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = timeout(self.patience, Arc::clone(&self.turn).acquire_owned()).await;
        let turn = turn.map_err(|_| StoreError::Busy)?;
        let turn = turn.map_err(|closed| StoreError::Read(closed.to_string()))?;
        let connection = Arc::clone(&self.connection);
        let work = move || {
            // The turn ends with the read, even if nobody waits for it any more.
            let _turn = turn;
            work(&connection.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let result = match &self.thread {
            None => tokio::task::spawn_blocking(work).await.map_err(|failed| failed.to_string()),
            Some(thread) => {
                let (answer, answered) = oneshot::channel();
                let job = Box::new(move || {
                    if answer.send(work()).is_err() {
                        tracing::trace!(target: "store", "nobody waits for this report any more");
                    }
                });
                thread.try_send(job).map_err(|_| StoreError::Read("no reader".to_owned()))?;
                answered.await.map_err(|_| "the report failed".to_owned())
            }
        };
        let failed = |why: String| StoreError::Read(format!("{}{why}", self.name));
        result.map_err(failed)?.map_err(|error| failed(error.to_string()))
    }
}

/// Lets this thread have the processor only where others leave it, nearly: a report must not slow
/// calls, and must not wait for ever on a busy machine either.
fn step_back() {
    // Elsewhere it would be the whole process that steps back.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, REPORTS_NICENESS) {
        tracing::debug!(target: "store", %error, "reports run with the priority of calls");
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

/// The first keys after a place (a rowid), and the place after them if there are more.
pub(super) fn keys_page(
    connection: &Connection,
    namespace: Option<&str>,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<(Vec<KeyAndAccount>, Option<i64>)> {
    // Two statements, so that each has its index.
    let of_one = if namespace.is_some() { "keys.namespace = ?1" } else { "?1 IS NULL" };
    let sql = format!(
        "SELECT {KEY_COLUMNS}, accounts.state, keys.rowid {FROM_KEYS}
         WHERE {of_one} AND keys.rowid > ?2 ORDER BY keys.rowid LIMIT ?3"
    );
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((namespace, after.unwrap_or(0), one_more), |row| {
        Ok((key_and_account(row)?, row.get::<_, i64>(7)?))
    })?;
    let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().map(|(_, place)| *place).filter(|_| has_more);
    Ok((rows.into_iter().map(|(row, _)| row).collect(), next))
}

/// Keys in the order of their ids, with their places in the order of creation.
pub(super) fn keys_by_id(
    connection: &Connection,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<(KeyAndAccount, i64)>> {
    let sql = format!(
        "SELECT {KEY_COLUMNS}, accounts.state, keys.rowid {FROM_KEYS}
         WHERE keys.id > ?1 ORDER BY keys.id LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let given = (after, i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = statement.query_map(given, |row| Ok((key_and_account(row)?, row.get(7)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::{Durability, LocalOptions, LocalStore};
    use super::*;
    use crate::model::time::Time;
    use crate::store::Store;

    #[test]
    fn lookups_do_not_wait_for_reports() {
        let folder = std::env::temp_dir().join(format!("paygate-read-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = Some(folder.join("books.db"));
        let options = LocalOptions { path, durability: Durability::Answer };
        let store = Arc::new(LocalStore::open(&options, Time::ZERO).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (end, wait) = oneshot::channel::<()>();
            let (begin, has_begun) = oneshot::channel();
            let reporting = Arc::clone(&store);
            let report = tokio::spawn(async move {
                let work = move |_: &Connection| {
                    begin.send(()).unwrap();
                    wait.blocking_recv().unwrap();
                    Ok(())
                };
                reporting.reports.read(work).await
            });
            has_begun.await.unwrap();
            assert_eq!(store.reports.turn.available_permits(), 0);
            let unknown = Digest::of(b"unknown");
            assert_eq!(store.key_by_digest(unknown, Time::ZERO).await.unwrap(), None);
            let id = KeyId::from_random([1; 8]);
            assert_eq!(store.key_by_id(&id).await.unwrap(), None);
            end.send(()).unwrap();
            report.await.unwrap().unwrap();
            store.close().await.unwrap();
        });
        drop(store);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_turn_is_waited_for_within_a_bound() {
        let mut reader = Reader::new(Arc::new(Mutex::new(Connection::open_in_memory().unwrap())));
        let turn = Arc::clone(&reader.turn).acquire_owned().await.unwrap();
        reader.patience = Duration::ZERO;
        let refused = reader.read(|_| Ok(())).await;
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
        drop(turn);
        reader.read(|_| Ok(())).await.unwrap();
    }
}
