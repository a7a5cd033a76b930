//! Calls of the modern era whose result comes later.

use std::thread;

use serde_json::{Value, json};

use super::support::{MODERN, Paygate, Request, Response, Setup, eventually, modern_body};
use super::{Standing, config_with, stop_and_verify, used_key};

fn start() -> Paygate {
    Setup::new()
        .env("SCRIPTED_ERA", "dual")
        .config(config_with(&json!({"maxAnswerBytes": 65_536})))
        .start()
}

/// Makes a task; its id as the client knows it.
fn make(paygate: &Paygate, key: &str, arguments: &Value) -> Value {
    let made = paygate.modern_call(key, "later", arguments);
    let result = made.json()["result"].clone();
    assert_eq!(result["resultType"], "task", "{}", made.text());
    assert!(made.header("X-PayGate-Call-Id").is_some());
    assert!(
        !made.text().contains("task-0"),
        "the server's own id is never shown as it is: {}",
        made.text()
    );
    result["taskId"].clone()
}

fn task(paygate: &Paygate, key: &str, method: &str, id: &Value) -> Response {
    paygate.modern(key, method, &json!({"taskId": id}))
}

fn status(paygate: &Paygate, key: &str, id: &Value) -> String {
    let answer = task(paygate, key, "tasks/get", id).json();
    assert_eq!(answer["result"]["taskId"], *id, "{answer}");
    answer["result"]["status"].as_str().expect("a status").to_owned()
}

#[test]
fn a_task_is_paid_when_its_result_is_seen_and_once() {
    let paygate = start();
    let key = used_key(&paygate);
    let id = make(&paygate, &key, &json!({"ms": 300, "nonce": "n"}));
    assert_eq!(status(&paygate, &key, &id), "working");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2), "its price is reserved");
    eventually("it is done", || status(&paygate, &key, &id) == "completed");
    assert_eq!(paygate.balance(&key)["totalSpent"], 6);
    let setup = paygate.setup().clone();
    // Many who ask at once, and once more after a restart.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(status(&paygate, &key, &id), "completed"));
        }
    });
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    assert_eq!(setup.verify().expect_success().status.code(), Some(0));
    stop_and_verify(paygate);
}

#[test]
fn what_has_failed_or_was_cancelled_is_free() {
    let paygate = start();
    for end in ["failed", "tool_error"] {
        let key = used_key(&paygate);
        let id = make(&paygate, &key, &json!({"end": end}));
        status(&paygate, &key, &id);
        assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 1), "{end}");
        status(&paygate, &key, &id);
        assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 1), "{end}");
    }
    let key = used_key(&paygate);
    let id = make(&paygate, &key, &json!({"ms": 600_000}));
    let answer = task(&paygate, &key, "tasks/cancel", &id);
    assert_eq!(answer.json()["result"], json!({"resultType": "complete"}));
    assert_eq!(
        Standing::of(&paygate, &key),
        Standing::after(2, 1),
        "without being asked for again"
    );
    stop_and_verify(paygate);
}

#[test]
fn what_is_wrong_with_a_request_does_not_end_its_task() {
    let paygate = start();
    let key = used_key(&paygate);
    let id = make(&paygate, &key, &json!({"ms": 600_000, "nonce": "n"}));
    for method in ["tasks/update", "tasks/cancel"] {
        let wrong = json!({"taskId": id, "inputResponses": "none"});
        let refused = paygate.modern(&key, method, &wrong);
        assert_eq!(refused.error_code(), -32602, "{}", refused.text());
        assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2), "{method}");
    }
    task(&paygate, &key, "tasks/update", &id);
    assert_eq!(status(&paygate, &key, &id), "completed");
    // One hold, not one that was released and another.
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    let gone = make(&paygate, &key, &json!({"ms": 600_000}));
    assert_eq!(Standing::of(&paygate, &key), Standing::after(3, 3));
    let setup = paygate.setup().clone();
    paygate.stop().expect_success();
    let paygate = setup.start();
    // The server has forgotten it, whatever it is asked to do with it.
    assert_eq!(task(&paygate, &key, "tasks/update", &gone).error_code(), -32602);
    assert_eq!(paygate.balance(&key)["totalSpent"], 6);
    assert_eq!(paygate.credits(&key), 94);
    stop_and_verify(paygate);
}

