//! The audit log: every write of an operator and everybody who was not let in, filtered, paged and
//! exported.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::thread;

use serde_json::{Value, json};
use support::{ADMIN_KEY, Paygate, Request, Setup};

fn events(paygate: &Paygate, query: &str) -> Vec<Value> {
    let page = paygate.admin_get(&format!("/audit?{query}"));
    assert_eq!(page.status, 200, "{}", page.text());
    page.json()["events"].as_array().unwrap().clone()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// One of every write; the words that the log must have for them, in order.
fn write_everything(paygate: &Paygate) -> (String, Vec<&'static str>) {
    let (raw, id) = paygate.create_key(&json!({"name": "Ada, \"the\" first", "namespace": "acme"}));
    let call = paygate.call(&raw, "instant", &json!({}));
    let call = call.header("x-paygate-call-id").unwrap().to_owned();
    let key = |rest: Value| {
        let mut body = rest;
        body["key"] = json!(id);
        body
    };
    let steps: Vec<(&str, String, Value, &str)> = vec![
        ("POST", "/topup".into(), key(json!({"credits": 5})), "key.topup"),
        (
            "POST",
            "/credits/adjust".into(),
            key(json!({"credits": -2, "reason": "a mistake"})),
            "credits.adjusted",
        ),
        ("POST", format!("/calls/{call}/refund"), json!({"reason": "it failed"}), "billing.refund"),
        ("POST", "/keys/acl".into(), key(json!({"allowedTools": ["instant"]})), "key.acl_updated"),
        (
            "POST",
            "/keys/expiry".into(),
            key(json!({"expiresAt": "2099-01-01T00:00:00Z"})),
            "key.expiry_updated",
        ),
        ("POST", "/keys/quota".into(), key(json!({"dailyCalls": 5})), "key.quota_updated"),
        ("POST", "/keys/tags".into(), key(json!({"tags": {"a": "b"}})), "key.tags_updated"),
        ("POST", "/keys/ip".into(), key(json!({"ips": ["127.0.0.1"]})), "key.ip_updated"),
        ("POST", "/limits".into(), key(json!({"spendingLimit": 50})), "key.limit_updated"),
        ("PATCH", format!("/keys/{id}"), json!({"name": "=cmd()"}), "key.updated"),
        ("POST", "/keys/suspend".into(), key(json!({})), "key.suspended"),
        ("POST", "/keys/resume".into(), key(json!({})), "key.resumed"),
        ("POST", "/keys/rotate".into(), key(json!({})), "key.rotated"),
        ("POST", "/keys/revoke".into(), key(json!({})), "key.revoked"),
        ("DELETE", format!("/keys/{id}"), Value::Null, "key.deleted"),
        (
            "POST",
            "/namespaces".into(),
            json!({"namespace": "acme", "suspended": true}),
            "namespace.updated",
        ),
        (
            "POST",
            "/admin/tokens".into(),
            json!({"name": "Desk", "role": "owner"}),
            "admin.token_created",
        ),
    ];
    let mut words = vec!["key.created"];
    for (method, path, body, word) in steps {
        let done = paygate.admin(method, &path, &body);
        assert!(matches!(done.status, 200 | 201), "{method} {path}: {}", done.text());
        words.push(word);
    }
    (id, words)
}

#[test]
fn every_write_is_in_the_log_with_who_what_and_whose() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let (id, words) = write_everything(&paygate);
    // Reads and refused requests are no writes.
    paygate.admin_get("/keys");
    assert_eq!(paygate.admin_post("/topup", &json!({"key": id, "credits": 5})).status, 404);
    assert_eq!(paygate.admin_post("/keys", &json!({"credits": -5})).status, 400);
    let before = paygate.admin_get("/audit").text();
    // What was answered is durable, and so is its entry.
    paygate.kill9();
    let paygate = setup.start();
    assert_eq!(paygate.admin_get("/audit").text(), before);
    let mut all = events(&paygate, "");
    all.reverse();
    assert_eq!(kinds(&all), words);
    for (index, event) in all.iter().enumerate() {
        assert_eq!(event["id"], json!(index + 1), "{event}");
        assert_eq!(
            (&event["actor"], &event["actorId"]),
            (&json!("admin"), &Value::Null),
            "{event}"
        );
        let kind = event["type"].as_str().unwrap();
        if kind.starts_with("key.") || kind.contains("credits") || kind.contains("refund") {
            assert_eq!(
                (&event["target"], &event["namespace"]),
                (&json!(id), &json!("acme")),
                "{event}"
            );
        }
    }
    let of = |kind: &str| all.iter().find(|event| event["type"] == kind).unwrap();
    assert_eq!(of("key.created")["message"], "Key created: Ada, \"the\" first");
    assert_eq!(of("key.topup")["message"], "Added 5 credits");
    let topup = &of("key.topup")["metadata"];
    assert_eq!((&topup["creditsAdded"], &topup["newBalance"]), (&json!(5), &json!(104)));
    assert_eq!(of("credits.adjusted")["metadata"]["reason"], "a mistake");
    assert_eq!(of("billing.refund")["metadata"]["creditsRefunded"], 1);
    assert_eq!(of("key.updated")["metadata"]["changed"], json!(["name"]));
    assert!(of("key.rotated")["metadata"]["oldKeyMasked"].as_str().unwrap().contains("..."));
    // Nobody can use what is in it.
    let text = paygate.admin_get("/audit").text();
    assert!(!text.contains("pga_"), "{text}");
    assert_eq!(text.matches("pg_").count(), text.matches("...").count(), "{text}");
}

