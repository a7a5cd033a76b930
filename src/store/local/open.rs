//! Opening the books: one process per file, recovery, and the threads that serve it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};

use super::Durability;
use super::accounts::{SavePace, SavePass};
use super::copied::APPLICATION_ID as COPY;
use super::file::OwnFile;
use super::moved::{self, MovedTo};
use super::read::Reader;
use super::recover::{Recovered, recover};
use super::roll_up::rolled;
use super::schema;
use super::state::{LocalStore, Shared, Turns};
use super::tally::Tally;
use super::writer::Writer;
use crate::model::time::Time;

/// Where the books are, and what answers wait for.
#[derive(Clone, Debug, Default)]
pub struct LocalOptions {
    /// The file; `None` keeps the books in memory until the process ends.
    pub path: Option<PathBuf>,
    /// What answers wait for.
    pub durability: Durability,
}

/// Why the books cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has them open.
    #[error("the database {} is in use by another Paygate; stop that one, or choose another file with --db, or run without one with --ephemeral", .0.display())]
    InUse(PathBuf),
    /// The operating system says no.
    #[error("the database {} cannot be opened: {reason}; check the path and its permissions, or choose another file with --db, or run without one with --ephemeral", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is a file of something else.
    #[error("{} is not a Paygate database; choose another file with --db (nothing was changed)", .0.display())]
    Foreign(PathBuf),
    /// It holds books of its own, and was named for the copy of others.
    #[error("{} keeps books of its own, so it cannot be the copy of those in Redis; choose another file with --db (nothing was changed)", .0.display())]
    Books(PathBuf),
    /// It is the copy of books in Redis.
    #[error("{} is an instance's copy of books in Redis, no books; they are in Redis (nothing was changed)", .0.display())]
    Copy(PathBuf),
    /// It was written by a newer Paygate.
    #[error("the database {} was written by a newer Paygate (version {found} of its tables, this program knows {known}); use that program, or another file with --db (nothing was changed)", .path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// It was written by an older Paygate, and only looked at.
    #[error("the database {} was written by an older Paygate (version {found} of its tables, this program knows {known}); start `paygate wrap --db` with it once, which brings it up to date (nothing was changed)", .path.display())]
    Older {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this program reads.
        known: i64,
    },
    /// Its books are elsewhere now.
    #[error("the books of {} have moved to {to}; what was sold since is not in this file. Start with --redis-url, or bring them back with `paygate migrate --from redis://… --to` a new file; to sell from this old file all the same, delete its table `moved`: sqlite3 {} 'DROP TABLE moved' (nothing was changed)", .path.display(), .path.display())]
    Moved {
        /// Which file.
        path: PathBuf,
        /// Where, and when.
        to: MovedTo,
    },
    /// What it says contradicts itself.
    #[error("the database {} is damaged: {reason}; run `paygate ledger verify --db` on it, or restore a backup, or choose another file with --db (nothing was changed)", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Who opens the books.
#[derive(Clone, Copy)]
enum Whose {
    Seller,
    Mover,
}

impl LocalStore {
    /// Opens the books, making them if there are none, and releases the holds of calls that were in
    /// flight when they were last open.
    pub fn open(options: &LocalOptions, now: Time) -> Result<Self, OpenError> {
        Self::open_at_pace(options, SavePace::default(), now)
    }

    /// The same with accounts saved at another pace.
    pub fn open_at_pace(
        options: &LocalOptions,
        pace: SavePace,
        now: Time,
    ) -> Result<Self, OpenError> {
        Self::open_as(options, pace, now, Whose::Seller)
    }

    /// The same for a mover of books, who may have been stopped after they had left.
    pub(super) fn open_to_move(options: &LocalOptions, now: Time) -> Result<Self, OpenError> {
        Self::open_as(options, SavePace::default(), now, Whose::Mover)
    }

