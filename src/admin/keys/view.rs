//! A key as operators see it. Numbers come from its account at one moment, open holds included:
//! the same numbers that admission tests.

use serde::ser::{Serialize, Serializer};

use crate::ledger::{Account, CounterName, names};
use crate::model::key::{IpAllowlist, Key, Quota, ToolList};
use crate::model::team::TeamId;
use crate::model::time::Time;
use crate::store::Store;
use std::collections::BTreeMap;

/// The moment of a report, with its calendar windows written once. Records are judged by the clock,
/// numbers by ledger time, as in admission.
pub(in crate::admin) struct Moment {
    now: Time,
    ledger: Time,
    day: String,
    month: String,
}

impl Moment {
    /// After the accounts were read: what they have seen lies before it.
    pub(in crate::admin) fn new(store: &dyn Store, now: Time) -> Self {
        let ledger = store.ledger_now(now);
        Self { now, ledger, day: ledger.day_text(), month: ledger.month_text() }
    }
}

/// One key, in the order of the documentation; members after `expired` are Paygate's own.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct KeyView<'a> {
    name: &'a str,
    credits: i64,
    total_spent: i64,
    total_calls: i64,
    created_at: Shown,
    last_used_at: Option<Shown>,
    active: bool,
    spending_limit: i64,
    allowed_tools: &'a ToolList,
    denied_tools: &'a ToolList,
    expires_at: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<&'a Quota>,
    tags: &'a BTreeMap<String, String>,
    ip_allowlist: Addresses<'a>,
    namespace: &'a str,
    quota_daily_calls: i64,
    quota_monthly_calls: i64,
    quota_daily_credits: i64,
    quota_monthly_credits: i64,
    quota_last_reset_day: &'a str,
    quota_last_reset_month: &'a str,
    key_prefix: String,
    expired: bool,
    id: &'a str,
    held: i64,
    suspended: bool,
    team_id: Option<&'a str>,
}

impl<'a> KeyView<'a> {
    pub(in crate::admin) fn of(key: &'a Key, account: &Account, moment: &'a Moment) -> Self {
        let value = |counter: &CounterName| account.value(counter, moment.ledger);
        Self {
            name: &key.name,
            credits: account.available(),
            total_spent: value(&names::SPENT),
            total_calls: value(&names::CALLS),
            created_at: Shown(key.created_at),
            last_used_at: account.last_call().map(Shown),
            active: key.active,
            spending_limit: key.spending_limit,
            allowed_tools: &key.allowed_tools,
            denied_tools: &key.denied_tools,
            expires_at: key.expires_at.map(Shown),
            quota: key.quota.as_ref(),
            tags: &key.tags,
            ip_allowlist: Addresses(&key.ip_allowlist),
            namespace: &key.namespace,
            quota_daily_calls: value(&names::CALLS_DAY),
            quota_monthly_calls: value(&names::CALLS_MONTH),
            quota_daily_credits: value(&names::CREDITS_DAY),
            quota_monthly_credits: value(&names::CREDITS_MONTH),
            quota_last_reset_day: &moment.day,
            quota_last_reset_month: &moment.month,
            key_prefix: key.ends.prefix(),
            expired: key.expired(moment.now),
            id: key.id.as_str(),
            held: account.held(),
            suspended: key.suspended,
            team_id: key.team.as_ref().map(TeamId::as_str),
        }
    }
}

/// A time as answers write it.
#[derive(Clone, Copy)]
pub(in crate::admin) struct Shown(pub(in crate::admin) Time);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An allowlist as it was written.
pub(in crate::admin) struct Addresses<'a>(pub(in crate::admin) &'a IpAllowlist);

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.texts())
    }
}