#[test]
fn the_log_is_filtered_and_paged() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let made = paygate.admin_post("/admin/tokens", &json!({"name": "Night Desk", "role": "admin"}));
    let made = made.json();
    let (desk, desk_id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    for number in 0..12 {
        let body = json!({"name": format!("k{number}"), "namespace": if number % 3 == 0 { "acme" } else { "zoo" }});
        assert_eq!(paygate.admin_as(desk, "POST", "/keys", &body).status, 201);
    }
    let page = paygate.admin_get("/audit?limit=5");
    let first = page.json();
    assert_eq!(
        (&first["total"], &first["offset"], &first["limit"]),
        (&json!(13), &json!(0), &json!(5))
    );
    assert_eq!(first["events"][0]["message"], "Key created: k11");
    assert_eq!(
        (&first["events"][0]["actor"], &first["events"][0]["actorId"]),
        (&json!("Night Desk"), &json!(desk_id))
    );
    let next = page.header("x-next-cursor").unwrap();
    let second = paygate.admin_get(&format!("/audit?limit=5&cursor={next}"));
    assert_eq!(second.json()["events"][0]["message"], "Key created: k6");
    let last = paygate.admin_get("/audit?limit=5&offset=10");
    assert_eq!(
        (last.json()["events"].as_array().unwrap().len(), last.header("x-next-cursor")),
        (3, None)
    );
    for (query, count) in [
        ("types=key.created", 12),
        ("types=key.created,admin.token_created", 13),
        ("types=key.nothing", 0),
        ("actor=night", 12),
        ("actor=ADMIN", 1),
        ("actor=none", 0),
        ("namespace=ACME", 4),
        ("namespace=acme&actor=desk&types=key.created", 4),
        ("since=2000-01-01T00:00:00Z", 13),
        ("since=2099-01-01T00:00:00Z", 0),
        ("until=946684800000", 0),
        ("limit=9999", 13),
        ("limit=0", 1),
        ("cursor=1", 0),
    ] {
        assert_eq!(events(&paygate, query).len(), count, "{query}");
    }
    assert_eq!(events(&paygate, &format!("actor={desk_id}")).len(), 12);
    for wrong in [
        "since=yesterday",
        "until=x",
        "limit=x",
        "limit=-1",
        "offset=x",
        "cursor=x",
        "namespace=a_b",
    ] {
        for path in ["/audit", "/audit/export", "/audit/stats"] {
            let is_known = !matches!(wrong.split('=').next(), Some("limit" | "offset" | "cursor"));
            if path == "/audit" || is_known {
                let refused = paygate.admin_get(&format!("{path}?{wrong}"));
                assert_eq!(refused.status, 400, "{path}?{wrong}: {}", refused.text());
            }
        }
    }
    let stats = paygate.admin_get("/audit/stats").json();
    assert_eq!(stats["eventsByType"], json!({"admin.token_created": 1, "key.created": 12}));
    for member in ["totalEvents", "eventsLastHour", "eventsLast24h"] {
        assert_eq!(stats[member], 13, "{member}");
    }
    assert!(stats["oldestEvent"].as_str() <= stats["newestEvent"].as_str());
}

