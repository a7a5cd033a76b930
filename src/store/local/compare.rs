//! Is what the accounts say what the journal says? All accounts are added up beside all journal rows,
//! a few at a time while calls go on, and still to the credit: each group of accounts is read under
//! the lock together with the journal row that it is true up to, and of later rows only those count
//! that are of groups read after them. What was added up is saved, so a start goes on from there, and an
//! ephemeral store adds up what it forgets. If it forgets rows while the groups are read, it has nothing to
//! say.

use std::time::Instant;

use rusqlite::Connection;

use super::queue::Write;
use super::records::from_json;
use super::schema::{meta, set_meta};
use super::state::LocalStore;
use crate::ledger::Account;
use crate::model::bounds::{
    COMPARE_PAUSE, COMPARE_ROWS_AT_ONCE, COMPARE_ROWS_SUMMED, COMPARE_TRIES_MAX, COMPARED_AT_ONCE,
    COMPARED_PER_LOCK,
};
use crate::model::ids::AccountId;
use crate::store::{Compared, StoreError};

/// Credits that the journal gave and took up to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summed {
    seq: i64,
    credits: i128,
}

/// What one comparison leaves to the next.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    summed: Option<Summed>,
    /// That there is nothing to compare any more.
    was_told: bool,
}

/// A journal row: whose, and what it does to the balance.
type Moved = (String, i64);

/// An account by its id, as it was saved.
type Saved = (AccountId, Option<String>);

/// Groups of accounts in the order of their ids: each up to an id, with the row that it is true up to.
#[derive(Default)]
struct Groups {
    ends: Vec<(AccountId, i64)>,
    credits: i128,
    /// No row after this one counts.
    last: i64,
}

impl Summed {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let credits = meta(connection, "summed_credits")?.into();
        Ok(Self { seq: meta(connection, "summed_seq")?, credits })
    }

    /// Saves the next start from adding up all of the journal.
    pub(super) fn write(self, connection: &Connection) -> rusqlite::Result<()> {
        let Ok(credits) = i64::try_from(self.credits) else { return Ok(()) };
        if self.seq <= Self::read(connection)?.seq {
            return Ok(());
        }
        set_meta(connection, "summed_seq", self.seq)?;
        set_meta(connection, "summed_credits", credits)
    }

    /// The same with the rows up to another one; none if one of them is missing.
    pub(super) fn with_rows_up_to(
        mut self,
        connection: &Connection,
        up_to: i64,
    ) -> rusqlite::Result<Option<Self>> {
        let sql = format!(
            "SELECT count(*), coalesce(sum({MOVED}), 0) FROM journal WHERE seq > ?1 AND seq <= ?2"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        while self.seq < up_to {
            let end = up_to.min(self.seq.saturating_add(COMPARE_ROWS_SUMMED));
            let (count, moved): (i64, i64) =
                statement.query_row((self.seq, end), |row| row.try_into())?;
            if count != end.saturating_sub(self.seq) {
                return Ok(None);
            }
            self = Self { seq: end, credits: self.credits.saturating_add(moved.into()) };
        }
        Ok(Some(self))
    }

    fn add(&mut self, rows: &[Moved]) {
        for (_, credits) in rows {
            self.credits = self.credits.saturating_add((*credits).into());
        }
        self.seq = self.seq.saturating_add(i64::try_from(rows.len()).unwrap_or(i64::MAX));
    }
}

impl Groups {
    /// Does the account know of this row?
    fn knows(&self, account: &str, seq: i64) -> bool {
        let place = self.ends.partition_point(|(end, _)| end.as_str() < account);
        self.ends.get(place).is_none_or(|(_, true_up_to)| seq <= *true_up_to)
    }
}

/// What a journal row does to its account's balance. A hold only moves credits within an account. An end
/// says what it took, a refund what it gave.
const MOVED: &str = "CASE WHEN kind = 'call' THEN -amount WHEN kind = 'hold' THEN 0
    WHEN kind IN ('grant', 'adjust', 'refund', 'import') THEN amount ELSE -amount END";

/// The rows that follow one, up to another.
fn rows(connection: &Connection, after: i64, up_to: i64) -> rusqlite::Result<Vec<Moved>> {
    let sql = format!(
        "SELECT seq, account, {MOVED}
         FROM journal WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((after, up_to, COMPARE_ROWS_AT_ONCE))?;
    let (mut found, mut last) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        if seq != last.saturating_add(1) {
            break;
        }
        last = seq;
        found.push((row.get(1)?, row.get(2)?));
    }
    Ok(found)
}

