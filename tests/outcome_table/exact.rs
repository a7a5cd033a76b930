//! Many calls at once against every kind of limit: exactly as many are served as the limit allows,
//! and calls that came to nothing leave room for others.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value, json};

use super::support::{Paygate, Setup};
use super::{PRICE, config_with, stop_and_verify};

const THREADS: usize = 8;
const CALLS_EACH: usize = 6;
/// How many calls each limit allows.
const ALLOWED: i64 = 10;

/// What the configuration and the key say, and the reason of the rest.
type Limit = (Value, Value, &'static str);

fn limits() -> [Limit; 7] {
    let rich = 1_000_000;
    let quota = |name: &str, limit: i64| json!({"credits": rich, "quota": {name: limit}});
    let unlimited = json!({"globalRateLimitPerMin": 0, "globalQuota": {}});
    let with_rates = |key_rate: i64, tool_rate: i64| {
        json!({
            "globalRateLimitPerMin": key_rate,
            "toolPricing": {"sleep": {"rateLimitPerMin": tool_rate}},
        })
    };
    let all = ALLOWED * PRICE;
    [
        (with_rates(ALLOWED, 0), json!({"credits": rich}), "rate_limited"),
        (with_rates(0, ALLOWED), json!({"credits": rich}), "tool_rate_limited"),
        (unlimited.clone(), json!({"credits": all + PRICE - 1}), "insufficient_credits"),
        (unlimited.clone(), quota("dailyCallLimit", ALLOWED), "daily_call_quota_exceeded"),
        (unlimited.clone(), quota("monthlyCallLimit", ALLOWED), "monthly_call_quota_exceeded"),
        (unlimited.clone(), quota("dailyCreditLimit", all), "daily_credit_quota_exceeded"),
        (unlimited, quota("monthlyCreditLimit", all + 1), "monthly_credit_quota_exceeded"),
    ]
}

/// How many calls from all threads ended in which way; empty is a result.
fn ends(paygate: &Paygate, key: &str, tool: &str) -> BTreeMap<String, i64> {
    let calls = || {
        let ends =
            (0..CALLS_EACH).map(|_| paygate.call(key, tool, &json!({"ms": 1})).error_reason());
        ends.collect::<Vec<_>>()
    };
    let ends: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(calls)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("answers")).collect()
    });
    let mut counts = BTreeMap::new();
    for end in ends {
        *counts.entry(end).or_default() += 1;
    }
    counts
}

#[test]
fn no_limit_admits_one_too_many_or_one_too_few() {
    let all = i64::try_from(THREADS * CALLS_EACH).unwrap();
    for (config, key, reason) in limits() {
        let paygate = Setup::new().config(config_with(&config)).start();
        let (key, _) = paygate.create_key(&key);
        let ends = ends(&paygate, &key, "sleep");
        let expected = [(String::new(), ALLOWED), (reason.to_owned(), all - ALLOWED)];
        assert_eq!(ends, BTreeMap::from(expected), "{reason}");
        let balance = paygate.balance(&key);
        assert_eq!(balance["totalCalls"], ALLOWED, "{reason}");
        assert_eq!(balance["totalSpent"], ALLOWED * PRICE, "{reason}");
        assert_eq!(
            paygate.setup().child_log().len(),
            usize::try_from(ALLOWED).unwrap(),
            "{reason}"
        );
        stop_and_verify(paygate);
    }
}

#[test]
fn what_is_given_back_can_be_used_again() {
    for (config, key, reason) in limits() {
        // Rates count admitted calls; everything else counts outcomes.
        if reason.ends_with("rate_limited") {
            continue;
        }
        let paygate = Setup::new().config(config_with(&config)).start();
        let (key, _) = paygate.create_key(&key);
        ends(&paygate, &key, "fail");
        assert_eq!(paygate.balance(&key)["totalCalls"], 0, "{reason}");
        assert_eq!(ends(&paygate, &key, "sleep").get(""), Some(&ALLOWED), "{reason}");
        stop_and_verify(paygate);
    }
}
