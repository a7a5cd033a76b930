//! What clients have with one instance goes on with another, or is clearly not there; what one instance
//! learns ends what clients have with the others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod support;

use std::thread;

use serde_json::{Value, json};

use support::{Answer, Paygate, RedisServer, Request, Response, Setup, eventually, modern_request};

const VERSION: &str = "2025-11-25";

fn setup(redis: &RedisServer) -> Setup {
    Setup::new().env("SCRIPTED_ERA", "dual").args(["--redis-url", &redis.url()])
}

fn start<const COUNT: usize>(redis: &RedisServer) -> [Paygate; COUNT] {
    [(); COUNT].map(|()| setup(redis).start())
}

fn key(paygate: &Paygate) -> (String, String) {
    paygate.create_key(&json!({"name": "customer", "credits": 10}))
}

fn runs(all: &[Paygate], nonce: &str) -> usize {
    let logs = all.iter().flat_map(|paygate| paygate.setup().child_log());
    logs.filter(|(_, said)| said == nonce).count()
}

fn call_id(answer: &Response) -> String {
    answer.header("X-PayGate-Call-Id").unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

#[test]
fn rounds_that_one_instance_began_go_on_on_another_once() {
    let redis = RedisServer::start();
    let all = start::<2>(&redis);
    let [one, other] = &all;
    let (key, _) = key(one);
    let arguments = json!({"rounds": 2, "nonce": "n"});
    let first = one.modern_call(&key, "ask_more", &arguments).json();
    let retry = |state: &Value| {
        json!({"name": "ask_more", "arguments": arguments, "requestState": state,
            "inputResponses": {"more": {"action": "accept"}}})
    };
    let second = other.modern(&key, "tools/call", &retry(&first["result"]["requestState"]));
    let second = second.json();
    assert_eq!(second["result"]["resultType"], "input_required", "{second}");
    assert_eq!(one.credits(&key), 9, "the price is reserved, once");
    // The last round is sent to both at once.
    let last = retry(&second["result"]["requestState"]);
    let answers: Vec<Response> = thread::scope(|scope| {
        let both = all.each_ref().map(|paygate| {
            let (key, last) = (&key, &last);
            scope.spawn(move || paygate.modern(key, "tools/call", last))
        });
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let done = answers.iter().filter(|answer| answer.text().contains("had 2")).count();
    assert_eq!(done, 1, "{:?}", answers.iter().map(Response::text).collect::<Vec<_>>());
    for paygate in &all {
        assert_eq!(paygate.balance(&key)["totalSpent"], 1);
        assert!(!paygate.modern(&key, "tools/call", &last).text().contains("had 2"), "never again");
    }
}

#[test]
fn a_repetition_is_answered_by_any_instance_and_paid_once() {
    let redis = RedisServer::start();
    let all = start::<3>(&redis);
    let (key, _) = key(&all[0]);
    let call = |paygate: &Paygate, name: &str, tool: &str, arguments: &Value| {
        let meta = json!({"dev.paygate/idempotencyKey": name});
        paygate.rpc(
            &key,
            "tools/call",
            &json!({"name": tool, "arguments": arguments, "_meta": meta}),
        )
    };
    let arguments = json!({"nonce": "later"});
    let first = call(&all[0], "a", "instant", &arguments);
    for paygate in &all {
        let again = call(paygate, "a", "instant", &arguments);
        assert_eq!(
            (call_id(&again), again.json()["result"].clone()),
            (call_id(&first), first.json()["result"].clone())
        );
        let other = call(paygate, "a", "instant", &json!({"nonce": "other"}));
        assert_eq!(other.error_reason(), "idempotency_key_reused");
    }
    // Repeated while it runs, by an impatient client behind a balancer.
    let slow = json!({"ms": 1_500, "nonce": "slow"});
    let answers: Vec<Response> = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let (paygate, call, slow) = (&all[client % 3], &call, &slow);
                scope.spawn(move || call(paygate, "b", "sleep", slow))
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(runs(&all, "slow"), 1, "the tool ran once");
    for answer in &answers {
        assert_eq!(call_id(answer), call_id(&answers[0]));
        assert_eq!(answer.tool_text(), "slow");
    }
    assert_eq!(all[2].credits(&key), 8);
}

fn initialize(key: &str) -> Request {
    let hello = json!({"protocolVersion": VERSION, "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello});
    legacy("POST", key).json(&body)
}

fn legacy(method: &str, key: &str) -> Request {
    let both = "application/json, text/event-stream";
    Request::new(method, "/mcp").header("Accept", both).header("X-API-Key", key)
}

#[test]
fn a_session_belongs_to_its_instance_and_ends_with_its_key_wherever_that_is_revoked() {
    let redis = RedisServer::start();
    let [one, other] = start::<2>(&redis);
    let (key, id) = key(&one);
    let opened = one.send(&initialize(&key));
    let session = opened.header("Mcp-Session-Id").expect("a session").to_owned();
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let ping = || legacy("POST", &key).header("Mcp-Session-Id", &session).json(&ping);
    assert_eq!(one.send(&ping()).status, 200);
    assert_eq!(other.send(&ping()).status, 404, "there it is unknown: the client begins anew");

    let listen = legacy("GET", &key).header("Mcp-Session-Id", &session);
    let mut stream = Answer::open(&listen, &one.address).unwrap();
    assert!(stream.is_stream());
    let filter = json!({"notifications": {"toolsListChanged": true}});
    let modern = modern_request(&key, "subscriptions/listen", &filter);
    let mut modern = Answer::open(&modern, &one.address).unwrap();
    assert!(modern.message().unwrap().unwrap().contains("acknowledged"));
    assert_eq!(other.admin_post("/keys/revoke", &json!({"key": id})).status, 200);
    while stream.event().unwrap().is_some() {}
    while modern.event().unwrap().is_some() {}
    assert_eq!(one.send(&ping()).status, 404);
}

#[test]
fn health_says_whether_others_are_heard_and_reports_what_they_lack() {
    let kept = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = RedisServer::start_with(&kept);
    let [one, other] = start::<2>(&redis);
    let (key, _) = key(&one);
    for _ in 0..3 {
        assert_eq!(one.call(&key, "instant", &json!({})).status, 200);
    }
    let hears = |paygate: &Paygate| paygate.get("/health").json()["redis"]["pubsub"] == true;
    eventually("both hear", || hears(&one) && hears(&other));
    redis.kill();
    eventually("it is said that they do not", || !hears(&one) && !hears(&other));
    // Who watches is not blind meanwhile; what only Redis knows is left out.
    let page = one.get("/metrics");
    assert_eq!(page.status, 200, "{}", page.text());
    let page = page.text();
    assert!(page.contains("\npaygate_store_up 0\n") && page.contains("paygate_uptime_seconds "));
    assert!(page.contains("paygate_credits_charged_total{tool=\"instant\"} 3\n"), "{page}");
    assert!(!page.contains("paygate_total_credits_available"), "{page}");
    redis.restart();
    let is_up = || one.get("/metrics").text().contains("\npaygate_store_up 1\n");
    eventually("it is said in the numbers, too", is_up);
    eventually("both hear again", || hears(&one) && hears(&other));
    assert_eq!(redis.cli(&["PUBSUB", "NUMSUB", "pg:news"]), "pg:news\n2");

    // Another instance's place in a list is refused rather than taken for a place in its own.
    let page = one.admin_get("/usage?limit=2");
    let next = page.header("X-Next-Cursor").expect("there is more").to_owned();
    let rest = one.admin_get(&format!("/usage?limit=2&cursor={next}")).json();
    assert_eq!(rest["count"], 1, "{rest}");
    for list in ["usage", "audit"] {
        let foreign = other.admin_get(&format!("/{list}?limit=2&cursor={next}"));
        assert_eq!(foreign.status, 400);
        assert!(foreign.text().contains("another instance"), "{}", foreign.text());
    }
    // What has left Redis is missing for whoever comes late, and is said to be.
    assert_eq!(one.admin_get("/usage").json().get("completeSince"), None);
    redis.cli(&["XTRIM", "pg:{default}:journal", "MAXLEN", "=", "1"]);
    let [late] = start::<1>(&redis);
    let listed = late.admin_get("/usage").json();
    assert_eq!(listed["count"], 1, "{listed}");
    let since = listed["completeSince"].as_str().expect("a time").to_owned();
    let csv = late.admin_get("/usage?format=csv");
    assert_eq!(csv.header("X-Complete-Since"), Some(&*since));
    for report in ["analytics", "audit", "audit/stats", "audit/export", "status"] {
        let report = late.admin_get(&format!("/{report}")).json();
        assert_eq!(report["completeSince"], since, "{report}");
    }
    let later = late.admin_get(&format!("/usage?since={since}")).json();
    assert_eq!(later.get("completeSince"), None, "as far as is asked for, nothing is missing");
}

#[test]
fn instances_that_sell_by_different_configurations_say_so_until_all_were_reloaded() {
    let redis = RedisServer::start();
    let setup = || setup(&redis).config(json!({"defaultCreditsPerCall": 1})).start();
    let (one, other) = (setup(), setup());
    let hears = |paygate: &Paygate| paygate.get("/health").json()["redis"]["pubsub"] == true;
    eventually("both hear", || hears(&one) && hears(&other));
    let others = |paygate: &Paygate| paygate.get("/health").json()["redis"]["otherConfigs"].clone();
    assert_eq!((others(&one), others(&other)), (Value::Null, Value::Null));

    let dearer = |paygate: &Paygate| {
        let path = paygate.setup().dir().file("paygate.json");
        let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        file["defaultCreditsPerCall"] = json!(77);
        std::fs::write(&path, file.to_string()).unwrap();
        let told = paygate.admin_post("/config/reload", &json!({})).json();
        assert_eq!(told["changed"], json!(["defaultCreditsPerCall"]), "{told}");
        told["instance"].as_str().expect("a name").to_owned()
    };
    let name = dearer(&one);
    eventually("both know of the other", || others(&one) == 1 && others(&other) == 1);
    other.wait_for_output("other prices, limits or rules than this one");
    other.wait_for_output(&name);
    let name = dearer(&other);
    eventually("both are alike", || others(&one).is_null() && others(&other).is_null());
    one.wait_for_output("all instances sell by the same configuration");
    let audit = one.admin_get("/audit?types=config.reloaded").json();
    assert_eq!(audit["events"][0]["metadata"]["instance"], name, "{audit}");
}

#[test]
fn an_outage_is_a_few_lines_in_the_log_however_many_calls_it_refuses() {
    const REFUSED: usize = 200;
    let kept = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = RedisServer::start_with(&kept);
    let [one] = start::<1>(&redis);
    let (key, _) = key(&one);
    let sells = || one.call(&key, "instant", &json!({})).json().get("result").is_some();
    assert!(sells());
    redis.kill();
    eventually("it refuses", || !sells());
    for _ in 0..REFUSED {
        assert!(!sells());
    }
    redis.restart();
    eventually("it sells again", sells);
    one.wait_for_output("so many requests were refused");
    let lines = one.output().matches("refused because the books are not available").count();
    assert!((1..REFUSED / 4).contains(&lines), "{lines} lines about {REFUSED} refusals");
}