/// The next accounts of keys behind an id, deleted ones too. No others have credits.
fn accounts(connection: &Connection, after: &str) -> rusqlite::Result<Vec<Saved>> {
    let sql = "SELECT all_keys.id, accounts.state FROM
             (SELECT id FROM keys WHERE id > ?1
              UNION SELECT id FROM deleted_keys WHERE id > ?1 ORDER BY 1 LIMIT ?2) AS all_keys
         LEFT JOIN accounts ON accounts.id = all_keys.id ORDER BY 1";
    let limit = i64::try_from(COMPARED_AT_ONCE).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map((after, limit), |row| {
        Ok((AccountId::new(row.get_ref(0)?.as_str()?), row.get(1)?))
    })?;
    found.collect()
}

/// The first row behind another that is not there.
fn first_missing(connection: &Connection, after: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(max(seq), ?1) + 1 FROM
             (SELECT seq, row_number() OVER (ORDER BY seq) AS n FROM journal WHERE seq > ?1
              ORDER BY seq LIMIT ?2)
         WHERE seq = ?1 + n";
    connection.query_row(sql, (after, COMPARE_ROWS_AT_ONCE), |row| row.get(0))
}

fn missing(seq: i64) -> StoreError {
    StoreError::Read(format!("journal row {seq} is missing"))
}

fn balance(saved: &str) -> rusqlite::Result<i64> {
    from_json::<Account>(saved).map(|account| account.balance())
}

impl LocalStore {
    pub(super) async fn compare_all(&self) -> Result<(), StoreError> {
        let mut comparing = self.turns.comparing.lock().await;
        // First what lies before all groups.
        let begin = self.shared.lock().queue.seq();
        self.shared.flush()?.wait().await?;
        let mut summed = self.sum_up(&mut comparing, begin).await?;
        let Some(groups) = self.read_groups().await? else { return Ok(()) };
        self.shared.flush()?.wait().await?;
        let mut known = summed.credits;
        while summed.seq < groups.last {
            let Some(moved) = self.rows_after(summed.seq, groups.last).await? else {
                self.cannot_compare(&mut comparing);
                return Ok(());
            };
            for (seq, (account, credits)) in (summed.seq.saturating_add(1)..).zip(&moved) {
                if groups.knows(account, seq) {
                    known = known.saturating_add((*credits).into());
                }
            }
            summed.add(&moved);
            comparing.summed = Some(summed);
        }
        let drift = groups.credits.saturating_sub(known);
        let drift = i64::try_from(drift).unwrap_or(if drift < 0 { i64::MIN } else { i64::MAX });
        if drift != 0 {
            tracing::error!(
                target: "store", drift,
                "the accounts have credits that the journal does not explain; run `paygate ledger verify`"
            );
        }
        let mut state = self.shared.lock();
        state.compared = Some(Compared { drift, at: Instant::now() });
        if state.open_for_writing().is_ok() {
            state.queue.push(Write::Summed(summed));
        }
        Ok(())
    }

    /// Adds up the journal to a row, a piece at a time.
    async fn sum_up(&self, comparing: &mut Comparing, end: i64) -> Result<Summed, StoreError> {
        loop {
            let known = comparing.summed;
            let look = move |connection: &Connection| {
                // What was saved is behind what is known, but for an ephemeral store that has forgotten more.
                let saved = Summed::read(connection)?;
                let from = known.filter(|known| known.seq >= saved.seq).unwrap_or(saved);
                let up_to = end.min(from.seq.saturating_add(COMPARE_ROWS_AT_ONCE));
                let done = (from.seq >= end).then_some(from);
                let more = match done {
                    Some(done) => Some(done),
                    None => from.with_rows_up_to(connection, up_to)?,
                };
                let gap = if more.is_none() { first_missing(connection, from.seq)? } else { 0 };
                Ok(more.ok_or(gap))
            };
            let summed = self.reports.read(look).await?.map_err(missing)?;
            comparing.summed = Some(summed);
            if summed.seq >= end {
                return Ok(summed);
            }
            tokio::time::sleep(COMPARE_PAUSE).await;
        }
    }

    /// Rows with their accounts; none if they were forgotten.
    async fn rows_after(&self, after: i64, up_to: i64) -> Result<Option<Vec<Moved>>, StoreError> {
        let look = move |connection: &Connection| {
            let forgotten = Summed::read(connection)?.seq > after;
            Ok((rows(connection, after, up_to)?, forgotten))
        };
        let (moved, forgotten) = self.reports.read(look).await?;
        if moved.is_empty() {
            let next = after.saturating_add(1);
            return if forgotten { Ok(None) } else { Err(missing(next)) };
        }
        tokio::time::sleep(COMPARE_PAUSE).await;
        Ok(Some(moved))
    }

