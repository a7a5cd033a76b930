//! What the keys of each tenant come to: how many there are and what they have. Counted once over the
//! file, a few keys at a time in the order of their ids, and kept true by every change from then on,
//! so that nobody who asks waits for a hundred thousand keys.
//!
//! While the file is gone through, a key up to the last id seen is counted and a later one is not yet.
//! A key that is made meanwhile is counted at once and skipped when its id comes up.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::read::{self, KeyAndAccount};
use super::state::{LocalStore, State};
use crate::ledger::{Account, Hold, Posting, Resolution, names};
use crate::model::bounds::TENANT_KEYS_AT_ONCE;
use crate::model::id_map::{IdMap, IdSet};
use crate::model::ids::{AccountId, KeyId};
use crate::model::key::Key;
use crate::model::name_map::NameMap;
use crate::model::namespace::TenantSum;
use crate::model::time::Time;
use crate::store::StoreError;

/// The sums, as far as they were counted.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    counted: Counted,
    sums: NameMap<String, Sum>,
    /// Place of the next tenant that gets its first key.
    next_place: i64,
}

#[derive(Debug, Default)]
enum Counted {
    /// Nobody has asked yet, or something happened that could not be followed.
    #[default]
    Nothing,
    /// Keys up to this id, and these.
    UpTo(String, IdSet<KeyId>),
    All,
}

#[derive(Debug, Default)]
struct Sum {
    /// Tenants are listed in the order of their first keys.
    place: i64,
    keys: usize,
    /// Neither revoked nor suspended, expired ones included.
    open: usize,
    /// How many of those expire, by when.
    expiring: BTreeMap<Time, usize>,
    available: i64,
    spent: i64,
}

impl Sum {
    fn add_key(&mut self, key: &Key) {
        self.keys = self.keys.saturating_add(1);
        if key.active && !key.suspended {
            self.open = self.open.saturating_add(1);
            if let Some(end) = key.expires_at {
                *self.expiring.entry(end).or_default() += 1;
            }
        }
    }

    fn remove_key(&mut self, key: &Key) {
        self.keys = self.keys.saturating_sub(1);
        if key.active && !key.suspended {
            self.open = self.open.saturating_sub(1);
            if let Some(end) = key.expires_at
                && let Some(count) = self.expiring.get_mut(&end)
            {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.expiring.remove(&end);
                }
            }
        }
    }

    fn add_money(&mut self, available: i64, spent: i64) {
        self.available = self.available.saturating_add(available);
        self.spent = self.spent.saturating_add(spent);
    }
}

/// The keys in memory.
type Keys = IdMap<KeyId, Arc<Key>>;

/// What a key has and has spent.
fn money(account: Option<&Account>) -> (i64, i64) {
    account
        .map_or((0, 0), |account| (account.available(), account.value(&names::SPENT, Time::ZERO)))
}

impl Tenants {
    /// The id to count on from; none if all are counted.
    fn begin(&mut self) -> Option<String> {
        match &self.counted {
            Counted::All => None,
            Counted::UpTo(last, _) => Some(last.clone()),
            Counted::Nothing => {
                self.sums.clear();
                self.next_place = i64::MAX / 2;
                self.counted = Counted::UpTo(String::new(), IdSet::default());
                Some(String::new())
            }
        }
    }

    fn has(&self, id: &KeyId) -> bool {
        match &self.counted {
            Counted::Nothing => false,
            Counted::UpTo(last, early) => id.as_str() <= last.as_str() || early.contains(id),
            Counted::All => true,
        }
    }

    fn of(&mut self, namespace: &str, place: Option<i64>) -> &mut Sum {
        if !self.sums.contains_key(namespace) {
            self.next_place = self.next_place.saturating_add(1);
            let sum = Sum { place: self.next_place, ..Sum::default() };
            self.sums.insert(namespace.to_owned(), sum);
        }
        let sum = self.sums.entry(namespace.to_owned()).or_default();
        sum.place = place.map_or(sum.place, |place| place.min(sum.place));
        sum
    }

    /// A key was made.
    pub(super) fn made(&mut self, key: &Key, account: Option<&Account>) {
        match &mut self.counted {
            Counted::Nothing => return,
            Counted::UpTo(last, early) => {
                if key.id.as_str() > last.as_str() {
                    early.insert(key.id.clone());
                }
            }
            Counted::All => {}
        }
        let (available, spent) = money(account);
        let sum = self.of(&key.namespace, None);
        sum.add_key(key);
        sum.add_money(available, spent);
    }

    /// A key's record was changed; its tenant never is.
    pub(super) fn changed(&mut self, before: &Key, after: &Key) {
        if self.has(&after.id) {
            let sum = self.of(&after.namespace, None);
            sum.remove_key(before);
            sum.add_key(after);
        }
    }

    /// A key is deleted, with what it has.
    pub(super) fn deleted(&mut self, key: &Key, account: Option<&Account>) {
        if !self.has(&key.id) {
            return;
        }
        let (available, spent) = money(account);
        let sum = self.of(&key.namespace, None);
        sum.remove_key(key);
        sum.add_money(available.saturating_neg(), spent.saturating_neg());
        if sum.keys == 0 {
            self.sums.remove(&key.namespace);
        }
    }

