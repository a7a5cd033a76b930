//! The rest of a key's life: shown, changed in one call, suspended, deleted, listed in pages.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Paygate, Request, Response, Setup};

fn start() -> Paygate {
    Setup::new().ephemeral().without_child_log().start()
}

fn patch(paygate: &Paygate, id: &str, body: &Value) -> Response {
    paygate.admin("PATCH", &format!("/keys/{id}"), body)
}

fn show(paygate: &Paygate, id: &str) -> Value {
    let shown = paygate.admin_get(&format!("/keys/{id}"));
    assert_eq!(shown.status, 200, "{}", shown.text());
    shown.json()
}

#[test]
fn one_key_is_shown_as_in_the_list() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({"name": "Ada", "credits": 5}));
    paygate.create_key(&json!({}));
    assert_eq!(show(&paygate, &id), paygate.admin_get("/keys").json()[0]);
    // Not the raw key: paths end up in logs.
    for unknown in [raw.as_str(), "key_0000000000000000", "key_x", "%6bey", "*"] {
        for method in ["GET", "PATCH", "DELETE"] {
            let body = if method == "PATCH" { json!({}) } else { Value::Null };
            let refused = paygate.admin(method, &format!("/keys/{unknown}"), &body);
            let said = (refused.status, refused.text());
            assert_eq!(
                said,
                (404, r#"{"error":"Key not found"}"#.to_owned()),
                "{method} {unknown}"
            );
        }
    }
}

