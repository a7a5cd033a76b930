//! Bodies of requests, of those members that the command line gives: what is absent keeps its value,
//! or gets Paygate's own default.

use serde_json::Value;

use crate::config::QuotaFlags;

/// A member, if it is given.
pub(super) type Given = (&'static str, Option<Value>);

pub(super) fn given(name: &'static str, value: Option<impl Into<Value>>) -> Given {
    (name, value.map(Into::into))
}

/// A list; an empty one is not given.
pub(super) fn list(name: &'static str, items: &[String]) -> Given {
    (name, (!items.is_empty()).then(|| items.into()))
}

pub(super) fn quota(quota: &QuotaFlags) -> Given {
    let members = [
        given("dailyCallLimit", quota.daily_calls),
        given("monthlyCallLimit", quota.monthly_calls),
        given("dailyCreditLimit", quota.daily_credits),
        given("monthlyCreditLimit", quota.monthly_credits),
    ];
    let quota = object(members);
    ("quota", Some(quota).filter(|quota| quota.as_object().is_some_and(|it| !it.is_empty())))
}

/// The object of those that are given.
pub(super) fn object(members: impl IntoIterator<Item = Given>) -> Value {
    let members = members.into_iter();
    Value::Object(members.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}
