//! Calls as tasks in the form of 2025-11-25, in a session that has its own server.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Paygate, Request, Response, Setup, eventually};
use super::{Standing, config_with, stop_and_verify, used_key};

fn start() -> Paygate {
    start_with(&json!({}))
}

fn start_with(others: &Value) -> Paygate {
    Setup::new().env("SCRIPTED_TASKS", "1").config(config_with(others)).start()
}

/// A session of one key.
struct Session<'a> {
    paygate: &'a Paygate,
    key: &'a str,
    id: String,
    /// What `initialize` was answered with.
    hello: String,
}

impl<'a> Session<'a> {
    fn open(paygate: &'a Paygate, key: &'a str) -> Self {
        let mut session = Self { paygate, key, id: String::new(), hello: String::new() };
        let opened = session.rpc(
            "initialize",
            &json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        );
        session.id.push_str(opened.header("Mcp-Session-Id").expect("a session"));
        session.hello = opened.text();
        session
    }

    fn request(&self, body: &Value) -> Request {
        let request = Request::new("POST", "/mcp")
            .header("Accept", "application/json, text/event-stream")
            .header("X-API-Key", self.key)
            .json(body);
        if self.id.is_empty() { request } else { request.header("Mcp-Session-Id", &self.id) }
    }

    fn rpc(&self, method: &str, params: &Value) -> Response {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.paygate.send(&self.request(&body))
    }

    fn call(&self, arguments: &Value) -> Response {
        let params =
            json!({"name": "later", "arguments": arguments, "task": {"ttl": 60_000}, "x": 1});
        self.rpc("tools/call", &params)
    }

    /// Makes a task; its id.
    fn make(&self, arguments: &Value) -> Value {
        let made = self.call(arguments);
        let task = &made.json()["result"]["task"];
        assert_eq!(task["status"], "working", "{}", made.text());
        assert!(made.header("X-PayGate-Call-Id").is_some());
        task["taskId"].clone()
    }

    fn task(&self, method: &str, id: &Value) -> Response {
        self.rpc(method, &json!({"taskId": id}))
    }

    fn status(&self, id: &Value) -> String {
        let answer = self.task("tasks/get", id).json();
        answer["result"]["status"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn end(self) {
        let request = Request::new("DELETE", "/mcp")
            .header("X-API-Key", self.key)
            .header("Mcp-Session-Id", &self.id);
        assert_eq!(self.paygate.send(&request).status, 200);
    }

    fn standing(&self) -> Standing {
        Standing::of(self.paygate, self.key)
    }
}

#[test]
fn a_result_is_waited_for_and_paid_once() {
    let paygate = start();
    let key = used_key(&paygate);
    let session = Session::open(&paygate, &key);
    let announced = r#""tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#;
    assert!(session.hello.contains(announced), "{}", session.hello);
    let began = Instant::now();
    let id = session.make(&json!({"ms": 900, "nonce": "n"}));
    assert_eq!(id, "task-0", "the server's own id");
    assert_eq!(session.status(&id), "working");
    assert_eq!(session.standing(), Standing::after(2, 2), "its price is reserved");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(session.task("tasks/result", &id).tool_text(), "n"));
        }
    });
    assert!(began.elapsed() >= Duration::from_millis(900));
    assert_eq!(session.standing(), Standing::after(2, 2));
    assert_eq!(session.task("tasks/result", &id).tool_text(), "n");
    assert_eq!(session.standing(), Standing::after(2, 2));
    session.end();
    stop_and_verify(paygate);
}

#[test]
fn the_result_decides_wherever_the_end_is_seen() {
    let paygate = start();
    // (how it ends, calls that are charged)
    for (end, charged) in [("completed", 2), ("failed", 1), ("tool_error", 1), ("careless", 1)] {
        for seen_by in ["tasks/get", "tasks/result"] {
            let key = used_key(&paygate);
            let session = Session::open(&paygate, &key);
            let id = session.make(&json!({"end": end, "nonce": "n"}));
            session.task(seen_by, &id);
            assert_eq!(session.standing(), Standing::after(2, charged), "{end} {seen_by}");
            session.task("tasks/result", &id);
            // Its end does not change what it has come to.
            session.end();
            assert_eq!(Standing::of(&paygate, &key), Standing::after(2, charged), "{end}");
        }
        let key = used_key(&paygate);
        let session = Session::open(&paygate, &key);
        session.make(&json!({"end": end, "ms": 300, "tell": true, "nonce": "n"}));
        // What is only reserved is spent too, but not used yet.
        let used = || paygate.admin_get("/status").json()["usage"]["perTool"]["later"].clone();
        if charged == 2 {
            eventually("the notification has charged it", || used()["credits"] == 9);
        } else {
            let spent = || paygate.balance(&key)["totalSpent"].clone();
            eventually("the notification has released it", || spent() == 3);
        }
        assert_eq!(session.standing(), Standing::after(2, charged), "{end}");
    }
    stop_and_verify(paygate);
}

