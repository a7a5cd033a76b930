//! Credits: topping up, the customer's own view, and requests that are sent twice.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Paygate, Request, Response, Setup};

fn start() -> Paygate {
    Setup::new().ephemeral().without_child_log().start()
}

fn once(paygate: &Paygate, path: &str, idempotency_key: &str, body: &Value) -> Response {
    let request = Request::new("POST", path).header("X-Admin-Key", ADMIN_KEY);
    paygate.send(&request.header("Idempotency-Key", idempotency_key).json(body))
}

#[test]
fn topping_up() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({"credits": 10}));
    for (key, credits, added, balance) in
        [(&raw, json!(5), 5, 15), (&id, json!("7"), 7, 22), (&id, json!(1.0), 1, 23)]
    {
        let done = paygate.admin_post("/topup", &json!({"key": key, "credits": credits}));
        let expected = format!("{{\"credits\":{balance},\"message\":\"Added {added} credits\"}}");
        assert_eq!((done.status, done.text()), (200, expected));
        assert_eq!(paygate.credits(&raw), balance);
    }
}

#[test]
fn wrong_amounts_change_nothing() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({"credits": 10}));
    let missing = "Missing key or credits";
    let positive = "Credits must be a positive integer";
    for (credits, error) in [
        ("null", missing),
        ("0", missing),
        ("\"\"", missing),
        ("false", missing),
        ("-5", positive),
        ("0.5", positive),
        ("1.5", positive),
        ("\"0\"", positive),
        ("\"five\"", positive),
        ("true", positive),
        ("[5]", positive),
        ("{}", positive),
        ("9007199254740992", "at most 9007199254740991"),
        ("1e400", "at most 9007199254740991"),
        // The amount is fine, the balance would not be.
        ("9007199254740991", "beyond"),
        ("1,\"credits\":2", "more than once"),
    ] {
        let body = format!("{{\"key\":\"{id}\",\"credits\":{credits}}}");
        let request = Request::new("POST", "/topup").header("X-Admin-Key", ADMIN_KEY).body(body);
        let refused = paygate.send(&request);
        assert_eq!(refused.status, 400, "{credits}: {}", refused.text());
        assert!(refused.text().contains(error), "{credits}: {}", refused.text());
    }
    assert_eq!(paygate.credits(&raw), 10);
    let expired = json!({"key": raw, "expiresAt": "2001-01-01T00:00:00Z"});
    assert_eq!(paygate.admin_post("/keys/expiry", &expired).status, 200);
    let refused = paygate.admin_post("/topup", &json!({"key": raw, "credits": 5}));
    assert_eq!(refused.status, 404);
}

#[test]
fn a_top_up_sent_twice_is_booked_once() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({"credits": 10}));
    let body = json!({"key": id, "credits": 5});
    let first = once(&paygate, "/topup", "payment 1", &body);
    assert_eq!(first.status, 200, "{}", first.text());
    // A later one, so that the balance of then is not the balance of now.
    assert_eq!(once(&paygate, "/topup", "payment 2", &body).json()["credits"], 20);
    let second = once(&paygate, "/topup", "payment 1", &body);
    assert_eq!((second.status, second.text()), (200, first.text()));
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    assert_eq!(paygate.credits(&raw), 20);
    let other = once(&paygate, "/topup", "payment 1", &json!({"key": id, "credits": 6}));
    assert_eq!(other.status, 422, "{}", other.text());
    assert!(other.text().contains("Idempotency-Key"), "{}", other.text());
    assert_eq!(paygate.credits(&raw), 20);
}

#[test]
fn a_repeated_top_up_gets_its_answer_whatever_became_of_the_key() {
    let paygate = start();
    for (path, change) in [
        ("/keys/rotate", json!({})),
        ("/keys/revoke", json!({})),
        ("/keys/expiry", json!({"expiresAt": "2001-01-01T00:00:00Z"})),
    ] {
        let (raw, id) = paygate.create_key(&json!({"credits": 10}));
        let body = json!({"key": raw, "credits": 5});
        let first = once(&paygate, "/topup", path, &body);
        let mut change = change;
        change["key"] = json!(id);
        assert_eq!(paygate.admin_post(path, &change).status, 200, "{path}");
        let again = once(&paygate, "/topup", path, &body);
        assert_eq!((again.status, again.text()), (200, first.text()), "{path}");
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{path}");
        assert_eq!(once(&paygate, "/topup", "new", &body).status, 404, "{path}");
    }
}

