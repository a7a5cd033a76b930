//! Who may call what, with which method and body; and the reports.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use support::{ADMIN_KEY, PATIENCE, Paygate, Request, Setup};

/// Every path with its methods; `true` if it needs the admin key.
const ENDPOINTS: &[(&str, &str, bool)] = &[
    ("/openapi.json", "GET, HEAD", false),
    ("/balance", "GET, HEAD", false),
    ("/keys", "POST, GET, HEAD", true),
    ("/keys/{id}", "GET, HEAD, PATCH, DELETE", true),
    ("/topup", "POST", true),
    ("/credits/adjust", "POST", true),
    ("/calls/{id}", "GET, HEAD", true),
    ("/calls/{id}/refund", "POST", true),
    ("/keys/suspend", "POST", true),
    ("/keys/resume", "POST", true),
    ("/keys/revoke", "POST", true),
    ("/keys/rotate", "POST", true),
    ("/keys/acl", "POST", true),
    ("/keys/expiry", "POST", true),
    ("/keys/quota", "POST", true),
    ("/keys/tags", "POST", true),
    ("/keys/ip", "POST", true),
    ("/keys/search", "POST", true),
    ("/limits", "POST", true),
    ("/status", "GET, HEAD", true),
    ("/namespaces", "GET, HEAD, POST", true),
    ("/teams", "GET, HEAD, POST", true),
    ("/teams/update", "POST", true),
    ("/teams/delete", "POST", true),
    ("/teams/assign", "POST", true),
    ("/teams/remove", "POST", true),
    ("/teams/usage", "GET, HEAD", true),
    ("/usage", "GET, HEAD", true),
    ("/analytics", "GET, HEAD", true),
    ("/metrics", "GET, HEAD", false),
    ("/audit", "GET, HEAD", true),
    ("/audit/export", "GET, HEAD", true),
    ("/audit/stats", "GET, HEAD", true),
    ("/alerts", "GET, HEAD, POST", true),
    ("/webhooks/stats", "GET, HEAD", true),
    ("/webhooks/dead-letter", "GET, HEAD, DELETE", true),
    ("/webhooks/dead-letter/replay", "POST", true),
    ("/webhooks/test", "POST", true),
    ("/config", "GET, HEAD", true),
    ("/config/reload", "POST", true),
    ("/admin/tokens", "POST, GET, HEAD", true),
    ("/admin/tokens/{id}", "DELETE", true),
];

/// The path as a request has it.
fn written(path: &str) -> String {
    path.replace("{id}", "key_0000000000000000")
}

fn start() -> Paygate {
    Setup::new().ephemeral().without_child_log().start()
}

