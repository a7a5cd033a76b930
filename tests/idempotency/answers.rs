//! What a repetition is told, what it costs, and for how long.

use serde_json::{Value, json};

use super::support::{Setup, eventually};
use super::{
    CREDITS, PRICE, RATE, after, call_id, config_with, instant, named_call, new_key, request, runs,
    standing, start, stop_and_verify,
};

#[test]
fn a_repetition_gets_the_same_answer_under_its_own_id() {
    let paygate = start();
    let key = new_key(&paygate);
    let arguments = json!({"nonce": "n", "unknown": [1.50, "é"]});
    let first = paygate.send(&named_call(&key, "order 17", &json!("a"), "instant", &arguments));
    assert_eq!((first.tool_text().as_str(), &first.json()["id"]), ("n", &json!("a")));
    for id in [json!("b"), json!(-7), json!("a")] {
        let again = paygate.send(&named_call(&key, "order 17", &id, "instant", &arguments));
        assert_eq!(again.text().replacen(&id.to_string(), "\"a\"", 1), first.text());
        assert_eq!(call_id(&again), call_id(&first));
        let left = (CREDITS - PRICE).to_string();
        assert_eq!(again.header("X-Credits-Remaining"), Some(left.as_str()));
    }
    assert_eq!(runs(paygate.setup(), "n"), 1);
    assert_eq!(standing(&paygate, &key), after(1, 1), "nothing is counted");
    stop_and_verify(paygate);
}

#[test]
fn what_costs_nothing_leaves_its_idempotency_key_free() {
    let paygate = start();
    let key = new_key(&paygate);
    let failing = |tool: &str| named_call(&key, "k", &json!(1), tool, &json!({"nonce": "f"}));
    for (count, tool) in (1..).zip(["fail", "error", "error", "crash"]) {
        let free = paygate.send(&failing(tool));
        assert_eq!(free.header("X-Credits-Remaining"), Some("100"), "{}", free.text());
        assert_eq!(runs(paygate.setup(), "f"), count, "{tool}");
    }
    assert_eq!(standing(&paygate, &key)[..2], after(0, 0)[..2]);
    stop_and_verify(paygate);
}

#[test]
fn a_refused_call_leaves_its_idempotency_key_free() {
    let paygate = start();
    let (key, _) = paygate.create_key(&json!({"credits": PRICE - 1}));
    for _ in 0..2 {
        let refused = paygate.send(&instant(&key, "k", "n"));
        assert_eq!(refused.error_reason(), "insufficient_credits");
    }
    let unknown = paygate.send(&named_call(&key, "k", &json!(1), "nothing", &json!({})));
    assert_eq!(unknown.error_code(), -32602);
    assert_eq!(paygate.admin_post("/topup", &json!({"key": key, "credits": 1})).status, 200);
    let paid = paygate.send(&instant(&key, "k", "n"));
    assert_eq!(paid.tool_text(), "n");
    assert_eq!(runs(paygate.setup(), "n"), 1);
    // Its answer is there although nothing is left.
    assert_eq!(paygate.send(&instant(&key, "k", "n")).text(), paid.text());
    assert_eq!(paygate.credits(&key), 0);
    stop_and_verify(paygate);
}

#[test]
fn a_repetition_is_judged_like_any_call() {
    let paygate = start();
    let key = new_key(&paygate);
    let first = paygate.send(&instant(&key, "k", "n"));
    let acl = |denied: &Value| {
        let body = json!({"key": key, "deniedTools": denied});
        assert_eq!(paygate.admin_post("/keys/acl", &body).status, 200);
    };
    acl(&json!(["instant"]));
    assert_eq!(paygate.send(&instant(&key, "k", "n")).error_reason(), "tool_denied");
    acl(&json!([]));
    let ips = |ips: &Value| {
        assert_eq!(paygate.admin_post("/keys/ip", &json!({"key": key, "ips": ips})).status, 200);
    };
    ips(&json!(["192.0.2.1"]));
    assert_eq!(paygate.send(&instant(&key, "k", "n")).error_reason(), "ip_not_allowed");
    ips(&json!([]));
    assert_eq!(paygate.send(&instant(&key, "k", "n")).text(), first.text());
    // The same key under a new credential has the same idempotency keys.
    let rotated = paygate.admin_post("/keys/rotate", &json!({"key": key})).json();
    let rotated = rotated["newKey"].as_str().or(rotated["key"].as_str()).expect("a raw key");
    assert_eq!(paygate.send(&instant(&key, "k", "n")).error_reason(), "invalid_api_key");
    assert_eq!(paygate.send(&instant(rotated, "k", "n")).text(), first.text());
    assert_eq!(standing(&paygate, rotated), after(1, 1));
    assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": rotated})).status, 200);
    assert_eq!(paygate.send(&instant(rotated, "k", "n")).error_reason(), "invalid_api_key");
    assert_eq!(runs(paygate.setup(), "n"), 1);
    stop_and_verify(paygate);
}