    /// A hold was opened.
    pub(super) fn hold(&mut self, keys: &Keys, hold: &Hold) {
        self.posted(keys, hold.postings.iter().map(|posting| (posting, posting.amount)));
    }

    /// Amounts were added to counters.
    fn posted<'a>(&mut self, keys: &Keys, postings: impl Iterator<Item = (&'a Posting, i64)>) {
        if matches!(self.counted, Counted::Nothing) {
            return;
        }
        let mut run: Option<(&AccountId, i64, i64)> = None;
        for (posting, amount) in postings {
            let (available, spent) = match &posting.counter {
                counter if *counter == names::BALANCE => (amount, 0),
                counter if *counter == names::SPENT => (0, amount),
                _ => continue,
            };
            match &mut run {
                Some((account, sum, spends)) if **account == posting.account => {
                    *sum = sum.saturating_add(available);
                    *spends = spends.saturating_add(spent);
                }
                other => {
                    if let Some((account, available, spent)) = other.take() {
                        self.add(keys, account, available, spent);
                    }
                    run = Some((&posting.account, available, spent));
                }
            }
        }
        if let Some((account, available, spent)) = run {
            self.add(keys, account, available, spent);
        }
    }

    fn add(&mut self, keys: &Keys, account: &AccountId, available: i64, spent: i64) {
        // A team's account is none of a key's.
        let Some(id) = KeyId::parse(account.as_str()) else { return };
        match keys.get(&id) {
            Some(key) if self.has(&id) => {
                if let Some(sum) = self.sums.get_mut(key.namespace.as_str()) {
                    sum.add_money(available, spent);
                }
            }
            Some(_) => {}
            // It is not in memory, or deleted: whose it is cannot be said here. The next one who asks
            // waits until all are counted anew.
            None => self.counted = Counted::Nothing,
        }
    }

    fn view(&self, now: Time) -> Vec<TenantSum> {
        let mut all: Vec<_> = self.sums.iter().collect();
        all.sort_by_key(|(_, sum)| sum.place);
        let view = |(namespace, sum): (&String, &Sum)| TenantSum {
            namespace: namespace.clone(),
            keys: sum.keys,
            usable: sum
                .open
                .saturating_sub(sum.expiring.range(..=now).map(|(_, count)| count).sum()),
            available: sum.available,
            spent: sum.spent,
        };
        all.into_iter().map(view).collect()
    }
}

impl State {
    pub(super) fn sum_end(&mut self, hold: &Hold, resolution: &Resolution) {
        let given_back = |(posting, kept): (_, &i64)| {
            let posting: &Posting = posting;
            (posting, kept.saturating_sub(posting.amount))
        };
        let postings = hold.postings.iter().zip(&resolution.kept).map(given_back);
        self.tenants.posted(&self.keys, postings.filter(|(_, amount)| *amount != 0));
    }

    pub(super) fn sum_postings(&mut self, postings: &[Posting]) {
        let postings = postings.iter().map(|posting| (posting, posting.amount));
        self.tenants.posted(&self.keys, postings);
    }

    pub(super) fn sum_credit(&mut self, account: &AccountId, amount: i64) {
        if !matches!(self.tenants.counted, Counted::Nothing) {
            self.tenants.add(&self.keys, account, amount, 0);
        }
    }

    /// Counts keys as the file has them, or as memory knows better.
    fn count(&mut self, rows: &[(KeyAndAccount, i64)]) {
        for ((key, account), place) in rows {
            if self.tenants.has(&key.id) {
                continue;
            }
            let known = self.key(&key.id).map(Arc::clone);
            let key = known.as_deref().unwrap_or(key);
            let (available, spent) =
                money(self.book.account(&key.id.account()).or(account.as_ref()));
            let sum = self.tenants.of(&key.namespace, Some(*place));
            sum.add_key(key);
            sum.add_money(available, spent);
        }
        let Counted::UpTo(last, _) = &mut self.tenants.counted else { return };
        match rows.last() {
            Some(((key, _), _)) if rows.len() >= TENANT_KEYS_AT_ONCE => {
                key.id.as_str().clone_into(last);
            }
            Some(_) | None => self.tenants.counted = Counted::All,
        }
    }
}

impl LocalStore {
    /// The sums of all tenants that have keys, in the order of their first ones.
    pub(super) async fn tenant_sums(&self, now: Time) -> Result<Vec<TenantSum>, StoreError> {
        let _alone = self.counting.lock().await;
        loop {
            let last = {
                let mut state = self.shared.lock();
                state.open_for_reading()?;
                let Some(last) = state.tenants.begin() else {
                    return Ok(state.tenants.view(now));
                };
                last
            };
            if last.is_empty() {
                // What was made before the count began has to be in the file.
                self.shared.flush()?.wait().await?;
            }
            // No key is deleted between the look into the file and the count.
            let _loading = self.loads.read().await;
            let look = move |connection: &Connection| {
                read::keys_by_id(connection, &last, TENANT_KEYS_AT_ONCE)
            };
            let rows = self.reports.read(look).await?;
            self.shared.lock().count(&rows);
        }
    }
}
