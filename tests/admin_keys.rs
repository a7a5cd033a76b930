//! Making, finding, revoking and rotating keys, against the running binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Paygate, Request, Setup};

fn start() -> Paygate {
    Setup::new().ephemeral().without_child_log().start()
}

/// Sends the body as it is written.
fn post(paygate: &Paygate, path: &str, body: &str) -> support::Response {
    paygate.send(&Request::new("POST", path).header("X-Admin-Key", ADMIN_KEY).body(body))
}

/// Does `text` hold these members in this order?
fn in_order(text: &str, members: &[&str]) {
    let mut rest = text;
    for member in members {
        let name = format!("\"{member}\":");
        let at = rest.find(&name).unwrap_or_else(|| panic!("{member} is not in its place: {text}"));
        rest = rest.get(at + name.len()..).unwrap();
    }
}

#[test]
fn a_new_key_is_shown_once_and_in_the_documented_order() {
    let paygate = start();
    let created = paygate.admin_post(
        "/keys",
        &json!({"name": "  Ada  ", "credits": "50", "allowedTools": ["echo", "", "add"],
            "deniedTools": ["rm"], "expiresAt": "2099-01-01T00:00:00Z", "tags": {"n": 1.0, "b": true},
            "ipAllowlist": ["127.0.0.1", "10.0.0.0/8"], "namespace": " ACME-1 ", "spendingLimit": 7,
            "quota": {"dailyCalls": 5}}),
    );
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(created.header("content-type"), Some("application/json"));
    assert_eq!(created.header("cache-control"), Some("no-store"));
    in_order(
        &created.text(),
        &[
            "key",
            "name",
            "credits",
            "allowedTools",
            "deniedTools",
            "expiresAt",
            "tags",
            "ipAllowlist",
            "namespace",
            "message",
            "id",
        ],
    );
    let json = created.json();
    let raw = json["key"].as_str().unwrap();
    assert!(raw.starts_with("pg_") && raw.len() == 51, "{raw}");
    let id = json["id"].as_str().unwrap();
    assert!(id.starts_with("key_") && id.len() == 20, "{id}");
    assert_eq!(json["name"], "Ada");
    assert_eq!(json["credits"], 50);
    assert_eq!(json["allowedTools"], json!(["echo", "add"]));
    assert_eq!(json["deniedTools"], json!(["rm"]));
    assert_eq!(json["expiresAt"], "2099-01-01T00:00:00.000Z");
    assert_eq!(json["tags"], json!({"n": "1", "b": "true"}));
    assert_eq!(json["ipAllowlist"], json!(["127.0.0.1", "10.0.0.0/8"]));
    assert_eq!(json["namespace"], "acme-1");
    assert_eq!(json["message"], "Save this key — it cannot be retrieved later.");
    let list = paygate.admin_get("/keys").text();
    assert!(!list.contains(raw), "the list shows a raw key: {list}");
    assert!(
        list.contains("\"dailyCallLimit\": 5") && list.contains("\"spendingLimit\": 7"),
        "{list}"
    );
}

#[test]
fn a_key_made_of_nothing_has_the_defaults() {
    let paygate = start();
    for body in [json!({}), json!({"name": null, "credits": null, "tags": null, "namespace": null})]
    {
        let created = paygate.admin_post("/keys", &body);
        assert_eq!(created.status, 201, "{}", created.text());
        let json = created.json();
        assert_eq!(json["name"], "unnamed");
        assert_eq!(json["credits"], 100);
        assert_eq!(json["expiresAt"], Value::Null);
        assert_eq!(json["namespace"], "default");
        assert_eq!(json["allowedTools"], json!([]));
        assert_eq!(json["tags"], json!({}));
    }
    for (credits, expected) in [
        ("0", 0_i64),
        ("\"0\"", 0),
        ("7.0", 7),
        ("1e3", 1000),
        ("9007199254740991", 9_007_199_254_740_991),
    ] {
        let created = post(&paygate, "/keys", &format!("{{\"credits\":{credits}}}"));
        assert_eq!(created.status, 201, "{credits}: {}", created.text());
        assert_eq!(created.json()["credits"], expected);
        assert_eq!(paygate.credits(created.json()["key"].as_str().unwrap()), expected);
    }
}