#[test]
fn a_repetition_uses_up_no_rate_and_needs_none() {
    let paygate = start();
    let key = new_key(&paygate);
    let first = paygate.send(&instant(&key, "k", "n"));
    for _ in 1..RATE {
        assert_eq!(paygate.call(&key, "instant", &json!({})).error_code(), 0);
    }
    assert_eq!(paygate.call(&key, "instant", &json!({})).error_reason(), "rate_limited");
    assert_eq!(paygate.send(&instant(&key, "k", "n")).text(), first.text());
    stop_and_verify(paygate);
}

#[test]
fn an_answer_too_long_to_be_kept_is_charged_once() {
    let paygate = start();
    let key = new_key(&paygate);
    let big = |bytes: usize, name: &str| {
        let arguments = json!({"bytes": bytes, "nonce": "big"});
        paygate.send(&named_call(&key, name, &json!(1), "big", &arguments))
    };
    let mib = 1 << 20;
    let short = big(mib - 1_000, "short");
    assert_eq!(big(mib - 1_000, "short").text(), short.text());
    let first = big(mib, "long");
    assert_eq!(first.tool_text().len(), mib);
    for _ in 0..2 {
        let again = big(mib, "long");
        assert_eq!((again.error_code(), again.error_reason()), (-32603, "answer_not_kept".into()));
        assert_eq!(call_id(&again), call_id(&first));
    }
    assert_eq!(runs(paygate.setup(), "big"), 2);
    assert_eq!(standing(&paygate, &key), after(2, 2));
    stop_and_verify(paygate);
}

#[test]
fn an_answer_is_kept_for_the_configured_time() {
    let config = config_with(&json!({"idempotencyTtlSeconds": 3, "globalRateLimitPerMin": 0}));
    let paygate = Setup::new().config(config).start();
    let key = new_key(&paygate);
    let first = paygate.send(&instant(&key, "k", "n"));
    assert_eq!(call_id(&paygate.send(&instant(&key, "k", "n"))), call_id(&first));
    eventually("it is a new call again", || {
        call_id(&paygate.send(&instant(&key, "k", "n"))) != call_id(&first)
    });
    assert_eq!(runs(paygate.setup(), "n"), 2);
    stop_and_verify(paygate);
}

#[test]
fn a_batch_is_repeated_whole() {
    let paygate = start();
    let key = new_key(&paygate);
    let batch = |calls: &Value| {
        let meta = json!({"dev.paygate/idempotencyKey": "k"});
        let params = json!({"calls": calls, "_meta": meta});
        paygate.send(&request(&key, &json!(1), "tools/call_batch", &params))
    };
    let call = |tool: &str, nonce: &str| json!({"name": tool, "arguments": {"nonce": nonce}});
    let calls = json!([call("instant", "a"), call("fail", "b"), call("instant", "c")]);
    let first = batch(&calls);
    assert_eq!(first.json()["result"]["totalCreditsCharged"], 2 * PRICE);
    assert_eq!(paygate.call(&key, "instant", &json!({})).error_code(), 0);
    let again = batch(&calls);
    let mut expected = first.json();
    expected["result"]["remainingCredits"] = json!(CREDITS - 3 * PRICE);
    assert_eq!(again.json(), expected, "the number that is left is the one that is left now");
    assert_eq!(call_id(&again), call_id(&first));
    for nonce in ["a", "b", "c"] {
        assert_eq!(runs(paygate.setup(), nonce), 1);
    }
    let others = json!([call("fail", "b"), call("instant", "a"), call("instant", "c")]);
    assert_eq!(batch(&others).error_reason(), "idempotency_key_reused");
    assert_eq!(standing(&paygate, &key), after(4, 3));
    stop_and_verify(paygate);
}

#[test]
fn shadow_mode_keeps_nothing() {
    let paygate = Setup::new().config(config_with(&json!({"shadowMode": true}))).start();
    let key = new_key(&paygate);
    for count in 1..=2 {
        assert_eq!(paygate.send(&instant(&key, "k", "n")).tool_text(), "n");
        assert_eq!(runs(paygate.setup(), "n"), count);
    }
    let nobody = instant("", "k", "m");
    for count in 1..=2 {
        assert_eq!(paygate.send(&nobody).tool_text(), "m");
        assert_eq!(runs(paygate.setup(), "m"), count, "nobody has no idempotency keys");
    }
    assert_eq!(paygate.credits(&key), CREDITS);
    stop_and_verify(paygate);
}

#[test]
fn the_server_is_not_told() {
    let paygate = start();
    let key = new_key(&paygate);
    let meta = json!({"k": 1, "dev.paygate/idempotencyKey": "x", "dev.paygate/other": 2});
    let params = json!({"name": "meta", "arguments": {}, "_meta": meta});
    let seen = paygate.rpc(&key, "tools/call", &params).tool_text();
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen["_meta"], json!({"k": 1}));
    stop_and_verify(paygate);
}