    /// There is no number to show, which is said once.
    fn cannot_compare(&self, comparing: &mut Comparing) {
        self.shared.lock().compared = None;
        if !std::mem::replace(&mut comparing.was_told, true) {
            tracing::warn!(
                target: "store", "books in memory forget rows sooner than all accounts are gone through, so these are not compared \
                 with the journal; give them a file with --db"
            );
        }
    }

    /// All accounts; none if so many keys are made meanwhile that it came to no end.
    async fn read_groups(&self) -> Result<Option<Groups>, StoreError> {
        let (mut groups, mut after) = (Groups::default(), String::new());
        for _ in 0..COMPARE_TRIES_MAX {
            let keys_made = self.shared.lock().keys_made;
            // All of those are in the file then.
            self.shared.flush()?.wait().await?;
            let from = after.clone();
            let saved = self.reports.read(move |connection| accounts(connection, &from)).await?;
            let is_last = saved.len() < COMPARED_AT_ONCE;
            let mut is_whole = true;
            for group in saved.chunks(COMPARED_PER_LOCK) {
                is_whole = self.read_group(group, keys_made, &mut groups)?;
                if !is_whole {
                    break;
                }
            }
            if let Some((end, _)) = groups.ends.last() {
                end.as_str().clone_into(&mut after);
            }
            if is_last && is_whole && self.shared.lock().keys_made == keys_made {
                return Ok(Some(groups));
            }
            tokio::time::sleep(COMPARE_PAUSE).await;
        }
        Ok(None)
    }

