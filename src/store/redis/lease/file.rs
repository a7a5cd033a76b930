//! What was sold from leases and is not reported yet, in a file of this instance's own, and who this instance
//! is. An answer leaves when its row is on disk; rows go when Redis has them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::super::books::random;
use super::open::SoldCall;
use crate::model::bounds::{
    REDIS_LEASE_ROWS_AT_ONCE, REDIS_LEASE_ROWS_PER_COMMIT, REDIS_LEASE_ROWS_WAITING_MAX,
    REDIS_LEASE_RUNS_MAX,
};
use crate::store::local::file::OwnFile;
use crate::store::{Durable, StoreError};

/// Marks the file: "PayL".
const APPLICATION_ID: i64 = 0x5061_794C;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS instance (id TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS run (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS sold (
        number    INTEGER PRIMARY KEY AUTOINCREMENT,
        namespace TEXT NOT NULL,
        lease     TEXT NOT NULL,
        accounts  TEXT NOT NULL,
        text      TEXT NOT NULL,
        answer    BLOB
    );
    CREATE INDEX IF NOT EXISTS sold_by_lease ON sold (lease, number);
";

type Work = Box<dyn FnOnce(&Connection) + Send>;

enum Job {
    Row(SoldCall, oneshot::Sender<()>),
    Work(Work),
}

/// The file.
pub(super) struct LeaseFile {
    jobs: SyncSender<Job>,
    /// This instance, by the file that it has.
    pub(super) instance: String,
    /// Every start that this file has seen, the present one last. Another instance that began with a copy
    /// of the file has others from then on, so neither gives back what the other sells from.
    runs: Vec<String>,
    is_broken: Arc<AtomicBool>,
}

/// A lease with rows that are not reported.
#[derive(Debug)]
pub(super) struct Unreported {
    pub(super) namespace: String,
    pub(super) lease: String,
    pub(super) accounts: String,
}

/// A row that is not reported.
pub(super) struct Row {
    pub(super) number: i64,
    pub(super) text: String,
    pub(super) answer: Option<Vec<u8>>,
}

/// Where the file is: beside the copy of the journals.
pub(in crate::store::redis) fn path_beside(copy: &Path) -> PathBuf {
    let mut name = copy.as_os_str().to_owned();
    name.push("-leases");
    name.into()
}

impl LeaseFile {
    /// Opens the file, and makes it if there is none.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let unfit = |why: &dyn std::fmt::Display| {
            let path = path.display();
            StoreError::Unfit(format!("the file of leases {path} cannot be used: {why}"))
        };
        let own = OwnFile::claim(path)
            .map_err(|_| unfit(&"it is another instance's, or may not be written"))?;
        let new = [hex::encode(random::<16>()?), hex::encode(random::<8>()?)];
        let connection = prepare(path, &new).map_err(|error| unfit(&error))?;
        let (instance, runs) = whose(&connection).map_err(|error| unfit(&error))?;
        let (jobs, to_do) = sync_channel(REDIS_LEASE_ROWS_WAITING_MAX);
        let is_broken = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&is_broken);
        let thread = std::thread::Builder::new().name("paygate-leases".to_owned());
        let started = thread.spawn(move || {
            // The lock is kept as long as anybody writes.
            let _own = own;
            let connection = connection;
            if let Err(error) = write_all(&connection, &to_do) {
                broken.store(true, Ordering::Release);
                tracing::error!(
                    target: "store", %error,
                    "calls sold from leases cannot be written down; no more are sold until a restart"
                );
            }
        });
        started.map_err(|error| unfit(&error))?;
        Ok(Self { jobs, instance, runs, is_broken })
    }

    /// This start.
    pub(super) fn run(&self) -> &str {
        self.runs.last().map_or("", String::as_str)
    }

    /// Was a lease taken with this file, now or before?
    pub(super) fn has_taken(&self, instance: &str, run: &str) -> bool {
        self.instance == instance && self.runs.iter().any(|own| own == run)
    }

    /// May anything be sold that has to be written here?
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }

    /// Writes a row down.
    pub(super) fn write(&self, row: SoldCall) -> Result<Durable, StoreError> {
        let (written, commit) = oneshot::channel();
        match self.jobs.try_send(Job::Row(row, written)) {
            Ok(()) => Ok(Durable::after(commit)),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(broken()),
        }
    }

    /// Leases with rows that are not reported, with all that was written before.
    pub(super) async fn unreported(&self) -> Result<Vec<Unreported>, StoreError> {
        self.work(|connection| {
            let select =
                "SELECT namespace, lease, accounts FROM sold GROUP BY lease ORDER BY min(number)";
            let mut all = connection.prepare_cached(select)?;
            let rows = all.query_map([], |row| {
                let (namespace, lease, accounts) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Unreported { namespace, lease, accounts })
            })?;
            rows.collect()
        })
        .await
    }

    /// The next rows of a lease.
    pub(super) async fn rows(&self, lease: &str) -> Result<Vec<Row>, StoreError> {
        let lease = lease.to_owned();
        self.work(move |connection| {
            let select =
                "SELECT number, text, answer FROM sold WHERE lease = ?1 ORDER BY number LIMIT ?2";
            let mut some = connection.prepare_cached(select)?;
            let rows = some.query_map(params![lease, REDIS_LEASE_ROWS_AT_ONCE], |row| {
                Ok(Row { number: row.get(0)?, text: row.get(1)?, answer: row.get(2)? })
            })?;
            rows.collect()
        })
        .await
    }

    /// Forgets rows of a lease that Redis has.
    pub(super) async fn forget(&self, lease: &str, up_to: i64) -> Result<(), StoreError> {
        let lease = lease.to_owned();
        self.work(move |connection| {
            let delete = "DELETE FROM sold WHERE lease = ?1 AND number <= ?2";
            connection.prepare_cached(delete)?.execute(params![lease, up_to]).map(|_| ())
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            if answer.send(work(connection)).is_err() {
                tracing::trace!(target: "store", "nobody waits for this any more");
            }
        });
        match self.jobs.try_send(Job::Work(work)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(broken()),
        }
        let result = answered.await.map_err(|_| broken())?;
        result.map_err(|error| StoreError::Read(format!("the file of leases: {error}")))
    }
}

