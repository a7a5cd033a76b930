//! Keys that come with their numbers from other books. All of them are made by one commit: a crash
//! leaves none or all. A key that is here, or ever was, is never made a second time.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::open::{OpenError, check_header, check_version, read_only, real_path};
use super::queue::Write;
use super::read;
use super::records::was_deleted;
use super::rows::JournalRow;
use super::schema;
use super::state::{LocalStore, Shared, State};
use crate::ledger::{Account, Book};
use crate::model::ids::KeyId;
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::{Arrival, Deed, Durable, StoreError};

impl LocalStore {
    /// Has nothing ever been written here?
    pub(super) async fn has_nothing(&self) -> Result<bool, StoreError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM journal) AND NOT EXISTS (SELECT 1 FROM keys)
            AND NOT EXISTS (SELECT 1 FROM deleted_keys) AND NOT EXISTS (SELECT 1 FROM teams)";
        self.lookups.read(move |connection| connection.query_row(sql, [], |row| row.get(0))).await
    }

    /// Makes those keys that were never here, durably, all by one commit; which of them are made.
    pub(super) async fn take_over(
        &self,
        arrivals: Vec<Arrival>,
        deed: Deed,
        now: Time,
    ) -> Result<HashSet<KeyId>, StoreError> {
        let _loading = self.loads.read().await;
        let wanted: Vec<(KeyId, Digest)> =
            arrivals.iter().map(|Arrival { key, .. }| (key.id.clone(), key.digest)).collect();
        let known = self.lookups.read(move |connection| known_of(connection, &wanted)).await?;
        let new = arrivals.into_iter().filter(|arrival| !known.contains(&arrival.key.id));
        let (made, durable) = self.shared.import(new.collect(), deed, now)?;
        durable.wait().await?;
        Ok(made)
    }
}

/// Those of some keys that are in a database file, or were; none if there is no such file. Only looks.
pub fn known(path: &Path, wanted: &[(KeyId, Digest)]) -> Result<HashSet<KeyId>, OpenError> {
    let path = real_path(path);
    let empty = std::fs::metadata(&path).map_or(true, |file| file.len() == 0);
    if empty {
        return Ok(HashSet::new());
    }
    let io =
        |error: rusqlite::Error| OpenError::Io { path: path.clone(), reason: error.to_string() };
    let connection = read_only(&path).map_err(io)?;
    let connection = connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    check_header(&connection, &path)?;
    if schema::header(&connection, "user_version").map_err(io)? == 0 {
        // Nothing but a name: whoever made it was stopped before the first table.
        return Ok(HashSet::new());
    }
    check_version(&connection, &path)?;
    known_of(&connection, wanted).map_err(io)
}

fn known_of(
    connection: &Connection,
    wanted: &[(KeyId, Digest)],
) -> rusqlite::Result<HashSet<KeyId>> {
    let mut known = HashSet::new();
    for (id, digest) in wanted {
        let is_known = read::key_by_digest(connection, digest)?.is_some()
            || read::key_by_id(connection, id)?.is_some()
            || was_deleted(connection, id)?;
        if is_known {
            known.insert(id.clone());
        }
    }
    Ok(known)
}

impl Shared {
    fn import(
        &self,
        arrivals: Vec<Arrival>,
        deed: Deed,
        now: Time,
    ) -> Result<(HashSet<KeyId>, Durable), StoreError> {
        let mut state = self.lock();
        state.open_for_writing()?;
        let is_new = |arrival: &Arrival| {
            let Arrival { key, .. } = arrival;
            state.key(&key.id).is_none() && state.key_with(&key.digest).is_none()
        };
        let (mut seen, mut digests) = (HashSet::new(), HashSet::new());
        let new: Vec<Arrival> = arrivals
            .into_iter()
            .filter(|arrival| is_new(arrival))
            .filter(|Arrival { key, .. }| seen.insert(key.id.clone()) && digests.insert(key.digest))
            .collect();
        // In books of its own first: then nothing is half done if a number is out of range.
        let mut trial = Book::default();
        for Arrival { opening, .. } in &new {
            trial.insert(opening.account.clone(), Account::default());
            trial.take_over(now, opening.clone())?;
        }
        for Arrival { key, opening } in &new {
            let account = key.id.account();
            state.book.insert(account.clone(), Account::default());
            let opening = match state.book.take_over(now, opening.clone()) {
                Ok(opening) => opening,
                Err(error) => return Err(state.broken(error)),
            };
            state.touch(std::iter::once(&account));
            let key = Arc::new(key.clone());
            state.put_key(Arc::clone(&key));
            let State { book, tenants, .. } = &mut *state;
            tenants.made(&key, book.account(&account));
            state.queue.push(Write::Key(key));
            let reason = deed.reason.as_deref();
            state.queue.journal(|text| JournalRow::opening(text, &opening, reason));
        }
        if !new.is_empty() {
            let credits = new
                .iter()
                .fold(0_i64, |sum, arrival| sum.saturating_add(arrival.opening.credits()));
            let audit =
                deed.audit.map(|event| event.with("keys", new.len()).with("credits", credits));
            state.audit(audit);
        }
        let durable = state.queue.durable();
        self.nudge(state);
        Ok((new.into_iter().map(|arrival| arrival.key.id).collect(), durable))
    }
}
