//! Every operation that writes, with kill -9 right after its answer: what was answered is there when
//! Paygate starts again, and the books agree.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Paygate, Setup, operations};

/// One change: the request, where to look for it, and the text that appears there with it, or with `!`
/// that disappears. `{key}`, `{team}`, `{call}` and `{token}` stand for ids, in bodies too.
struct Change {
    method: &'static str,
    path: &'static str,
    body: Value,
    look: &'static str,
    text: &'static str,
}

/// Writes nothing, or nothing that outlives the process, or needs a receiver of webhooks: those are in
/// `tests/webhooks`.
const EXEMPT: [(&str, &str); 5] = [
    ("POST", "/keys/search"),
    ("POST", "/config/reload"),
    ("DELETE", "/webhooks/dead-letter"),
    ("POST", "/webhooks/dead-letter/replay"),
    ("POST", "/webhooks/test"),
];

/// In an order in which each can be done after those before it. The key has 1,000 credits and has
/// made one call for 1.
fn changes() -> Vec<Change> {
    let mut all = changes_of_keys();
    all.extend(changes_of_the_rest());
    all.push(of_key("/keys/revoke", json!({}), "\"active\":false"));
    all.push(delete("/keys/{key}", "/keys", "!{key}"));
    all
}

fn post(path: &'static str, body: Value, look: &'static str, text: &'static str) -> Change {
    Change { method: "POST", path, body, look, text }
}

fn delete(path: &'static str, look: &'static str, text: &'static str) -> Change {
    Change { method: "DELETE", path, body: Value::Null, look, text }
}

fn of_key(path: &'static str, mut body: Value, text: &'static str) -> Change {
    body["key"] = json!("{key}");
    post(path, body, "/keys/{key}", text)
}

fn changes_of_keys() -> Vec<Change> {
    vec![
        post("/keys", json!({"name": "made-key"}), "/keys", "\"made-key\""),
        Change {
            method: "PATCH",
            path: "/keys/{key}",
            body: json!({"spendingLimit": 4321}),
            look: "/keys/{key}",
            text: "\"spendingLimit\":4321",
        },
        of_key("/topup", json!({"credits": 1000}), "\"credits\":1999,"),
        of_key("/credits/adjust", json!({"credits": -100, "reason": "x"}), "\"credits\":1899,"),
        post("/calls/{call}/refund", json!({}), "/keys/{key}", "\"credits\":1900,"),
        of_key("/keys/suspend", json!({}), "\"suspended\":true"),
        of_key("/keys/resume", json!({}), "\"suspended\":false"),
        of_key("/keys/acl", json!({"allowedTools": ["instant"]}), "\"allowedTools\":[\"instant\"]"),
        of_key("/keys/expiry", json!({"expiresAt": "2099-01-01T00:00:00Z"}), "2099-01-01"),
        of_key("/keys/quota", json!({"dailyCallLimit": 77}), "\"dailyCallLimit\":77"),
        of_key("/keys/tags", json!({"tags": {"a": "kept"}}), "\"a\":\"kept\""),
        of_key("/keys/ip", json!({"ips": ["127.0.0.0/8"]}), "127.0.0.0/8"),
        of_key("/limits", json!({"spendingLimit": 9999}), "\"spendingLimit\":9999"),
        of_key("/keys/rotate", json!({}), "!{prefix}"),
    ]
}

fn changes_of_the_rest() -> Vec<Change> {
    vec![
        post(
            "/namespaces",
            json!({"namespace": "acme", "deniedTools": ["no-tool"]}),
            "/namespaces",
            "no-tool",
        ),
        post("/teams", json!({"name": "made-team"}), "/teams", "\"made-team\""),
        post(
            "/teams/update",
            json!({"teamId": "{team}", "budget": 777}),
            "/teams",
            "\"budget\":777",
        ),
        post("/teams/assign", json!({"teamId": "{team}", "key": "{key}"}), "/teams", "{key}"),
        post("/teams/remove", json!({"teamId": "{team}", "key": "{key}"}), "/teams", "!{key}"),
        post("/teams/delete", json!({"teamId": "{team}"}), "/teams", "!{team}"),
        post(
            "/admin/tokens",
            json!({"name": "made-token", "role": "viewer"}),
            "/admin/tokens",
            "\"made-token\"",
        ),
        delete("/admin/tokens/{token}", "/admin/tokens", "!{token}"),
        post(
            "/alerts",
            json!({"rules": [{"type": "credits_low", "threshold": 3}]}),
            "/alerts",
            "\"threshold\":3",
        ),
    ]
}