    /// Adds accounts up as they are now. False if a key was made since they were looked for: it may
    /// belong between them.
    fn read_group(
        &self,
        group: &[Saved],
        keys_made: u64,
        groups: &mut Groups,
    ) -> Result<bool, StoreError> {
        let Some((end, _)) = group.last() else { return Ok(true) };
        let (mut credits, mut only_saved) = (0_i128, Vec::new());
        {
            let state = self.shared.lock();
            state.open_for_reading()?;
            if state.keys_made != keys_made {
                return Ok(false);
            }
            for (id, saved) in group {
                match state.book.account(id) {
                    Some(account) => credits = credits.saturating_add(account.balance().into()),
                    None => only_saved.extend(saved.as_deref()),
                }
            }
            let seq = state.queue.seq();
            groups.ends.push((end.clone(), seq));
            groups.last = groups.last.max(seq);
        }
        for saved in only_saved {
            let saved = balance(saved).map_err(|error| StoreError::Read(error.to_string()))?;
            credits = credits.saturating_add(saved.into());
        }
        groups.credits = groups.credits.saturating_add(credits);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::{LocalOptions, SavePace};
    use super::*;
    use crate::gate::{self, CallFacts, Charge, Policy, Request};
    use crate::ledger::CreditKind;
    use crate::model::bounds::EPHEMERAL_JOURNAL_ROWS_MAX;
    use crate::model::ids::{CallId, KeyId};
    use crate::model::key::Key;
    use crate::model::secret::RawKey;
    use crate::model::time::Time;
    use crate::store::{Creation, Deed, ItemEnd, Show, Store, clock, settlement};

    async fn make(store: &LocalStore, number: u8, credits: i64) -> Arc<Key> {
        let raw = RawKey::from_random([number; 24]);
        let id = KeyId::from_random([number.reverse_bits(); 8]);
        let key = Key::new(id, &raw, "Ada", clock::now());
        let made = store.create_key(key, credits, Deed::default(), clock::now()).await.unwrap();
        let Creation::Made(key) = made else { panic!("{made:?}") };
        key
    }

    fn charge(key: &Key, call: u32) -> Charge {
        let request = Request {
            now: clock::now(),
            address: "10.0.0.1".parse().unwrap(),
            credential_shown: true,
            key: Some(key),
            namespace: None,
            team: None,
            calls: &[CallFacts { tool: "tool", arguments: None }],
            in_batch: false,
        };
        let policy = Policy { default_price: 3, ..Policy::default() };
        let mut id = [0; 16];
        id[..4].copy_from_slice(&call.to_be_bytes());
        gate::admit(&policy, &request, CallId::from_random(id)).unwrap()
    }

    async fn drift(store: &LocalStore) -> i64 {
        store.compare_books().await.unwrap();
        store.load().compared.unwrap().drift
    }

    /// One key's life: made, called, corrected, refunded, deleted.
    async fn live(store: Arc<LocalStore>, number: u8) {
        let key = make(&store, number, 100).await;
        for round in 0..8_u32 {
            let charge = charge(&key, (u32::from(number) << 8) | round);
            let deadline = clock::now().plus(Duration::from_mins(1));
            store.hold(&charge, clock::now(), deadline).await.unwrap();
            tokio::time::sleep(Duration::from_millis(u64::from(round % 3) * 20)).await;
            let end = ItemEnd { paid: round % 3 != 1, outcome: "result" };
            let ends = settlement(&charge, &[end], Show::BALANCE);
            store.settle(ends, clock::now()).await.unwrap().1.wait().await.unwrap();
            if round == 4 {
                let found = store.find_call(charge.call).await.unwrap().unwrap();
                let _ = store.refund(found, Deed::default(), clock::now()).await.unwrap();
            }
            let kind = CreditKind::Adjustment;
            store.credit(&key.id, -2, kind, Deed::default(), clock::now()).await.unwrap();
        }
        if number.is_multiple_of(5) {
            store.delete_key(&key.id, Deed::default(), clock::now()).await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn books_agree_while_they_are_used_and_after_a_start() {
        let folder = std::env::temp_dir().join(format!("paygate-compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = Some(folder.join("books.db"));
        let options = LocalOptions { path, ..LocalOptions::default() };
        let pace = SavePace { rows: 50, every: Duration::from_millis(20), accounts_per_commit: 4 };
        let open = || Arc::new(LocalStore::open_at_pace(&options, pace, clock::now()).unwrap());
        let store = open();
        let lives: Vec<_> =
            (0..200_u8).map(|number| tokio::spawn(live(Arc::clone(&store), number))).collect();
        let mut compared = 0;
        while !lives.iter().all(tokio::task::JoinHandle::is_finished) {
            assert_eq!(drift(&store).await, 0, "comparison {compared}");
            compared += 1;
        }
        for life in lives {
            life.await.unwrap();
        }
        assert!(compared > 2, "{compared}");
        let moved = store.load().moved;
        assert_eq!((moved.held, moved.captured, moved.released), (0, 200 * 15, 200 * 9));
        store.close().await.unwrap();
        drop(store);
        let store = open();
        assert_eq!(drift(&store).await, 0, "from the file alone");
        // An account that is in the file only, and one that memory knows.
        let wrong = |account: &AccountId| {
            let mut state = store.shared.lock();
            state.book.credit(Time::ZERO, account, 7, CreditKind::Grant).unwrap();
        };
        let key = store.key_by_id(&KeyId::from_random([1_u8.reverse_bits(); 8])).await;
        wrong(&key.unwrap().unwrap().id.account());
        assert_eq!(drift(&store).await, 7, "credits that no journal row knows");
        store.shared.lock().queue.journal(|text| {
            let account = AccountId::new("key_0000000000000000");
            let at = (Time::ZERO, CreditKind::Grant);
            super::super::rows::JournalRow::credit(text, at, account, 9, None)
        });
        assert_eq!(drift(&store).await, -2, "a journal row that no account knows");
        store.close().await.unwrap();
        drop(store);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_missing_row_is_told() {
        let store = LocalStore::open(&LocalOptions::default(), Time::ZERO).unwrap();
        make(&store, 1, 5).await;
        make(&store, 2, 5).await;
        let delete =
            |connection: &Connection| connection.execute("DELETE FROM journal WHERE seq = 1", []);
        // An ephemeral store has one connection only.
        assert_eq!(store.reports.read(delete).await.unwrap(), 1);
        let told = store.compare_books().await.unwrap_err().to_string();
        assert!(told.contains("journal row 1 is missing"), "{told}");
        assert!(store.load().compared.is_none());
    }

    #[tokio::test]
    async fn an_ephemeral_store_is_compared_with_what_it_has_forgotten() {
        let store = LocalStore::open(&LocalOptions::default(), Time::ZERO).unwrap();
        let key = make(&store, 1, 5).await;
        for round in 0..3 {
            for number in 0..EPHEMERAL_JOURNAL_ROWS_MAX / 2 {
                let amount = 1 - 2 * (number % 2);
                let (kind, deed) = (CreditKind::Adjustment, Deed::default());
                let _ = store.shared.credit(&key.id, amount, kind, deed, Time::ZERO).unwrap();
            }
            assert_eq!(drift(&store).await, 0, "round {round}");
        }
        let rows = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM journal", [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(store.reports.read(rows).await.unwrap(), EPHEMERAL_JOURNAL_ROWS_MAX);
        // Rows that are forgotten while accounts are gone through.
        let mut comparing = store.turns.comparing.lock().await;
        assert!(store.rows_after(1, 2).await.unwrap().is_none());
        store.cannot_compare(&mut comparing);
        assert!(store.load().compared.is_none());
    }
}
