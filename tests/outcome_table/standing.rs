//! Every number that a call can change, as the key's owner sees it.

use serde_json::json;

use super::support::Paygate;
use super::{CREDITS, PRICE, RATE};

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    credits: i64,
    total_spent: i64,
    total_calls: i64,
    daily_calls: i64,
    monthly_calls: i64,
    daily_credits: i64,
    monthly_credits: i64,
    rate_remaining: i64,
}

impl Standing {
    pub(super) fn of(paygate: &Paygate, key: &str) -> Self {
        let balance = paygate.balance(key);
        let number = |path: &str| {
            let value = balance.pointer(path).and_then(serde_json::Value::as_i64);
            value.unwrap_or_else(|| panic!("no {path} in {balance}"))
        };
        let ping = paygate.rpc(key, "ping", &json!({}));
        let remaining = ping.header("X-RateLimit-Remaining").expect("a valid key sees its rate");
        Self {
            credits: number("/credits"),
            total_spent: number("/totalSpent"),
            total_calls: number("/totalCalls"),
            daily_calls: number("/quotaUsage/dailyCalls"),
            monthly_calls: number("/quotaUsage/monthlyCalls"),
            daily_credits: number("/quotaUsage/dailyCredits"),
            monthly_credits: number("/quotaUsage/monthlyCredits"),
            rate_remaining: remaining.parse().expect("a number"),
        }
    }

    /// After so many admitted calls, of which so many were charged.
    pub(super) fn after(admitted: i64, charged: i64) -> Self {
        let spent = charged * PRICE;
        Self {
            credits: CREDITS - spent,
            total_spent: spent,
            total_calls: charged,
            daily_calls: charged,
            monthly_calls: charged,
            daily_credits: spent,
            monthly_credits: spent,
            rate_remaining: RATE - admitted,
        }
    }
}
