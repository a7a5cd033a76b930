//! Shadow mode: never charged, always recorded.

use serde_json::{Value, json};

use super::support::{Paygate, Setup};
use super::{CREDITS, PRICE, config_with, stop_and_verify};

fn start() -> Paygate {
    Setup::new().config(config_with(&json!({"shadowMode": true}))).start()
}

fn money(paygate: &Paygate, key: &str) -> [Value; 2] {
    let balance = paygate.balance(key);
    [balance["credits"].clone(), balance["totalSpent"].clone()]
}

/// What the operator is told of the calls.
fn recorded(paygate: &Paygate) -> Value {
    paygate.admin_get("/status").json()["usage"].clone()
}

#[test]
fn valid_calls_are_served_and_never_charged() {
    let paygate = start();
    let (key, _) = paygate.create_key(&json!({"credits": CREDITS}));
    for tool in ["instant", "fail", "error"] {
        let answer = paygate.call(&key, tool, &json!({"nonce": "n"}));
        assert_eq!(answer.status, 200, "{tool}");
        assert_ne!(answer.error_code(), -32402, "{}", answer.text());
        assert_eq!(money(&paygate, &key), [json!(CREDITS), json!(0)], "{tool}");
    }
    let usage = recorded(&paygate);
    assert_eq!([&usage["totalCalls"], &usage["totalCreditsSpent"]], [&json!(3), &json!(0)]);
    stop_and_verify(paygate);
}

#[test]
fn calls_that_would_be_refused_are_served_and_never_charged() {
    let paygate = start();
    let (poor, _) = paygate.create_key(&json!({"credits": PRICE - 1}));
    let (denied, _) = paygate.create_key(&json!({"credits": CREDITS, "deniedTools": ["instant"]}));
    for (key, nonce) in
        [("", "none"), ("pg_unknown", "unknown"), (&*poor, "poor"), (&*denied, "acl")]
    {
        let answer = paygate.call(key, "instant", &json!({"nonce": nonce}));
        assert_eq!(answer.tool_text(), nonce);
    }
    assert_eq!(money(&paygate, &poor), [json!(PRICE - 1), json!(0)]);
    assert_eq!(money(&paygate, &denied), [json!(CREDITS), json!(0)]);
    let usage = recorded(&paygate);
    // Calls without a usable key have no account to be recorded in.
    assert_eq!(usage["perTool"]["instant"], json!({"calls": 2, "credits": 0, "denied": 0}));
    stop_and_verify(paygate);
}

#[test]
fn failing_batches_mint_nothing() {
    let paygate = start();
    let (key, _) = paygate.create_key(&json!({"credits": 2}));
    let fail = json!({"name": "fail", "arguments": {}});
    let calls = json!({"calls": vec![fail; 10]});
    let answer = paygate.rpc(&key, "tools/call_batch", &calls).json();
    assert_eq!(answer["result"]["results"].as_array().map(Vec::len), Some(10), "{answer}");
    assert_eq!(answer["result"]["totalCreditsCharged"], 0);
    assert_eq!(money(&paygate, &key), [json!(2), json!(0)]);
    stop_and_verify(paygate);
}
