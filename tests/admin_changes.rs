//! What an operator changes on a key: tools, end, quota, tags, addresses, spending limit.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Paygate, Request, Setup};

fn start() -> Paygate {
    Setup::new().ephemeral().without_child_log().start()
}

/// Puts the key's id for `KEY` and expects the whole answer.
fn check(paygate: &Paygate, path: &str, id: &str, rows: &[(&str, u16, &str)]) {
    for (body, status, expected) in rows {
        let body = body.replace("KEY", id);
        let request = Request::new("POST", path).header("X-Admin-Key", ADMIN_KEY);
        let response = paygate.send(&request.body(body.clone()));
        let expected = (*status, expected.replace("KEY", id));
        assert_eq!((response.status, response.text()), expected, "{path} {body}");
    }
}

/// Expects a refusal with 400 that says `part`, and no change.
fn refuses(paygate: &Paygate, path: &str, id: &str, rows: &[(&str, &str)]) {
    let before = paygate.admin_get("/keys").json();
    for (body, part) in rows {
        let body = body.replace("KEY", id);
        let request = Request::new("POST", path).header("X-Admin-Key", ADMIN_KEY);
        let response = paygate.send(&request.body(body.clone()));
        assert_eq!(response.status, 400, "{path} {body}: {}", response.text());
        let said = response.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(part), "{path} {body}: {said}");
    }
    assert_eq!(paygate.admin_get("/keys").json(), before, "{path}: a refusal changed something");
}

fn view(paygate: &Paygate) -> Value {
    paygate.admin_get("/keys").json()[0].clone()
}

