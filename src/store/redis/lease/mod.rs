//! Selling through an outage, from leases: while Redis is there, an instance reserves credits, and room of
//! every counter, for the keys that call it; while Redis is away, their calls are judged by the same
//! demands against that, written down in the instance's own file, and reported afterwards. See
//! `docs/decisions/007-leases.md`.

mod file;
mod open;
mod operator;
mod out;
mod report;
mod tend;
mod terms;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::books::Books;
use super::calls::NotHeld;
use super::memory::OpenHold;
use crate::gate::Charge;
use crate::model::bounds::{
    REDIS_LEASE_CALLS, REDIS_LEASE_IDLE, REDIS_LEASE_LENGTH, REDIS_LEASE_RENEWAL,
    REDIS_LEASE_SHARE, REDIS_LEASES_MAX,
};
use crate::model::id_map::IdMap;
use crate::model::ids::{AccountId, CallId, KeyId};
use crate::model::time::Time;
use crate::store::{Durable, HoldRefused, Leased, Reading, Settlement, Show, StoreError};
use file::LeaseFile;
pub(super) use file::path_beside;
use open::Lease;
pub use operator::{LeaseOut, SettleAs};
pub(super) use out::LeasesOut;
use terms::Terms;

/// What is done while Redis cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnavailable {
    /// Paid calls are refused.
    #[default]
    Refuse,
    /// Paid calls are sold from leases.
    Lease(LeaseOptions),
}

/// How much is leased, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// How long an instance may sell after the last renewal.
    pub length: Duration,
    /// How often an unused lease is renewed.
    pub renewal: Duration,
    /// Calls that a lease is good for, where there is room.
    pub calls: i64,
    /// The part of what is left that a lease takes at most: one of so many.
    pub share: i64,
    /// A key that was not used for so long needs no lease.
    pub idle: Duration,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self {
            length: REDIS_LEASE_LENGTH,
            renewal: REDIS_LEASE_RENEWAL,
            calls: REDIS_LEASE_CALLS,
            share: REDIS_LEASE_SHARE,
            idle: REDIS_LEASE_IDLE,
        }
    }
}

/// The leases of one instance.
pub(super) struct Leases {
    /// `None` if this instance only reports what it sold before.
    options: Option<LeaseOptions>,
    file: LeaseFile,
    table: Mutex<Table>,
    /// Held by whoever looks after them.
    tending: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Table {
    /// Of keys that were used of late.
    terms: IdMap<KeyId, Terms>,
    /// What may be sold from.
    selling: IdMap<KeyId, Lease>,
    /// What is sold from no more, and not given back yet.
    ending: Vec<Lease>,
    /// Tenants in which Redis may know of leases that are not in memory.
    touched: HashSet<String>,
    /// When Redis was last asked for those.
    searched: Option<Instant>,
}

impl Table {
    fn with_call(&mut self, key: &KeyId, call: &CallId) -> Option<&mut Lease> {
        let selling = self.selling.get_mut(key).into_iter();
        selling.chain(&mut self.ending).find(|lease| lease.has(call))
    }

    fn count(&self) -> usize {
        self.selling.len().saturating_add(self.ending.len())
    }

    /// From now on nothing more is sold from a key's lease.
    fn stop_selling(&mut self, key: &KeyId) {
        if let Some(lease) = self.selling.remove(key) {
            self.ending.push(lease);
        }
    }
}

impl Leases {
    /// Opens this instance's file, if it sells from leases or ever did.
    pub(super) fn open(
        copy: Option<&Path>,
        what: OnUnavailable,
    ) -> Result<Option<Self>, StoreError> {
        let path = copy.map(path_beside);
        let (path, options) = match (path, what) {
            (Some(path), OnUnavailable::Lease(options)) => (path, Some(options)),
            (Some(path), OnUnavailable::Refuse) if path.exists() => (path, None),
            (_, OnUnavailable::Refuse) => return Ok(None),
            (None, OnUnavailable::Lease(_)) => {
                let why = "selling from leases needs a file that outlives this process: give the                            copy of the books a place of its own";
                return Err(StoreError::Unfit(why.to_owned()));
            }
        };
        let (table, tending) = (Mutex::default(), tokio::sync::Mutex::default());
        let file = LeaseFile::open(&path)?;
        if options.is_some() {
            let instance = &file.instance;
            tracing::info!(target: "store", %instance, "this instance takes leases of what it sells");
        }
        Ok(Some(Self { options, file, table, tending }))
    }

    /// Whatever is in it was checked before it was put there.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All tenants are looked at once for leases of before this start.
    pub(super) fn touch(&self, namespaces: &[String]) {
        self.table().touched.extend(namespaces.iter().cloned());
    }

    /// A call was held in Redis: a lease for its key may be good for something.
    fn learn(&self, charge: &Charge) {
        if self.options.is_none() {
            return;
        }
        let mut table = self.table();
        if let Some(terms) = table.terms.get_mut(&charge.key) {
            terms.learn(charge);
        } else if table.terms.len() < REDIS_LEASES_MAX {
            table.terms.insert(charge.key.clone(), Terms::of(charge));
        }
    }

