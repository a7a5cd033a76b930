//! What operators ask of a running Paygate: usage, analytics, the audit log, and what became of a call.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use serde_json::{Value, json};
use support::{Paygate, Setup, eventually, row};

fn call(paygate: &Paygate, key: &str, tool: &str) -> String {
    let answer = paygate.call(key, tool, &json!({"nonce": "n"}));
    answer.header("x-paygate-call-id").unwrap().to_owned()
}

fn start() -> Paygate {
    let price = json!({"toolPricing": {"instant": {"creditsPerCall": 3}}});
    Setup::new().without_child_log().config(price).start()
}

#[test]
fn usage_and_analytics_as_tables_json_and_csv() {
    let paygate = start();
    let ada = json!({"name": "=Ada", "namespace": "acme", "credits": 7});
    let (key, id) = paygate.create_key(&ada);
    assert_eq!(paygate.said(&["usage"]), "Nothing.\n");
    let first = call(&paygate, &key, "instant");
    call(&paygate, &key, "fail");
    call(&paygate, &key, "instant");
    paygate.call(&key, "instant", &json!({}));
    let table = paygate.said(&["usage"]);
    assert_eq!(row(&table, "TIME")[..6], ["TIME", "KEY", "NAME", "NAMESPACE", "TOOL", "OUTCOME"]);
    assert_eq!(table.lines().count(), 5, "{table}");
    let line = table.lines().find(|line| line.contains(&first)).unwrap();
    assert!(line.contains(&id) && line.contains("=Ada") && line.contains("result"), "{line}");
    for (args, count) in [
        (&["--outcome", "denied"][..], 1),
        (&["--outcome", "insufficient_credits"], 1),
        (&["--tool", "fail"], 1),
        (&["--key", &id, "--outcome", "result"], 2),
        (&["--namespace", "zoo"], 0),
        (&["--label", "user:u-1"], 0),
        (&["--until", "2001-01-01T00:00:00Z"], 0),
        (&["--since", "2001-01-01T00:00:00Z"], 4),
    ] {
        let args: Vec<&str> = ["usage"].iter().chain(args).copied().collect();
        let found = paygate.answered(&args);
        assert_eq!(found["events"].as_array().unwrap().len(), count, "{args:?} {found}");
        let lines = paygate.said(&args).lines().count();
        assert_eq!(lines, if count == 0 { 1 } else { count + 1 }, "{args:?}");
    }
    let csv = paygate.said(&["usage", "--csv"]);
    assert!(csv.starts_with("timestamp,apiKey,") && csv.contains("'=Ada"), "{csv}");
    assert_eq!(csv.lines().count(), 5, "{csv}");

    let report = paygate.said(&["analytics", "--granularity", "daily", "--top", "5"]);
    assert_eq!(row(&report, "credits")[1], "6");
    assert_eq!(row(&report, "instant")[1..5], ["3", "2", "1", "6"]);
    assert_eq!(row(&report, &id)[1..3], ["=Ada", "4"]);
    assert_eq!(paygate.answered(&["analytics"])["summary"]["totalCalls"], 4);
    let wrong = paygate.command(&["usage", "--since", "soon"]);
    assert!(wrong.code() == Some(1) && wrong.stderr.contains("since"), "{wrong:#?}");

    let audit = paygate.said(&["audit", "--csv", "--types", "key.created"]);
    assert!(audit.lines().count() == 2 && audit.contains("key.created"), "{audit}");
}

/// Many pages, in constant memory; the whole list is one line a call.
#[test]
fn a_long_list_is_followed_to_its_end() {
    let paygate = Setup::new().ephemeral().without_child_log().args(["--rate-limit", "0"]).start();
    let (key, _) = paygate.create_key(&json!({"credits": 5000}));
    let one = json!({"name": "instant", "arguments": {"nonce": "n"}});
    let calls = json!({"calls": vec![one; 100]});
    for _ in 0..21 {
        assert_eq!(paygate.rpc(&key, "tools/call_batch", &calls).status, 200);
    }
    let table = paygate.said(&["usage"]);
    assert_eq!(table.lines().count(), 2101);
    let starts = table.lines().map(|line| line.find("instant")).skip(1);
    let starts: std::collections::BTreeSet<_> = starts.collect();
    assert_eq!(starts.len(), 1, "all pages line up");
    assert_eq!(paygate.answered(&["usage"])["count"], 2100);
    assert_eq!(paygate.said(&["usage", "--csv"]).lines().count(), 2101);
}