#[test]
fn every_change_needs_a_key_that_exists() {
    let paygate = start();
    let active = r#"{"error":"Key not found or inactive"}"#;
    let exists = r#"{"error":"Key not found"}"#;
    for (path, rest, error) in [
        ("/topup", r#","credits":1"#, active),
        ("/keys/revoke", "", exists),
        ("/keys/rotate", "", active),
        ("/keys/acl", "", active),
        ("/keys/expiry", "", exists),
        ("/keys/quota", r#","dailyCallLimit":1"#, exists),
        ("/keys/tags", r#","tags":{}"#, exists),
        ("/keys/ip", r#","ips":[]"#, exists),
        ("/limits", r#","spendingLimit":1"#, active),
    ] {
        for name in ["pg_unknown", "key_0123456789abcdef", "key_x"] {
            let body = format!("{{\"key\":\"{name}\"{rest}}}");
            check(&paygate, path, "", &[(&body, 404, error)]);
        }
        let missing = if path == "/topup" { "Missing key or credits" } else { "Missing key" };
        for key in ["null", "\"\"", "false"] {
            let body = format!("{{\"key\":{key}{rest}}}");
            let error = format!("{{\"error\":\"{missing}\"}}");
            check(&paygate, path, "", &[(&body, 400, &error)]);
        }
        for key in ["5", "{}", "[\"a\"]", "true"] {
            let body = format!("{{\"key\":{key}{rest}}}");
            refuses(&paygate, path, "", &[(&body, "key must be a string")]);
        }
        check(&paygate, path, "", &[("{oops", 400, r#"{"error":"Invalid JSON"}"#)]);
    }
}

#[test]
fn tool_lists() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({}));
    check(
        &paygate,
        "/keys/acl",
        &id,
        &[
            (
                r#"{"key":"KEY","allowedTools":["a","","b"],"deniedTools":["c"]}"#,
                200,
                r#"{"allowedTools":["a","b"],"deniedTools":["c"],"message":"ACL updated"}"#,
            ),
            (
                r#"{"key":"KEY","deniedTools":["d"]}"#,
                200,
                r#"{"allowedTools":["a","b"],"deniedTools":["d"],"message":"ACL updated"}"#,
            ),
            (
                r#"{"key":"KEY","allowedTools":null}"#,
                200,
                r#"{"allowedTools":[],"deniedTools":["d"],"message":"ACL updated"}"#,
            ),
        ],
    );
    refuses(
        &paygate,
        "/keys/acl",
        &id,
        &[
            (r#"{"key":"KEY","allowedTools":"a"}"#, "allowedTools must be an array"),
            (r#"{"key":"KEY","allowedTools":{}}"#, "allowedTools must be an array"),
            (r#"{"key":"KEY","deniedTools":[1]}"#, "deniedTools[0] must be a string"),
            (r#"{"key":"KEY","deniedTools":["c","x "]}"#, "deniedTools[1] must not begin or end"),
            (r#"{"key":"KEY","allowedTools":[" "]}"#, "allowedTools[0] must not begin or end"),
            (r#"{"key":"KEY","allowedtools":[]}"#, "\"allowedTools\""),
        ],
    );
    let expired = json!({"key": raw, "expiresAt": 1});
    assert_eq!(paygate.admin_post("/keys/expiry", &expired).status, 200);
    let gone = r#"{"error":"Key not found or inactive"}"#;
    check(&paygate, "/keys/acl", &id, &[(r#"{"key":"KEY","allowedTools":[]}"#, 404, gone)]);
}

#[test]
fn expiry() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({}));
    let at = |time: &str| format!(r#"{{"expiresAt":"{time}","message":"Key expires at {time}"}}"#);
    let never = r#"{"expiresAt":null,"message":"Expiry removed (key never expires)"}"#;
    check(
        &paygate,
        "/keys/expiry",
        &id,
        &[
            (
                r#"{"key":"KEY","expiresAt":"2099-06-01T12:00:00+02:00"}"#,
                200,
                &at("2099-06-01T10:00:00.000Z"),
            ),
            (r#"{"key":"KEY","expiresAt":4102444800000}"#, 200, &at("2100-01-01T00:00:00.000Z")),
            (r#"{"key":"KEY","expiresAt":"4102444800000"}"#, 200, &at("2100-01-01T00:00:00.000Z")),
            (r#"{"key":"KEY"}"#, 200, never),
            (r#"{"key":"KEY","expiresAt":null,"expiresIn":0}"#, 200, never),
        ],
    );
    let request = json!({"key": id, "expiresIn": "3600", "expiresAt": "2001-01-01T00:00:00Z"});
    let set = paygate.admin_post("/keys/expiry", &request);
    assert_eq!(set.status, 200, "{}", set.text());
    assert!(set.json()["expiresAt"].as_str().unwrap() > "2026", "expiresIn wins: {}", set.text());
    refuses(
        &paygate,
        "/keys/expiry",
        &id,
        &[
            (r#"{"key":"KEY","expiresAt":"garbage"}"#, "expiresAt"),
            (r#"{"key":"KEY","expiresAt":"253402300800000"}"#, "expiresAt"),
            (r#"{"key":"KEY","expiresAt":[]}"#, "expiresAt"),
            (r#"{"key":"KEY","expiresIn":-1}"#, "expiresIn"),
            (r#"{"key":"KEY","expiresIn":"inf"}"#, "expiresIn"),
            (r#"{"key":"KEY","expiresIn":{}}"#, "expiresIn"),
            (r#"{"key":"KEY","expiresIn":1e15}"#, "expiresIn"),
        ],
    );
    // A key that has ended can be brought back.
    assert_eq!(
        paygate.admin_post("/keys/expiry", &json!({"key": raw, "expiresAt": 1})).status,
        200
    );
    let balance = Request::new("GET", "/balance").header("X-API-Key", &raw);
    assert_eq!(paygate.send(&balance).status, 404);
    assert_eq!(view(&paygate)["expired"], true);
    check(&paygate, "/keys/expiry", &id, &[(r#"{"key":"KEY"}"#, 200, never)]);
    assert_eq!(paygate.send(&balance).status, 200);
}

#[test]
fn quotas() {
    let paygate = start();
    let (_, id) = paygate.create_key(&json!({}));
    check(
        &paygate,
        "/keys/quota",
        &id,
        &[
            (
                r#"{"key":"KEY","dailyCallLimit":1,"monthlyCallLimit":"2","dailyCreditLimit":3.0}"#,
                200,
                r#"{"quota":{"dailyCallLimit":1,"monthlyCallLimit":2,"dailyCreditLimit":3,"monthlyCreditLimit":0},"message":"Quota set"}"#,
            ),
            (
                r#"{"key":"KEY","dailyCalls":5,"monthlyCredits":6,"remove":false}"#,
                200,
                r#"{"quota":{"dailyCallLimit":5,"monthlyCallLimit":0,"dailyCreditLimit":0,"monthlyCreditLimit":6},"message":"Quota set"}"#,
            ),
        ],
    );
    assert_eq!(view(&paygate)["quota"]["dailyCallLimit"], 5);
    refuses(
        &paygate,
        "/keys/quota",
        &id,
        &[
            (r#"{"key":"KEY"}"#, "Missing quota"),
            (r#"{"key":"KEY","dailyCalLimit":5}"#, "did you mean \"dailyCallLimit\"?"),
            (r#"{"key":"KEY","dailyCallLimit":-1}"#, "dailyCallLimit"),
            (r#"{"key":"KEY","dailyCallLimit":0.5}"#, "dailyCallLimit"),
            (r#"{"key":"KEY","dailyCallLimit":true}"#, "dailyCallLimit"),
            (r#"{"key":"KEY","dailyCallLimit":"many"}"#, "dailyCallLimit"),
            (r#"{"key":"KEY","dailyCallLimit":1,"dailyCallLimit":9}"#, "more than once"),
            (r#"{"key":"KEY","monthlyCalls":1,"monthlyCallLimit":1}"#, "the same"),
            (r#"{"key":"KEY","remove":"yes"}"#, "remove"),
        ],
    );
    let removed = r#"{"message":"Quota removed (using global defaults)"}"#;
    check(&paygate, "/keys/quota", &id, &[(r#"{"key":"KEY","remove":true}"#, 200, removed)]);
    assert!(view(&paygate).get("quota").is_none());
}

#[test]
fn tags() {
    let paygate = start();
    let (_, id) = paygate.create_key(&json!({"tags": {"a": "1"}}));
    check(
        &paygate,
        "/keys/tags",
        &id,
        &[
            (
                r#"{"key":"KEY","tags":{" b ":2,"":"x","c":true}}"#,
                200,
                r#"{"tags":{"a":"1","b":"2","c":"true"},"message":"Tags updated"}"#,
            ),
            (
                r#"{"key":"KEY","tags":{"a":null,"b":" two "}}"#,
                200,
                r#"{"tags":{"b":"two","c":"true"},"message":"Tags updated"}"#,
            ),
        ],
    );
    let missing = "Missing or invalid tags object";
    let many: Vec<String> = (0..49).map(|n| format!("\"t{n}\":\"x\"")).collect();
    let many = format!("{{\"key\":\"KEY\",\"tags\":{{{}}}}}", many.join(","));
    refuses(
        &paygate,
        "/keys/tags",
        &id,
        &[
            (r#"{"key":"KEY"}"#, missing),
            (r#"{"key":"KEY","tags":null}"#, missing),
            (r#"{"key":"KEY","tags":["a"]}"#, missing),
            (r#"{"key":"KEY","tags":"a"}"#, missing),
            (r#"{"key":"KEY","tags":{"x":[]}}"#, "tags.x must be a string"),
            (r#"{"key":"KEY","tags":{"x":"1","x":"2"}}"#, "more than once"),
            (&many, "at most 50"),
        ],
    );
}

#[test]
fn addresses() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({}));
    check(
        &paygate,
        "/keys/ip",
        &id,
        &[(
            r#"{"key":"KEY","ips":[" 10.0.0.0/8 ","","2001:db8::1"]}"#,
            200,
            r#"{"ipAllowlist":["10.0.0.0/8","2001:db8::1"],"message":"IP allowlist updated"}"#,
        )],
    );
    let balance = Request::new("GET", "/balance").header("X-API-Key", &raw);
    let refused = paygate.send(&balance);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(!refused.text().contains("100"), "a refusal tells the balance: {}", refused.text());
    let missing = "Missing or invalid ips array";
    refuses(
        &paygate,
        "/keys/ip",
        &id,
        &[
            (r#"{"key":"KEY"}"#, missing),
            (r#"{"key":"KEY","ips":null}"#, missing),
            (r#"{"key":"KEY","ips":"10.0.0.1"}"#, missing),
            (r#"{"key":"KEY","ips":["10.0.0.1","10.0.0.0/33"]}"#, "\"10.0.0.0/33\""),
            (r#"{"key":"KEY","ips":["localhost"]}"#, "\"localhost\""),
            (r#"{"key":"KEY","ips":[1]}"#, "ips[0] must be a string"),
        ],
    );
    let open = r#"{"ipAllowlist":[],"message":"IP allowlist updated"}"#;
    check(&paygate, "/keys/ip", &id, &[(r#"{"key":"KEY","ips":[]}"#, 200, open)]);
    assert_eq!(paygate.send(&balance).status, 200);
    let loopback = json!({"key": raw, "ips": ["127.0.0.1"]});
    assert_eq!(paygate.admin_post("/keys/ip", &loopback).status, 200);
    assert_eq!(paygate.send(&balance).status, 200);
}

#[test]
fn spending_limits() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({}));
    check(
        &paygate,
        "/limits",
        &id,
        &[
            (
                r#"{"key":"KEY","spendingLimit":50}"#,
                200,
                r#"{"spendingLimit":50,"message":"Spending limit set to 50"}"#,
            ),
            (
                r#"{"key":"KEY","spendingLimit":"60"}"#,
                200,
                r#"{"spendingLimit":60,"message":"Spending limit set to 60"}"#,
            ),
        ],
    );
    assert_eq!(paygate.balance(&raw)["remainingBudget"], 60);
    refuses(
        &paygate,
        "/limits",
        &id,
        &[
            (r#"{"key":"KEY"}"#, "Missing spendingLimit"),
            (r#"{"key":"KEY","spendingLimit":null}"#, "Missing spendingLimit"),
            (r#"{"key":"KEY","spendinglimit":5}"#, "\"spendingLimit\""),
            (r#"{"key":"KEY","spendingLimit":-1}"#, "spendingLimit"),
            (r#"{"key":"KEY","spendingLimit":0.1}"#, "spendingLimit"),
            (r#"{"key":"KEY","spendingLimit":1e16}"#, "spendingLimit"),
            (r#"{"key":"KEY","spendingLimit":{}}"#, "spendingLimit"),
            (r#"{"key":"KEY","spendingLimit":1,"spendingLimit":2}"#, "more than once"),
        ],
    );
    let open = r#"{"spendingLimit":0,"message":"Spending limit removed (unlimited)"}"#;
    check(&paygate, "/limits", &id, &[(r#"{"key":"KEY","spendingLimit":0}"#, 200, open)]);
    assert_eq!(paygate.balance(&raw)["remainingBudget"], Value::Null);
}

#[test]
fn changes_at_the_same_time_are_all_kept() {
    let paygate = start();
    let (_, id) = paygate.create_key(&json!({}));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (paygate, id) = (&paygate, &id);
            scope.spawn(move || {
                let body = json!({"key": id, "tags": {format!("t{n}"): "x"}});
                let done = paygate.admin_post("/keys/tags", &body);
                assert_eq!(done.status, 200, "{}", done.text());
            });
        }
    });
    assert_eq!(view(&paygate)["tags"].as_object().unwrap().len(), 4);
}