#[test]
fn the_log_is_exported_whole() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let empty = paygate.admin_get("/audit/export");
    assert_eq!(empty.json(), json!({"count": 0, "events": []}));
    let (id, words) = write_everything(&paygate);
    // More than is read at a time.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..65).for_each(|_| drop(paygate.create_key(&json!({"name": "one"})))));
        }
    });
    let all = paygate.admin_get("/audit/export").json();
    let count = words.len() + 8 * 65;
    assert_eq!((&all["count"], all["events"].as_array().unwrap().len()), (&json!(count), count));
    let ids: Vec<i64> =
        all["events"].as_array().unwrap().iter().map(|e| e["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted(), "JSON begins with the oldest");
    let csv = paygate.admin_get("/audit/export?format=csv&namespace=acme");
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(
        csv.header("content-disposition"),
        Some("attachment; filename=\"paygate-audit.csv\"")
    );
    let text = csv.text();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "id,timestamp,type,actor,message,actorId,namespace,target");
    assert!(lines[1].contains("namespace.updated"), "CSV begins with the newest: {text}");
    let created = lines.iter().find(|line| line.contains("key.created")).unwrap();
    assert!(
        created.contains(&format!("\"Key created: Ada, \"\"the\"\" first\",,acme,{id}")),
        "{created}"
    );
    assert_eq!(lines.last(), Some(&""));
    let few =
        paygate.admin_get("/audit/export?types=key.topup,key.revoked&until=2099-01-01T00:00:00Z");
    assert_eq!(few.json()["count"], 2);
    assert_eq!(paygate.admin_get("/audit/export?format=xml").status, 400);
}

#[test]
fn who_is_not_let_in_is_in_the_log_and_a_flood_is_sampled() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let made = paygate.admin_post(
        "/admin/tokens",
        &json!({"name": "Looker", "role": "viewer", "namespace": "acme"}),
    );
    let looker = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(paygate.admin_as(&looker, "POST", "/keys", &json!({})).status, 403);
    assert_eq!(paygate.admin_as(&looker, "GET", "/keys?namespace=zoo", &Value::Null).status, 403);
    assert_eq!(paygate.send(&Request::new("GET", "/keys?secret=in-the-url")).status, 401);
    let all = events(&paygate, "types=admin.access_denied,admin.auth_failed");
    assert_eq!(kinds(&all), ["admin.auth_failed", "admin.access_denied", "admin.access_denied"]);
    assert_eq!(
        (&all[0]["actor"], &all[0]["message"]),
        (&json!("unknown"), &json!("Admin auth failed on /keys"))
    );
    assert_eq!(
        (&all[0]["metadata"]["url"], &all[0]["metadata"]["method"]),
        (&json!("/keys"), &json!("GET"))
    );
    assert_eq!((&all[1]["actor"], &all[1]["namespace"]), (&json!("Looker"), &json!("acme")));
    assert!(all[2]["message"].as_str().unwrap().contains("needs the role admin"), "{}", all[2]);
    // A flood of strangers, all at once because the answers are slowed down.
    thread::scope(|scope| {
        for _ in 0..40 {
            let request = Request::new("GET", "/status").header("X-Admin-Key", "guess");
            scope.spawn(|| paygate.send(&{ request }));
        }
    });
    let failed = events(&paygate, "types=admin.auth_failed").len();
    assert!((1..=20).contains(&failed), "{failed} entries");
    assert_eq!(paygate.admin_as(ADMIN_KEY, "GET", "/audit", &Value::Null).status, 200);
    // A tenant sees what is its own.
    let own = paygate.admin_as(&looker, "GET", "/audit", &Value::Null).json();
    let own = own["events"].as_array().unwrap().clone();
    assert!(own.iter().all(|event| event["namespace"] == "acme"), "{own:?}");
    assert_eq!(kinds(&own), ["admin.access_denied", "admin.access_denied", "admin.token_created"]);
    let export = paygate.admin_as(&looker, "GET", "/audit/export", &Value::Null).json();
    assert_eq!(export["count"], 3);
}

#[test]
fn old_entries_are_forgotten() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    paygate.create_key(&json!({"name": "old"}));
    paygate.create_key(&json!({"name": "new"}));
    paygate.stop().expect_success();
    let books = rusqlite::Connection::open(setup.database()).unwrap();
    let two_days_ago = "UPDATE audit SET at = at - 2 * 86400000 WHERE message LIKE '%old'";
    assert_eq!(books.execute(two_days_ago, []).unwrap(), 1);
    drop(books);
    // Not with the default …
    let paygate = setup.start();
    assert_eq!(events(&paygate, "").len(), 2);
    paygate.stop().expect_success();
    // … and at every start and every minute with less than that.
    let setup = setup.config(json!({"retention": {"auditDays": 1}}));
    let paygate = setup.start();
    support::eventually("the old entry is gone", || events(&paygate, "").len() == 1);
    assert_eq!(events(&paygate, "")[0]["message"], "Key created: new");
    paygate.stop().expect_success();
    setup.verify().expect_success();
}