#[test]
fn a_key_asked_for_twice_is_made_once_and_shown_once() {
    let paygate = start();
    let body = json!({"name": "Ada", "credits": 7});
    let first = once(&paygate, "/keys", "order-1", &body);
    assert_eq!(first.status, 201, "{}", first.text());
    assert_eq!(first.header("idempotency-replayed"), None);
    let raw = first.json()["key"].as_str().unwrap().to_owned();
    let again = once(&paygate, "/keys", "order-1", &body);
    assert_eq!(again.status, 201, "{}", again.text());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let (mut first, mut again) = (first.json(), again.json());
    assert_eq!(again["key"], Value::Null);
    assert!(again["message"].as_str().unwrap().contains("rotate"), "{again}");
    for answer in [&mut first, &mut again] {
        answer["key"].take();
        answer["message"].take();
    }
    assert_eq!(again, first);
    assert_eq!(paygate.admin_get("/keys").json().as_array().unwrap().len(), 1);
    assert_eq!(paygate.credits(&raw), 7);
    assert_eq!(once(&paygate, "/keys", "order-1", &json!({"credits": 8})).status, 422);
    // The same words at another endpoint are another request.
    let id = first["id"].as_str().unwrap();
    let elsewhere = once(&paygate, "/topup", "order-1", &json!({"key": id, "credits": 1}));
    assert_eq!(elsewhere.json()["credits"], 8, "{}", elsewhere.text());
}

#[test]
fn wrong_idempotency_keys() {
    let paygate = start();
    let long = "x".repeat(256);
    for wrong in ["", &long, "ü", "tab\tbed"] {
        let refused = once(&paygate, "/keys", wrong, &json!({}));
        assert_eq!(refused.status, 400, "{wrong:?}: {}", refused.text());
        assert!(refused.text().contains("Idempotency-Key"), "{}", refused.text());
    }
    assert_eq!(paygate.admin_get("/keys").json(), json!([]));
    // A refused request does not use its key up.
    assert_eq!(once(&paygate, "/keys", "again", &json!({"credits": -1})).status, 400);
    assert_eq!(once(&paygate, "/keys", "again", &json!({"credits": 1})).status, 201);
}

#[test]
fn idempotency_survives_a_kill() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let made = once(&paygate, "/keys", "order", &json!({"credits": 1})).json();
    let (raw, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let body = json!({"key": id, "credits": 5});
    let first = once(&paygate, "/topup", "payment", &body);
    paygate.kill9();
    let paygate = setup.start();
    let second = once(&paygate, "/topup", "payment", &body);
    assert_eq!((second.status, second.text()), (200, first.text()));
    assert_eq!(once(&paygate, "/keys", "order", &json!({"credits": 1})).json()["id"], id);
    assert_eq!(paygate.credits(raw), 6);
    assert_eq!(paygate.admin_get("/keys").json().as_array().unwrap().len(), 1);
}

#[test]
fn a_customer_sees_the_own_balance() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({"name": "Ada", "credits": 9, "spendingLimit": 4}));
    let shown = paygate.send(&Request::new("GET", "/balance").header("X-API-Key", &raw));
    let expected = r#"{"name":"Ada","credits":9,"totalSpent":0,"totalCalls":0,"spendingLimit":4,"remainingBudget":4,"lastUsedAt":null,"allowedTools":[],"deniedTools":[],"expiresAt":null,"tags":{},"ipAllowlist":[],"quota":null,"quotaUsage":{"dailyCalls":0,"monthlyCalls":0,"dailyCredits":0,"monthlyCredits":0}}"#;
    assert_eq!((shown.status, shown.text().as_str()), (200, expected));
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    let missing = paygate.get("/balance");
    assert_eq!(
        (missing.status, missing.text().as_str()),
        (401, r#"{"error":"Missing X-API-Key header"}"#)
    );
    for wrong in ["pg_wrong", &id, "key_", "\u{fc}"] {
        let refused = paygate.send(&Request::new("GET", "/balance").header("X-API-Key", wrong));
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (404, r#"{"error":"Invalid or inactive API key"}"#),
            "{wrong}"
        );
    }
    for (one, other) in [(&*raw, &*raw), (&raw, ""), ("", &raw), ("pg_wrong", &raw)] {
        let twice = Request::new("GET", "/balance").header("X-API-Key", one);
        let refused = paygate.send(&twice.header("X-API-Key", other));
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (404, r#"{"error":"Invalid or inactive API key"}"#),
            "{one:?} {other:?}"
        );
    }
    let head = paygate.send(&Request::new("HEAD", "/balance").header("X-API-Key", &raw));
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn calls_show_in_every_report_at_once() {
    let paygate = start();
    let (raw, _) = paygate.create_key(&json!({"name": "Ada", "credits": 9}));
    let answer = paygate.call(&raw, "instant", &json!({"nonce": "n"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let balance = paygate.balance(&raw);
    assert_eq!((&balance["credits"], &balance["totalSpent"]), (&json!(8), &json!(1)));
    assert_eq!(balance["quotaUsage"]["dailyCalls"], 1);
    let view = paygate.admin_get("/keys").json()[0].clone();
    for (member, value) in [
        ("credits", 8),
        ("totalSpent", 1),
        ("totalCalls", 1),
        ("quotaDailyCalls", 1),
        ("quotaMonthlyCredits", 1),
        ("held", 0),
    ] {
        assert_eq!(view[member], value, "{member}");
    }
    assert!(view["lastUsedAt"].is_string());
    let status = paygate.admin_get("/status").json();
    assert_eq!(status["usage"]["perTool"]["instant"]["calls"], 1, "{status}");
    assert_eq!(status["usage"]["perKey"]["Ada"]["credits"], 1, "{status}");
    assert_eq!(status["eventCount"], 1);
}