fn broken() -> StoreError {
    StoreError::Closed("the file of leases cannot be written".to_owned())
}

/// Opens the file; `new` names it, if it has no name yet, and this start.
fn prepare(path: &Path, [instance, run]: &[String; 2]) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(TABLES)?;
    let insert = "INSERT INTO instance (id) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM instance)";
    connection.execute(insert, [instance])?;
    connection.execute("INSERT INTO run (id) VALUES (?1)", [run])?;
    let old = "DELETE FROM run WHERE number <= (SELECT max(number) FROM run) - ?1";
    connection.execute(old, [REDIS_LEASE_RUNS_MAX])?;
    Ok(connection)
}

fn whose(connection: &Connection) -> rusqlite::Result<(String, Vec<String>)> {
    let instance = connection.query_row("SELECT id FROM instance", [], |row| row.get(0))?;
    let mut runs = connection.prepare("SELECT id FROM run ORDER BY number")?;
    let runs = runs.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok((instance, runs))
}

/// Writes what comes until nobody is there any more: all rows that wait go by one commit.
fn write_all(connection: &Connection, jobs: &Receiver<Job>) -> rusqlite::Result<()> {
    let mut next = jobs.recv().ok();
    while let Some(job) = next.take() {
        match job {
            Job::Work(work) => work(connection),
            Job::Row(row, written) => {
                let transaction = connection.unchecked_transaction()?;
                insert(connection, &row)?;
                let mut waiting = vec![written];
                while waiting.len() < REDIS_LEASE_ROWS_PER_COMMIT {
                    match jobs.try_recv() {
                        Ok(Job::Row(row, written)) => {
                            insert(connection, &row)?;
                            waiting.push(written);
                        }
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                transaction.commit()?;
                for written in waiting {
                    // Nobody waits for a release.
                    written.send(()).unwrap_or_default();
                }
            }
        }
        if next.is_none() {
            next = jobs.recv().ok();
        }
    }
    Ok(())
}

fn insert(connection: &Connection, row: &SoldCall) -> rusqlite::Result<()> {
    let insert = "INSERT INTO sold (namespace, lease, accounts, text, answer)
                  VALUES (?1, ?2, ?3, ?4, ?5)";
    let SoldCall { namespace, lease, accounts, text, answer } = row;
    let row = params![namespace, lease, accounts, text, answer];
    connection.prepare_cached(insert)?.execute(row).map(|_| ())
}