#[test]
fn without_refunds_what_has_failed_is_paid() {
    let paygate = start_with(&json!({"refundOnFailure": false}));
    let key = used_key(&paygate);
    let session = Session::open(&paygate, &key);
    let id = session.make(&json!({"end": "failed"}));
    assert_eq!(session.status(&id), "failed");
    let id = session.make(&json!({"ms": 600_000}));
    assert_eq!(session.task("tasks/cancel", &id).json()["result"]["status"], "cancelled");
    assert_eq!(session.standing(), Standing::after(3, 2), "what was cancelled is free");
    stop_and_verify(paygate);
}

#[test]
fn a_task_ends_with_its_session_and_with_its_server() {
    let paygate = start();
    let key = used_key(&paygate);
    let session = Session::open(&paygate, &key);
    session.make(&json!({"ms": 600_000}));
    assert_eq!(session.standing(), Standing::after(2, 2));
    session.end();
    eventually("it is released", || paygate.balance(&key)["totalSpent"] == 3);
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 1));
    let session = Session::open(&paygate, &key);
    session.make(&json!({"ms": 600_000}));
    session.rpc("tools/call", &json!({"name": "crash"}));
    eventually("it is released", || paygate.balance(&key)["totalSpent"] == 3);
    assert_eq!(session.standing(), Standing::after(4, 1));
    // And with Paygate.
    let session = Session::open(&paygate, &key);
    session.make(&json!({"ms": 600_000}));
    let setup = paygate.setup().clone();
    stop_and_verify(paygate);
    let paygate = setup.start();
    assert_eq!(Standing::of(&paygate, &key), Standing::after(5, 1));
    stop_and_verify(paygate);
}

#[test]
fn a_hold_keeps_its_deadline_over_a_crash() {
    let paygate = start();
    let key = used_key(&paygate);
    Session::open(&paygate, &key).make(&json!({"ms": 600_000, "ttl": 1}));
    let setup = paygate.setup().clone();
    paygate.kill9();
    let paygate = setup.start();
    eventually("it has run out", || Standing::of(&paygate, &key) == Standing::after(2, 1));
    stop_and_verify(paygate);
}

#[test]
fn a_result_asked_for_after_its_hold_is_paid_by_another() {
    let paygate = start();
    let key = used_key(&paygate);
    let session = Session::open(&paygate, &key);
    let id = session.make(&json!({"ttl": 1, "nonce": "n"}));
    eventually("the hold has run out", || session.standing() == Standing::after(2, 1));
    assert_eq!(session.status(&id), "completed");
    assert_eq!(session.standing(), Standing::after(2, 1), "a status is no result");
    for _ in 0..2 {
        assert_eq!(session.task("tasks/result", &id).tool_text(), "n");
        assert_eq!(session.standing(), Standing::after(3, 2));
    }
    let poor = paygate.create_key(&json!({"name": "poor", "credits": 3})).0;
    let session = Session::open(&paygate, &poor);
    let id = session.make(&json!({"ttl": 1, "nonce": "n"}));
    eventually("the hold has run out", || paygate.credits(&poor) == 3);
    paygate.call(&poor, "instant", &json!({}));
    let refused = session.task("tasks/result", &id);
    assert!(refused.json().get("result").is_none(), "{}", refused.text());
    assert_eq!(paygate.credits(&poor), 0);
    stop_and_verify(paygate);
}

#[test]
fn a_task_is_its_sessions_alone() {
    let paygate = start();
    let (key, other) = (used_key(&paygate), used_key(&paygate));
    let session = Session::open(&paygate, &key);
    let id = session.make(&json!({"nonce": "n"}));
    for stranger in [&key, &other] {
        let stranger = Session::open(&paygate, stranger);
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            let refused = stranger.task(method, &id);
            assert_eq!(refused.error_code(), -32602, "{method} {}", refused.text());
        }
    }
    assert_eq!(session.task("tasks/result", &json!("foreign")).error_code(), -32602);
    for careless in ["Tasks/result", "tasks/result ", "TASKS/RESULT"] {
        assert_eq!(session.task(careless, &id).status, 400, "{careless}");
    }
    let listed = session.rpc("tasks/list", &json!({}));
    let listed = &listed.json()["result"];
    assert_eq!(
        (listed["x"].as_i64(), listed["tasks"].as_array().map(Vec::len)),
        (Some(1), Some(1))
    );
    assert_eq!(listed["tasks"][0]["taskId"], id);
    session.task("tasks/result", &id);
    // Without a server of one's own there are no tasks.
    let sessionless =
        Session { paygate: &paygate, key: &key, id: String::new(), hello: String::new() };
    assert_eq!(sessionless.call(&json!({})).error_code(), -32602);
    for method in ["tasks/get", "tasks/result", "tasks/list"] {
        assert_eq!(sessionless.task(method, &id).error_code(), -32601, "{method}");
    }
    assert_eq!(Standing::of(&paygate, &key), Standing::after(2, 2));
    let shared = start_with(&json!({"isolation": "shared"}));
    let key = used_key(&shared);
    assert_eq!(Session::open(&shared, &key).call(&json!({})).error_code(), -32602);
    stop_and_verify(paygate);
}
