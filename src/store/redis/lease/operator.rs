//! What is out on lease, for whoever runs Paygate, and settling the lease of an instance that will not come
//! back.

use redis::{Value, cmd};
use serde::Deserialize;
use serde_json::json;

use super::super::books::{Books, RedisStore};
use super::super::names::Names;
use super::super::records::credits::pairs;
use super::super::records::deeds::audit_text;
use super::Named;
use super::terms::accounts_of;
use crate::model::bounds::REDIS_JOURNAL_ROWS_MAX;
use crate::model::time::Time;
use crate::store::detail::DetailText;
use crate::store::{Deed, StoreError};

/// What one instance may sell to one key without Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOut {
    /// Its id.
    pub id: String,
    /// Whose tenant.
    pub namespace: String,
    /// Which instance.
    pub instance: String,
    /// Which key.
    pub key: String,
    /// Credits that it still has, as far as Redis knows.
    pub credits: i64,
    /// When its instance stops, and an operator may settle it.
    pub until: Time,
    /// An operator has settled it; its instance was not heard of since.
    pub is_settled: bool,
    /// It is over, but for room that lapses.
    is_closed: bool,
    /// Redis had lost it when its instance reported calls of it.
    pub(super) is_lost: bool,
    /// Which start of the instance.
    pub(super) run: String,
    pub(super) accounts: String,
}

/// A lease as Redis has it.
#[derive(Deserialize)]
struct Record {
    instance: String,
    run: String,
    payer: String,
    accounts: String,
    until: String,
    left: String,
    state: String,
}

/// What becomes of the credits of a lease whose instance will not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleAs {
    /// All of them were spent.
    Spent,
    /// None of them was.
    Returned,
}

impl LeaseOut {
    pub(super) fn read(namespace: &str, id: &str, text: &str) -> Option<Self> {
        let record: Record = serde_json::from_str(text).ok()?;
        let accounts = match record.accounts.as_str() {
            "" => record.payer.clone(),
            _ => record.accounts,
        };
        Some(Self {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            instance: record.instance,
            key: record.payer,
            credits: record.left.parse().unwrap_or(0),
            until: Time::from_ms(record.until.parse().unwrap_or(0)),
            is_settled: record.state == "settled",
            is_closed: record.state == "closed",
            is_lost: record.state == "lost",
            run: record.run,
            accounts,
        })
    }
}

impl LeaseOut {
    /// Does its instance have it yet?
    pub(super) const fn is_out(&self) -> bool {
        !self.is_settled && !self.is_closed && !self.is_lost
    }
}

impl Books {
    /// All leases of a tenant.
    pub(super) async fn leases_of(&self, namespace: &str) -> Result<Vec<LeaseOut>, StoreError> {
        let value: Value = self.link.ask(cmd("HGETALL").arg(Names::of(namespace).leases())).await?;
        let read = |(id, text): (String, String)| LeaseOut::read(namespace, &id, &text);
        let all = pairs(value).into_iter().filter_map(read);
        Ok(all.filter(|out| !out.is_closed).collect())
    }

    async fn settle_lease(
        &self,
        namespace: &str,
        id: &str,
        settle: SettleAs,
        deed: Deed,
        now: Time,
    ) -> Result<i64, StoreError> {
        let found = self.leases_of(namespace).await?.into_iter().find(|out| out.id == id);
        let accounts = accounts_of(&found.ok_or(StoreError::NotFound)?.accounts);
        let mut detail = String::new();
        let reason = deed.reason.as_deref().or(Some("a lease was settled as spent"));
        DetailText::of(&mut detail, |detail| detail.reason(reason));
        let how = match settle {
            SettleAs::Spent => "spent",
            SettleAs::Returned => "returned",
        };
        let mut plan = json!({
            "how": how, "most": REDIS_JOURNAL_ROWS_MAX.to_string(), "detail": detail,
        });
        if let Some(event) = &deed.audit {
            plan["audit"] = audit_text(event).into();
        }
        let named = Named { namespace, id, accounts: &accounts };
        let reply = self.lease_deed(&named, "settle", Some(&plan.to_string()), now).await?;
        match reply.status.as_str() {
            "done" => Ok(reply.number(0)),
            // By us, and the answer was lost.
            "settled" if reply.is_repeated => Ok(0),
            "early" | "settled" => Err(StoreError::Conflict),
            _ => Err(StoreError::NotFound),
        }
    }
}

impl RedisStore {
    /// Credits that this instance may sell without Redis.
    pub fn lease_exposure(&self) -> i64 {
        self.books.leases.as_ref().map_or(0, super::Leases::exposure)
    }

    /// All leases of all instances.
    pub async fn leases(&self) -> Result<Vec<LeaseOut>, StoreError> {
        let known = self.books.memory().known.clone();
        let mut all = Vec::new();
        for namespace in known {
            all.extend(self.books.leases_of(&namespace).await?);
        }
        Ok(all)
    }

    /// Does at once all that there is to do for leases of this instance: calls sold from them are
    /// reported, and what is not needed is given back. It is done every second anyway.
    pub async fn tend_leases(&self, now: Time) -> Result<(), StoreError> {
        self.books.tend_leases(now).await
    }

    /// Settles a lease that has ended and whose instance will not report any more; how many credits
    /// it had. If the instance comes back nevertheless, its calls are recorded and cost nothing more.
    /// A conflict if the lease has not ended, or was settled before.
    pub async fn settle_lease(
        &self,
        namespace: &str,
        id: &str,
        settle: SettleAs,
        deed: Deed,
        now: Time,
    ) -> Result<i64, StoreError> {
        self.books.settle_lease(namespace, id, settle, deed, now).await
    }
}