#[test]
fn a_call_is_explained_from_its_hold_to_its_refund() {
    let paygate = start();
    let (key, id) = paygate.create_key(&json!({"name": "Ada", "namespace": "acme", "credits": 10}));
    let team = paygate.answered(&["teams", "create", "--name", "R", "--namespace", "acme"]);
    let team = team["team"]["id"].as_str().unwrap().to_owned();
    paygate.said(&["teams", "assign", &team, &id]);
    let labels = json!({"name": "instant", "_meta": {"dev.paygate/labels": {"user": "u-17"}}});
    let labelled = paygate.rpc(&key, "tools/call", &labels);
    assert_eq!(labelled.header("x-credits-charged"), Some("3"));
    let charged = labelled.header("x-paygate-call-id").unwrap();
    let free = call(&paygate, &key, "fail");

    let told = paygate.said(&["explain", charged]);
    assert!(told.starts_with(&format!("{charged}: 3 credits charged\n")), "{told}");
    assert_eq!(row(&told, "key")[1], id);
    assert_eq!(row(&told, "team")[1], team);
    assert_eq!(row(&told, "labels")[1], "user=u-17");
    assert_eq!(row(&told, "instant")[1..4], ["3", "3", "result"]);
    assert_eq!(row(&told, "balance")[1..], ["ever", &id, "-3", "-3", "0"]);
    let told = paygate.answered(&["explain", charged]);
    assert_eq!((&told["state"], &told["end"]), (&json!("charged"), &json!("captured")));
    let told = paygate.said(&["explain", &free]);
    assert!(told.starts_with(&format!("{free}: free\n")), "{told}");
    assert!(told.contains("the tool said that it failed (isError): free"), "{told}");
    // The rate counts what was let through, free or not.
    assert_eq!(row(&told, "rate")[1..], ["minute", &id, "1", "1", "0"]);

    let refund = ["refund", charged, "--reason", "the answer was wrong"];
    assert_eq!(paygate.answered(&refund)["refunded"], 3);
    let again = paygate.command(&refund);
    assert_eq!((again.code(), &*row(&again.stdout, "credits")[1]), (Some(0), "10"), "{again:#?}");
    assert_eq!(again.stderr, "This was done before: nothing more was done now.\n");
    let told = paygate.said(&["explain", charged]);
    assert!(told.contains("given back, because: the answer was wrong"), "{told}");
    assert_eq!(row(&told, "balance")[1..], ["ever", &id, "-3", "-3", "3"]);

    // The journal stays when the key goes; who sees another tenant sees nothing of it.
    paygate.said(&["keys", "delete", &id]);
    let told = paygate.answered(&["explain", charged]);
    assert_eq!((&told["keyName"], &told["namespace"]), (&Value::Null, &json!("acme")));
    assert_eq!((&told["state"], &told["givenBack"]), (&json!("refunded"), &json!(3)));
    for (namespace, status) in [("acme", 200), ("zoo", 404)] {
        let token = json!({"name": namespace, "role": "viewer", "namespace": namespace});
        let token = paygate.admin_post("/admin/tokens", &token).json()["token"].clone();
        let path = format!("/calls/{charged}");
        let found = paygate.admin_as(token.as_str().unwrap(), "GET", &path, &Value::Null);
        assert_eq!(found.status, status, "{}", found.text());
    }
    let nobody = format!("call_{}", "0".repeat(32));
    for unknown in [nobody.as_str(), "call_1", "../keys"] {
        let ended = paygate.command(&["explain", unknown]);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
        assert!(ended.stderr.contains("--outcome denied"), "{ended:#?}");
    }
}

#[test]
fn a_call_that_runs_is_held_and_one_without_an_answer_is_free() {
    let config = json!({"requestTimeoutMs": 4000});
    let paygate = Setup::new().without_child_log().config(config).start();
    let (key, _) = paygate.create_key(&json!({"credits": 10}));
    let held = std::thread::scope(|scope| {
        scope.spawn(|| paygate.call(&key, "hang", &json!({"nonce": "h"})));
        let mut held = Value::Null;
        // A hold that is not resolved soon gets a row of its own.
        eventually("the hold has its row", || {
            let books = rusqlite::Connection::open(paygate.setup().database()).unwrap();
            let sql = "SELECT lower(hex(call)) FROM journal WHERE kind = 'hold'";
            let id = books.query_row(sql, [], |row| row.get::<_, String>(0));
            let Ok(id) = id else { return false };
            held = paygate.answered(&["explain", &format!("call_{id}")]);
            true
        });
        held
    });
    assert_eq!((&held["state"], &held["price"]), (&json!("held"), &json!(1)), "{held}");
    assert_eq!((&held["end"], &held["waitsFor"]), (&Value::Null, &Value::Null));
    assert!(held["heldUntil"].as_str() > held["heldAt"].as_str(), "{held}");
    let told = paygate.said(&["explain", held["callId"].as_str().unwrap()]);
    assert!(told.contains(": free\n") && told.contains("no answer in time: free"), "{told}");
}

#[test]
fn a_call_that_waits_for_its_client_or_its_task_says_so() {
    let paygate = Setup::new().without_child_log().env("SCRIPTED_ERA", "dual").start();
    let (key, _) = paygate.create_key(&json!({"credits": 10}));
    for (tool, waits_for, words) in [
        ("ask_more", "round", "it waits for its client's next round"),
        ("later", "task", "it waits for its task"),
    ] {
        // No task ends while the test looks at it.
        let arguments = json!({"nonce": "n", "rounds": 1, "ms": 3_600_000, "ttl": 3_600_000});
        let interim = paygate.modern_call(&key, tool, &arguments);
        let call = interim.header("x-paygate-call-id").unwrap().to_owned();
        let told = paygate.answered(&["explain", &call]);
        assert_eq!((&told["state"], &told["waitsFor"]), (&json!("held"), &json!(waits_for)));
        assert_eq!(told["calls"][0]["outcome"], "open", "{told}");
        let told = paygate.said(&["explain", &call]);
        assert!(told.contains("1 credit reserved, until") && told.contains(words), "{told}");
    }
}
