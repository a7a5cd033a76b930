//! `GET /balance`: what a customer may know of the own key.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::admin::keys::subject::Fit;
use crate::admin::keys::view::{Addresses, Shown};
use crate::admin::wire::answer::{Answer, Problem};
use crate::admin::wire::fields::KeyRef;
use crate::admin::{Admin, Call};
use crate::ledger::{Account, CounterName, names};
use crate::model::key::{Key, Quota, ToolList};
use crate::model::secret::Digest;
use crate::model::time::Time;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Balance<'a> {
    name: &'a str,
    credits: i64,
    total_spent: i64,
    total_calls: i64,
    spending_limit: i64,
    remaining_budget: Option<i64>,
    last_used_at: Option<Shown>,
    allowed_tools: &'a ToolList,
    denied_tools: &'a ToolList,
    expires_at: Option<Shown>,
    tags: &'a BTreeMap<String, String>,
    ip_allowlist: Addresses<'a>,
    quota: Option<&'a Quota>,
    quota_usage: QuotaUsage,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QuotaUsage {
    daily_calls: i64,
    monthly_calls: i64,
    daily_credits: i64,
    monthly_credits: i64,
}

pub(in crate::admin) async fn show(admin: Arc<Admin>, call: Call) -> Result<Answer, Problem> {
    read(&admin, &call).await.map_err(Problem::for_the_public)
}

async fn read(admin: &Admin, call: &Call) -> Result<Answer, Problem> {
    let mut given = call.headers.get_all("x-api-key").iter();
    let credential = match (given.next(), given.next()) {
        // Always by digest: an id is no credential.
        (Some(one), None) if !one.is_empty() => KeyRef::Credential(Digest::of(one.as_bytes())),
        (_, None) => return Err(Problem::unauthorized("Missing X-API-Key header")),
        // Two keys are none: somebody on the way may have looked at the other one.
        (_, Some(_)) => KeyRef::Nothing,
    };
    let key = admin.find(call, &credential, Fit::Credential).await?;
    if !key.ip_allowlist.allows(call.address) {
        return Err(Problem::forbidden("This address is not on the key's IP allowlist"));
    }
    let account = admin.store.account(&key.id).await?;
    Answer::ok(&view(&key, &account, admin.store.ledger_now(call.now)))
}

fn view<'a>(key: &'a Key, account: &Account, now: Time) -> Balance<'a> {
    let value = |counter: &CounterName| account.value(counter, now);
    let total_spent = value(&names::SPENT);
    let is_limited = key.spending_limit > 0;
    Balance {
        name: &key.name,
        credits: account.available(),
        total_spent,
        total_calls: value(&names::CALLS),
        spending_limit: key.spending_limit,
        remaining_budget: is_limited.then(|| key.spending_limit.saturating_sub(total_spent).max(0)),
        last_used_at: account.last_call().map(Shown),
        allowed_tools: &key.allowed_tools,
        denied_tools: &key.denied_tools,
        expires_at: key.expires_at.map(Shown),
        tags: &key.tags,
        ip_allowlist: Addresses(&key.ip_allowlist),
        quota: key.quota.as_ref(),
        quota_usage: QuotaUsage {
            daily_calls: value(&names::CALLS_DAY),
            monthly_calls: value(&names::CALLS_MONTH),
            daily_credits: value(&names::CREDITS_DAY),
            monthly_credits: value(&names::CREDITS_MONTH),
        },
    }
}