#[test]
fn a_patch_leaves_what_is_absent_and_clears_what_is_null() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (raw, id) = paygate.create_key(&json!({"name": "Ada", "credits": 5}));
    let all = json!({"name": "Bob", "allowedTools": ["echo"], "deniedTools": ["rm"],
        "spendingLimit": 9, "expiresAt": "2099-01-01T00:00:00Z", "tags": {"a": "1", "b": "2"},
        "ipAllowlist": ["127.0.0.0/8"], "quota": {"dailyCallLimit": 4, "monthlyCalls": 40}});
    let set = patch(&paygate, &id, &all);
    assert_eq!(set.status, 200, "{}", set.text());
    let view = set.json();
    assert_eq!(view, show(&paygate, &id));
    for (member, value) in [
        ("name", json!("Bob")),
        ("allowedTools", json!(["echo"])),
        ("deniedTools", json!(["rm"])),
        ("spendingLimit", json!(9)),
        ("expiresAt", json!("2099-01-01T00:00:00.000Z")),
        ("tags", json!({"a": "1", "b": "2"})),
        ("ipAllowlist", json!(["127.0.0.0/8"])),
        ("credits", json!(5)),
        ("suspended", json!(false)),
    ] {
        assert_eq!(view[member], value, "{member}");
    }
    assert_eq!(view["quota"]["monthlyCallLimit"], 40);
    // Nothing said, nothing changed.
    assert_eq!(patch(&paygate, &id, &json!({})).json(), view);
    // A part of an object leaves the rest of it.
    let part = json!({"tags": {"a": null, "c": "3"}, "quota": {"dailyCallLimit": null}});
    let part = patch(&paygate, &id, &part).json();
    assert_eq!(part["tags"], json!({"b": "2", "c": "3"}));
    assert_eq!(
        (&part["quota"]["dailyCallLimit"], &part["quota"]["monthlyCallLimit"]),
        (&json!(0), &json!(40))
    );
    // A restart in the middle.
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(show(&paygate, &id), part);
    let nothing = json!({"name": null, "allowedTools": null, "deniedTools": null, "tags": null,
        "spendingLimit": null, "expiresAt": null, "ipAllowlist": null, "quota": null});
    let cleared = patch(&paygate, &id, &nothing).json();
    assert_eq!(cleared["name"], "unnamed");
    for member in ["allowedTools", "deniedTools", "ipAllowlist"] {
        assert_eq!(cleared[member], json!([]), "{member}");
    }
    assert_eq!((&cleared["spendingLimit"], &cleared["expiresAt"]), (&json!(0), &Value::Null));
    assert_eq!((cleared.get("quota"), &cleared["tags"]), (None, &json!({})));
    assert_eq!(paygate.credits(&raw), 5);
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn a_wrong_patch_changes_nothing() {
    let paygate = start();
    let (_, id) = paygate.create_key(&json!({"name": "Ada", "tags": {"a": "1"}}));
    let before = show(&paygate, &id);
    for (body, error) in [
        (r#"{"name":"x","credits":5}"#, "Unknown member \\\"credits\\\""),
        (r#"{"name":"x","spendingLimits":5}"#, "did you mean \\\"spendingLimit\\\"?"),
        (r#"{"name":"x","namespace":"acme"}"#, "Unknown member \\\"namespace\\\""),
        (r#"{"name":"x","active":false}"#, "Unknown member \\\"active\\\""),
        (r#"{"name":5,"tags":[]}"#, "tags must be an object"),
        (r#"{"name":["x"]}"#, "name must be a string"),
        (r#"{"name":"x","name":"y"}"#, "more than once"),
        (r#"{"name":"x","spendingLimit":-1}"#, "spendingLimit"),
        (r#"{"name":"x","expiresAt":"soon"}"#, "expiresAt"),
        (r#"{"name":"x","quota":{}}"#, "Missing quota"),
        (r#"{"name":"x","quota":{"daily":1}}"#, "Unknown member \\\"daily\\\""),
        (r#"{"name":"x","quota":7}"#, "quota must be an object"),
        (r#"{"name":"x","ipAllowlist":["x"]}"#, "ipAllowlist"),
        (r#"{"name":"x","allowedTools":"echo"}"#, "allowedTools"),
        (r#"{"name":"x","deniedTools":[1]}"#, "deniedTools[0]"),
    ] {
        let request = Request::new("PATCH", &format!("/keys/{id}"));
        let refused = paygate.send(&request.header("X-Admin-Key", ADMIN_KEY).body(body));
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(error), "{body}: {}", refused.text());
    }
    assert_eq!(show(&paygate, &id), before);
    let large = Request::new("PATCH", &format!("/keys/{id}")).header("X-Admin-Key", ADMIN_KEY);
    let large = large.body(format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20)));
    assert_eq!(paygate.send(&large).status, 413);
}

#[test]
fn a_suspended_key_waits_and_goes_on() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (raw, id) = paygate.create_key(&json!({"credits": 5}));
    let suspended = paygate.admin_post("/keys/suspend", &json!({"key": raw}));
    assert_eq!(suspended.text(), r#"{"message":"Key suspended"}"#);
    paygate.kill9();
    let paygate = setup.start();
    let refused = paygate.call(&raw, "instant", &json!({}));
    assert_eq!(refused.error_reason(), "api_key_suspended", "{}", refused.text());
    assert_eq!(refused.json()["error"]["data"]["remainingCredits"], 0, "{}", refused.text());
    let refused = paygate.send(&Request::new("GET", "/balance").header("X-API-Key", &raw));
    assert_eq!(refused.status, 404, "{}", refused.text());
    let view = show(&paygate, &id);
    assert_eq!((&view["active"], &view["suspended"]), (&json!(true), &json!(true)));
    assert_eq!(paygate.admin_get("/status").json()["activeKeys"], 0);
    // Its account can still be put right.
    assert_eq!(paygate.admin_post("/topup", &json!({"key": id, "credits": 5})).status, 200);
    let resumed = paygate.admin_post("/keys/resume", &json!({"key": id}));
    assert_eq!(resumed.text(), r#"{"message":"Key resumed"}"#);
    assert!(paygate.call(&raw, "instant", &json!({})).json().get("result").is_some());
    assert_eq!(paygate.credits(&raw), 9);
    assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": id})).status, 200);
    for path in ["/keys/suspend", "/keys/resume"] {
        let refused = paygate.admin_post(path, &json!({"key": id}));
        let said = (refused.status, refused.text());
        assert_eq!(said, (404, r#"{"error":"Key not found or inactive"}"#.to_owned()));
        assert_eq!(paygate.admin_post(path, &json!({})).status, 400);
        assert_eq!(paygate.admin_post(path, &json!({"key": 5})).status, 400);
        assert_eq!(paygate.admin_post(path, &json!({"key": "pg_nobody"})).status, 404);
    }
}

#[test]
fn a_deleted_key_is_gone_and_its_journal_stays() {
    let setup = Setup::new().without_child_log().args(["--import-key", "legacy-key-of-theirs:7"]);
    let paygate = setup.start();
    let (raw, id) = paygate.create_key(&json!({"name": "Ada", "credits": 10, "namespace": "acme"}));
    let imported = paygate.admin_get("/keys").json()[0]["id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        assert!(paygate.call(&raw, "instant", &json!({})).json().get("result").is_some());
    }
    // An answer that is kept for a repetition goes with the key.
    let once = support::rpc_request(&raw, "tools/call", &json!({"name": "fail"}));
    let repeated = support::rpc_request(&raw, "tools/call", &json!({"name": "instant"}));
    for request in [once, repeated] {
        let answer = paygate.send(&request.header("Idempotency-Key", "order"));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let rotated = paygate.admin_post("/keys/rotate", &json!({"key": raw, "graceSeconds": 600}));
    let new = rotated.json()["newKey"].as_str().unwrap().to_owned();
    for id in [&id, &imported] {
        let deleted = paygate.admin("DELETE", &format!("/keys/{id}"), &Value::Null);
        let expected = format!("{{\"message\":\"Key deleted\",\"id\":\"{id}\"}}");
        assert_eq!((deleted.status, deleted.text()), (200, expected));
    }
    let is_gone = |paygate: &Paygate| {
        for credential in [&raw, &new, "legacy-key-of-theirs"] {
            let refused = paygate.call(credential, "instant", &json!({}));
            assert_eq!(refused.error_reason(), "invalid_api_key", "{}", refused.text());
        }
        assert_eq!(paygate.admin_get("/keys").json(), json!([]));
        assert_eq!(paygate.admin_get(&format!("/keys/{id}")).status, 404);
        assert_eq!(paygate.admin_post("/topup", &json!({"key": id, "credits": 5})).status, 404);
        // What it used stays counted, under its id.
        let status = paygate.admin_get("/status?namespace=acme").json();
        assert_eq!(status["usage"]["totalCreditsSpent"], 4, "{status}");
        assert_eq!(status["usage"]["perKey"][&id]["calls"], 5, "{status}");
    };
    is_gone(&paygate);
    paygate.kill9();
    // An imported key is not made a second time, with its credits.
    let paygate = setup.start();
    is_gone(&paygate);
    paygate.stop().expect_success();
    let verified = setup.verify();
    let said = "4 credits granted, 4 captured, 0 left";
    assert!(verified.stdout.contains(said), "{}", verified.stdout);
    verified.expect_success();
    let books = rusqlite::Connection::open(setup.database()).unwrap();
    let kept = books.query_row("SELECT count(*) FROM kept", [], |row| row.get::<_, i64>(0));
    assert_eq!(kept.unwrap(), 0, "an answer of a deleted key is still there");
}

#[test]
fn the_list_comes_in_pages_or_whole() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    assert_eq!(paygate.admin_get("/keys").text(), "[]");
    // More than the whole list reads at a time.
    for number in 0..260 {
        let namespace = if number % 4 == 0 { "acme" } else { "zoo" };
        let tags = json!({"line": "one\ntwo"});
        let body = json!({"name": format!("k{number}"), "namespace": namespace, "tags": tags});
        paygate.create_key(&body);
    }
    let whole = paygate.admin_get("/keys");
    assert_eq!(whole.header("transfer-encoding"), Some("chunked"));
    let names = |list: &Value| -> Vec<String> {
        let names = list.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    };
    let all = names(&whole.json());
    assert_eq!(all, (0..260).map(|number| format!("k{number}")).collect::<Vec<_>>());
    let pretty = serde_json::to_string_pretty(&whole.json()).unwrap();
    assert_eq!(pretty.len(), whole.text().len(), "it is not printed for people");
    for (namespace, count) in [("", 260_usize), ("Acme", 65)] {
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let path = format!("/keys?limit=30&namespace={namespace}&cursor={cursor}");
            let page = paygate.admin_get(&path);
            assert_eq!(page.status, 200, "{}", page.text());
            found.extend(names(&page.json()));
            pages += 1;
            match page.header("x-next-cursor") {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!((found.len(), pages), (count, count.div_ceil(30)), "{namespace}");
        found.dedup();
        assert_eq!(found.len(), count);
    }
    for wrong in
        ["limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=-1", "cursor=99999999999999999999"]
    {
        let refused = paygate.admin_get(&format!("/keys?{wrong}"));
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.text());
    }
    // Memory knows what the file does not yet: a page shows the present balance.
    let raw = paygate.create_key(&json!({"credits": 9})).0;
    paygate.call(&raw, "instant", &json!({}));
    let last = paygate.admin_get("/keys?cursor=260").json();
    assert_eq!((last[0]["credits"].as_i64(), last.as_array().unwrap().len()), (Some(8), 1));
}
