//! The import of a state file, the one that paygate-mcp keeps its keys in.
//!
//! All of it is read and judged first; then the keys that come over are made by one commit, so a crash
//! leaves none of them or all. Every credit of the file is accounted for in the report: it is in the
//! books, was there before, is a fraction that was rounded off, or belongs to a record that is named
//! with the reason why it was left out. A second import changes nothing.

mod amount;
mod hashes;
mod notes;
mod record;
mod report;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::app::options;
use crate::config::{Redis, RedisUrl};
use crate::model::audit::AuditEvent;
use crate::model::bounds;
use crate::model::ids::KeyId;
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::local::{LocalOptions, LocalStore, OpenError, known};
use crate::store::redis::{
    RedisClock, RedisOpenError, RedisOptions, RedisPlace, RedisStore, keys_of_paygate_mcp,
};
use crate::store::{Arrival, Deed, Store, StoreError, clock};

use record::{Coming, Refused};
pub use report::ImportReport;

/// What is to be imported where.
#[derive(Clone, Debug)]
pub struct Import {
    /// Where the keys are.
    pub from: ImportFrom,
    /// The books.
    pub into: ImportInto,
    /// Only say what would be done.
    pub is_dry: bool,
}

/// What paygate-mcp has left.
#[derive(Clone, Debug)]
pub enum ImportFrom {
    /// Its state file.
    File(PathBuf),
    /// What its instances shared.
    Redis(RedisPlace),
}

/// Books that keys are imported into.
#[derive(Clone, Debug)]
pub enum ImportInto {
    /// A database.
    File(PathBuf),
    /// Those that several instances share.
    Redis(Redis),
}

