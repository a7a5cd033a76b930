//! Calls that are sent again under their idempotency key: run once, charged once, answered alike.
//! What ran is counted by the child itself. Each test ends with `paygate ledger verify`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails a test panics")]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod interrupted;
mod joined;
mod names;

use serde_json::{Value, json};

use support::{Paygate, Request, Response, Setup};

/// Credits of every key.
const CREDITS: i64 = 100;
/// Price of every call.
const PRICE: i64 = 3;
/// Calls per minute of every key.
const RATE: i64 = 20;

fn config() -> Value {
    json!({
        "defaultCreditsPerCall": PRICE,
        "globalRateLimitPerMin": RATE,
        "toolPricing": {"hang": {"requestTimeoutMs": 2_000}},
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

fn start() -> Paygate {
    Setup::new().config(config()).start()
}

fn new_key(paygate: &Paygate) -> String {
    paygate.create_key(&json!({"name": "customer", "credits": CREDITS})).0
}

/// A request under an id of its client's.
fn request(key: &str, id: &Value, method: &str, params: &Value) -> Request {
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let request = Request::new("POST", "/mcp").header("Accept", "application/json").json(&body);
    request.header("X-API-Key", key)
}

/// A call that names itself `name`; its arguments hold a nonce, which the child writes down.
fn named_call(key: &str, name: &str, id: &Value, tool: &str, arguments: &Value) -> Request {
    let meta = json!({"dev.paygate/idempotencyKey": name});
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    request(key, id, "tools/call", &params)
}

fn instant(key: &str, name: &str, nonce: &str) -> Request {
    named_call(key, name, &json!(1), "instant", &json!({"nonce": nonce}))
}

/// How often the child ran a call with this nonce.
fn runs(setup: &Setup, nonce: &str) -> usize {
    setup.child_log().iter().filter(|(_, logged)| logged == nonce).count()
}

fn call_id(response: &Response) -> String {
    let id = response.header("X-PayGate-Call-Id");
    id.unwrap_or_else(|| panic!("no call id with {}", response.text())).to_owned()
}

/// Credits, calls, and calls that the rate would still admit.
fn standing(paygate: &Paygate, key: &str) -> [i64; 3] {
    let balance = paygate.balance(key);
    let number = |name: &str| balance[name].as_i64().expect("a number");
    let ping = paygate.rpc(key, "ping", &json!({}));
    let rate = ping.header("X-RateLimit-Remaining").expect("a valid key sees its rate");
    [number("credits"), number("totalCalls"), rate.parse().expect("a number")]
}

/// After so many admitted calls, of which so many were charged.
fn after(admitted: i64, charged: i64) -> [i64; 3] {
    [CREDITS - charged * PRICE, charged, RATE - admitted]
}

/// Stops Paygate; its books must be right.
fn stop_and_verify(paygate: Paygate) {
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    setup.verify().expect_success();
}
