//! Answers that are kept for repetitions of their calls.
//!
//! An answer is a row beside the journal row that captured its call, written by the same commit, so
//! a call that was charged and carries an idempotency key has its answer whatever happens next. The
//! answers themselves are on disk only and are read when one is asked for; memory has what is
//! needed to say whether there is room for more. Rows whose time has passed are not found any more,
//! and are deleted a few with each commit.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::bounds;
use crate::model::ids::{AccountId, CallId};
use crate::model::secret::Digest;
use crate::model::time::Time;
use crate::store::{Keep, Kept, StoreError};

/// A row to write.
#[derive(Debug)]
pub(super) struct KeptRow {
    id: Digest,
    request: Digest,
    account: AccountId,
    call: CallId,
    until: Time,
    answer: Option<Vec<u8>>,
}

impl KeptRow {
    /// What a capture at this moment of ledger time keeps.
    pub(super) fn new(keep: Keep, account: AccountId, call: CallId, now: Time) -> Self {
        let Keep { once, answer, ttl } = keep;
        Self { id: once.id, request: once.request, account, call, until: now.plus(ttl), answer }
    }

    pub(super) fn size(&self) -> u64 {
        self.answer.as_ref().map_or(0, |answer| u64::try_from(answer.len()).unwrap_or(u64::MAX))
    }

    /// Writes it beside the journal row that captured its call.
    pub(super) fn insert(&self, connection: &Connection, seq: i64) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO kept (seq, id, request, account, call, until, size, answer)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                seq,
                self.id.bytes().as_slice(),
                self.request.bytes().as_slice(),
                self.account.as_str(),
                self.call.bytes().as_slice(),
                self.until.ms(),
                i64::try_from(self.size()).unwrap_or(i64::MAX),
                self.answer,
            ])?;
        Ok(())
    }
}

/// What was kept under an id, and the digest of the request that it answers.
pub(super) fn find(
    connection: &Connection,
    id: &Digest,
    now: Time,
) -> rusqlite::Result<Option<(Digest, Kept)>> {
    connection
        .prepare_cached(
            "SELECT request, call, answer FROM kept WHERE id = ?1 AND until > ?2
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![id.bytes().as_slice(), now.ms()], |row| {
            let strange = || rusqlite::Error::InvalidColumnName("kept".into());
            let request = Digest::from_slice(row.get_ref(0)?.as_blob()?).ok_or_else(strange)?;
            let call = row.get_ref(1)?.as_blob()?.try_into().map_err(|_| strange())?;
            Ok((request, Kept { call: CallId::from_random(call), answer: row.get(2)? }))
        })
        .optional()
}

/// What one commit deleted.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    rows: Vec<(AccountId, u64)>,
    /// There may be more of them.
    more: bool,
}

/// Deletes rows whose time has passed, as many as one commit may.
pub(super) fn delete_expired(connection: &Connection, now: Time) -> rusqlite::Result<Deleted> {
    let rows_max = bounds::KEPT_DELETED_PER_COMMIT;
    let mut statement = connection.prepare_cached(
        "SELECT seq, account, size FROM kept WHERE until <= ?1 ORDER BY until LIMIT ?2",
    )?;
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let expired = statement.query_map([now.ms(), limit], |row| {
        Ok((row.get(0)?, AccountId::new(row.get_ref(1)?.as_str()?), size_of(row.get(2)?)))
    })?;
    let expired: Vec<(i64, AccountId, u64)> = expired.collect::<Result<_, _>>()?;
    let mut deleted = Deleted { rows: Vec::new(), more: expired.len() == rows_max };
    let mut delete = connection.prepare_cached("DELETE FROM kept WHERE seq = ?1")?;
    let mut bytes = 0_u64;
    for (seq, account, size) in expired {
        if bytes >= bounds::KEPT_BYTES_DELETED_PER_COMMIT {
            deleted.more = true;
            break;
        }
        bytes = bytes.saturating_add(size);
        delete.execute([seq])?;
        deleted.rows.push((account, size));
    }
    Ok(deleted)
}