impl fmt::Display for ImportInto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Redis(redis) => f.write_str(&redis.url.shown(|_| "***".to_owned())),
        }
    }
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("{} cannot be read ({why}); check the path and its permissions", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is larger than any that is read.
    #[error("{} is larger than {} MiB; nothing was imported", .0.display(), bounds::STATE_FILE_BYTES_MAX >> 20)]
    TooLarge(PathBuf),
    /// It is something else.
    #[error("{}{at} is not a state file of paygate-mcp: {why}; nothing was imported", .path.display())]
    NotState {
        /// Which file.
        path: PathBuf,
        /// Where in it, if that is known.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// What paygate-mcp shared cannot be read.
    #[error("{0}; nothing was imported")]
    Source(StoreError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Redis cannot be opened.
    #[error(transparent)]
    Redis(#[from] RedisOpenError),
    /// It cannot be written.
    #[error("the keys could not be written to the books: {0}; nothing was imported")]
    Store(#[from] StoreError),
}

/// A state file that was read.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    coming: Vec<Coming>,
    refused: Vec<Placed>,
}

/// A record that is not brought over, and where it stands.
#[derive(Debug)]
struct Placed {
    /// Counted from 1.
    record: usize,
    line: usize,
    refused: Box<Refused>,
}

/// Imports, and says what became of every record.
pub async fn import(import: &Import) -> Result<ImportReport, ImportError> {
    let now = clock::now();
    let file = match &import.from {
        ImportFrom::File(path) => StateFile::read(path, now)?,
        ImportFrom::Redis(at) => {
            let keys = keys_of_paygate_mcp(at).await.map_err(ImportError::Source)?;
            let shown = RedisUrl(at.url.clone()).shown(|_| "***".to_owned());
            StateFile::of_text(Path::new(&shown), &hashes::state(&keys), now)?
        }
    };
    let made = match &import.into {
        ImportInto::File(db) if import.is_dry => {
            let wanted = file.wanted();
            let known = known(db, &wanted)?;
            wanted.into_iter().map(|(id, _)| id).filter(|id| !known.contains(id)).collect()
        }
        ImportInto::File(db) => {
            let options = LocalOptions { path: Some(db.clone()), ..LocalOptions::default() };
            let store = LocalStore::open(&options, now)?;
            let made = file.import(&store, now).await;
            store.close().await?;
            made?
        }
        ImportInto::Redis(redis) => {
            let (url, clock) = (redis.url.0.clone(), RedisClock::Server);
            let (reach, copy) = (options::reach(redis), None);
            let store = RedisStore::open(&RedisOptions { url, reach, clock, copy }).await?;
            let made = if import.is_dry {
                store.unknown_of(file.wanted()).await
            } else {
                file.import(&store, now).await
            };
            store.close().await?;
            made?
        }
    };
    Ok(ImportReport::new(&file, &made, import, now))
}

impl StateFile {
    pub(super) fn read(path: &Path, now: Time) -> Result<Self, ImportError> {
        Self::of_text(path, &content(path)?, now)
    }

    fn of_text(path: &Path, text: &str, now: Time) -> Result<Self, ImportError> {
        let not_state =
            |at: String, why: String| ImportError::NotState { path: path.to_owned(), at, why };
        let pairs: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| {
            let at = format!(":{}:{}", error.line(), error.column());
            match serde_json::from_str::<Map<String, Value>>(text) {
                Ok(object) => not_state(String::new(), not_a_list(&object)),
                Err(_) => not_state(at, unplaced(&error)),
            }
        })?;
        let (mut lines, mut file) = (Lines::new(text), Self::empty(path));
        let mut places = HashMap::new();
        for (index, pair) in pairs.into_iter().enumerate() {
            let (record, line) = (index.saturating_add(1), lines.of(pair.get()));
            match record::read(pair, now) {
                Ok(coming) => file.comes(coming, (record, line), &mut places),
                Err(refused) => file.refused.push(Placed { record, line, refused }),
            }
        }
        file.refused.sort_by_key(|placed| placed.record);
        Ok(file)
    }

    fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), coming: Vec::new(), refused: Vec::new() }
    }

    /// Of several records of one key the last one counts, as when paygate-mcp reads its file.
    fn comes(
        &mut self,
        coming: Coming,
        (record, line): (usize, usize),
        places: &mut HashMap<KeyId, (usize, usize, usize)>,
    ) {
        let id = coming.key.id.clone();
        let here = places.get(&id).map_or(self.coming.len(), |(index, _, _)| *index);
        let before = places.insert(id, (here, record, line));
        let (Some((_, record_before, line_before)), Some(slot)) =
            (before, self.coming.get_mut(here))
        else {
            self.coming.push(coming);
            return;
        };
        let replaced = std::mem::replace(slot, coming);
        let refused = Box::new(Refused {
            key: Some(replaced.key.ends.masked()),
            namespace: Some(replaced.key.namespace),
            credits: Some(replaced.credits),
            why: format!("record {record} is of the same key, and the last one counts"),
            is_no_key: true,
        });
        self.refused.push(Placed { record: record_before, line: line_before, refused });
    }

    fn wanted(&self) -> Vec<(KeyId, Digest)> {
        self.coming.iter().map(|Coming { key, .. }| (key.id.clone(), key.digest)).collect()
    }

    /// Makes the keys that were never in these books; which ones.
    pub(super) async fn import(
        &self,
        store: &dyn Store,
        now: Time,
    ) -> Result<HashSet<KeyId>, StoreError> {
        let arrival = |Coming { key, opening, .. }: &Coming| Arrival {
            key: key.clone(),
            opening: opening.clone(),
        };
        let audit = AuditEvent {
            at: now,
            kind: "keys.imported",
            actor: "paygate import".to_owned(),
            actor_id: None,
            namespace: None,
            target: None,
            message: "Keys imported from a state file of paygate-mcp".to_owned(),
            metadata: Map::new(),
        };
        let reason = Some("imported from paygate-mcp".to_owned());
        let deed = Deed { reason, audit: Some(audit), ..Deed::default() };
        store.import(self.coming.iter().map(arrival).collect(), deed, now).await
    }

    /// The first record that holds a key and cannot be brought over, in words.
    pub(super) fn first_left_out(&self) -> Option<String> {
        let left_out = || self.refused.iter().filter(|placed| !placed.refused.is_no_key);
        let Placed { record, line, refused } = left_out().next()?;
        let (count, why) = (left_out().count(), &refused.why);
        Some(format!("record {record} on line {line}: {why} ({count} such in all)"))
    }
}

