//! design.md's outcome table, one test per cell, against the running binary: what a call costs
//! when it ends in each of the ways in which calls end, and what every counter says afterwards.
//!
//! Each key has made one paid call before, so that a counter that was set to zero is seen too. Each
//! test ends with `paygate ledger verify`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod cancelled;
mod changed;
mod exact;
mod interrupted;
mod lost;
mod races;
mod rounds;
mod session_tasks;
mod shadow;
mod single;
mod standing;
mod tasks;

use serde_json::{Value, json};

use standing::Standing;
use support::{Ended, Paygate, Setup};

/// Credits of every key.
const CREDITS: i64 = 100;
/// Price of every call.
const PRICE: i64 = 3;
/// Calls per minute of every key.
const RATE: i64 = 20;

fn config() -> Value {
    let quick = json!({"requestTimeoutMs": 300});
    json!({
        "defaultCreditsPerCall": PRICE,
        "globalRateLimitPerMin": RATE,
        "globalQuota": {
            "dailyCallLimit": 1000, "monthlyCallLimit": 1000,
            "dailyCreditLimit": 1000, "monthlyCreditLimit": 1000,
        },
        "toolPricing": {"hang": quick},
        "maxAnswerBytes": 4096,
    })
}

/// The configuration with other values in it.
fn config_with(others: &Value) -> Value {
    let mut config = config();
    for (name, value) in others.as_object().expect("an object") {
        config[name] = value.clone();
    }
    config
}

/// A key that has made one paid call.
fn used_key(paygate: &Paygate) -> String {
    let (key, _) = paygate.create_key(&json!({"name": "customer", "credits": CREDITS}));
    let first = paygate.call(&key, "instant", &json!({"nonce": "first"}));
    assert_eq!(first.tool_text(), "first");
    assert_eq!(Standing::of(paygate, &key), Standing::after(1, 1));
    key
}

/// Stops Paygate; its books must be right.
fn stop_and_verify(paygate: Paygate) {
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    verify(&setup);
}

fn verify(setup: &Setup) -> Ended {
    setup.verify().expect_success()
}

/// Whether the child has begun the call with this nonce.
fn has_run(setup: &Setup, nonce: &str) -> bool {
    setup.child_log().iter().any(|(_, logged)| logged == nonce)
}