fn size_of(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

/// Answers and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Use {
    answers: u64,
    bytes: u64,
}

impl Use {
    fn add(&mut self, answers: u64, bytes: u64) {
        self.answers = self.answers.saturating_add(answers);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn take(&mut self, bytes: u64) {
        self.answers = self.answers.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Is a part of what there may be full?
    fn fills(&self, most: Self, divisor: u64) -> bool {
        self.answers >= most.answers / divisor || self.bytes >= most.bytes / divisor
    }
}

/// How much is kept, in all and for each account; and what of it waits for the disk.
#[derive(Debug)]
pub(super) struct KeptUse {
    most: Use,
    total: Use,
    by_account: HashMap<AccountId, Use>,
    waiting_bytes: u64,
    /// What had expired by then is to be deleted.
    pub(super) sweep: Option<Time>,
}

impl Default for KeptUse {
    fn default() -> Self {
        let most = Use { answers: bounds::KEPT_ANSWERS_MAX, bytes: bounds::KEPT_BYTES_MAX };
        Self {
            most,
            total: Use::default(),
            by_account: HashMap::new(),
            waiting_bytes: 0,
            sweep: None,
        }
    }
}

impl KeptUse {
    /// Counts what the file has.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut kept = Self::default();
        let mut statement =
            connection.prepare("SELECT account, count(*), sum(size) FROM kept GROUP BY account")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let account = AccountId::new(row.get_ref(0)?.as_str()?);
            kept.add(&account, size_of(row.get(1)?), size_of(row.get(2)?));
        }
        Ok(kept)
    }

    /// The database is in memory.
    pub(super) fn is_ephemeral(&mut self) {
        let (answers, bytes) =
            (bounds::EPHEMERAL_KEPT_ANSWERS_MAX, bounds::EPHEMERAL_KEPT_BYTES_MAX);
        self.most = Use { answers, bytes };
    }

    /// May an account have one more kept?
    pub(super) fn has_room(&self, account: &AccountId) -> Result<(), StoreError> {
        if self.waiting_bytes >= bounds::KEPT_WAITING_BYTES_MAX {
            return Err(StoreError::Busy);
        }
        let own = self.by_account.get(account).copied().unwrap_or_default();
        if self.total.fills(self.most, 1) || own.fills(self.most, bounds::KEPT_SHARE_DIVISOR) {
            return Err(StoreError::OnceFull);
        }
        Ok(())
    }

    /// A row is on its way to the disk.
    pub(super) fn queued(&mut self, row: &KeptRow) {
        self.waiting_bytes = self.waiting_bytes.saturating_add(row.size());
        self.add(&row.account, 1, row.size());
    }

    /// So many bytes of them have arrived.
    pub(super) fn written(&mut self, bytes: u64) {
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }

    /// From now on what has expired by then is deleted, a few with each commit.
    pub(super) fn sweep(&mut self, now: Time) {
        if self.total.answers > 0 {
            self.sweep = Some(now);
        }
    }

    /// Rows are gone.
    pub(super) fn deleted(&mut self, deleted: &Deleted, now: Time) {
        for (account, bytes) in &deleted.rows {
            self.total.take(*bytes);
            if let Some(own) = self.by_account.get_mut(account) {
                own.take(*bytes);
                if own.answers == 0 {
                    self.by_account.remove(account);
                }
            }
        }
        if deleted.more {
            self.sweep.get_or_insert(now);
        }
    }

    fn add(&mut self, account: &AccountId, answers: u64, bytes: u64) {
        self.total.add(answers, bytes);
        self.by_account.entry(account.clone()).or_default().add(answers, bytes);
    }
}