/// The whole file, within its bound. It holds raw keys, so it does not stay in memory.
fn content(path: &Path) -> Result<Zeroizing<String>, ImportError> {
    let unreadable = |why| ImportError::Unreadable { path: path.to_owned(), why };
    let about = fs::metadata(path).map_err(unreadable)?;
    // A pipe would be waited for without end.
    if !about.is_file() {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let too_large = || ImportError::TooLarge(path.to_owned());
    // Room for all of it at once: what grows leaves copies behind.
    let room = usize::try_from(size).map_err(|_| too_large())?;
    if size > bounds::STATE_FILE_BYTES_MAX {
        return Err(too_large());
    }
    let mut text = Zeroizing::new(String::with_capacity(room.saturating_add(1)));
    let mut bounded = file.take(bounds::STATE_FILE_BYTES_MAX.saturating_add(1));
    let read = bounded.read_to_string(&mut text).map_err(unreadable)?;
    let is_whole = u64::try_from(read).is_ok_and(|read| read <= bounds::STATE_FILE_BYTES_MAX);
    if is_whole { Ok(text) } else { Err(too_large()) }
}

fn not_a_list(object: &Map<String, Value>) -> String {
    if object.contains_key("clients") && object.contains_key("tokens") {
        return "it holds OAuth clients, which paygate-mcp writes over its keys if the name of its state \
                file does not end in .json"
            .to_owned();
    }
    "it is no list of keys with their records".to_owned()
}

/// The words of an error without its place, which is said elsewhere.
fn unplaced(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// Counts lines up to pieces of a text, one behind the other.
struct Lines<'a> {
    text: &'a str,
    counted: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    const fn new(text: &'a str) -> Self {
        Self { text, counted: 0, line: 1 }
    }

    /// The line on which a piece of the text begins.
    fn of(&mut self, piece: &str) -> usize {
        let start = piece.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        let between = self.text.as_bytes().get(self.counted..start).unwrap_or_default();
        self.line = self.line.saturating_add(memchr::memchr_iter(b'\n', between).count());
        self.counted = start;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StateFile, String> {
        let path = std::env::temp_dir().join(format!(
            "paygate-state-{}-{}",
            std::process::id(),
            Digest::of(text.as_bytes())
                .bytes()
                .iter()
                .fold(0_u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte))
        ));
        std::fs::write(&path, text).unwrap();
        let read = StateFile::read(&path, Time::ZERO).map_err(|error| error.to_string());
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn files_that_are_something_else_are_told_apart() {
        for (text, words) in [
            ("", ":1:0 is not a state file of paygate-mcp: EOF"),
            ("[\n[\"k\", {]]", ":2:8 is not a state file"),
            ("{}", "it is no list of keys"),
            (r#"{"clients":[],"tokens":[]}"#, "OAuth clients"),
            ("5", "invalid type"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words) && error.contains("nothing was imported"), "{error}");
        }
        assert!(read("[]").unwrap().coming.is_empty());
    }

    #[test]
    fn the_last_record_of_a_key_counts() {
        let one =
            |credits: i64| format!(r#"["a",{{"key":"a","credits":{credits},"active":true}}]"#);
        let file = read(&format!("[\n{},\n{},\n[\"x\",5],\n{}]", one(1), one(2), one(3))).unwrap();
        let credits: Vec<_> = file.coming.iter().map(|coming| coming.credits.floor()).collect();
        assert_eq!(credits, [3]);
        let places: Vec<_> = file.refused.iter().map(|it| (it.record, it.line)).collect();
        assert_eq!(places, [(1, 2), (2, 3), (3, 4)]);
        assert!(file.refused[1].refused.why.contains("record 4"));
        assert_eq!(file.first_left_out(), None);
    }
}