#[test]
fn nothing_opens_without_the_admin_key() {
    let paygate = start();
    // All at once: wrong keys are answered more and more slowly.
    thread::scope(|scope| {
        for (path, methods, is_admin) in ENDPOINTS {
            for method in methods.split(", ").filter(|_| *is_admin) {
                let paygate = &paygate;
                scope.spawn(move || {
                    for key in [None, Some(""), Some("wrong"), Some(&ADMIN_KEY[1..])] {
                        let mut request = Request::new(method, &written(path));
                        if let Some(key) = key {
                            request = request.header("X-Admin-Key", key);
                        }
                        let refused = paygate.send(&request);
                        assert_eq!(refused.status, 401, "{method} {path}: {}", refused.text());
                        if method != "HEAD" {
                            assert_eq!(refused.text(), r#"{"error":"Invalid admin key"}"#);
                        }
                    }
                });
            }
        }
    });
    let started = Instant::now();
    assert_eq!(paygate.admin_get("/keys").json(), json!([]));
    assert!(started.elapsed() < PATIENCE / 10, "the right key had to wait");
}

#[test]
fn a_wrong_method_says_which_are_right() {
    let paygate = start();
    for (path, methods, _) in ENDPOINTS {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
            if methods.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            // Without any key: the method comes first.
            let refused = paygate.send(&Request::new(method, &written(path)));
            assert_eq!(refused.status, 405, "{method} {path}: {}", refused.text());
            assert_eq!(refused.header("allow"), Some(*methods), "{method} {path}");
            if method != "HEAD" {
                assert_eq!(refused.text(), r#"{"error":"Method not allowed"}"#);
            }
        }
    }
    for path in ["/nothing", "/keys/", "/Keys", "/%6beys", "/keys/a/b"] {
        let refused = paygate.admin_get(path);
        let said = (refused.status, refused.text());
        assert_eq!(said, (404, r#"{"error":"Not found"}"#.to_owned()), "{path}");
    }
}

#[test]
fn head_is_get_without_a_body() {
    let paygate = start();
    for path in ["/keys", "/status", "/namespaces"] {
        let head = paygate.send(&Request::new("HEAD", path).header("X-Admin-Key", ADMIN_KEY));
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-type"), Some("application/json"));
    }
}

#[test]
fn bodies_that_are_no_object() {
    let paygate = start();
    let object = r#"{"error":"The body must be a JSON object"}"#;
    let invalid = r#"{"error":"Invalid JSON"}"#;
    for (path, methods, is_admin) in ENDPOINTS {
        let with_body = ["POST", "PATCH"].into_iter().find(|method| methods.contains(method));
        let Some(method) = with_body.filter(|_| *is_admin) else { continue };
        for (body, error) in [
            (&b"null"[..], object),
            (b"[]", object),
            (b"[{\"credits\":5}]", object),
            (b"\"text\"", object),
            (b"7", object),
            (b"true", object),
            (b"", invalid),
            (b"{", invalid),
            (b"{} {}", invalid),
            (b"{\"a\":NaN}", invalid),
            (b"{\"a\":\"\xff\"}", invalid),
        ] {
            let may_be_empty = ["/config/reload", "/webhooks/test", "/webhooks/dead-letter/replay"];
            if body.is_empty() && may_be_empty.contains(path) {
                continue;
            }
            let request = Request::new(method, &written(path));
            let request = request.header("X-Admin-Key", ADMIN_KEY).body(body);
            let refused = paygate.send(&request);
            let said = (refused.status, refused.text());
            assert_eq!(said, (400, error.to_owned()), "{path} {}", String::from_utf8_lossy(body));
        }
    }
    assert_eq!(paygate.admin_get("/keys").json(), json!([]));
}

#[test]
fn a_body_has_a_bound() {
    let paygate = start();
    let bound = 1 << 20;
    let fill = |size: usize| {
        let (head, tail) = ("{\"name\":\"", "\"}");
        format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()))
    };
    for (size, status) in [(bound, 201), (bound + 1, 413)] {
        let request = Request::new("POST", "/keys").header("X-Admin-Key", ADMIN_KEY);
        let response = paygate.send(&request.body(fill(size)));
        assert_eq!(response.status, status, "{size}: {}", response.text());
    }
    assert_eq!(paygate.admin_get("/keys").json().as_array().unwrap().len(), 1);
}

#[test]
fn tenants_are_counted() {
    let paygate = start();
    let empty = "{\n  \"namespaces\": [],\n  \"count\": 0\n}";
    assert_eq!(paygate.admin_get("/namespaces").text(), empty);
    let (raw, _) = paygate.create_key(&json!({"namespace": "zoo", "credits": 5}));
    paygate.create_key(&json!({"namespace": "acme", "credits": 1}));
    paygate.create_key(&json!({"namespace": "zoo", "credits": 7}));
    assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": raw})).status, 200);
    let all = paygate.admin_get("/namespaces").json();
    let row = |name: &str, keys: i64, active: i64, credits: i64| {
        json!({"namespace": name, "keyCount": keys, "activeKeys": active,
            "totalCredits": credits, "totalSpent": 0, "suspended": false,
            "allowedTools": [], "deniedTools": []})
    };
    assert_eq!(all["namespaces"], json!([row("zoo", 2, 1, 12), row("acme", 1, 1, 1)]));
    assert_eq!(all["count"], 2);
}

#[test]
fn status_has_its_shape() {
    let config = json!({"toolPricing": {"echo": {"creditsPerCall": 3, "creditsPerKbInput": 0.5}}});
    let paygate = Setup::new()
        .ephemeral()
        .without_child_log()
        .config(config)
        .args(["--name", "Shop", "--price", "2", "--rate-limit", "30"])
        .start();
    paygate.create_key(&json!({"name": "a", "namespace": "acme"}));
    paygate.create_key(&json!({"name": "b"}));
    let status = paygate.admin_get("/status");
    assert!(
        status
            .text()
            .starts_with("{\n  \"name\": \"Shop\",\n  \"shadowMode\": false,\n  \"activeKeys\": 2")
    );
    let all = status.json();
    assert_eq!(all["keys"].as_array().unwrap().len(), 2);
    assert_eq!(
        all["usage"],
        json!({"totalCalls": 0, "totalCreditsSpent": 0, "totalDenied": 0, "perTool": {},
            "perKey": {}, "denyReasons": {}})
    );
    assert_eq!(all["eventCount"], 0);
    assert_eq!(all["namespaces"].as_array().unwrap().len(), 2);
    assert!(all.get("filteredNamespace").is_none());
    assert_eq!(
        all["config"],
        json!({"defaultCreditsPerCall": 2, "globalRateLimitPerMin": 30,
            "toolPricing": {"echo": {"creditsPerCall": 3, "creditsPerKbInput": 0.5}},
            "refundOnFailure": true, "webhookUrl": null})
    );
    let one = paygate.admin_get("/status?namespace=Acme").json();
    assert_eq!(one["filteredNamespace"], "acme");
    let names: Vec<&Value> = one["keys"].as_array().unwrap().iter().map(|k| &k["name"]).collect();
    assert_eq!(names, ["a"]);
    assert_eq!(one["activeKeys"], 2);
    assert_eq!(paygate.admin_get("/status?namespace=a_b").status, 400);
}

#[test]
fn refused_calls_are_counted_by_reason() {
    let paygate = start();
    for _ in 0..2 {
        paygate.call("pg_wrong", "instant", &json!({}));
    }
    let status = paygate.admin_get("/status").json();
    assert_eq!(status["usage"]["totalDenied"], 2, "{status}");
    assert_eq!(status["usage"]["denyReasons"], json!({"invalid_api_key": 2}), "{status}");
}