#[cfg(test)]
impl super::LocalStore {
    /// As if there were no room for one more answer.
    pub(crate) fn pretend_kept_full(&self, is_full: bool) {
        let mut state = self.shared.lock();
        let most = KeptUse::default().most;
        state.kept.most = if is_full { Use::default() } else { most };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::Once;
    use crate::store::local::schema;

    fn row(account: &str, bytes: usize, until_ms: i64) -> KeptRow {
        let digest = Digest::of(b"x");
        let once = Once { id: digest, request: digest, note: String::new() };
        let ttl = Duration::from_millis(u64::try_from(until_ms).unwrap());
        let keep = Keep { once, answer: Some(vec![0; bytes]), ttl };
        KeptRow::new(keep, AccountId::new(account), CallId::from_random([1; 16]), Time::ZERO)
    }

    fn refusal(kept: &KeptUse, account: &str) -> Option<String> {
        kept.has_room(&AccountId::new(account)).err().map(|error| format!("{error:?}"))
    }

    #[test]
    fn one_account_cannot_take_the_room_of_all() {
        let full = || Some("OnceFull".to_owned());
        let mut kept = KeptUse { most: Use { answers: 8, bytes: 400 }, ..KeptUse::default() };
        for _ in 0..2 {
            assert_eq!(refusal(&kept, "a"), None);
            kept.queued(&row("a", 1, 5));
        }
        assert_eq!((refusal(&kept, "a"), refusal(&kept, "b")), (full(), None));
        kept.queued(&row("b", 100, 5));
        assert_eq!((refusal(&kept, "b"), refusal(&kept, "c")), (full(), None));
        kept.queued(&row("c", 298, 5));
        assert_eq!(refusal(&kept, "d"), full(), "400 bytes in all");

        let gone = |account: &str, bytes| (AccountId::new(account), bytes);
        let rows = vec![gone("a", 1), gone("a", 1), gone("c", 298)];
        kept.deleted(&Deleted { rows, more: true }, Time::from_ms(5));
        assert_eq!((refusal(&kept, "a"), refusal(&kept, "b")), (None, full()));
        assert_eq!(kept.by_account.len(), 1);
        assert_eq!(kept.sweep, Some(Time::from_ms(5)), "there is more to delete");
    }

    #[test]
    fn answers_that_wait_for_the_disk_are_bounded() {
        let mut kept = KeptUse::default();
        let answer = row("a", 1 << 20, 5);
        for _ in 0..bounds::KEPT_WAITING_BYTES_MAX / answer.size() {
            assert_eq!(refusal(&kept, "b"), None);
            kept.queued(&answer);
        }
        assert_eq!(refusal(&kept, "b"), Some("Busy".to_owned()));
        kept.written(answer.size());
        assert_eq!(refusal(&kept, "b"), None);
    }

    #[test]
    fn a_commit_deletes_so_many_rows_and_bytes() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::create(&mut connection).unwrap();
        let rows = i64::try_from(bounds::KEPT_DELETED_PER_COMMIT).unwrap() + 10;
        let mut seq = 0;
        let mut insert = |bytes, until| {
            seq += 1;
            row("a", bytes, until).insert(&connection, seq).unwrap();
        };
        (0..rows).for_each(|_| insert(1, 10));
        (0..3).for_each(|_| insert(3 << 20, 20));
        insert(1, 31);
        let delete = |now| delete_expired(&connection, Time::from_ms(now)).unwrap();
        let count = |deleted: &Deleted| (deleted.rows.len(), deleted.more);
        assert_eq!(count(&delete(9)), (0, false));
        assert_eq!(count(&delete(10)), (bounds::KEPT_DELETED_PER_COMMIT, true));
        assert_eq!(count(&delete(10)), (10, false));
        assert_eq!(count(&delete(30)), (2, true), "6 MiB are enough");
        assert_eq!(count(&delete(30)), (1, false));
        let left = KeptUse::read(&connection).unwrap();
        assert_eq!(left.total, Use { answers: 1, bytes: 1 });
        assert_eq!(left.by_account.len(), 1);
    }
}