#[test]
fn a_wrong_new_key_is_refused_with_the_name_of_the_member() {
    let paygate = start();
    let credits = "Credits must be a positive integer or 0";
    let many_tags: Vec<String> = (0..51).map(|n| format!("\"t{n}\":\"x\"")).collect();
    let many_tags = format!("{{\"tags\":{{{}}}}}", many_tags.join(","));
    let many_tools = format!("{{\"deniedTools\":[{}]}}", vec!["\"x\""; 101].join(","));
    let long_tool = format!("{{\"deniedTools\":[\"{}\"]}}", "x".repeat(257));
    for (body, error) in [
        (r#"{"credits":-1}"#, credits),
        (r#"{"credits":0.5}"#, credits),
        (r#"{"credits":9007199254740992}"#, credits),
        (r#"{"credits":1e400}"#, credits),
        (r#"{"credits":"NaN"}"#, credits),
        (r#"{"credits":"Infinity"}"#, credits),
        (r#"{"credits":""}"#, credits),
        (r#"{"credits":true}"#, credits),
        (r#"{"credits":[5]}"#, credits),
        (r#"{"credits":{}}"#, credits),
        (r#"{"credits":1,"credits":2}"#, "The member \"credits\" is in the body more than once"),
        (r#"{"Credits":1}"#, "Unknown member \"Credits\""),
        (r#"{"name":{}}"#, "name must be a string"),
        (r#"{"name":"\ud800"}"#, "name is not valid"),
        (r#"{"namespace":"acme_1"}"#, "namespace \"acme_1\""),
        (r#"{"namespace":5}"#, "namespace must be a string"),
        (r#"{"expiresAt":"garbage"}"#, "expiresAt"),
        (r#"{"expiresAt":"2030-01-01"}"#, "expiresAt"),
        (r#"{"expiresAt":-1}"#, "expiresAt"),
        (r#"{"expiresAt":1.5}"#, "expiresAt"),
        (r#"{"expiresAt":true}"#, "expiresAt"),
        (r#"{"expiresIn":-5}"#, "expiresIn"),
        (r#"{"expiresIn":1e300}"#, "expiresIn"),
        (r#"{"expiresIn":"soon"}"#, "expiresIn"),
        (r#"{"quota":5}"#, "quota must be an object"),
        (r#"{"quota":{"dailyCallLimit":-1}}"#, "dailyCallLimit"),
        (r#"{"quota":{"dailyCallLimit":1,"dailyCalls":1}}"#, "the same"),
        (r#"{"quota":{"DailyCalls":1}}"#, "DailyCalls"),
        (r#"{"quota":{"typo":1}}"#, "Unknown member \"typo\""),
        (r#"{"quota":{}}"#, "Missing quota"),
        (r#"{"credit":5}"#, "Unknown member \"credit\": did you mean \"credits\"?"),
        (r#"{"spendingLimit":-1}"#, "spendingLimit"),
        (r#"{"spendingLimit":"x"}"#, "spendingLimit"),
        (r#"{"allowedTools":"echo"}"#, "allowedTools must be an array"),
        (r#"{"allowedTools":["a",5]}"#, "allowedTools[1] must be a string"),
        (&many_tools, "deniedTools has 101 entries"),
        (&long_tool, "deniedTools[0] is longer than 256 bytes"),
        (r#"{"deniedTools":["x\u2003"]}"#, "deniedTools[0] must not begin or end with white space"),
        (r#"{"tags":[]}"#, "tags must be an object"),
        (r#"{"tags":{"a":{}}}"#, "tags.a must be a string"),
        (&many_tags, "a key has at most 50"),
        (r#"{"ipAllowlist":"10.0.0.1"}"#, "ipAllowlist must be an array"),
        (r#"{"ipAllowlist":["10.0.0.1","nowhere"]}"#, "ipAllowlist: \"nowhere\""),
        (r#"{"ipAllowlist":[null]}"#, "ipAllowlist[0]"),
    ] {
        let response = post(&paygate, "/keys", body);
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        let said = response.json()["error"].as_str().unwrap().to_owned();
        assert!(said.contains(error), "{body}: {said}");
    }
    assert_eq!(paygate.admin_get("/keys").json(), json!([]), "a refused request made a key");
}

#[test]
fn the_list_has_every_member_in_order_and_obeys_the_namespace() {
    let paygate = start();
    paygate.create_key(&json!({"name": "one", "namespace": "acme"}));
    let (raw, id) = paygate.create_key(&json!({"name": "two", "expiresIn": 3600}));
    let list = paygate.admin_get("/keys");
    assert!(list.text().starts_with("[\n  {\n    \"name\": \"one\""), "{}", list.text());
    in_order(
        &list.text(),
        &[
            "name",
            "credits",
            "totalSpent",
            "totalCalls",
            "createdAt",
            "lastUsedAt",
            "active",
            "spendingLimit",
            "allowedTools",
            "deniedTools",
            "expiresAt",
            "tags",
            "ipAllowlist",
            "namespace",
            "quotaDailyCalls",
            "quotaMonthlyCalls",
            "quotaDailyCredits",
            "quotaMonthlyCredits",
            "quotaLastResetDay",
            "quotaLastResetMonth",
            "keyPrefix",
            "expired",
            "id",
            "held",
            "suspended",
        ],
    );
    let two = list.json()[1].clone();
    assert_eq!(two["keyPrefix"], format!("{}...", &raw[..10]));
    assert_eq!(two["id"], id);
    assert!(two.get("quota").is_none(), "quota is only there if it is set");
    assert_eq!(two["lastUsedAt"], Value::Null);
    assert_eq!(two["expired"], false);
    for (query, count) in
        [("", 2), ("?namespace=", 2), ("?namespace=ACME", 1), ("?namespace=no", 0)]
    {
        let list = paygate.admin_get(&format!("/keys{query}")).json();
        assert_eq!(list.as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(paygate.admin_get("/keys?namespace=acme_1").status, 400);
}

#[test]
fn search_finds_keys_by_all_of_their_tags() {
    let paygate = start();
    paygate.create_key(&json!({"name": "a", "tags": {"env": "prod", "tier": "1"}}));
    paygate.create_key(&json!({"name": "b", "tags": {"env": "prod"}, "namespace": "acme"}));
    for (body, names) in [
        (json!({"tags": {}}), vec!["a", "b"]),
        (json!({"tags": {"env": "prod"}}), vec!["a", "b"]),
        (json!({"tags": {"env": "prod", "tier": 1}}), vec!["a"]),
        (json!({"tags": {"env": "Prod"}}), vec![]),
        (json!({"tags": {"": "x"}}), vec![]),
        (json!({"tags": {}, "namespace": "Acme"}), vec!["b"]),
    ] {
        let found = paygate.admin_post("/keys/search", &body);
        assert_eq!(found.status, 200, "{}", found.text());
        assert!(found.text().starts_with("{\"keys\":["), "{}", found.text());
        let found = found.json();
        assert_eq!(found["count"], names.len(), "{body}");
        let views = found["keys"].as_array().unwrap();
        let found: Vec<&str> = views.iter().map(|key| key["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{body}");
    }
    for body in ["{}", r#"{"tags":null}"#, r#"{"tags":[]}"#, r#"{"tags":"x"}"#] {
        let refused = post(&paygate, "/keys/search", body);
        assert_eq!(refused.status, 400, "{body}");
        assert_eq!(refused.json()["error"], "Missing or invalid tags object");
    }
    assert_eq!(post(&paygate, "/keys/search", r#"{"tags":{"env":null}}"#).status, 400);
    assert_eq!(post(&paygate, "/keys/search", r#"{"tags":{},"namespace":1}"#).status, 400);
}

#[test]
fn a_revoked_key_is_closed_by_raw_key_or_id_and_stays_listed() {
    let paygate = start();
    let (raw, id) = paygate.create_key(&json!({}));
    for name in [&raw, &id, &raw] {
        let revoked = paygate.admin_post("/keys/revoke", &json!({"key": name}));
        assert_eq!(
            (revoked.status, revoked.text().as_str()),
            (200, r#"{"message":"Key revoked"}"#)
        );
    }
    let refused = paygate.send(&Request::new("GET", "/balance").header("X-API-Key", &raw));
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (404, r#"{"error":"Invalid or inactive API key"}"#)
    );
    let list = paygate.admin_get("/keys").json();
    assert_eq!(list[0]["active"], false);
    for unknown in ["pg_nobody", "key_0000000000000000", "key_short"] {
        let refused = paygate.admin_post("/keys/revoke", &json!({"key": unknown}));
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (404, r#"{"error":"Key not found"}"#),
            "{unknown}"
        );
    }
    // What needs a key that works says that this one does not.
    for (path, body) in [
        ("/topup", json!({"key": id, "credits": 5})),
        ("/keys/rotate", json!({"key": id})),
        ("/keys/acl", json!({"key": id, "allowedTools": []})),
        ("/limits", json!({"key": id, "spendingLimit": 5})),
    ] {
        let refused = paygate.admin_post(path, &body);
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (404, r#"{"error":"Key not found or inactive"}"#),
            "{path}"
        );
    }
}

#[test]
fn rotating_swaps_the_credential_and_nothing_else() {
    let paygate = start();
    let body = json!({"name": "Ada", "credits": 42, "tags": {"a": "b"}, "spendingLimit": 9});
    let (old, id) = paygate.create_key(&body);
    let before = paygate.admin_get("/keys").json();
    let rotated = paygate.admin_post("/keys/rotate", &json!({"key": old}));
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    in_order(&rotated.text(), &["message", "newKey", "name", "credits", "id"]);
    let json = rotated.json();
    let new = json["newKey"].as_str().unwrap();
    assert_eq!((&json["message"], &json["name"]), (&json!("Key rotated"), &json!("Ada")));
    assert_eq!((&json["credits"], &json["id"]), (&json!(42), &json!(id)));
    assert_eq!(paygate.credits(new), 42);
    let refused = paygate.send(&Request::new("GET", "/balance").header("X-API-Key", &old));
    assert_eq!(refused.status, 404, "without a grace period the old key ends at once");
    let mut after = paygate.admin_get("/keys").json();
    assert_eq!(after[0]["keyPrefix"], format!("{}...", &new[..10]));
    after[0]["keyPrefix"] = before[0]["keyPrefix"].clone();
    assert_eq!(after, before, "the list keeps one row with everything else as it was");
}

#[test]
fn a_grace_period_keeps_both_credentials_and_revoking_ends_both() {
    let paygate = start();
    let (old, _) = paygate.create_key(&json!({"credits": 5}));
    let rotated = paygate.admin_post("/keys/rotate", &json!({"key": old, "graceSeconds": 600}));
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    let new = rotated.json()["newKey"].as_str().unwrap().to_owned();
    assert!(rotated.json()["oldKeyValidUntil"].is_string());
    assert_eq!((paygate.credits(&old), paygate.credits(&new)), (5, 5));
    assert_eq!(paygate.admin_post("/keys/revoke", &json!({"key": old})).status, 200);
    for key in [&old, &new] {
        let refused = paygate.send(&Request::new("GET", "/balance").header("X-API-Key", key));
        assert_eq!(refused.status, 404);
    }
    let (key, _) = paygate.create_key(&json!({}));
    for grace in ["-1", "1.5", "\"soon\"", "7776001", "[]", "true"] {
        let body = format!("{{\"key\":\"{key}\",\"graceSeconds\":{grace}}}");
        let refused = post(&paygate, "/keys/rotate", &body);
        assert_eq!(refused.status, 400, "{grace}");
        assert!(refused.text().contains("graceSeconds"), "{}", refused.text());
    }
    assert_eq!(paygate.credits(&key), 100, "a refused rotation must leave the key alone");
    // An expired key can be rotated.
    let expired = json!({"key": key, "expiresAt": "2001-01-01T00:00:00Z"});
    assert_eq!(paygate.admin_post("/keys/expiry", &expired).status, 200);
    assert_eq!(paygate.admin_post("/keys/rotate", &json!({"key": key})).status, 200);
}

#[test]
fn a_restart_keeps_every_record() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (first, id) = paygate.create_key(&json!({"name": "first", "credits": 10}));
    let (second, _) = paygate.create_key(&json!({"name": "second", "namespace": "acme"}));
    for (path, body) in [
        ("/topup", json!({"key": id, "credits": 5})),
        ("/keys/acl", json!({"key": id, "allowedTools": ["echo"], "deniedTools": ["rm"]})),
        ("/keys/expiry", json!({"key": id, "expiresAt": 4_102_444_800_000_i64})),
        ("/keys/quota", json!({"key": id, "monthlyCreditLimit": 8})),
        ("/keys/tags", json!({"key": id, "tags": {"a": "b"}})),
        ("/keys/ip", json!({"key": id, "ips": ["127.0.0.0/8"]})),
        ("/limits", json!({"key": id, "spendingLimit": 3})),
        ("/keys/revoke", json!({"key": second})),
    ] {
        let done = paygate.admin_post(path, &body);
        assert_eq!(done.status, 200, "{path}: {}", done.text());
    }
    let rotated = paygate.admin_post("/keys/rotate", &json!({"key": first, "graceSeconds": 600}));
    let new = rotated.json()["newKey"].as_str().unwrap().to_owned();
    let before = paygate.admin_get("/keys").json();
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(paygate.admin_get("/keys").json(), before);
    assert_eq!((paygate.credits(&first), paygate.credits(&new)), (15, 15));
    paygate.stop().expect_success();
    setup.verify().expect_success();
}