/// Names in the table and what they stand for here.
struct Names([(&'static str, String); 5]);

impl Names {
    fn of(&self, text: &str) -> String {
        let put = |text: String, (name, id): &(&str, String)| text.replace(name, id);
        self.0.iter().fold(text.to_owned(), put)
    }
}

fn prepared(paygate: &Paygate) -> Names {
    let (raw, key) =
        paygate.create_key(&json!({"name": "first", "namespace": "acme", "credits": 1000}));
    let call = paygate.call(&raw, "instant", &json!({}));
    let call = call.header("x-paygate-call-id").unwrap().to_owned();
    let team = paygate.admin_post("/teams", &json!({"name": "first", "namespace": "acme"})).json();
    let token =
        paygate.admin_post("/admin/tokens", &json!({"name": "first", "role": "viewer"})).json();
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    Names([
        ("{key}", key),
        ("{call}", call),
        ("{team}", id(&team["team"]["id"])),
        ("{token}", id(&token["id"])),
        ("{prefix}", raw[..10].to_owned()),
    ])
}

#[test]
fn what_was_answered_is_there_after_kill_9() {
    let setup = Setup::new().without_child_log();
    let mut paygate = setup.start();
    let names = prepared(&paygate);
    for Change { method, path, body, look, text } in changes() {
        let (is_gone, text) = match text.strip_prefix('!') {
            Some(text) => (true, names.of(text)),
            None => (false, names.of(text)),
        };
        let look = names.of(look);
        let has = |paygate: &Paygate| {
            let answer = paygate.admin_get(&look);
            assert_eq!(answer.status, 200, "{look}: {}", answer.text());
            (answer.json().to_string().contains(&text), answer.text())
        };
        let (before, shown) = has(&paygate);
        assert_eq!(before, is_gone, "{method} {path}: before it, {look} shows {shown}");
        let body: Value = serde_json::from_str(&names.of(&body.to_string())).unwrap();
        let done = paygate.admin(method, &names.of(path), &body);
        assert!(matches!(done.status, 200 | 201), "{method} {path}: {}", done.text());
        paygate.kill9();
        paygate = setup.start();
        let (after, shown) = has(&paygate);
        assert_eq!(after, !is_gone, "{method} {path}: after it, {look} shows {shown}");
    }
    paygate.stop().expect_success();
    setup.verify().expect_success();
}

#[test]
fn no_operation_that_writes_is_forgotten() {
    let paygate = Setup::new().ephemeral().without_child_log().start();
    let general = |path: &str| {
        ["{key}", "{call}", "{token}"].iter().fold(path.to_owned(), |p, id| p.replace(id, "{id}"))
    };
    let tried = changes().into_iter().map(|change| (change.method, general(change.path)));
    let exempt = EXEMPT.into_iter().map(|(method, path)| (method, path.to_owned()));
    let known: BTreeSet<_> =
        tried.chain(exempt).map(|(method, path)| (method.to_owned(), path)).collect();
    let writing = operations(&paygate).into_iter().filter(|operation| operation.method != "GET");
    let writing: BTreeSet<_> =
        writing.map(|operation| (operation.method, operation.path)).collect();
    assert_eq!(writing, known, "each needs a row in `changes`");
}

/// Everything that can be read stays byte for byte what it was, apart from what tells the time.
#[test]
fn all_reads_are_the_same_after_kill_9() {
    let setup = Setup::new().without_child_log();
    let paygate = setup.start();
    let names = prepared(&paygate);
    for Change { method, path, body, .. } in changes() {
        if method != "DELETE" && path != "/teams/delete" {
            let body: Value = serde_json::from_str(&names.of(&body.to_string())).unwrap();
            let done = paygate.admin(method, &names.of(path), &body);
            assert!(matches!(done.status, 200 | 201), "{method} {path}: {}", done.text());
        }
    }
    let reads = [
        "/keys",
        "/keys?limit=1",
        "/keys/{key}",
        "/status",
        "/status?namespace=acme",
        "/namespaces",
        "/teams",
        "/teams/usage?teamId={team}",
        "/usage",
        "/usage?format=csv",
        "/analytics?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
        "/audit?limit=1000",
        "/audit/export?format=csv",
        "/audit/stats",
        "/admin/tokens",
        "/config",
    ];
    let all = |paygate: &Paygate| {
        reads.map(|path| {
            let answer = paygate.admin_get(&names.of(path));
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            (path, answer.text())
        })
    };
    let before = all(&paygate);
    paygate.kill9();
    let paygate = setup.start();
    for (before, after) in before.into_iter().zip(all(&paygate)) {
        assert_eq!(before, after);
    }
}