    fn open_as(
        options: &LocalOptions,
        pace: SavePace,
        now: Time,
        whose: Whose,
    ) -> Result<Self, OpenError> {
        let file = options.path.as_deref().map(real_path);
        let path = file.clone().unwrap_or_else(|| PathBuf::from(":memory:"));
        let failed = |error: rusqlite::Error| describe(&path, &error);
        let own = file.as_deref().map(OwnFile::claim).transpose()?;
        let mut connection = match &file {
            Some(file) => open_file(file)?,
            None => Connection::open_in_memory().map_err(failed)?,
        };
        if let (Whose::Seller, Some(to)) = (whose, moved::read(&connection).map_err(failed)?) {
            return Err(OpenError::Moved { path, to });
        }
        bring_up_to_date(&mut connection).map_err(failed)?;
        let recovered = recover(&mut connection, now)
            .map_err(failed)?
            .map_err(|reason| OpenError::Damaged { path: path.clone(), reason })?;

        let Recovered { mut state, seq, open_holds, seal_key } = recovered;
        let connection = Arc::new(Mutex::new(connection));
        let ephemeral = file.is_none();
        if ephemeral {
            state.kept.is_ephemeral();
        }
        let durability = if ephemeral { Durability::None } else { options.durability };
        let shared = Arc::new(Shared::new(state, durability, seal_key));
        let [lookups, unsent, reports] = readers(file.as_deref(), &connection)?;
        let (loads, refunds) = (Arc::default(), Arc::default());
        let rolled = rolled(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        shared.noted_from.store(seq.max(rolled.map_err(failed)?), Ordering::Relaxed);
        let writer = Writer {
            tally: Tally::after(Arc::clone(&shared.noted_from)),
            shared: Arc::clone(&shared),
            connection,
            seq,
            open_holds,
            saves: SavePass::new(seq, pace),
            sweep: None,
            own,
        };
        let thread = std::thread::Builder::new().name("paygate-writer".to_owned());
        let thread = thread.spawn(move || writer.run());
        let thread = thread.map_err(|error| no_thread(&path, &error))?;
        Ok(Self {
            shared,
            lookups,
            loads,
            reports,
            unsent,
            refunds,
            rolling: tokio::sync::Mutex::default(),
            turns: Turns::default(),
            counting: tokio::sync::Mutex::default(),
            writer: Mutex::new(Some(thread)),
        })
    }
}

fn bring_up_to_date(connection: &mut Connection) -> rusqlite::Result<()> {
    match schema::header(connection, "user_version")? {
        0 => schema::create(connection),
        schema::VERSION => Ok(()),
        older => schema::migrate(connection, older),
    }
}

/// For lookups, for webhooks and for reports. Without a file all use the writer's connection.
fn readers(file: Option<&Path>, writer: &Arc<Mutex<Connection>>) -> Result<[Reader; 3], OpenError> {
    let Some(file) = file else {
        return Ok([(); 3].map(|()| Reader::new(Arc::clone(writer))));
    };
    let connection = || read_only(file).map_err(|error| describe(file, &error));
    let reports = Reader::for_reports(connection()?).map_err(|error| no_thread(file, &error))?;
    Ok([Reader::new(connection()?), Reader::new(connection()?), reports])
}

fn no_thread(path: &Path, error: &std::io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), reason: error.to_string() }
}

pub(super) fn describe(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign(path.to_owned()),
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path: path.to_owned(), reason: error.to_string() }
        }
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            OpenError::InUse(path.to_owned())
        }
        Some(_) => OpenError::Io { path: path.to_owned(), reason: error.to_string() },
        None => OpenError::Damaged { path: path.to_owned(), reason: error.to_string() },
    }
}

/// The file itself, whatever it is called: links to one file must find one lock, and SQLite must not
/// take a name such as `:memory:` or `file:…` for something else.
pub(super) fn real_path(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Opens a file that we own, and refuses what is not ours before anything in it is changed.
fn open_file(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| describe(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    check_header(&connection, path)?;
    schema::prepare_writer(&connection).map_err(failed)?;
    Ok(connection)
}

pub(super) fn check_header(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| describe(path, &error);
    let version = schema::header(connection, "user_version").map_err(failed)?;
    let application = schema::header(connection, "application_id").map_err(failed)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(()),
        (schema::APPLICATION_ID, found) if found > schema::VERSION => {
            Err(OpenError::Newer { path: path.to_owned(), found, known: schema::VERSION })
        }
        (schema::APPLICATION_ID, 1..=schema::VERSION) => Ok(()),
        (COPY, _) => Err(OpenError::Copy(path.to_owned())),
        _ => Err(OpenError::Foreign(path.to_owned())),
    }
}

/// Refuses a file of an older version, for whoever only reads.
pub(super) fn check_version(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found =
        schema::header(connection, "user_version").map_err(|error| describe(path, &error))?;
    let (path, known) = (path.to_owned(), schema::VERSION);
    if found < known { Err(OpenError::Older { path, found, known }) } else { Ok(()) }
}

pub(super) fn read_only(path: &Path) -> rusqlite::Result<Arc<Mutex<Connection>>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    Ok(Arc::new(Mutex::new(connection)))
}