    /// Credits that this instance may sell without Redis, and calls under way that pay from them.
    pub(super) fn exposure(&self) -> i64 {
        let table = self.table();
        let all = table.selling.values().chain(&table.ending);
        all.fold(0, |sum, lease| sum.saturating_add(lease.credits()))
    }
}

impl Leases {
    /// Is there a lease that has not ended?
    fn sells(&self, now: Time) -> bool {
        !self.file.is_broken() && self.table().selling.values().any(|lease| !lease.is_over(now))
    }
}

impl Books {
    /// Reserves what a charge asks for: in Redis, or of a lease if Redis was certainly not asked.
    pub(super) async fn hold_or_lease(
        &self,
        charge: &Charge,
        now: Time,
        deadline: Time,
    ) -> Result<(), HoldRefused> {
        let held = self.hold(charge, now, deadline).await;
        let Some(leases) = &self.leases else { return Ok(held?) };
        match held {
            Ok(()) => {
                leases.learn(charge);
                Ok(())
            }
            Err(NotHeld::NotDone(error)) if self.may_lease(charge) => {
                self.hold_on_lease(leases, charge, now, deadline, &error)
            }
            Err(NotHeld::NotDone(error)) => Err(error.into()),
            // What we have on lease may be just what is missing.
            Err(NotHeld::Said(HoldRefused::Refused(refusal))) => {
                if self.give_back_unused(leases, &charge.key, now).await {
                    return Ok(self.hold(charge, now, deadline).await?);
                }
                Err(HoldRefused::Refused(refusal))
            }
            Err(NotHeld::Said(other)) => Err(other),
        }
    }

    /// One that is only busy would say who may call no more; one that has lost something sells nothing
    /// until an operator has looked.
    fn may_lease(&self, charge: &Charge) -> bool {
        self.link.trouble().is_some() && !self.memory().lost.contains_key(charge.namespace.as_str())
    }

    fn hold_on_lease(
        &self,
        leases: &Leases,
        charge: &Charge,
        now: Time,
        deadline: Time,
        error: &StoreError,
    ) -> Result<(), HoldRefused> {
        let why = |why: &str| {
            let error = match error {
                StoreError::Unavailable(error) => error.clone(),
                other => other.to_string(),
            };
            HoldRefused::from(StoreError::Unavailable(format!("{error} {why}")))
        };
        if leases.options.is_none() || leases.file.is_broken() {
            return Err(why("and nothing can be sold from leases"));
        }
        let length = deadline.since_ms(now);
        let length = Duration::from_millis(u64::try_from(length).unwrap_or(0));
        let mut table = leases.table();
        let lease = table.selling.get_mut(&charge.key);
        let lease = lease.ok_or_else(|| why("and there is no lease for this key"))?;
        lease.hold(charge, now, length).map_err(why)?;
        if let Some(terms) = table.terms.get_mut(&charge.key) {
            terms.used = Instant::now();
        }
        drop(table);
        let (namespace, credits) = (charge.namespace.as_str().to_owned(), charge.total);
        let (accounts, turn) = (Vec::new(), "-".to_owned());
        self.memory().opened(charge.call, OpenHold { namespace, accounts, credits, turn });
        Ok(())
    }

    /// Ends a call that was sold from a lease; `None` if it was not.
    pub(super) fn settle_leased(
        &self,
        settlement: &Settlement,
        now: Time,
    ) -> Option<Result<(Reading, Durable), StoreError>> {
        let leases = self.leases.as_ref()?;
        let mut table = leases.table();
        let lease = table.with_call(&settlement.key, &settlement.call)?;
        let Some(sold) = lease.settle(settlement, now) else {
            return Some(Err(StoreError::NotOpen));
        };
        let reading = lease.reading(&settlement.show, now);
        // In the order of the calls' ends, so under the lock.
        let written = leases.file.write(sold);
        drop(table);
        self.memory().ended(&settlement.call, settlement.charged);
        Some(written.map(|durable| (reading, durable)))
    }

    /// What waits for a customer or for a task needs Redis: any instance may be asked for it.
    pub(super) fn is_in_redis(&self, key: &KeyId, call: &CallId) -> Result<(), StoreError> {
        let is_leased = |leases: &Leases| leases.table().with_call(key, call).is_some();
        if self.leases.as_ref().is_some_and(is_leased) {
            let why = "a call sold without Redis cannot wait for a round or for a task";
            return Err(StoreError::Unavailable(why.to_owned()));
        }
        Ok(())
    }

    /// What this instance may sell without Redis, and whether it does.
    pub(super) fn leased(&self) -> Option<Leased> {
        let leases = self.leases.as_ref()?;
        leases.options?;
        let credits = leases.exposure();
        let is_away = self.link.trouble().is_some() && self.memory().lost.is_empty();
        let is_selling = is_away && leases.sells(self.present());
        Some(Leased { credits, is_selling })
    }

    /// What a key with a lease is shown while Redis is away.
    pub(super) fn leased_reading(&self, key: &KeyId, show: &Show, now: Time) -> Option<Reading> {
        let table = self.leases.as_ref()?.table();
        table.selling.get(key).map(|lease| lease.reading(show, now))
    }
}

/// Names and accounts of a lease, for the scripts.
struct Named<'a> {
    namespace: &'a str,
    id: &'a str,
    accounts: &'a [AccountId],
}
