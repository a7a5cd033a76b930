//! Calls that the client cancels, or leaves.

use std::thread;

use serde_json::{Value, json};

use super::support::{Paygate, Request, Response, Setup, eventually, rpc_request};
use super::{Standing, config, has_run, stop_and_verify, used_key, verify};

/// Long enough to be cancelled, far shorter than the patience of a test.
const LONG_MS: u64 = 20_000;
/// Long enough for a few requests to be handled meanwhile.
const WHILE_MS: u64 = 1_000;

fn cancel_request(key: &str, id: &Value) -> Request {
    let body = json!({
        "jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": id, "reason": "a test"},
    });
    let request = Request::new("POST", "/mcp").json(&body);
    if key.is_empty() { request } else { request.header("X-API-Key", key) }
}

fn cancel(paygate: &Paygate, key: &str, id: &Value) {
    let response = paygate.send(&cancel_request(key, id));
    assert_eq!((response.status, response.text().as_str()), (202, ""));
}

fn sleep_request(key: &str, ms: u64, nonce: &str) -> Request {
    rpc_request(
        key,
        "tools/call",
        &json!({"name": "sleep", "arguments": {"ms": ms, "nonce": nonce}}),
    )
}

/// Sends `request`, waits until the child has begun it, does `meanwhile`; the answer.
fn during(paygate: &Paygate, request: &Request, nonce: &str, meanwhile: impl FnOnce()) -> Response {
    thread::scope(|scope| {
        let waiting = scope.spawn(|| paygate.send(request));
        eventually("the call has begun", || has_run(paygate.setup(), nonce));
        meanwhile();
        waiting.join().expect("an answer")
    })
}

fn cancellations(setup: &Setup) -> usize {
    setup.child_log().iter().filter(|(what, _)| what == "cancelled").count()
}

#[test]
fn cancelled_by_its_key_is_free_and_the_rate_keeps_it() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    let request = sleep_request(&key, LONG_MS, "n");
    let answer = during(&paygate, &request, "n", || cancel(&paygate, &key, &json!(1)));
    assert!(answer.json().get("result").is_none(), "{}", answer.text());
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 1));
    eventually("the child is told", || cancellations(paygate.setup()) == 1);
    stop_and_verify(paygate);
}

#[test]
fn a_call_that_had_its_answer_is_not_cancelled() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    cancel(&paygate, &key, &json!(1));
    assert_eq!(Standing::of(&paygate, &key), Standing::after(1, 1));
    assert_eq!(cancellations(paygate.setup()), 0);
    stop_and_verify(paygate);
}

#[test]
fn nobody_else_can_cancel() {
    let paygate = Setup::new().config(config()).start();
    let (key, other) = (used_key(&paygate), used_key(&paygate));
    let revoked = used_key(&paygate);
    assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": revoked})).status, 200);
    let request = sleep_request(&key, WHILE_MS, "n");
    let answer = during(&paygate, &request, "n", || {
        for stranger in ["", "pg_unknown", &other, &revoked] {
            cancel(&paygate, stranger, &json!(1));
        }
        // The same key, but no call of this id: another number, another type.
        for id in [json!(2), json!("1"), json!(null), json!({}), json!([1])] {
            cancel(&paygate, &key, &id);
        }
    });
    assert_eq!(answer.tool_text(), "n");
    assert_eq!(cancellations(paygate.setup()), 0);
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    assert_eq!(Standing::of(&paygate, &other), Standing::after(1, 1));
    stop_and_verify(paygate);
}

#[test]
fn an_ambiguous_id_cancels_nothing() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    let (first, second) = (sleep_request(&key, WHILE_MS, "a"), sleep_request(&key, WHILE_MS, "b"));
    let answers = thread::scope(|scope| {
        let waiting = [first, second].map(|request| {
            let paygate = &paygate;
            scope.spawn(move || paygate.send(&request))
        });
        let begun = |nonce| has_run(paygate.setup(), nonce);
        eventually("both have begun", || begun("a") && begun("b"));
        cancel(&paygate, &key, &json!(1));
        waiting.map(|waiting| waiting.join().expect("an answer"))
    });
    assert_eq!(answers.map(|answer| answer.tool_text()), ["a", "b"]);
    assert_eq!(cancellations(paygate.setup()), 0);
    assert_eq!(Standing::of(&paygate, &key), Standing::after(3, 3));
    stop_and_verify(paygate);
}

#[test]
fn a_cancelled_batch_is_free_as_a_whole() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    let calls = json!({"calls": [
        {"name": "instant", "arguments": {"nonce": "done"}},
        {"name": "sleep", "arguments": {"ms": LONG_MS, "nonce": "n"}},
    ]});
    let request = rpc_request(&key, "tools/call_batch", &calls);
    let answer = during(&paygate, &request, "n", || cancel(&paygate, &key, &json!(1)));
    assert!(answer.json().get("result").is_none(), "{}", answer.text());
    assert_eq!(Standing::of(&paygate, &key), Standing::after(3, 1));
    stop_and_verify(paygate);
}

/// Sends `request`, waits until the child has begun it, and goes away.
fn leave(paygate: &Paygate, request: &Request, nonce: &str) {
    let connection = request.open(&paygate.address).expect("it can be sent");
    eventually("the call has begun", || has_run(paygate.setup(), nonce));
    drop(connection);
}

#[test]
fn a_client_that_is_gone_has_not_cancelled_and_pays_for_the_result() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    leave(&paygate, &sleep_request(&key, WHILE_MS, "n"), "n");
    let setup = paygate.setup().clone();
    // An open hold looks like a charge; the drain waits for the outcome, the next start shows it.
    paygate.stop().expect_success();
    assert_eq!(cancellations(&setup), 0);
    verify(&setup);
    let paygate = setup.start();
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    stop_and_verify(paygate);
}

#[test]
fn a_client_that_is_gone_pays_nothing_for_a_timeout() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    let hang = json!({"name": "hang", "arguments": {"nonce": "n"}});
    leave(&paygate, &rpc_request(&key, "tools/call", &hang), "n");
    let released = Standing::after(2, 1);
    eventually("the hold is released", || Standing::of(&paygate, &key) == released);
    stop_and_verify(paygate);
}

#[test]
fn the_child_is_told_of_a_timeout() {
    let paygate = Setup::new().config(config()).start();
    let key = used_key(&paygate);
    let answer = paygate.call(&key, "hang", &json!({"nonce": "n"}));
    assert_eq!(answer.error_reason(), "timeout");
    eventually("the child is told", || cancellations(paygate.setup()) == 1);
    stop_and_verify(paygate);
}