#[test]
fn a_task_is_its_customers_alone() {
    let paygate = start();
    let (key, other) = (used_key(&paygate), used_key(&paygate));
    let id = make(&paygate, &key, &json!({"nonce": "n"}));
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        for (stranger, id) in [(&other, &id), (&key, &json!("task-0")), (&key, &json!("task-1"))] {
            let refused = task(&paygate, stranger, method, id);
            assert_eq!((refused.status, refused.error_code()), (400, -32602), "{method}");
        }
    }
    // Who has not said that it can deal with tasks is told so.
    let mut body = modern_body("tasks/get", &json!({"taskId": id}));
    body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let request = Request::new("POST", "/mcp")
        .header("MCP-Protocol-Version", MODERN)
        .header("Mcp-Method", "tasks/get")
        .header("Mcp-Name", id.as_str().expect("text"))
        .header("X-API-Key", &key)
        .json(&body);
    let refused = paygate.send(&request);
    assert_eq!((refused.status, refused.error_code()), (400, -32021), "{}", refused.text());
    // And is not given any: a task for it is no answer.
    let mut body = modern_body("tools/call", &json!({"name": "later"}));
    body["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let request = Request::new("POST", "/mcp")
        .header("MCP-Protocol-Version", MODERN)
        .header("Mcp-Method", "tools/call")
        .header("Mcp-Name", "later")
        .header("X-API-Key", &key)
        .json(&body);
    assert_eq!(paygate.send(&request).error_reason(), "malformed_answer");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(3, 2));
    stop_and_verify(paygate);
}

#[test]
fn a_result_asked_for_after_its_hold_is_paid_by_another() {
    let paygate = start();
    let key = used_key(&paygate);
    let id = make(&paygate, &key, &json!({"ms": 100, "ttl": 1, "nonce": "n"}));
    eventually("the hold has run out", || Standing::of(&paygate, &key) == Standing::after(2, 1));
    assert_eq!(status(&paygate, &key, &id), "completed");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(3, 2));
    assert_eq!(status(&paygate, &key, &id), "completed");
    assert_eq!(Standing::of(&paygate, &key), Standing::after(3, 2));
    let poor = paygate.create_key(&json!({"name": "poor", "credits": 4})).0;
    let id = make(&paygate, &poor, &json!({"ttl": 1, "nonce": "n"}));
    eventually("the hold has run out", || paygate.credits(&poor) == 4);
    paygate.modern_call(&poor, "instant", &json!({}));
    let refused = task(&paygate, &poor, "tasks/get", &id);
    assert_eq!(refused.error_code(), -31402, "{}", refused.text());
    assert!(!refused.text().contains("result"), "{}", refused.text());
    assert_eq!(refused.json()["error"]["data"]["remainingCredits"], 1, "{}", refused.text());
    assert_eq!(paygate.credits(&poor), 1);
    stop_and_verify(paygate);
}

#[test]
fn without_refunds_what_has_failed_is_paid() {
    let config = config_with(&json!({"refundOnFailure": false, "maxAnswerBytes": 65_536}));
    let paygate = Setup::new().env("SCRIPTED_ERA", "dual").config(config).start();
    let key = used_key(&paygate);
    let id = make(&paygate, &key, &json!({"end": "failed"}));
    status(&paygate, &key, &id);
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    stop_and_verify(paygate);
}

/// A server that was started anew numbers its tasks from the beginning: the same id is another
/// customer's then.
#[test]
fn a_task_belongs_to_one_life_of_its_server() {
    let paygate = start();
    let (first, second, third) = (used_key(&paygate), used_key(&paygate), used_key(&paygate));
    let old = make(&paygate, &first, &json!({"ms": 600_000}));
    let crashed = paygate.modern_call(&third, "crash", &json!({}));
    assert_eq!(crashed.error_reason(), "upstream_exited");
    eventually("the server is back", || {
        paygate.modern_call(&third, "instant", &json!({})).json()["result"].is_object()
    });
    let new = make(&paygate, &second, &json!({"ms": 600_000, "nonce": "second's own"}));
    for method in ["tasks/cancel", "tasks/get", "tasks/update"] {
        let refused = task(&paygate, &first, method, &old);
        assert_eq!(refused.error_code(), -32602, "{method}: {}", refused.text());
    }
    assert_eq!(status(&paygate, &second, &new), "working", "nobody else has cancelled it");
    assert_eq!(Standing::of(&paygate, &first), Standing::after(2, 1), "its hold was released");
    assert_eq!(Standing::of(&paygate, &second), Standing::after(2, 2));
    stop_and_verify(paygate);
}

#[test]
fn a_hold_waits_for_its_task_over_a_restart() {
    let paygate = start();
    let key = used_key(&paygate);
    let id = make(&paygate, &key, &json!({"ms": 600_000}));
    let short = used_key(&paygate);
    make(&paygate, &short, &json!({"ms": 600_000, "ttl": 1}));
    let setup = paygate.setup().clone();
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2), "it has its deadline still");
    eventually("this one has run out", || Standing::of(&paygate, &short) == Standing::after(2, 1));
    // The server, which was started anew too, has forgotten it.
    let lost = task(&paygate, &key, "tasks/get", &id);
    assert_eq!(lost.error_code(), -32602, "{}", lost.text());
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 1));
    stop_and_verify(paygate);
}
